package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
)

// startTraefik runs what docs/gateway.md shows, with other addresses in it, and returns its address.
func startTraefik(t *testing.T, gateway, app string, change ...string) string {
	t.Helper()
	_, text, ok := strings.Cut(string(must(os.ReadFile("../../docs/gateway.md"))), "\n## Traefik\n")
	require.True(t, ok)
	_, text, ok = strings.Cut(text, "```yaml\n")
	require.True(t, ok)
	text, _, _ = strings.Cut(text, "```")
	text = replaced(t, text, change)
	hosts := "(Host(`127.0.0.1`) || Host(`sso.localhost`) || Host(`wiki.localhost`))"
	text = strings.NewReplacer("Host(`app.example.com`)", hosts, "http://127.0.0.1:8080", "http://"+gateway, "http://127.0.0.1:3000", "http://"+app).Replace(text)
	file, addr := filepath.Join(t.TempDir(), "traefik.yaml"), freeaddr.Get(t)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	cmd := exec.Command(os.Getenv("TRAEFIK"), "--entryPoints.web.address="+addr, "--providers.file.filename="+file,
		"--global.checkNewVersion=false", "--global.sendAnonymousUsage=false")
	cmd.Dir = t.TempDir()
	runProgram(t, addr, cmd)
	serves(t, addr)
	return addr
}

func TestTraefik(t *testing.T) {
	if os.Getenv("TRAEFIK") == "" {
		t.Skip("TRAEFIK names no program")
	}
	testProxy(t, startTraefik, "/wecom/forward\n", "/wecom/forward?departments=4\n")
}
