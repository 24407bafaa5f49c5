package sqlitestore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenstore/private"
)

const (
	// lease is how long a lock lasts: longer than a fetch, which may take 10 seconds, and less than
	// the 15 seconds after which a dead holder's lock must be free.
	lease     = 14 * time.Second
	fnTimeout = lease - time.Second

	lockPoll     = 25 * time.Millisecond
	openTimeout  = 5 * time.Second
	writeTimeout = 5 * time.Second // for what must be written though the caller's context has ended
)

var (
	_ wecom.TokenStore = (*Store)(nil)

	errClosed = errors.New("closed, or not made by Open")
	errLost   = errors.New("the lock was lost before the token could be stored")
)

// A Store is a [wecom.TokenStore] in a SQLite database. Use [Open]; every method of the zero Store
// returns an error. It is safe for concurrent use.
type Store struct {
	database database
	turns    turns
}

// Open returns a store that keeps its tokens in the database at path. It creates the database, and
// the folders above it, if they are missing. A relative path is resolved once, against the current
// directory.
//
// Open returns an error for what only a person can fix: an empty path, or one that is not a plain
// file, belongs to another user or is open to other users. For any other failure of the disk (full,
// not mounted, read-only) it returns a store whose methods return that error until the disk is back,
// so that a service starts without it.
func Open(path string) (*Store, error) {
	s := &Store{}
	if err := s.database.init(path); err != nil {
		return nil, fmt.Errorf("sqlitestore: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	err := s.database.do(ctx, func(context.Context, querier) error { return nil })
	if refused := (*private.Error)(nil); errors.As(err, &refused) || errors.Is(err, errNoFile) {
		return nil, fmt.Errorf("sqlitestore: %w", err)
	}
	return s, nil
}

// Close closes the database. Later calls return an error; an Update whose fn is running returns
// its token with an error. Closing twice does no harm.
func (s *Store) Close() error {
	if err := s.database.close(); err != nil {
		return fmt.Errorf("sqlitestore: %w", err)
	}
	return nil
}

// Load returns the token under key. The zero Token means that there is none, or that its row or the
// whole database was damaged; an error means that the disk failed or the database is open to other
// users. Load does not wait for a key's lock.
func (s *Store) Load(ctx context.Context, key string) (wecom.Token, error) {
	var t wecom.Token
	err := s.database.do(ctx, func(ctx context.Context, q querier) (err error) {
		t, err = selectToken(ctx, q, key)
		return err
	})
	if err != nil {
		return wecom.Token{}, fmt.Errorf("sqlitestore: %w", err)
	}
	return t, nil
}

// Update calls fn under key's lock, as [wecom.TokenStore] says. It waits for the lock until ctx
// ends. fn's context ends after 13 seconds, before others can take the lock. What fn returns is
// written even if ctx has ended by then, unless it equals current or the lock was lost.
func (s *Store) Update(ctx context.Context, key string, fn func(context.Context, wecom.Token) (wecom.Token, error)) (wecom.Token, error) {
	leave, err := s.turns.take(ctx, key)
	if err != nil {
		return wecom.Token{}, fmt.Errorf("sqlitestore: lock: %w", err)
	}
	defer leave()

	l := lock{key: key, owner: rand.Text()}
	written := false
	defer func() { // also when fn panics
		if !written && !l.taken.IsZero() {
			_ = s.write(ctx, l.free) // else it is free in 14 seconds
		}
	}()
	current, err := s.acquire(ctx, &l)
	if err != nil {
		return wecom.Token{}, fmt.Errorf("sqlitestore: lock: %w", err)
	}

	fnCtx, cancel := context.WithDeadline(ctx, l.taken.Add(fnTimeout))
	defer cancel()
	t, err := fn(fnCtx, current)
	if err != nil {
		return wecom.Token{}, err
	}
	if t.Value.Reveal() == "" {
		return wecom.Token{}, errors.New("sqlitestore: no token to store")
	}
	if t.Value.Reveal() == current.Value.Reveal() && t.Expires.Equal(current.Expires) {
		return t, nil
	}
	if err := s.write(ctx, func(ctx context.Context, q querier) error { return l.store(ctx, q, t) }); err != nil {
		return t, fmt.Errorf("sqlitestore: %w", err)
	}
	written = true
	return t, nil
}

// acquire takes the lock and returns the token that is stored then. While another process holds it,
// acquire polls by reading, which blocks nobody.
func (s *Store) acquire(ctx context.Context, l *lock) (current wecom.Token, err error) {
	for {
		err := s.database.do(ctx, l.isFree)
		if err == nil {
			err = s.database.write(ctx, func(ctx context.Context, q querier) (err error) {
				if err := l.take(ctx, q); err != nil {
					return err
				}
				current, err = selectToken(ctx, q, l.key)
				return err
			})
		}
		if !errors.Is(err, errHeld) {
			return current, err
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return wecom.Token{}, ctx.Err()
		}
	}
}

func (s *Store) write(ctx context.Context, f func(context.Context, querier) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	return s.database.write(ctx, f)
}
