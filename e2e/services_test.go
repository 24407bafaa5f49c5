package e2e_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/pgxstore"
	"github.com/alexedwards/scs/sqlite3store"
	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/wecomauth/wecom/internal/freeaddr"
)

// A backend is one of scs's own stores on a real service.
type backend struct {
	name string
	// open returns an empty store, and what reads everything that the service holds of it.
	open func(t *testing.T) (scs.Store, func() []byte)
}

var backends = []backend{
	{"memory", openMemory},
	{"sqlite", openSQLite},
	{"redis", openRedis},
	{"postgres", openPostgres},
}

func openMemory(*testing.T) (scs.Store, func() []byte) {
	store := memstore.NewWithCleanupInterval(0)
	return store, func() []byte {
		rows, _ := store.All()
		return fmt.Appendf(nil, "%s", rows)
	}
}

func openSQLite(t *testing.T) (scs.Store, func() []byte) {
	dir := t.TempDir()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "sessions.db")+
		"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(4) // there is one writer at a time: more of them wait in SQLite, which is worse at it
	_, err = db.Exec(`CREATE TABLE sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL)`)
	require.NoError(t, err)
	return sqlite3store.NewWithCleanupInterval(db, 0), func() (all []byte) {
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, name := range files { // with the write-ahead log
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			all = append(all, b...)
		}
		return all
	}
}

func openRedis(t *testing.T) (scs.Store, func() []byte) {
	rdb := newRedisClient(t, redisURL(t))
	prefix := newPrefix(t, rdb)
	return goredisstore.NewWithPrefix(rdb, prefix), func() (all []byte) {
		for _, key := range keysOf(t, rdb, prefix) {
			value, err := rdb.Get(context.Background(), key).Result()
			require.NoError(t, err)
			all = append(all, key+" "+value+"\n"...)
		}
		return all
	}
}

// schemas numbers the schemas of this process.
var schemas atomic.Int64

func openPostgres(t *testing.T) (scs.Store, func() []byte) {
	pool := newPool(t, postgresURL(t))
	return pgxstore.NewWithCleanupInterval(pool, 0), func() (all []byte) {
		rows, err := pool.Query(context.Background(), `SELECT token, data FROM sessions`)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var token string
			var data []byte
			require.NoError(t, rows.Scan(&token, &data))
			all = append(append(append(all, token...), ' '), data...)
		}
		return all
	}
}

// newPool connects to address, in a schema of its own with scs's table in it.
func newPool(t *testing.T, address string) *pgxpool.Pool {
	t.Helper()
	ctx := context.Background()
	config, err := pgxpool.ParseConfig(address)
	require.NoError(t, err)
	schema := fmt.Sprintf("wecom_e2e_%d_%d_%d", os.Getpid(), time.Now().Unix(), schemas.Add(1))
	config.ConnConfig.RuntimeParams["search_path"] = schema
	config.ConnConfig.RuntimeParams["synchronous_commit"] = "off" // others keep the disk busy
	pool, err := pgxpool.NewWithConfig(ctx, config)
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `CREATE SCHEMA `+schema+`;
		CREATE TABLE sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL);
		CREATE INDEX sessions_expiry_idx ON sessions (expiry)`)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = pool.Exec(ctx, `DROP SCHEMA `+schema+` CASCADE`)
		pool.Close()
	})
	return pool
}

// postgresURL returns POSTGRES_URL, or a server at the standard port that wants no password.
func postgresURL(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"POSTGRES_URL", "DATABASE_URL"} {
		if address := os.Getenv(name); address != "" {
			return address
		}
	}
	for _, db := range []string{"test", "postgres"} {
		address := "postgres://postgres@127.0.0.1:5432/" + db + "?sslmode=disable&connect_timeout=2"
		pool, err := pgxpool.New(t.Context(), address)
		if err == nil {
			err = pool.Ping(t.Context())
			pool.Close()
		}
		if err == nil {
			return address
		}
	}
	t.Skip("SKIPPED SERVICE TEST: postgres: there is none at POSTGRES_URL nor one without a password at 127.0.0.1:5432")
	return ""
}

// redisURL returns REDIS_URL, or the server at the standard port, or one that it starts.
func redisURL(t *testing.T) string {
	t.Helper()
	if address := os.Getenv("REDIS_URL"); address != "" {
		return address
	}
	const standard = "redis://127.0.0.1:6379"
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if newRedisClient(t, standard).Ping(ctx).Err() == nil {
		return standard
	}
	return startRedis(t).url()
}

func newRedisClient(t *testing.T, address string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(address)
	require.NoError(t, err)
	rdb := redis.NewClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// newPrefix returns a prefix that nobody else uses, and deletes its keys in the end.
func newPrefix(t *testing.T, rdb *redis.Client) string {
	prefix := "wecom-e2e-" + strconv.FormatInt(time.Now().UnixNano(), 36) + ":"
	t.Cleanup(func() {
		for _, key := range keysOf(t, rdb, prefix) {
			_ = rdb.Del(context.Background(), key).Err()
		}
	})
	return prefix
}

func keysOf(t *testing.T, rdb *redis.Client, prefix string) (keys []string) {
	i := rdb.Scan(context.Background(), 0, prefix+"*", 1000).Iterator()
	for i.Next(context.Background()) {
		keys = append(keys, i.Val())
	}
	require.NoError(t, i.Err())
	return keys
}

// A redisServer is a test's own, to be killed and started again; what it holds survives.
type redisServer struct {
	t         *testing.T
	addr, dir string
	cmd       *exec.Cmd
}

func startRedis(t *testing.T) *redisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("SKIPPED SERVICE TEST: redis: there is none at REDIS_URL nor at 127.0.0.1:6379, and no redis-server in PATH")
	}
	s := &redisServer{t: t, addr: freeaddr.Get(t), dir: t.TempDir()}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *redisServer) url() string { return "redis://" + s.addr }

// start returns when the server accepts connections.
func (s *redisServer) start() {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.addr)
	s.cmd = exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", s.dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always")
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

func (s *redisServer) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}
