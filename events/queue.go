package events

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// A queue does what WeCom need not wait for: it hands one item after the other to
// handle, in a goroutine that ends when none waits. Nothing depends on it alone, so
// what does not fit is dropped. An item that waits already is not added again.
type queue[T comparable] struct {
	handle func(T) // may end its goroutine
	max    int     // how many items wait
	full   string  // what is logged when there are more
	log    *slog.Logger

	mu      sync.Mutex
	running bool
	waiting []T // oldest first
	dropped counter
}

func (q *queue[T]) add(item T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case slices.Contains(q.waiting, item):
		return
	case len(q.waiting) >= q.max:
		if n, ok := q.dropped.count(time.Now()); ok {
			q.log.Warn("events: "+q.full, slog.Int("since_last_line", n))
		}
		return
	}
	q.waiting = append(q.waiting, item)
	if !q.running {
		q.running = true
		go q.run()
	}
}

// run handles the oldest item, and then goes on in another goroutine.
func (q *queue[T]) run() {
	q.mu.Lock()
	if len(q.waiting) == 0 {
		q.running = false
		q.mu.Unlock()
		return
	}
	item := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.mu.Unlock()
	defer func() { go q.run() }()
	q.handle(item)
}

// survive is deferred in goroutines of ours that call what is the program's: OnEvent,
// its session store, transport and logger. A panic of theirs would end the program.
func survive(log *slog.Logger, what string, attrs ...any) {
	if p := recover(); p != nil {
		defer func() { _ = recover() }()
		log.Error("events: "+what+" panicked", append(attrs, slog.String("cause", fmt.Sprintf("%T", p)))...)
	}
}
