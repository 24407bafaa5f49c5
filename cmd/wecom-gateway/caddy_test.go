package main_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
)

// startCaddy runs the Caddyfile, with other addresses in it, and returns its address.
func startCaddy(t *testing.T, gateway, app string) string {
	t.Helper()
	caddy, err := exec.LookPath("caddy")
	if err != nil {
		t.Skip("SKIPPED SERVICE TEST: caddy: there is none on PATH")
	}
	dir, addr := t.TempDir(), freeaddr.Get(t)
	text := "{\n\tadmin off\n\tauto_https off\n}\n" + string(must(os.ReadFile("Caddyfile")))
	text = strings.NewReplacer("\napp.example.com {", "\nhttp://"+addr+" {", " 127.0.0.1:8080 {", " "+gateway+" {", " 127.0.0.1:3000 {", " "+app+" {").Replace(text)
	conf := filepath.Join(dir, "Caddyfile")
	require.NoError(t, os.WriteFile(conf, []byte(text), 0o600))
	cmd := exec.Command(caddy, "run", "--config", conf, "--adapter", "caddyfile")
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	eventually(t, "Caddy listens", func() bool {
		res, err := http.Get("http://" + addr + "/wecom/readyz")
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil
	})
	return addr
}

func TestCaddyForwardAuth(t *testing.T) {
	w := newWorld(t)
	addr := freeaddr.Get(t)
	front := startCaddy(t, addr, strings.TrimPrefix(w.upstream.URL, "http://"))
	g := w.start("ADDR="+addr, "WECOM_UPSTREAM=", "WECOM_TRUSTED_PROXIES=127.0.0.1", "WECOM_DOMAIN_PROOF=WW_verify_AbCd1234.txt",
		"WECOM_CALLBACK_URL=http://"+front+"/wecom/callback")
	g.url = "http://" + front

	for _, path := range []string{"/reports?from=2026-01-01&q=a%2Fb", "/%E6%8A%A5%E8%A1%A8?x=//y", "/d/uid/name?orgId=1&var-a=$__all"} {
		assert.Equal(t, path, g.client().get(path).seen(t).URI)
	}
	anonymous := g.client()
	before := w.upstream.requests.Load()
	assert.Equal(t, 401, anonymous.script("/api/x").StatusCode)
	assert.Equal(t, 401, anonymous.send("POST", "/form", page, false).StatusCode)
	assert.Equal(t, 302, anonymous.send("HEAD", "/page", page, false).StatusCode)
	for _, header := range []string{"X-Original-Uri", "X-Forwarded-Uri", "X-Forwarded-Method"} {
		assert.Equal(t, 401, anonymous.send("GET", "/api/x", http.Header{header: {"/wecom/signed-out"}}, false).StatusCode)
	}
	for _, path := range []string{"/wecom/../admin", "/WW_verify_x/../admin", "/wecom%2f..%2fadmin", "/wecom/login/../../admin", "/x/../wecom/signed-out", "//wecom/signed-out"} {
		anonymous.raw("GET " + path + " HTTP/1.1\nHost: %HOST%\nConnection: close\n\n")
	}
	assert.Equal(t, before, w.upstream.requests.Load())
	assert.Equal(t, "AbCd1234", anonymous.script("/WW_verify_AbCd1234.txt").text)

	c := g.signedIn()
	for _, own := range []string{"/wecom/auth?users=zhangsan", "/wecom/forward?departments=1", "/wecom/auth"} {
		assert.Equal(t, 404, c.script(own).StatusCode, "a browser's own question costs calls to WeCom")
	}
	want := claims(c.script("/").seen(t))
	assert.Equal(t, []string{"zhangsan"}, want["x-forwarded-user"])
	for _, header := range []string{
		"X-Forwarded-User: admin", "X_Forwarded_User: admin", "x_wecom_user_id: admin", "X-Wecom_User-Id: admin", "X-Forwarded_User: admin",
		"X-Wecom-Departments: 1", "X-Wecom-User-Id: a\nX-Wecom-User-Id: b", "X-Wecom-Name: admin",
		"X-Forwarded-Email: a@b", "x-forwarded-groups: admins", "X-Wecom-Biz-Mail: a@b", "X-Wecom-Is-Admin: 1",
	} {
		seen := c.raw("GET / HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: close\n" + header + "\n\n").seen(t)
		assert.Equal(t, want, claims(seen), "%q", header)
	}
	// Caddy would heed the client's Connection after it has copied.
	for _, connection := range []string{"X-Forwarded-User, close", "close\nConnection: X-Forwarded-User", "X-Forwarded-User, Upgrade\nUpgrade: websocket"} {
		seen := c.raw("GET / HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: " + connection + "\nX-Forwarded-User: admin\n\n").seen(t)
		assert.Equal(t, want, claims(seen), "%q", connection)
	}
	// A tunnel would let a browser say by itself who it is.
	w.upstream.agree()
	for _, headers := range upgrades {
		res := c.upgrade(headers)
		assert.True(t, res.StatusCode != 101 || res.Header.Get("Upgrade") == "websocket", "%q: %s", headers, res.Header.Get("Upgrade"))
	}
	assert.Equal(t, 101, c.upgrade("Upgrade: WebSocket").StatusCode)
}
