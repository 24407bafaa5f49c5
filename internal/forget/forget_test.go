package forget_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom/internal/forget"
)

func TestEntriesEnd(t *testing.T) {
	var m forget.Map[string, int]
	now := time.Now()
	has := func(key string, at time.Duration) bool { _, ok := m.Get(key, now.Add(at)); return ok }
	assert.False(t, has("a", 0))
	m.Put("a", 1, now, time.Minute)
	m.Put("b", 2, now, forget.Never)
	assert.True(t, has("a", time.Minute-1))
	assert.False(t, has("a", time.Minute))
	assert.True(t, has("b", 100*365*24*time.Hour))

	m.Put("a", 3, now.Add(time.Minute), time.Minute)
	value, _ := m.Get("a", now.Add(time.Minute))
	assert.Equal(t, 3, value, "an entry that ended may be put again")
	assert.True(t, has("a", 2*time.Minute-1))
	m.Delete("b")
	assert.False(t, has("b", 0))
	m.Delete("c")
}

// What has ended does not stay in memory while something is put.
func TestEndedEntriesGo(t *testing.T) {
	var m forget.Map[int, int]
	now := time.Now()
	for i := range 10_000 {
		m.Put(i, i, now.Add(time.Duration(i)*time.Second), 100*time.Second)
	}
	assert.Less(t, m.Len(), 140)
	for i := range 10_000 {
		value, ok := m.Get(i, now.Add(9_999*time.Second))
		assert.Equal(t, i > 9_899, ok, i)
		assert.Equal(t, ok, value == i && ok)
	}
	m.Put(-1, -1, now.Add(time.Hour*24), time.Second)
	for range 100 {
		m.Put(-1, -1, now.Add(time.Hour*24), time.Second)
	}
	assert.Equal(t, 1, m.Len())
}

// However much is put, the map does not grow beyond its bound: it keeps what was just
// put, and of the others rather what ends late.
func TestBound(t *testing.T) {
	var m forget.Map[int, bool]
	now := time.Now()
	const late = 1000 // entries
	for i := range late {
		m.Put(i, true, now, time.Hour)
	}
	for i := late; i < 3*forget.Max; i++ {
		m.Put(i, true, now, time.Minute)
		if _, ok := m.Get(i, now); !ok {
			t.Fatal("the newest entry is missing", i)
		}
	}
	assert.Equal(t, forget.Max, m.Len())
	kept := 0
	for i := range late {
		if _, ok := m.Get(i, now); ok {
			kept++
		}
	}
	assert.Greater(t, kept, late/2, "what ends late is not the first to go")
	all := 0
	for i := range 3 * forget.Max {
		if _, ok := m.Get(i, now); ok {
			all++
		}
	}
	assert.Equal(t, forget.Max, all)
}
