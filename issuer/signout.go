package issuer

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/wecomauth/wecom"
)

// endSession serves the end-session endpoint of OpenID Connect RP-Initiated Logout 1.0. A
// client that shows by an ID token for whom it asks signs that person out; anybody else
// could have sent the browser here, so the person is asked.
func (s *Issuer) endSession(w http.ResponseWriter, r *http.Request, id wecom.Identity) {
	query, _, f := s.readQuery(w, r)
	q, err := url.ParseQuery(query)
	if f != nil || err != nil {
		s.fail(w, r, errRequest)
		return
	}
	for _, name := range [...]string{"id_token_hint", "client_id", "post_logout_redirect_uri", "state"} {
		if len(q[name]) > 1 {
			s.fail(w, r, errRequest)
			return
		}
	}
	after := s.path + "/signed-out"
	hint, err := s.readHint(r.Context(), q.Get("id_token_hint"))
	known := err == nil && (!q.Has("client_id") || q.Get("client_id") == hint.Audience[0])
	if back := q.Get("post_logout_redirect_uri"); known && back != "" {
		client := s.client(hint.Audience[0])
		if client == nil || !slices.Contains(client.PostLogoutRedirectURIs, back) {
			s.fail(w, r, errRedirect)
			return
		}
		after = withState(back, q.Get("state"))
	}
	switch {
	case id.Key() == "":
	case known && hint.Subject == id.Key():
		if !s.signOut(w, r) {
			return
		}
	default:
		s.askToSignOut(w)
		return
	}
	redirect(w, r, after)
}

func withState(uri, state string) string {
	switch {
	case state == "":
		return uri
	case strings.Contains(uri, "?"):
		return uri + "&state=" + url.QueryEscape(state)
	}
	return uri + "?state=" + url.QueryEscape(state)
}

// signOut lets the middleware end the session. If it cannot, it has answered.
func (s *Issuer) signOut(w http.ResponseWriter, r *http.Request) bool {
	logout := r.Clone(r.Context())
	logout.Method, logout.Body, logout.ContentLength = http.MethodPost, http.NoBody, 0
	logout.URL = &url.URL{Path: s.folder + "/logout"}
	logout.RequestURI = s.path + "/logout"
	logout.Header.Set("Sec-Fetch-Site", "same-origin")
	answer := &answer{header: http.Header{}}
	s.auth.Routes().ServeHTTP(answer, logout)
	if answer.status != http.StatusSeeOther {
		s.fail(w, r, &wecom.Failure{Status: http.StatusServiceUnavailable, Code: "session_store", Err: errLogout(answer.status)})
		return false
	}
	w.Header()["Set-Cookie"] = answer.header["Set-Cookie"]
	return true
}

type errLogout int

func (e errLogout) Error() string { return "the middleware's logout answers " + strconv.Itoa(int(e)) }

// An answer keeps the head of an answer of the middleware's.
type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(b []byte) (int, error) { return len(b), nil }
func (a *answer) WriteHeader(status int)      { a.status = status }

var question = template.Must(template.New("question").Parse(`<!DOCTYPE html><html lang="zh-CN"><head><meta charset="utf-8">` +
	`<meta name="viewport" content="width=device-width"><title>退出登录 · Sign out</title></head>` +
	`<body><form method="post" action="{{.}}"><p>要退出登录吗？<span lang="en">Do you want to sign out?</span></p>` +
	`<button>退出登录 · Sign out</button></form></body></html>`))

// askToSignOut answers with a button that posts to the middleware's logout.
func (s *Issuer) askToSignOut(w http.ResponseWriter) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	w.Header().Set("Referrer-Policy", "same-origin") // with none, old browsers send the form with Origin: null
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = question.Execute(w, s.path+"/logout")
}
