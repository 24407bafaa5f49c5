package wecom

import (
	"hash/maphash"
	"sync"
	"time"
)

// sweptPerWrite is how many rows each write examines. At four, ended rows are at
// most a third as many as live ones while people go on signing in.
const sweptPerWrite = 4

// memoryStore is the default store of sessions. Its methods are those of an
// scs.Store; keys are tokenLen bytes long. It runs no goroutine: each write
// examines a few rows in turn and removes those that have ended.
//
// A row is found by the hash of its key under a random seed, and keys are
// compared only if their hashes are equal: the time that a look-up takes says
// nothing about the keys that are stored. Of two keys with one hash, which is no
// more likely than guessing 64 bits, the later replaces the earlier.
type memoryStore struct {
	seed maphash.Seed

	mu   sync.RWMutex
	rows map[uint64]*memoryRow // small entries: a million of them almost fit into a processor's cache
	last *memoryRow            // of the rows, which form a ring, the one examined last; nil if there are none
}

// A memoryRow is one allocation, and what a look-up reads of it comes first.
type memoryRow struct {
	key  [tokenLen]byte
	ends int64     // Unix nanoseconds; 0 if deleted
	id   *Identity // what row says if it is a session's, decoded once for all requests
	row  []byte
	next *memoryRow
}

func newMemoryStore() *memoryStore {
	return &memoryStore{seed: maphash.MakeSeed(), rows: map[uint64]*memoryRow{}}
}

// session returns the session with that token.
func (s *memoryStore) session(token string) (session, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.find(token)
	if r == nil || r.id == nil {
		return session{}, false
	}
	return session{id: r.id, expires: time.Unix(0, r.ends)}, true
}

func (s *memoryStore) Find(key string) ([]byte, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.find(key)
	if r == nil {
		return nil, false, nil
	}
	return r.row, true, nil
}

// find returns the live row of that key, or nil. The caller holds the lock.
func (s *memoryStore) find(key string) *memoryRow {
	r := s.rows[maphash.String(s.seed, key)]
	if r == nil || string(r.key[:]) != key || r.ends <= time.Now().UnixNano() {
		return nil
	}
	return r
}

func (s *memoryStore) Commit(key string, row []byte, expires time.Time) error {
	found, isSession := decodeRow(row)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(time.Now().UnixNano())
	hash := maphash.String(s.seed, key)
	r := s.rows[hash]
	if r == nil {
		r = &memoryRow{}
		s.rows[hash] = r
		s.insert(r)
	}
	copy(r.key[:], key)
	r.ends, r.id, r.row = expires.UnixNano(), nil, row
	if isSession {
		r.id = found.id
	}
	return nil
}

// Delete ends a row. The sweep removes it.
func (s *memoryStore) Delete(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.find(key); r != nil {
		r.ends, r.id, r.row = 0, nil, nil
	}
	return nil
}

// insert makes r the last row to be examined again.
func (s *memoryStore) insert(r *memoryRow) {
	if s.last == nil {
		r.next = r
	} else {
		r.next, s.last.next = s.last.next, r
	}
	s.last = r
}

// sweep examines the next rows of the ring and removes those that have ended.
func (s *memoryStore) sweep(now int64) {
	for range min(sweptPerWrite, len(s.rows)) {
		r := s.last.next
		if r.ends > now {
			s.last = r
			continue
		}
		delete(s.rows, maphash.Bytes(s.seed, r.key[:]))
		s.last.next = r.next
		if r == s.last {
			s.last = nil
		}
	}
}
