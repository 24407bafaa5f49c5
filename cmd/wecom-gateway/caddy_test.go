package main_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
)

// startCaddy runs the Caddyfile, with other addresses in it, and returns its address.
func startCaddy(t *testing.T, gateway, app string, change ...string) string {
	t.Helper()
	caddy, err := exec.LookPath("caddy")
	if err != nil {
		t.Skip("SKIPPED SERVICE TEST: caddy: there is none on PATH")
	}
	dir, addr := t.TempDir(), freeaddr.Get(t)
	_, port, _ := net.SplitHostPort(addr)
	text := replaced(t, string(must(os.ReadFile("Caddyfile"))), append(change,
		"\napp.example.com {", "\n:"+port+" {\n\tbind 127.0.0.1",
		"forward_auth 127.0.0.1:8080 {", "forward_auth "+gateway+" {",
		"reverse_proxy 127.0.0.1:8080 {", "reverse_proxy "+gateway+" {",
		"reverse_proxy 127.0.0.1:3000 {", "reverse_proxy "+app+" {"))
	conf := filepath.Join(dir, "Caddyfile")
	require.NoError(t, os.WriteFile(conf, []byte("{\n\tadmin off\n\tauto_https off\n}\n"+text), 0o600))
	cmd := exec.Command(caddy, "run", "--config", conf, "--adapter", "caddyfile")
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	runProgram(t, addr, cmd)
	serves(t, addr)
	return addr
}

func TestCaddyForwardAuth(t *testing.T) {
	testProxy(t, startCaddy, "uri /wecom/forward?", "uri /wecom/forward?departments=4")
	testCookies(t, startCaddy)
}
