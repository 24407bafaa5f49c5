// Package miniprogram signs in people who open a WeCom mini-program (企业微信小程序), by the
// js_code of wx.qy.login and miniprogram/jscode2session. Their sessions are carried by the
// header Authorization, since a mini-program keeps no cookies:
//
//	POST   /wecom/miniprogram/session  {"code":"…"} answers {"token":"…","expires_in":43200,"identity":{…}}
//	GET    /wecom/miniprogram/session  answers the identity, or 401
//	DELETE /wecom/miniprogram/session  signs out: 204
//
// Every other request with "Authorization: Bearer …" is signed in; without it, it gets 401 and
// JSON, never a redirect. docs/miniprogram.md shows the mini-program's side.
//
// It stands above the middleware and has its safety: a code is sent once, failed exchanges are
// limited, a session is one row that Revoke ends, and Authorize is asked before it exists.
// There is no state: WeCom's client makes the code for the mini-program that asks, for this app,
// once and for five minutes, and the token goes to whoever sent it in the body of the answer. No
// browser can be made to send the header, and nothing here reads a cookie or sets one, so that
// there is nothing to forge and no session to fix. A cookie of the website is no token here, and
// a token no cookie there.
package miniprogram

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/jsonx"
)

// A Program signs people in to one mini-program. Make one with [New]; it is safe for concurrent use.
type Program struct {
	auth   *wecom.Middleware
	folder string // of the inner routes, as the handler sees them
	cookie string // the name of the middleware's session cookie, which no browser ever has
}

// New returns the sign-in for the mini-program that is linked with the app of o: CorpID, AgentID
// and Secret are that app's. CallbackURL may be the website's: its folder holds the route
// miniprogram/session. Of the other options, those of pages (Scope, Page, LoginPanel, JSSDK),
// Provider and Sessions cannot be used. Profile costs one call of user/get and leaves
// DepartmentNames empty. SessionStore may be the website's too. The error lists every mistake.
func New(o wecom.Options) (*Program, error) {
	client, wrong := wecom.NewClient(o)
	if o.Provider != nil || o.Sessions != nil {
		wrong = errors.Join(wrong, errors.New("miniprogram: Provider and Sessions cannot be used"))
	}
	inner := o
	inner.Provider = &provider{
		client: client, app: wecom.App{Provider: "wecom", CorpID: o.CorpID, AppID: o.AgentID},
		profile: o.Profile, required: o.ProfileRequired, log: cmp.Or(o.Logger, slog.Default()),
	}
	if o.Profile { // the provider's work
		inner.Profile, inner.ProfileRequired = false, false
	}
	inner.CorpID, inner.AgentID, inner.TokenSource, inner.TokenStore, inner.Sessions = "", "", nil, nil, nil
	folder := ""
	if u, err := url.Parse(o.CallbackURL); err == nil && u.Host != "" {
		u.Path = path.Join(path.Dir(u.Path), "miniprogram", "callback")
		inner.CallbackURL = u.String()
		folder = strings.TrimPrefix(path.Dir(u.Path), o.MountPath)
	}
	inner.OnFailure = func(w http.ResponseWriter, r *http.Request, f *wecom.Failure) {
		f.LoginURL = "" // there is no page to sign in on
		if o.OnFailure != nil {
			o.OnFailure(w, r, f)
			return
		}
		f.ServeHTTP(w, r)
	}
	auth, err := wecom.New(inner)
	if err := errors.Join(wrong, err); err != nil {
		return nil, err
	}
	return &Program{auth, folder, cookieOf(inner, folder)}, nil
}

// cookieOf returns the name of the session cookie of a middleware with these options, which
// are valid: that of an attempt's cookie without its suffix.
func cookieOf(o wecom.Options, folder string) string {
	o.Observe = nil // nobody signs in
	auth, err := wecom.New(o)
	r, wrong := http.NewRequest(http.MethodPost, folder+"/attempt", http.NoBody)
	if errors.Join(err, wrong) != nil {
		return ""
	}
	r.Header.Set("Content-Type", "application/json")
	a := &answer{header: http.Header{}}
	auth.Routes().ServeHTTP(a, r)
	for _, c := range a.cookies() {
		return c.Name[:strings.LastIndexByte(c.Name, '-')]
	}
	return ""
}

// Middleware returns the middleware that keeps the sessions, for Revoke, Client, Check and
// events.Options. Its Require works inside [Program.Handler]. Its own Handler is for browsers and of no use here.
func (p *Program) Middleware() *wecom.Middleware { return p.auth }

// askedKey is under which the inner request has the one that came.
type askedKey struct{}

// Handler returns a handler that calls next for people who are signed in, with their identity in
// the request's context, and that serves the session's route.
func (p *Program) Handler(next http.Handler) http.Handler {
	signedIn := p.auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := r.Context().Value(askedKey{}).(*http.Request)
		next.ServeHTTP(w, asked.WithContext(r.Context()))
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch inner := p.inner(r); {
		case r.URL.Path == p.folder+"/session" && r.URL.RawPath == "":
			p.session(w, r)
		case strings.HasPrefix(r.URL.Path, p.folder+"/"): // the inner routes are for browsers
			(&wecom.Failure{Code: "not_found", Status: http.StatusNotFound}).ServeHTTP(w, inner)
		default:
			signedIn.ServeHTTP(w, inner)
		}
	})
}

var tokenForm = regexp.MustCompile(`^[0-9A-Za-z_-]{43}$`)

// inner is r as the middleware shall see it: a script's request with the session's cookie, and
// with no other cookie that the client sent.
func (p *Program) inner(r *http.Request) *http.Request {
	inner := r.WithContext(context.WithValue(r.Context(), askedKey{}, r))
	inner.Header = http.Header{"Sec-Fetch-Mode": {"cors"}} // never a redirect
	for _, name := range []string{"Accept-Language", "Content-Type", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host"} {
		if values := r.Header[name]; values != nil {
			inner.Header[name] = values
		}
	}
	if sent := r.Header["Authorization"]; len(sent) == 1 {
		scheme, token, _ := strings.Cut(sent[0], " ")
		if strings.EqualFold(scheme, "Bearer") && tokenForm.MatchString(token) {
			inner.Header.Set("Cookie", p.cookie+"="+token)
		}
	}
	return inner
}

const (
	maxBody  = 4096
	bodyTime = 15 * time.Second
)

// session serves the session's route.
func (p *Program) session(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 { // net/http waits for the rest of a body before it answers
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	}
	if r.Method != http.MethodPost {
		p.ask(r, r.Method, "session", nil, "").relay(w)
		return
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	object, wrong := jsonx.ParseObject(body)
	code, _, notText := object.String("code")
	if kind != "application/json" || errors.Join(err, wrong, notText) != nil {
		(&wecom.Failure{Code: "bad_request", Status: http.StatusBadRequest}).ServeHTTP(w, p.inner(r))
		return
	}
	attempt := p.ask(r, http.MethodPost, "attempt", map[string]string{}, "")
	var begun struct {
		State string `json:"state"`
	}
	if attempt.status != http.StatusOK || json.Unmarshal(attempt.body.Bytes(), &begun) != nil {
		attempt.relay(w)
		return
	}
	var cookies []string
	for _, c := range attempt.cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	signedIn := p.ask(r, http.MethodPost, "session", map[string]string{"code": code, "state": begun.State}, strings.Join(cookies, "; "))
	if signedIn.status == http.StatusOK {
		for _, c := range signedIn.cookies() {
			if c.Name == p.cookie {
				signedIn.identify(c)
				break
			}
		}
	}
	signedIn.relay(w)
}

// ask asks one of the middleware's own routes, with further cookies.
func (p *Program) ask(r *http.Request, method, route string, body map[string]string, cookies string) *answer {
	inner := p.inner(r)
	inner.Method, inner.URL, inner.Body, inner.ContentLength = method, &url.URL{Path: p.folder + "/" + route, RawQuery: r.URL.RawQuery}, http.NoBody, 0
	if body != nil {
		text, _ := json.Marshal(body) // texts: it cannot fail
		inner.Body, inner.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	}
	if own := inner.Header.Get("Cookie"); own != "" && cookies != "" {
		cookies += "; " + own
	}
	if cookies != "" {
		inner.Header.Set("Cookie", cookies)
	}
	a := &answer{header: http.Header{}, status: http.StatusOK}
	p.auth.Routes().ServeHTTP(a, inner)
	return a
}

// An answer is what an own route of the middleware says: small, and not yet sent.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// cookies are those that the answer sets.
func (a *answer) cookies() []*http.Cookie {
	return (&http.Response{Header: a.header}).Cookies()
}

// identify puts the token beside the identity.
func (a *answer) identify(session *http.Cookie) {
	identity := bytes.Clone(bytes.TrimSpace(a.body.Bytes()))
	a.body.Reset()
	fmt.Fprintf(&a.body, `{"token":%q,"expires_in":%d,"identity":%s}`+"\n", session.Value, session.MaxAge, identity)
}

// relay sends the answer, without cookies.
func (a *answer) relay(w http.ResponseWriter) {
	for name, values := range a.header {
		if name != "Set-Cookie" && name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes())
}
