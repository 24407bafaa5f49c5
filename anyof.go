package wecom

import (
	"net/http"
	"slices"

	"github.com/wecomauth/wecom/internal/pages"
	"github.com/wecomauth/wecom/internal/reqkind"
)

// AnyOf returns a middleware for pages that people of several providers may see,
// staff and customers for example. A person who is signed in with one of ms may see
// them, with the identity from that one; if signed in with several, from the first of
// ms. A browser that opens a page without a sign-in gets a small page with the choice,
// everything else 401 and JSON. The built-in routes of all of ms are served.
//
// Pages under staff.Handler alone still admit nobody but staff.
func AnyOf(ms ...*Middleware) func(http.Handler) http.Handler {
	ms = slices.Clone(ms)
	if len(ms) == 0 || slices.ContainsFunc(ms, func(m *Middleware) bool { return m == nil || m.sessions == nil }) {
		return new(Middleware).Handler // lets nobody in
	}
	return func(next http.Handler) http.Handler {
		h := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if slices.ContainsFunc(ms, func(m *Middleware) bool { return m.isSignedIn(r) }) {
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
	if !reqkind.OpensPage(r) {
		m.fail(w, r, m.loginRequired(r))
		return
	}
	returnTo := m.site.page(r)
	lang := m.language(r)
	p, _, _ := pages.For("", lang, "choose")
	p.Brand = m.site.brand
	for _, m := range ms {
		p.Actions = append(p.Actions, pages.Action{
			Text: pages.SignInWith(lang, m.provider.App().Provider), URL: m.LoginURL(returnTo),
		})
	}
	setSecurityHeaders(w, r)
	writePage(w, r, http.StatusUnauthorized, pages.CSP(p.Brand), p.Render())
}
