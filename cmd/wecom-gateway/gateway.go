package main

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/issuer"
)

// A gateway answers every request that reaches the program.
type gateway struct {
	auth     *wecom.Middleware
	hosts    map[string]*gateway    // the further ones, by bare name
	host     string                 // of the site, as the browser sees it
	label    string                 // host, for the log; "": there is one
	rules    *atomic.Pointer[rules] // nil: none
	asked    *conditions            // of other proxies
	groups   *groups                // nil: none are told
	emails   emails
	own      http.Handler           // the middleware's routes, and 404 for what is like them
	app      http.Handler           // what is protected
	events   http.Handler           // what WeCom posts; nil: nothing
	issuer   *issuer.Issuer         // nil: none
	oidc     http.Handler           // the issuer's routes; nil: none
	audience string                 // of assertions; "": there are none
	session  http.Handler           // 204 or 401
	forward  http.Handler           // 204, or what app would have answered
	stranger *sync.Once             // names the first peer that asks for another proxy and is not trusted
	proxy    *httputil.ReverseProxy // nil: no upstream
	below    bool                   // the upstream is a folder: what stands beside it is none of ours
	callback string                 // its path, as it reaches us: "/wecom/callback"
	folder   string                 // of the own routes, as they reach us: "/wecom"
	mount    string
	scheme   string // of the site, as the browser sees it
	language string
	proofs   map[string]bool
	trusted  []netip.Prefix
	stores   *stores
	counts   *metrics
	log      *slog.Logger
	stopping *atomic.Bool
}

func newGateway(c config, auth *wecom.Middleware, receiver http.Handler, iss *issuer.Issuer, told *groups, s *stores, counts *metrics, log *slog.Logger) *gateway {
	g := &gateway{
		auth:     auth,
		rules:    &atomic.Pointer[rules]{},
		asked:    &conditions{},
		stranger: &sync.Once{},
		stopping: &atomic.Bool{},
		own:      auth.Routes(),
		events:   receiver,
		issuer:   iss,
		audience: c.audience,
		callback: strings.TrimPrefix(c.callback.Path, c.MountPath),
		mount:    c.MountPath,
		scheme:   c.callback.Scheme,
		host:     c.callback.Host,
		language: c.Language,
		proofs:   map[string]bool{},
		trusted:  c.TrustedProxies,
		stores:   s,
		counts:   counts,
		log:      log,
		groups:   told,
		emails:   c.emails,
	}
	g.folder = path.Dir(g.callback)
	for _, name := range c.DomainProof {
		g.proofs["/"+name] = true
	}
	if c.upstream != nil {
		g.proxy = g.newProxy(c)
		g.below = strings.Trim(c.upstream.Path, "/") != ""
	}
	if c.rules != nil {
		g.rules.Store(&c.rules)
	}
	if iss != nil {
		g.oidc = iss.Handler(g.own)
	}
	g.app = auth.Handler(http.HandlerFunc(g.pass))
	g.forward = auth.Handler(http.HandlerFunc(g.admit))
	g.session = auth.Optional(http.HandlerFunc(g.sessionOnly))
	return g
}

// close ends the idle connections to the upstream.
func (g *gateway) close() {
	for _, h := range g.hosts {
		h.close()
	}
	if g.proxy != nil {
		g.proxy.Transport.(*http.Transport).CloseIdleConnections()
	}
}

func (g *gateway) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &response{ResponseWriter: rw, request: r}
	route := g.route(r)
	if len(g.hosts) > 0 {
		if h := g.at(r, route); h != g {
			h.ServeHTTP(rw, r)
			return
		}
	}
	v := &visit{route: route, client: g.client(r), host: g.label, path: r.URL.Path}
	defer g.done(w, r, v, time.Now())
	if g.stopping.Load() && r.Header["Upgrade"] == nil {
		w.Header().Set("Connection", "close")
	}
	if route != "app" {
		w.limitBody()
	}
	if route == "auth" || route == "forward" {
		if (r.Header["X-Original-Uri"] != nil || r.Header["X-Forwarded-Uri"] != nil) && !g.trusts(r) {
			g.stranger.Do(func() {
				g.log.Warn("WECOM_TRUSTED_PROXIES does not name a client that says which page it asks about: sign-ins do not return to that page", "client", v.client)
			})
		}
		v.path = ""
		if _, target := g.described(r); target != "" {
			v.path = g.asPage(r, "", target).URL.Path
		}
	}
	r = r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
	switch route {
	case "healthz":
		g.health(w, r, true)
	case "readyz":
		g.health(w, r, !g.stopping.Load() && g.storeAnswers(r))
	case "auth":
		w.query = r.URL.RawQuery
		g.session.ServeHTTP(w, g.asPage(r, http.MethodGet, ""))
	case "forward":
		w.query = r.URL.RawQuery
		g.forwardAuth(w, r)
	case "login":
		g.login(w, r)
	case "events":
		g.events.ServeHTTP(w, r)
	case "authorize", "token", "userinfo", "end-session", "keys", "openid-configuration":
		g.oidc.ServeHTTP(w, r)
	case "app":
		if rules := g.rules.Load(); rules != nil {
			g.byRule(w, r, *rules)
		} else {
			g.app.ServeHTTP(w, r)
		}
	default:
		g.own.ServeHTTP(w, r)
	}
}

// route names what a request is for. As in the middleware, an own route is the
// exact, undecoded path and nothing else; whatever resembles one is never proxied.
func (g *gateway) route(r *http.Request) string {
	p := r.URL.Path
	if r.URL.RawPath == "" {
		switch p {
		case "/healthz":
			return "healthz"
		case g.callback:
			return "callback"
		}
		if name, ok := strings.CutPrefix(p, g.folder+"/"); ok {
			switch name {
			case "auth", "forward", "login", "readyz", "logout", "signed-out", "attempt", "session":
				return name
			case "events":
				if g.events != nil {
					return name
				}
			case "authorize", "token", "userinfo", "end-session", "keys", ".well-known/openid-configuration":
				if g.oidc != nil {
					return path.Base(name)
				}
			}
		}
	}
	// To a program that removes dots first and decodes then, an escaped slash is a letter.
	dotsFirst, _ := url.PathUnescape(escapedSlash.Replace(r.URL.RawPath))
	if g.ours(p) || dotsFirst != "" && g.ours(dotsFirst) {
		return "own"
	}
	return "app"
}

var escapedSlash = strings.NewReplacer("%2f", "x", "%2F", "x", "%5c", "x", "%5C", "x")

// ours says whether a decoded path lies in the folder of the own routes, or does
// so for a program that removes dots, empty elements, parameters and backslashes,
// or for which letter case does not matter.
func (g *gateway) ours(p string) bool {
	p = strings.ToLower(p)
	clean := path.Clean("/" + parameters.ReplaceAllString(strings.ReplaceAll(p, `\`, "/"), ""))
	for _, folder := range [...]string{strings.ToLower(g.folder) + "/", "/wecom/"} {
		if strings.HasPrefix(p, folder) || strings.HasPrefix(clean, folder) {
			return true
		}
	}
	return false
}

// parameters are what some programs cut off a path's element.
var parameters = regexp.MustCompile(`;[^/]*`)

// pass hands a signed-in person's request to the upstream.
func (g *gateway) pass(w http.ResponseWriter, r *http.Request) {
	id, _ := wecom.FromContext(r.Context())
	note(w).user = id.UserID
	switch {
	case g.proxy == nil:
		(&wecom.Failure{Status: http.StatusNotFound, Code: "not_found"}).ServeHTTP(w, r)
	case g.below && climbs(r.URL.Path):
		(&wecom.Failure{Status: http.StatusBadRequest, Code: "bad_request"}).ServeHTTP(w, r)
	case r.Method == http.MethodConnect || !strings.HasPrefix(r.URL.Path, "/"):
		(&wecom.Failure{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed"}).ServeHTTP(w, r)
	case !regular(r.URL) && (strings.HasPrefix(r.URL.RawPath, "//") || strings.Contains(r.URL.RawPath, "#")):
		// Not to be passed on as it is: in a request line it would be an address, or ended by the #.
		(&wecom.Failure{Status: http.StatusBadRequest, Code: "bad_request"}).ServeHTTP(w, r)
	case !g.knowsGroups(w, r, id):
	default:
		signed, ok := g.assertion(w, r, id)
		if !ok {
			return
		}
		r = withAssertion(r, signed)
		note(w).proxied = true
		note(w).body.ReadCloser = r.Body
		r.Body = &note(w).body
		g.proxy.ServeHTTP(w, r)
		// The headers are sent. What stands there now is a trailer, and no cookie belongs into one.
		delete(w.Header(), "Set-Cookie")
		delete(w.Header(), http.TrailerPrefix+"Set-Cookie")
	}
}

// climbs says whether some program would find an element .. in a decoded path.
func climbs(p string) bool {
	p = parameters.ReplaceAllString(strings.ReplaceAll(p, `\`, "/"), "")
	return slices.Contains(strings.Split(p, "/"), "..")
}

// admit tells another proxy who is signed in, if its query lets them pass.
func (g *gateway) admit(w http.ResponseWriter, r *http.Request) {
	may, err := g.asked.authorizer(note(w).query)
	method, _ := g.described(r)
	switch {
	case method == http.MethodConnect: // a tunnel past the other proxy, as in pass
		(&wecom.Failure{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed"}).ServeHTTP(w, r)
	case err != nil:
		g.fail(w, r, &wecom.Failure{Status: http.StatusInternalServerError, Code: "setup_fault"}, "another proxy asks with a query that cannot be used: nobody passes", err)
	case may != nil:
		g.auth.Require(may)(http.HandlerFunc(g.tell)).ServeHTTP(w, r)
	default:
		g.tell(w, r)
	}
}

// fail answers with f, whose reference leads from the page to the line that it logs.
func (g *gateway) fail(w http.ResponseWriter, r *http.Request, f *wecom.Failure, says string, cause error) {
	f.Reference = strings.ToLower(rand.Text()[:10])
	g.log.Error(says, "code", f.Code, "status", f.Status, "reference", f.Reference, "cause", cause.Error())
	if g.language != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Accept-Language", g.language)
	}
	f.ServeHTTP(w, r)
}

// tell says who is signed in.
func (g *gateway) tell(w http.ResponseWriter, r *http.Request) {
	id, _ := wecom.FromContext(r.Context())
	note(w).user = id.UserID
	if !g.knowsGroups(w, r, id) {
		return
	}
	h := w.Header()
	for room := maxGroups; ; room /= 2 {
		within := r.WithContext(context.WithValue(r.Context(), roomKey{}, room))
		signed, ok := g.assertion(w, within, id)
		if !ok {
			return
		}
		h["X-Wecom-Assertion"] = []string{signed}
		setIdentity(h, id)
		g.setAccount(h, within, id)
		if room == 0 || size(h) <= maxAnswer {
			break
		}
		id.DepartmentNames = nil // which the assertion alone tells
	}
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

// sessionOnly answers nginx's auth_request, which knows 2xx, 401 and 403.
func (g *gateway) sessionOnly(w http.ResponseWriter, r *http.Request) {
	if _, ok := wecom.FromContext(r.Context()); ok {
		g.admit(w, r)
		return
	}
	(&wecom.Failure{Status: http.StatusUnauthorized, Code: "login_required", LoginURL: g.auth.LoginURL("")}).ServeHTTP(w, r)
}

// forwardAuth answers another proxy: 204, or what the browser is to get instead of the page.
func (g *gateway) forwardAuth(w *response, r *http.Request) {
	method, target := g.described(r)
	w.bodiless = method == http.MethodHead && r.Method != http.MethodHead
	g.forward.ServeHTTP(w, g.asPage(r, method, target))
}

// login is the middleware's, unless another proxy's error page led here: then
// the page that was asked for is the one to return to.
func (g *gateway) login(w *response, r *http.Request) {
	method, target := g.described(r)
	switch {
	case r.Method == http.MethodGet && method != http.MethodGet:
		g.forwardAuth(w, r) // a script's POST: 401 and JSON
		return
	case r.Method != http.MethodGet || target == "" || r.URL.Query().Has("return_to"):
		g.own.ServeHTTP(w, r)
		return
	}
	// The middleware stops a browser that does not keep its session only on
	// pages, since a person asks for /login: here nobody did.
	page := g.asPage(r, http.MethodGet, target)
	page.Header = r.Header.Clone()
	page.Header.Set("Sec-Fetch-Mode", "navigate")
	page.Header.Set("Sec-Fetch-Dest", "document")
	page.Header.Del("X-Requested-With")
	page.Header.Del("Upgrade")
	g.auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		again := r.WithContext(r.Context())
		again.URL = &url.URL{Path: r.URL.Path, RawQuery: "return_to=" + url.QueryEscape(target)}
		g.own.ServeHTTP(w, again) // signed in by now
	})).ServeHTTP(w, page)
}

func (g *gateway) health(w http.ResponseWriter, r *http.Request, well bool) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	text := "ok\n"
	if !well {
		w.Header().Set("Retry-After", "5")
		w.WriteHeader(http.StatusServiceUnavailable)
		text = "not ready\n"
	}
	_, _ = io.WriteString(w, text)
}

func (g *gateway) storeAnswers(r *http.Request) bool {
	err := g.stores.answers(r.Context())
	if err != nil {
		g.log.Warn("not ready: the session store does not answer", "cause", err.Error())
	}
	return err == nil
}

// setIdentity tells who is signed in. Its headers are always all there: a proxy that
// copies them must overwrite what the client sent under the same name.
func setIdentity(h http.Header, id wecom.Identity) {
	var departments []byte
	for _, d := range id.Departments {
		departments = strconv.AppendInt(append(departments, ','), d, 10)
	}
	signedIn := ""
	if !id.AuthenticatedAt.IsZero() {
		signedIn = id.AuthenticatedAt.UTC().Format(time.RFC3339)
	}
	list := [...]struct{ name, value string }{
		{"X-Forwarded-User", id.UserID},
		{"X-Wecom-Corp-Id", id.CorpID},
		{"X-Wecom-App-Id", id.AppID},
		{"X-Wecom-User-Id", id.UserID},
		{"X-Wecom-Name", id.Name},
		{"X-Wecom-Biz-Mail", id.BizMail},
		{"X-Wecom-Email", id.Email},
		{"X-Wecom-Mobile", id.Mobile},
		{"X-Wecom-Avatar-Url", id.AvatarURL},
		{"X-Wecom-Departments", strings.TrimPrefix(string(departments), ",")},
		{"X-Wecom-Authenticated-At", signedIn},
	}
	values := make([]string, len(list)) // one allocation for them all
	for i, one := range list {
		values[i] = strings.Map(func(c rune) rune {
			if c < ' ' || c == 0x7f {
				return ' '
			}
			return c
		}, one.value)
		h[one.name] = values[i : i+1 : i+1]
	}
}

// Requests that another proxy describes.

// described returns the method and the path of the request that a trusted proxy
// asks about. The path is "" if it names none, more than one or one of our own.
func (g *gateway) described(r *http.Request) (method, target string) {
	method = r.Method
	if !g.trusts(r) {
		return method, ""
	}
	if m := r.Header["X-Forwarded-Method"]; len(m) == 1 && m[0] != "" {
		method = strings.ToUpper(m[0])
	}
	var said []string
	for _, name := range [...]string{"X-Forwarded-Uri", "X-Original-Uri"} {
		for _, value := range r.Header[name] {
			if len(r.Header[name]) > 1 || value != "" && !slices.Contains(said, value) {
				said = append(said, value)
			}
		}
	}
	if len(said) != 1 {
		return method, ""
	}
	u, err := url.ParseRequestURI(said[0])
	if err != nil || !strings.HasPrefix(said[0], "/") {
		return method, ""
	}
	p, ok := strings.CutPrefix(u.Path, g.mount)
	if !ok || !strings.HasPrefix(p, "/") || g.ours(p) || g.proofs[p] {
		return method, ""
	}
	return method, said[0]
}

// asPage is r as if it were the request for target, or for a page of which nothing
// is known. Own routes and what else is for everybody cannot be asked for in this
// way, or their answer would count as the proxy's permission.
func (g *gateway) asPage(r *http.Request, method, target string) *http.Request {
	page := r.WithContext(r.Context())
	page.Method = method
	u, err := url.ParseRequestURI(target)
	if target == "" || err != nil { // the latter not after described
		// No path to return to: such a sign-in ends on the home page.
		page.URL, page.RequestURI = &url.URL{Path: "/"}, `/\`
		return page
	}
	page.URL, page.RequestURI = &url.URL{Path: strings.TrimPrefix(u.Path, g.mount), RawQuery: u.RawQuery}, target
	return page
}

// trusts says whether the peer's forwarding headers are believed.
func (g *gateway) trusts(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && contains(g.trusted, peer.Addr())
}

// client is the address of the browser, or of what stands before the last trusted proxy.
func (g *gateway) client(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	addr := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !contains(g.trusted, addr) {
			break
		}
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		addr = next.Unmap()
	}
	return addr.WithZone("").String() // a zone is whatever somebody wrote
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
