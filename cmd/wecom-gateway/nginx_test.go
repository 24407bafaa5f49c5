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
	addr := freeaddr.Get(t)
	runNginx(t, addr, replaced(t, string(must(os.ReadFile("nginx.conf"))), append(change,
		"server 127.0.0.1:8080;", "server "+gateway+";",
		"server 127.0.0.1:3000;", "server "+app+";",
		"listen 127.0.0.1:80;", "listen "+addr+";",
		"access_log /var/log/nginx/access.log without_query;", "access_log "+filepath.Join(t.TempDir(), "log")+" without_query;")))
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
	check := exec.Command(nginx, append(cmd.Args[1:], "-t")...)
	said, err := check.CombinedOutput()
	require.NoError(t, err, "%s", said)
	assert.NotContains(t, string(said), "[warn]")
	require.NoError(t, cmd.Start())
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	t.Cleanup(stop)
	serves(t, addr)
	return stop
}

func TestNginxAuthRequest(t *testing.T) {
	testProxy(t, startNginx,
		"proxy_pass http://gateway/wecom/auth;", "proxy_pass http://gateway/wecom/auth?departments=4;",
		"rewrite ^ /wecom/forward? break;", "rewrite ^ /wecom/forward?departments=4? break;")
	c := testCookies(t, startNginx)
	tooMany := strings.Repeat("a=b; wecom-00c0ffee=x; ", 9)
	assert.Empty(t, c.raw("GET / HTTP/1.1\nHost: %HOST%\nConnection: close\nCookie: " + tooMany + "%COOKIE%\n\n").seen(t).Header["Cookie"])
}

func TestNginxLogsNoQuery(t *testing.T) {
	logs := t.TempDir()
	g := newWorld(t).behind(startNginx, []string{"server_name app.example.com;", fmt.Sprintf(`
		access_log %[1]s/access without_query;
		error_log %[1]s/error notice;`, logs)})
	c := g.signedIn()
	g.stop()
	for _, path := range []string{"/wecom/callback", "/page"} {
		c.once(path + "?code=CANARY&state=CANARY")
	}
	access, errors := string(must(os.ReadFile(logs+"/access"))), string(must(os.ReadFile(logs+"/error")))
	assert.Contains(t, access, `"GET /wecom/callback HTTP/1.1" 303`)
	assert.Contains(t, access, `"GET /wecom/callback HTTP/1.1" 502`)
	assert.NotRegexp(t, `CANARY|code=`, access)
	assert.Contains(t, errors, "/page")
	assert.NotContains(t, errors, "/wecom/callback?")
}

// The same with error_page leading to the login page, as many set-ups have it.
func TestNginxErrorPageIsTheLoginPage(t *testing.T) {
	g := newWorld(t).behind(startNginx, []string{
		"error_page 401 403 500 = @wecom;", "error_page 401 = @wecom;", "rewrite ^ /wecom/forward? break;", "rewrite ^ /wecom/login? break;",
	})
	for _, path := range []string{"/reports?from=2026-01-01&q=a%2Fb", "/d/uid?return_to=/evil"} {
		assert.Equal(t, path, g.client().get(path).seen(t).URI)
	}
	assert.Equal(t, 401, g.client().send("POST", "/form", nil, false).StatusCode)
	assert.Equal(t, 401, g.client().send("HEAD", "/page", nil, false).StatusCode)
}

// Who is denied where nginx asks, but not where its error_page leads, gets nothing to show to the program.
func TestNginxForgetsAQuery(t *testing.T) {
	g := newWorld(t).behind(startNginx, []string{
		"proxy_pass http://gateway/wecom/auth;", "proxy_pass http://gateway/wecom/auth?departments=4;",
	}, "WECOM_ASSERTION_AUDIENCE=https://app.example.com")
	c := g.client()
	c.get("/")
	res := c.once("/page")
	assert.Equal(t, 204, res.StatusCode)
	assert.Empty(t, res.Header["X-Wecom-Assertion"])
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
	g := w.behind(startNginx, []string{
		"map $http_upgrade $websocket {", `map $wecom_groups $grafana_role {
			~(^|,)tag:grafana-admin(,|$)  Admin;
			default                       Viewer;
		}
		map $http_upgrade $websocket {`,
		"proxy_set_header X-Wecom-Groups $wecom_groups;", "proxy_set_header X-Wecom-Groups $wecom_groups; proxy_set_header X-Grafana-Role $grafana_role;",
	}, "WECOM_PROFILE=true", "WECOM_GROUPS=departments,tags", "WECOM_EMAIL={user_id}@corp.example")
	for who, role := range map[string]string{"zhangsan": "Viewer", "lisi": "Admin"} {
		seen := w.signIn(g, who).send("GET", "/", http.Header{"X-Grafana-Role": {"Admin"}, "X-Wecom-Groups": {"tag:grafana-admin"}}, false).seen(t)
		assert.Equal(t, []string{role}, seen.Header["X-Grafana-Role"], who)
		assert.Equal(t, []string{who + "@corp.example"}, seen.Header["X-Forwarded-Email"])
		assert.Equal(t, seen.Header["X-Wecom-Groups"], seen.Header["X-Forwarded-Groups"])
	}
}
