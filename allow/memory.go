package allow

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

// A memory remembers what WeCom answered, by key, and asks once for all callers
// that want to know the same thing at the same time. The zero value is ready to use.
type memory[K comparable, V any] struct {
	// life says how long an answer counts; nil: answerCounts.
	life func(V) time.Duration

	mu      sync.Mutex
	answers forget.Map[K, *answer[V]]
}

type answer[V any] struct {
	asked time.Time
	done  chan struct{}
	value V // like err, set before done is closed
	err   error
}

// get returns the answer for key: one that still counts and was asked for at
// since or later, or else a new one by ask. ask runs in no caller's context: a
// caller that leaves does not end it for the others.
func (m *memory[K, V]) get(ctx context.Context, key K, since time.Time, ask func(context.Context) (V, error)) (V, error) {
	a := m.find(ctx, key, since, ask)
	select {
	case <-a.done:
		return a.value, a.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

func (m *memory[K, V]) find(ctx context.Context, key K, since time.Time, ask func(context.Context) (V, error)) *answer[V] {
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

func (m *memory[K, V]) run(ctx context.Context, key K, a *answer[V], ask func(context.Context) (V, error)) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	foreign.Run("a look-up of package allow", func() (V, error) { return ask(ctx) }, func(value V, err error) {
		counts := answerCounts
		if err != nil {
			counts = errorCounts
		} else if m.life != nil {
			counts = m.life(value)
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
