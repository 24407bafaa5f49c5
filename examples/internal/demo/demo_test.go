package demo_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/examples/internal/demo"
)

func TestTheFakeStaysOnThisMachine(t *testing.T) {
	run := func(addr string) error {
		t.Setenv("ADDR", addr)
		return demo.WeCom(func(o wecom.Options, _ string) (http.Handler, error) {
			_, err := wecom.New(o)
			return nil, err
		})
	}
	for _, name := range []string{"WECOM_CORP_ID", "WECOM_AGENT_ID", "WECOM_SECRET"} {
		t.Setenv(name, "")
	}
	assert.ErrorContains(t, run("0.0.0.0:0"), "127.0.0.1")
	t.Setenv("WECOM_SECRET", "half-of-a-configuration-starts-no-fake")
	assert.ErrorContains(t, run("127.0.0.1:0"), "WECOM_CORP_ID")
}
