package issuer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
)

// A Taker is an scs.Store that finds and deletes a row in one step, so that of many
// callers, in whatever process, exactly one gets it: GETDEL in Redis, DELETE … RETURNING in a
// database. The results are Find's.
type Taker interface {
	TakeCtx(ctx context.Context, token string) (data []byte, found bool, err error)
}

// An Adder is an scs.Store that commits a row only where there is none, in one step, and
// says whether it did: SET NX in Redis, INSERT … ON CONFLICT DO NOTHING in a database.
type Adder interface {
	AddCtx(ctx context.Context, token string, data []byte, expiry time.Time) (added bool, err error)
}

const storeTimeout = 2 * time.Second

// rows keeps what the issuer remembers, in JSON. A row that cannot be read is none.
type rows struct {
	store scs.Store
	space string   // so that two issuers in one store have different rows
	locks *stripes // of rows that are being taken
}

// The kinds of rows.
const (
	codeRow     = "code"
	grantRow    = "grant"
	endedRow    = "ended" // a code or refresh token of a grant came twice
	tokenRow    = "token"
	refreshRow  = "refresh"
	sessionsRow = "sessions" // of a person, that a client knows of
	requestRow  = "request"  // an authorization request that waits for a sign-in
	keysRow     = "keys"
)

func (s *rows) put(ctx context.Context, kind, id string, value any, life time.Duration) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = within(context.WithoutCancel(ctx), func(ctx context.Context) (struct{}, error) {
		if c, ok := s.store.(interface {
			CommitCtx(context.Context, string, []byte, time.Time) error
		}); ok {
			return struct{}{}, c.CommitCtx(ctx, s.name(kind, id), data, time.Now().Add(life))
		}
		return struct{}{}, s.store.Commit(s.name(kind, id), data, time.Now().Add(life))
	})
	return err
}

// add is put where there is no such row yet. Otherwise it changes nothing.
func (s *rows) add(ctx context.Context, kind, id string, value any, life time.Duration) (added bool, err error) {
	data, err := json.Marshal(value)
	if err != nil {
		return false, err
	}
	if a, ok := s.store.(Adder); ok {
		return within(context.WithoutCancel(ctx), func(ctx context.Context) (bool, error) {
			return a.AddCtx(ctx, s.name(kind, id), data, time.Now().Add(life))
		})
	}
	var there json.RawMessage
	if found, err := s.get(ctx, kind, id, &there); err != nil || found {
		return false, err
	}
	return true, s.put(ctx, kind, id, value, life)
}

func (s *rows) get(ctx context.Context, kind, id string, value any) (bool, error) {
	return s.read(ctx, value, func(ctx context.Context) ([]byte, bool, error) { return s.find(ctx, s.name(kind, id)) })
}

// take is get for one caller alone: the row is gone afterwards.
func (s *rows) take(ctx context.Context, kind, id string, value any) (bool, error) {
	name := s.name(kind, id)
	return s.read(context.WithoutCancel(ctx), value, func(ctx context.Context) ([]byte, bool, error) {
		if t, ok := s.store.(Taker); ok {
			return t.TakeCtx(ctx, name)
		}
		unlock, err := s.locks.lock(ctx, name) // in this process, one at a time
		if err != nil {
			return nil, false, err
		}
		defer unlock()
		data, found, err := s.find(ctx, name)
		if err == nil && found {
			err = s.delete(ctx, name)
		}
		return data, found, err
	})
}

// stripes are locks for names, of which a few have the same.
type stripes [64]chan struct{}

func newStripes() *stripes {
	var s stripes
	for i := range s {
		s[i] = make(chan struct{}, 1)
	}
	return &s
}

// lock waits for storeTimeout at most: who holds a lock may be waiting for the store.
func (s *stripes) lock(ctx context.Context, name string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	lock := s[maphash.String(lockSeed, name)%uint64(len(s))]
	select {
	case lock <- struct{}{}:
		return func() { <-lock }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("issuer: others wait for the store: %w", ctx.Err())
	}
}

var lockSeed = maphash.MakeSeed()

func (s *rows) read(ctx context.Context, value any, find func(context.Context) ([]byte, bool, error)) (bool, error) {
	type row struct {
		data  []byte
		found bool
	}
	r, err := within(ctx, func(ctx context.Context) (r row, err error) {
		r.data, r.found, err = find(ctx)
		return r, err
	})
	return err == nil && r.found && json.Unmarshal(r.data, value) == nil, err
}

// name is 43 characters, which is what the narrowest of scs's stores hold. It
// says nothing about the code or token that it is for.
func (s *rows) name(kind, id string) string {
	sum := sha256.Sum256([]byte("issuer\x00" + s.space + "\x00" + kind + "\x00" + id))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// find and delete prefer the methods with a context: some of scs's stores panic in the others.

func (s *rows) find(ctx context.Context, name string) ([]byte, bool, error) {
	if c, ok := s.store.(interface {
		FindCtx(context.Context, string) ([]byte, bool, error)
	}); ok {
		return c.FindCtx(ctx, name)
	}
	return s.store.Find(name)
}

func (s *rows) delete(ctx context.Context, name string) error {
	if c, ok := s.store.(interface {
		DeleteCtx(context.Context, string) error
	}); ok {
		return c.DeleteCtx(ctx, name)
	}
	return s.store.Delete(name)
}

// within calls fn, which calls the store, and gives up after storeTimeout even if fn does not.
func within[T any](ctx context.Context, fn func(context.Context) (T, error)) (none T, _ error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		a := answer{err: errors.New("issuer: the store panicked")}
		defer func() {
			_ = recover()
			done <- a
		}()
		a.value, a.err = fn(ctx)
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		return none, fmt.Errorf("issuer: the store: %w", ctx.Err())
	}
}

// memory is the default store. A full one refuses new rows.
type memory struct {
	mu    sync.Mutex
	rows  map[string]memoryRow
	sweep int // when there are so many rows, those that have ended go
}

type memoryRow struct {
	data []byte
	ends time.Time
}

const maxRows = 1 << 17

var errFull = errors.New("issuer: the memory store is full")

func (m *memory) Find(token string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rows[token]
	if !ok || !time.Now().Before(r.ends) {
		return nil, false, nil
	}
	return r.data, true, nil
}

func (m *memory) Commit(token string, data []byte, expiry time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rows == nil {
		m.rows = map[string]memoryRow{}
	}
	if len(m.rows) >= max(m.sweep, 1024) {
		now := time.Now()
		for name, r := range m.rows {
			if !now.Before(r.ends) {
				delete(m.rows, name)
			}
		}
		m.sweep = min(2*len(m.rows), maxRows)
		if len(m.rows) >= maxRows {
			return errFull
		}
	}
	m.rows[token] = memoryRow{data, expiry}
	return nil
}

func (m *memory) Delete(token string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rows, token)
	return nil
}
