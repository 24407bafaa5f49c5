package wecom

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/wecomauth/wecom/internal/pages"
)

// AnyOf returns a middleware for pages that people of several providers may
// see, staff and customers for example: who is signed in with one of ms comes in, with that
// one's identity; if with several, the first of ms counts. A browser that opens
// a page without any gets a small page to choose from, everything else 401 and JSON. The own routes of all of ms are served.
//
// What stands under staff.Handler alone still admits nobody but staff.
func AnyOf(ms ...*Middleware) func(http.Handler) http.Handler {
	ms = slices.Clone(ms)
	if len(ms) == 0 || slices.ContainsFunc(ms, func(m *Middleware) bool { return m == nil || m.sessions == nil }) {
		return new(Middleware).Handler // lets nobody in
	}
	return func(next http.Handler) http.Handler {
		h := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, ok := r.Context().Value(identityKey{}).(*identityContext)
			if ok && slices.Contains(ms, c.by) {
				next.ServeHTTP(w, r)
				return
			}
			choose(w, r, ms)
		}))
		for _, m := range ms { // the first is the innermost, and so has the last word
			h = m.Optional(h)
		}
		return h
	}
}

// choose answers an anonymous request.
func choose(w http.ResponseWriter, r *http.Request, ms []*Middleware) {
	m := ms[0]
	if !opensPage(r) {
		m.fail(w, r, m.loginRequired(r))
		return
	}
	returnTo := m.pageOf(r)
	lang := m.language(r)
	title, message, advice, _, _ := pages.Text(lang, "choose")
	p := pages.Page{Lang: lang, Title: title, Message: message, Advice: advice, Tone: pages.ToneOf("choose")}
	for _, m := range ms {
		p.Actions = append(p.Actions, pages.Action{
			Text: pages.SignInWith(lang, m.provider.App().Provider), URL: m.LoginURL(returnTo),
		})
	}
	body := p.Render()
	guard(w, r)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusUnauthorized)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}
