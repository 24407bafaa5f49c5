package wecom

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/wecomauth/wecom/internal/attempt"
	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/jsonx"
)

// The routes for scripts: single-page applications and the embedded login panel
// get the attempt and hand in the code by themselves. The rules are the
// callback's; the answers are JSON and never a redirect.

const maxScriptBody = 4096

// scriptAttempt mints an attempt: POST, same origin, application/json.
func (m *Middleware) scriptAttempt(w http.ResponseWriter, r *http.Request, s session) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		m.fail(w, r, &Failure{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", json: true})
		return
	}
	body, f := m.readScript(w, r)
	if f != nil {
		m.fail(w, r, f)
		return
	}
	asked, _, err := body.String("return_to")
	if err != nil {
		m.fail(w, r, badScript(http.StatusBadRequest))
		return
	}
	returnTo, _ := m.returnPath(asked)
	a := attempt.New(0, time.Now(), returnTo)
	a.SignedIn = s.live()
	m.hold(w, r, a)
	m.observe(r.Context(), Event{Name: "start", Outcome: startOutcome(0)})
	d := m.describe(r, a)
	app := m.provider.App()
	answer := map[string]string{
		"state":        d.State,
		"appid":        app.CorpID,
		"agentid":      app.AppID,
		"redirect_uri": d.RedirectURI,
		"return_to":    m.landing(returnTo),
	}
	if app.CorpID == "" {
		answer["appid"] = app.AppID
		delete(answer, "agentid")
	}
	for name, page := range map[string]Page{"in_app_url": PageInApp, "web_url": PageWeb} {
		d.Page = page
		answer[name] = m.provider.AuthorizeURL(d)
	}
	if app.Provider == errcode.WeCom {
		// The rest of what the embedded panel (ww.createWWLoginPanel of @wecom/jssdk) wants to know.
		answer["login_type"], answer["lang"] = "CorpApp", d.Language
	}
	writeJSON(w, http.StatusOK, answer)
}

// scriptSession tells who is signed in (GET; with optional=1 null instead of a 401, which consoles show in red), signs in with a code (POST) and signs out (DELETE).
func (m *Middleware) scriptSession(w http.ResponseWriter, r *http.Request, s session) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if !s.live() && r.URL.Query().Get("optional") != "1" {
			m.fail(w, r, m.loginRequired(r))
			return
		}
		writeJSON(w, http.StatusOK, s.id) // null for nobody
	case http.MethodPost:
		m.scriptSignIn(w, r, s)
	case http.MethodDelete:
		if f := m.signOut(w, r, s); f != nil {
			f.json = true
			m.fail(w, r, f)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST, DELETE")
		m.fail(w, r, &Failure{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", json: true})
	}
}

// scriptSignIn is the callback for scripts. Where the callback would start over, it is 409.
func (m *Middleware) scriptSignIn(w http.ResponseWriter, r *http.Request, s session) {
	refuse := func(f *Failure) {
		f.json, f.LoginURL = true, m.LoginURL("")
		m.fail(w, r, f)
	}
	body, f := m.readScript(w, r)
	if f != nil {
		refuse(f)
		return
	}
	code, _, codeErr := body.String("code")
	state, _, stateErr := body.String("state")
	if codeErr != nil || stateErr != nil {
		refuse(badScript(http.StatusBadRequest))
		return
	}
	in := m.readPair(r, returned{method: http.MethodGet}, code, state)
	switch next := in.decide(s.live(), time.Now()); next {
	case exchangeCode:
	case refuseState:
		refuse(&Failure{Status: http.StatusBadRequest, Code: "bad_state"})
		return
	case refuseMalformed, refusedThere:
		refuse(&Failure{Status: http.StatusBadRequest, Code: "bad_callback"})
		return
	default:
		if next == goBack && in.held.Spent && !s.id.AuthenticatedAt.After(in.held.Started.Add(time.Second)) {
			// The same code handed in twice by the browser that was signed in with it, and not
			// by one in which somebody else has signed in since.
			writeJSON(w, http.StatusOK, s.id)
			return
		}
		// Also where the callback would be content with the session that there is: a
		// script handed in somebody's code and must not be told that it is that person's.
		refuse(&Failure{Status: http.StatusConflict, Code: "attempt_lost"})
		return
	}
	fresh, err := m.signIn(r, in)
	switch {
	case err == nil:
	case errors.Is(err, errAttemptUsed):
		refuse(&Failure{Status: http.StatusConflict, Code: "attempt_lost"})
		return
	case errors.Is(err, ErrStartOver) && !answeredBadly(err):
		refuse(&Failure{Status: http.StatusConflict, Code: "code_rejected", Err: err})
		return
	default:
		refuse(asFailure(err))
		return
	}
	if err := m.attach(w, r, in, fresh, s); err != nil {
		w.Header().Del("Set-Cookie")
		refuse(storeFailure(err))
		return
	}
	m.markSpent(w, in)
	writeJSON(w, http.StatusOK, fresh.id)
}

// readScript reads the body of a script's POST: a JSON object, from our own
// origin, small. An HTML form of another site can send none of that. No body is an empty object.
func (m *Middleware) readScript(w http.ResponseWriter, r *http.Request) (jsonx.Object, *Failure) {
	if !m.sameOrigin(r) {
		return nil, &Failure{Status: http.StatusForbidden, Code: "cross_origin", json: true}
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || len(r.Header["Content-Type"]) != 1 {
		return nil, badScript(http.StatusUnsupportedMediaType)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxScriptBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, badScript(http.StatusRequestEntityTooLarge)
	case err != nil:
		return nil, badScript(http.StatusBadRequest)
	case len(body) == 0:
		return nil, nil
	}
	object, err := jsonx.ParseObject(body)
	if err != nil {
		return nil, badScript(http.StatusBadRequest)
	}
	return object, nil
}

func badScript(status int) *Failure { return &Failure{Status: status, Code: "bad_request", json: true} }

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // strings and numbers only
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
