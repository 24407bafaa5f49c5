package redisstore_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
)

// sharedURL returns the server that REDIS_URL names, or the one at the standard
// port, or one that it starts.
func sharedURL(t *testing.T) string {
	t.Helper()
	if address := os.Getenv("REDIS_URL"); address != "" {
		return address
	}
	const standard = "redis://127.0.0.1:6379"
	rdb := newClient(t, standard)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if rdb.Ping(ctx).Err() == nil {
		return standard
	}
	return startServer(t).url()
}

func newClient(t *testing.T, address string, change ...func(*redis.Options)) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(address)
	require.NoError(t, err)
	for _, c := range change {
		c(o)
	}
	rdb := redis.NewClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// newPrefix returns a prefix that nobody else uses, and deletes its keys in the end.
func newPrefix(t *testing.T, rdb *redis.Client) string {
	prefix := "wecom-test-" + strconv.FormatInt(time.Now().UnixNano(), 36) + ":"
	t.Cleanup(func() {
		for _, key := range keysOf(t, rdb, prefix) {
			_ = rdb.Del(context.Background(), key).Err()
		}
	})
	return prefix
}

func keysOf(t *testing.T, rdb *redis.Client, prefix string) []string {
	var keys []string
	i := rdb.Scan(context.Background(), 0, prefix+"*", 1000).Iterator()
	for i.Next(context.Background()) {
		keys = append(keys, i.Val())
	}
	require.NoError(t, i.Err())
	return keys
}

// A server is a redis-server of a test's own, to be stopped and killed.
type server struct {
	t    *testing.T
	addr string
	args []string
	cmd  *exec.Cmd
}

func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("SKIPPED SERVICE TEST: redis: there is none at REDIS_URL nor at 127.0.0.1:6379, and no redis-server in PATH")
	}
	s := &server{t: t, addr: freeaddr.Get(t), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) url() string { return "redis://" + s.addr }

func (s *server) start() {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.addr)
	args := append([]string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", s.t.TempDir()}, s.args...)
	s.cmd = exec.Command("redis-server", args...)
	out, err := s.cmd.StdoutPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, s.cmd.Start())
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return
		}
		said.WriteString(lines.Text() + "\n")
	}
	require.Fail(s.t, "redis-server did not start", said.String())
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// A proxy stands between client and server and spoils the answers.
type proxy struct {
	url     string       // as the server's, with its user and its database
	latency atomic.Int64 // ns that each answer takes longer
	dropNth atomic.Int64 // of so many answers one is lost, with its connection
	dropNow atomic.Bool  // the next answer is lost
	answers atomic.Int64
	dropped atomic.Int64
}

func startProxy(t *testing.T, address string) *proxy {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	o, err := redis.ParseURL(address) // which adds the standard port
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	u.Host = l.Addr().String()
	p := &proxy{url: u.String()}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(client, o.Addr)
		}
	}()
	return p
}

func (p *proxy) serve(client net.Conn, addr string) {
	defer client.Close()
	upstream, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer upstream.Close()
	go func() {
		_, _ = io.Copy(upstream, client)
		_ = upstream.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := upstream.Read(buf)
		if err != nil {
			return
		}
		if d := time.Duration(p.latency.Load()); d > 0 {
			<-time.After(d)
		}
		nth := p.dropNth.Load()
		if nth > 0 && p.answers.Add(1)%nth == 0 || p.dropNow.CompareAndSwap(true, false) {
			p.dropped.Add(1)
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}
