package wecom

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/wecomauth/wecom/internal/attempt"
	"github.com/wecomauth/wecom/internal/endpoint"
	"github.com/wecomauth/wecom/internal/returnto"
)

// Options says everything about a [Middleware] or a [Client]. Only keyed
// literals compile. [New] copies it: changing it afterwards changes nothing.
// CorpID, AgentID, Secret and CallbackURL are what a web application needs.
type Options struct {
	_ [0]func()

	// CorpID is the corp's id (企业ID), as on the admin console's page 我的企业.
	CorpID string
	// AgentID is the app's AgentId: digits, as on the app's page.
	AgentID string
	// Secret is the app's Secret, from the same page. It may be empty when
	// TokenSource and StateKey are set.
	Secret Secret
	// CallbackURL is the absolute URL to which WeCom sends the browser back,
	// https unless on loopback. Its folder holds the own routes: for
	// https://app.example.com/wecom/callback they are /wecom/callback,
	// /wecom/login, /wecom/logout and so on. Its host and port must be the app's 可信域名 or 授权回调域.
	CallbackURL string
	// MountPath is the prefix that a proxy or http.StripPrefix takes off the path before
	// the handler sees it, such as "/app". Default: none.
	MountPath string
	// HomePath is where a sign-in ends that has no page to return to. Default:
	// the folder above the own routes, "/" for https://app.example.com/wecom/callback.
	HomePath string

	// Authorize decides who may come in, before a session exists. Default: every
	// member of the corp, including those outside the app's visible range
	// (应用可见范围): WeCom signs them in too.
	Authorize Authorizer
	// AllowOutsiders admits people who are no member of the corp. They have no UserID.
	AllowOutsiders bool
	// AllowLinkedCorps admits members of linked corps. They have no UserID.
	AllowLinkedCorps bool

	// Profile fills the identity of a member at the sign-in: Name and Departments
	// from the member's record, if the app may see the member; Mobile, Email, BizMail and
	// AvatarURL from there too if the app was created before 20 June 2022, else only when the
	// person signs in on the in-app page with Scope snsapi_privateinfo, and of them those that the
	// administrator ticked and the member agreed to. The web-login page never
	// yields them. What is not given stays empty (the logger is told at debug level). It costs one call
	// to WeCom, or two. If they fail, the sign-in goes on without (a warning is logged). Default: off.
	Profile bool
	// ProfileRequired fails a sign-in when the calls of Profile fail, also for a
	// member outside the app's visible range. Fields that were not granted do not fail it.
	ProfileRequired bool

	// Recheck looks a member up again, in the background of a request, when the
	// last look-up is that long ago, and asks Authorize again. One who left, was disabled or is outside
	// the app's visible range loses all sessions. If WeCom cannot be asked, nobody
	// does. It needs an app that may call user/get. Default: off.
	Recheck time.Duration

	// Scope of the in-app page: "snsapi_base" (silent, the default),
	// "snsapi_privateinfo" (asks the member for consent to more fields) or the older
	// "snsapi_userinfo" (silent; more fields, but neither mobile number nor mailbox).
	Scope string
	// Page picks the sign-in page. Default: [PageAuto].
	Page Page
	// LoginPanel sends browsers to a page of our own, …/login, with WeCom's login panel in it, and
	// not to the web-login page, which stays one press of a button away. WeCom's web-view goes to the
	// in-app page all the same. Default: off.
	LoginPanel bool
	// Language of our pages and of WeCom's: "zh" or "en". Default: the browser's, else zh.
	Language string

	// SessionStore keeps the sessions: any store of scs. Default: in memory, or
	// the store of Sessions. It is asked for at most two seconds at a time.
	SessionStore scs.Store
	// SessionLifetime ends a session that long after the sign-in. Default: 12 hours.
	SessionLifetime time.Duration
	// IdleTimeout ends a session that was not used for that long. Default: none.
	IdleTimeout time.Duration
	// Sessions, if set, carries the sign-in inside the application's own scs
	// session instead of in a cookie of ours. Its cookie must be HttpOnly, Lax
	// or None, and under https Secure and named __Host-…, so that no neighbouring
	// subdomain can plant one; HashTokenInStore must be on.
	Sessions *scs.SessionManager

	// TokenStore shares the access token with other processes. Default: none.
	TokenStore TokenStore
	// TokenSource supplies the access token instead of a source made from CorpID and Secret.
	TokenSource TokenSource
	// Provider replaces the WeCom corp app that CorpID, AgentID and Secret describe.
	// It needs StateKey, or Secret: then that alone is derived from it.
	Provider Provider

	// OnFailure answers instead of the built-in page. f.ServeHTTP is the built-in answer, so
	// that a program changes one case and passes the others on. The answer's status is f.Status
	// unless OnFailure calls WriteHeader; headers and cookies that matter for security are
	// already set on w. Of these, Content-Security-Policy allows what the built-in page needs and
	// nothing else: a page with images, style sheets or scripts replaces it. w has Flush and the
	// like by way of http.ResponseController alone.
	OnFailure func(w http.ResponseWriter, r *http.Request, f *Failure)
	// JSSDK adds the route …/jssdk, which signs pages of CallbackURL's origin for WeCom's
	// JS-SDK, for people who are signed in: see docs/frontend.md. Default: off.
	JSSDK bool
	// DomainProof lists names of proof files (WW_verify_….txt) to serve at the
	// root of the site; each file holds what stands between the underscore and .txt.
	DomainProof []string
	// Endpoints replaces Tencent's hosts. Default: the public ones.
	Endpoints Endpoints
	// Transport carries the calls to WeCom's API. Default: one of our own, which
	// honours the proxy variables of the environment.
	Transport http.RoundTripper
	// Logger gets causes; no secret, code, token, state or query reaches it. Default: slog.Default().
	Logger *slog.Logger
	// Observe, if set, is called for each event, on the goroutine of the request, the sign-in or
	// the refresh, which waits for it. It must be safe for concurrent use.
	Observe func(context.Context, Event)

	// StateKey signs pending sign-ins instead of a key derived from Secret: at
	// least 32 bytes, the same on all replicas.
	StateKey Secret
	// EarlierStateKeys still verify what they signed before StateKey or Secret was
	// changed: earlier StateKeys or Secrets, of at least 32 bytes each.
	EarlierStateKeys []Secret
	// TrustedProxies are the peers whose X-Forwarded-For names the client. It
	// is used to limit failed sign-ins and for nothing else: behind a proxy that is missing
	// here all clients are one, and 120 made-up codes shut out everybody who has not signed in
	// there before, for as long as more of them come. Their X-Forwarded-Host helps the log to
	// name a second host. Default: none.
	TrustedProxies []netip.Prefix
	// DangerouslyAllowHTTP accepts a CallbackURL with http outside loopback:
	// everybody on the network path can then take over sessions.
	DangerouslyAllowHTTP bool
}

// Endpoints are the addresses that the package talks to or sends browsers to. An empty field is
// WeCom's own. http is accepted for loopback only.
type Endpoints struct {
	// API is the base URL of the server API. Default: https://qyapi.weixin.qq.com
	API string
	// Authorize is the in-app page. Default: https://open.weixin.qq.com/connect/oauth2/authorize
	Authorize string
	// WebLogin is the page for other browsers. Default: https://login.work.weixin.qq.com/wwlogin/sso/login
	WebLogin string
	// PanelScript is the script that LoginPanel loads: an absolute URL, or a path of
	// the application's own, such as "/static/wecom-jssdk.js". Default:
	// https://wwcdn.weixin.qq.com/node/open/js/wecom-jssdk-2.3.4.js
	PanelScript string
}

// A Page says which of WeCom's two sign-in pages a browser is sent to.
type Page string

const (
	// PageAuto sends WeCom's own web-view to the in-app page and every other
	// browser to the web-login page, by User-Agent.
	PageAuto Page = ""
	// PageInApp sends everybody to the in-app page (网页授权).
	PageInApp Page = "in-app"
	// PageWeb sends everybody to the web-login page (企业微信授权登录).
	PageWeb Page = "web"
	// PageWeixin is PageAuto, but Weixin's web-view too goes to the in-app page:
	// for corps whose members use WeCom through Weixin's plugin (微信插件).
	PageWeixin Page = "weixin"
)

// An Authorizer decides whether a person may come in. It must be safe for
// concurrent use and return by the end of ctx. An error means that it could not
// tell: the person sees "try again later" (503), not a refusal (403).
type Authorizer func(ctx context.Context, api *Client, id Identity) (bool, error)

const (
	defaultLifetime = 12 * time.Hour
	maxLifetime     = 100 * 365 * 24 * time.Hour // Unix nanoseconds end in 2262
	minStateKey     = 32
)

// New checks o as a whole and returns the middleware, or nil and an error that
// joins everything that is wrong with o (see errors.Join). It does no I/O and
// starts no goroutine.
func New(o Options) (*Middleware, error) {
	var c checks
	callback := c.callback(o)
	c.app(o)
	c.keys(o)
	c.sessions(o, callback)
	c.rest(o)
	c.panel(o)
	home := c.home(o, callback)
	if err := errors.Join(c...); err != nil {
		return nil, fmt.Errorf("wecom: these options cannot work:\n%w", err)
	}

	provider, client, err := newProvider(o)
	if err != nil {
		return nil, fmt.Errorf("wecom: these options cannot work:\n%w", err)
	}
	app := provider.App()
	keys, err := newKeys(o, app)
	if err != nil {
		return nil, fmt.Errorf("wecom: %w", err)
	}
	// With CallbackURL: another middleware of the same app may let in other people.
	tag := tagOf(app.Provider, app.CorpID, app.AppID, o.CallbackURL)
	cookie := cookieKind{prefix: "wecom-" + tag}
	if callback.Scheme == "https" {
		cookie = cookieKind{prefix: "__Host-" + cookie.prefix, secure: true}
	}
	m := &Middleware{
		provider:  provider,
		client:    client,
		authorize: o.Authorize,
		sessions:  newSessions(o, app, cookie, tag),
		exchanges: &exchanges{},
		keys:      keys,
		cookie:    cookie,
		origin:    callback.Scheme + "://" + callback.Host,
		host:      callback.Hostname(),
		callback:  o.CallbackURL,
		mount:     o.MountPath,
		folder:    strings.TrimSuffix(path.Dir(strings.TrimPrefix(callback.Path, o.MountPath)), "/"),
		home:      home,
		routes:    map[string]route{},
		proofs:    map[string]string{},
		lang:      o.Language,
		onFailure: o.OnFailure,
		observe:   o.Observe,
		log:       o.Logger,
		proxies:   append([]netip.Prefix(nil), o.TrustedProxies...),
	}
	m.panel = newPanelPage(o, provider, m.origin)
	if o.Recheck > 0 {
		m.rechecks = &rechecks{every: o.Recheck, slots: make(chan struct{}, rechecksAtOnce)}
	}
	if m.observe == nil {
		m.observe = ignoreEvents
	}
	if m.log == nil {
		m.log = slog.Default()
	}
	for name, own := range ownRoutes {
		if name != "jssdk" || o.JSSDK {
			m.routes[m.folder+"/"+name] = own
		}
	}
	m.routes[strings.TrimPrefix(callback.Path, o.MountPath)] = route{"callback", (*Middleware).finish}
	for _, file := range o.DomainProof {
		m.proofs["/"+file] = proofName.FindStringSubmatch(file)[1]
	}
	return m, nil
}

func newKeys(o Options, app App) (*attempt.Keys, error) {
	current, earlier := o.StateKey, o.EarlierStateKeys
	if current.Reveal() == "" {
		current = o.Secret
	} else if o.Secret.Reveal() != "" {
		earlier = append(earlier[:len(earlier):len(earlier)], o.Secret)
	}
	var before [][]byte
	for _, k := range earlier {
		before = append(before, []byte(k.Reveal()))
	}
	info := joinUnambiguously(app.Provider, app.CorpID, app.AppID, o.CallbackURL)
	return attempt.NewKeys([]byte(current.Reveal()), before, info)
}

// tagOf names what belongs together: 8 hexadecimal digits of a hash.
func tagOf(parts ...string) string {
	sum := sha256.Sum256([]byte(joinUnambiguously(parts...)))
	return hex.EncodeToString(sum[:4])
}

// joinUnambiguously joins parts so that no two lists of parts give one string.
func joinUnambiguously(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "%d:%s,", len(p), p)
	}
	return b.String()
}

// checks collects what is wrong with the options.
type checks []error

func (c *checks) bad(format string, args ...any) { *c = append(*c, fmt.Errorf(format, args...)) }

var (
	corpIDForm = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)
	digits     = regexp.MustCompile(`^[0-9]{1,18}$`)
	proofName  = regexp.MustCompile(`^(?:WW|MP)_verify_([0-9A-Za-z_-]{1,64})\.txt$`)
)

// app checks what names the app and its sign-in page.
func (c *checks) app(o Options) {
	switch o.Scope {
	case "", "snsapi_base", "snsapi_userinfo", "snsapi_privateinfo":
	default:
		c.bad("Scope %q: want snsapi_base, snsapi_privateinfo or snsapi_userinfo", o.Scope)
	}
	switch o.Page {
	case PageAuto, PageInApp, PageWeb, PageWeixin:
	default:
		c.bad("Page %q: want one of the Page constants", o.Page)
	}
	if o.ProfileRequired && !o.Profile {
		c.bad("ProfileRequired does nothing without Profile: set both, or neither")
	}
	if o.Language != "" && o.Language != "zh" && o.Language != "en" {
		c.bad("Language %q: want zh, en or nothing", o.Language)
	}
	if o.JSSDK && (o.Provider != nil || o.AgentID == "") {
		c.bad("JSSDK needs AgentID, and no Provider")
	}
	if o.Provider != nil {
		if o.StateKey.Reveal() == "" && o.Secret.Reveal() == "" {
			c.bad("StateKey is missing: with a Provider there is no Secret to derive it from")
		}
		if o.Scope != "" || o.Page != PageAuto || o.Profile {
			c.bad("Scope, Page and Profile belong to the built-in provider: leave them out when Provider is set")
		}
		return
	}
	c.client(o)
	if o.AgentID == "" && (o.Page != PageInApp || o.Scope != "" && o.Scope != defaultScope) {
		c.bad("AgentID is missing: the web-login page and every scope but snsapi_base need it; it stands on the app's page in the admin console")
	}
	if o.Secret.Reveal() == "" && o.TokenSource != nil && o.StateKey.Reveal() == "" {
		c.bad("StateKey is missing: without Secret there is nothing to derive it from")
	}
}

func (c *checks) keys(o Options) {
	if n := len(o.StateKey.Reveal()); n > 0 && n < minStateKey {
		c.bad("StateKey has %d bytes: want at least %d, random", n, minStateKey)
	}
	for i, k := range o.EarlierStateKeys {
		if n := len(k.Reveal()); n < minStateKey {
			c.bad("EarlierStateKeys[%d] has %d bytes: want at least %d", i, n, minStateKey)
		}
	}
}

// callback checks CallbackURL and MountPath. It never returns nil.
func (c *checks) callback(o Options) *url.URL {
	none := &url.URL{Path: "/wecom/callback"}
	if o.CallbackURL == "" {
		c.bad("CallbackURL is missing: for example https://app.example.com/wecom/callback")
		return none
	}
	u, err := url.Parse(o.CallbackURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		c.bad("CallbackURL: want an absolute URL such as https://app.example.com/wecom/callback")
		return none
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(o.CallbackURL, "#") {
		c.bad("CallbackURL: want scheme, host and path only")
	}
	if u.Scheme == "http" && !endpoint.IsLoopback(u.Hostname()) && !o.DangerouslyAllowHTTP {
		c.bad("CallbackURL: plain http gives the session to everybody on the network: use https (or DangerouslyAllowHTTP)")
	}
	if p := u.Port(); u.Scheme == "https" && p == "443" || u.Scheme == "http" && p == "80" || strings.HasSuffix(u.Host, ":") {
		c.bad("CallbackURL: leave the default port out: WeCom compares host and port with the 可信域名 letter by letter")
	}
	if strings.ContainsFunc(u.Host, func(r rune) bool { return r > '~' }) {
		c.bad("CallbackURL: write the host as browsers send it, in Punycode (xn--…)")
	}
	if u.Host != strings.ToLower(u.Host) {
		c.bad("CallbackURL: write the host in lower case, as browsers do")
	}
	name := path.Base(u.Path)
	switch _, own := ownRoutes[name]; {
	case u.Path == "" || u.Path == "/" || strings.HasSuffix(u.Path, "/"):
		c.bad("CallbackURL: want a path that does not end in a slash, such as /wecom/callback")
		return none
	case path.Clean(u.Path) != u.Path || u.EscapedPath() != u.Path || !plainPath.MatchString(u.Path):
		c.bad("CallbackURL: want a path of letters, digits, -, _, . and ~, without empty or dot elements")
	case own:
		c.bad("CallbackURL: its last element %q is the name of another own route", name)
	}
	if o.MountPath != "" {
		switch {
		case !plainPath.MatchString(o.MountPath) || path.Clean(o.MountPath) != o.MountPath || o.MountPath == "/":
			c.bad("MountPath %q: want a path such as /app, without a slash at the end", o.MountPath)
		case !strings.HasPrefix(u.Path, o.MountPath+"/"):
			c.bad("MountPath %q is no prefix of CallbackURL's path: it is what stands before the path that the handler sees", o.MountPath)
			return none
		}
	}
	return u
}

var plainPath = regexp.MustCompile(`^(?:/[0-9A-Za-z._~-]+)+$`)

// home checks HomePath and returns what it defaults to.
func (c *checks) home(o Options, callback *url.URL) string {
	if o.HomePath == "" {
		up := path.Dir(path.Dir(callback.Path))
		if len(up) < len(o.MountPath) { // the own routes stand at the mount's root
			up = o.MountPath
		}
		return strings.TrimSuffix(up, "/") + "/"
	}
	home, ok := returnto.Parse(o.HomePath)
	if !ok {
		c.bad("HomePath %q: want a path on this site such as /", o.HomePath)
	} else if isOwnPath(returnto.Path(home), callback.Path) {
		c.bad("HomePath %q is an own route: a sign-in that ends there never ends", o.HomePath)
	}
	return home
}

func isOwnPath(p, callback string) bool {
	dir, name := path.Split(p)
	return p == callback || path.Clean(dir) == path.Dir(callback) && ownRoutes[name].serve != nil
}

func (c *checks) sessions(o Options, callback *url.URL) {
	lifetime := o.SessionLifetime
	if lifetime == 0 {
		lifetime = defaultLifetime
	}
	if lifetime < 0 {
		c.bad("SessionLifetime %s is negative", lifetime)
	} else if lifetime < time.Second {
		c.bad("SessionLifetime %s: want a second at least; a number without a unit counts nanoseconds", lifetime)
	}
	if o.IdleTimeout > 0 && o.IdleTimeout < time.Second {
		c.bad("IdleTimeout %s: want a second at least; a number without a unit counts nanoseconds", o.IdleTimeout)
	}
	if lifetime > maxLifetime {
		c.bad("SessionLifetime %s: want a hundred years at most", lifetime)
	}
	if o.IdleTimeout < 0 || o.IdleTimeout > max(lifetime, 0) {
		c.bad("IdleTimeout %s: want something between 0 and the session's lifetime, %s", o.IdleTimeout, lifetime)
	}
	if o.Recheck < 0 {
		c.bad("Recheck %s is negative", o.Recheck)
	} else if o.Recheck > 0 && o.Recheck < time.Second {
		c.bad("Recheck %s: want a second at least; a number without a unit counts nanoseconds", o.Recheck)
	}
	if o.Sessions != nil {
		if err := checkManager(o.Sessions, callback.Scheme == "https", callback.Path); err != nil {
			*c = append(*c, err)
		}
	}
}

func (c *checks) rest(o Options) {
	for _, file := range o.DomainProof {
		if !proofName.MatchString(file) {
			c.bad("DomainProof %q: want the name of the file that the admin console offers, such as WW_verify_AbCd1234.txt", file)
		}
	}
	for i, p := range o.TrustedProxies {
		if !p.IsValid() {
			c.bad("TrustedProxies[%d] is not a valid prefix", i)
		}
	}
	for _, e := range []struct{ name, url string }{ // client checks the API's
		{"Endpoints.Authorize", o.Endpoints.Authorize},
		{"Endpoints.WebLogin", o.Endpoints.WebLogin},
	} {
		if e.url == "" {
			continue
		}
		if err := endpoint.Check(e.name, e.url); err != nil {
			*c = append(*c, err)
		}
	}
}
