package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
	"github.com/wecomauth/wecom/wecomtest"
)

// startNginx runs nginx.conf, with other addresses in it, and returns its address.
func startNginx(t *testing.T, gateway, app string, change ...string) string {
	t.Helper()
	server, err := os.ReadFile("nginx.conf")
	require.NoError(t, err)
	addr := freeaddr.Get(t)
	change = append(change,
		"server 127.0.0.1:8080;", "server "+gateway+";",
		"server 127.0.0.1:3000;", "server "+app+";",
		"listen 127.0.0.1:80;", "listen "+addr+";")
	text := string(server)
	for i := 0; i < len(change); i += 2 {
		require.Equal(t, 1, strings.Count(text, change[i]), "nginx.conf: %s", change[i])
		text = strings.Replace(text, change[i], change[i+1], 1)
	}
	runNginx(t, addr, text)
	return addr
}

// runNginx runs nginx with these servers until the test ends, or stop is called.
func runNginx(t *testing.T, addr, servers string) (stop func()) {
	t.Helper()
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		nginx, err = exec.LookPath("/usr/sbin/nginx")
	}
	if err != nil {
		t.Skip("SKIPPED SERVICE TEST: nginx")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, `
daemon off;
worker_processes 1;
pid %[1]s/pid;
error_log %[1]s/error.log notice;
events { worker_connections 512; }
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
%[2]s
}
`, dir, servers), 0o600))
	cmd := exec.Command(nginx, "-p", dir, "-c", conf, "-e", filepath.Join(dir, "error.log"))
	if os.Geteuid() == 0 {
		cmd.Args = append(cmd.Args, "-g", "user root;")
	}
	require.NoError(t, cmd.Start())
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	t.Cleanup(stop)
	eventually(t, "nginx listens", func() bool {
		res, err := http.Get("http://" + addr + "/wecom/healthz")
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil
	})
	return stop
}

func TestNginxAuthRequest(t *testing.T) {
	w := newWorld(t)
	// The gateway has to know nginx's address, and nginx the gateway's.
	addr := freeaddr.Get(t)
	front := startNginx(t, addr, strings.TrimPrefix(w.upstream.URL, "http://"))
	g := w.start("ADDR="+addr, "WECOM_UPSTREAM=", "WECOM_TRUSTED_PROXIES=127.0.0.1", "WECOM_DOMAIN_PROOF=WW_verify_AbCd1234.txt",
		"WECOM_CALLBACK_URL=http://"+front+"/wecom/callback", "WECOM_METRICS_ADDR=127.0.0.1:0")
	g.url = "http://" + front

	// Nobody is signed in: a page goes to WeCom and comes back to itself; the rest is a 401.
	for _, path := range []string{"/reports?from=2026-01-01&q=a%2Fb", "/%E6%8A%A5%E8%A1%A8?x=//y", "/d/uid/name?orgId=1&var-a=$__all"} {
		assert.Equal(t, path, g.client().get(path).seen(t).URI)
	}
	anonymous := g.client()
	before := w.upstream.requests.Load()
	res := anonymous.script("/api/x")
	assert.Equal(t, 401, res.StatusCode)
	assert.JSONEq(t, `{"error":"login_required","message":"你还没有登录，或者登录已经失效。请登录后继续。","login_url":"/wecom/login"}`, res.text)
	res = anonymous.do(must(http.NewRequest("POST", g.url+"/form", strings.NewReader("a=b"))), false)
	assert.Equal(t, 401, res.StatusCode)
	assert.Equal(t, "application/json; charset=utf-8", res.Header.Get("Content-Type"))
	res = anonymous.send("GET", "/feed", http.Header{"Accept": {"text/html"}, "X-Requested-With": {"XMLHttpRequest"}}, false)
	assert.Equal(t, 401, res.StatusCode)
	for _, header := range []string{"X-Original-Uri", "X-Forwarded-Uri", "X-Forwarded-Method"} {
		res = anonymous.send("GET", "/api/x", http.Header{header: {"/wecom/signed-out"}}, false)
		assert.Equal(t, 401, res.StatusCode)
	}
	assert.Equal(t, before, w.upstream.requests.Load())
	assert.Equal(t, "AbCd1234", anonymous.script("/WW_verify_AbCd1234.txt").text)
	assert.Equal(t, 404, anonymous.script("/wecom-auth").StatusCode)

	// Signed in.
	c := g.signedIn()
	seen := c.send("GET", "/", http.Header{
		"X-Forwarded-User": {"admin"}, "X_forwarded_user": {"admin"}, "X-Wecom-User-Id": {"admin", "root"}, "x-wecom-corp-id": {"evil"},
	}, false).seen(t)
	assert.Equal(t, []string{"zhangsan"}, claims(seen)["x-forwarded-user"])
	assert.Equal(t, []string{"zhangsan"}, claims(seen)["x-wecom-user-id"])
	assert.Equal(t, []string{w.fake.CorpID()}, claims(seen)["x-wecom-corp-id"])
	// Nor does a browser tell the app anything else about itself, or get a tunnel to it.
	for _, own := range []string{"/wecom/auth?users=zhangsan", "/wecom/forward?departments=1", "/wecom/auth"} {
		assert.Equal(t, 404, c.script(own).StatusCode, "a browser's own question costs calls to WeCom")
	}
	want := claims(c.script("/").seen(t))
	for _, name := range append(identityNames, "X-Forwarded-Email", "X-Forwarded-Groups", "x_wecom_email", "x-wecom-biz-mail") {
		for _, header := range []string{name + ": admin", name + ": a\n" + name + ": b", "Connection: " + name + "\n" + name + ": admin"} {
			seen := c.raw("GET / HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: close\n" + header + "\n\n").seen(t)
			assert.Equal(t, want, claims(seen), "%q", header)
		}
	}
	w.upstream.agree()
	for _, headers := range upgrades {
		assert.NotEqual(t, 101, c.upgrade(headers).StatusCode, "%q", headers)
	}
	assert.Equal(t, 101, c.upgrade("Upgrade: WebSocket").StatusCode)
	lost := 0
	for i := range 500 {
		if got := c.script(fmt.Sprintf("/r/%d", i)); got.StatusCode != 200 {
			lost++
		}
	}
	assert.Zero(t, lost)
	for line := range strings.Lines(g.metrics()) {
		if strings.HasPrefix(line, `wecom_gateway_requests_total{class="2xx",route="auth"}`) {
			t.Log(strings.TrimSpace(line))
		}
	}

	// Signed out.
	require.Equal(t, 303, c.send("POST", "/wecom/logout", nil, false).StatusCode)
	assert.Equal(t, 401, c.script("/api/x").StatusCode)
}

// The same with error_page leading to the login page, as many set-ups have it.
func TestNginxErrorPageIsTheLoginPage(t *testing.T) {
	w := newWorld(t)
	addr := freeaddr.Get(t)
	front := startNginx(t, addr, strings.TrimPrefix(w.upstream.URL, "http://"),
		"error_page 401 500 = @wecom;", "error_page 401 = @wecom;", "rewrite ^ /wecom/forward? break;", "rewrite ^ /wecom/login? break;")
	g := w.start("ADDR="+addr, "WECOM_UPSTREAM=", "WECOM_TRUSTED_PROXIES=127.0.0.1", "WECOM_CALLBACK_URL=http://"+front+"/wecom/callback")
	g.url = "http://" + front
	for _, path := range []string{"/reports?from=2026-01-01&q=a%2Fb", "/d/uid?return_to=/evil"} {
		assert.Equal(t, path, g.client().get(path).seen(t).URI)
	}
	assert.Equal(t, 401, g.client().send("POST", "/form", nil, false).StatusCode)
	assert.Equal(t, 401, g.client().send("HEAD", "/page", nil, false).StatusCode)
}

func TestNginxWhileTheSessionStoreIsAway(t *testing.T) {
	w := newWorld(t)
	addr := freeaddr.Get(t)
	front := startNginx(t, addr, strings.TrimPrefix(w.upstream.URL, "http://"))
	g := w.start("ADDR="+addr, "WECOM_UPSTREAM=", "WECOM_TRUSTED_PROXIES=127.0.0.1", "WECOM_CALLBACK_URL=http://"+front+"/wecom/callback",
		"WECOM_SESSION_STORE=redis://127.0.0.1:1/0")
	g.url = "http://" + front
	c := g.client()
	header := http.Header{"Accept": {"text/html"}, "Cookie": {sessionCookieName(t, g) + "=" + strings.Repeat("A", 43)}}
	res := c.send("GET", "/page", header, false)
	assert.Equal(t, 503, res.StatusCode)
	assert.NotEmpty(t, res.Header.Get("Retry-After"))
	assert.Empty(t, res.Header["Set-Cookie"])
	assert.Zero(t, w.upstream.requests.Load())
}

// sessionCookieName reads the name off an attempt's cookie.
func sessionCookieName(t *testing.T, g *gateway) string {
	t.Helper()
	res := g.client().once("/wecom/login")
	cookies := res.Cookies()
	require.NotEmpty(t, cookies)
	return cookies[0].Name[:strings.LastIndexByte(cookies[0].Name, '-')]
}

// What docs/gateway.md says of Grafana: a role by a tag.
func TestNginxTellsARole(t *testing.T) {
	w := newWorld(t)
	w.fake.AddTag(wecomtest.Tag{ID: 7, Name: "grafana-admin", Users: []string{"lisi"}})
	addr := freeaddr.Get(t)
	front := startNginx(t, addr, strings.TrimPrefix(w.upstream.URL, "http://"),
		"map $http_upgrade $websocket {", `map $wecom_groups $grafana_role {
			~(^|,)tag:grafana-admin(,|$)  Admin;
			default                       Viewer;
		}
		map $http_upgrade $websocket {`,
		"proxy_set_header X-Wecom-Groups $wecom_groups;", "proxy_set_header X-Wecom-Groups $wecom_groups; proxy_set_header X-Grafana-Role $grafana_role;")
	g := w.start("ADDR="+addr, "WECOM_UPSTREAM=", "WECOM_TRUSTED_PROXIES=127.0.0.1", "WECOM_CALLBACK_URL=http://"+front+"/wecom/callback",
		"WECOM_PROFILE=true", "WECOM_GROUPS=departments,tags", "WECOM_EMAIL={user_id}@corp.example")
	g.url = "http://" + front
	for who, role := range map[string]string{"zhangsan": "Viewer", "lisi": "Admin"} {
		seen := w.signIn(g, who).send("GET", "/", http.Header{"X-Grafana-Role": {"Admin"}, "X-Wecom-Groups": {"tag:grafana-admin"}}, false).seen(t)
		assert.Equal(t, []string{role}, seen.Header["X-Grafana-Role"], who)
		assert.Equal(t, []string{who + "@corp.example"}, seen.Header["X-Forwarded-Email"])
		assert.Equal(t, seen.Header["X-Wecom-Groups"], seen.Header["X-Forwarded-Groups"])
	}
}
