package sqlitestore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"time"

	"github.com/wecomauth/wecom"
)

// The tables' names end in the version of their schema, so that a later one has tables of its own.
const (
	makeTables = `
		CREATE TABLE IF NOT EXISTS wecom_tokens_1 (key TEXT NOT NULL PRIMARY KEY, token BLOB NOT NULL, expires INTEGER NOT NULL, sum BLOB NOT NULL);
		CREATE TABLE IF NOT EXISTS wecom_locks_1 (key TEXT NOT NULL PRIMARY KEY, owner TEXT NOT NULL, until INTEGER NOT NULL)`
	dropTables = `
		DROP TABLE IF EXISTS wecom_tokens_1;
		DROP TABLE IF EXISTS wecom_locks_1`
)

// A querier is a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// selectToken returns the zero Token if there is no row or none that upsertToken wrote for key.
func selectToken(ctx context.Context, q querier, key string) (wecom.Token, error) {
	var token, expires, sum any // a damaged row holds anything
	err := q.QueryRowContext(ctx, "SELECT token, expires, sum FROM wecom_tokens_1 WHERE key = ?", key).Scan(&token, &expires, &sum)
	if errors.Is(err, sql.ErrNoRows) {
		return wecom.Token{}, nil
	}
	if err != nil {
		return wecom.Token{}, err
	}
	value, _ := token.([]byte)
	ms, _ := expires.(int64)
	if s, _ := sum.([]byte); len(value) == 0 || !bytes.Equal(s, checksum(key, value, ms)) {
		return wecom.Token{}, nil
	}
	return wecom.Token{Value: wecom.NewSecret(string(value)), Expires: time.UnixMilli(ms)}, nil
}

// upsertToken names the key that may conflict: SQLite refuses a table without it, which is then remade.
func upsertToken(ctx context.Context, q querier, key string, t wecom.Token) error {
	value, ms := []byte(t.Value.Reveal()), t.Expires.UnixMilli()
	_, err := q.ExecContext(ctx, "INSERT INTO wecom_tokens_1 (key, token, expires, sum) VALUES (?, ?, ?, ?)"+
		" ON CONFLICT (key) DO UPDATE SET token = excluded.token, expires = excluded.expires, sum = excluded.sum",
		key, value, ms, checksum(key, value, ms))
	return err
}

func checksum(key string, value []byte, expires int64) []byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(key), value} {
		_ = binary.Write(h, binary.BigEndian, uint64(len(part)))
		h.Write(part)
	}
	_ = binary.Write(h, binary.BigEndian, expires)
	return h.Sum(nil)
}

var errHeld = errors.New("held by somebody else")

// A lock is one caller's claim on a key. Its methods run within a transaction, except for isFree.
type lock struct {
	key, owner string
	taken      time.Time
}

// isFree returns errHeld if another caller holds the lock. A time further ahead than a lease is
// damaged, or was written before the clock was set back.
func (l *lock) isFree(ctx context.Context, q querier) error {
	var until any
	err := q.QueryRowContext(ctx, "SELECT until FROM wecom_locks_1 WHERE key = ? AND owner <> ?", l.key, l.owner).Scan(&until)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	ms, _ := until.(int64)
	if left := time.Until(time.UnixMilli(ms)); left > 0 && left <= lease {
		return errHeld
	}
	return nil
}

func (l *lock) take(ctx context.Context, q querier) error {
	if err := l.isFree(ctx, q); err != nil {
		return err
	}
	l.taken = time.Now()
	_, err := q.ExecContext(ctx, "INSERT INTO wecom_locks_1 (key, owner, until) VALUES (?, ?, ?)"+
		" ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, until = excluded.until",
		l.key, l.owner, l.taken.Add(lease).UnixMilli())
	return err
}

// store stores t and frees the lock, unless another caller holds it by now. If nobody does (the
// file was deleted), t is stored too.
func (l *lock) store(ctx context.Context, q querier, t wecom.Token) error {
	var owner string
	err := q.QueryRowContext(ctx, "SELECT owner FROM wecom_locks_1 WHERE key = ?", l.key).Scan(&owner)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err == nil && owner != l.owner {
		return errLost
	}
	if err := upsertToken(ctx, q, l.key, t); err != nil {
		return err
	}
	return l.free(ctx, q)
}

func (l *lock) free(ctx context.Context, q querier) error {
	_, err := q.ExecContext(ctx, "DELETE FROM wecom_locks_1 WHERE key = ? AND owner = ?", l.key, l.owner)
	return err
}
