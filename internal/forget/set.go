package forget

import (
	"sync"
	"time"
)

// A Set holds each key for a given life, as a [Map] does. The zero Set is empty and
// ready to use. It is safe for concurrent use.
type Set[K comparable] struct {
	mu   sync.Mutex
	keys Map[K, struct{}]
}

// Has reports whether key is in the set.
func (s *Set[K]) Has(key K) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.keys.Get(key, time.Now())
	return ok
}

// Add adds key for life and returns true, unless it is in the set already.
func (s *Set[K]) Add(key K, life time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if _, ok := s.keys.Get(key, now); ok {
		return false
	}
	s.keys.Put(key, struct{}{}, now, life)
	return true
}
