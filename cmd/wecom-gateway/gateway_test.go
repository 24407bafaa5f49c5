package main_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
)

func TestSignIn(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c := g.client()

	res := c.once("/reports?from=2026-01-01")
	require.True(t, w.toWeCom(res), "%d", res.StatusCode)
	assert.Equal(t, "no-store", res.Header.Get("Cache-Control"))

	res = c.script("/api/reports")
	assert.Equal(t, 401, res.StatusCode)
	var refused struct {
		Error    string `json:"error"`
		LoginURL string `json:"login_url"`
	}
	res.json(t, &refused)
	assert.Equal(t, "login_required", refused.Error)
	assert.Equal(t, "/wecom/login", refused.LoginURL)

	for _, path := range []string{
		"/reports?from=2026-01-01", "/a//b?x=//y&z=%2F%20+;q", "/%E6%8A%A5%E8%A1%A8/a%2Fb?%", "/a/../b", "/?", "/a[1]?q=[]&&=",
	} {
		seen := c.get(path).seen(t)
		assert.Equal(t, path, seen.URI)
		assert.Equal(t, strings.TrimPrefix(g.url, "http://"), seen.Host)
		assert.Equal(t, "zhangsan", seen.Header.Get("X-Forwarded-User"))
		assert.Equal(t, "zhangsan", seen.Header.Get("X-Wecom-User-Id"))
		assert.Equal(t, w.fake.CorpID(), seen.Header.Get("X-Wecom-Corp-Id"))
		assert.Equal(t, w.fake.AgentID(), seen.Header.Get("X-Wecom-App-Id"))
		assert.NotContains(t, seen.Header.Get("Cookie"), "wecom-")
	}
	assert.Equal(t, 1, w.fake.Calls("gettoken"))

	res = c.send("POST", "/wecom/logout", nil, true)
	assert.Equal(t, 200, res.StatusCode)
	assert.Equal(t, "/wecom/signed-out", res.Request.URL.Path)
	assert.Equal(t, 401, c.script("/api/reports").StatusCode)
	assert.Equal(t, 405, c.script("/wecom/logout").StatusCode)
}

func TestDeepLinkSurvivesTheSignIn(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	for _, path := range []string{"/reports?from=2026-01-01&q=a%2Fb", "/%E6%8A%A5%E8%A1%A8?x=//y", "/d/uid/name?orgId=1&var-a=$__all"} {
		assert.Equal(t, path, g.client().get(path).seen(t).URI)
	}
}

func TestScriptRoutes(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c := g.client()
	assert.Equal(t, 401, c.script("/wecom/session").StatusCode)
	res := c.send("POST", "/wecom/attempt", http.Header{"Content-Type": {"application/json"}}, false)
	require.Equal(t, 200, res.StatusCode)
	var attempt struct{ State, AppID, RedirectURI string }
	res.json(t, &attempt)
	assert.NotEmpty(t, attempt.State)

	c = g.signedIn()
	var who struct {
		UserID string `json:"user_id"`
	}
	c.script("/wecom/session").json(t, &who)
	assert.Equal(t, "zhangsan", who.UserID)
	assert.Equal(t, 204, c.send("DELETE", "/wecom/session", nil, false).StatusCode)
	assert.Equal(t, 401, c.script("/wecom/session").StatusCode)
}

func TestLoginPanelAndJSSDK(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_LOGIN_PANEL=true", "WECOM_JSSDK=true", "WECOM_PANEL_SCRIPT_URL="+w.server.Endpoints().PanelScript)
	c := g.client()
	panel := c.get("/x")
	assert.Equal(t, 200, panel.StatusCode)
	assert.Contains(t, panel.text, w.server.Endpoints().PanelScript)
	assert.Equal(t, 401, c.script("/wecom/jssdk?url="+g.url+"/x").StatusCode)
	c.get("/wecom/login?panel=no")
	signed := c.script("/wecom/jssdk?url=" + g.url + "/x")
	assert.Equal(t, 200, signed.StatusCode)
	assert.Contains(t, signed.text, "signature")
}

func TestMountPath(t *testing.T) {
	w := newWorld(t)
	addr := freeaddr.Get(t)
	g := w.start("ADDR="+addr, "WECOM_MOUNT_PATH=/app", "WECOM_CALLBACK_URL=http://"+addr+"/app/wecom/callback", "WECOM_TRUSTED_PROXIES=127.0.0.1")
	back := func(path, described string) string {
		c := g.client()
		return returnedTo(t, w, c, c.send("GET", path, http.Header{"Accept": {"text/html"}, "X-Forwarded-Uri": {described}}, false))
	}
	assert.Equal(t, "/app/deep?x=1", back("/deep?x=1", ""))
	assert.Equal(t, "/app/deep?x=1", back("/wecom/forward", "/app/deep?x=1"))
	assert.Equal(t, "/app/", back("/wecom/forward", "/elsewhere"))
	assert.Equal(t, "/app/", back("/wecom/forward", "/app/wecom/login"))
}

// returnedTo follows an answer to WeCom and back until the sign-in ends, and says where.
func returnedTo(t *testing.T, w *world, c *client, res answer) string {
	t.Helper()
	require.True(t, w.toWeCom(res), "%d %s", res.StatusCode, res.text)
	// WeCom's page leads to the callback, which a mounted gateway sees without its prefix.
	callback := c.do(must(http.NewRequest("GET", res.Header.Get("Location"), nil)), false).Header.Get("Location")
	u, err := url.Parse(callback)
	require.NoError(t, err)
	done := c.once(strings.TrimPrefix(u.RequestURI(), "/app"))
	require.Equal(t, 303, done.StatusCode, "%s", done.text)
	return done.Header.Get("Location")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// The upstream stands for what is protected: none of these reaches it without a
// sign-in, and with one none reaches it that lies in our folder.
func TestT15_PathSpellings(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_DOMAIN_PROOF=WW_verify_AbCd1234.txt", "WECOM_EVENT_TOKEN="+eventToken, "WECOM_EVENT_AES_KEY="+eventKey)
	c := g.signedIn()
	anonymous := g.client()
	open := map[string]bool{"/healthz": true, "/WW_verify_AbCd1234.txt": true, "/wecom/signed-out": true}
	rows := []struct {
		path string
		ours bool // never proxied
	}{
		{"/admin", false},
		{"//admin", false},
		{"/Admin", false},
		{"/./admin", false},
		{"/public/../admin", false},
		{"/public/%2e%2e/admin", false},
		{"/public%2f..%2fadmin", false},
		{"/public/..;/admin", false},
		{"/;/admin", false},
		{"/admin;x=1", false},
		{"/admin/", false},
		{"/admin%00", false},
		{"/admin%0a", false},
		{"/%61dmin", false},
		{"/admin?/healthz", false},
		{"/admin?x=/wecom/login", false},
		{`/\admin`, false},
		{"/healthz", true},
		{"/healthz/", false},
		{"/healthz/../admin", false},
		{"/healthz%2f..%2fadmin", false},
		{"/healthz;/../admin", false},
		{"/Healthz", false},
		{"/%68ealthz", false},
		{"/healthzx", false},
		{"/admin/healthz", false},
		{"/WW_verify_AbCd1234.txt", true},
		{"/WW_verify_AbCd1234.txt/../admin", false},
		{"/wecom", false},
		{"/wecomx/login", false},
		{"/Wecom/login", true},
		{"/WECOM/x", true},
		{"/x/../WeCom/%78", true},
		{"/wecom/", true},
		{"/wecom/unknown", true},
		{"/wecom/signed-out", true},
		{"/wecom/signed-out/", true},
		{"/wecom/signed-out/../../admin", true},
		{"/wecom/%73igned-out", true},
		{"/wecom%2fsigned-out", true},
		{"/%77ecom/signed-out", true},
		{"//wecom/signed-out", true},
		{"/./wecom/signed-out", true},
		{"/admin/../wecom/signed-out", true},
		{"/wecom//signed-out", true},
		{"/wecom/./auth", true},
		{"/x%2Fy/../wecom/signed-out", true},
		{"/x%2Fy%7C|/%2e%2e/wecom/signed-out", true},
		{`/\wecom/auth`, true},
		{`/wecom\auth`, true},
		{"/wecom/auth/x", true},
		{"/wecom/readyz/../../admin", true},
		{"/wecom/events", true},
		{"/wecom/events/../../admin", true},
		{"/wecom/%65vents", true},
		{"/wecom;x=1/auth", true},
		{"/;x/wecom;y/auth", true},
		{"/admin/..;/wecom/auth", true},
		{"/wecom;x=1/../admin", false},
	}
	for _, row := range rows {
		t.Run(row.path, func(t *testing.T) {
			ask := "GET " + row.path + " HTTP/1.1\nHost: %HOST%\nConnection: close\n"
			before := w.upstream.requests.Load()
			res := anonymous.raw(ask + "\n")
			assert.Equal(t, before, w.upstream.requests.Load(), "reached without a sign-in")
			if !open[row.path] {
				assert.GreaterOrEqual(t, res.StatusCode, 400)
			}
			res = c.raw(ask + "Cookie: %COOKIE%\n\n")
			if row.ours {
				assert.Equal(t, before, w.upstream.requests.Load(), "proxied")
			} else if res.StatusCode != 400 { // what net/http refuses by itself
				assert.Equal(t, before+1, w.upstream.requests.Load(), "not proxied: %d", res.StatusCode)
			}
		})
	}
	t.Logf("%d spellings", len(rows))

	// Forms of the request line other than a path.
	for _, line := range []string{"OPTIONS * HTTP/1.1", "CONNECT 127.0.0.1:22 HTTP/1.1", "CONNECT /admin HTTP/1.1"} {
		before := w.upstream.requests.Load()
		res := c.raw(line + "\nHost: %HOST%\nConnection: close\nCookie: %COOKIE%\n\n")
		assert.Equal(t, before, w.upstream.requests.Load(), line)
		t.Log(line, res.StatusCode)
	}
	seen := c.raw("GET http://evil.example/x HTTP/1.1\nHost: %HOST%\nConnection: close\nCookie: %COOKIE%\n\n").seen(t)
	assert.Equal(t, "/x", seen.URI)
}

func TestAllow(t *testing.T) {
	w := newWorld(t)
	cases := []struct {
		env    []string
		in     string
		refuse string
	}{
		{[]string{"WECOM_ALLOW_USERS=ZhangSan, nobody"}, "zhangsan", "lisi"},
		{[]string{"WECOM_ALLOW_DEPARTMENTS=2"}, "wangwu", "lisi"},
		{[]string{"WECOM_ALLOW_DEPARTMENTS=2", "WECOM_ALLOW_USERS=lisi"}, "lisi", "sunqi"},
		{[]string{"WECOM_MEMBERS=visible"}, "lisi", "sunqi"},
		{[]string{"WECOM_MEMBERS=active", "WECOM_ALLOW_USERS=lisi,zhaoliu"}, "lisi", "zhangsan"},
		{nil, "sunqi", "wwfedcba9876543210/zhouba"},
	}
	for _, tc := range cases {
		t.Run(strings.Join(tc.env, " "), func(t *testing.T) {
			g := w.start(tc.env...)
			defer g.stop()
			w.fake.SignInAs(tc.in)
			assert.Equal(t, 200, g.client().get("/").StatusCode)
			w.fake.SignInAs(tc.refuse)
			before := w.upstream.requests.Load()
			assert.Equal(t, 403, g.client().get("/").StatusCode)
			assert.Equal(t, before, w.upstream.requests.Load())
		})
	}
}

func TestForwardAuthOnly(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_UPSTREAM=")
	c := g.client()
	res := c.get("/page")
	assert.Equal(t, 404, res.StatusCode)
	assert.Equal(t, 204, c.script("/wecom/auth").StatusCode)
}

// A proxy may send a POST on a connection that it kept, just when the gateway is told
// to end; nobody may repeat it.
func TestIdleConnectionsAreUsedUp(t *testing.T) {
	g := newWorld(t).start()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	answers := bufio.NewReader(conn)
	send := func() *http.Response {
		_, err := io.WriteString(conn, "POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(answers, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		assert.Equal(t, 401, res.StatusCode)
		return res
	}
	assert.False(t, send().Close)
	g.terminate()
	g.wait("the gateway finishes what is in flight")
	assert.True(t, send().Close)
	assert.Zero(t, g.stop())
}
