// Package directory carries, in a context, when the corp's departments or tags
// last changed, so that what was fetched earlier is fetched anew.
package directory

import (
	"context"
	"time"
)

type changedKey struct{}

// WithChange returns a context that says that the directory changed at that time.
// The zero time says nothing, and returns ctx.
func WithChange(ctx context.Context, at time.Time) context.Context {
	if at.IsZero() {
		return ctx
	}
	return context.WithValue(ctx, changedKey{}, at)
}

// ChangedAt returns the time of the last known change, the zero time for none.
func ChangedAt(ctx context.Context) time.Time {
	at, _ := ctx.Value(changedKey{}).(time.Time)
	return at
}
