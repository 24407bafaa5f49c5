package wecom

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/attempt"
	"github.com/wecomauth/wecom/internal/pages"
	"github.com/wecomauth/wecom/internal/reqkind"
)

// builtInRoutes are the routes beside the callback, by the last element of
// their path.
var builtInRoutes = map[string]route{
	"login":      {methods{"GET", "HEAD"}, asRequested, (*Middleware).login},
	"logout":     {methods{"POST"}, asRequested, (*Middleware).logout},
	"signed-out": {methods{"GET", "HEAD"}, asRequested, (*Middleware).signedOut},
	"attempt":    {methods{"POST"}, asJSON, (*Middleware).scriptAttempt},
	"session":    {methods{"GET", "HEAD", "POST", "DELETE"}, asJSON, (*Middleware).scriptSession},
	"wecom.js":   {methods{"GET", "HEAD"}, asRequested, (*Middleware).module},
	"jssdk":      {methods{"GET"}, asJSON, (*Middleware).jssdk}, // with Options.JSSDK
}

var callbackRoute = route{methods{"GET"}, asPage, (*Middleware).finish}

// login starts a sign-in because a person asked for one.
func (m *Middleware) login(w http.ResponseWriter, r *http.Request, s session) {
	query := r.URL.Query()
	var returnTo string
	if asked := query["return_to"]; len(asked) == 1 {
		returnTo, _ = m.site.returnPath(asked[0])
	}
	switch {
	case r.Method == http.MethodHead:
		w.WriteHeader(http.StatusNoContent)
	case reqkind.Unseen(r):
		f := newFailure("prefetch_refused", nil)
		f.LoginURL = m.LoginURL("")
		m.fail(w, r, f)
	case m.panel.isFor(r) && query.Get("panel") != "no":
		m.showPanel(w, r, returnTo)
	default:
		a := attempt.New(0, time.Now(), returnTo)
		a.SignedIn = s.live()
		m.redirectToProvider(w, r, a)
	}
}

// showPanel answers with the login page. The page's script asks for the attempt, so
// that the attempt is fresh and a page without a sign-in sets no cookie.
func (m *Middleware) showPanel(w http.ResponseWriter, r *http.Request, returnTo string) {
	direct := m.LoginURL(returnTo)
	if strings.Contains(direct, "?") {
		direct += "&panel=no"
	} else {
		direct += "?panel=no"
	}
	page := pages.Panel{
		Lang:    m.language(r),
		Attempt: m.site.path("attempt"), Session: m.site.path("session"),
		Script: m.panel.script, ReturnTo: returnTo, Direct: direct, Brand: m.site.brand,
	}
	if onPhone(r.UserAgent()) {
		page.Link = m.site.origin + m.site.landing(returnTo)
	}
	writePage(w, r, http.StatusOK, m.panel.csp, page.Render())
}

// logout ends the session on the server and redirects to a public page: a protected
// one would sign the person in again at once. With everywhere=1 it ends all sessions of
// the person.
func (m *Middleware) logout(w http.ResponseWriter, r *http.Request, s session) {
	if f := m.signOut(w, r, s); f != nil {
		m.fail(w, r, f)
		return
	}
	redirect(w, http.StatusSeeOther, m.site.path("signed-out"))
}

// wrongMethod answers a link to a route that wants a form: to logout, with that form.
func (m *Middleware) wrongMethod(w http.ResponseWriter, r *http.Request) {
	f := newFailure("method_not_allowed", nil)
	if name, _ := m.site.route(r); name == "logout" && reqkind.WantsPage(r) {
		f.text, f.back, f.post = "sign_out", m.site.path("logout"), true
	}
	m.fail(w, r, f)
}

func (m *Middleware) signOut(w http.ResponseWriter, r *http.Request, s session) *Failure {
	if !reqkind.SameOrigin(r, m.site.origin) {
		return newFailure("cross_origin", nil)
	}
	if r.URL.Query().Get("everywhere") == "1" {
		if !s.live() { // nobody knows whose sessions to end
			f := m.loginRequired(r)
			f.format = asRequested
			return f
		}
		if err := m.revoke(r.Context(), *s.id); err != nil {
			return newFailure("session_store", err)
		}
	}
	if err := m.sessions.end(w, r, s); err != nil {
		return newFailure("session_store", err)
	}
	// With an attempt spent just now, the next page would say that the browser did not
	// keep its session, instead of signing in.
	m.attempts.deleteCookies(w, r)
	ctx := r.Context()
	if s.live() {
		ctx = NewContext(ctx, *s.id)
	}
	m.observe(ctx, Event{Name: "signout", Outcome: "ok"})
	return nil
}

func (m *Middleware) signedOut(w http.ResponseWriter, r *http.Request, _ session) {
	p, button, _ := pages.For(m.provider.App().Provider, m.language(r), "signed_out")
	p.Actions, p.Brand = []pages.Action{{Text: button, URL: m.LoginURL("")}}, m.site.brand
	writePage(w, r, http.StatusOK, pages.CSP(p.Brand), p.Render())
}

//go:embed js/wecom.js
var moduleJS []byte

var moduleTag = func() string {
	sum := sha256.Sum256(moduleJS)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}()

// module serves the JavaScript module for pages behind the middleware. It is the same
// for everybody and changes with this package only: a browser keeps it and asks each
// time whether it is still current.
func (m *Middleware) module(w http.ResponseWriter, r *http.Request, _ session) {
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", moduleTag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(moduleJS))
}
