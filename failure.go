package wecom

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/pages"
)

// A Failure is an answer other than the page that was asked for. What the
// browser may see and what only the log may see are apart: Message is a fixed
// sentence, Err is the cause. [Options].OnFailure gets it.
type Failure struct {
	// Status of the answer, 4xx or 5xx.
	Status int
	// Code names the case for programs, and never changes its meaning:
	// login_required, signin_refused, outsider, not_allowed, setup_fault and so on.
	Code string
	// Message says in the browser's language what happened and what to do. Empty stands
	// for the built-in sentences of Code, if it has any.
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
	text       string // whose sentences to show, if not the code's
	back       string // where the page's button leads if not to a sign-in
	page       bool   // answer with a page, whatever the request's headers say
	json       bool   // answer with JSON, likewise
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
	guard(w, r)
	h := w.Header()
	if f.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((f.retryAfter+time.Second-1)/time.Second)))
	}
	var body []byte
	if f.page || !f.json && wantsPage(r) {
		h.Set("Content-Type", "text/html; charset=utf-8")
		body = f.html(r)
	} else {
		h.Set("Content-Type", "application/json; charset=utf-8")
		answer := struct {
			Error     string `json:"error"`
			Message   string `json:"message,omitempty"`
			Reference string `json:"reference,omitempty"`
			LoginURL  string `json:"login_url,omitempty"`
		}{f.Code, f.Message, f.Reference, f.LoginURL}
		if f.Message == "" {
			_, message, advice, _, _ := pages.TextFor(f.provider, f.lang(r), or(f.text, f.Code))
			answer.Message = sentence(message, advice)
		}
		body, _ = json.Marshal(answer) // strings only: it cannot fail
		body = append(body, '\n')
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(f.status())
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

func (f *Failure) status() int {
	if f.Status < 400 || f.Status > 599 {
		return http.StatusInternalServerError
	}
	return f.Status
}

func (f *Failure) html(r *http.Request) []byte {
	lang, text := f.lang(r), or(f.text, f.Code)
	title, message, advice, button, ok := pages.TextFor(f.provider, lang, text)
	if !ok {
		title, message, advice, button, _ = pages.Text(lang, "internal")
	}
	if f.Message != "" && f.Message != sentence(message, advice) {
		message, advice = f.Message, ""
	}
	p := pages.Page{
		Lang: lang, Title: title, Message: message, Advice: advice, Reference: f.Reference,
		Tone: pages.ToneOf(text),
	}
	if next := or(f.LoginURL, f.back); next != "" && button != "" {
		p.Actions = []pages.Action{{Text: button, URL: next}}
	}
	return p.Render()
}

func (f *Failure) lang(r *http.Request) string {
	if f.language != "" {
		return f.language
	}
	return pages.Language(r.Header.Get("Accept-Language"))
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

// wantsPage tells a browser that opens a page from a script or a program.
func wantsPage(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	return (mode == "" || mode == "navigate") && acceptsHTML(r)
}

// bodyTimeout bounds the wait for a request's body where the answer is ours. It
// is longer than a sign-in takes.
const bodyTimeout = 15 * time.Second

// guard sets what every answer of ours carries. A Referer with the origin alone
// keeps code and state from other sites, and still satisfies WeCom's check of it.
// net/http waits for the rest of a body before it answers: without a deadline a
// client that does not send it could hold the connection for ever.
func guard(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", pages.CSP())
	const vary = "Cookie, Accept, Accept-Language, User-Agent, X-Requested-With, Sec-Fetch-Mode, Sec-Fetch-Dest"
	if !slices.Contains(h["Vary"], vary) {
		h.Add("Vary", vary)
	}
}

// fail completes f, logs its cause and answers.
func (m *Middleware) fail(w http.ResponseWriter, r *http.Request, f *Failure) {
	f.language, f.back, f.provider = m.language(r), or(f.back, m.home), m.provider.App().Provider
	if _, message, advice, _, ok := pages.TextFor(f.provider, f.language, or(f.text, f.Code)); ok && f.Message == "" {
		f.Message = sentence(message, advice)
	}
	level := slog.LevelWarn
	switch {
	case f.Code == "login_required" && f.Err == nil, r.Context().Err() != nil: // the latter: nobody reads the answer
		level = slog.LevelDebug
	case f.Status >= 500:
		level = slog.LevelError
	}
	if f.Reference == "" && level > slog.LevelDebug {
		f.Reference = strings.ToLower(rand.Text()[:10])
	}
	if f.Status == http.StatusServiceUnavailable && f.retryAfter == 0 {
		f.retryAfter = 5 * time.Second
	}
	m.logFailure(r, level, f)
	guard(w, r)
	if m.onFailure != nil {
		if f.retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int((f.retryAfter+time.Second-1)/time.Second)))
		}
		answer := &failureWriter{ResponseWriter: w, f: f}
		m.onFailure(answer, r, f)
		answer.writeStatus()
		return
	}
	f.ServeHTTP(w, r)
}

// A failureWriter gives an answer of Options.OnFailure the Failure's status, unless it has one.
type failureWriter struct {
	http.ResponseWriter
	f    *Failure
	said bool
}

func (w *failureWriter) writeStatus() {
	if !w.said {
		w.WriteHeader(w.f.status())
	}
}

func (w *failureWriter) WriteHeader(status int) {
	w.said = w.said || status >= 200
	w.ResponseWriter.WriteHeader(status)
}

func (w *failureWriter) Write(b []byte) (int, error) {
	w.writeStatus()
	return w.ResponseWriter.Write(b)
}

func (w *failureWriter) FlushError() error {
	w.writeStatus()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (w *failureWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// logFailure names the own route but never the path, the query or a cookie: they may hold secrets.
func (m *Middleware) logFailure(r *http.Request, level slog.Level, f *Failure) {
	attrs := []slog.Attr{
		slog.String("code", f.Code),
		slog.Int("status", f.Status),
		slog.String("route", m.routeName(r)),
	}
	if f.Reference != "" {
		attrs = append(attrs, slog.String("reference", f.Reference))
	}
	var api *APIError
	if errors.As(f.Err, &api) {
		attrs = append(attrs, slog.Int("errcode", api.Code), slog.String("hint", api.Hint))
	}
	if f.Err != nil {
		attrs = append(attrs, slog.String("cause", f.Err.Error()))
	}
	m.log.LogAttrs(r.Context(), level, "wecom: request refused", attrs...)
	m.observe(r.Context(), Event{Name: "refused", Outcome: f.Code, ErrCode: errCode(f.Err)})
}

func errCode(err error) int {
	var api *APIError
	if errors.As(err, &api) {
		return api.Code
	}
	return 0
}

// asFailure turns an error of a sign-in into what the browser is told.
func asFailure(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		told := *f // providers may keep theirs
		if told.Err == nil {
			told.Err = err
		}
		return &told
	}
	return &Failure{Status: http.StatusServiceUnavailable, Code: "wecom_unavailable", Err: err}
}
