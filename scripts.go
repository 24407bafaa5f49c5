package wecom

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/attempt"
	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/jsonx"
	"github.com/wecomauth/wecom/internal/reqkind"
	"github.com/wecomauth/wecom/internal/returnto"
	"github.com/wecomauth/wecom/internal/upstream"
)

// The routes for scripts: single-page applications and the embedded login panel
// create the attempt and send the code themselves. The rules are the callback's; the
// answers are JSON and never a redirect.

const maxScriptBody = 4096

// scriptAttempt creates an attempt.
func (m *Middleware) scriptAttempt(w http.ResponseWriter, r *http.Request, s session) {
	body, f := m.readScript(w, r)
	if f != nil {
		m.fail(w, r, f)
		return
	}
	asked, _, err := body.String("return_to")
	if err != nil {
		m.fail(w, r, newFailure("bad_request", nil))
		return
	}
	returnTo, _ := m.site.returnPath(asked)
	a := attempt.New(0, time.Now(), returnTo)
	a.SignedIn = s.live()
	begun := m.begin(w, r, a)
	app := m.provider.App()
	answer := map[string]string{
		"state":        begun.State,
		"appid":        app.CorpID,
		"agentid":      app.AppID,
		"redirect_uri": begun.RedirectURI,
		"return_to":    m.site.landing(returnTo),
	}
	if app.CorpID == "" {
		answer["appid"] = app.AppID
		delete(answer, "agentid")
	}
	for name, page := range map[string]Page{"in_app_url": PageInApp, "web_url": PageWeb} {
		begun.Page = page
		answer[name] = m.provider.AuthorizeURL(begun)
	}
	if app.Provider == errcode.WeCom {
		// What else the embedded panel needs (ww.createWWLoginPanel of @wecom/jssdk).
		answer["login_type"], answer["lang"] = "CorpApp", begun.Language
	}
	writeJSON(w, r, http.StatusOK, answer)
}

// scriptSession tells who is signed in, signs in with a code (POST) or signs out
// (DELETE). GET with optional=1 answers null instead of a 401, which browsers'
// consoles show in red.
func (m *Middleware) scriptSession(w http.ResponseWriter, r *http.Request, s session) {
	switch r.Method {
	case http.MethodPost:
		m.scriptSignIn(w, r, s)
	case http.MethodDelete:
		if f := m.signOut(w, r, s); f != nil {
			m.fail(w, r, f)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		if !s.live() && r.URL.Query().Get("optional") != "1" {
			m.fail(w, r, m.loginRequired(r))
			return
		}
		writeJSON(w, r, http.StatusOK, s.id) // null for nobody
	}
}

// scriptSignIn is the callback for scripts. Where the callback would start over, it
// answers 409.
func (m *Middleware) scriptSignIn(w http.ResponseWriter, r *http.Request, s session) {
	refuse := func(f *Failure) {
		f.LoginURL = m.LoginURL("")
		m.fail(w, r, f)
	}
	conflict := func(code string, cause error) {
		f := newFailure(code, cause)
		f.Status = http.StatusConflict
		refuse(f)
	}
	body, f := m.readScript(w, r)
	if f != nil {
		refuse(f)
		return
	}
	code, _, codeErr := body.String("code")
	state, _, stateErr := body.String("state")
	if codeErr != nil || stateErr != nil {
		refuse(newFailure("bad_request", nil))
		return
	}
	in := m.readCodeAndState(r, code, state)
	switch in.decide(s.live(), time.Now()) {
	case exchangeCode:
	case refuseState:
		refuse(newFailure("bad_state", nil))
		return
	case refuseMalformed, personRefused:
		refuse(newFailure("bad_callback", nil))
		return
	case goBack:
		if in.attempt.Spent && !s.id.AuthenticatedAt.After(in.attempt.Started.Add(time.Second)) {
			// The browser that was signed in with this code sends it again, and nobody else
			// has signed in there since.
			writeJSON(w, r, http.StatusOK, s.id)
			return
		}
		fallthrough
	default:
		// Even if somebody is signed in, where the callback would redirect: the script sent
		// another person's code and must not take the session for that person's.
		conflict("attempt_lost", nil)
		return
	}
	fresh, err := m.signIn(r, in)
	switch {
	case err == nil:
	case errors.Is(err, errAttemptUsed):
		conflict("attempt_lost", nil)
		return
	case errors.Is(err, ErrStartOver) && !upstream.Answered(err):
		conflict("code_rejected", err)
		return
	default:
		refuse(asFailure(err))
		return
	}
	if err := m.attach(w, r, in, fresh, s); err != nil {
		refuse(newFailure("session_store", err))
		return
	}
	m.attempts.spend(w, in.attempt)
	writeJSON(w, r, http.StatusOK, fresh.id)
}

// readScript reads the body of a script's POST: a small JSON object from our own
// origin, or nothing, which is an empty object. An HTML form of another site can send
// none of that.
func (m *Middleware) readScript(w http.ResponseWriter, r *http.Request) (jsonx.Object, *Failure) {
	if !reqkind.SameOrigin(r, m.site.origin) {
		return nil, newFailure("cross_origin", nil)
	}
	bad := newFailure("bad_request", nil)
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || len(r.Header["Content-Type"]) != 1 {
		bad.Status = http.StatusUnsupportedMediaType
		return nil, bad
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxScriptBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		bad.Status = http.StatusRequestEntityTooLarge
		return nil, bad
	case err != nil:
		return nil, bad
	case len(body) == 0:
		return nil, nil
	}
	object, err := jsonx.ParseObject(body)
	if err != nil {
		return nil, bad
	}
	return object, nil
}

// jssdk signs a page of our own origin for somebody who is signed in: ?url=…, and
// kind=agentConfig for the app's signature.
func (m *Middleware) jssdk(w http.ResponseWriter, r *http.Request, s session) {
	switch {
	case !reqkind.SameOrigin(r, m.site.origin):
		m.fail(w, r, newFailure("cross_origin", nil))
		return
	case !s.live():
		m.fail(w, r, m.loginRequired(r))
		return
	}
	page, kind, ok := m.readPage(r)
	if !ok {
		m.fail(w, r, newFailure("bad_request", nil))
		return
	}
	sign, answer := m.client.JSConfig, map[string]any{"appId": m.client.app.CorpID}
	if kind == "agentConfig" {
		sign = m.client.JSAgentConfig
		answer = map[string]any{"corpid": m.client.app.CorpID, "agentid": m.client.app.AppID}
	}
	timestamp, nonce, signature, err := sign(r.Context(), page)
	if err != nil {
		m.fail(w, r, asFailure(err))
		return
	}
	answer["timestamp"], answer["nonceStr"], answer["signature"] = timestamp, nonce, signature
	writeJSON(w, r, http.StatusOK, answer)
}

// readPage returns the URL to sign, if it is a page of our own origin.
func (m *Middleware) readPage(r *http.Request) (page, kind string, ok bool) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(r.URL.RawQuery) > maxQuery || len(query["url"]) != 1 || len(query["kind"]) > 1 {
		return "", "", false
	}
	page, kind = query.Get("url"), query.Get("kind")
	path, ours := strings.CutPrefix(page, m.site.origin)
	if !ours || kind != "" && kind != "config" && kind != "agentConfig" {
		return "", "", false
	}
	_, ok = returnto.Parse(path) // begins with a slash: the origin ends where it seems to
	return page, kind, ok
}
