package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// plain is how a program sees a header's name that cannot tell _ from -.
func plain(name string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(name))
}

// claims returns all that a request says of who somebody is, by the plain name.
func claims(seen request) map[string][]string {
	got := map[string][]string{}
	for _, h := range []http.Header{seen.Header, seen.Trailer} {
		for name, values := range h {
			if p := plain(name); strings.HasPrefix(p, "x-wecom-") || p == "x-forwarded-user" || p == "x-forwarded-email" || p == "x-forwarded-groups" || p == "x-forwarded-preferred-username" {
				got[p] = append(got[p], values...)
			}
		}
	}
	return got
}

func TestT16_IdentityHeadersFromTheClient(t *testing.T) {
	w := newWorld(t)
	for _, trust := range []string{"", "127.0.0.1"} { // a trusted proxy passes on what browsers send, too
		g := w.start("WECOM_TRUSTED_PROXIES=" + trust)
		c := g.signedIn()
		want := claims(c.script("/").seen(t))
		require.Equal(t, []string{"zhangsan"}, want["x-forwarded-user"])
		require.Equal(t, []string{"zhangsan"}, want["x-wecom-user-id"])

		var headers []string
		for _, name := range []string{"X-Forwarded-User", "X-Wecom-User-Id", "X-Wecom-Corp-Id", "X-Wecom-Name", "X-Wecom-Departments", "X-Wecom-Is-Admin"} {
			words := strings.Split(name, "-")
			for _, sep := range []string{"-", "_", ".", "~", "!", "+", "*", "'"} {
				headers = append(headers, strings.Join(words, sep)+": admin")
			}
			headers = append(headers,
				strings.ToLower(name)+": admin", strings.ToUpper(name)+": admin",
				name+": admin\n"+name+": root", name+":admin", name+": \tadmin",
				"Connection: "+name+"\n"+name+": admin",
				"Connection: close, "+strings.ToLower(name),
				"Connection: "+strings.ReplaceAll(name, "-", "_")+"\n"+strings.ReplaceAll(name, "-", "_")+": admin",
				"Keep-Alive: "+name+"\nProxy-Connection: "+name+"\n"+name+": admin",
			)
		}
		headers = append(headers, "X-Forwarded-Email: a@b", "X_Forwarded_Groups: admins", "X-Forwarded-Groups: admins", "x.wecom.groups: admins", "X_Forwarded-Preferred_Username: admin", "X-Wecom_User-Id: admin", "x_forwarded-user: admin")
		for _, h := range headers {
			seen := c.raw("GET / HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: close\n" + h + "\n\n").seen(t)
			assert.Equal(t, want, claims(seen), "%q", h)
		}

		for _, name := range []string{"X-Forwarded-User", "x_forwarded_user", "X-WECOM-USER-ID", "X.Wecom.Name", "X-Wecom-Is-Admin"} {
			for _, announce := range []string{"Trailer: " + name + "\n", "Trailer: X-Other\n", ""} {
				seen := c.raw("POST / HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: close\n" + announce +
					"Transfer-Encoding: chunked\n\n2\nhi\n0\n" + name + ": admin\n\n").seen(t)
				assert.Equal(t, want, claims(seen), "trailer %q, %q", name, announce)
				assert.Equal(t, "hi", seen.Body)
			}
		}
		t.Logf("%d headers, 15 trailers", len(headers))
	}
}

// upgrades are what a client may ask for that is no WebSocket. A program that
// agrees gets what follows as it is: HTTP/2 requests with any identity in their headers.
var upgrades = []string{
	"Upgrade: h2c", "Upgrade: h2c\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", "Upgrade: H2C", "Upgrade: h2c, websocket", "Upgrade: websocket, h2c",
	"Upgrade: h2c\nUpgrade: websocket", "Upgrade: HTTP/2.0", "Upgrade: TLS/1.0, HTTP/1.1", "Upgrade: x",
}

// agree makes the upstream take every upgrade, and tell which.
func (u *upstream) agree() {
	u.answer(func(rw http.ResponseWriter, r *http.Request) {
		wanted := strings.Join(r.Header["Upgrade"], "|")
		if wanted == "" || !strings.EqualFold(r.Header.Get("Connection"), "upgrade") {
			_, _ = io.WriteString(rw, "no upgrade"+r.Header.Get("Http2-Settings"))
			return
		}
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\ntunnel", r.Header.Get("Upgrade"))
	})
}

func (c *client) upgrade(headers string) answer {
	c.g.t.Helper()
	return c.raw("GET / HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: Upgrade, HTTP2-Settings\n" + headers + "\n\n")
}

func TestT16_NoTunnelThroughAnUpgrade(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c := g.signedIn()
	w.upstream.agree()
	for _, headers := range upgrades {
		res := c.upgrade(headers)
		assert.Equal(t, 200, res.StatusCode, "%q", headers)
		assert.Equal(t, "no upgrade", res.text, "%q", headers)
	}
	assert.Equal(t, 101, c.upgrade("Upgrade: WebSocket").StatusCode)
	assert.Equal(t, 401, g.client().upgrade("Upgrade: websocket").StatusCode)
}

// What a program behind the gateway, or a client's answer, shows of where a request came from.
func forwarding(seen request) map[string][]string {
	got := map[string][]string{"host": {seen.Host}}
	for name, values := range seen.Header {
		p := plain(name)
		if strings.Contains(p, "forwarded") || strings.HasPrefix(p, "x-original") || strings.HasSuffix(p, "-ip") || p == "x-rewrite-url" {
			got[name] = values
		}
	}
	return got
}

var forged = []string{
	"X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 1.2.3.4\nX-Forwarded-For: 5.6.7.8", "x_forwarded_for: 1.2.3.4", "X-Forwarded-Host: evil.example",
	"X-Forwarded-Proto: https", "X_Forwarded_Proto: https", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /evil", "X-Forwarded-Server: evil", "Forwarded: for=1.2.3.4;host=evil.example",
	"X-Forwarded-Uri: /evil", "X-Original-URI: /evil", "X-Original-Url: /evil", "X-Rewrite-Url: /evil", "X-Forwarded-Method: POST", "X-Real-IP: 1.2.3.4",
	"X-Original-Host: evil.example", "True-Client-IP: 1.2.3.4", "CF-Connecting-IP: 1.2.3.4", "X-Forwarded-Scheme: https", "X-Forwarded: for=1.2.3.4",
	"X-Client-IP: 1.2.3.4", "X-Cluster-Client-IP: 1.2.3.4", "X-Forwarded-Ssl: on", "X-Forwarded-Protocol: https", "X-Forwarded-Path: /evil", "X-Forwarded-Client-Cert: evil", "Connection: X-Forwarded-For",
}

func TestT14_ForgedForwardingHeaders(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_TRUSTED_PROXIES=10.0.0.0/8,2001:db8::1")
	c := g.signedIn()
	ask := func(path, header string, cookie bool) answer {
		text := "GET " + path + " HTTP/1.1\nHost: %HOST%\nAccept: text/html\nConnection: close\n" + header
		if cookie {
			text += "Cookie: %COOKIE%\n"
		}
		return c.raw(text + "\n")
	}
	want := forwarding(ask("/", "", true).seen(t))
	assert.Equal(t, []string{"127.0.0.1"}, want["X-Forwarded-For"])
	assert.Equal(t, []string{"http"}, want["X-Forwarded-Proto"])
	assert.Equal(t, want["host"], want["X-Forwarded-Host"])

	page := func(a answer) string { // the sign-in page without the state, which is new each time
		location, state, _ := strings.Cut(a.Header.Get("Location"), "state=")
		_, rest, _ := strings.Cut(state, "&")
		return fmt.Sprint(a.StatusCode, location, rest, len(a.Header["Set-Cookie"]))
	}
	anonymous := map[string]string{}
	for _, path := range []string{"/deep", "/wecom/login", "/wecom/auth", "/wecom/forward"} {
		anonymous[path] = page(ask(path, "", false))
	}
	for _, h := range forged {
		assert.Equal(t, want, forwarding(ask("/", h+"\n", true).seen(t)), "%q", h)
		for path, want := range anonymous {
			assert.Equal(t, want, page(ask(path, h+"\n", false)), "%s %q", path, h)
		}
		assert.Equal(t, 204, ask("/wecom/auth", h+"\n", true).StatusCode)
	}
	assert.NotContains(t, g.log(), "1.2.3.4")
	assert.Equal(t, "/", returnedTo(t, w, c, ask("/wecom/login", "X-Original-URI: /evil\n", false)))
	assert.Equal(t, "/", returnedTo(t, w, c, ask("/wecom/forward", "X-Forwarded-Uri: /evil\n", false)))
}

func TestT14_TrustedProxy(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_TRUSTED_PROXIES=127.0.0.0/8,10.0.0.0/8")
	c := g.signedIn()
	cases := []struct {
		header           string
		chain, logged    string
		host, proto      string
		hostFromRequest  bool
		extraHeaderValue string
	}{
		{header: "", chain: "127.0.0.1", logged: "127.0.0.1", proto: "http", hostFromRequest: true},
		{header: "X-Forwarded-For: 1.2.3.4\n", chain: "1.2.3.4, 127.0.0.1", logged: "1.2.3.4", proto: "http", hostFromRequest: true},
		{header: "X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.1.1.1\n", chain: "6.6.6.6, 1.2.3.4, 10.1.1.1, 127.0.0.1", logged: "1.2.3.4", proto: "http", hostFromRequest: true},
		{header: "X-Forwarded-For: fe80::1%evil, 10.1.1.1\n", chain: "fe80::1%evil, 10.1.1.1, 127.0.0.1", logged: "fe80::1", proto: "http", hostFromRequest: true},
		{header: "X-Forwarded-For: 6.6.6.6, nonsense, 10.1.1.1\n", chain: "6.6.6.6, nonsense, 10.1.1.1, 127.0.0.1", logged: "10.1.1.1", proto: "http", hostFromRequest: true},
		{header: "X-Forwarded-Proto: https\nX-Forwarded-Host: app.example.com\n", chain: "127.0.0.1", logged: "127.0.0.1", host: "app.example.com", proto: "https"},
		{header: "X-Forwarded-Proto: https\nX-Forwarded-Proto: http\n", chain: "127.0.0.1", logged: "127.0.0.1", proto: "http", hostFromRequest: true},
		{header: "x_forwarded_proto: https\n", chain: "127.0.0.1", logged: "127.0.0.1", proto: "http", hostFromRequest: true},
	}
	for i, tc := range cases {
		seen := c.raw("GET / HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: close\n" + tc.header + "\n").seen(t)
		assert.Equal(t, []string{tc.chain}, seen.Header["X-Forwarded-For"], "%d", i)
		assert.Equal(t, []string{tc.proto}, seen.Header["X-Forwarded-Proto"], "%d", i)
		if tc.hostFromRequest {
			tc.host = seen.Host
		}
		assert.Equal(t, []string{tc.host}, seen.Header["X-Forwarded-Host"], "%d", i)
		assert.NotContains(t, seen.Header, "X_forwarded_proto")
		g.wait("request", "route", "app", "client", tc.logged)
	}
}

func TestCookiesStayApart(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c := g.signedIn()
	own, _, _ := strings.Cut(c.cookie(), "=")
	require.Regexp(t, `^wecom-[0-9a-f]{8}`, own)
	own = own[:len("wecom-00000000")]
	session := c.cookie()

	for sent, want := range map[string]string{
		"Cookie: " + session + "; a=b":                     "a=b",
		"Cookie: a=b; " + session + "; c=\"d; e=f\"":       "a=b; c=\"d; e=f\"",
		"Cookie: " + session + "\nCookie: a=b":             "a=b",
		"Cookie: " + session:                               "",
		"Cookie: " + session + "; " + own + "-00c0ffee=x":  "",
		"Cookie: " + session + ";" + own + "-00c0ffee =x;": "",
		"Cookie: " + session + "; " + own + "x=1; wecom=2": own + "x=1; wecom=2",
	} {
		seen := c.raw("GET / HTTP/1.1\nHost: %HOST%\nConnection: close\n" + sent + "\n\n").seen(t)
		assert.Equal(t, want, strings.Join(seen.Header["Cookie"], "; "), "%q", sent)
	}

	w.upstream.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Add("Set-Cookie", "early="+own)
		rw.Header().Add("Set-Cookie", own+"=early; Path=/")
		rw.WriteHeader(http.StatusEarlyHints)
		rw.Header().Del("Set-Cookie")
		for _, line := range []string{
			own + "=stolen; Path=/", own + "-00c0ffee=x", " " + own + " = x", own, "=" + own + "=x", "== " + own + "=x; Path=/",
			"theirs=1; Path=/", own + "x=2", "a=" + own,
		} {
			rw.Header().Add("Set-Cookie", line)
		}
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nCookie: %s\r\nConnection: close\r\n\r\n", session)
	all, err := io.ReadAll(conn)
	require.NoError(t, err)
	var set []string
	for line := range strings.Lines(string(all)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && strings.EqualFold(name, "Set-Cookie") {
			set = append(set, value)
		}
	}
	assert.Equal(t, []string{"theirs=1; Path=/", own + "x=2", "a=" + own}, set)
	early, final, _ := strings.Cut(string(all), "\r\n\r\n")
	assert.Contains(t, early, "103 Early Hints")
	assert.Equal(t, 1, strings.Count(final, "Vary: Cookie"))
}

// A trailer is a header that comes late.
func TestCookiesStayApartInTrailers(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c := g.signedIn()
	own, _, _ := strings.Cut(c.cookie(), "=")
	for _, announced := range []bool{true, false} {
		w.upstream.answer(func(rw http.ResponseWriter, _ *http.Request) {
			name := http.TrailerPrefix
			if announced {
				rw.Header().Set("Trailer", "Set-Cookie, X-Sum")
				name = ""
			}
			rw.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(rw, "x")
			_ = http.NewResponseController(rw).Flush()
			rw.Header()[name+"Set-Cookie"] = []string{own + "=stolen; Path=/"}
			rw.Header()[name+"X-Sum"] = []string{"1"}
		})
		res := c.raw("GET / HTTP/1.1\nHost: %HOST%\nTE: trailers\nCookie: %COOKIE%\nConnection: close\n\n")
		assert.Equal(t, "x", res.text)
		assert.Equal(t, "1", res.Trailer.Get("X-Sum"))
		assert.Empty(t, res.Trailer.Get("Set-Cookie"))
	}
}

// Paths arrive byte for byte, also with bytes that net/url would write in another way.
func TestPathsArriveAsTheyWereSent(t *testing.T) {
	w := newWorld(t)
	for _, folder := range []string{"", "/", "/app", "/a%2Fpp/"} {
		g := w.start("WECOM_UPSTREAM=" + w.upstream.URL + folder)
		c := g.signedIn()
		for _, path := range []string{
			"/", "/a%2Fb", "/a%2fb", "/a|b", "/a%2Fb|c", "/a%2fb^c", "/a%2F{id}", "/%2F|", "/%7C%2f|", `/a%2F"<b>"`, "/a%2F`b", "/报%2F表", "/a%2Fb|c?", "/a%2Fb|c?x=a|b&%2F",
			"//a%2Fb", "/a//b%2F|", "/a%2Fb;c|d", "/a:b%2F|",
		} {
			seen := c.raw("GET " + path + " HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: close\n\n").seen(t)
			assert.Equal(t, strings.TrimSuffix(folder, "/")+path, seen.URI)
		}
		// What cannot be passed on as it is.
		before := w.upstream.requests.Load()
		for _, path := range []string{"//a%2Fb|c", "/a%2Fb#c", "/a#b"} {
			assert.Equal(t, 400, c.raw("GET "+path+" HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: close\n\n").StatusCode, path)
		}
		assert.Equal(t, before, w.upstream.requests.Load())
		g.stop()
	}
}

// A body that the client breaks off or spoils is no fault of the upstream.
func TestBrokenBodies(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_METRICS_ADDR=127.0.0.1:0")
	c := g.signedIn()
	for _, body := range []string{"zz\n", "5\nhelloXX", "ffffffffffffffffff\n", "2\nhi\n0\nno trailer\n\n"} {
		res := c.raw("POST / HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nTransfer-Encoding: chunked\n\n" + body)
		assert.Equal(t, 400, res.StatusCode, "%q", body)
		assert.Contains(t, res.text, `"error":"bad_request"`)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	require.NoError(t, err)
	_, err = fmt.Fprintf(conn, "PUT / HTTP/1.1\r\nHost: x\r\nCookie: %s\r\nContent-Length: 9\r\n\r\nhi", c.cookie())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	g.wait("request", "method", "PUT")
	assert.NotRegexp(t, `wecom_gateway_upstream_errors_total\{.*\} [1-9]`, g.metrics())
	assert.NotContains(t, g.log(), `"level":"ERROR"`)
}

// A client that asks whether its body is wanted hears what the upstream says.
func TestExpectContinue(t *testing.T) {
	w := newWorld(t)
	app, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer app.Close()
	g := w.start("WECOM_UPSTREAM=http://" + app.Addr().String())
	c := g.client()
	returnedTo(t, w, c, c.once("/wecom/login"))
	send := func() (net.Conn, *bufio.Reader, net.Conn, *bufio.Reader) {
		client := must(net.Dial("tcp", strings.TrimPrefix(g.url, "http://")))
		_ = client.SetDeadline(time.Now().Add(patience))
		_, _ = fmt.Fprintf(client, "POST / HTTP/1.1\r\nHost: x\r\nCookie: %s\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", c.cookie())
		upstream := must(app.Accept())
		_ = upstream.SetDeadline(time.Now().Add(patience))
		read := bufio.NewReader(upstream)
		for line := ""; line != "\r\n"; {
			line = must(read.ReadString('\n'))
		}
		return client, bufio.NewReader(client), upstream, read
	}
	for range 200 {
		client, answers, upstream, _ := send()
		_, _ = io.WriteString(upstream, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
		assert.Equal(t, "HTTP/1.1 403 Forbidden\r\n", must(answers.ReadString('\n')))
		_, _ = client.Close(), upstream.Close()
	}

	client, answers, upstream, read := send()
	defer client.Close()
	defer upstream.Close()
	_, _ = io.WriteString(upstream, "HTTP/1.1 100 Continue\r\n\r\n")
	assert.Equal(t, "HTTP/1.1 100 Continue\r\n\r\n", must(answers.ReadString('\n'))+must(answers.ReadString('\n')))
	_, _ = io.WriteString(client, "hello")
	body := make([]byte, 5)
	_, err = io.ReadFull(read, body)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(body))
	_, _ = io.WriteString(upstream, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
	assert.Equal(t, "HTTP/1.1 201 Created\r\n", must(answers.ReadString('\n')))
}

// An upstream that is a folder is that folder and not its neighbours.
func TestT15_UpstreamIsAFolder(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_UPSTREAM=" + w.upstream.URL + "/app")
	c := g.signedIn()
	assert.Equal(t, "/app/a%2Fb..c/...?x=../y", c.script("/a%2Fb..c/...?x=../y").seen(t).URI)
	before := w.upstream.requests.Load()
	for _, path := range []string{"/../admin", "/x/../../admin", "/%2e%2e/admin", "/..%2fadmin", "/.%2E/", "/..", "/..;a/admin", `/..\admin`, "/x%5c..%5c..%5cadmin", "//../admin"} {
		res := c.raw("GET " + path + " HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: close\n\n")
		assert.Equal(t, 400, res.StatusCode, path)
	}
	assert.Equal(t, before, w.upstream.requests.Load())
}

func TestUpstreamErrors(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_UPSTREAM_TIMEOUT=300ms", "WECOM_METRICS_ADDR=127.0.0.1:0")
	c := g.signedIn()
	chinese := w.start("WECOM_LANGUAGE=zh").signedIn()
	var refused struct{ Error, Message, Reference string }

	release := make(chan struct{})
	w.upstream.answer(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	res := c.script("/slow?token=CANARY")
	close(release)
	assert.Equal(t, 504, res.StatusCode)
	res.json(t, &refused)
	assert.Equal(t, "upstream_unavailable", refused.Error)
	assert.Contains(t, refused.Message, "你已登录")
	assert.NotContains(t, res.text, "login_url")
	line := g.wait("the upstream failed", "reference", refused.Reference)
	assert.EqualValues(t, 504, line["status"])

	w.upstream.answer(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	assert.Equal(t, 502, c.send("POST", "/dies", nil, false).StatusCode)

	w.upstream.Close()
	res = c.send("GET", "/down", http.Header{"Accept": {"text/html,*/*"}, "Accept-Language": {"en"}}, false)
	assert.Equal(t, 502, res.StatusCode)
	assert.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
	assert.Equal(t, "no-store", res.Header.Get("Cache-Control"))
	assert.Contains(t, res.text, "The system cannot be reached")
	assert.Contains(t, res.text, `href="/down"`)
	assert.Empty(t, res.Header["Set-Cookie"])
	res = c.send("GET", "/down", http.Header{"Accept": {"text/html"}}, false)
	assert.Contains(t, res.text, "系统暂时无法访问")
	res = c.script("/down")
	assert.Equal(t, 502, res.StatusCode)
	res.json(t, &refused)
	assert.NotContains(t, res.text, "127.0.0.1")
	assert.Equal(t, 502, c.send("HEAD", "/down", nil, false).StatusCode)
	assert.Contains(t, g.wait("the upstream failed", "reference", refused.Reference)["cause"], "refused")
	assert.NotContains(t, g.log(), "CANARY")

	res = chinese.send("POST", "/down", http.Header{"Accept": {"text/html"}, "Accept-Language": {"en"}}, false)
	assert.Contains(t, res.text, "系统暂时无法访问")
	assert.Contains(t, res.text, `href="/"`)

	metrics := g.metrics()
	assert.Contains(t, metrics, `wecom_gateway_upstream_errors_total{reason="timeout"} 1`)
	assert.Contains(t, metrics, `wecom_gateway_upstream_errors_total{reason="unreachable"} 5`)
	// The sign-in has nothing to do with it.
	assert.NotContains(t, metrics, `wecom_refused_total{code="upstream`)
	assert.Equal(t, 204, c.script("/wecom/auth").StatusCode)
}

func (g *gateway) metrics() string {
	g.t.Helper()
	addr := g.wait("metrics")["addr"].(string)
	return g.client().do(must(http.NewRequest("GET", "http://"+addr+"/metrics", nil)), false).text
}

func TestT29_AnswersArriveAsTheyAreWritten(t *testing.T) {
	w := newWorld(t)
	c := w.start().signedIn()
	for name, header := range map[string]http.Header{
		"an event stream":             {"Content-Type": {"text/event-stream"}},
		"an answer of unknown length": {"Content-Type": {"text/plain"}},
		"an answer of known length":   {"Content-Type": {"text/plain"}, "Content-Length": {"54"}},
	} {
		t.Run(name, func(t *testing.T) {
			next := make(chan struct{})
			w.upstream.answer(func(rw http.ResponseWriter, r *http.Request) {
				maps.Copy(rw.Header(), header)
				for i := range 3 {
					_, _ = fmt.Fprintf(rw, "data: %d %s\n\n", i, r.Header.Get("X-Forwarded-User"))
					_ = http.NewResponseController(rw).Flush()
					select { // the next event only when this one has arrived
					case <-next:
					case <-r.Context().Done():
						return
					}
				}
			})
			res, err := c.Get(c.g.url + "/events")
			require.NoError(t, err)
			defer res.Body.Close()
			lines := bufio.NewReader(res.Body)
			for i := range 3 {
				line, err := lines.ReadString('\n')
				require.NoError(t, err)
				assert.Equal(t, fmt.Sprintf("data: %d zhangsan\n", i), line)
				_, _ = lines.ReadString('\n')
				next <- struct{}{}
			}
			_, err = lines.ReadString('\n')
			assert.ErrorIs(t, err, io.EOF)
		})
	}
}

func TestT29_WebSocket(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c := g.signedIn()
	w.upstream.answer(func(rw http.ResponseWriter, r *http.Request) {
		socket, err := websocket.Accept(rw, r, nil) // checks Origin against Host
		if err != nil {
			return
		}
		defer func() { _ = socket.CloseNow() }()
		_ = socket.Write(r.Context(), websocket.MessageText, []byte("hello "+r.Header.Get("X-Forwarded-User")+r.Header.Get("Cookie")))
		for {
			kind, message, err := socket.Read(r.Context())
			if err != nil || socket.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	address := "ws" + strings.TrimPrefix(g.url, "http") + "/socket"

	_, res, err := websocket.Dial(ctx, address, nil)
	require.Error(t, err)
	assert.Equal(t, 401, res.StatusCode)

	socket, _, err := websocket.Dial(ctx, address, &websocket.DialOptions{HTTPHeader: http.Header{"Cookie": {c.cookie()}, "Origin": {g.url}}})
	require.NoError(t, err)
	defer func() { _ = socket.CloseNow() }()
	_, message, err := socket.Read(ctx)
	require.NoError(t, err)
	assert.Equal(t, "hello zhangsan", string(message))
	big := bytes.Repeat([]byte("x"), 20_000)
	for range 50 {
		require.NoError(t, socket.Write(ctx, websocket.MessageBinary, big))
		_, message, err = socket.Read(ctx)
		require.NoError(t, err)
		require.Equal(t, big, message)
	}

	// A socket does not keep the gateway from ending.
	began := time.Now()
	assert.Equal(t, 0, g.stop())
	assert.Less(t, time.Since(began), 10*time.Second)
	_, _, err = socket.Read(ctx)
	assert.Error(t, err)
	g.wait("request", "route", "app", "status", float64(101), "user", "zhangsan")
}

// tunnel opens a WebSocket, as far as the gateway can tell, and returns both ends. Neither does anything by itself.
func (w *world) tunnel(c *client) (browser, app net.Conn) {
	w.t.Helper()
	ends := make(chan net.Conn, 1)
	w.upstream.answer(func(rw http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			ends <- conn
		}
	})
	browser, err := net.Dial("tcp", strings.TrimPrefix(c.g.url, "http://"))
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = browser.Close() })
	_, err = fmt.Fprintf(browser, "GET / HTTP/1.1\r\nHost: x\r\nCookie: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", c.cookie())
	require.NoError(w.t, err)
	app = <-ends
	w.t.Cleanup(func() { _ = app.Close() })
	_ = browser.SetReadDeadline(time.Now().Add(patience))
	res, err := http.ReadResponse(bufio.NewReader(browser), nil)
	require.NoError(w.t, err)
	require.Equal(w.t, 101, res.StatusCode)
	return browser, app
}

// fill writes until the gateway takes no more.
func fill(conn net.Conn) {
	some := make([]byte, 1<<20)
	for err := error(nil); err == nil; {
		_ = conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		_, err = conn.Write(some)
	}
}

// A sleeping laptop does not read, and does not close either.
func TestB19_BrowserThatDoesNotReadItsWebSocket(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_SHUTDOWN_TIMEOUT=1s")
	_, app := w.tunnel(g.signedIn())
	fill(app)
	assert.Equal(t, 0, g.stop())
	_ = app.SetReadDeadline(time.Now().Add(patience))
	_, err := app.Read(make([]byte, 1))
	assert.False(t, err == nil || errors.Is(err, os.ErrDeadlineExceeded), "%v", err)
}

// When one end has gone, or the upstream reads nothing any more, the gateway does not wait for the other end.
func TestB19_WebSocketsEndAtBothEnds(t *testing.T) {
	for name, end := range map[string]func(browser, app net.Conn){
		"browser": func(browser, _ net.Conn) { _ = browser.Close() },
		"app":     func(_, app net.Conn) { _ = app.Close() },
		"neither": func(browser, _ net.Conn) { fill(browser) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := w.start("WECOM_UPSTREAM_TIMEOUT=300ms")
			end(w.tunnel(g.signedIn()))
			g.wait("request", "status", float64(101))
		})
	}
}

func TestTenThousandRequests(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c := g.signedIn()
	before := w.upstream.requests.Load()
	const workers, each = 20, 500
	var lost atomic.Int64
	var wg sync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			for i := range each {
				method, body := "GET", ""
				if i%4 == 0 {
					method, body = "POST", strings.Repeat("b", i)
				}
				path := fmt.Sprintf("/r/%d/%d?q=%d", n, i, i)
				r := must(http.NewRequest(method, g.url+path, strings.NewReader(body)))
				res, err := c.try(r, false)
				var seen request
				if err != nil || res.StatusCode != 200 || json.Unmarshal([]byte(res.text), &seen) != nil ||
					seen.URI != path || seen.Method != method || seen.Body != body || seen.Header.Get("X-Forwarded-User") != "zhangsan" {
					lost.Add(1)
				}
			}
		})
	}
	wg.Wait()
	assert.Zero(t, lost.Load())
	assert.EqualValues(t, workers*each, w.upstream.requests.Load()-before)
}
