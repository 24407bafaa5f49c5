package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// Under https a real browser takes the __Host- cookies, keeps them from scripts and sends them back.
func TestT10_HostCookiesInABrowser(t *testing.T) {
	fake := wecomtest.New()
	server, err := fake.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })

	site := httptest.NewUnstartedServer(nil)
	origin := "https://" + site.Listener.Addr().String()
	o := fake.Options(origin + "/wecom/callback")
	o.Endpoints, o.Transport = server.Endpoints(), nil
	auth, err := wecom.New(o)
	require.NoError(t, err)
	site.Config.Handler = auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><p>hello %s<form method="post" action="/wecom/logout"><button>bye</button></form>`, id.UserID)
	}))
	site.StartTLS()
	t.Cleanup(site.Close)

	p := newPage(t, "zh-CN")
	require.EqualValues(t, 200, p.open(origin+deepLink))
	pending := p.cookies(origin)
	require.Len(t, pending, 1)
	require.EqualValues(t, 200, p.pick("zhangsan"))
	assert.Equal(t, origin+deepLink, p.href())
	assert.Contains(t, p.text(), "hello zhangsan")
	assert.Empty(t, eval[string](p, `document.cookie`))

	cookies := p.cookies(origin)
	sessions := 0
	for _, c := range cookies {
		assert.True(t, strings.HasPrefix(c.Name, "__Host-wecom-"), c.Name)
		assert.True(t, c.HTTPOnly && c.Secure, c.Name)
		assert.Equal(t, "/", c.Path)
		assert.EqualValues(t, "Lax", c.SameSite)
		if isSessionCookie(c.Name) {
			sessions++
		}
	}
	assert.Equal(t, 1, sessions)

	require.EqualValues(t, 200, p.click("button"))
	assert.Equal(t, origin+"/wecom/signed-out", p.href())
	left := p.cookies(origin)
	require.Len(t, left, 1, "the session's cookie and the attempt's are gone")
	assert.True(t, strings.HasSuffix(left[0].Name, "-known"), "the mark stays: it grants nothing")
}
