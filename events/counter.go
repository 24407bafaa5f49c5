package events

import (
	"sync"
	"time"
)

// A counter says once a minute how much it counted since.
type counter struct {
	mu   sync.Mutex
	last time.Time
	n    int
}

func (c *counter) count(now time.Time) (n int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if now.Sub(c.last) < time.Minute {
		return 0, false
	}
	n, c.n, c.last = c.n, 0, now
	return n, true
}
