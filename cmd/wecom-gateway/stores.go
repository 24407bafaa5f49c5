package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/redis/go-redis/v9/logging"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenstore/filestore"
	"github.com/wecomauth/wecom/tokenstore/redisstore"
	"github.com/wecomauth/wecom/tokenstore/sqlitestore"
)

// storeTimeout is shorter than the two seconds after which the middleware gives
// up on a session store, so that calls which it no longer waits for end too.
const storeTimeout = 1500 * time.Millisecond

const (
	// attemptTimeout leaves time for a second attempt: a connection may have died
	// silently, when a host lost its power or a firewall its memory.
	attemptTimeout = storeTimeout / 2
	// maxIdle is how long a connection may be idle. One that was idle for longer is
	// more likely to be dead than it is expensive to dial.
	maxIdle = 5 * time.Second
)

// stores are what the gateway keeps sessions and the access token in.
type stores struct {
	sessions scs.Store        // nil: the middleware's own memory
	tokens   wecom.TokenStore // nil: memory
	problem  error            // why the token store is not used
	closers  []func()

	mu     sync.Mutex
	latest *probe // of the session store
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
	if s.sessions == nil && len(c.hosts) > 0 { // one memory, where each middleware would have its own
		store := memstore.New()
		s.sessions = store
		s.closers = append(s.closers, store.StopCleanup)
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
		table, err := openSQLite(rest)
		if err != nil {
			return err
		}
		s.keep(table, log)
		return nil
	case (kind == "redis" || kind == "rediss") && isURL:
		client, err := openRedis(where)
		if err != nil {
			return err
		}
		s.closers = append(s.closers, func() { _ = client.Close() })
		s.sessions = newBounded(&redisSessions{client: client})
		return nil
	case (kind == "postgres" || kind == "postgresql") && isURL:
		table, err := openPostgres(where)
		if err != nil {
			return err
		}
		s.keep(table, log)
		return nil
	}
	return errors.New("want memory, sqlite:PATH, redis://HOST:PORT/DB or postgres://…")
}

// A database is a session table that does not delete expired rows by itself.
type database interface {
	sessionTable
	deleteExpired(context.Context) error
	close()
}

// keep keeps sessions in a database.
func (s *stores) keep(db database, log *slog.Logger) {
	store := newBounded(db)
	s.sessions = store
	stop := sweep(log, func(ctx context.Context) error {
		_, err := within(ctx, store, func(ctx context.Context) (struct{}, error) { return struct{}{}, db.deleteExpired(ctx) })
		return err
	})
	s.closers = append(s.closers, func() {
		stop()
		db.close()
	})
}

// sweep calls expire now and then.
func sweep(log *slog.Logger, expire func(context.Context) error) (stop func()) {
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
			if err := expire(ctx); err != nil && ctx.Err() == nil {
				log.Warn("expired sessions were not deleted", "cause", err.Error())
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// A sessionTable keeps session rows. Its calls end when their context does.
type sessionTable interface {
	FindCtx(ctx context.Context, token string) ([]byte, bool, error)
	CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error
	DeleteCtx(ctx context.Context, token string) error
	TakeCtx(ctx context.Context, token string) ([]byte, bool, error)                       // see issuer.Taker
	AddCtx(ctx context.Context, token string, data []byte, expiry time.Time) (bool, error) // see issuer.Adder
}

// bounded bounds a session table's calls, in time and in number.
type bounded struct {
	table sessionTable
	slots chan struct{}
}

const callsAtOnce = 64

func newBounded(table sessionTable) *bounded {
	return &bounded{table: table, slots: make(chan struct{}, callsAtOnce)}
}

// within calls f in a slot, which is taken until f returns. A call that has begun goes
// on when its browser leaves: what breaks it off costs the connection, and anybody may leave.
func within[T any](ctx context.Context, b *bounded, f func(context.Context) (T, error)) (none T, _ error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return none, fmt.Errorf("all %d calls to the store are waiting: %w", callsAtOnce, ctx.Err())
	}
	deadline, _ := ctx.Deadline()
	ctx, end := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer end()
	return f(ctx)
}

type row struct {
	data  []byte
	found bool
}

func (b *bounded) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	return b.row(ctx, token, b.table.FindCtx)
}

func (b *bounded) TakeCtx(ctx context.Context, token string) ([]byte, bool, error) {
	return b.row(ctx, token, b.table.TakeCtx)
}

func (b *bounded) AddCtx(ctx context.Context, token string, data []byte, expiry time.Time) (bool, error) {
	return within(ctx, b, func(ctx context.Context) (bool, error) { return b.table.AddCtx(ctx, token, data, expiry) })
}

func (b *bounded) row(ctx context.Context, token string, get func(context.Context, string) ([]byte, bool, error)) ([]byte, bool, error) {
	r, err := within(ctx, b, func(ctx context.Context) (r row, err error) {
		r.data, r.found, err = get(ctx, token)
		return r, err
	})
	return r.data, r.found, err
}

func (b *bounded) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	_, err := within(ctx, b, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, b.table.CommitCtx(ctx, token, data, expiry)
	})
	return err
}

func (b *bounded) DeleteCtx(ctx context.Context, token string) error {
	_, err := within(ctx, b, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, b.table.DeleteCtx(ctx, token)
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

// A probe is one attempt to write, read and delete session rows.
type probe struct {
	began time.Time
	done  chan struct{}
	err   error // once done is closed
}

// answers says whether the session store takes rows and gives them back, within two
// seconds. Everybody may ask /readyz: so there is one probe at a time, and one that
// went well counts for a second.
func (s *stores) answers(ctx context.Context) error {
	store, ok := s.sessions.(*bounded)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s.mu.Lock()
	p := s.latest
	if p == nil || p.over() {
		p = &probe{began: time.Now(), done: make(chan struct{})}
		s.latest = p
		go func() {
			defer close(p.done)
			p.err = hint(store.probe())
		}()
	}
	s.mu.Unlock()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *probe) over() bool {
	select {
	case <-p.done:
		return p.err != nil || time.Since(p.began) > time.Second
	default:
		return false
	}
}

// probes is how many rows tell whether Redis takes all of them: a Cluster's node
// refuses those of the other nodes.
const probes = 8

func (b *bounded) probe() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	rows := 1
	if _, ok := b.table.(*redisSessions); ok {
		rows = probes
	}
	for range rows {
		name, data := "probe-"+rand.Text(), []byte(rand.Text())
		if err := b.CommitCtx(ctx, name, data, time.Now().Add(time.Minute)); err != nil {
			return err
		}
		read, _, err := b.FindCtx(ctx, name)
		if err != nil {
			return err
		}
		if !bytes.Equal(read, data) {
			return errors.New("a row that was written is not there")
		}
		if err := b.DeleteCtx(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
