package main

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// start runs the program until the test ends, or stop is called, and returns what it says to export.
func start(t *testing.T, args ...string) (variables map[string]string, stop func()) {
	t.Helper()
	out, in := io.Pipe()
	signals, done := make(chan os.Signal, 1), make(chan error, 1)
	go func() { done <- run(append([]string{"-addr", "127.0.0.1:0"}, args...), in, signals) }()
	variables = map[string]string{}
	for lines := bufio.NewScanner(out); len(variables) < 6 && lines.Scan(); {
		if name, value, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "="); ok && strings.HasPrefix(lines.Text(), "export ") {
			variables[name] = value
		}
	}
	require.Len(t, variables, 6)
	stop = func() {
		if signals != nil {
			signals <- os.Interrupt
			assert.NoError(t, <-done)
			signals = nil
		}
	}
	t.Cleanup(stop)
	return variables, stop
}

func get(t *testing.T, address string) string {
	t.Helper()
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(address)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(body)
}

func TestItIsAWeCom(t *testing.T) {
	v, _ := start(t)
	body := get(t, v["WECOM_API_URL"]+"/cgi-bin/gettoken?"+url.Values{"corpid": {v["WECOM_CORP_ID"]}, "corpsecret": {v["WECOM_SECRET"]}}.Encode())
	assert.Contains(t, body, `"errcode":0`)
	page := get(t, v["WECOM_WEB_LOGIN_URL"]+"?"+url.Values{
		"login_type": {"CorpApp"}, "appid": {v["WECOM_CORP_ID"]}, "agentid": {v["WECOM_AGENT_ID"]}, "state": {"s"},
		"redirect_uri": {"http://127.0.0.1:8080/callback"},
	}.Encode())
	assert.Contains(t, page, "张三")
	assert.Contains(t, get(t, v["WECOM_API_URL"]+"/"), "gettoken")
}

// With -keep, who left is gone after a restart.
func TestKeep(t *testing.T) {
	file := filepath.Join(t.TempDir(), "people.json")
	v, stop := start(t, "-directory", file, "-keep")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Contains(t, string(data), "zhangsan@corp.example.com")
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).PostForm(v["WECOM_API_URL"]+"/", url.Values{"leaves": {"zhangsan"}})
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	stop()

	data, err = os.ReadFile(file)
	require.NoError(t, err)
	assert.NotContains(t, string(data), "zhangsan@corp.example.com")
	entries, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	assert.Len(t, entries, 1, "nothing else is left there")
	v, _ = start(t, "-directory", file)
	assert.NotContains(t, get(t, v["WECOM_WEB_LOGIN_URL"]+"?"+url.Values{
		"login_type": {"CorpApp"}, "appid": {v["WECOM_CORP_ID"]}, "agentid": {v["WECOM_AGENT_ID"]}, "redirect_uri": {"http://127.0.0.1:8080/"},
	}.Encode()), "张三")
}

func TestMistakes(t *testing.T) {
	wrong := filepath.Join(t.TempDir(), "wrong.json")
	require.NoError(t, os.WriteFile(wrong, []byte(`{"department": []}`), 0o600))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-addr", "0.0.0.0:0"}, "loopback"},
		{[]string{"-keep"}, "-directory"},
		{[]string{"-directory", filepath.Join(t.TempDir(), "missing.json")}, "missing.json"},
		{[]string{"-directory", wrong}, "wrong.json: wecomtest: contacts: department 1"},
		{[]string{"people.json"}, "no arguments"},
	} {
		assert.ErrorContains(t, run(c.args, io.Discard, nil), c.want)
	}
}
