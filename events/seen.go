package events

import (
	"crypto/sha256"
	"sync"
	"time"
)

const (
	seenFor = 15 * time.Minute // longer than a message is fresh
	seenMax = 50_000
)

// seen remembers the messages that were handled. WeCom repeats one until it is
// answered in time, and somebody who captured one could, too.
type seen struct {
	mu   sync.Mutex
	when map[[sha256.Size]byte]time.Time
	list [][sha256.Size]byte // oldest first
}

func (s *seen) has(id [sha256.Size]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	when, ok := s.when[id]
	return ok && time.Since(when) < seenFor
}

func (s *seen) add(id [sha256.Size]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.when == nil {
		s.when = map[[sha256.Size]byte]time.Time{}
	}
	now := time.Now()
	for len(s.list) > 0 && (len(s.list) >= seenMax || now.Sub(s.when[s.list[0]]) >= seenFor) {
		delete(s.when, s.list[0])
		s.list = s.list[1:]
	}
	if _, again := s.when[id]; !again {
		s.when[id] = now
		s.list = append(s.list, id)
	}
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
