package wecom

import (
	"context"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/wecomauth/wecom/internal/foreign"
)

// A store makes the calls of an scs.Store, each bounded in time. A panic is an error.
// The store's client has longer timeouts of its own: go-redis waits 5 seconds and ignores
// the context's deadline.
type store struct {
	scs     scs.Store
	direct  bool                         // it is in this process's memory: it cannot hang, and is called directly
	timeout time.Duration                // of each call
	observe func(context.Context, Event) // may be nil
}

func newStore(s scs.Store, o Options) store {
	switch s.(type) {
	case *memoryStore, *memstore.MemStore:
		return store{scs: s, direct: true}
	}
	return store{scs: s, timeout: o.Limits.orDefault().SessionStore, observe: o.Observe}
}

func (s store) get(ctx context.Context, key string) ([]byte, bool, error) {
	if s.direct {
		return s.scs.Find(key)
	}
	type answer struct {
		row   []byte
		found bool
	}
	a, err := wait(ctx, s, "store_find", func(ctx context.Context) (a answer, err error) {
		a.row, a.found, err = s.find(ctx, key)
		return a, err
	})
	return a.row, a.found, err
}

// put and del go on when the browser has left: a logout must finish all the same.

func (s store) put(ctx context.Context, key string, row []byte, expires time.Time) error {
	_, err := wait(context.WithoutCancel(ctx), s, "store_commit", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.commit(ctx, key, row, expires)
	})
	return err
}

func (s store) del(ctx context.Context, key string) error {
	_, err := wait(context.WithoutCancel(ctx), s, "store_delete", func(ctx context.Context) (struct{}, error) {
		if c, ok := s.scs.(interface {
			DeleteCtx(context.Context, string) error
		}); ok {
			return struct{}{}, c.DeleteCtx(ctx, key)
		}
		return struct{}{}, s.scs.Delete(key)
	})
	return err
}

// wait calls fn, which calls the store, and tells the observer how long that took.
func wait[T any](ctx context.Context, s store, event string, fn func(context.Context) (T, error)) (T, error) {
	if s.direct {
		return foreign.Call("session store", func() (T, error) { return fn(ctx) })
	}
	began := time.Now()
	value, err := foreign.Within(ctx, s.timeout, "session store", fn)
	if s.observe != nil {
		s.observe(ctx, storeEvent(event, err, time.Since(began)))
	}
	return value, err
}

// find and commit are not bounded. They prefer the methods with a context: some of
// scs's stores panic in the others.

func (s store) find(ctx context.Context, key string) ([]byte, bool, error) {
	if c, ok := s.scs.(interface {
		FindCtx(context.Context, string) ([]byte, bool, error)
	}); ok {
		return c.FindCtx(ctx, key)
	}
	return s.scs.Find(key)
}

func (s store) commit(ctx context.Context, key string, row []byte, expires time.Time) error {
	if c, ok := s.scs.(interface {
		CommitCtx(context.Context, string, []byte, time.Time) error
	}); ok {
		return c.CommitCtx(ctx, key, row, expires)
	}
	return s.scs.Commit(key, row, expires)
}
