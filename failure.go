package wecom

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/pages"
	"github.com/wecomauth/wecom/internal/reqkind"
)

// A Failure is an answer other than the page that was asked for. It keeps apart
// what the browser may see and what only the log may see: Message is a fixed
// sentence, Err is the cause. [Options].OnFailure gets it.
type Failure struct {
	// Status of the answer, 4xx or 5xx. 0 means that of Code, and 500 for a code that
	// is not the package's own.
	Status int
	// Code names the case for programs, and never changes its meaning. All of them are
	// in docs/failures.md: login_required, outsider, setup_fault and so on.
	Code string
	// Message says in the browser's language what happened and what to do. Empty means
	// the built-in sentences of Code, if it has any.
	Message string
	// Reference stands on the page and in the log line, to find one by the other. May be empty.
	Reference string
	// LoginURL is where the person can sign in (again), a path on this site. May be empty.
	LoginURL string
	// Err is the cause, for logs only. May be nil.
	Err error

	retryAfter time.Duration
	language   string
	provider   string // as it names itself: the pages name it
	brand      pages.Brand
	text       string // whose sentences to show, if not the code's
	back       string // where the page's button leads if not to a sign-in
	post       bool   // the button sends a form there
	format     format
}

// A format is how a Failure is written.
type format int

const (
	asRequested format = iota // as the request's headers want it
	asPage
	asJSON
)

// statuses holds the status of every code. Where the status varies (bad_request,
// and attempt_lost and code_rejected for scripts) the caller changes it.
var statuses = map[string]int{
	"bad_callback":       http.StatusBadRequest,
	"bad_request":        http.StatusBadRequest,
	"bad_state":          http.StatusBadRequest,
	"callback_mismatch":  http.StatusBadRequest,
	"login_required":     http.StatusUnauthorized,
	"attempt_lost":       http.StatusForbidden,
	"code_rejected":      http.StatusForbidden,
	"cross_origin":       http.StatusForbidden,
	"linked_corp":        http.StatusForbidden,
	"not_allowed":        http.StatusForbidden,
	"outsider":           http.StatusForbidden,
	"prefetch_refused":   http.StatusForbidden,
	"session_not_kept":   http.StatusForbidden,
	"signin_refused":     http.StatusForbidden,
	"snapshot_user":      http.StatusForbidden,
	"not_found":          http.StatusNotFound,
	"method_not_allowed": http.StatusMethodNotAllowed,
	"too_many_attempts":  http.StatusTooManyRequests,
	"internal":           http.StatusInternalServerError,
	"setup_fault":        http.StatusInternalServerError,
	"busy":               http.StatusServiceUnavailable,
	"session_store":      http.StatusServiceUnavailable,
	"wecom_unavailable":  http.StatusServiceUnavailable,
}

func newFailure(code string, cause error) *Failure {
	return &Failure{Status: statuses[code], Code: code, Err: cause}
}

// asFailure returns what the browser is told about an error of a sign-in.
func asFailure(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		told := *f // the provider may keep its own
		told.Err = cmp.Or(told.Err, err)
		return &told
	}
	switch errcode.ClassOf(err) {
	case errcode.Setup:
		return newFailure("setup_fault", err)
	case errcode.Limited:
		return newFailure("busy", err)
	case errcode.Denied:
		if !errors.As(err, new(*tokenError)) { // then the app is meant, and not the person
			return newFailure("not_allowed", err)
		}
	}
	return newFailure("wecom_unavailable", err)
}

// Error returns the code and the cause: it is for logs.
func (f *Failure) Error() string {
	if f.Err == nil {
		return "wecom: " + f.Code
	}
	return "wecom: " + f.Code + ": " + f.Err.Error()
}

// Unwrap returns Err.
func (f *Failure) Unwrap() error { return f.Err }

// ServeHTTP is the built-in answer: a small page for a browser that opens one,
// JSON {"error":code,"message":…,"reference":…,"login_url":…} for everything else. It can
// answer for a Failure that a program made or changed, too.
func (f *Failure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setSecurityHeaders(w, r)
	f.setRetryAfter(w.Header())
	if f.format == asPage || f.format == asRequested && reqkind.WantsPage(r) {
		p := f.page(r)
		writePage(w, r, f.status(), pages.CSP(p.Brand), p.Render())
		return
	}
	writeJSON(w, r, f.status(), struct {
		Error     string `json:"error"`
		Message   string `json:"message,omitempty"`
		Reference string `json:"reference,omitempty"`
		LoginURL  string `json:"login_url,omitempty"`
	}{f.Code, cmp.Or(f.Message, f.sentences(r)), f.Reference, f.LoginURL})
}

func (f *Failure) setRetryAfter(h http.Header) {
	if f.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((f.retryAfter+time.Second-1)/time.Second)))
	}
}

func (f *Failure) status() int {
	if f.Status < 400 || f.Status > 599 {
		return cmp.Or(statuses[f.Code], http.StatusInternalServerError)
	}
	return f.Status
}

func (f *Failure) page(r *http.Request) pages.Page {
	lang, text := f.lang(r), cmp.Or(f.text, f.Code)
	p, button, ok := pages.For(f.provider, lang, text)
	if !ok {
		p, button, _ = pages.For("", lang, "internal")
	}
	if f.Message != "" && f.Message != sentence(p.Message, p.Advice) {
		p.Message, p.Advice = f.Message, ""
	}
	p.Reference, p.Brand = f.Reference, f.brand
	if c, ok := r.Context().Value(identityKey{}).(*identityContext); ok && c.by != nil && f.brand == (pages.Brand{}) {
		p.Brand = c.by.brand // a program behind Handler answers with a Failure of its own
	}
	if next := cmp.Or(f.LoginURL, f.back); next != "" && button != "" {
		p.Actions = []pages.Action{{Text: button, URL: next, Post: f.post}}
	}
	return p
}

func (f *Failure) lang(r *http.Request) string {
	return cmp.Or(f.language, pages.Language(r.Header.Get("Accept-Language")))
}

// sentences returns the built-in Message of the code, "" if there is none.
func (f *Failure) sentences(r *http.Request) string {
	p, _, _ := pages.For(f.provider, f.lang(r), cmp.Or(f.text, f.Code))
	return sentence(p.Message, p.Advice)
}

// sentence joins what happened and what to do.
func sentence(message, advice string) string {
	if advice == "" {
		return message
	}
	if strings.HasSuffix(message, "。") {
		return message + advice
	}
	return message + " " + advice
}
