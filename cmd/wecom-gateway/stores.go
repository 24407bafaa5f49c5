package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/pgxstore"
	"github.com/alexedwards/scs/sqlite3store"
	"github.com/alexedwards/scs/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	_ "modernc.org/sqlite"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenstore/filestore"
	"github.com/wecomauth/wecom/tokenstore/redisstore"
	"github.com/wecomauth/wecom/tokenstore/sqlitestore"
)

// storeTimeout is shorter than the two seconds after which the middleware gives
// up on a session store, so that calls which it no longer waits for end too.
const storeTimeout = 1500 * time.Millisecond

// stores are what the gateway keeps sessions and the access token in.
type stores struct {
	sessions scs.Store        // nil: the middleware's own memory
	tokens   wecom.TokenStore // nil: memory
	problem  error            // why the token store is not used
	closers  []func()
}

func (s *stores) close() {
	for _, c := range s.closers {
		c()
	}
}

// openStores opens what the settings name. It waits for no server: a session
// store that is away means 503 until it is back, a token store that is away
// or spoiled means that the token is kept in memory.
func openStores(c config, wrong *mistakes, log *slog.Logger) *stores {
	logging.Disable() // the errors reach the middleware's log
	s := &stores{}
	if err := s.openSessions(c.sessionStore, log); err != nil {
		wrong.add("WECOM_SESSION_STORE", "%v", err)
	}
	err := s.openTokens(c.tokenStore)
	var spoiled *spoiledError
	switch {
	case errors.As(err, &spoiled):
		s.problem = spoiled.err
		log.Warn("WECOM_TOKEN_STORE cannot be used: the access token is kept in memory", "cause", spoiled.err.Error())
	case err != nil:
		wrong.add("WECOM_TOKEN_STORE", "%v", err)
	}
	return s
}

// A spoiledError is a fault of the place and not of the setting.
type spoiledError struct{ err error }

func (e *spoiledError) Error() string { return e.err.Error() }

func (s *stores) openTokens(where string) error {
	kind, rest, _ := strings.Cut(where, ":")
	isURL := strings.HasPrefix(rest, "//") // without, the client libraries would take it for localhost
	switch {
	case where == "memory":
		return nil
	case kind == "file" && rest != "":
		store, err := filestore.New(rest)
		if err != nil {
			return &spoiledError{err}
		}
		s.tokens = store
		return nil
	case kind == "sqlite" && rest != "":
		store, err := sqlitestore.Open(rest)
		if err != nil {
			return &spoiledError{err}
		}
		s.tokens = store
		s.closers = append(s.closers, func() { _ = store.Close() })
		return nil
	case (kind == "redis" || kind == "rediss") && isURL:
		client, err := openRedis(where)
		if err != nil {
			return err
		}
		s.tokens = redisstore.New(client, "")
		s.closers = append(s.closers, func() { _ = client.Close() })
		return nil
	}
	return errors.New("want memory, file:FOLDER, sqlite:PATH or redis://HOST:PORT/DB")
}

func (s *stores) openSessions(where string, log *slog.Logger) error {
	kind, rest, _ := strings.Cut(where, ":")
	isURL := strings.HasPrefix(rest, "//") // without, the client libraries would take it for localhost
	switch {
	case where == "memory":
		return nil
	case kind == "sqlite" && rest != "":
		return s.openSQLite(rest, log)
	case (kind == "redis" || kind == "rediss") && isURL:
		client, err := openRedis(where)
		if err != nil {
			return err
		}
		s.closers = append(s.closers, func() { _ = client.Close() })
		s.sessions = newBounded(goredisstore.New(client), nil)
		return nil
	case (kind == "postgres" || kind == "postgresql") && isURL:
		return s.openPostgres(where, log)
	}
	return errors.New("want memory, sqlite:PATH, redis://HOST:PORT/DB or postgres://…")
}

// openRedis returns a client that waits for nothing longer than storeTimeout.
func openRedis(where string) (*redis.Client, error) {
	o, err := redis.ParseURL(where)
	if err != nil || strings.HasPrefix(where, "redis:///") || strings.HasPrefix(where, "rediss:///") {
		return nil, errors.New("want redis://USER:PASSWORD@HOST:PORT/DB") // the error itself shows the password
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = storeTimeout, storeTimeout, storeTimeout, storeTimeout
	o.ContextTimeoutEnabled = true
	o.DialerRetries = 1
	o.MaxRetries = 2
	// After a row of failures the pool dials but once a second, so that sessions
	// would stay away for a second after Redis is back. It counts failed dials only: a
	// connection that fails at its first use is dialled anew at the next.
	dial := redis.NewDialer(o)
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return &brokenConn{err: err}, nil
		}
		return conn, nil
	}
	return redis.NewClient(o), nil
}

// A brokenConn fails with the error of its dial.
type brokenConn struct {
	net.Conn
	err error
}

func (c *brokenConn) Read([]byte) (int, error)         { return 0, c.err }
func (c *brokenConn) Write([]byte) (int, error)        { return 0, c.err }
func (c *brokenConn) Close() error                     { return nil }
func (c *brokenConn) SetDeadline(time.Time) error      { return nil }
func (c *brokenConn) SetReadDeadline(time.Time) error  { return nil }
func (c *brokenConn) SetWriteDeadline(time.Time) error { return nil }
func (c *brokenConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *brokenConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

func (s *stores) openSQLite(path string, log *slog.Logger) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := private(path); err != nil {
		return err
	}
	// busy_timeout comes first: the switch to WAL waits for others too.
	dsn := (&url.URL{Scheme: "file", Path: path}).String() +
		"?_pragma=busy_timeout(1500)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	exec := func(ctx context.Context, statement string) error {
		_, err := db.ExecContext(ctx, statement)
		return err
	}
	store := newBounded(sqlite3store.NewWithCleanupInterval(db, 0), func(ctx context.Context) error {
		return exec(ctx, `CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL);
			CREATE INDEX IF NOT EXISTS sessions_expiry_idx ON sessions(expiry);`)
	})
	s.sessions = store
	stop := sweep(store, log, func(ctx context.Context) error {
		return exec(ctx, `DELETE FROM sessions WHERE expiry < julianday('now')`)
	})
	s.closers = append(s.closers, func() {
		stop()
		_ = db.Close()
	})
	return nil
}

// private makes the file, and the folder if it is missing, for this user alone.
// SQLite gives its other files the same mode.
func private(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", path)
	}
	if mode := info.Mode().Perm(); filepath.Separator == '/' && mode&0o077 != 0 {
		return fmt.Errorf("%s is open to other users (mode %04o): chmod 600 '%s'", path, mode, path)
	}
	return nil
}

func (s *stores) openPostgres(where string, log *slog.Logger) error {
	o, err := pgxpool.ParseConfig(where)
	if err != nil {
		return errors.New("want postgres://USER:PASSWORD@HOST:PORT/DATABASE") // the error itself may show the password
	}
	o.ConnConfig.ConnectTimeout = storeTimeout
	o.ConnConfig.RuntimeParams["statement_timeout"] = fmt.Sprint(storeTimeout.Milliseconds())
	o.MaxConns = max(o.MaxConns, 16)
	pool, err := pgxpool.NewWithConfig(context.Background(), o)
	if err != nil {
		return errors.New("want postgres://USER:PASSWORD@HOST:PORT/DATABASE")
	}
	store := newBounded(pgxstore.NewWithCleanupInterval(pool, 0), func(ctx context.Context) error {
		// A role that may not create tables can use one that is there. The lock is for
		// several gateways that start at once: IF NOT EXISTS alone fails then.
		var there bool
		if err := pool.QueryRow(ctx, `SELECT to_regclass('sessions') IS NOT NULL`).Scan(&there); err != nil || there {
			return err
		}
		_, err := pool.Exec(ctx, `SELECT pg_advisory_xact_lock(7791024615);
			CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL);
			CREATE INDEX IF NOT EXISTS sessions_expiry_idx ON sessions (expiry);`)
		return err
	})
	s.sessions = store
	stop := sweep(store, log, func(ctx context.Context) error {
		_, err := pool.Exec(ctx, `DELETE FROM sessions WHERE expiry < current_timestamp`)
		return err
	})
	s.closers = append(s.closers, func() {
		stop()
		closed := make(chan struct{})
		go func() {
			pool.Close() // waits for connections that are in use
			close(closed)
		}()
		select {
		case <-closed:
		case <-time.After(storeTimeout):
		}
	})
	return nil
}

// sweep deletes expired rows now and then. scs's own sweepers cannot be stopped cleanly.
func sweep(store *bounded, log *slog.Logger, expire func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(5 * time.Minute)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			_, err := within(ctx, store, func(ctx context.Context) (struct{}, error) { return struct{}{}, expire(ctx) })
			if err != nil && ctx.Err() == nil {
				log.Warn("expired sessions were not deleted", "cause", err.Error())
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// bounded lets a limited number of calls into a store at a time. Some of scs's stores
// take no context: while their server hangs, the calls that nobody waits for any
// more would pile up without end. It also makes the table before the first call that succeeds.
type bounded struct {
	store   scs.Store
	slots   chan struct{}
	prepare func(context.Context) error
	ready   atomic.Bool
}

const callsAtOnce = 64

func newBounded(store scs.Store, prepare func(context.Context) error) *bounded {
	b := &bounded{store: store, slots: make(chan struct{}, callsAtOnce), prepare: prepare}
	b.ready.Store(prepare == nil)
	return b
}

// within calls f in a slot, which is taken until f returns.
func within[T any](ctx context.Context, b *bounded, f func(context.Context) (T, error)) (none T, _ error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return none, fmt.Errorf("all %d calls to the store are waiting: %w", callsAtOnce, ctx.Err())
	}
	if !b.ready.Load() {
		if err := b.prepare(ctx); err != nil {
			return none, err
		}
		b.ready.Store(true)
	}
	return f(ctx)
}

type row struct {
	data  []byte
	found bool
}

func (b *bounded) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	r, err := within(ctx, b, func(ctx context.Context) (r row, err error) {
		if s, ok := b.store.(scs.CtxStore); ok {
			r.data, r.found, err = s.FindCtx(ctx, token)
		} else {
			r.data, r.found, err = b.store.Find(token)
		}
		return r, err
	})
	return r.data, r.found, err
}

func (b *bounded) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	_, err := within(ctx, b, func(ctx context.Context) (struct{}, error) {
		if s, ok := b.store.(scs.CtxStore); ok {
			return struct{}{}, s.CommitCtx(ctx, token, data, expiry)
		}
		return struct{}{}, b.store.Commit(token, data, expiry)
	})
	return err
}

func (b *bounded) DeleteCtx(ctx context.Context, token string) error {
	_, err := within(ctx, b, func(ctx context.Context) (struct{}, error) {
		if s, ok := b.store.(scs.CtxStore); ok {
			return struct{}{}, s.DeleteCtx(ctx, token)
		}
		return struct{}{}, b.store.Delete(token)
	})
	return err
}

func (b *bounded) Find(token string) ([]byte, bool, error) {
	return b.FindCtx(context.Background(), token)
}

func (b *bounded) Commit(token string, data []byte, expiry time.Time) error {
	return b.CommitCtx(context.Background(), token, data, expiry)
}

func (b *bounded) Delete(token string) error { return b.DeleteCtx(context.Background(), token) }

// answers says whether the session store does, within two seconds.
func (s *stores) answers(ctx context.Context) error {
	store, ok := s.sessions.(*bounded)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	answer := make(chan error, 1)
	go func() {
		_, _, err := store.FindCtx(ctx, "readiness")
		answer <- err
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
