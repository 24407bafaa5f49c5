package lookup_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/lookup"
)

// An answer that was asked for earlier and arrives later does not replace a newer one.
func TestOlderAnswersComeTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m lookup.Memory[string, string]
		after := func(wait time.Duration, answer string) func(context.Context) (string, error) {
			return func(context.Context) (string, error) {
				time.Sleep(wait)
				return answer, nil
			}
		}
		go func() { _, _ = m.Get(t.Context(), "key", time.Time{}, after(3*time.Second, "old")) }()
		time.Sleep(time.Second)
		answer, err := m.Get(t.Context(), "key", time.Now(), after(time.Second, "new"))
		require.NoError(t, err)
		assert.Equal(t, "new", answer)

		time.Sleep(2 * time.Second)
		answer, err = m.Get(t.Context(), "key", time.Time{}, after(0, "asked again"))
		require.NoError(t, err)
		assert.Equal(t, "new", answer)
	})
}
