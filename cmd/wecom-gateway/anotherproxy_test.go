package main_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
)

// A startProxy starts a proxy with our configuration for it, in which change says what to
// replace by what, and returns its address.
type startProxy func(t *testing.T, gateway, app string, change ...string) string

// behind starts a proxy and the gateway that it asks. Clients of that gateway open the proxy.
// %PORT% is the proxy's.
func (w *world) behind(start startProxy, change []string, more ...string) *gateway {
	w.t.Helper()
	addr := freeaddr.Get(w.t) // the gateway has to know the proxy's, and the proxy the gateway's
	front := start(w.t, addr, strings.TrimPrefix(w.upstream.URL, "http://"), change...)
	_, port, _ := net.SplitHostPort(front)
	env := []string{"ADDR=" + addr, "WECOM_UPSTREAM=", "WECOM_TRUSTED_PROXIES=127.0.0.1", "WECOM_CALLBACK_URL=http://" + front + "/wecom/callback"}
	for _, line := range more {
		env = append(env, strings.ReplaceAll(line, "%PORT%", port))
	}
	g := w.start(env...)
	g.url = "http://" + front
	return g
}

// replaced replaces what stands in a text once.
func replaced(t *testing.T, text string, change []string) string {
	t.Helper()
	for i := 0; i < len(change); i += 2 {
		require.Equal(t, 1, strings.Count(text, change[i]), "%s", change[i])
		text = strings.Replace(text, change[i], change[i+1], 1)
	}
	return text
}

// serves waits until a proxy has read its configuration.
func serves(t *testing.T, addr string) {
	t.Helper()
	eventually(t, "the proxy serves", func() bool {
		res, err := http.Get("http://" + addr + "/wecom/readyz")
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil && res.StatusCode != 404
	})
}

// connect asks for a tunnel by HTTP/2, which not every proxy speaks without TLS.
func (c *client) connect() {
	c.g.t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	body, tunnel := io.Pipe()
	defer tunnel.Close()
	r, err := http.NewRequest("CONNECT", c.g.url, body)
	require.NoError(c.g.t, err)
	r.Header.Set("Cookie", c.cookie())
	if res, err := transport.RoundTrip(r); err == nil {
		_ = res.Body.Close()
	}
}

// testProxy is what every proxy in front must do; with these changes it asks for department 4.
func testProxy(t *testing.T, start startProxy, rule ...string) {
	t.Run("nobody is signed in", func(t *testing.T) {
		w := newWorld(t)
		g := w.behind(start, nil, "WECOM_DOMAIN_PROOF=WW_verify_AbCd1234.txt")
		for _, path := range []string{"/reports?from=2026-01-01&q=a%2Fb", "/%E6%8A%A5%E8%A1%A8/a%2Fb?x=//y", "/d/uid/name?orgId=1&var-a=$__all", "/a;b=1?", "/?q=1|2"} {
			assert.Equal(t, path, g.client().get(path).seen(t).URI)
		}
		anonymous := g.client()
		before := w.upstream.requests.Load()
		for _, res := range []answer{
			anonymous.script("/api/x?return_to=/y"),
			anonymous.send("POST", "/form", nil, false),
			anonymous.send("GET", "/feed", http.Header{"Accept": {"text/html"}, "X-Requested-With": {"XMLHttpRequest"}}, false),
		} {
			assert.Equal(t, 401, res.StatusCode)
			assert.Equal(t, "application/json; charset=utf-8", res.Header.Get("Content-Type"))
			assert.JSONEq(t, `{"error":"login_required","message":"你还没有登录，或者登录已经失效。请登录后继续。","login_url":"/wecom/login"}`, res.text)
		}
		assert.Equal(t, 401, anonymous.send("POST", "/form", page, false).StatusCode)
		res := anonymous.send("HEAD", "/page", page, false)
		assert.Equal(t, 302, res.StatusCode)
		at, err := res.Location()
		require.NoError(t, err)
		assert.Equal(t, g.url+"/wecom/login", "http://"+at.Host+at.Path)
		for _, header := range []string{"X-Original-Uri", "X-Forwarded-Uri", "X-Forwarded-Method"} {
			assert.Equal(t, 401, anonymous.send("GET", "/api/x", http.Header{header: {"/wecom/signed-out"}}, false).StatusCode)
		}
		for _, path := range []string{"/wecom/../admin", "/WW_verify_x/../admin", "/wecom%2f..%2fadmin", "/wecom/login/../../admin", "/x/../wecom/signed-out", "//wecom/signed-out", "/healthz", "/WECOM/login"} {
			anonymous.raw("GET " + path + " HTTP/1.1\nHost: %HOST%\nConnection: close\n\n")
		}
		assert.Equal(t, 401, anonymous.upgrade("Upgrade: websocket").StatusCode)
		assert.Equal(t, before, w.upstream.requests.Load())
		assert.Equal(t, "AbCd1234", anonymous.script("/WW_verify_AbCd1234.txt").text)
	})

	t.Run("somebody is signed in", func(t *testing.T) {
		w := newWorld(t)
		g := w.behind(start, nil)
		c := g.signedIn()
		// A browser's own question would cost calls to WeCom.
		for _, own := range []string{
			"/wecom/auth", "/wecom/forward", "/wecom/%61uth", "/wecom//auth", "//wecom/auth", "/wecom/./auth", "/x/../wecom/forward", "/wecom%2Fauth",
			"/WECOM/auth", "/wecom/auth/", "/wecom/auth;x",
		} {
			res := c.raw("GET " + own + "?users=zhangsan HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: close\n\n")
			assert.Contains(t, []int{200, 404}, res.StatusCode, "%s", own)
			assert.NotContains(t, res.Header, "X-Wecom-User-Id", "%s", own)
		}

		// What a browser says of who it is, or of where it comes from, does not count.
		want := claims(c.script("/").seen(t))
		assert.Equal(t, []string{"zhangsan"}, want["x-forwarded-user"])
		assert.Equal(t, []string{"zhangsan"}, want["x-wecom-user-id"])
		assert.Equal(t, []string{w.fake.CorpID()}, want["x-wecom-corp-id"])
		headers := []string{
			"Connection: X-Forwarded-User, close\nX-Forwarded-User: admin", "Connection: close\nConnection: X-Forwarded-User\nX-Forwarded-User: admin",
			"Connection: X-Forwarded-User, Upgrade\nUpgrade: websocket\nX-Forwarded-User: admin",
		}
		for _, name := range append([]string{"X-Forwarded-Access-Token", "X-Wecom-Assertion"}, identityNames...) {
			words := strings.Split(name, "-")
			for _, sep := range []string{"-", "_", "."} {
				headers = append(headers, strings.Join(words, sep)+": admin", strings.ToLower(strings.Join(words, sep))+": admin")
			}
			headers = append(headers, strings.ToUpper(name)+": admin", name+": a\n"+name+": b", strings.Replace(name, "-", "_", 1)+": admin",
				words[0]+"-"+strings.Join(words[1:], "_")+": admin", "Connection: "+name+"\n"+name+": admin")
		}
		for _, header := range headers {
			seen := c.raw("GET / HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: close\n" + header + "\n\n").seen(t)
			assert.Equal(t, want, claims(seen), "%q", header)
			assert.NotContains(t, seen.Header, "X-Forwarded-Access-Token", "%q", header)
		}
		for _, name := range []string{"X-Forwarded-User", "x_forwarded_user", "X.Wecom.Name"} {
			seen := c.raw("POST / HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: close\nTrailer: " + name + "\n" +
				"Transfer-Encoding: chunked\n\n2\nhi\n0\n" + name + ": admin\n\n").seen(t)
			assert.Equal(t, want, claims(seen), "trailer %q", name)
			assert.Equal(t, "hi", seen.Body)
		}
		from := forwarding(c.script("/").seen(t))
		for _, header := range append([]string{"X.Forwarded.For: 1.2.3.4", "x.forwarded.host: evil.example", "X_Real_IP: 1.2.3.4", "X-Real.Ip: 1.2.3.4"}, forged...) {
			seen := c.raw("GET / HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: close\n" + header + "\n\n").seen(t)
			assert.Equal(t, from, forwarding(seen), "%q", header)
		}
		assert.NotContains(t, g.log(), "1.2.3.4")

		// A tunnel would let a browser say by itself who it is.
		w.upstream.agree()
		for _, headers := range upgrades {
			res := c.upgrade(headers)
			assert.True(t, res.StatusCode != 101 || res.Header.Get("Upgrade") == "websocket", "%q: %s", headers, res.Header.Get("Upgrade"))
		}
		assert.Equal(t, 101, c.upgrade("Upgrade: WebSocket").StatusCode)
		before := w.upstream.requests.Load()
		c.connect()
		assert.Equal(t, before, w.upstream.requests.Load(), "CONNECT")
		lost := 0
		for i := range 500 {
			if got := c.script(fmt.Sprintf("/r/%d", i)); got.StatusCode != 200 {
				lost++
			}
		}
		assert.Zero(t, lost)

		require.Equal(t, 303, c.send("POST", "/wecom/logout", nil, false).StatusCode)
		assert.Equal(t, 401, c.script("/api/x").StatusCode)

		c = g.signedIn()
		before = w.upstream.requests.Load()
		g.stop()
		for _, path := range []string{"/", "/wecom/session"} {
			assert.GreaterOrEqual(t, c.script(path).StatusCode, 500, path)
		}
		assert.Equal(t, before, w.upstream.requests.Load())
	})

	t.Run("a rule", func(t *testing.T) {
		w := newWorld(t)
		g := w.behind(start, rule, "WECOM_CONTACT=mailto:it@example.com")
		wangwu, zhangsan := w.signIn(g, "wangwu"), w.signIn(g, "zhangsan")
		for _, path := range []string{"/page", "/page?users=zhangsan", "/page?departments=1"} {
			assert.Equal(t, 200, wangwu.script(path).StatusCode, path)
			before := w.upstream.requests.Load()
			assert.Equal(t, 403, zhangsan.script(path).StatusCode, path)
			assert.Equal(t, 401, g.client().script(path).StatusCode, path)
			assert.Equal(t, before, w.upstream.requests.Load(), path)
			// The page says why, and its reference is in the log.
			refused := zhangsan.once(path)
			assert.Equal(t, 403, refused.StatusCode, path)
			assert.Contains(t, refused.text, "mailto:it@example.com", path)
			g.wait("wecom: request refused", "reference", refused.reference(t), "rule", "?departments=4", "user", "zhangsan")
		}
	})

	t.Run("the session store is away", func(t *testing.T) {
		w := newWorld(t)
		g := w.behind(start, nil, "WECOM_SESSION_STORE=redis://127.0.0.1:1/0")
		header := http.Header{"Accept": {"text/html"}, "Cookie": {sessionCookieName(t, g) + "=" + strings.Repeat("A", 43)}}
		res := g.client().send("GET", "/page", header, false)
		assert.Equal(t, 503, res.StatusCode)
		assert.NotEmpty(t, res.Header.Get("Retry-After"))
		assert.Empty(t, res.Header["Set-Cookie"])
		assert.Zero(t, w.upstream.requests.Load())
	})

	t.Run("the login panel", func(t *testing.T) {
		w := newWorld(t)
		g := w.behind(start, nil, "WECOM_LOGIN_PANEL=true", "WECOM_PANEL_SCRIPT_URL="+w.server.Endpoints().PanelScript)
		res := g.client().get("/page")
		assert.Equal(t, 200, res.StatusCode)
		assert.Equal(t, g.url+"/wecom/login?return_to=%2Fpage", res.Request.URL.String())
		assert.Contains(t, res.text, w.server.Endpoints().PanelScript)
		assert.Zero(t, w.upstream.requests.Load())
	})

	t.Run("many hosts", func(t *testing.T) {
		w := newWorld(t)
		g := w.behind(start, nil, "WECOM_DANGEROUSLY_ALLOW_HTTP=true", "WECOM_CALLBACK_URL="+ssoHost+":%PORT%/wecom/callback", "WECOM_HOSTS=wiki.localhost:%PORT%")
		front := strings.TrimPrefix(g.url, "http://")
		_, port, _ := net.SplitHostPort(front)
		c := g.client()
		c.Transport = &http.Transport{DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, strings.NewReplacer("sso.localhost", "127.0.0.1", "wiki.localhost", "127.0.0.1").Replace(to))
		}}
		t.Cleanup(c.Transport.(*http.Transport).CloseIdleConnections)
		for _, host := range []string{wikiHost, ssoHost} {
			seen := c.ask("GET", host+":"+port+"/page?a=%2F", page, true).seen(t)
			assert.Equal(t, "/page?a=%2F", seen.URI)
			assert.Equal(t, []string{"zhangsan"}, seen.Header["X-Forwarded-User"])
		}
		assert.Equal(t, 1, w.fake.Calls("auth/getuserinfo"))
		assert.Equal(t, 401, g.client().ask("GET", "http://"+front+"/page", nil, false).StatusCode)
		// A session of one host is none at another, whatever the client says.
		r, err := http.NewRequest("GET", ssoHost+":"+port+"/page", nil)
		require.NoError(t, err)
		r.Header.Set("X-Forwarded-Host", "wiki.localhost:"+port)
		for _, k := range c.Jar.Cookies(must(url.Parse(wikiHost))) {
			r.AddCookie(k)
		}
		assert.Equal(t, 401, (&client{&http.Client{Transport: c.Transport}, g}).do(r, false).StatusCode)
		require.Equal(t, 303, c.ask("POST", wikiHost+":"+port+"/wecom/logout", nil, false).StatusCode)
		assert.Equal(t, 401, c.ask("GET", wikiHost+":"+port+"/page", nil, false).StatusCode)
		assert.Equal(t, 200, c.ask("GET", ssoHost+":"+port+"/page", nil, false).StatusCode)
	})
}

// testCookies is for proxies that keep our cookies from the program. It returns somebody who is signed in.
func testCookies(t *testing.T, start startProxy) *client {
	t.Helper()
	c := newWorld(t).behind(start, nil).signedIn()
	own := strings.Split(c.cookie(), "; ")
	slices.SortFunc(own, func(a, b string) int { return strings.Index(a, "=") - strings.Index(b, "=") })
	name, _, _ := strings.Cut(own[0], "=") // the session's; that of an attempt is longer
	require.Greater(t, len(own), 1)
	for sent, want := range map[string]string{
		"%COOKIE%":        "",
		"a=b; %COOKIE%":   "a=b",
		"%COOKIE%; a=b":   "a=b",
		"\t%COOKIE%; a=b": "a=b",
		own[0] + "; a=b; " + own[1] + "; c=\"d; e=f\"":                                                 "a=b; c=\"d; e=f\"",
		"a=b;" + own[0] + ";c=d;" + own[1] + ";;e=f":                                                   "a=b; c=d; e=f",
		"a=b; " + own[0] + "\nCookie: c=d; " + own[1]:                                                  "a=b; c=d",
		own[0] + "; __Host-" + own[0] + "; a=__Host-wecom-00c0ffee=x; __Host-" + name + "-00c0ffee =x": "a=__Host-wecom-00c0ffee=x",
		own[0] + "; " + name + "x=1; wecom=2; xwecom-00c0ffee=3":                                       name + "x=1; wecom=2; xwecom-00c0ffee=3",
		own[0] + strings.Repeat("; a=b; wecom-00c0ffee=x", 7):                                          strings.Repeat("; a=b", 7)[2:],
		own[0] + strings.Repeat("; name=value", 500):                                                   strings.Repeat("; name=value", 500)[2:],
	} {
		seen := c.raw("GET / HTTP/1.1\nHost: %HOST%\nConnection: close\nCookie: " + sent + "\n\n").seen(t)
		var got []string
		for pair := range strings.SplitSeq(strings.Join(seen.Header["Cookie"], ";"), ";") {
			if pair = strings.TrimSpace(pair); pair != "" {
				got = append(got, pair)
			}
		}
		assert.Equal(t, want, strings.Join(got, "; "), "%q", sent)
	}
	return c
}
