// Package lookup remembers what a platform answered, and asks once for all who want to know the
// same at the same time.
package lookup

import (
	"context"
	"sync"
	"time"

	"github.com/wecomauth/wecom/internal/directory"
	"github.com/wecomauth/wecom/internal/foreign"
	"github.com/wecomauth/wecom/internal/forget"
)

const (
	askTimeout = 10 * time.Second

	answerCounts = 5 * time.Minute
	errorCounts  = time.Second // so that requests do not queue up to ask while WeCom is down
)

// A Memory remembers answers by key. The zero value is ready to use, by many at once.
type Memory[K comparable, V any] struct {
	// Life says how long an answer, or an error, counts; nil: what [Life] says.
	Life func(V, error) time.Duration

	mu      sync.Mutex
	answers forget.Map[K, *answer[V]]
}

// Life is five minutes for an answer and a second for an error.
func Life[V any](_ V, err error) time.Duration {
	if err != nil {
		return errorCounts
	}
	return answerCounts
}

type answer[V any] struct {
	asked time.Time
	done  chan struct{}
	value V // like err, set before done is closed
	err   error
}

// Get returns the answer for key: one that still counts and was asked for at
// since or later, or else a new one by ask. ask runs in no caller's context: a
// caller that leaves does not end it for the others.
func (m *Memory[K, V]) Get(ctx context.Context, key K, since time.Time, ask func(context.Context) (V, error)) (V, error) {
	a := m.find(ctx, key, since, ask)
	select {
	case <-a.done:
		return a.value, a.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

func (m *Memory[K, V]) find(ctx context.Context, key K, since time.Time, ask func(context.Context) (V, error)) *answer[V] {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if changed := directory.ChangedAt(ctx); changed.After(since) {
		since = changed
	}
	if since.After(now) {
		since = time.Time{} // by another clock: no sign-in of this moment
	}
	if a, ok := m.answers.Get(key, now); ok && !a.asked.Before(since) {
		return a
	}
	a := &answer[V]{done: make(chan struct{}), asked: now}
	m.answers.Put(key, a, now, forget.Never) // until there is an answer
	go m.run(context.WithoutCancel(ctx), key, a, ask)
	return a
}

func (m *Memory[K, V]) run(ctx context.Context, key K, a *answer[V], ask func(context.Context) (V, error)) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	foreign.Run("a look-up", func() (V, error) { return ask(ctx) }, func(value V, err error) {
		counts := Life(value, err)
		if m.Life != nil {
			counts = m.Life(value, err)
		}
		a.value, a.err = value, err
		close(a.done)
		m.mu.Lock()
		defer m.mu.Unlock()
		now := time.Now()
		if latest, ok := m.answers.Get(key, now); ok && latest == a {
			m.answers.Put(key, a, now, counts)
		}
	})
}
