package allow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wecomauth/wecom/internal/directory"
)

const (
	askTimeout = 10 * time.Second
	sweepEvery = time.Minute

	answerCounts = 5 * time.Minute
	errorCounts  = time.Second // so that those who come while WeCom is down do not queue up to ask it
)

var errEnded = errors.New("allow: a look-up ended its goroutine")

// A memory remembers what WeCom answered, by key, and asks once for all who
// want to know the same thing at the same time. The zero value is ready to use.
type memory[K comparable, V any] struct {
	// life says how long an answer counts; nil: answerCounts.
	life func(V) time.Duration

	mu      sync.Mutex
	answers map[K]*answer[V]
	swept   time.Time
}

type answer[V any] struct {
	asked time.Time
	until time.Time // zero while the question is open; under the memory's lock
	done  chan struct{}
	value V // like err, set before done is closed
	err   error
}

// get returns the answer for key: one that counts still and was asked for at
// since or later, or a new one by ask, which runs in nobody's context, so that
// who leaves takes nobody with it.
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
	m.sweep(now)
	if changed := directory.ChangedAt(ctx); changed.After(since) {
		since = changed
	}
	if since.After(now) {
		since = time.Time{} // by another clock: no sign-in of this moment
	}
	if a := m.answers[key]; a != nil && (a.until.IsZero() || now.Before(a.until)) && !a.asked.Before(since) {
		return a
	}
	if m.answers == nil {
		m.answers = map[K]*answer[V]{}
	}
	a := &answer[V]{done: make(chan struct{}), asked: now}
	m.answers[key] = a
	go m.run(context.WithoutCancel(ctx), a, ask)
	return a
}

func (m *memory[K, V]) run(ctx context.Context, a *answer[V], ask func(context.Context) (V, error)) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var value V
	err := errEnded // unless ask returns
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("allow: panic: %T", p) // its value may hold a token
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		counts := answerCounts
		if err != nil {
			counts = errorCounts
		} else if m.life != nil {
			counts = m.life(value)
		}
		a.value, a.err, a.until = value, err, time.Now().Add(counts)
		close(a.done)
	}()
	value, err = ask(ctx)
}

// sweep forgets what does not count any more. It looks at all once a minute.
func (m *memory[K, V]) sweep(now time.Time) {
	if now.Sub(m.swept) < sweepEvery {
		return
	}
	m.swept = now
	for key, a := range m.answers {
		if !a.until.IsZero() && !now.Before(a.until) {
			delete(m.answers, key)
		}
	}
}
