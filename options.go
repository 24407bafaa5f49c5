package wecom

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/wecomauth/wecom/internal/upstream"
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
	// https unless on loopback. Its folder holds the built-in routes: for
	// https://app.example.com/wecom/callback they are /wecom/callback,
	// /wecom/login, /wecom/logout and so on. Its host and port must be the app's
	// 可信域名 or 授权回调域.
	CallbackURL string
	// MountPath is the prefix that a proxy or http.StripPrefix takes off the path before
	// the handler sees it, such as "/app". Default: none.
	MountPath string
	// HomePath is where a sign-in ends that has no page to return to. Default: the
	// folder above the built-in routes, "/" for https://app.example.com/wecom/callback.
	HomePath string

	// Authorize decides who may sign in, before a session exists. Default: every
	// member of the corp, including those outside the app's visible range
	// (应用可见范围): WeCom signs them in too.
	//
	// It is also the place for what an application wants at a sign-in, such as the
	// person's row in its database: it is asked once per sign-in, however often the callback
	// is delivered, and its error is a 503 whose reference leads to the cause in the log.
	// There is no hook beside it: that would only be an Authorizer that says yes. With
	// Recheck it is asked about the same sign-in again, so it writes what may be written twice.
	Authorize Authorizer
	// AllowOutsiders admits people who are not members of the corp. They have no UserID.
	AllowOutsiders bool
	// AllowLinkedCorps admits members of linked corps. They have no UserID.
	AllowLinkedCorps bool

	// Profile fills the identity of a member at the sign-in. Name and Departments come
	// from the member's record, if the app may see the member. Mobile, Email, BizMail
	// and AvatarURL come from there too if the app was created before 20 June 2022;
	// otherwise only when the person signs in on the in-app page with Scope
	// snsapi_privateinfo, and only those that the administrator ticked and the member
	// agreed to. The web-login page never yields them. A field that is not given stays
	// empty (logged at debug level). Profile costs one or two calls to WeCom. If they
	// fail, the sign-in goes on without them (a warning is logged). DepartmentNames come
	// from a look-up of all departments, at most one an hour. Default: off.
	Profile bool
	// ProfileRequired fails a sign-in when the calls of Profile fail, also for a
	// member outside the app's visible range. Fields that were not granted do not fail it.
	ProfileRequired bool

	// Recheck looks a member up again, in the background of a request, when the last
	// look-up is that long ago, and asks Authorize again. A member who left, was
	// disabled or is outside the app's visible range loses all sessions. If the look-up
	// fails, nobody does. It needs an app that may call user/get. Default: off.
	Recheck time.Duration

	// Scope of the in-app page: "snsapi_base" (silent, the default),
	// "snsapi_privateinfo" (asks the member for consent to more fields) or the older
	// "snsapi_userinfo" (silent; more fields, but neither mobile number nor mailbox).
	Scope string
	// Page picks the sign-in page. Default: [PageAuto].
	Page Page
	// LoginPanel sends browsers to a page of our own, …/login, that contains WeCom's
	// login panel, instead of to the web-login page, to which a button on it leads.
	// WeCom's web-view still goes to the in-app page. Default: off.
	LoginPanel bool
	// AppName is what people call the application, such as "Reports": at most 60
	// characters. Every page of ours shows it. Without it, a page that asks people to scan
	// a code looks like phishing. Default: none.
	AppName string
	// Contact is whom people can ask: text such as "IT service desk, 8001", an address
	// such as mailto:it@example.com, or an https URL; at most 200 characters. Every page of
	// ours shows it. Default: none.
	Contact string
	// Language of our pages and of WeCom's: "zh" or "en". Default: the browser's, else zh.
	Language string

	// SessionStore keeps the sessions: any store of scs. Default: in memory, or
	// the store of Sessions. Limits.SessionStore bounds each call of it.
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

	// OnFailure answers instead of the built-in page. f.ServeHTTP is the built-in
	// answer, so that a program can change one case and pass the others on. The
	// answer's status is f.Status unless OnFailure calls WriteHeader; headers and
	// cookies that matter for security are already set on w. Of these,
	// Content-Security-Policy allows what the built-in page needs and nothing else: a
	// page with images, style sheets or scripts replaces it. w supports Flush and the
	// like through http.ResponseController only.
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
	// Limits bound waits and answers. Default: that of each field.
	Limits Limits
	// Logger gets causes; no secret, code, token, state or query reaches it. Default:
	// slog.Default().
	Logger *slog.Logger
	// Observe, if set, is called for each event, on the goroutine of the request, the
	// sign-in or the refresh, which waits for it. It must be safe for concurrent use.
	// The context is that of the request, if there is one. [FromContext] tells who signed
	// in or out, and whose sessions were revoked: nobody's name if everybody's were.
	Observe func(context.Context, Event)

	// StateKey signs pending sign-ins instead of a key derived from Secret: at
	// least 32 bytes, the same on all replicas.
	StateKey Secret
	// EarlierStateKeys still verify what they signed before StateKey or Secret was
	// changed: earlier StateKeys or Secrets, of at least 32 bytes each.
	EarlierStateKeys []Secret
	// TrustedProxies are the peers whose X-Forwarded-For names the client. The client
	// is used to limit failed sign-ins and for nothing else: behind a proxy that is
	// missing here all clients count as one, and 120 made-up codes lock out everybody
	// who has not signed in there before, for as long as more of them come. From the
	// proxies' X-Forwarded-Host the log learns of a second host. Default: none.
	TrustedProxies []netip.Prefix
	// DangerouslyAllowHTTP accepts a CallbackURL with http outside loopback:
	// everybody on the network path can then take over sessions.
	DangerouslyAllowHTTP bool
}

// Endpoints are the addresses that the package calls or sends browsers to. An empty
// field means WeCom's own. http is accepted for loopback only.
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

// Limits bound how long the package waits for others, and how much it reads. A zero field is
// its default. [New] and [NewClient] refuse a value outside the field's range. The deadline of a
// context makes a call shorter, never longer; for long ones there is [Client.HTTP].
type Limits struct {
	// SignIn bounds a sign-in from its callback on: the calls to WeCom and Authorize. The
	// session's row is written within SessionStore after that. It also bounds one look-up of Options.Recheck. Default: 10 seconds.
	// Range: 5 to 30 seconds.
	SignIn time.Duration
	// Call bounds one request of a Client, of the built-in provider too, from the dial to the
	// answer's last byte. Default: 5 seconds. Range: 0.1 to 60 seconds.
	Call time.Duration
	// SessionStore bounds one call of Options.SessionStore. Default: 2 seconds.
	// Range: 0.1 to 10 seconds.
	SessionStore time.Duration
	// AnswerBytes is how much of an answer to a Client is read. A longer one is an error.
	// Default: 1 MiB. Range: 64 KiB to 64 MiB.
	AnswerBytes int64
}

const (
	defaultLifetime = 12 * time.Hour
	defaultScope    = "snsapi_base"
)

// withDefaults returns o, which is valid, with its defaults.
func (o Options) withDefaults() Options {
	o.Limits = Limits{
		SignIn:       cmp.Or(o.Limits.SignIn, 10*time.Second),
		Call:         cmp.Or(o.Limits.Call, upstream.Timeout),
		SessionStore: cmp.Or(o.Limits.SessionStore, 2*time.Second),
		AnswerBytes:  cmp.Or(o.Limits.AnswerBytes, upstream.MaxAnswer),
	}
	o.SessionLifetime = cmp.Or(o.SessionLifetime, defaultLifetime)
	o.Scope = cmp.Or(o.Scope, defaultScope)
	o.Endpoints = Endpoints{
		API:         strings.TrimRight(cmp.Or(o.Endpoints.API, "https://qyapi.weixin.qq.com"), "/"),
		Authorize:   cmp.Or(o.Endpoints.Authorize, "https://open.weixin.qq.com/connect/oauth2/authorize"),
		WebLogin:    cmp.Or(o.Endpoints.WebLogin, "https://login.work.weixin.qq.com/wwlogin/sso/login"),
		PanelScript: cmp.Or(o.Endpoints.PanelScript, "https://wwcdn.weixin.qq.com/node/open/js/wecom-jssdk-2.3.4.js"),
	}
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.Transport == nil {
		o.Transport = upstream.NewTransport()
	}
	if o.Observe == nil {
		o.Observe = func(context.Context, Event) {}
	}
	return o
}

// An Authorizer decides whether a person may sign in. It must be safe for
// concurrent use and return by the end of ctx. An error means that it could not
// tell: the person sees "try again later" (503), not a refusal (403).
type Authorizer func(ctx context.Context, api *Client, id Identity) (bool, error)
