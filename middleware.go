package wecom

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/attempt"
	"github.com/wecomauth/wecom/internal/pages"
	"github.com/wecomauth/wecom/internal/returnto"
)

// A Middleware puts the sign-in in front of handlers. Make one with [New], one
// per app, and share it: it is immutable and safe for concurrent use. The zero
// Middleware lets nobody in.
type Middleware struct {
	provider  Provider
	client    *Client
	authorize Authorizer
	sessions  *sessions
	exchanges *exchanges
	rechecks  *rechecks // nil if off
	keys      *attempt.Keys
	cookie    cookieKind

	origin   string // of CallbackURL
	host     string // of CallbackURL, without a port
	callback string // CallbackURL
	mount    string // what stands before the paths that the handler sees
	folder   string // of the own routes, as the handler sees them: "/wecom"
	home     string // where a sign-in without a return path ends, as the browser sees it
	routes   map[string]route
	proofs   map[string]string

	lang      string
	onFailure func(http.ResponseWriter, *http.Request, *Failure)
	observe   func(context.Context, Event)
	log       *slog.Logger
	proxies   []netip.Prefix
	panel     *panelPage // nil: sign-ins go to WeCom's own pages
	elsewhere elsewhere
}

// A route is one of our own. The session is the request's, the zero session if it has none.
type route struct {
	name  string
	serve func(m *Middleware, w http.ResponseWriter, r *http.Request, s session)
}

// Handler returns a handler that calls next for people who are signed in, with
// their [Identity] in the request's context (see [FromContext]) and the
// ResponseWriter that it was given, and that serves the own routes: callback,
// login, logout. A browser that opens a page without being signed in is sent to
// WeCom and comes back to that page; everything else is answered with 401 and JSON.
func (m *Middleware) Handler(next http.Handler) http.Handler { return m.wrap(next, true) }

// Optional is Handler for pages that anonymous people may see too: next is
// called in either case, and [FromContext] tells whether somebody is signed in.
// For an anonymous request it leaves the context alone: inside another
// Middleware's Handler, that one's identity stays.
func (m *Middleware) Optional(next http.Handler) http.Handler { return m.wrap(next, false) }

// Routes returns a handler for the own routes and the files of
// Options.DomainProof alone, for programs that mount them apart from the pages.
// Everything else is a 404. A router whose groups run their middleware for their
// own routes only, such as chi's, needs it when Handler stands in a group:
//
//	r.Mount("/wecom", auth.Routes())
//	r.Handle("/WW_verify_AbCd1234.txt", auth.Routes()) // with Options.DomainProof
func (m *Middleware) Routes() http.Handler {
	return m.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.fail(w, r, &Failure{Status: http.StatusNotFound, Code: "not_found",
			Err: errors.New("no own route has this path: compare CallbackURL, and MountPath, with where Routes is mounted")})
	}))
}

// Require returns a middleware for single routes. It asks authorize about the
// person who is signed in, on each request: false is a 403, an error a 503, and so is a nil
// Authorizer. It works inside [Middleware.Handler], and without it does what Handler does first.
func (m *Middleware) Require(authorize Authorizer) func(http.Handler) http.Handler {
	if authorize == nil { // forgotten: in Options it is everybody, here it can only be a mistake
		authorize = func(context.Context, *Client, Identity) (bool, error) {
			return false, errors.New("Require was given no Authorizer")
		}
	}
	return func(next http.Handler) http.Handler {
		guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, _ := FromContext(r.Context())
			if f := m.permit(r.Context(), authorize, id); f != nil {
				f.back = m.pageOf(r)
				m.fail(w, r, f)
				return
			}
			next.ServeHTTP(w, r)
		})
		protected := m.Handler(guarded)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// Only an identity that this very middleware put there counts.
			if c, ok := r.Context().Value(identityKey{}).(*identityContext); ok && c.by == m && m.sessions != nil {
				guarded.ServeHTTP(w, r)
				return
			}
			protected.ServeHTTP(w, r)
		})
	}
}

// LoginURL returns the path of the page that starts a sign-in and afterwards
// leads to returnTo, a path on this site such as "/reports?from=2026-01-01".
// Anything that is not such a path leads to the home page instead. Both paths are
// the browser's, from the root of the host: with a MountPath of "/tool", the page that the
// handler sees as /reports is "/tool/reports".
func (m *Middleware) LoginURL(returnTo string) string {
	login := m.mount + m.folder + "/login"
	if returnTo, ok := m.returnPath(returnTo); ok {
		login += "?return_to=" + url.QueryEscape(returnTo)
	}
	return login
}

// Client returns the client that the middleware talks to WeCom with: the same
// token and settings, for any endpoint. If Options.Provider is set without CorpID
// and Secret, it is the provider's, nil if that has none: see [Provider].
func (m *Middleware) Client() *Client { return m.client }

// App returns what people sign in to, the zero App for the zero Middleware.
func (m *Middleware) App() App {
	if m.sessions == nil {
		return App{}
	}
	return m.sessions.app
}

func (m *Middleware) wrap(next http.Handler, required bool) http.Handler {
	if m.sessions == nil { // the zero Middleware
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			(&Failure{Status: http.StatusInternalServerError, Code: "internal"}).ServeHTTP(w, r)
		})
	}
	next = m.sessions.carrier.wrap(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, next, required) })
}

// serve is the way of a request.
func (m *Middleware) serve(w http.ResponseWriter, r *http.Request, next http.Handler, required bool) {
	if proof, ok := m.proofs[r.URL.Path]; ok {
		serveProof(w, r, proof)
		return
	}
	s, ctx, err := m.sessions.find(r)
	if err != nil {
		m.fail(w, r.WithContext(ctx), storeFailure(err))
		return
	}
	own, isOwn := m.route(r)
	switch {
	case isOwn:
		guard(w, r)
		own.serve(m, w, r.WithContext(ctx), s)
	case s.live():
		if m.rechecks != nil {
			m.recheck(r, s)
		}
		varyByCookie(w.Header())
		next.ServeHTTP(w, r.WithContext(&identityContext{ctx, s.id, m}))
	case required:
		m.demand(w, r.WithContext(ctx), s)
	default:
		varyByCookie(w.Header())
		next.ServeHTTP(w, r.WithContext(ctx))
	}
}

// route finds the own route of a request. Only the exact, undecoded path is
// one: whatever stands in front of us compares paths in its own way.
func (m *Middleware) route(r *http.Request) (route, bool) {
	if r.URL.RawPath != "" || !strings.HasPrefix(r.URL.Path, m.folder) {
		return route{}, false
	}
	own, ok := m.routes[r.URL.Path]
	return own, ok
}

func (m *Middleware) routeName(r *http.Request) string {
	if own, ok := m.route(r); ok {
		return own.name
	}
	return "app"
}

// demand answers a request that needs a sign-in and has none.
func (m *Middleware) demand(w http.ResponseWriter, r *http.Request, s session) {
	guard(w, r)
	returnTo := m.pageOf(r)
	switch m.demands(r, s) {
	case demandSignIn:
		m.start(w, r, attempt.New(0, time.Now(), returnTo))
	case demandLoginPage:
		redirect(w, http.StatusFound, m.LoginURL(returnTo))
	case demandCookies:
		m.fail(w, r, &Failure{Status: http.StatusForbidden, Code: "session_not_stuck", LoginURL: m.LoginURL(returnTo), page: true})
	case demandCallback:
		m.fail(w, r, &Failure{Status: http.StatusBadRequest, Code: "callback_mismatch", page: true,
			Err: errors.New("WeCom sent a browser to a path that is not CallbackURL's: compare it, and MountPath, with what the proxy passes on")})
	case demandEnded:
		m.fail(w, r, m.loginPage(r, "session_ended",
			errors.New("the browser sent a session that has ended: it was revoked, or replicas do not share their SessionStore")))
	case demandForm:
		m.fail(w, r, m.loginPage(r, "form_not_sent", nil))
	case demandFrame:
		m.fail(w, r, m.loginPage(r, "", nil))
	default:
		if m.mayNavigate(r) {
			asked, _ := m.returnPath(m.requestTarget(r))
			w.Header().Set("Refresh", "0; url="+m.LoginURL(asked))
		}
		m.fail(w, r, m.loginRequired(r))
	}
}

// loginRequired is the 401, as JSON. Its sign-in leads back to the page that the person looks at.
func (m *Middleware) loginRequired(r *http.Request) *Failure {
	return &Failure{Status: http.StatusUnauthorized, Code: "login_required", LoginURL: m.LoginURL(m.pageOf(r)), json: true, Err: strayEvent(r)}
}

// loginPage is the 401 as a page, with text's sentences.
func (m *Middleware) loginPage(r *http.Request, text string, cause error) *Failure {
	f := m.loginRequired(r)
	f.page, f.text, f.Err = true, text, cause
	return f
}

// strayEvent names a mistake in the log that WeCom's console does not.
func strayEvent(r *http.Request) error {
	if !strings.Contains(r.URL.RawQuery, "msg_signature=") {
		return nil
	}
	return errors.New("WeCom called an events receiver that stands behind the sign-in: mount it beside Handler")
}

type demanded int

const (
	demandNothing   demanded = iota // a script or a program: 401
	demandSignIn                    // a navigation: off to WeCom
	demandLoginPage                 // a page of ours that starts it; also for HEAD, which must not start anything
	demandCookies                   // the browser was signed in a moment ago and did not keep the session
	demandCallback                  // WeCom's answer came to a path that is not the callback
	demandEnded                     // the browser was signed in a moment ago and kept a session that has ended
	demandForm                      // a form was posted: a redirect would lose it
	demandFrame                     // WeCom's page does not open in a frame
)

// demands decides what an anonymous request is met with.
func (m *Middleware) demands(r *http.Request, s session) demanded {
	switch {
	case !opensPage(r):
		return demandNothing
	case r.Method == http.MethodPost:
		return demandForm
	case !navigates(r):
		return demandFrame
	case r.Method == http.MethodHead:
		return demandLoginPage
	case m.isStrayCallback(r):
		return demandCallback
	case m.spentJustNow(r) && s.ended:
		return demandEnded
	case m.spentJustNow(r):
		return demandCookies
	case m.wantsPanel(r):
		return demandLoginPage
	}
	return demandSignIn
}

// navigates tells a browser that opens a page in a tab, which may be redirected,
// from everything else.
func navigates(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest")
	return r.Method != http.MethodPost && (dest == "" || dest == "document") && opensPage(r)
}

// opensPage says that a browser will show the answer, in a tab or a frame. Without
// Sec-Fetch headers, which old web-views do not send, Accept decides.
func opensPage(r *http.Request) bool {
	h := r.Header
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		return false
	}
	if len(h["Upgrade"]) > 0 || prefetch(r) || strings.EqualFold(h.Get("X-Requested-With"), "XMLHttpRequest") {
		return false
	}
	dest, mode := h.Get("Sec-Fetch-Dest"), h.Get("Sec-Fetch-Mode")
	switch {
	case mode != "":
		return mode == "navigate"
	case dest == "empty": // a script's
		return false
	}
	return dest == "document" || acceptsHTML(r)
}

// mayNavigate finds old web-views, which do not say that they navigate. What ends
// a navigation's loop ends theirs; so does a login that is not found where the browser finds it.
func (m *Middleware) mayNavigate(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "" && !prefetch(r) &&
		!m.isStrayCallback(r) && !m.spentJustNow(r) && !strings.HasSuffix(r.URL.Path, m.folder+"/login")
}

// acceptsHTML says whether Accept names text/html. A script's */* does not.
func acceptsHTML(r *http.Request) bool {
	for _, accept := range r.Header["Accept"] {
		for accept != "" {
			var item string
			item, accept, _ = strings.Cut(accept, ",")
			kind, params, _ := strings.Cut(item, ";")
			kind = strings.ToLower(strings.TrimSpace(kind))
			if (kind == "text/html" || kind == "application/xhtml+xml") && !zeroQuality(params) {
				return true
			}
		}
	}
	return false
}

func zeroQuality(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(strings.TrimSpace(k), "q") {
			return strings.Trim(strings.TrimSpace(v), "0.") == ""
		}
	}
	return false
}

// prefetch says that nobody looks at the answer yet, and perhaps never will.
func prefetch(r *http.Request) bool {
	for _, name := range [...]string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		for _, v := range r.Header[name] {
			v = strings.ToLower(v)
			if strings.Contains(v, "prefetch") || strings.Contains(v, "prerender") || strings.Contains(v, "preview") {
				return true
			}
		}
	}
	return false
}

// unseen says that nobody sees the answer, or not as a page: a sign-in must not
// begin or end by an image of another site's.
func unseen(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "", "document", "iframe", "frame":
		return prefetch(r)
	}
	return true
}

// start sends the browser to WeCom with a new attempt, whose number counts the
// restarts since the person last did something.
func (m *Middleware) start(w http.ResponseWriter, r *http.Request, a attempt.Attempt) {
	m.hold(w, r, a)
	m.observe(r.Context(), Event{Name: "start", Outcome: startOutcome(a.Number)})
	redirect(w, http.StatusFound, m.provider.AuthorizeURL(m.describe(r, a)))
}

func startOutcome(number int) string {
	if number > 0 {
		return "restart"
	}
	return "first"
}

// hold gives the browser the attempt's cookie and takes away those that are too many.
func (m *Middleware) hold(w http.ResponseWriter, r *http.Request, a attempt.Attempt) {
	m.began(r, a)
	value := m.keys.Cookie(a)
	m.cookie.set(w, a.Suffix(), value, attemptLife)
	var have []attempt.Cookie
	for suffix, value := range m.cookie.attempts(r) {
		have = append(have, attempt.Cookie{Name: m.cookie.name(suffix), Value: value})
	}
	for _, name := range m.keys.Prune(m.cookie.prefix, have, attempt.Cookie{Name: m.cookie.name(a.Suffix()), Value: value}) {
		if !m.cookie.drop(w, strings.TrimPrefix(name, m.cookie.prefix+"-")) {
			break
		}
	}
}

func (m *Middleware) describe(r *http.Request, a attempt.Attempt) Attempt {
	return Attempt{State: m.keys.State(a), RedirectURI: m.callback, Language: m.language(r), UserAgent: r.UserAgent()}
}

// spentJustNow finds an attempt that ended in a session half a minute ago or
// less: if the browser is anonymous again, it did not keep the session's cookie.
func (m *Middleware) spentJustNow(r *http.Request) bool {
	for suffix, value := range m.cookie.attempts(r) {
		a, ok := m.keys.ParseCookie(value)
		if ok && a.Suffix() == suffix && a.Spent && time.Since(a.Started) < 30*time.Second {
			return true
		}
	}
	return false
}

// isStrayCallback says that the query holds a state of ours: WeCom answered, but elsewhere.
func (m *Middleware) isStrayCallback(r *http.Request) bool {
	if !strings.Contains(r.URL.RawQuery, "state=") {
		return false
	}
	_, ok := m.keys.ParseState(r.URL.Query().Get("state"))
	return ok
}

// requestTarget is the page that was asked for as the browser spells it.
func (m *Middleware) requestTarget(r *http.Request) string {
	target := r.RequestURI
	if !strings.HasPrefix(target, "/") { // in absolute form, or not from a server: a test's request
		target = r.URL.RequestURI()
	}
	if m.mount != "" {
		// http.StripPrefix leaves RequestURI alone, a proxy that strips does not.
		// Spellings differ, so what they mean is compared.
		if u, err := url.ParseRequestURI(target); err != nil || u.Path != m.mount+r.URL.Path {
			target = m.mount + target
		}
	}
	return target
}

// pageOf is the page that the person looks at: the one that a navigation asks for, or the
// one that holds the form, the frame or the script, if Referer tells.
func (m *Middleware) pageOf(r *http.Request) string {
	target := m.requestTarget(r)
	if !navigates(r) {
		target = strings.TrimPrefix(r.Referer(), m.origin) // another site's is no path
		if target == "/" {                                 // so says any page whose Referrer-Policy is origin
			return ""
		}
	}
	target, _ = m.returnPath(target)
	return target
}

// maxEscaped bounds a return path as LoginURL spells it, which enters Location and Refresh.
const maxEscaped = 2300

// returnPath accepts a path on this site to return to. A route of ours would
// start all over again: it is not one. Nor is a path that would make our headers too large.
func (m *Middleware) returnPath(target string) (string, bool) {
	target, ok := returnto.Parse(target)
	if !ok || len(target) > attempt.MaxReturnTo || len(url.QueryEscape(target)) > maxEscaped {
		return "", false
	}
	if rest, ok := strings.CutPrefix(returnto.Path(target), m.mount); ok {
		if _, own := m.routes[rest]; own {
			return "", false
		}
	}
	return target, true
}

// permit asks authorize, if there is one.
func (m *Middleware) permit(ctx context.Context, authorize Authorizer, id Identity) *Failure {
	if authorize == nil {
		return nil
	}
	ok, err := authorize(m.sessions.withDirectory(ctx), m.client, id)
	switch {
	case err != nil:
		return &Failure{Status: http.StatusServiceUnavailable, Code: "wecom_unavailable", Err: err}
	case !ok:
		return &Failure{Status: http.StatusForbidden, Code: "not_allowed", Err: errors.New("the Authorizer said no to " + id.Key())}
	}
	return nil
}

func (m *Middleware) language(r *http.Request) string {
	if m.lang != "" {
		return m.lang
	}
	return pages.Language(r.Header.Get("Accept-Language"))
}

// redirect emits location as it is: http.Redirect would rewrite what was validated.
func redirect(w http.ResponseWriter, status int, location string) {
	w.Header().Set("Location", location)
	w.WriteHeader(status)
}

func storeFailure(err error) *Failure {
	return &Failure{Status: http.StatusServiceUnavailable, Code: "session_store", Err: err}
}

var varyCookie = []string{"Cookie"}

// varyByCookie keeps shared caches from showing one person's page to another.
func varyByCookie(h http.Header) {
	if h["Vary"] == nil {
		h["Vary"] = varyCookie // full: whoever adds to it copies it
		return
	}
	h.Add("Vary", "Cookie")
}

// serveProof answers with the file by which WeCom checks who owns the domain.
func serveProof(w http.ResponseWriter, r *http.Request, proof string) {
	guard(w, r)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte(proof))
}
