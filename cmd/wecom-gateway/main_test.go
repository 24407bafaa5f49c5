package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// The tests start this very binary as the gateway: a process of its own, with the race detector in it.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_GATEWAY") != "" {
		main()
	}
	os.Exit(m.Run())
}

// A process that has ended shows no goroutines, so this one looks from inside.
func TestB19_NoGoroutineIsLeft(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	for _, store := range []string{"memory", "sqlite:" + filepath.Join(t.TempDir(), "sessions.db"), "redis://127.0.0.1:1/0", "postgres://127.0.0.1:1/x"} {
		ctx, stop := context.WithCancel(context.Background())
		addr := freeAddr(t)
		logs, stderr := io.Pipe()
		status := make(chan int, 1)
		go func() {
			status <- run(ctx, []string{
				"-addr", addr, "-metrics-addr", "127.0.0.1:0", "-upstream", "http://127.0.0.1:1",
				"-corp-id", "ww0123456789abcdef", "-agent-id", "1000002", "-secret", "secret",
				"-session-store", store, "-token-store", "redis://127.0.0.1:1/0", "-recheck", "1m",
			}, nil, io.Discard, stderr)
			_ = stderr.Close()
		}()
		firstLine := make([]byte, 1)
		_, err := logs.Read(firstLine) // it listens
		require.NoError(t, err)
		drained := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, logs)
			close(drained)
		}()
		transport := &http.Transport{}
		client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		for _, path := range []string{"/healthz", "/wecom/readyz", "/wecom/auth", "/wecom/forward", "/page"} {
			res, err := client.Get("http://" + addr + path)
			require.NoError(t, err)
			_ = res.Body.Close()
		}
		transport.CloseIdleConnections()
		stop()
		assert.Equal(t, 0, <-status)
		<-drained
	}
	goleak.VerifyNone(t, ignore)
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}
