package events

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const hookMax = 1000

// hook calls the program's own function for one event after the other.
type hook struct {
	call func(context.Context, Event)
	log  *slog.Logger

	mu      sync.Mutex
	running bool
	waiting []Event // oldest first
	dropped counter
}

func (h *hook) add(ev Event) {
	if h.call == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.waiting) >= hookMax {
		if n, ok := h.dropped.count(time.Now()); ok {
			h.log.Warn("events: OnEvent is too slow; events were dropped", slog.Int("since_last_line", n))
		}
		return
	}
	h.waiting = append(h.waiting, ev)
	if !h.running {
		h.running = true
		go h.run()
	}
}

// run ends when no event waits.
func (h *hook) run() {
	for {
		h.mu.Lock()
		if len(h.waiting) == 0 {
			h.running = false
			h.mu.Unlock()
			return
		}
		ev := h.waiting[0]
		h.waiting = h.waiting[1:]
		h.mu.Unlock()
		h.one(ev)
	}
}

func (h *hook) one(ev Event) {
	returned := false
	defer func() {
		switch p := recover(); {
		case p != nil:
			defer func() { _ = recover() }() // the logger is the program's, too
			h.log.Error("events: OnEvent panicked", slog.String("event", ev.Name), slog.String("cause", fmt.Sprintf("%T", p)))
		case !returned: // runtime.Goexit: go on in another goroutine
			go h.run()
		}
	}()
	h.call(context.Background(), ev)
	returned = true
}
