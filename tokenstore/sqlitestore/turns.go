package sqlitestore

import (
	"context"
	"sync"
)

// turns let one goroutine of this process at a time try to take a key's lock. Without them, many
// waiting goroutines would keep the database busy with polling. The zero value is ready to use.
type turns struct {
	mu     sync.Mutex
	queues map[string]*queue
}

type queue struct {
	turn    chan struct{} // holds a value while it is somebody's turn
	members int
}

func (t *turns) take(ctx context.Context, key string) (leave func(), err error) {
	t.mu.Lock()
	q := t.queues[key]
	if q == nil {
		if t.queues == nil {
			t.queues = map[string]*queue{}
		}
		q = &queue{turn: make(chan struct{}, 1)}
		t.queues[key] = q
	}
	q.members++
	t.mu.Unlock()
	part := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if q.members--; q.members == 0 {
			delete(t.queues, key)
		}
	}
	if err = ctx.Err(); err == nil {
		select {
		case q.turn <- struct{}{}:
			return func() { <-q.turn; part() }, nil
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	part()
	return nil, err
}
