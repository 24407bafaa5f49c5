package main_test

import (
	"context"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
)

// A redisServer is one of our own, which can be killed.
type redisServer struct {
	t    *testing.T
	path string
	dir  string
	port string
	cmd  *exec.Cmd
}

func newRedis(t *testing.T) *redisServer {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED SERVICE TEST: redis-server")
	}
	_, port, _ := net.SplitHostPort(freeaddr.Get(t))
	r := &redisServer{t: t, path: path, dir: t.TempDir(), port: port}
	t.Cleanup(r.kill)
	return r
}

func (r *redisServer) url() string { return "redis://127.0.0.1:" + r.port + "/0" }

func (r *redisServer) start(more ...string) *redisServer {
	r.t.Helper()
	r.cmd = exec.Command(r.path, append([]string{"--port", r.port, "--bind", "127.0.0.1", "--dir", r.dir, "--appendonly", "yes", "--appendfsync", "always", "--save", ""}, more...)...)
	r.listens()
	return r
}

// listens starts the process and waits for it.
func (r *redisServer) listens() {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Start())
	eventually(r.t, "Redis listens", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+r.port)
		if err != nil {
			return false
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("PING\r\n"))
		b := make([]byte, 16)
		n, _ := conn.Read(b)
		return strings.HasPrefix(string(b[:n]), "+PONG")
	})
}

// do sends a command.
func (r *redisServer) do(command ...any) string {
	r.t.Helper()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + r.port})
	defer client.Close()
	answer, err := client.Do(r.t.Context(), command...).Result()
	require.NoError(r.t, err)
	return fmt.Sprint(answer)
}

// newCluster is a Cluster of two nodes.
func newCluster(t *testing.T) (one, other *redisServer) {
	t.Helper()
	one, other = newRedis(t), newRedis(t)
	var buses []string
	for _, r := range []*redisServer{one, other} {
		_, bus, _ := net.SplitHostPort(freeaddr.Get(t))
		buses = append(buses, bus)
		r.start("--cluster-enabled", "yes", "--cluster-port", bus)
	}
	one.do("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
	other.do("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
	one.do("CLUSTER", "MEET", "127.0.0.1", other.port, buses[1])
	for _, r := range []*redisServer{one, other} {
		eventually(t, "the Cluster is there", func() bool { return strings.Contains(r.do("CLUSTER", "INFO"), "cluster_state:ok") })
	}
	return one, other
}

// newSentinel watches over a Redis as "main".
func newSentinel(t *testing.T, over *redisServer) *redisServer {
	t.Helper()
	r := newRedis(t)
	config := filepath.Join(r.dir, "sentinel.conf")
	text := "port " + r.port + "\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 " + over.port + " 1\n"
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	r.cmd = exec.Command(r.path, config, "--sentinel")
	r.listens()
	return r
}

func (r *redisServer) kill() {
	if r.cmd != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		r.cmd = nil
	}
}

// postgresURL is a database with an empty schema of its own. A commit does not wait for the
// disk, which others keep busy: a server that loses its power is not what is tested.
func postgresURL(t *testing.T) string {
	t.Helper()
	address := os.Getenv("POSTGRES_URL")
	if address == "" {
		address = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Skip("SKIPPED SERVICE TEST: PostgreSQL at POSTGRES_URL")
	}
	schema := fmt.Sprintf("wecom_gateway_%d_%d", os.Getpid(), time.Now().UnixNano())
	_, err = conn.Exec(ctx, "CREATE SCHEMA "+schema)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = conn.Exec(ctx, "DROP SCHEMA "+schema+" CASCADE")
		_ = conn.Close(ctx)
	})
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	return address + separator + "synchronous_commit=off&search_path=" + schema
}

// Sessions and tokens outlive the gateway and are shared by two of them, which make their tables themselves.
func TestStores(t *testing.T) {
	cases := []struct {
		name string
		open func(t *testing.T) (sessions, tokens string)
	}{
		{"SQLite", func(t *testing.T) (string, string) {
			dir := filepath.Join(t.TempDir(), "made", "by it")
			return "sqlite:" + filepath.Join(dir, "sessions #1?.db"), "sqlite:" + filepath.Join(dir, "tokens.db")
		}},
		{"Redis", func(t *testing.T) (string, string) {
			r := newRedis(t).start()
			return r.url(), r.url()
		}},
		{"Redis with TLS", func(t *testing.T) (string, string) {
			r := newRedis(t)
			server := httptest.NewTLSServer(nil)
			server.Close()
			pair := server.TLS.Certificates[0]
			cert, key := filepath.Join(r.dir, "cert.pem"), filepath.Join(r.dir, "key.pem")
			for file, block := range map[string]*pem.Block{
				cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
				key:  {Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(pair.PrivateKey))},
			} {
				require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
			}
			_, port, _ := net.SplitHostPort(freeaddr.Get(t))
			r.start("--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")
			address := "rediss://127.0.0.1:" + port + "/0?skip_verify=true"
			return address, address
		}},
		{"Redis Sentinel", func(t *testing.T) (string, string) {
			address := newSentinel(t, newRedis(t).start()).url() + "?master_name=main&addr=127.0.0.1:1"
			return address, address
		}},
		{"Redis Cluster", func(t *testing.T) (string, string) {
			one, other := newCluster(t)
			address := "redis://127.0.0.1:" + one.port + "?addr=127.0.0.1:" + other.port
			return address, address
		}},
		{"PostgreSQL", func(t *testing.T) (string, string) {
			return postgresURL(t), "file:" + filepath.Join(t.TempDir(), "tokens")
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			sessions, tokens := tc.open(t)
			w := newWorld(t)
			addr := freeaddr.Get(t)
			env := []string{"WECOM_SESSION_STORE=" + sessions, "WECOM_TOKEN_STORE=" + tokens, "WECOM_CALLBACK_URL=http://" + addr + "/wecom/callback", "WECOM_IDLE_TIMEOUT=1h"}
			first := w.start(append(env, "ADDR="+addr)...)
			c := first.signedIn()
			assert.Equal(t, 200, c.script("/wecom/readyz").StatusCode)

			second := w.start(env...)
			there := &client{c.Client, second} // the same cookies: a jar knows no ports
			assert.Equal(t, 204, there.script("/wecom/auth").StatusCode)
			first.stop()
			first = w.start(append(env, "ADDR="+addr)...)
			c.g = first
			assert.Equal(t, 204, c.script("/wecom/auth").StatusCode)
			assert.Equal(t, 200, first.client().get("/").StatusCode)
			assert.Equal(t, 1, w.fake.Calls("gettoken"))

			require.Equal(t, 303, there.send("POST", "/wecom/logout", nil, false).StatusCode)
			assert.Equal(t, 401, c.script("/wecom/auth").StatusCode)

			if path, ok := strings.CutPrefix(sessions, "sqlite:"); ok { // T24
				files := must(filepath.Glob(filepath.Join(filepath.Dir(path), "sessions*")))
				assert.Len(t, files, 4) // and -wal, -shm, .lock
				for _, name := range files {
					assert.Equal(t, os.FileMode(0o600), must(os.Stat(name)).Mode().Perm(), name)
				}
				assert.Equal(t, os.FileMode(0o700), must(os.Stat(filepath.Dir(path))).Mode().Perm())
			}
		})
	}
}

// F32: a store that answers and takes no rows is not ready.
func TestF32_StoreThatTakesNoRows(t *testing.T) {
	cases := map[string]struct {
		open func(t *testing.T) (store string)
		says string
	}{
		"Redis Cluster, taken for one server": {func(t *testing.T) string {
			one, _ := newCluster(t)
			return one.url()
		}, "this is a Redis Cluster: add ?addr=HOST:PORT"},
		"full Redis": {func(t *testing.T) string {
			r := newRedis(t).start()
			r.do("CONFIG", "SET", "maxmemory", "1")
			return r.url()
		}, "OOM"},
		"Redis replica": {func(t *testing.T) string {
			r := newRedis(t).start()
			r.do("REPLICAOF", "127.0.0.1", "1")
			return r.url()
		}, "READONLY"},
		"Redis without TLS": {func(t *testing.T) string {
			return strings.Replace(newRedis(t).start().url(), "redis:", "rediss:", 1)
		}, "write redis://"},
		"read-only PostgreSQL": {func(t *testing.T) string {
			address := postgresURL(t)
			conn := must(pgx.Connect(t.Context(), address))
			defer conn.Close(t.Context())
			must(conn.Exec(t.Context(), `CREATE TABLE sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL)`))
			return address + "&default_transaction_read_only=on"
		}, "read-only transaction"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			store := tc.open(t)
			w := newWorld(t)
			env := []string{"WECOM_SESSION_STORE=" + store}
			if strings.HasPrefix(store, "redis") {
				env = append(env, "WECOM_TOKEN_STORE="+store)
			}
			status, stdout, _ := runOnce(t, w.env(env...), "-check")
			assert.Equal(t, 1, status)
			for line := range strings.Lines(stdout) {
				if strings.Contains(line, " store (redis") || strings.Contains(line, " store (postgres") {
					assert.True(t, strings.HasPrefix(line, "failed  "), line)
					assert.Contains(t, line, tc.says)
				}
			}
			assert.Equal(t, 503, w.start(env...).client().script("/wecom/readyz").StatusCode)
		})
	}
}

func TestT24_OpenSessionFileIsRefused(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "sessions.db")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Chmod(path, 0o644))
	status, _, stderr := runOnce(t, w.env("WECOM_SESSION_STORE=sqlite:"+path))
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, "WECOM_SESSION_STORE: ")
	assert.Contains(t, stderr, "chmod 600")
}

// bounded is the two seconds that a session store has, and as much again for a slow machine.
const bounded = 4 * time.Second

// outage sends rate requests a second with a session's cookie until stop is closed, and judges each.
type outage struct {
	sent, redirects, cookies int
	took                     []time.Duration
	wrong                    []string
}

func (o *outage) p99() time.Duration {
	slices.Sort(o.took)
	return o.took[len(o.took)*99/100]
}

func (c *client) outage(t *testing.T, rate int, stop <-chan struct{}) *outage {
	o := &outage{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	paths := []string{"/page", "/api", "/wecom/auth", "/wecom/forward", "/wecom/login", "/wecom/session", "/wecom/signed-out", "/wecom/callback?code=x&state=y"}
	for n := 0; ; n++ {
		select {
		case <-stop:
			wg.Wait()
			return o
		case <-tick.C:
		}
		wg.Go(func() {
			began := time.Now()
			path := paths[n%len(paths)]
			r := must(http.NewRequest("GET", c.g.url+path, nil))
			if n%3 > 0 {
				r.Header.Set("Accept", "text/html")
			}
			res, err := c.try(r, false)
			mu.Lock()
			defer mu.Unlock()
			o.sent++
			o.took = append(o.took, time.Since(began))
			if err != nil || res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
				o.wrong = append(o.wrong, fmt.Sprint(path, " ", res.Response, err))
				return
			}
			if res.Header.Get("Location") != "" {
				o.redirects++
			}
			if len(res.Header["Set-Cookie"]) > 0 {
				o.cookies++
			}
		})
	}
}

// length is how long the session store stays away, by default: GATEWAY_OUTAGE=30s makes it longer.
func length(everyday time.Duration) time.Duration {
	if d, err := time.ParseDuration(os.Getenv("GATEWAY_OUTAGE")); err == nil {
		return d
	}
	return everyday
}

func TestB16_SessionStoreIsStopped(t *testing.T) {
	redis := newRedis(t).start()
	w := newWorld(t)
	g := w.start("WECOM_SESSION_STORE="+redis.url(), "WECOM_TOKEN_STORE="+redis.url(), "WECOM_TRUSTED_PROXIES=127.0.0.1")
	c := g.signedIn()
	upstream := w.upstream.requests.Load()
	codes := len(w.fake.Codes())

	redis.kill()
	stop := make(chan struct{})
	time.AfterFunc(length(2500*time.Millisecond), func() { close(stop) })
	o := c.outage(t, 50, stop)
	assert.Empty(t, o.wrong)
	assert.Zero(t, o.redirects)
	assert.Zero(t, o.cookies)
	assert.Less(t, o.p99(), bounded)
	assert.Equal(t, upstream, w.upstream.requests.Load())
	assert.Len(t, w.fake.Codes(), codes)
	assert.Equal(t, 200, c.script("/healthz").StatusCode)
	assert.Equal(t, 503, c.script("/wecom/readyz").StatusCode)

	redis.start()
	assert.Equal(t, 204, c.script("/wecom/auth").StatusCode, "the same cookie works at once: no pause between dials")
	for range 50 {
		assert.Equal(t, 200, c.script("/page").StatusCode)
	}
	assert.Equal(t, 200, c.script("/wecom/readyz").StatusCode)
	t.Logf("%d requests, p99 %s", o.sent, o.p99())
}

// A Redis that lets nobody in has not lost the sessions.
func TestRedisTakesAnotherPassword(t *testing.T) {
	server := newRedis(t).start()
	c := newWorld(t).start("WECOM_SESSION_STORE=redis://:old@127.0.0.1:" + server.port + "/0").signedIn()
	server.do("CLIENT", "KILL", "TYPE", "normal")
	server.do("CONFIG", "SET", "requirepass", "new")
	for _, path := range []string{"/page", "/wecom/auth", "/wecom/session"} {
		res := c.once(path)
		assert.Equal(t, 503, res.StatusCode, path)
		assert.Empty(t, res.Header["Set-Cookie"], path)
	}
}

func TestF13_SessionStoreHangs(t *testing.T) {
	redis := newRedis(t).start()
	w := newWorld(t)
	g := w.start("WECOM_SESSION_STORE=" + redis.url())
	c := g.signedIn()

	redis.hang()
	stop := make(chan struct{})
	time.AfterFunc(length(3*time.Second), func() { close(stop) })
	o := c.outage(t, 50, stop)
	redis.resume()
	assert.Empty(t, o.wrong)
	assert.Zero(t, o.redirects)
	assert.Zero(t, o.cookies)
	assert.Less(t, o.p99(), bounded)
	back := time.Now()
	eventually(t, "the same cookie works", func() bool { return c.script("/wecom/auth").StatusCode == 204 })
	t.Logf("%d requests, p99 %s; back after %s", o.sent, o.p99(), time.Since(back))
}

// A Cluster's node that is away takes its own sessions with it, and those of the other only if
// the row that tells of revocations is its own, too.
func TestClusterNodeHangs(t *testing.T) {
	one, other := newCluster(t)
	nodes := []*redisServer{one, other}
	w := newWorld(t)
	g := w.start("WECOM_SESSION_STORE=redis://127.0.0.1:" + one.port + "?addr=127.0.0.1:" + other.port)
	size := func(r *redisServer) int { return must(strconv.Atoi(r.do("DBSIZE"))) }
	var at [2][]*client
	for len(at[0]) < 4 || len(at[1]) < 4 {
		before := size(one)
		c := g.signedIn()
		i := 1
		if size(one) > before {
			i = 0
		}
		at[i] = append(at[i], c)
	}
	served := 0
	for i, node := range nodes {
		node.hang()
		var answers sync.WaitGroup
		var refused atomic.Int32
		for j, clients := range at {
			for _, c := range clients {
				answers.Go(func() {
					if status := c.script("/wecom/auth").StatusCode; j != i && status != 204 {
						refused.Add(1)
					}
				})
			}
		}
		answers.Wait()
		node.resume()
		if refused.Load() == 0 {
			served++
		}
	}
	assert.Positive(t, served)
}

// A store that hung is not asked on behalf of those who have left.
func TestF13_LookUpsOfThoseWhoLeft(t *testing.T) {
	redis := newRedis(t).start()
	g := newWorld(t).start("WECOM_SESSION_STORE=" + redis.url())
	c := g.signedIn()
	redis.hang()
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() { c.script("/wecom/auth") })
	}
	all.Wait()
	redis.resume()
	eventually(t, "the same cookie works", func() bool { return c.script("/wecom/auth").StatusCode == 204 })
	gets := regexp.MustCompile(`cmdstat_get:calls=(\d+)`).FindStringSubmatch(redis.do("INFO", "commandstats"))
	assert.Less(t, must(strconv.Atoi(gets[1])), 300, "64 at a time, each sent again at most twice")
}

func TestPostgresGoesAndComes(t *testing.T) {
	front, address := postgresBehind(t)
	w := newWorld(t)
	front.set(false)
	g := w.start("WECOM_SESSION_STORE=" + address)
	assert.Equal(t, 503, g.client().script("/wecom/readyz").StatusCode)
	front.set(true)
	c := g.signedIn() // the table is made now
	front.set(false)
	stop := make(chan struct{})
	time.AfterFunc(length(2*time.Second), func() { close(stop) })
	o := c.outage(t, 50, stop)
	assert.Empty(t, o.wrong)
	assert.Zero(t, o.redirects+o.cookies)
	assert.Less(t, o.p99(), bounded)
	front.set(true)
	eventually(t, "the same cookie works", func() bool { return c.script("/wecom/auth").StatusCode == 204 })
}

// A browser that leaves in the middle of a look-up, which costs it nothing, must not cost a connection.
func TestBrowsersThatLeaveKeepConnections(t *testing.T) {
	front, address := postgresBehind(t)
	w := newWorld(t)
	g := w.start("WECOM_SESSION_STORE=" + address)
	c := g.signedIn()
	conn, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	allowed := front.connections() + 2 // a request asks for the session and for revocations: the pool may grow by that
	for route, path := range map[string]string{"app": "/page", "auth": "/wecom/auth", "forward": "/wecom/forward", "session": "/wecom/session", "login": "/wecom/login"} {
		began := time.Now()
		lock, err := conn.Begin(t.Context())
		require.NoError(t, err)
		_, err = lock.Exec(t.Context(), "LOCK TABLE sessions")
		require.NoError(t, err)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		r, err := http.NewRequestWithContext(ctx, "GET", g.url+path, nil)
		require.NoError(t, err)
		go func() { _, _ = c.try(r, false) }()
		eventually(t, "the look-up waits", func() bool {
			var waits bool
			err := conn.QueryRow(ctx, "SELECT true FROM pg_locks WHERE relation = 'sessions'::regclass AND NOT granted").Scan(&waits)
			return err == nil && waits
		})
		leave()
		g.wait("request", "route", route, "status", 503.0)
		require.NoError(t, lock.Rollback(t.Context()))
		if time.Since(began) > 300*time.Millisecond {
			allowed += 4 // on a machine this slow the look-ups gave up by themselves, twice each
		}
	}
	assert.LessOrEqual(t, front.connections(), allowed)
}

// F29: a host lost its power, or a firewall its memory. What was connected stays silent for ever.
func TestF29_ConnectionsDieSilently(t *testing.T) {
	stores := map[string]func(t *testing.T) (front *tcpSwitch, store string){
		"Redis": func(t *testing.T) (*tcpSwitch, string) {
			front := newSwitch(t, "127.0.0.1:"+newRedis(t).start().port)
			return front, "redis://" + front.addr + "/0"
		},
		"PostgreSQL": postgresBehind,
	}
	for name, open := range stores {
		for _, busy := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, busy %t", name, busy), func(t *testing.T) {
				t.Parallel() // it waits
				front, store := open(t)
				w := newWorld(t)
				c := w.start("WECOM_SESSION_STORE=" + store).signedIn()
				var wg sync.WaitGroup
				for range 100 { // opens many connections; a slow machine does not open all in time
					wg.Go(func() { c.script("/wecom/auth") })
				}
				wg.Wait()

				front.freeze()
				const outage = 8 * time.Second
				end, thawed := time.Now().Add(outage), make(chan struct{})
				time.AfterFunc(outage, func() {
					front.set(true)
					close(thawed)
				})
				if busy {
					stop := make(chan struct{})
					time.AfterFunc(outage-3*time.Second, func() { close(stop) })
					o := c.outage(t, 50, stop)
					assert.Empty(t, o.wrong)
					assert.Less(t, o.p99(), bounded)
				} else {
					<-thawed
				}
				eventually(t, "fifty requests at once succeed", func() bool {
					var failed atomic.Bool
					for range 50 {
						wg.Go(func() {
							if c.script("/page").StatusCode != 200 {
								failed.Store(true)
							}
						})
					}
					wg.Wait()
					return !failed.Load()
				})
				t.Logf("all succeed %s after the outage", time.Since(end).Round(time.Millisecond))
			})
		}
	}
}

// F31: what sessions lie in is deleted while gateways run. It is made anew, for this user alone.
func TestF31_SessionsAreDeleted(t *testing.T) {
	sqliteFile := func(suffixes ...string) func(*testing.T) (string, func()) {
		return func(t *testing.T) (string, func()) {
			path := filepath.Join(t.TempDir(), "sessions.db")
			return "sqlite:" + path, func() {
				for _, suffix := range suffixes {
					_ = os.Remove(path + suffix) // -wal and -shm may be gone by themselves
				}
			}
		}
	}
	cases := map[string]func(*testing.T) (store string, del func()){
		"SQLite, the file":                     sqliteFile(""),
		"SQLite, the file and what SQLite has": sqliteFile("", "-wal", "-shm"),
		"SQLite, the table": func(t *testing.T) (string, func()) {
			path := filepath.Join(t.TempDir(), "sessions.db")
			return "sqlite:" + path, func() {
				db := must(sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)"))
				defer db.Close()
				must(db.Exec("DROP TABLE sessions"))
			}
		},
		"PostgreSQL, the table": func(t *testing.T) (string, func()) {
			address := postgresURL(t)
			return address, func() {
				conn := must(pgx.Connect(t.Context(), address))
				defer conn.Close(t.Context())
				must(conn.Exec(t.Context(), "DROP TABLE sessions"))
			}
		},
	}
	for name, open := range cases {
		t.Run(name, func(t *testing.T) {
			store, del := open(t)
			w := newWorld(t)
			addr := freeaddr.Get(t)
			env := []string{"WECOM_SESSION_STORE=" + store, "WECOM_CALLBACK_URL=http://" + addr + "/wecom/callback"}
			first, second := w.start(append(env, "ADDR="+addr)...), w.start(env...)
			for range 3 {
				c := first.signedIn()
				there := &client{c.Client, second}
				stop := make(chan struct{})
				var load sync.WaitGroup
				var statuses sync.Map
				for _, one := range []*client{c, there, c, there} {
					load.Go(func() {
						for {
							select {
							case <-stop:
								return
							default:
								statuses.Store(one.script("/wecom/auth").StatusCode, true)
							}
						}
					})
				}
				del()
				eventually(t, "the session is gone", func() bool {
					return c.script("/wecom/auth").StatusCode == 401 && there.script("/wecom/auth").StatusCode == 401
				})
				again := first.signedIn()
				for range 50 {
					assert.Equal(t, 200, again.script("/page").StatusCode)
					assert.Equal(t, 200, (&client{again.Client, second}).script("/page").StatusCode)
				}
				close(stop)
				load.Wait()
				_, failed := statuses.Load(503)
				assert.False(t, failed)
			}
			if path, ok := strings.CutPrefix(store, "sqlite:"); ok {
				for _, name := range must(filepath.Glob(path + "*")) {
					assert.Equal(t, os.FileMode(0o600), must(os.Stat(name)).Mode().Perm(), name)
				}
			}
			assert.Equal(t, 0, first.stop())
			assert.Equal(t, 200, w.start(append(env, "ADDR="+addr)...).client().get("/").StatusCode, "after a restart")
		})
	}
}

// PgBouncer refuses start-up parameters that it does not know.
func TestPgBouncer(t *testing.T) {
	address := postgresURL(t)
	host := must(pgx.ParseConfig(address))
	there := net.JoinHostPort(host.Host, strconv.Itoa(int(host.Port)))
	bouncer, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = bouncer.Close() })
	go func() {
		for {
			in, err := bouncer.Accept()
			if err != nil {
				return
			}
			backend := pgproto3.NewBackend(in, in)
			message, err := backend.ReceiveStartupMessage()
			startup, ok := message.(*pgproto3.StartupMessage)
			if err != nil || !ok { // a cancellation, or a question for TLS
				_ = in.Close()
				continue
			}
			for name := range startup.Parameters {
				switch name {
				case "user", "database", "client_encoding", "datestyle", "timezone", "standard_conforming_strings", "application_name":
				case "search_path", "synchronous_commit": // ours
				default:
					backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: " + name})
					_ = backend.Flush()
				}
			}
			out, err := net.Dial("tcp", there)
			if err != nil {
				_ = in.Close()
				continue
			}
			_, _ = out.Write(must(startup.Encode(nil)))
			c := &link{in: in, out: out}
			go c.copy(in, out)
			go c.copy(out, in)
		}
	}()
	w := newWorld(t)
	store := strings.Replace(address, there, bouncer.Addr().String(), 1)
	w.start("WECOM_SESSION_STORE=" + store).signedIn()
}

// postgresBehind is a schema behind a switch.
func postgresBehind(t *testing.T) (*tcpSwitch, string) {
	t.Helper()
	address := postgresURL(t)
	host := must(pgx.ParseConfig(address))
	there := net.JoinHostPort(host.Host, strconv.Itoa(int(host.Port)))
	front := newSwitch(t, there)
	require.Contains(t, address, there)
	return front, strings.Replace(address, there, front.addr, 1)
}

// A tcpSwitch passes connections on while it is on, and else cuts and refuses
// them, or takes them and stays silent.
type tcpSwitch struct {
	addr   string
	mu     sync.Mutex
	on     bool
	frozen bool
	open   []*link
}

// A link is one connection. What is silent passes nothing on any more.
type link struct {
	in, out net.Conn // out may be nil
	silent  atomic.Bool
}

func newSwitch(t *testing.T, to string) *tcpSwitch {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &tcpSwitch{addr: l.Addr().String(), on: true}
	t.Cleanup(func() {
		_ = l.Close()
		s.set(false)
	})
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			s.connect(in, to)
		}
	}()
	return s
}

func (s *tcpSwitch) connect(in net.Conn, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &link{in: in}
	switch {
	case s.frozen:
	case !s.on:
		_ = in.Close()
		return
	default:
		var err error
		if c.out, err = net.Dial("tcp", to); err != nil {
			_ = in.Close()
			return
		}
		go c.copy(c.in, c.out)
		go c.copy(c.out, c.in)
	}
	s.open = append(s.open, c)
}

// connections is how many there were while it was on.
func (s *tcpSwitch) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

func (c *link) close() {
	_ = c.in.Close()
	if c.out != nil {
		_ = c.out.Close()
	}
}

func (c *link) copy(to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if c.silent.Load() {
			return // the other side hears nothing, not even of the end
		}
		if n > 0 {
			_, err = to.Write(b[:n])
		}
		if err != nil {
			c.close()
			return
		}
	}
}

// set passes new connections on, or refuses them and cuts all.
func (s *tcpSwitch) set(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on, s.frozen = on, false
	if !on {
		for _, c := range s.open {
			c.close()
		}
		s.open = nil
	}
}

// freeze makes all connections silent for ever, and those that are made until set.
func (s *tcpSwitch) freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = true
	for _, c := range s.open {
		c.silent.Store(true)
	}
}

// A fresh gateway starts, and signs people in as far as it can, whatever its stores are like.
func TestF14_StartsWithSpoiledStores(t *testing.T) {
	garbage := func(t *testing.T, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "store")
		require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("garbage ", 1000)), mode))
		return path
	}
	t.Run("token store", func(t *testing.T) {
		folder := filepath.Join(t.TempDir(), "tokens")
		require.NoError(t, os.MkdirAll(folder, 0o700))
		for _, name := range []string{"x.json", "y.lock", "z.tmp"} {
			require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte("garbage"), 0o600))
		}
		open := filepath.Join(t.TempDir(), "tokens")
		require.NoError(t, os.MkdirAll(open, 0o700))
		require.NoError(t, os.Chmod(open, 0o777))
		for store, warn := range map[string]bool{
			"file:" + folder: false, "file:" + open: true, "file:" + garbage(t, 0o600): true, "file:/proc/none/tokens": false,
			"sqlite:" + garbage(t, 0o600): false, "sqlite:" + t.TempDir(): true, "redis://127.0.0.1:1/0": false,
		} {
			w := newWorld(t)
			g := w.start("WECOM_TOKEN_STORE=" + store)
			c := g.client()
			began := time.Now()
			assert.Equal(t, 200, c.get("/").StatusCode, store)
			t.Logf("%s: signed in after %s", store, time.Since(began).Round(time.Millisecond))
			assert.Equal(t, 1, w.fake.Calls("gettoken"), store)
			if warn {
				g.wait("WECOM_TOKEN_STORE cannot be used: the access token is kept in memory", "level", "WARN")
			}
			g.stop()
		}
	})
	t.Run("session store", func(t *testing.T) {
		for _, store := range []string{"sqlite:" + garbage(t, 0o600), "redis://127.0.0.1:1/0", "postgres://127.0.0.1:1/x"} {
			w := newWorld(t)
			g := w.start("WECOM_SESSION_STORE=" + store)
			res := g.client().get("/")
			assert.Equal(t, 503, res.StatusCode, store)
			assert.NotEmpty(t, res.Header.Get("Retry-After"), store)
			assert.Equal(t, 503, g.client().script("/wecom/readyz").StatusCode, store)
			assert.Equal(t, 200, g.client().script("/healthz").StatusCode, store)
			g.stop()
		}
	})
}

// The session store may come up after the gateway.
func TestSessionStoreComesLater(t *testing.T) {
	redis := newRedis(t)
	w := newWorld(t)
	g := w.start("WECOM_SESSION_STORE=" + redis.url())
	c := g.client()
	assert.Equal(t, 503, c.get("/").StatusCode)
	redis.start()
	eventually(t, "ready", func() bool { return c.script("/wecom/readyz").StatusCode == 200 })
	assert.Equal(t, 200, g.client().get("/").StatusCode)
}

// F24, B8: a session that is signed out stays so, whatever is in flight.
func TestB8_LogoutWhileRequestsAreInFlight(t *testing.T) {
	redis := newRedis(t).start()
	for _, store := range []string{"memory", "sqlite:" + filepath.Join(t.TempDir(), "sessions.db"), redis.url()} {
		w := newWorld(t)
		g := w.start("WECOM_SESSION_STORE="+store, "WECOM_IDLE_TIMEOUT=10s")
		for range 3 {
			c := g.signedIn()
			release := make(chan struct{})
			var arrived sync.WaitGroup
			const inFlight = 50
			arrived.Add(inFlight)
			w.upstream.answer(func(http.ResponseWriter, *http.Request) {
				arrived.Done()
				<-release
			})
			cookie := http.Header{"Cookie": {c.cookie()}}
			statuses := make(chan int, inFlight)
			for range inFlight {
				go func() {
					res := g.client().send("GET", "/slow", cookie, false)
					for res.StatusCode == 503 { // the store is slow for the moment
						res = g.client().send("GET", "/slow", cookie, false)
					}
					statuses <- res.StatusCode
				}()
			}
			arrived.Wait()
			assert.Equal(t, 303, c.send("POST", "/wecom/logout", nil, false).StatusCode)
			close(release)
			for range inFlight {
				assert.Equal(t, 200, <-statuses)
			}
			assert.Equal(t, 401, g.client().send("GET", "/wecom/auth", cookie, false).StatusCode, store)
			w.upstream.handle.Store(nil)
		}
		g.stop()
	}
}

// F26: a store that is slow and drops connections signs nobody out and starts no loop.
func TestF26_FlakySessionStore(t *testing.T) {
	redis := newRedis(t).start()
	front := newSwitch(t, "127.0.0.1:"+redis.port)
	w := newWorld(t)
	g := w.start("WECOM_SESSION_STORE=redis://" + front.addr + "/0")
	c := g.signedIn()
	var got []int
	for n := range 300 {
		if n%10 == 0 { // all connections break
			front.set(false)
			front.set(true)
		}
		res := c.once("/page")
		if !slices.Contains(got, res.StatusCode) {
			got = append(got, res.StatusCode)
		}
		assert.Contains(t, []int{200, 503}, res.StatusCode)
		assert.Empty(t, res.Header["Set-Cookie"])
	}
	t.Logf("statuses: %v", got)
	assert.Equal(t, 200, c.once("/page").StatusCode)
}
