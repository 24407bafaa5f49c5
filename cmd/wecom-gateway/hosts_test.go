package main_test

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
)

const (
	ssoHost  = "http://sso.localhost"
	wikiHost = "http://wiki.localhost"
	logsHost = "http://logs.localhost"
)

// hosts are three at one gateway, of which the last has an upstream of its own.
func (w *world) hosts(own *upstream, more ...string) *gateway {
	w.t.Helper()
	return w.start(append([]string{
		"WECOM_CALLBACK_URL=" + ssoHost + "/wecom/callback", "WECOM_DANGEROUSLY_ALLOW_HTTP=true", "WECOM_HOSTS=wiki.localhost, logs.localhost=" + own.URL + "/base", "WECOM_AUDIT=log", "WECOM_PROFILE=true",
	}, more...)...)
}

// everywhere is a client that reaches the gateway by every name, and the fake by its own.
func (g *gateway) everywhere() *client {
	c := g.client()
	to := strings.TrimPrefix(g.url, "http://")
	c.Transport = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if strings.HasSuffix(addr, ".localhost:80") {
			addr = to
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	g.t.Cleanup(c.Transport.(*http.Transport).CloseIdleConnections)
	return c
}

func (c *client) ask(method, target string, header http.Header, follow bool) answer {
	c.g.t.Helper()
	r, err := http.NewRequest(method, target, nil)
	require.NoError(c.g.t, err)
	for name, values := range header {
		r.Header[name] = values
	}
	return c.do(r, follow)
}

func (c *client) who(host string) string {
	c.g.t.Helper()
	var id wecom.Identity
	if res := c.ask("GET", host+"/wecom/session", nil, false); res.StatusCode == 200 {
		res.json(c.g.t, &id)
	}
	return id.UserID
}

func (c *client) whoEverywhere() []string {
	c.g.t.Helper()
	return []string{c.who(ssoHost), c.who(wikiHost), c.who(logsHost)}
}

func TestHosts(t *testing.T) {
	w := newWorld(t)
	own := newUpstream(t)
	g := w.hosts(own, "WECOM_ASSERTION_AUDIENCE=http://sso.localhost")
	c := g.everywhere()

	const deep = "/d/a%2Fb?q=1|2&x=%7C&y=/../z"
	seen := c.ask("GET", wikiHost+deep, page, true).seen(t)
	assert.Equal(t, deep, seen.URI)
	assert.Equal(t, "wiki.localhost", seen.Host)
	assert.Equal(t, []string{"zhangsan"}, seen.Header["X-Forwarded-User"])
	assert.Equal(t, []string{"张三"}, seen.Header["X-Wecom-Name"])
	assert.Empty(t, seen.Header["Cookie"])
	assert.Equal(t, wikiHost, c.audience(seen))
	other := c.ask("GET", logsHost+deep, page, true)
	require.Equal(t, 200, other.StatusCode)
	there := other.seen(t)
	assert.Equal(t, "/base"+deep, there.URI, "its own upstream")
	assert.EqualValues(t, 1, own.requests.Load())
	assert.Equal(t, logsHost, c.audience(there), "what is said to one program, another does not take")
	assert.Equal(t, seen.Header["X-Wecom-Authenticated-At"], there.Header["X-Wecom-Authenticated-At"])
	assert.Equal(t, ssoHost, c.audience(c.ask("GET", ssoHost+"/", page, true).seen(t)))
	assert.Equal(t, 1, w.fake.Calls("auth/getuserinfo"))
	assert.Equal(t, []string{"zhangsan", "zhangsan", "zhangsan"}, c.whoEverywhere())

	// Each has its own cookie, which reaches no upstream.
	names := map[string]bool{}
	for _, host := range []string{ssoHost, wikiHost, logsHost} {
		u, _ := url.Parse(host)
		for _, k := range c.Jar.Cookies(u) {
			if len(k.Value) == 43 {
				names[k.Name] = true
			}
		}
	}
	assert.Len(t, names, 3)

	// Routes: the issuer is at its host alone, the rest everywhere. Nothing of it is proxied.
	requests := w.upstream.requests.Load()
	for _, route := range []string{"authorize", "token", "userinfo", "keys", "end-session", ".well-known/openid-configuration", "events", "x"} {
		assert.Equal(t, 404, c.ask("GET", wikiHost+"/wecom/"+route, nil, false).StatusCode, route)
	}
	assert.Equal(t, 200, c.ask("GET", ssoHost+"/wecom/keys", nil, false).StatusCode)
	for _, host := range []string{ssoHost, wikiHost, logsHost} {
		assert.Equal(t, 200, c.ask("GET", host+"/healthz", nil, false).StatusCode)
		assert.Equal(t, 200, c.ask("GET", host+"/wecom/readyz", nil, false).StatusCode)
	}
	assert.Equal(t, requests, w.upstream.requests.Load())

	// A script learns where to sign in, at its own host; the host's name is taken in any case, with its port.
	anonymous := g.everywhere()
	res := anonymous.ask("GET", wikiHost+"/api", nil, false)
	assert.Equal(t, 401, res.StatusCode)
	assert.Contains(t, res.text, `"login_url":"/wecom/login"`)
	r, _ := http.NewRequest("GET", wikiHost+"/api", nil)
	r.Host = "WIKI.localhost:80"
	for _, k := range c.Jar.Cookies(r.URL) {
		r.AddCookie(k)
	}
	assert.Equal(t, 200, anonymous.do(r, false).StatusCode)
	// Nobody says by a header which host it is, and a cookie of one is none at another.
	for _, path := range []string{"/api", "/wecom/auth", "/wecom/forward"} {
		r, _ = http.NewRequest("GET", ssoHost+path, nil)
		r.Header.Set("X-Forwarded-Host", "wiki.localhost")
		for _, k := range c.Jar.Cookies(must(url.Parse(wikiHost))) {
			r.AddCookie(k)
		}
		assert.Equal(t, 401, anonymous.do(r, false).StatusCode, path)
	}

	// A host that is not listed is no host of ours: as ever, the log says why nobody signs in there.
	res = anonymous.ask("GET", "http://other.localhost/", page, false)
	assert.True(t, w.toWeCom(res), "%d %s", res.StatusCode, res.Header.Get("Location"))
	assert.NotContains(t, g.log(), "other.localhost")
	anonymous.ask("GET", "http://other.localhost/", page, true)
	g.wait("wecom: a sign-in has lost its cookie, and began at a host that is not CallbackURL's: redirect that host to CallbackURL's, or let the proxy keep Host", "host", "other.localhost")

	g.wait("request", "host", "wiki.localhost", "route", "app", "user", "zhangsan")
	g.wait("audit", "event", "signin", "host", "logs.localhost", "user", "zhangsan")
	g.wait("audit", "event", "signin", "host", "sso.localhost", "user", "zhangsan")
}

// audience is whom an assertion is for.
func (c *client) audience(seen request) string {
	c.g.t.Helper()
	require.Len(c.g.t, seen.Header["X-Wecom-Assertion"], 1)
	return c.g.verify(seen.Header["X-Wecom-Assertion"][0])["aud"].(string)
}

func TestHostsSignOut(t *testing.T) {
	for _, store := range []string{"memory", "sqlite"} {
		t.Run(store, func(t *testing.T) {
			w := newWorld(t)
			where := store
			if store == "sqlite" {
				where += ":" + t.TempDir() + "/sessions.db"
			}
			g := w.hosts(newUpstream(t), "WECOM_SESSION_STORE="+where)
			c, phone := g.everywhere(), g.everywhere()
			all := []string{"zhangsan", "zhangsan", "zhangsan"}
			for _, c := range []*client{c, phone} {
				for _, host := range []string{wikiHost, logsHost} {
					require.Equal(t, 200, c.ask("GET", host+"/", page, true).StatusCode)
				}
				require.Equal(t, all, c.whoEverywhere())
			}
			require.Equal(t, "/wecom/signed-out", c.ask("POST", wikiHost+"/wecom/logout", nil, false).Header.Get("Location"))
			assert.Equal(t, []string{"zhangsan", "", "zhangsan"}, c.whoEverywhere())
			assert.Equal(t, all, phone.whoEverywhere())
			assert.Equal(t, 403, c.ask("POST", logsHost+"/wecom/logout?everywhere=1", http.Header{"Origin": {wikiHost}}, false).StatusCode, "another host's page")
			require.Equal(t, 303, c.ask("POST", logsHost+"/wecom/logout?everywhere=1", nil, false).StatusCode)
			eventually(t, "signed out everywhere", func() bool {
				return strings.Join(append(c.whoEverywhere(), phone.whoEverywhere()...), "") == ""
			})
			if store == "memory" {
				return
			}
			c = g.everywhere()
			c.ask("GET", wikiHost+"/", page, true)
			require.Equal(t, "zhangsan", c.who(wikiHost))
			status, _, stderr := runOnce(t, w.env("WECOM_SESSION_STORE="+where), "revoke", "zhangsan")
			require.Zero(t, status, stderr)
			eventually(t, "revoked", func() bool { return strings.Join(c.whoEverywhere(), "") == "" })
		})
	}
}

// Each request of a sign-in meets another replica.
func TestHostsOfReplicas(t *testing.T) {
	w := newWorld(t)
	store := "WECOM_SESSION_STORE=sqlite:" + t.TempDir() + "/sessions.db"
	own := newUpstream(t)
	replicas := []*gateway{w.hosts(own, store), w.hosts(own, store), w.hosts(own, store)}
	turn := 0
	for range 4 { // whichever replica is the first
		c := replicas[0].client()
		c.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasSuffix(addr, ".localhost:80") {
				turn++
				addr = strings.TrimPrefix(replicas[turn%len(replicas)].url, "http://")
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}}
		before := w.fake.Calls("auth/getuserinfo")
		for _, host := range []string{wikiHost, logsHost, ssoHost} {
			require.Equal(t, 200, c.ask("GET", host+"/page", page, true).StatusCode)
		}
		assert.Equal(t, before+1, w.fake.Calls("auth/getuserinfo"), "nobody had to start over")
		require.Equal(t, 303, c.ask("POST", wikiHost+"/wecom/logout?everywhere=1", nil, false).StatusCode)
		eventually(t, "signed out everywhere", func() bool { return strings.Join(c.whoEverywhere(), "") == "" })
		turn++
	}
}

func TestHostsBehindAnotherProxy(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_CALLBACK_URL="+ssoHost+"/wecom/callback", "WECOM_DANGEROUSLY_ALLOW_HTTP=true", "WECOM_HOSTS=wiki.localhost", "WECOM_UPSTREAM=", "WECOM_TRUSTED_PROXIES=127.0.0.1")
	c := g.everywhere()
	asked := func(route string, header http.Header) answer {
		t.Helper()
		r, err := http.NewRequest("GET", g.url+"/wecom/"+route, nil)
		require.NoError(t, err)
		for name, values := range header {
			r.Header[name] = values
		}
		for _, k := range c.Jar.Cookies(must(url.Parse(wikiHost))) {
			r.AddCookie(k)
		}
		return c.do(r, false)
	}
	traefik := http.Header{"X-Forwarded-Host": {"wiki.localhost"}, "X-Forwarded-Uri": {"/page?a=1|2"}, "X-Forwarded-Method": {"GET"}, "Accept": {"text/html"}}
	res := asked("forward", traefik)
	require.Equal(t, 302, res.StatusCode, res.text)
	at := res.Header.Get("Location")
	assert.True(t, strings.HasPrefix(at, ssoHost+"/wecom/authorize?"), at)
	c.Jar.SetCookies(must(url.Parse(wikiHost)), res.Cookies())
	end := c.ask("GET", at, page, true) // there is no program behind it
	assert.Equal(t, wikiHost+"/page?a=1|2", end.Request.URL.Scheme+"://"+end.Request.URL.Host+end.Request.URL.RequestURI())
	for _, route := range []string{"forward", "auth"} {
		res = asked(route, traefik)
		assert.Equal(t, 204, res.StatusCode)
		assert.Equal(t, "zhangsan", res.Header.Get("X-Forwarded-User"))
		assert.Equal(t, 401, asked(route, nil).StatusCode, "another host's")
		assert.Equal(t, 401, asked(route, http.Header{"X-Forwarded-Host": {"wiki.localhost", "wiki.localhost"}}).StatusCode)
	}
	res = asked("auth", http.Header{"Accept": {"text/html"}})
	assert.Equal(t, 401, res.StatusCode)
	// What a proxy passes on goes to the host that it keeps in Host, whatever the client says.
	res = g.everywhere().ask("GET", ssoHost+"/page", http.Header{"X-Forwarded-Host": {"wiki.localhost"}, "Accept": {"text/html"}}, false)
	assert.True(t, w.toWeCom(res), res.Header.Get("Location"))
	// Host first: a proxy that keeps it may pass on what the client says beside it.
	res = c.ask("GET", wikiHost+"/wecom/auth", http.Header{"X-Forwarded-Host": {"sso.localhost"}}, false)
	assert.Equal(t, 204, res.StatusCode)
}

func TestRulesOfHosts(t *testing.T) {
	w := newWorld(t)
	own := newUpstream(t)
	file := rulesFile(t, `rules:
  - host: wiki.localhost
    path: /admin
    users: [lisi]
  - host: logs.localhost
    path: /open
    public: true
  - host: sso.localhost
    path: /
    users: [lisi]
`)
	g := w.hosts(own, "WECOM_RULES="+file)
	c := g.everywhere()
	assert.Equal(t, 200, c.ask("GET", wikiHost+"/", page, true).StatusCode)
	assert.Equal(t, 403, c.ask("GET", wikiHost+"/admin", page, true).StatusCode)
	assert.Equal(t, 200, c.ask("GET", logsHost+"/admin", page, true).StatusCode)
	assert.Equal(t, 403, c.ask("GET", ssoHost+"/", page, true).StatusCode)
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	anonymous := g.everywhere()
	assert.Equal(t, 200, anonymous.ask("GET", logsHost+"/open", nil, false).StatusCode)
	assert.Equal(t, 401, anonymous.ask("GET", wikiHost+"/open", nil, false).StatusCode)

	write("rules:\n  - host: wiki.localhost\n    path: /\n    users: [lisi]\n")
	require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
	g.wait("the rules were read again")
	assert.Equal(t, 403, c.ask("GET", wikiHost+"/", page, true).StatusCode, "at the hosts too")
	write("rules:\n  - host: wikki.localhost\n    path: /\n    users: [lisi]\n")
	require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
	line := g.wait("WECOM_RULES cannot be used: the rules from before hold")
	assert.Equal(t, `line 2: host "wikki.localhost": want one of wiki.localhost, logs.localhost, sso.localhost`, line["cause"])
}

// Servers compare host names without port, case and the dot at the end: no spelling leads past a host's rules.
func TestT45_HostsSpeltInOtherWays(t *testing.T) {
	w := newWorld(t)
	g := w.hosts(newUpstream(t), "WECOM_RULES="+rulesFile(t, "rules:\n  - host: wiki.localhost\n    path: /admin\n    users: [lisi]\n"))
	c := g.everywhere()
	for _, host := range []string{ssoHost, wikiHost} {
		require.Equal(t, 200, c.ask("GET", host+"/", page, true).StatusCode)
		for spelling, want := range map[string]int{
			"sso.localhost": 200, "wiki.localhost": 403, "WIKI.localhost:80": 403, "wiki.localhost:81": 403, "wiki.localhost.": 403,
			"Wiki.localhost.:8443": 403, "wiki.localhost:": 403, "wiki.localhost:x": 403, "wiki.localhost..": 403, "wiki.localhost:80:80": 403,
		} {
			r, err := http.NewRequest("GET", ssoHost+"/admin", nil)
			require.NoError(t, err)
			r.Host = spelling
			for _, k := range c.Jar.Cookies(must(url.Parse(host))) {
				r.AddCookie(k)
			}
			if strings.HasPrefix(spelling, "sso") != (host == ssoHost) {
				want = 401 // another host's session
			}
			assert.Equal(t, want, g.everywhere().do(r, false).StatusCode, "%s, with the cookies of %s", spelling, host)
		}
	}
}

func TestUnusableHosts(t *testing.T) {
	w := newWorld(t)
	for value, want := range map[string]string{
		"WIKI.localhost":                              "WECOM_HOSTS: WIKI.localhost: want a host as browsers send it",
		"http://wiki.localhost":                       "WECOM_HOSTS: http://wiki.localhost: want a host",
		"wiki.localhost/":                             "want a host",
		"wiki.localhost:0":                            "want a host",
		"*.localhost":                                 "want a host",
		"维基.localhost":                                "want a host",
		"wiki.localhost=":                             "want a URL",
		"wiki.localhost=http://u:CANARY@127.0.0.1":    "want scheme, host and at most a path",
		"http://u:CANARY@wiki.localhost":              "want a host",
		"wiki.localhost:80":                           "leave the default port out",
		"wiki.localhost,wiki.localhost":               "there are two hosts",
		"wiki.localhost,wiki.localhost:8443":          "there are two hosts wiki.localhost",
		"sso.localhost:8443":                          "want another host than the issuer's",
		"sso.localhost":                               "want another host than the issuer's",
		"wiki.localhost,logs.localhost=ftp://127.0.0": "WECOM_HOSTS: logs.localhost: want a URL",
	} {
		status, _, stderr := runOnce(t, w.env("WECOM_CALLBACK_URL="+ssoHost+"/wecom/callback", "WECOM_DANGEROUSLY_ALLOW_HTTP=true", "WECOM_HOSTS="+value))
		assert.Equal(t, 2, status, value)
		assert.Contains(t, stderr, want)
		assert.Contains(t, stderr, "WECOM_HOSTS: ")
		assert.NotContains(t, stderr, "CANARY")
		_, stdout, _ := runOnce(t, w.env("WECOM_HOSTS="+value), "-print-config")
		assert.NotContains(t, stdout, "CANARY")
	}
	status, _, stderr := runOnce(t, w.env("WECOM_HOSTS=wiki.example.com"))
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, "WECOM_HOSTS: wiki.example.com: ")
	assert.Contains(t, stderr, "plain http")
	_, stdout, _ := runOnce(t, w.env("WECOM_HOSTS=wiki.localhost, logs.localhost=http://127.0.0.1:3000"), "-print-config")
	assert.Contains(t, stdout, "\nWECOM_HOSTS=wiki.localhost,logs.localhost=http://127.0.0.1:3000\n")

	env := w.env("WECOM_CALLBACK_URL="+ssoHost+"/wecom/callback", "WECOM_DANGEROUSLY_ALLOW_HTTP=true", "WECOM_HOSTS=wiki.localhost,logs.localhost=http://127.0.0.1:1")
	status, stdout, stderr = runOnce(t, env, "-check")
	assert.Equal(t, 1, status, stderr)
	assert.Contains(t, stdout, "ok      upstream of wiki.localhost\n")
	assert.Contains(t, stdout, "failed  upstream of logs.localhost: ")
}
