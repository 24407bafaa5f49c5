package wecom

import (
	"context"
	"errors"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/wecomauth/wecom/internal/foreign"
)

// A store makes the calls of an scs.Store, each bounded in time. A panic is an error.
// The store's client has longer timeouts of its own: go-redis waits 5 seconds and ignores
// the context's deadline.
type store struct {
	rows    scs.CtxStore
	memory  bool          // it is in this process's memory: it cannot hang, and is called directly
	timeout time.Duration // of each call
	observe func(context.Context, Event)
}

func newStore(s scs.Store, timeout time.Duration, observe func(context.Context, Event)) store {
	// Like scs itself: some of its stores panic in the methods without a context.
	rows, ok := s.(scs.CtxStore)
	if !ok {
		rows = contextless{s}
	}
	memory := false
	switch s.(type) {
	case *memoryStore, *memstore.MemStore:
		memory = true
	}
	return store{rows, memory, timeout, observe}
}

// A contextless store is one whose methods take no context.
type contextless struct{ scs.Store }

func (s contextless) FindCtx(_ context.Context, key string) ([]byte, bool, error) { return s.Find(key) }
func (s contextless) CommitCtx(_ context.Context, key string, row []byte, expires time.Time) error {
	return s.Commit(key, row, expires)
}
func (s contextless) DeleteCtx(_ context.Context, key string) error { return s.Delete(key) }

func (s store) get(ctx context.Context, key string) ([]byte, bool, error) {
	if s.memory {
		return s.rows.FindCtx(ctx, key)
	}
	type answer struct {
		row   []byte
		found bool
	}
	a, err := wait(ctx, s, "store_find", func(ctx context.Context) (a answer, err error) {
		a.row, a.found, err = s.rows.FindCtx(ctx, key)
		return a, err
	})
	return a.row, a.found, err
}

// put and del go on when the browser has left: a logout must finish anyway.

func (s store) put(ctx context.Context, key string, row []byte, expires time.Time) error {
	_, err := wait(context.WithoutCancel(ctx), s, "store_commit", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.rows.CommitCtx(ctx, key, row, expires)
	})
	return err
}

func (s store) del(ctx context.Context, key string) error {
	_, err := wait(context.WithoutCancel(ctx), s, "store_delete", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.rows.DeleteCtx(ctx, key)
	})
	return err
}

// wait calls fn, which calls the store, and tells the observer how long that took.
func wait[T any](ctx context.Context, s store, event string, fn func(context.Context) (T, error)) (T, error) {
	if s.memory {
		return fn(ctx)
	}
	began := time.Now()
	value, err := foreign.Within(ctx, s.timeout, "session store", fn)
	s.observe(ctx, Event{Name: event, Outcome: storeOutcome(err), Duration: time.Since(began)})
	return value, err
}

// storeOutcome names the outcome of a call of the session store.
func storeOutcome(err error) string {
	if err == nil {
		return "ok"
	}
	var slow interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &slow) && slow.Timeout():
		return "timeout"
	}
	return "failed"
}
