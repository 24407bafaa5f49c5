// Package forget has a map whose entries end and whose size has a bound.
package forget

import (
	"cmp"
	"time"
)

const (
	// Max is how many entries a [Map] holds by default.
	Max = 1 << 17

	// examined is how many entries each Put examines. With four, ended entries
	// are at most a third as many as live ones while entries are added.
	examined = 4

	// Never is the life of an entry that ends only when it is deleted or, in a full map, replaced.
	Never = time.Duration(1<<63 - 1)
)

// A Map holds each entry for a given life. It runs no goroutine: each Put
// examines a few entries in turn and removes those that have ended. If the map is
// full, a new entry takes the place of the one of these few that ends first. So what an
// entry prevents, such as a second look-up, must do no harm if it happens.
//
// The zero Map is empty and ready to use. It is not safe for concurrent use.
type Map[K comparable, V any] struct {
	Max int // how many entries it holds; 0: the constant Max

	entries map[K]*entry[K, V]
	list    []*entry[K, V] // of all entries, in the order of examination
	next    int            // index in list of the entry to examine next
}

type entry[K comparable, V any] struct {
	key   K
	value V
	ends  time.Time
}

// Get returns the value of key, if there is one that has not ended.
func (m *Map[K, V]) Get(key K, now time.Time) (value V, ok bool) {
	if e := m.entries[key]; e != nil && e.ends.After(now) {
		return e.value, true
	}
	return value, false
}

// Put sets the value of key, which ends after life.
func (m *Map[K, V]) Put(key K, value V, now time.Time, life time.Duration) {
	first := m.examine(now)
	e := m.entries[key]
	if e == nil {
		e = &entry[K, V]{key: key}
		if m.entries == nil {
			m.entries = map[K]*entry[K, V]{}
		}
		if len(m.list) < cmp.Or(m.Max, Max) {
			m.list = append(m.list, e)
		} else {
			delete(m.entries, m.list[first].key)
			m.list[first] = e
		}
		m.entries[key] = e
	}
	e.value, e.ends = value, now.Add(life)
}

// Delete removes key. Its place becomes free when it is examined.
func (m *Map[K, V]) Delete(key K) {
	if e := m.entries[key]; e != nil {
		var none V
		e.value, e.ends = none, time.Time{}
	}
}

// Len returns how many entries take up memory; some of them may have ended.
func (m *Map[K, V]) Len() int { return len(m.list) }

// examine removes ended entries among the next few. If there is none, it returns
// the index of the one that ends first.
func (m *Map[K, V]) examine(now time.Time) (first int) {
	var ends time.Time
	for range min(examined, len(m.list)) {
		if m.next >= len(m.list) {
			m.next = 0
		}
		e := m.list[m.next]
		if e.ends.After(now) {
			if ends.IsZero() || e.ends.Before(ends) {
				first, ends = m.next, e.ends
			}
			m.next++
			continue
		}
		last := len(m.list) - 1
		delete(m.entries, e.key)
		m.list[m.next], m.list[last] = m.list[last], nil
		m.list = m.list[:last]
	}
	return first
}
