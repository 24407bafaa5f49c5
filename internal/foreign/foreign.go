// Package foreign calls functions that others wrote: stores, providers,
// authorizers. They may panic, end their goroutine, or ignore their context.
package foreign

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"
)

// A Panic is the error that a panic becomes. Its text ends in the stack, for logs.
type Panic struct {
	// Cause names the panic without the stack. The value of a panic may hold a
	// secret, such as the URL of a call: only its type is shown, except for the
	// runtime's own errors, which Cause wraps.
	Cause error
	Stack string
}

func (p *Panic) Error() string { return p.Cause.Error() + "\n" + p.Stack }
func (p *Panic) Unwrap() error { return p.Cause }

// notReturned is the error for a fn that did not return: recovered is what
// recover said, nil after [runtime.Goexit].
func notReturned(what string, recovered any) error {
	if recovered == nil {
		return errors.New(what + ": it ended its goroutine")
	}
	cause := fmt.Errorf("%s: panic: %T", what, recovered)
	if e, ok := recovered.(runtime.Error); ok {
		cause = fmt.Errorf("%s: panic: %w", what, e)
	}
	return &Panic{cause, string(debug.Stack())}
}

// Run calls fn and then, exactly once, done: with what fn returned, or with an error
// that begins with what if fn panicked or called [runtime.Goexit].
func Run[T any](what string, fn func() (T, error), done func(T, error)) {
	var value T
	var err error
	returned := false
	defer func() {
		if !returned {
			err = notReturned(what, recover())
		}
		done(value, err)
	}()
	value, err = fn()
	returned = true
}

// Call calls fn and returns what fn returned, or an error if fn panicked.
// A fn that calls [runtime.Goexit] ends the caller's goroutine, too.
func Call[T any](what string, fn func() (T, error)) (value T, err error) {
	Run(what, fn, func(v T, e error) { value, err = v, e })
	return value, err
}

// Within calls fn in a goroutine of its own, with a context that ends after
// limit or with ctx, and returns at that moment at the latest, even if fn goes on.
func Within[T any](ctx context.Context, limit time.Duration, what string, fn func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go Run(what, func() (T, error) { return fn(ctx) }, func(value T, err error) { done <- result{value, err} })
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done: // both were ready: fn returned in time
		return r.value, r.err
	default:
		var none T
		return none, fmt.Errorf("%s: %w", what, ctx.Err())
	}
}
