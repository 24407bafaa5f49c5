package miniprogram_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2/memstore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/miniprogram"
	"github.com/wecomauth/wecom/wecomtest"
)

const route = "/wecom/miniprogram/session"

type world struct {
	t       *testing.T
	fake    *wecomtest.Fake
	program *miniprogram.Program
	app     http.Handler
	log     *bytes.Buffer
}

func newWorld(t *testing.T, change ...func(*wecom.Options)) *world {
	t.Helper()
	w := &world{t: t, fake: wecomtest.New(), log: new(bytes.Buffer)}
	o := w.fake.Options("https://app.example.com/wecom/callback")
	o.Logger = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, c := range change {
		c(&o)
	}
	var err error
	w.program, err = miniprogram.New(o)
	require.NoError(t, err)
	w.app = w.program.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		fmt.Fprint(rw, id.UserID, " ", r.Header.Get("X-Own"), " ", r.Header.Get("Cookie"))
	}))
	return w
}

// request is what wx.request sends.
func request(method, path, token, body string) *http.Request {
	r := httptest.NewRequest(method, "https://app.example.com"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Referer", "https://servicewechat.com/wx0123456789abcdef/1/page-frame.html")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.app.ServeHTTP(rec, r)
	assert.Empty(w.t, rec.Header()["Set-Cookie"])
	assert.Empty(w.t, rec.Header()["Location"])
	assert.Empty(w.t, rec.Header()["Refresh"])
	assert.Empty(w.t, rec.Header()["Access-Control-Allow-Origin"])
	return rec
}

func (w *world) code(who string) string {
	return w.fake.IssueCode(wecomtest.Grant{Who: who, MiniProgram: true})
}

func (w *world) send(code, token string) *httptest.ResponseRecorder {
	w.t.Helper()
	return w.do(request("POST", route, token, `{"code":"`+code+`"}`))
}

type signedIn struct {
	Token    string         `json:"token"`
	Expires  int            `json:"expires_in"`
	Identity wecom.Identity `json:"identity"`
}

func (w *world) signIn(who, token string) signedIn {
	w.t.Helper()
	res := w.send(w.code(who), token)
	require.Equal(w.t, 200, res.Code, "%s", res.Body)
	var s signedIn
	require.NoError(w.t, json.Unmarshal(res.Body.Bytes(), &s))
	return s
}

func (w *world) status(token string) int {
	w.t.Helper()
	return w.do(request("GET", "/api", token, "")).Code
}

func TestSignIn(t *testing.T) {
	w := newWorld(t)
	s := w.signIn("zhangsan", "")
	assert.Len(t, s.Token, 43)
	assert.InDelta(t, 12*60*60, s.Expires, 5)
	assert.Equal(t, "zhangsan", s.Identity.UserID)
	assert.Equal(t, wecom.Identity{Provider: "wecom", CorpID: w.fake.CorpID(), UserID: "zhangsan"}.Key(), s.Identity.Key(), "the person of the website")

	r := request("GET", "/api", s.Token, "")
	r.Header.Set("X-Own", "kept")
	r.Header.Set("Cookie", "theme=dark")
	res := w.do(r)
	assert.Equal(t, "zhangsan kept theme=dark", res.Body.String(), "the handler sees the request as it came")
	me := w.do(request("GET", route, s.Token, ""))
	assert.Equal(t, 200, me.Code)
	assert.Contains(t, me.Body.String(), `"user_id":"zhangsan"`)
	assert.Equal(t, "no-store", me.Header().Get("Cache-Control"))

	assert.Equal(t, 204, w.do(request("DELETE", route, s.Token, "")).Code)
	assert.Equal(t, 401, w.status(s.Token))
	assert.Equal(t, 401, w.do(request("GET", route, s.Token, "")).Code)
}

func TestAnonymous(t *testing.T) {
	w := newWorld(t)
	r := request("GET", "/page", "", "")
	r.Header.Set("Accept", "text/html") // even a browser's navigation is not redirected
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	res := w.do(r)
	assert.Equal(t, 401, res.Code)
	assert.Contains(t, res.Body.String(), `"error":"login_required"`)
	assert.NotContains(t, res.Body.String(), "login_url")
	for _, path := range []string{"attempt", "login", "callback", "logout", "signed-out", "wecom.js", "x"} {
		for _, method := range []string{"GET", "POST"} {
			res := w.do(request(method, "/wecom/miniprogram/"+path, "", "{}"))
			assert.Equal(t, 404, res.Code, path)
		}
	}
	assert.Equal(t, 405, w.do(request("PUT", route, "", "")).Code)
	assert.Equal(t, 404, w.do(request("GET", "/wecom/miniprogram/%73ession", "", "")).Code, "another spelling")
	assert.Zero(t, w.fake.TotalCalls())
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{"", "{}", "[]", `{"code":1}`, `{"code":""}`, `{"code":"a","code":"b"}`, `{"code":"` + strings.Repeat("x", 5000) + `"}`, `{"code":"a b"}`, `{"code":"` + strings.Repeat("x", 513) + `"}`, `{"code":"` + w.code("zhangsan") + `"}` + strings.Repeat(" ", 4096)} {
		assert.Equal(t, 400, w.do(request("POST", route, "", body)).Code, body)
	}
	r := request("POST", route, "", `{"code":"`+w.code("zhangsan")+`"}`)
	r.Header.Set("Content-Type", "text/plain") // what another site's form can send
	assert.Equal(t, 400, w.do(r).Code)
	assert.Zero(t, w.fake.Calls("miniprogram/jscode2session"))
}

// A code works once, for a mini-program of this app alone.
func TestT43_Codes(t *testing.T) {
	w := newWorld(t)
	code := w.code("zhangsan")
	require.Equal(t, 200, w.send(code, "").Code)
	again := w.send(code, "")
	assert.Equal(t, 409, again.Code)
	assert.Contains(t, again.Body.String(), `"error":"code_rejected"`)
	assert.Equal(t, 1, w.fake.Calls("miniprogram/jscode2session"), "the second one is not sent")

	w.fake.AddApp(wecomtest.App{AgentID: "1000009", Secret: "another"})
	for name, grant := range map[string]wecomtest.Grant{
		"of a page":      {Who: "zhangsan"},
		"of another app": {Who: "zhangsan", AgentID: "1000009", MiniProgram: true},
	} {
		assert.Equal(t, 409, w.send(w.fake.IssueCode(grant), "").Code, name)
	}
	assert.Equal(t, 409, w.send("made-up", "").Code)

	web, err := wecom.New(w.fake.Options("https://app.example.com/wecom/callback"))
	require.NoError(t, err)
	_, err = web.Client().Token(t.Context())
	require.NoError(t, err)
	var out struct{ UserID string }
	assert.Error(t, web.Client().Call(t.Context(), "GET", "auth/getuserinfo", map[string][]string{"code": {w.code("zhangsan")}}, nil, &out), "a js_code is no code of a page")
}

func TestSameCodeAtOnce(t *testing.T) {
	w := newWorld(t)
	code := w.code("zhangsan")
	var all sync.WaitGroup
	var mu sync.Mutex
	count := map[int]int{}
	for range 10 {
		all.Go(func() {
			rec := httptest.NewRecorder()
			w.app.ServeHTTP(rec, request("POST", route, "", `{"code":"`+code+`"}`))
			mu.Lock()
			defer mu.Unlock()
			count[rec.Code]++
		})
	}
	all.Wait()
	assert.Equal(t, map[int]int{200: 1, 409: 9}, count)
	assert.Equal(t, 1, w.fake.Calls("miniprogram/jscode2session"))
}

// Cookies and tokens do not mix: neither works in the other's place, also with one store for both.
func TestT43_CookiesAndTokensDoNotMix(t *testing.T) {
	store := memstore.New()
	w := newWorld(t, func(o *wecom.Options) { o.SessionStore = store })
	s := w.signIn("zhangsan", "")

	o := w.fake.Options("https://app.example.com/wecom/callback")
	o.SessionStore = store
	web, err := wecom.New(o)
	require.NoError(t, err)
	browser := w.fake.Browser("https://app.example.com", web.Handler(http.NotFoundHandler())).SignInAs("lisi")
	browser.Get("/")
	cookies := browser.Cookies("/")
	require.NotEmpty(t, cookies)
	for _, c := range cookies {
		assert.Equal(t, 401, w.status(c.Value), "a browser's cookie is no token")
		r := request("GET", "/api", "", "")
		r.AddCookie(c)
		assert.Equal(t, 401, w.do(r).Code)
		r = httptest.NewRequest("GET", "https://app.example.com/", nil)
		r.AddCookie(&http.Cookie{Name: c.Name, Value: s.Token})
		rec := httptest.NewRecorder()
		web.Handler(http.NotFoundHandler()).ServeHTTP(rec, r)
		assert.NotEqual(t, 404, rec.Code, "a token is no cookie")
	}
	// Not even under the name that the middleware inside gives its cookie.
	var own string
	rec := httptest.NewRecorder()
	attempt := httptest.NewRequest("POST", "https://app.example.com/wecom/miniprogram/attempt", strings.NewReader("{}"))
	attempt.Header.Set("Content-Type", "application/json")
	w.program.Middleware().Routes().ServeHTTP(rec, attempt)
	for _, c := range rec.Result().Cookies() {
		own = c.Name[:strings.LastIndexByte(c.Name, '-')]
	}
	require.NotEmpty(t, own)
	r := request("GET", "/api", "", "")
	r.AddCookie(&http.Cookie{Name: own, Value: s.Token})
	assert.Equal(t, 401, w.do(r).Code)

	for _, header := range [][]string{
		{"Bearer " + s.Token, "Bearer " + s.Token}, {s.Token}, {"Basic " + s.Token}, {"Bearer  " + s.Token}, {"Bearer " + s.Token + " "},
		{"Bearer " + s.Token + "; a=b"}, {"Bearer " + s.Token[:42]}, {"Bearer " + strings.Repeat("a", 43)}, {"Bearer"}, {""},
	} {
		r := request("GET", "/api", "", "")
		r.Header["Authorization"] = header
		assert.Equal(t, 401, w.do(r).Code, "%q", header)
	}
	assert.Equal(t, 200, w.status(s.Token))
}

// A sign-in always makes a new token and ends the session that the request came with.
func TestT43_NewTokenEachTime(t *testing.T) {
	w := newWorld(t)
	first := w.signIn("zhangsan", "")
	second := w.signIn("lisi", first.Token)
	assert.NotEqual(t, first.Token, second.Token)
	assert.Equal(t, 401, w.status(first.Token))
	planted := strings.Repeat("A", 43)
	third := w.signIn("zhangsan", planted)
	assert.NotEqual(t, planted, third.Token)
	assert.Equal(t, 401, w.status(planted))
	assert.Equal(t, 200, w.status(second.Token))
}

func TestWhoMayComeIn(t *testing.T) {
	w := newWorld(t, func(o *wecom.Options) { o.Authorize = allow.Users("lisi") })
	res := w.send(w.code("zhangsan"), "")
	assert.Equal(t, 403, res.Code)
	assert.Contains(t, res.Body.String(), `"error":"not_allowed"`)
	s := w.signIn("lisi", "")
	require.NoError(t, w.program.Middleware().Revoke(t.Context(), wecom.Identity{UserID: "lisi"}))
	assert.Equal(t, 401, w.status(s.Token))

	guarded := w.program.Handler(w.program.Middleware().Require(allow.Users("zhangsan"))(http.NotFoundHandler()))
	s = w.signIn("lisi", "")
	rec := httptest.NewRecorder()
	guarded.ServeHTTP(rec, request("GET", "/admin", s.Token, ""))
	assert.Equal(t, 403, rec.Code)
}

func TestFaults(t *testing.T) {
	answer := func(body string) wecomtest.Fault { return wecomtest.Fault{Body: []byte(body)} }
	for name, tt := range map[string]struct {
		path   string
		fault  wecomtest.Fault
		status int
	}{
		"another corp":  {"miniprogram/jscode2session", answer(`{"errcode":0,"corpid":"ww9","userid":"u"}`), 403},
		"nobody":        {"miniprogram/jscode2session", answer(`{"errcode":0,"corpid":"ww0123456789abcdef"}`), 503},
		"a slash":       {"miniprogram/jscode2session", answer(`{"errcode":0,"corpid":"ww0123456789abcdef","userid":"ww1/u"}`), 503},
		"a space":       {"miniprogram/jscode2session", answer(`{"errcode":0,"corpid":"ww0123456789abcdef","userid":"u u"}`), 503},
		"a line break":  {"miniprogram/jscode2session", answer(`{"errcode":0,"corpid":"ww0123456789abcdef","userid":"u\n"}`), 503},
		"broken text":   {"miniprogram/jscode2session", answer("{\"errcode\":0,\"corpid\":\"ww0123456789abcdef\",\"userid\":\"u\xff\"}"), 503},
		"a number":      {"miniprogram/jscode2session", answer(`{"errcode":0,"corpid":"ww0123456789abcdef","userid":1}`), 503},
		"too long":      {"miniprogram/jscode2session", answer(`{"errcode":0,"corpid":"ww0123456789abcdef","userid":"` + strings.Repeat("u", 65) + `"}`), 503},
		"not trusted":   {"miniprogram/jscode2session", wecomtest.Fault{ErrCode: 60020}, 500},
		"lost":          {"miniprogram/jscode2session", wecomtest.Fault{Drop: wecomtest.DropAfter}, 409},
		"a wrong token": {"gettoken", wecomtest.Fault{ErrCode: 40001}, 500},
		"no token":      {"gettoken", wecomtest.Fault{Status: 502}, 503},
		"a lost token":  {"gettoken", wecomtest.Fault{Drop: wecomtest.DropAfter}, 503},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.fake.Always(tt.path, tt.fault)
			code := w.code("zhangsan")
			res := w.send(code, "")
			assert.Equal(t, tt.status, res.Code, "%s", res.Body)
			assert.NotContains(t, res.Body.String()+w.log.String(), code)
			assert.NotContains(t, res.Body.String()+w.log.String(), "session_key")
		})
	}
}

// Made-up codes are limited per client, as on the website.
func TestFailedCodesAreLimited(t *testing.T) {
	synctest.Test(t, failedCodesAreLimited) // a failure is forgiven every 12 seconds
}

func failedCodesAreLimited(t *testing.T) {
	w := newWorld(t)
	for i := range 130 {
		w.send(fmt.Sprint("made-up-", i), "")
	}
	assert.Equal(t, 120, w.fake.Calls("miniprogram/jscode2session"))
	res := w.send("made-up", "")
	assert.Equal(t, 429, res.Code)
	assert.NotEmpty(t, res.Header().Get("Retry-After"))
}

// Somebody of another corp has a good code, and so is no guesser.
func TestStrangersAreNotCounted(t *testing.T) {
	w := newWorld(t)
	w.fake.Always("miniprogram/jscode2session", wecomtest.Fault{Body: []byte(`{"errcode":0,"corpid":"ww9","userid":"u"}`)})
	for i := range 130 {
		assert.Equal(t, 403, w.send(fmt.Sprint("good-", i), "").Code)
	}
}

// Behind a proxy each client has failures of its own.
func TestFailedCodesBehindAProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *wecom.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")} })
		from := func(i int, client string) int {
			r := request("POST", route, "", fmt.Sprintf(`{"code":"made-up-%d"}`, i))
			r.RemoteAddr = "10.0.0.1:1"
			r.Header.Set("X-Forwarded-For", client)
			return w.do(r).Code
		}
		for i := range 130 {
			from(i, "192.0.2.1")
		}
		assert.Equal(t, 429, from(130, "192.0.2.1"))
		assert.Equal(t, 409, from(131, "192.0.2.2"))
	})
}

// A member who may not stay loses the token at the next look-up.
func TestT26_RecheckOfAMiniProgram(t *testing.T) {
	for name, leave := range map[string]func(*wecomtest.Fake){
		"removed":  func(f *wecomtest.Fake) { f.RemoveMember("zhangsan") },
		"disabled": func(f *wecomtest.Fake) { f.DisableMember("zhangsan") },
		"left": func(f *wecomtest.Fake) {
			m, _ := f.Member("zhangsan")
			m.Status = wecomtest.Resigned
			f.AddMember(m)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(o *wecom.Options) { o.Recheck = 10 * time.Minute })
				theirs, other := w.signIn("zhangsan", ""), w.signIn("lisi", "")
				look := func() {
					time.Sleep(11 * time.Minute)
					w.status(theirs.Token) // it looks in the background
					w.status(other.Token)
					synctest.Wait()
				}
				look()
				assert.Equal(t, 200, w.status(theirs.Token))
				leave(w.fake)
				look()
				assert.Equal(t, 401, w.status(theirs.Token))
				assert.Equal(t, 200, w.status(other.Token))
			})
		})
	}
}

// With Profile the identity holds what one look-up tells. A failing one does not stop the sign-in
// unless ProfileRequired is set, and a slow one leaves time for the rest.
func TestProfile(t *testing.T) {
	profile := func(o *wecom.Options) {
		o.Profile, o.Limits.Call = true, time.Minute
		o.Authorize = func(ctx context.Context, _ *wecom.Client, _ wecom.Identity) (bool, error) { return true, ctx.Err() }
	}
	w := newWorld(t, profile)
	s := w.signIn("zhangsan", "")
	assert.Equal(t, "张三", s.Identity.Name)
	assert.NotEmpty(t, s.Identity.Departments)
	assert.Equal(t, 1, w.fake.Calls("user/get"))
	assert.Contains(t, w.do(request("GET", route, s.Token, "")).Body.String(), `"name":"张三"`)

	for name, fault := range map[string]wecomtest.Fault{
		"out of the visible range": {ErrCode: 60011},
		"busy":                     {ErrCode: -1},
		"no answer":                {Delay: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, profile)
				w.fake.Always("user/get", fault)
				s := w.signIn("zhangsan", "")
				assert.Equal(t, "zhangsan", s.Identity.UserID)
				assert.Empty(t, s.Identity.Name)
				assert.Contains(t, w.log.String(), "without their profile")
				assert.NotContains(t, w.log.String(), "zhangsan")

				w = newWorld(t, profile, func(o *wecom.Options) { o.ProfileRequired = true })
				w.fake.Always("user/get", fault)
				assert.GreaterOrEqual(t, w.send(w.code("zhangsan"), "").Code, 400)
			})
		})
	}
}

// A client that announces a body and does not send it does not hold its connection for ever.
func TestBodyThatNeverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, method := range []string{"POST", "GET", "DELETE", "PUT"} {
			r := request(method, route, "", "")
			r.ContentLength = 1000
			rec := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			w.app.ServeHTTP(rec, r)
			assert.Equal(t, time.Now().Add(15*time.Second), rec.read, method)
		}
	})
}

// deadlines notes the last deadline for reading the request.
type deadlines struct {
	*httptest.ResponseRecorder
	read time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error { d.read = t; return nil }

func TestNew(t *testing.T) {
	for want, change := range map[string]func(*wecom.Options){
		"CorpID is missing":      func(o *wecom.Options) { o.CorpID = "" },
		"Secret is missing":      func(o *wecom.Options) { o.Secret = wecom.Secret{} },
		"CallbackURL is missing": func(o *wecom.Options) { o.CallbackURL = "" },
		"Scope, Page":            func(o *wecom.Options) { o.Scope = "snsapi_base" },
		"ProfileRequired":        func(o *wecom.Options) { o.ProfileRequired = true },
		"LoginPanel":             func(o *wecom.Options) { o.LoginPanel = true },
		"Provider and Sessions":  func(o *wecom.Options) { o.Provider = anyProvider{} },
	} {
		o := wecomtest.New().Options("https://app.example.com/wecom/callback")
		change(&o)
		_, err := miniprogram.New(o)
		assert.ErrorContains(t, err, want)
	}
}

type anyProvider struct{}

func (anyProvider) App() wecom.App                             { return wecom.App{} }
func (anyProvider) AuthorizeURL(wecom.AuthorizeRequest) string { return "" }
func (anyProvider) Identify(context.Context, string) (wecom.Identity, error) {
	return wecom.Identity{}, nil
}
