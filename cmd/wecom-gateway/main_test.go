package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/freeaddr"
	"github.com/wecomauth/wecom/wecomtest"
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
		addr := freeaddr.Get(t)
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

// Whoever is signed in may ask with ever new queries: the last few are kept.
func TestQueriesAreForgotten(t *testing.T) {
	var cs conditions
	for i := range 4 * maxQueries {
		for query, fits := range map[string]bool{
			fmt.Sprint("departments=", i+1):                  true,
			"users=u" + strings.Repeat("x", i%900):           true,
			"departments=" + strings.Repeat("x", i%900+1):    false,
			fmt.Sprint("departments=1&tags=2&from=", i):      false,
			"users=" + strings.Repeat("x", 1000) + "&tags=1": false,
		} {
			_, err := cs.authorizer(query)
			assert.Equal(t, fits, err == nil, query)
			assert.LessOrEqual(t, len(cs.byQuery), maxQueries)
			if !fits {
				assert.NotContains(t, cs.byQuery, query)
				assert.Less(t, len(err.Error()), 2000, "it is logged")
			}
		}
	}
}

// bubble serves the gateway in memory, for tests in which time passes. dial returns
// a new connection to it, and cookie is somebody's who is signed in.
func bubble(t *testing.T, upstream func(net.Conn)) (dial func() net.Conn, cookie string) {
	t.Helper()
	fake := wecomtest.New()
	values, _, err := readSettings([]string{"-corp-id", fake.CorpID(), "-agent-id", fake.AgentID(), "-secret", fake.Secret(), "-upstream", "http://upstream"}, nil, io.Discard)
	require.NoError(t, err)
	c, wrong := values.parse()
	require.Empty(t, wrong)
	log, counts, stores := slog.New(slog.DiscardHandler), newMetrics(), &stores{}
	o := c.options(stores, counts, log)
	inMemory := fake.Options(o.CallbackURL)
	o.Transport, o.Endpoints = inMemory.Transport, inMemory.Endpoints
	auth, err := wecom.New(o)
	require.NoError(t, err)
	g := newGateway(c, auth, nil, nil, nil, stores, counts, log)
	g.proxy.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go upstream(far)
		return near, nil
	}
	fake.Browser("http://"+reachable(c.addr), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie = r.Header.Get("Cookie")
		g.ServeHTTP(w, r)
	})).SignInAs("zhangsan").Get("/wecom/login?return_to=/healthz")
	require.NotEmpty(t, cookie)

	listener := pipes{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: g}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		g.close()
	})
	return func() net.Conn {
		near, far := net.Pipe()
		t.Cleanup(func() { _ = near.Close() })
		_ = near.SetDeadline(time.Now().Add(time.Hour))
		listener.conns <- far
		return near
	}, cookie
}

type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l pipes) Close() error   { close(l.closed); return nil }
func (l pipes) Addr() net.Addr { return &net.TCPAddr{} }

// The middleware's own answers are its tests' affair.
func TestBodyThatNeverComes(t *testing.T) {
	for request, status := range map[string]int{"POST /healthz": 405, "GET /wecom/readyz": 200, "POST /wecom/auth": 204, "POST /wecom/forward": 204, "POST /app": 502} {
		t.Run(request, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dial, cookie := bubble(t, func(c net.Conn) { _ = c.Close() })
				client := dial()
				began := time.Now()
				_, err := fmt.Fprintf(client, "%s HTTP/1.1\r\nHost: x\r\nCookie: %s\r\nContent-Length: 1000\r\n\r\nx", request, cookie)
				require.NoError(t, err)
				read := bufio.NewReader(client)
				res, err := http.ReadResponse(read, nil)
				require.NoError(t, err)
				assert.Equal(t, status, res.StatusCode)
				_, _ = io.Copy(io.Discard, res.Body)
				_, err = read.ReadByte()
				assert.ErrorIs(t, err, io.EOF)
				assert.LessOrEqual(t, time.Since(began), 15*time.Second)
			})
		})
	}
}

// An upload may pause for as long as it likes.
func TestSlowUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial, cookie := bubble(t, func(c net.Conn) {
			defer c.Close()
			if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				body, _ := io.ReadAll(r.Body)
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			}
		})
		client := dial()
		_, err := fmt.Fprintf(client, "POST /app HTTP/1.1\r\nHost: x\r\nCookie: %s\r\nContent-Length: 10\r\n\r\nhello", cookie)
		require.NoError(t, err)
		time.Sleep(30 * time.Minute)
		_, err = io.WriteString(client, "world")
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(client), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.Equal(t, "helloworld", string(body))
	})
}

// While the upstream talks into the void nobody sees that it has gone.
func TestBrowserThatDoesNotReadWhileTheUpstreamGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial, cookie := bubble(t, func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsomething")
			_ = c.Close()
		})
		client := dial()
		_, err := fmt.Fprintf(client, "GET /app HTTP/1.1\r\nHost: x\r\nCookie: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", cookie)
		require.NoError(t, err)
		read := bufio.NewReader(client)
		for line := ""; line != "\r\n"; {
			line, err = read.ReadString('\n')
			require.NoError(t, err)
		}
		time.Sleep(2 * time.Minute)
		rest, err := io.ReadAll(read)
		assert.NoError(t, err)
		assert.Empty(t, rest, "it was still there")
	})
}
