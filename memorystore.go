package wecom

import (
	"hash/maphash"
	"math"
	"sync"
	"time"

	"github.com/wecomauth/wecom/internal/forget"
)

// memoryStore is the default session store, an scs.Store. Keys are tokenLen bytes long. It runs
// no goroutine: each write examines a few rows and removes those that have expired.
//
// A row is found by the hash of its key under a random seed, and keys are compared only if their
// hashes are equal, so the time of a look-up reveals nothing about the stored keys. Of two keys
// with the same hash, which is no more likely than guessing 64 bits, the later replaces the
// earlier.
type memoryStore struct {
	seed maphash.Seed

	mu   sync.RWMutex
	rows forget.Map[uint64, memoryRow]
}

type memoryRow struct {
	key [tokenLen]byte
	id  *Identity // decoded from row once for all requests; nil if it is not a session's
	row []byte
}

func newMemoryStore() *memoryStore {
	s := &memoryStore{seed: maphash.MakeSeed()}
	s.rows.Max = math.MaxInt
	return s
}

// find returns the live row of that key.
func (s *memoryStore) find(key string) (r memoryRow, ok bool) {
	now := time.Now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok = s.rows.Get(s.hash(key), now)
	return r, ok && string(r.key[:]) == key
}

func (s *memoryStore) hash(key string) uint64 { return maphash.String(s.seed, key) }

// session returns the identity of the session with that token.
func (s *memoryStore) session(token string) (id *Identity, ok bool) {
	r, ok := s.find(token)
	return r.id, ok && r.id != nil
}

func (s *memoryStore) Find(key string) ([]byte, bool, error) {
	r, ok := s.find(key)
	if !ok {
		return nil, false, nil
	}
	return r.row, true, nil
}

func (s *memoryStore) Commit(key string, row []byte, expires time.Time) error {
	r := memoryRow{row: row}
	copy(r.key[:], key)
	if found, ok := decodeRow(row); ok {
		r.id = found.id
	}
	now := time.Now().Round(0) // by the wall clock, which goes on while the machine sleeps
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows.Put(s.hash(key), r, now, expires.Sub(now))
	return nil
}

func (s *memoryStore) Delete(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows.Delete(s.hash(key))
	return nil
}
