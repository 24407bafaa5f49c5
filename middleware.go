package wecom

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/attempt"
	"github.com/wecomauth/wecom/internal/pages"
	"github.com/wecomauth/wecom/internal/reqkind"
	"github.com/wecomauth/wecom/internal/upstream"
)

// A Middleware requires a sign-in before it calls a handler. Make one with [New],
// one per app, and share it: it is immutable and safe for concurrent use. The zero
// Middleware lets nobody in.
type Middleware struct {
	provider  Provider
	sessions  *sessions
	attempts  *attempts
	exchanges *exchanges
	rechecks  *rechecks // nil if off

	client    *Client
	authorize Authorizer
	site      site
	routes    map[string]route // the built-in routes by name
	proofs    map[string]string
	panel     *panelPage // nil: browsers sign in on WeCom's own pages
	lang      string
	onFailure func(http.ResponseWriter, *http.Request, *Failure)
	observe   func(context.Context, Event)
	log       *slog.Logger
	proxies   []netip.Prefix
	otherHost *otherHost
}

// A route is one of the built-in routes.
type route struct {
	methods methods // others get a 405
	format  format  // of the route's Failures
	serve   func(m *Middleware, w http.ResponseWriter, r *http.Request, s session)
}

// Handler returns a handler that calls next for people who are signed in, with
// their [Identity] in the request's context (see [FromContext]) and the
// ResponseWriter that it was given. It also serves the built-in routes: callback,
// login, logout and so on. A browser that opens a page without being signed in is
// sent to WeCom and comes back to that page; everything else is answered with 401
// and JSON.
func (m *Middleware) Handler(next http.Handler) http.Handler { return m.wrap(next, true) }

// Optional is Handler for pages that anonymous people may see too: next is called
// whether somebody is signed in or not, and [FromContext] tells which. Only if the
// session store cannot tell is the answer a 503.
// For an anonymous request it leaves the context alone: inside another
// Middleware's Handler, that one's identity stays.
func (m *Middleware) Optional(next http.Handler) http.Handler { return m.wrap(next, false) }

// Routes returns a handler for the built-in routes and the files of
// Options.DomainProof alone, for programs that mount them apart from the pages.
// Everything else is a 404. A router that runs the middleware of a group for the
// group's own routes only, such as chi, needs it when Handler stands in a group:
//
//	r.Mount("/wecom", auth.Routes())
//	r.Handle("/WW_verify_AbCd1234.txt", auth.Routes()) // with Options.DomainProof
func (m *Middleware) Routes() http.Handler {
	return m.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.fail(w, r, newFailure("not_found", errors.New(
			"no built-in route has this path: compare CallbackURL, and MountPath, with where Routes is mounted")))
	}))
}

// Require returns a middleware for single routes. On each request it asks authorize
// about the person who is signed in: false is a 403, an error a 503, and so is a nil
// Authorizer. It works inside [Middleware.Handler]; elsewhere it does what Handler
// does first.
func (m *Middleware) Require(authorize Authorizer) func(http.Handler) http.Handler {
	if authorize == nil { // in Options nil is everybody, here it can only be a mistake
		authorize = func(context.Context, *Client, Identity) (bool, error) {
			return false, errors.New("Require was given no Authorizer")
		}
	}
	return func(next http.Handler) http.Handler {
		authorized := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, _ := FromContext(r.Context())
			if f := m.permit(r.Context(), authorize, id); f != nil {
				f.back = m.site.page(r)
				m.fail(w, r, f)
				return
			}
			next.ServeHTTP(w, r)
		})
		signedIn := m.Handler(authorized)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if m.isSignedIn(r) {
				authorized.ServeHTTP(w, r)
				return
			}
			signedIn.ServeHTTP(w, r)
		})
	}
}

// isSignedIn reports whether the identity in r's context is from this very middleware.
func (m *Middleware) isSignedIn(r *http.Request) bool {
	c, ok := r.Context().Value(identityKey{}).(*identityContext)
	return ok && c.by == &m.site && m.sessions != nil
}

// LoginURL returns the path of the page that starts a sign-in and afterwards
// leads to returnTo, a path on this site such as "/reports?from=2026-01-01".
// Anything that is not such a path leads to the home page instead. Both paths are
// the browser's, from the root of the host: with a MountPath of "/tool", the page that
// the handler sees as /reports is "/tool/reports".
func (m *Middleware) LoginURL(returnTo string) string { return m.site.loginURL(returnTo) }

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

// OwnsCookie reports whether a cookie of that name is this middleware's: the session's,
// that of a pending sign-in, or the one that marks a browser that has signed in. A
// reverse proxy removes them from requests to the program behind it and does not let
// that program set them. With Options.Sessions the session's cookie is the application's
// and is not among them. The zero Middleware owns no cookie.
func (m *Middleware) OwnsCookie(name string) bool {
	return m.sessions != nil && m.attempts.cookie.owns(name)
}

func (m *Middleware) wrap(next http.Handler, required bool) http.Handler {
	if m.sessions == nil { // the zero Middleware
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			newFailure("internal", nil).ServeHTTP(w, r)
		})
	}
	next = m.sessions.carrier.wrap(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, next, required) })
}

// serve handles a request.
func (m *Middleware) serve(w http.ResponseWriter, r *http.Request, next http.Handler, required bool) {
	if proof, ok := m.proofs[r.URL.Path]; ok {
		serveProof(w, r, proof)
		return
	}
	s, ctx, err := m.sessions.find(r)
	if err != nil {
		m.fail(w, r.WithContext(ctx), newFailure("session_store", err))
		return
	}
	route, isBuiltIn := m.site.route(r)
	switch {
	case isBuiltIn:
		m.serveBuiltIn(w, r.WithContext(ctx), m.routes[route], s)
	case s.live():
		m.recheck(ctx, s.id)
		varyByCookie(w.Header())
		next.ServeHTTP(w, r.WithContext(&identityContext{ctx, s.id, &m.site}))
	case required:
		m.requireSignIn(w, r.WithContext(ctx), s)
	default:
		varyByCookie(w.Header())
		next.ServeHTTP(w, r.WithContext(ctx))
	}
}

func (m *Middleware) serveBuiltIn(w http.ResponseWriter, r *http.Request, to route, s session) {
	setSecurityHeaders(w, r)
	if !to.methods.allow(w, r) {
		m.wrongMethod(w, r)
		return
	}
	to.serve(m, w, r, s)
}

// A reply says how to answer an anonymous request that needs a sign-in.
type reply int

const (
	replyUnauthorized  reply = iota // to a script or a program
	replySignIn                     // to a navigation: redirect to WeCom
	replyLoginPage                  // redirect to …/login; also for HEAD, which must not begin a sign-in
	replyNotKept                    // the browser signed in a moment ago and did not keep the session
	replyEnded                      // the browser signed in a moment ago and sent a session that has ended
	replyWrongCallback              // WeCom's answer came to a path that is not the callback
	replyForm                       // a form was posted: a redirect would lose it
	replyFrame                      // WeCom's page does not open in a frame
)

// replyTo decides how an anonymous request is answered.
func (m *Middleware) replyTo(r *http.Request, s session) reply {
	switch {
	case !reqkind.OpensPage(r):
		return replyUnauthorized
	case r.Method == http.MethodPost:
		return replyForm
	case !reqkind.Navigates(r):
		return replyFrame
	case r.Method == http.MethodHead:
		return replyLoginPage
	case m.attempts.isAnswer(r):
		return replyWrongCallback
	case m.attempts.spentJustNow(r) && s.ended:
		return replyEnded
	case m.attempts.spentJustNow(r):
		return replyNotKept
	case m.panel.isFor(r):
		return replyLoginPage
	}
	return replySignIn
}

// requireSignIn answers an anonymous request that needs a sign-in.
func (m *Middleware) requireSignIn(w http.ResponseWriter, r *http.Request, s session) {
	setSecurityHeaders(w, r)
	returnTo := m.site.page(r)
	switch m.replyTo(r, s) {
	case replySignIn:
		m.redirectToProvider(w, r, attempt.New(0, time.Now(), returnTo))
	case replyLoginPage:
		redirect(w, http.StatusFound, m.LoginURL(returnTo))
	case replyNotKept:
		f := newFailure("session_not_kept", nil)
		f.format, f.LoginURL = asPage, m.LoginURL(returnTo)
		m.fail(w, r, f)
	case replyWrongCallback:
		f := newFailure("callback_mismatch", errors.New("WeCom sent a browser to a path that is not CallbackURL's: "+
			"compare it, and MountPath, with what the proxy passes on"))
		f.format = asPage
		m.fail(w, r, f)
	case replyEnded:
		m.fail(w, r, m.loginPage(r, "session_ended",
			errors.New("the browser sent a session that has ended: it was revoked, or replicas do not share their SessionStore")))
	case replyForm:
		m.fail(w, r, m.loginPage(r, "form_not_sent", nil))
	case replyFrame:
		m.fail(w, r, m.loginPage(r, "", nil))
	default:
		if m.mayRefresh(r) {
			w.Header().Set("Refresh", "0; url="+m.LoginURL(m.site.target(r)))
		}
		m.fail(w, r, m.loginRequired(r))
	}
}

// mayRefresh reports whether a 401 may also redirect, by Refresh: for old web-views,
// which do not say that they navigate, and only where the redirect cannot loop.
func (m *Middleware) mayRefresh(r *http.Request) bool {
	return reqkind.MayNavigate(r) && !m.attempts.isAnswer(r) && !m.attempts.spentJustNow(r) &&
		!strings.HasSuffix(r.URL.Path, m.site.folder+"/login")
}

// loginRequired is the 401, as JSON. Its sign-in leads back to the page that the
// person is looking at.
func (m *Middleware) loginRequired(r *http.Request) *Failure {
	f := newFailure("login_required", nil)
	f.format, f.LoginURL = asJSON, m.LoginURL(m.site.page(r))
	if strings.Contains(r.URL.RawQuery, "msg_signature=") { // WeCom's console does not show this mistake
		f.Err = errors.New("WeCom called an events receiver that stands behind the sign-in: mount it beside Handler")
	}
	return f
}

// loginPage is the 401 as a page that shows the text of that name.
func (m *Middleware) loginPage(r *http.Request, text string, cause error) *Failure {
	f := m.loginRequired(r)
	f.format, f.text, f.Err = asPage, text, cause
	return f
}

// redirectToProvider sends the browser to WeCom with a new attempt, whose number counts
// the restarts since the person last did something.
func (m *Middleware) redirectToProvider(w http.ResponseWriter, r *http.Request, a attempt.Attempt) {
	redirect(w, http.StatusFound, m.provider.AuthorizeURL(m.begin(w, r, a)))
}

// begin gives the browser the attempt's cookie and returns what the provider needs.
func (m *Middleware) begin(w http.ResponseWriter, r *http.Request, a attempt.Attempt) AuthorizeRequest {
	m.attempts.setCookie(w, r, a)
	m.otherHost.began(r, a)
	outcome := "first"
	if a.Number > 0 {
		outcome = "restart"
	}
	m.observe(r.Context(), Event{Name: "start", Outcome: outcome})
	return AuthorizeRequest{
		State: m.attempts.keys.State(a), RedirectURI: m.site.callback,
		Language: m.language(r), UserAgent: r.UserAgent(),
	}
}

// permit asks authorize, if there is one.
func (m *Middleware) permit(ctx context.Context, authorize Authorizer, id Identity) *Failure {
	if authorize == nil {
		return nil
	}
	ok, err := authorize(m.sessions.withDirectory(ctx), m.client, id)
	switch {
	case err != nil:
		f := newFailure("wecom_unavailable", err)
		if !errors.As(err, new(*APIError)) && !errors.As(err, new(*upstream.Error)) {
			f.text = "session_store" // the page does not blame WeCom for the application's database
		}
		return f
	case !ok:
		return newFailure("not_allowed", errors.New("the Authorizer said no to "+id.Key()))
	}
	return nil
}

func (m *Middleware) language(r *http.Request) string {
	if m.lang != "" {
		return m.lang
	}
	return pages.Language(r.Header.Get("Accept-Language"))
}
