package wecom

import (
	"cmp"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// fail completes f, logs its cause and answers.
func (m *Middleware) fail(w http.ResponseWriter, r *http.Request, f *Failure) {
	f.language, f.back, f.provider = m.language(r), cmp.Or(f.back, m.site.home), m.provider.App().Provider
	f.brand = m.site.brand
	if name, ok := m.site.route(r); ok {
		f.format = cmp.Or(f.format, m.routes[name].format)
	}
	f.Status, f.Message = f.status(), cmp.Or(f.Message, f.sentences(r))
	level := slog.LevelWarn
	switch {
	case f.Code == "login_required" && f.Err == nil, r.Context().Err() != nil: // or nobody reads the answer
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
	setSecurityHeaders(w, r)
	if m.onFailure != nil {
		f.setRetryAfter(w.Header())
		answer := &failureWriter{ResponseWriter: w, f: f}
		m.onFailure(answer, r, f)
		answer.writeStatus()
		return
	}
	f.ServeHTTP(w, r)
}

// logFailure names the built-in route but never the path, the query or a cookie:
// they may hold secrets.
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

// routeName names the request's route for the log.
func (m *Middleware) routeName(r *http.Request) string {
	if name, ok := m.site.route(r); ok {
		return name
	}
	return "app"
}

// A failureWriter gives an answer of Options.OnFailure the Failure's status, unless
// OnFailure sets another.
type failureWriter struct {
	http.ResponseWriter
	f    *Failure
	sent bool
}

func (w *failureWriter) writeStatus() {
	if !w.sent {
		w.WriteHeader(w.f.status())
	}
}

func (w *failureWriter) WriteHeader(status int) {
	w.sent = w.sent || status >= 200
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
