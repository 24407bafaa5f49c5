package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A postgres keeps sessions in PostgreSQL, in the table of scs's pgxstore. That
// store passes no context on: a connection that died silently keeps its caller, and
// its place in the pool, until TCP gives up.
type postgres struct {
	pool  *pgxpool.Pool
	ready atomic.Bool // the table was there
}

var errPostgresURL = errors.New("want postgres://USER:PASSWORD@HOST:PORT/DATABASE") // pgx's own error may show the password

func openPostgres(where string) (*postgres, error) {
	o, err := pgxpool.ParseConfig(where)
	if err != nil {
		return nil, errPostgresURL
	}
	o.ConnConfig.ConnectTimeout = attemptTimeout
	// Neither start-up parameters nor named statements: PgBouncer refuses the ones and may mix up the others.
	if o.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		o.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	o.MaxConns = max(o.MaxConns, 16)
	// A ping that fails would keep the connection's place in the pool, as try explains.
	o.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	pool, err := pgxpool.NewWithConfig(context.Background(), o)
	if err != nil {
		return nil, errPostgresURL
	}
	return &postgres{pool: pool}, nil
}

func (p *postgres) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	return p.row(ctx, `SELECT data FROM sessions WHERE token = $1 AND current_timestamp < expiry`, token)
}

// TakeCtx finds nothing if the row went but the answer was lost.
func (p *postgres) TakeCtx(ctx context.Context, token string) ([]byte, bool, error) {
	return p.row(ctx, `DELETE FROM sessions WHERE token = $1 AND current_timestamp < expiry RETURNING data`, token)
}

func (p *postgres) row(ctx context.Context, statement string, args ...any) (data []byte, found bool, err error) {
	err = p.do(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, statement, args...).Scan(&data)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	return data, err == nil, err
}

func (p *postgres) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return p.exec(ctx, `INSERT INTO sessions (token, data, expiry) VALUES ($1, $2, $3)
		ON CONFLICT (token) DO UPDATE SET data = EXCLUDED.data, expiry = EXCLUDED.expiry`, token, data, expiry)
}

// AddCtx repeats a statement whose answer was lost: then it says false though the row is its own.
func (p *postgres) AddCtx(ctx context.Context, token string, data []byte, expiry time.Time) (bool, error) {
	_, added, err := p.row(ctx, `INSERT INTO sessions (token, data, expiry) VALUES ($1, $2, $3)
		ON CONFLICT (token) DO UPDATE SET data = EXCLUDED.data, expiry = EXCLUDED.expiry
		WHERE sessions.expiry < current_timestamp RETURNING data`, token, data, expiry)
	return added, err
}

func (p *postgres) DeleteCtx(ctx context.Context, token string) error {
	return p.exec(ctx, `DELETE FROM sessions WHERE token = $1`, token)
}

func (p *postgres) deleteExpired(ctx context.Context) error {
	return p.exec(ctx, `DELETE FROM sessions WHERE expiry < current_timestamp`)
}

func (p *postgres) exec(ctx context.Context, statement string, args ...any) error {
	return p.do(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, statement, args...)
		return err
	})
}

// do runs f, which must be repeatable, and runs it again if it fails: the
// connection may have died while it was idle, or the table may be missing.
func (p *postgres) do(ctx context.Context, f func(context.Context, *pgxpool.Conn) error) error {
	first, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	err := p.try(first, f)
	if err == nil || errors.Is(err, pgx.ErrNoRows) || ctx.Err() != nil {
		return err
	}
	return p.try(ctx, f)
}

func (p *postgres) try(ctx context.Context, f func(context.Context, *pgxpool.Conn) error) error {
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	if err = p.prepare(ctx, conn); err == nil {
		err = f(ctx, conn)
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "42P01" { // no such table
		p.ready.Store(false)
	}
	if !conn.Conn().IsClosed() {
		conn.Release()
		return err
	}
	// pgx goes on to cancel the query, for up to 15 seconds, and the pool would wait
	// for it before it dials anew. What else is in the pool is as likely to be dead.
	conn.Hijack()
	p.pool.Reset()
	return err
}

// prepare makes the table if it is missing.
func (p *postgres) prepare(ctx context.Context, conn *pgxpool.Conn) error {
	if p.ready.Load() {
		return nil
	}
	// A role that may not create tables can use one that is there.
	var there bool
	err := conn.QueryRow(ctx, `SELECT to_regclass('sessions') IS NOT NULL`).Scan(&there)
	if err == nil && !there {
		// The lock is for several gateways that start at once: IF NOT EXISTS alone fails then.
		_, err = conn.Exec(ctx, `SELECT pg_advisory_xact_lock(7791024615);
			CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL);
			CREATE INDEX IF NOT EXISTS sessions_expiry_idx ON sessions (expiry);`, pgx.QueryExecModeSimpleProtocol)
	}
	p.ready.Store(err == nil)
	return err
}

func (p *postgres) close() {
	closed := make(chan struct{})
	go func() {
		p.pool.Close() // waits for connections that are in use
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(storeTimeout):
	}
}
