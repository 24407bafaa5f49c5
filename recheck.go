package wecom

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/wecomauth/wecom/internal/foreign"
	"github.com/wecomauth/wecom/internal/forget"
)

const rechecksAtOnce = 8

// rechecks looks people up again, in the background of their own requests.
type rechecks struct {
	every   time.Duration
	timeout time.Duration      // of one look-up
	slots   chan struct{}      // bounds how many look-ups run at once
	recent  forget.Set[string] // the people who need no look-up yet, by key
}

// recheck starts a look-up of a session's person if one is due. The sessions of
// a person who may not sign in any more are revoked; they end at the next request. If
// the look-up fails, nobody is logged out.
func (m *Middleware) recheck(ctx context.Context, id *Identity) {
	if m.rechecks == nil || !m.rechecks.due(id.Key(), id.AuthenticatedAt) {
		return
	}
	ctx = context.WithoutCancel(ctx)
	go foreign.Run("a recheck", func() (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, m.rechecks.timeout)
		defer cancel()
		return struct{}{}, m.lookUpAgain(ctx, *id)
	}, func(_ struct{}, err error) {
		<-m.rechecks.slots
		if err == nil {
			return
		}
		// Perhaps the logger has panicked, and does again: in this goroutine, that would end the program.
		_, _ = foreign.Call("the logger", func() (struct{}, error) {
			m.log.LogAttrs(ctx, slog.LevelWarn, "wecom: a member could not be looked up again; they stay signed in",
				slog.Int("errcode", errCode(err)), slog.String("cause", err.Error()))
			return struct{}{}, nil
		})
	})
}

func (m *Middleware) lookUpAgain(ctx context.Context, id Identity) error {
	allowed, err := m.maySignIn(ctx, id)
	if err != nil || allowed {
		return err
	}
	if err = m.revoke(ctx, id); err != nil {
		return fmt.Errorf("may no longer sign in: %w", err)
	}
	m.log.LogAttrs(ctx, slog.LevelInfo, "wecom: a member may no longer sign in; their sessions are revoked")
	m.observe(ctx, Event{Name: "recheck", Outcome: "revoked"})
	return nil
}

func (m *Middleware) maySignIn(ctx context.Context, id Identity) (bool, error) {
	if p, ok := m.provider.(interface {
		Recheck(context.Context, Identity) (bool, error)
	}); ok {
		if allowed, err := p.Recheck(ctx, id); err != nil || !allowed {
			return allowed, err
		}
	}
	if m.authorize == nil {
		return true, nil
	}
	return m.authorize(m.sessions.withDirectory(ctx), m.client, id)
}

// due reports whether the person is to be looked up now, and takes a slot if so.
func (c *rechecks) due(person string, signedIn time.Time) bool {
	age := time.Since(signedIn) // less than 0 by another clock
	if 0 <= age && age < c.every || c.recent.Has(person) {
		return false
	}
	select {
	case c.slots <- struct{}{}:
	default:
		return false // the next request tries again
	}
	if !c.recent.Add(person, c.every) {
		<-c.slots
		return false
	}
	return true
}
