package wecom

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"
)

// The routes for scripts: single-page applications and the embedded login panel
// get the attempt and hand in the code by themselves. The rules are the
// callback's; the answers are JSON and never a redirect.

const maxScriptBody = 4096

// scriptAttempt mints an attempt: POST, same origin, application/json.
func (m *Middleware) scriptAttempt(w http.ResponseWriter, r *http.Request, _ session) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		m.fail(w, r, &Failure{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", json: true})
		return
	}
	var body struct {
		ReturnTo string `json:"return_to"`
	}
	if f := m.readScript(w, r, &body); f != nil {
		m.fail(w, r, f)
		return
	}
	returnTo, _ := m.returnPath(body.ReturnTo)
	a := m.mint(w, r, 0, returnTo)
	d := m.describe(r, a)
	app := m.provider.App()
	answer := map[string]string{
		"state":        d.State,
		"appid":        app.CorpID,
		"agentid":      app.AppID,
		"redirect_uri": d.RedirectURI,
	}
	if app.CorpID == "" {
		answer["appid"] = app.AppID
		delete(answer, "agentid")
	}
	if pages, ok := m.provider.(interface {
		pageURLs(Attempt) (inApp, web string)
	}); ok {
		answer["in_app_url"], answer["web_url"] = pages.pageURLs(d)
	} else {
		answer["web_url"] = m.provider.AuthorizeURL(d)
		answer["in_app_url"] = answer["web_url"]
	}
	writeJSON(w, http.StatusOK, answer)
}

// scriptSession tells who is signed in (GET), signs in with a code (POST) and signs out (DELETE).
func (m *Middleware) scriptSession(w http.ResponseWriter, r *http.Request, s session) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if !s.live() {
			m.fail(w, r, &Failure{Status: http.StatusUnauthorized, Code: "login_required", LoginURL: m.LoginURL(""), json: true})
			return
		}
		writeJSON(w, http.StatusOK, s.who.id)
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
	var body struct {
		Code  string `json:"code"`
		State string `json:"state"`
	}
	if f := m.readScript(w, r, &body); f != nil {
		refuse(f)
		return
	}
	in := m.readPair(r, returned{method: http.MethodGet}, body.Code, body.State)
	switch in.decide(s.live(), time.Now()) {
	case exchangeCode:
	case refuseState:
		refuse(&Failure{Status: http.StatusBadRequest, Code: "bad_state"})
		return
	case refuseMalformed, refusedThere:
		refuse(&Failure{Status: http.StatusBadRequest, Code: "bad_callback"})
		return
	case goBack:
		// The same code handed in twice by the browser that was signed in with it.
		writeJSON(w, http.StatusOK, s.who.id)
		return
	default:
		refuse(&Failure{Status: http.StatusConflict, Code: "attempt_lost"})
		return
	}
	fresh, err := m.signIn(r, in)
	switch {
	case err == nil:
	case errors.Is(err, errAttemptUsed) && s.live():
		writeJSON(w, http.StatusOK, s.who.id)
		return
	case errors.Is(err, errAttemptUsed):
		refuse(&Failure{Status: http.StatusConflict, Code: "attempt_lost"})
		return
	case errors.Is(err, ErrStartOver):
		refuse(&Failure{Status: http.StatusConflict, Code: "code_rejected", Err: err})
		return
	default:
		refuse(asFailure(err))
		return
	}
	if err := m.sessions.attach(w, r, fresh, s); err != nil {
		w.Header().Del("Set-Cookie")
		refuse(storeFailure(err))
		return
	}
	m.markSpent(w, in)
	writeJSON(w, http.StatusOK, fresh.who.id)
}

// readScript reads the body of a script's POST into out: JSON, from our own
// origin, small. An HTML form of another site can send none of that.
func (m *Middleware) readScript(w http.ResponseWriter, r *http.Request, out any) *Failure {
	if !m.sameOrigin(r) {
		return &Failure{Status: http.StatusForbidden, Code: "cross_origin", json: true}
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return &Failure{Status: http.StatusUnsupportedMediaType, Code: "bad_request", json: true}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxScriptBody))
	if err != nil {
		return &Failure{Status: http.StatusRequestEntityTooLarge, Code: "bad_request", json: true}
	}
	if len(body) == 0 {
		return nil
	}
	if json.Unmarshal(body, out) != nil {
		return &Failure{Status: http.StatusBadRequest, Code: "bad_request", json: true}
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // strings and numbers only
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
