package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/wecomauth/wecom"
)

// An audit writes down who signed in and out, who was refused, and whose sessions were
// ended. The nil audit writes nothing.
type audit struct{ records *slog.Logger }

// openAudit opens what WECOM_AUDIT names.
func openAudit(where string, stderr io.Writer, log *slog.Logger) (*audit, error) {
	var to io.Writer
	switch where {
	case "":
		return nil, nil
	case "log":
		to = stderr
	default:
		file := &auditFile{where, log}
		if _, err := file.append(nil); err != nil {
			return nil, err
		}
		to = file
	}
	return &audit{slog.New(denials{slog.NewJSONHandler(to, nil)})}, nil // whatever the log's level
}

// An auditFile is opened for each record, so that it can be moved away at any time.
type auditFile struct {
	path string
	log  *slog.Logger
}

func (f *auditFile) Write(record []byte) (int, error) {
	n, err := f.append(record)
	if err != nil {
		f.log.Error("an audit record is lost", "cause", err.Error())
	}
	return n, err
}

func (f *auditFile) append(record []byte) (int, error) {
	file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := file.Write(record)
	return n, errors.Join(err, file.Close())
}

// A visit is the request that a record is about.
type visit struct {
	route, client string
	host          string                 // "": there is one
	path          string                 // that was asked for; "": another proxy did not say
	user          atomic.Pointer[string] // who wants to sign in
	denied        atomic.Pointer[denial]
}

// A denial is a condition's no.
type denial struct{ place, user string }

type visitKey struct{}

func visitOf(ctx context.Context) *visit {
	if v, ok := ctx.Value(visitKey{}).(*visit); ok {
		return v
	}
	return &visit{}
}

// denials adds to what is logged of a denied request which condition said no, to whom and to what.
type denials struct{ slog.Handler }

// maxDenial is how many bytes of a query or a path are logged.
const maxDenial = 200

func (h denials) Handle(ctx context.Context, r slog.Record) error {
	v := visitOf(ctx)
	if d := v.denied.Load(); d != nil {
		if r.Message != auditMessage { // which says so anyway
			r.AddAttrs(slog.String("user", d.user))
		}
		r.AddAttrs(slog.String("rule", strings.Map(graphic, d.place)), slog.String("path", strings.Map(graphic, v.path[:min(len(v.path), maxDenial)])))
	}
	return h.Handler.Handle(ctx, r)
}

// graphic replaces what a terminal would obey.
func graphic(c rune) rune {
	if !unicode.IsGraphic(c) {
		return unicode.ReplacementChar
	}
	return c
}

// noted makes may note where it stands when it says no.
func noted(place string, may wecom.Authorizer) wecom.Authorizer {
	return func(ctx context.Context, api *wecom.Client, id wecom.Identity) (bool, error) {
		ok, err := may(ctx, api, id)
		if !ok && err == nil {
			visitOf(ctx).denied.CompareAndSwap(nil, &denial{place, id.UserID})
		}
		return ok, err
	}
}

// watch makes the middleware of these options tell the audit.
func (a *audit) watch(o *wecom.Options) {
	if a == nil {
		return
	}
	observe, authorize := o.Observe, o.Authorize
	o.Observe = func(ctx context.Context, e wecom.Event) {
		observe(ctx, e)
		a.event(ctx, e)
	}
	o.Authorize = func(ctx context.Context, api *wecom.Client, id wecom.Identity) (bool, error) {
		visitOf(ctx).user.Store(&id.UserID)
		if authorize == nil {
			return true, nil
		}
		return authorize(ctx, api, id)
	}
	o.OnFailure = func(w http.ResponseWriter, r *http.Request, f *wecom.Failure) {
		a.failure(r.Context(), f)
		f.ServeHTTP(w, r)
	}
}

func (a *audit) event(ctx context.Context, e wecom.Event) {
	id, known := wecom.FromContext(ctx)
	switch {
	case e.Name == "signin" && e.Outcome == "ok", e.Name == "signout" && known:
		a.write(ctx, e.Name, id.UserID, "", "")
	case e.Name == "revoke":
		user, event := id.UserID, "revoked"
		if id.UserID == "" {
			user = "*" // no user id is that
		}
		if e.Outcome != "ok" {
			event = "revoke_failed"
		}
		reason, ok := revokers[visitOf(ctx).route]
		if !ok {
			reason = "recheck" // in the background of a request of theirs
		}
		a.write(ctx, event, user, reason, "")
	}
}

// revokers are the reasons of revocations by the route that they come from.
var revokers = map[string]string{"logout": "everywhere", "session": "everywhere", "events": "event", operator: operator}

// operator stands for the route of what is done on the command line.
const operator = "operator"

func (a *audit) failure(ctx context.Context, f *wecom.Failure) {
	v := visitOf(ctx)
	id, _ := wecom.FromContext(ctx)
	user := id.UserID
	if wants := v.user.Load(); wants != nil {
		user = *wants
	}
	switch f.Code {
	case "login_required", "method_not_allowed", "prefetch_refused":
		return
	}
	switch v.route {
	case "callback", "session", "logout":
		a.write(ctx, "refused", user, f.Code, f.Reference)
	default:
		if f.Code == "not_allowed" {
			a.write(ctx, "denied", user, f.Code, f.Reference)
		}
	}
}

const auditMessage = "audit"

func (a *audit) write(ctx context.Context, event, user, reason, reference string) {
	v := visitOf(ctx)
	attrs := []slog.Attr{
		slog.String("event", event),
		slog.String("user", user),
		slog.String("client", v.client),
		slog.String("route", v.route),
		slog.String("reason", reason),
		slog.String("reference", reference),
	}
	if v.host != "" {
		attrs = append(attrs, slog.String("host", v.host))
	}
	a.records.LogAttrs(ctx, slog.LevelInfo, auditMessage, attrs...)
}
