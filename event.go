package wecom

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// An Event is something worth counting. It holds no secret and nobody's name.
type Event struct {
	// Name is "start" (a browser is sent to WeCom), "signin" (a code was
	// exchanged), "signout", "recheck" (somebody was found to be gone) or "refused"
	// (a request was answered with a [Failure]).
	Name string
	// Outcome is a word from a small set: "ok", or a Failure's code; for
	// "start" it is "first" or "restart"; for "signin" it may be "start_over".
	Outcome string
	// ErrCode is WeCom's errcode if that was the cause, else 0.
	ErrCode int
	// Duration of a "signin", from the code to the session.
	Duration time.Duration
}

func signInEvent(err error, took time.Duration) Event {
	e := Event{Name: "signin", Outcome: "ok", ErrCode: errCode(err), Duration: took}
	var f *Failure
	switch {
	case err == nil:
	case errors.Is(err, ErrStartOver):
		e.Outcome = "start_over"
	case errors.As(err, &f):
		e.Outcome = f.Code
	default:
		e.Outcome = asFailure(err).Code
	}
	return e
}

func (m *Middleware) logRestart(r *http.Request, cause error) {
	attrs := []slog.Attr{slog.String("route", m.routeName(r))}
	if cause != nil {
		attrs = append(attrs, slog.Int("errcode", errCode(cause)), slog.String("cause", cause.Error()))
	} else {
		attrs = append(attrs, slog.String("cause", "the browser came back without the attempt's cookie"))
	}
	m.log.LogAttrs(r.Context(), slog.LevelInfo, "wecom: sign-in starts over", attrs...)
}

func ignoreEvents(context.Context, Event) {}
