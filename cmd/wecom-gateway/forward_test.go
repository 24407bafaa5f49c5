package main_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var identityNames = []string{
	"X-Forwarded-User", "X-Wecom-Corp-Id", "X-Wecom-App-Id", "X-Wecom-User-Id", "X-Wecom-Name", "X-Wecom-Biz-Mail", "X-Wecom-Email",
	"X-Wecom-Mobile", "X-Wecom-Avatar-Url", "X-Wecom-Departments", "X-Wecom-Authenticated-At",
	"X-Wecom-Groups", "X-Forwarded-Groups", "X-Forwarded-Email", "X-Forwarded-Preferred-Username",
}

func TestAuth(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_TRUSTED_PROXIES=127.0.0.1")
	c := g.signedIn()
	anonymous := g.client()
	headers := []http.Header{
		nil,
		page,
		{"X-Original-Uri": {"/deep"}, "Accept": {"text/html"}},
		{"X-Original-Uri": {"/wecom/signed-out"}},
		{"X-Forwarded-Uri": {"/wecom/login"}, "X-Forwarded-Method": {"HEAD"}},
		{"X-Forwarded-Uri": {"/healthz"}},
		{"X-Forwarded-Method": {"OPTIONS"}},
		{"X-Requested-With": {"XMLHttpRequest"}},
		{"Upgrade": {"websocket"}, "Connection": {"upgrade"}},
	}
	for _, h := range headers {
		res := anonymous.send("GET", "/wecom/auth", h, false)
		assert.Equal(t, 401, res.StatusCode, "%v", h)
		assert.Empty(t, res.Header["Set-Cookie"], "%v", h)
		assert.Empty(t, res.Header["Location"], "%v", h)
		for _, name := range identityNames {
			assert.NotContains(t, res.Header, name)
		}

		res = c.send("GET", "/wecom/auth", h, false)
		assert.Equal(t, 204, res.StatusCode, "%v", h)
		assert.Empty(t, res.text)
		assert.Empty(t, res.Header["Set-Cookie"], "%v", h)
		assert.Equal(t, "no-store", res.Header.Get("Cache-Control"))
		for _, name := range identityNames {
			assert.Len(t, res.Header[name], 1, name) // empty if unknown, or the client's own would stand
		}
		assert.Equal(t, "zhangsan", res.Header.Get("X-Forwarded-User"))
		assert.Equal(t, "zhangsan", res.Header.Get("X-Wecom-User-Id"))
		assert.Equal(t, w.fake.CorpID(), res.Header.Get("X-Wecom-Corp-Id"))
	}
	assert.Equal(t, 401, anonymous.send("HEAD", "/wecom/auth", nil, false).StatusCode)
}

// The home page may be anything; that everybody may see it does not let everybody in.
func TestT15_AuthWithAHomePageForEverybody(t *testing.T) {
	w := newWorld(t)
	for _, env := range [][]string{
		{"WECOM_HOME_PATH=/WW_verify_AbCd1234.txt", "WECOM_DOMAIN_PROOF=WW_verify_AbCd1234.txt"},
		{"WECOM_HOME_PATH=/wecom/signed-out", "WECOM_MOUNT_PATH=/app"},
		{"WECOM_HOME_PATH=/wecom/login", "WECOM_MOUNT_PATH=/app"},
		{"WECOM_HOME_PATH=/portal", "WECOM_MOUNT_PATH=/app"},
		{"WECOM_HOME_PATH=/healthz"},
		{"WECOM_HOME_PATH=/x?state=1"},
	} {
		g := w.start(env...)
		for _, route := range []string{"/wecom/auth", "/wecom/forward"} {
			assert.Equal(t, 401, g.client().script(route).StatusCode, "%s %v", route, env)
		}
		// Nothing is described, so the sign-in ends at home.
		res := g.client().once("/wecom/forward")
		require.True(t, w.toWeCom(res), "%v", env)
		c := g.client()
		at := c.once("/wecom/forward").Header.Get("Location")
		back := c.do(must(http.NewRequest("GET", at, nil)), false).Header.Get("Location")
		back = strings.Replace(strings.TrimPrefix(back, g.url), "/app/", "/", 1)
		assert.Equal(t, strings.TrimPrefix(env[0], "WECOM_HOME_PATH="), c.once(back).Header.Get("Location"), "%v", env)
		g.stop()
	}
}

func TestAuthTellsTheProfile(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_PROFILE=true")
	res := g.signedIn().script("/wecom/auth")
	assert.Equal(t, "张三", res.Header.Get("X-Wecom-Name"))
	assert.Equal(t, "2", res.Header.Get("X-Wecom-Departments"))
	assert.NotEmpty(t, res.Header.Get("X-Wecom-Authenticated-At"))
}

func TestForward(t *testing.T) {
	w := newWorld(t)
	cases := []struct {
		name    string
		header  http.Header
		trusted string // what it is when the peer is trusted: where the sign-in returns to, or 401
		other   string
	}{
		{"nothing described", page, "/", "/"},
		{"a script", nil, "401", "401"},
		{"a page", http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {"/deep?a=b&c=%2F"}}, "/deep?a=b&c=%2F", "/"},
		{"nginx's name", http.Header{"Accept": {"text/html"}, "X-Original-Uri": {"/deep"}}, "/deep", "/"},
		{"both, alike", http.Header{"Accept": {"text/html"}, "X-Original-Uri": {"/deep"}, "X-Forwarded-Uri": {"/deep"}}, "/deep", "/"},
		{"both, unlike", http.Header{"Accept": {"text/html"}, "X-Original-Uri": {"/deep"}, "X-Forwarded-Uri": {"/other"}}, "/", "/"},
		{"one of them empty", http.Header{"Accept": {"text/html"}, "X-Original-Uri": {"/deep"}, "X-Forwarded-Uri": {""}}, "/deep", "/"},
		{"twice", http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {"/deep", "/deep"}}, "/", "/"},
		{"a POST", http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {"/deep"}, "X-Forwarded-Method": {"POST"}}, "401", "/"},
		{"a GET", http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {"/deep"}, "X-Forwarded-Method": {"GET"}}, "/deep", "/"},
		{"methods", http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {"/deep"}, "X-Forwarded-Method": {"POST", "POST"}}, "/deep", "/"},
		{"XMLHttpRequest", http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {"/deep"}, "X-Requested-With": {"XMLHttpRequest"}}, "401", "401"},
		{"another site", http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {"https://evil.example/"}}, "/", "/"},
		{"another site's path", http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {"//evil.example/"}}, "/", "/"},
		{"a backslash", http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {`/\evil.example/`}}, "/", "/"},
		{"no path", http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {"deep"}}, "/", "/"},
		{"own route", http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {"/wecom/signed-out"}}, "/", "/"},
		{"own route, HEAD", http.Header{"X-Forwarded-Uri": {"/wecom/login"}, "X-Forwarded-Method": {"HEAD"}}, "401", "401"},
		{"own route, spelt", http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {"/wecom/%73igned-out"}}, "/", "/"},
		{"own route, dots", http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {"/x/../wecom/signed-out"}}, "/", "/"},
		{"health", http.Header{"X-Forwarded-Uri": {"/healthz"}}, "401", "401"},
		{"proof", http.Header{"X-Forwarded-Uri": {"/WW_verify_AbCd1234.txt"}}, "401", "401"},
		{"callback", http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {"/wecom/callback?code=x&state=y"}}, "/", "/"},
		{"logout", http.Header{"X-Forwarded-Uri": {"/wecom/logout"}, "X-Forwarded-Method": {"POST"}}, "401", "401"},
	}
	for _, trusted := range []bool{true, false} {
		proxies := "10.0.0.1"
		if trusted {
			proxies = "127.0.0.1"
		}
		g := w.start("WECOM_TRUSTED_PROXIES="+proxies, "WECOM_DOMAIN_PROOF=WW_verify_AbCd1234.txt")
		c := g.signedIn()
		for _, tc := range cases {
			want := tc.other
			if trusted {
				want = tc.trusted
			}
			anonymous := g.client()
			res := anonymous.send("GET", "/wecom/forward", tc.header, false)
			if want == "401" {
				assert.Equal(t, 401, res.StatusCode, tc.name)
				switch method := tc.header.Get("X-Forwarded-Method"); {
				case trusted && method == "HEAD":
				case trusted && method == "POST" && tc.header.Get("Accept") != "": // a form
					assert.Contains(t, res.text, "<!doctype html>", tc.name)
				default:
					assert.Contains(t, res.text, `"error":"login_required"`, tc.name)
				}
			} else {
				assert.Equal(t, want, returnedTo(t, w, anonymous, res), tc.name)
			}
			res = c.send("GET", "/wecom/forward", tc.header, false)
			assert.Equal(t, 204, res.StatusCode, tc.name)
			assert.Equal(t, "zhangsan", res.Header.Get("X-Forwarded-User"), tc.name)
			assert.Empty(t, res.Header["Set-Cookie"], tc.name)
		}
		tunnel := map[bool]int{true: 405, false: 204}
		for _, path := range []string{"/wecom/forward", "/wecom/auth"} {
			assert.Equal(t, tunnel[trusted], c.send("GET", path, http.Header{"X-Forwarded-Method": {"CONNECT"}}, false).StatusCode, path)
		}
		assert.NotEqual(t, 401, c.script("/wecom/session").StatusCode, "nothing of that signed anybody out")
		g.stop()
	}
}

func TestLoginBehindAnErrorPage(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_TRUSTED_PROXIES=127.0.0.1")
	cases := []struct {
		name, path string
		header     http.Header
		want       string
	}{
		{"by hand", "/wecom/login", page, "/"},
		{"described", "/wecom/login", http.Header{"X-Original-Uri": {"/deep?x=1"}}, "/deep?x=1"},
		{"by Traefik's name", "/wecom/login", http.Header{"X-Forwarded-Uri": {"/deep?x=1"}}, "/deep?x=1"},
		{"return_to wins", "/wecom/login?return_to=/asked", http.Header{"X-Original-Uri": {"/deep"}}, "/asked"},
		{"even a bad one", "/wecom/login?return_to=//evil.example", http.Header{"X-Original-Uri": {"/deep"}}, "/"},
		{"itself", "/wecom/login", http.Header{"X-Original-Uri": {"/wecom/login"}}, "/"},
		{"twice", "/wecom/login", http.Header{"X-Original-Uri": {"/a", "/b"}}, "/"},
		{"another site", "/wecom/login", http.Header{"X-Original-Uri": {"//evil.example"}}, "/"},
		{"a described GET", "/wecom/login", http.Header{"X-Original-Uri": {"/deep"}, "X-Forwarded-Method": {"GET"}}, "/deep"},
	}
	for _, tc := range cases {
		c := g.client()
		assert.Equal(t, tc.want, returnedTo(t, w, c, c.send("GET", tc.path, tc.header, false)), tc.name)
	}
	res := g.client().send("GET", "/wecom/login", http.Header{"X-Original-Uri": {"/deep"}, "X-Forwarded-Method": {"POST"}}, false)
	assert.Equal(t, 401, res.StatusCode)
	// Signed in meanwhile: it does no harm.
	c := g.signedIn()
	assert.Equal(t, "/deep", returnedTo(t, w, c, c.send("GET", "/wecom/login", http.Header{"X-Original-Uri": {"/deep"}}, false)))
}

// A proxy that WECOM_TRUSTED_PROXIES does not name is named once, without what it says.
func TestAnUntrustedProxyIsNamedOnce(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		proxies, path, header string
		lines                 int
	}{
		{"", "/wecom/auth", "X-Original-Uri", 1},
		{"10.0.0.1", "/wecom/auth", "X-Forwarded-Uri", 1},
		{"", "/wecom/forward", "X-Original-Uri", 1},
		{"", "/wecom/forward", "X-Forwarded-Uri", 1},
		{"127.0.0.1", "/wecom/auth", "X-Original-Uri", 0},
		{"127.0.0.1", "/wecom/forward", "X-Forwarded-Uri", 0},
		{"", "/wecom/auth", "X-Forwarded-Method", 0},
		{"", "/page", "X-Original-Uri", 0},
	} {
		env := []string{"WECOM_DANGEROUSLY_ALLOW_HTTP=true", "WECOM_CALLBACK_URL=" + ssoHost + "/wecom/callback", "WECOM_HOSTS=wiki.localhost"}
		if tt.proxies != "" {
			env = append(env, "WECOM_TRUSTED_PROXIES="+tt.proxies)
		}
		g := w.start(env...)
		c := g.client()
		for _, host := range []string{"sso.localhost", "wiki.localhost", "wiki.localhost"} {
			r := must(http.NewRequest("GET", g.url+tt.path, nil))
			r.Host = host
			r.Header.Set(tt.header, "/CANARY")
			r.Header.Set("X-Forwarded-For", "192.0.2.7")
			c.do(r, false)
		}
		c.CloseIdleConnections()
		g.stop()
		assert.Equal(t, tt.lines, strings.Count(g.log(), `"WECOM_TRUSTED_PROXIES does not name`), "%+v: %s", tt, g.log())
		assert.NotContains(t, g.log(), "CANARY")
		if tt.lines > 0 {
			g.wait("WECOM_TRUSTED_PROXIES does not name a client that says which page it asks about: sign-ins do not return to that page", "level", "WARN", "client", "127.0.0.1")
		}
	}
}

// T27: behind an error page nobody asks for the login page, so a browser that
// keeps the attempt's cookie and loses the session's must not go round for ever.
func TestT27_NoLoopBehindAnErrorPage(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_TRUSTED_PROXIES=127.0.0.1")
	for _, route := range []string{"/wecom/login", "/wecom/forward"} {
		c := g.client()
		described := http.Header{"X-Original-Uri": {"/deep"}, "Accept": {"text/html"}}
		res := c.send("GET", route, described, false)
		require.True(t, w.toWeCom(res))
		callback := c.do(must(http.NewRequest("GET", res.Header.Get("Location"), nil)), false).Header.Get("Location")
		require.Equal(t, 303, c.once(strings.TrimPrefix(callback, g.url)).StatusCode)
		session := sessionCookieName(t, g)
		var kept []string
		for pair := range strings.SplitSeq(c.cookie(), "; ") {
			if !strings.HasPrefix(pair, session+"=") {
				kept = append(kept, pair)
			}
		}
		fresh := g.client()
		described["Cookie"] = []string{strings.Join(kept, "; ")}
		res = fresh.send("GET", route, described, false)
		assert.Equal(t, 403, res.StatusCode, route)
	}
}
