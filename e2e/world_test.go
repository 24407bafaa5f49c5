package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

const site = "https://app.example.com"

// A setup is a way to keep sessions.
type setup struct {
	carried bool // inside the application's own scs session, by Options.Sessions
	idle    time.Duration
}

func (s setup) String() string {
	carrier := "own cookie"
	if s.carried {
		carrier = "scs session"
	}
	if s.idle > 0 {
		return carrier + ", idle time-out"
	}
	return carrier
}

var setups = []setup{{false, 0}, {false, time.Hour}, {true, 0}, {true, time.Hour}}

// A world is an application behind the middleware, with its sessions in one store.
// The application has an scs session of its own, in the same store.
type world struct {
	*testing.T
	fake    *wecomtest.Fake
	auth    *wecom.Middleware
	manager *scs.SessionManager
	app     http.Handler

	entered chan struct{} // one for each request that the handler holds
	release chan struct{} // closed to let them go on
}

func newWorld(t *testing.T, store scs.Store, s setup, change ...func(*wecom.Options)) *world {
	t.Helper()
	w := &world{T: t, fake: wecomtest.New(), entered: make(chan struct{}, 1024), release: make(chan struct{})}
	w.manager = scs.New()
	w.manager.Store = store
	w.manager.HashTokenInStore = true
	w.manager.Cookie.Name, w.manager.Cookie.Secure = "__Host-session", true
	w.manager.IdleTimeout = s.idle
	w.manager.ErrorFunc = func(w http.ResponseWriter, _ *http.Request, _ error) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	o := w.fake.Options(site + "/wecom/callback")
	o.Logger = slog.New(slog.DiscardHandler)
	o.IdleTimeout = s.idle
	if s.carried {
		o.Sessions = w.manager
	} else {
		o.SessionStore = store
	}
	for _, c := range change {
		c(&o)
	}
	auth, err := wecom.New(o)
	require.NoError(t, err)
	w.auth = auth
	w.app = auth.Handler(http.HandlerFunc(w.handle))
	if !s.carried {
		// Inside the middleware, so that what fails is not scs's own loading.
		w.app = auth.Handler(w.manager.LoadAndSave(http.HandlerFunc(w.handle)))
	}
	return w
}

// handle says who is signed in; /hold and /hold/put wait, and the latter writes
// into the application's session before and after that.
func (w *world) handle(out http.ResponseWriter, r *http.Request) {
	id, _ := wecom.FromContext(r.Context())
	switch r.URL.Path {
	case "/hold":
		w.hold(r.Context())
	case "/hold/put":
		w.manager.Put(r.Context(), "before", time.Now().UnixNano())
		w.hold(r.Context())
		w.manager.Put(r.Context(), "after", time.Now().UnixNano())
	case "/put":
		w.manager.Put(r.Context(), "now", time.Now().UnixNano())
	}
	fmt.Fprintf(out, "hello %s %s", id.UserID, r.RequestURI)
}

func (w *world) hold(ctx context.Context) {
	release := w.release
	w.entered <- struct{}{}
	select {
	case <-release:
	case <-ctx.Done():
	}
}

func (w *world) browser(who string) *wecomtest.Browser {
	return w.fake.Browser(site, w.app).SignInAs(who)
}

// signedIn returns a browser with a session.
func (w *world) signedIn(who string) *wecomtest.Browser {
	w.Helper()
	b := w.browser(who)
	res := b.Get("/")
	require.Equal(w, 200, res.Status, res.Body)
	require.Equal(w, "hello "+who+" /", res.Body)
	return b
}

// pages counts the visits to WeCom's sign-in pages.
func (w *world) pages() int {
	return w.fake.Calls("/connect/oauth2/authorize") + w.fake.Calls("/wwlogin/sso/login")
}

// do sends a request as a program does, with these cookies.
func do(app http.Handler, method, target string, cookies []*http.Cookie) *http.Response {
	path, query, _ := strings.Cut(target, "?")
	r := httptest.NewRequest(method, site+path, nil)
	r.URL.RawQuery, r.RequestURI = query, target
	for _, c := range cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	rec := httptest.NewRecorder()
	app.ServeHTTP(rec, r)
	return rec.Result()
}

// navigate does what do does, for a browser that opens a page.
func navigate(app http.Handler, target string, cookies []*http.Cookie) *http.Response {
	path, query, _ := strings.Cut(target, "?")
	r := httptest.NewRequest(http.MethodGet, site+path, nil)
	r.URL.RawQuery, r.RequestURI = query, target
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	for _, c := range cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	rec := httptest.NewRecorder()
	app.ServeHTTP(rec, r)
	return rec.Result()
}

// whoIs asks who is signed in with these cookies: the user id, or "" and the status.
func whoIs(t *testing.T, app http.Handler, cookies []*http.Cookie) (string, int) {
	t.Helper()
	res := do(app, http.MethodGet, "/wecom/session", cookies)
	if res.StatusCode != http.StatusOK {
		return "", res.StatusCode
	}
	var id wecom.Identity
	require.NoError(t, json.NewDecoder(res.Body).Decode(&id))
	return id.UserID, res.StatusCode
}

func bodyOf(res *http.Response) string {
	b, _ := io.ReadAll(res.Body)
	return string(b)
}

// desk is a provider that takes the code for the user id and what follows a dot
// in it for nothing: sign-ins by the thousand.
type desk struct{}

func (desk) App() wecom.App { return wecom.App{Provider: "desk", AppID: "1"} }

func (desk) AuthorizeURL(a wecom.AuthorizeRequest) string {
	return "https://desk.example.com/?" + url.Values{"state": {a.State}, "redirect_uri": {a.RedirectURI}}.Encode()
}

func (desk) Identify(_ context.Context, code string) (wecom.Identity, error) {
	who, _, _ := strings.Cut(code, ".")
	return wecom.Identity{Provider: "desk", AppID: "1", UserID: who}, nil
}

func withDesk(o *wecom.Options) {
	*o = wecom.Options{
		Provider: desk{}, StateKey: wecom.NewSecret(strings.Repeat("k", 32)), CallbackURL: o.CallbackURL, Logger: o.Logger,
		SessionStore: o.SessionStore, Sessions: o.Sessions, IdleTimeout: o.IdleTimeout,
	}
}

var codes atomic.Int64

// enter signs who in at a desk and returns the cookies that this gave.
func enter(t *testing.T, app http.Handler, who string) []*http.Cookie {
	t.Helper()
	start := navigate(app, "/wecom/login", nil)
	require.Equal(t, http.StatusFound, start.StatusCode, bodyOf(start))
	at, err := url.Parse(start.Header.Get("Location"))
	require.NoError(t, err)
	end := navigate(app, fmt.Sprintf("/wecom/callback?code=%s.%d&state=%s", who, codes.Add(1), at.Query().Get("state")), start.Cookies())
	require.Equal(t, http.StatusSeeOther, end.StatusCode, bodyOf(end))
	var kept []*http.Cookie
	for _, c := range end.Cookies() {
		if isSessionCookie(c.Name) || !strings.Contains(c.Name, "wecom") {
			kept = append(kept, c)
		}
	}
	require.Len(t, kept, 1)
	return kept
}
