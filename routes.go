package wecom

import (
	"net/http"
	"time"

	"github.com/wecomauth/wecom/internal/attempt"
	"github.com/wecomauth/wecom/internal/pages"
)

// ownRoutes are the routes beside the callback, by the last element of their path.
var ownRoutes = map[string]route{
	"login":      {"login", (*Middleware).login},
	"logout":     {"logout", (*Middleware).logout},
	"signed-out": {"signed-out", (*Middleware).signedOut},
	"attempt":    {"attempt", (*Middleware).scriptAttempt},
	"session":    {"session", (*Middleware).scriptSession},
	"wecom.js":   {"wecom.js", (*Middleware).helper},
	"jssdk":      {"jssdk", (*Middleware).jssdk}, // with Options.JSSDK
}

// login starts a sign-in because a person asked for one.
func (m *Middleware) login(w http.ResponseWriter, r *http.Request, s session) {
	switch {
	case r.Method == http.MethodHead:
		w.WriteHeader(http.StatusNoContent)
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET, HEAD")
		m.fail(w, r, &Failure{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", LoginURL: m.LoginURL("")})
	case unseen(r):
		m.fail(w, r, &Failure{Status: http.StatusForbidden, Code: "prefetch_refused", LoginURL: m.LoginURL("")})
	default:
		var returnTo string
		if asked := r.URL.Query()["return_to"]; len(asked) == 1 {
			returnTo, _ = m.returnPath(asked[0])
		}
		if m.wantsPanel(r) && r.URL.Query().Get("panel") != "no" {
			m.showPanel(w, r, returnTo)
			return
		}
		a := attempt.New(0, time.Now(), returnTo)
		a.SignedIn = s.live()
		m.start(w, r, a)
	}
}

// logout ends the session on the server and leads to a public page: a protected
// one would sign the person in again at once.
func (m *Middleware) logout(w http.ResponseWriter, r *http.Request, s session) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		m.fail(w, r, &Failure{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed"})
		return
	}
	if f := m.signOut(w, r, s); f != nil {
		m.fail(w, r, f)
		return
	}
	redirect(w, http.StatusSeeOther, m.mount+m.folder+"/signed-out")
}

func (m *Middleware) signOut(w http.ResponseWriter, r *http.Request, s session) *Failure {
	if !m.sameOrigin(r) {
		return &Failure{Status: http.StatusForbidden, Code: "cross_origin"}
	}
	if err := m.sessions.end(w, r, s); err != nil {
		return storeFailure(err)
	}
	// Without the attempts that were spent, the next page is a sign-in and not
	// the page that says that the session did not stick.
	for suffix := range m.cookie.attempts(r) {
		if attempt.IsName(m.cookie.prefix, m.cookie.name(suffix)) && !m.cookie.drop(w, suffix) {
			break
		}
	}
	m.observe(r.Context(), Event{Name: "signout", Outcome: "ok"})
	return nil
}

// sameOrigin says whether a request that changes something comes from a page of
// ours. Browsers send Sec-Fetch-Site, older ones Origin; programs send neither,
// and have no cookie to abuse. Host is not asked: the client chooses it.
func (m *Middleware) sameOrigin(r *http.Request) bool {
	if site := r.Header["Sec-Fetch-Site"]; len(site) > 0 {
		return len(site) == 1 && (site[0] == "same-origin" || site[0] == "none")
	}
	origin := r.Header["Origin"]
	return len(origin) == 0 || len(origin) == 1 && origin[0] == m.origin
}

func (m *Middleware) signedOut(w http.ResponseWriter, r *http.Request, _ session) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		m.fail(w, r, &Failure{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed"})
		return
	}
	lang := m.language(r)
	title, message, advice, button, _ := pages.TextFor(m.provider.App().Provider, lang, "signed_out")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusOK) // said, because gin answers 404 for routes that it does not know
	if r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(pages.Page{
		Lang: lang, Title: title, Message: message, Advice: advice, Tone: pages.Good,
		Actions: []pages.Action{{Text: button, URL: m.LoginURL("")}},
	}.Render())
}
