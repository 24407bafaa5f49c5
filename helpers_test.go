package wecom_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/alexedwards/scs/v2"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/logtest"
	"github.com/wecomauth/wecom/wecomtest"
)

const (
	site      = "https://app.example.com"
	inAppPage = "/connect/oauth2/authorize"
	webPage   = "/wwlogin/sso/login"
	qrPage    = "/connect/qrconnect"
)

// A world is a fake WeCom, a middleware and an application behind it that says who is signed in.
type world struct {
	*testing.T
	on   platform
	fake *wecomtest.Fake
	auth *wecom.Middleware
	app  http.Handler // as the server sees it
	logs *logtest.Buffer
}

// newWorld makes a world; change may alter the options.
func newWorld(t *testing.T, change ...func(*wecom.Options)) *world {
	t.Helper()
	return weCom.newWorld(t, change...)
}

func (on platform) newWorld(t *testing.T, change ...func(*wecom.Options)) *world {
	t.Helper()
	w := &world{T: t, on: on, fake: wecomtest.New(), logs: &logtest.Buffer{}}
	o := on.options(w.fake)
	o.Logger = slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, f := range change {
		f(&o)
	}
	auth, err := wecom.New(o)
	require.NoError(t, err)
	w.auth, w.app = auth, auth.Handler(hello())
	return w
}

// hello says who is signed in and which target the server saw.
func hello() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := wecom.FromContext(r.Context())
		fmt.Fprintf(w, "hello %q %t %s", cmp.Or(id.UserID, id.OpenID), ok, r.RequestURI)
	})
}

// forge changes the last digit of a state's signature.
func forge(state string) string {
	last := len(state) - 1
	if state[last] == '0' {
		return state[:last] + "1"
	}
	return state[:last] + "0"
}

func (w *world) browser() *wecomtest.Browser {
	return w.fake.Browser(site, w.app).SignInAs("zhangsan")
}

// signedIn returns a browser with a session.
func (w *world) signedIn(who string) *wecomtest.Browser {
	w.Helper()
	b := w.browser().SignInAs(who)
	res := b.Get("/")
	require.Equal(w, 200, res.Status, res.Body)
	return b
}

// held starts a sign-in from target and returns the callback that the browser is about to send.
func (w *world) held(b *wecomtest.Browser, target string) *wecomtest.Response {
	w.Helper()
	b.StopAt(isCallback)
	defer b.StopAt(nil)
	res := b.Get(target)
	require.True(w, res.Held, "%d %s %v", res.Status, res.URL, res.Err)
	return res
}

// pages is how often a browser was sent to a sign-in page.
func (w *world) pages() int {
	return w.fake.Calls(inAppPage) + w.fake.Calls(webPage) + w.fake.Calls(qrPage)
}

// exchanges is how often a code was sent.
func (w *world) exchanges() int { return w.fake.Calls(w.on.exchange) }

// who asks who is signed in, "" for nobody.
func who(b *wecomtest.Browser) string {
	var id wecom.Identity
	res := b.Fetch("GET", "/wecom/session", "")
	if res.Status != 200 || res.JSON(&id) != nil {
		return ""
	}
	return cmp.Or(id.UserID, id.OpenID)
}

func isCallback(r *http.Request) bool { return r.URL.Path == "/wecom/callback" }

func stateOf(t *testing.T, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	require.NoError(t, err)
	return u.Query().Get("state")
}

// request makes a navigation to the app, as a browser without Sec-Fetch headers sends it.
func request(method, target string) *http.Request {
	path, query, _ := strings.Cut(target, "?")
	r := httptest.NewRequest(method, site+"/", nil)
	u, err := url.ParseRequestURI(path)
	if err != nil {
		panic(err)
	}
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.RequestURI = u.Path, u.RawPath, query, target
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	return r
}

// fixed makes a middleware that signs everybody in as the code says, without WeCom.
func fixed(t testing.TB, change ...func(*wecom.Options)) *wecom.Middleware {
	t.Helper()
	o := wecom.Options{
		Provider:    fixedProvider{},
		StateKey:    wecom.NewSecret(strings.Repeat("k", 32)),
		CallbackURL: site + "/wecom/callback",
		Logger:      slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&o)
	}
	m, err := wecom.New(o)
	require.NoError(t, err)
	return m
}

// A fixedProvider signs everybody in as the code says, up to a dot, unless identify says otherwise.
type fixedProvider struct {
	app      wecom.App // if not the usual one
	identify func(ctx context.Context, code string) (wecom.Identity, error)
}

func (p fixedProvider) App() wecom.App {
	return cmp.Or(p.app, wecom.App{Provider: "fixed", CorpID: "corp", AppID: "1"})
}

func (fixedProvider) AuthorizeURL(a wecom.AuthorizeRequest) string {
	return "https://idp.example/?state=" + a.State + "&redirect_uri=" + a.RedirectURI
}

func (p fixedProvider) Identify(ctx context.Context, code string) (wecom.Identity, error) {
	if p.identify != nil {
		return p.identify(ctx, code)
	}
	user, _, _ := strings.Cut(code, ".")
	app := p.App()
	return wecom.Identity{Provider: app.Provider, CorpID: app.CorpID, AppID: app.AppID, UserID: user}, nil
}

func rejectEveryCode(context.Context, string) (wecom.Identity, error) {
	return wecom.Identity{}, fmt.Errorf("%w: no such code", wecom.ErrStartOver)
}

// replica is one of several middlewares of fixed's that share a store.
func replica(t testing.TB, store scs.Store) *wecom.Middleware {
	t.Helper()
	return fixed(t, func(o *wecom.Options) { o.SessionStore = store })
}

// comeFrom opens a page, which begins a sign-in, and returns the callback that ends it.
func comeFrom(t testing.TB, h http.Handler, page, code string) *http.Request {
	t.Helper()
	start := do(h, request("GET", page))
	require.Equal(t, 302, start.Code, start.Body)
	u, err := url.Parse(start.Header().Get("Location"))
	require.NoError(t, err)
	callback, err := url.Parse(cmp.Or(u.Query().Get("redirect_uri"), "/wecom/callback"))
	require.NoError(t, err)
	return with(request("GET", callback.Path+"?code="+code+"&state="+u.Query().Get("state")), start.Result().Cookies())
}

// comeBack is comeFrom at the middleware's own page.
func comeBack(t testing.TB, m *wecom.Middleware, code string) *http.Request {
	t.Helper()
	return comeFrom(t, m.Routes(), m.LoginURL(""), code)
}

// signInFixed signs in to a middleware of fixed's and returns the cookies.
func signInFixed(t testing.TB, m *wecom.Middleware, code string) []*http.Cookie {
	t.Helper()
	done := do(m.Routes(), comeBack(t, m, code))
	require.Equal(t, 303, done.Code, done.Body)
	return done.Result().Cookies()
}

// codeSession signs somebody in at app and returns the session's cookie.
func codeSession(t testing.TB, app http.Handler, code string) *http.Cookie {
	t.Helper()
	session := sessionOf(do(app, comeFrom(t, app, "/", code)))
	require.NotNil(t, session)
	return session
}

func isIn(app http.Handler, session *http.Cookie) bool {
	return do(app, with(request("GET", "/"), []*http.Cookie{session})).Code == http.StatusOK
}

// with adds cookies to a request.
func with(r *http.Request, cookies []*http.Cookie) *http.Request {
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return r
}

// sessionOf is the session's cookie in an answer, nil if it sets none.
func sessionOf(res *httptest.ResponseRecorder) *http.Cookie {
	for _, c := range res.Result().Cookies() {
		if len(c.Value) == 43 {
			return c
		}
	}
	return nil
}

// cookieHeader is the Cookie header that holds them.
func cookieHeader(cookies []*http.Cookie) string {
	var list []string
	for _, c := range cookies {
		list = append(list, c.Name+"="+c.Value)
	}
	return strings.Join(list, "; ")
}

// everybody is an Authorizer.
func everybody(context.Context, *wecom.Client, wecom.Identity) (bool, error) { return true, nil }

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
