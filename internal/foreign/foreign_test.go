package foreign_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom/internal/foreign"
)

var errOwn = errors.New("its own error")

func TestWithin(t *testing.T) {
	var table map[string]int
	const limit = 2 * time.Second
	for name, tt := range map[string]struct {
		fn   func(context.Context) (int, error)
		want string // what the error's text begins with
		took time.Duration
	}{
		"returns":            {fn: func(context.Context) (int, error) { return 7, nil }},
		"fails":              {fn: func(context.Context) (int, error) { return 0, errOwn }, want: "its own error"},
		"panics":             {fn: func(context.Context) (int, error) { panic("s3cret") }, want: "the store: panic: string\n"},
		"panics with an err": {fn: func(context.Context) (int, error) { panic(errOwn) }, want: "the store: panic: *errors.errorString\n"},
		"panics with nil":    {fn: func(context.Context) (int, error) { panic(nil) }, want: "the store: panic: panic called with nil"},
		"runtime error":      {fn: func(context.Context) (int, error) { table["x"]++; return 7, nil }, want: "the store: panic: assignment to entry in nil map\n"},
		"ends its goroutine": {fn: func(context.Context) (int, error) { runtime.Goexit(); return 7, nil }, want: "the store: it ended its goroutine"},
		"waits for its context": {fn: func(ctx context.Context) (int, error) { <-ctx.Done(); time.Sleep(time.Nanosecond); return 7, nil },
			want: "the store: context deadline exceeded", took: limit},
		"ignores its context": {fn: func(context.Context) (int, error) { time.Sleep(time.Hour); return 7, nil },
			want: "the store: context deadline exceeded", took: limit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				value, err := foreign.Within(t.Context(), limit, "the store", tt.fn)
				assert.Equal(t, tt.took, time.Since(began))
				time.Sleep(2 * time.Hour) // until what ignores its context has ended
				if tt.want == "" {
					assert.NoError(t, err)
					assert.Equal(t, 7, value)
					return
				}
				assert.Zero(t, value)
				assert.True(t, strings.HasPrefix(err.Error(), tt.want), err)
				assert.NotContains(t, err.Error(), "s3cret")
			})
		})
	}
}

// The caller leaves with its own context, and fn's ends too.
func TestWithinACallersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { time.Sleep(time.Second); cancel() }()
		began, ended := time.Now(), make(chan struct{})
		_, err := foreign.Within(ctx, time.Minute, "the store", func(ctx context.Context) (int, error) {
			<-ctx.Done()
			close(ended)
			time.Sleep(time.Minute)
			return 7, nil
		})
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, time.Second, time.Since(began))
		<-ended
		time.Sleep(time.Hour)
	})
}

// A panic shows where it was, keeps the runtime's error, and reaches nobody else.
func TestCall(t *testing.T) {
	var p *foreign.Panic
	_, err := foreign.Call("the store", func() (int, error) { return []int{}[len(t.Name())], nil })
	var bounds runtime.Error
	assert.ErrorAs(t, err, &bounds)
	assert.ErrorAs(t, err, &p)
	assert.Contains(t, p.Stack, "foreign_test.TestCall")
	assert.NotContains(t, p.Cause.Error(), p.Stack)

	value, err := foreign.Call("the store", func() (int, error) { return 7, errOwn })
	assert.Equal(t, 7, value)
	assert.Equal(t, errOwn, err)
}
