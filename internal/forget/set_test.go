package forget_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom/internal/forget"
)

func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s forget.Set[string]
		assert.False(t, s.Has("a"))
		for range 2 {
			var added atomic.Int64
			var group sync.WaitGroup
			for range 100 {
				group.Go(func() {
					if s.Add("a", time.Minute) {
						added.Add(1)
					}
				})
			}
			group.Wait()
			assert.EqualValues(t, 1, added.Load(), "one of those who come together")
			assert.True(t, s.Has("a"))
			assert.False(t, s.Has("b"))
			time.Sleep(time.Minute)
			assert.False(t, s.Has("a"))
		}
	})
}
