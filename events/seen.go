package events

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/wecomauth/wecom/internal/forget"
)

// seenFor is longer than a message is fresh, also one from a clock ahead of ours.
const seenFor = 2*maxAge + time.Minute

// seen remembers the messages that were handled. WeCom repeats one until it is
// answered in time, and somebody who captured one could, too.
type seen struct {
	mu       sync.Mutex
	messages forget.Map[[sha256.Size]byte, struct{}]
}

func (s *seen) has(id [sha256.Size]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.messages.Get(id, time.Now())
	return ok
}

// add reports whether id is new: a repeat may arrive while the first is still being handled.
func (s *seen) add(id [sha256.Size]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if _, again := s.messages.Get(id, now); again {
		return false
	}
	s.messages.Put(id, struct{}{}, now, seenFor)
	return true
}

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
