package wecom

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/upstream"
)

// ErrStartOver says that a code is used up, expired, or of unknown fate, and that
// a new sign-in helps. The middleware starts one, once, and then shows a page. See
// [Provider].
var ErrStartOver = errors.New("wecom: the code cannot be used (again); a new sign-in is needed")

// An APIError is an answer of WeCom's API whose errcode is not 0.
type APIError struct {
	// Provider is whose API answered, since the same number means different
	// things on different platforms: "wecom", as in [App].
	Provider string
	// Op is the operation, such as "auth/getuserinfo": a path, never a query.
	Op string
	// Code is the errcode.
	Code int
	// Hint is WeCom's errmsg, made printable, cut to 300 bytes and without our
	// secrets, e-mail addresses and mobile numbers. It names this server's IP address
	// and is for logs only; its wording is not stable. The text of Error does not
	// contain it.
	Hint string
}

// Error returns the operation, the errcode, its meaning and the remedy.
func (e *APIError) Error() string {
	f := e.fault()
	text := fmt.Sprintf("wecom: %s: errcode %d", e.Op, e.Code)
	if f.Meaning != "" {
		text += " (" + f.Meaning + ")"
	}
	if f.Remedy != "" {
		text += ": " + f.Remedy
	}
	return text
}

// Remedy says what to do, and on which screen of the admin console. It is "" if
// there is nothing to do, or nothing known.
func (e *APIError) Remedy() string { return e.fault().Remedy }

// RetryAfter returns how long the same call is bound to fail or to do harm: WeCom
// locks the IP address of a server that repeats a wrong secret. 0 means not known.
func (e *APIError) RetryAfter() time.Duration { return e.fault().Wait }

// Denied reports whether WeCom says that the app may not see the member or
// department that was asked for: there is none (any more), or none in the app's
// visible range. It does not tell the two apart, because WeCom does not.
func (e *APIError) Denied() bool { return e.fault().Class == errcode.Denied }

// Unwrap returns what is known about the errcode. Its text is the meaning.
func (e *APIError) Unwrap() error { return e.fault() }

// LogValue returns a group with op, errcode, meaning, remedy and hint.
func (e *APIError) LogValue() slog.Value {
	f := e.fault()
	return slog.GroupValue(
		slog.String("op", e.Op),
		slog.Int("errcode", e.Code),
		slog.String("meaning", f.Meaning),
		slog.String("remedy", f.Remedy),
		slog.String("hint", e.Hint),
	)
}

func (e *APIError) fault() errcode.Fault { return errcode.Of(e.Provider, e.Op, e.Code) }

// errCode returns the errcode of the first APIError in err's chain, or 0.
func errCode(err error) int {
	var api *APIError
	if errors.As(err, &api) {
		return api.Code
	}
	return 0
}

// unreadable says that an answer with status 200 is none of the platform's.
func unreadable(op string, err error) error {
	return fmt.Errorf("wecom: %s: the answer is not one of the platform's: %w", op, upstream.Unreadable(err))
}

// A tokenError says that a call was not made, or has to be repeated, for want of
// an access token.
type tokenError struct {
	err  error
	sent bool // once, with a token that was refused
}

func (e *tokenError) Error() string { return e.err.Error() }
func (e *tokenError) Unwrap() error { return e.err }
