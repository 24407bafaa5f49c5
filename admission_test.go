package wecom_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// Who comes in, and as whom.

const (
	outsider = "oFakeOutsider0000000000000001"
	customer = "oFakeCustomer0000000000000001"
)

func TestAuthorizeDecidesBeforeASessionExists(t *testing.T) {
	for desc, tt := range map[string]struct {
		ok     bool
		err    error
		status int
	}{
		"yes":                 {true, nil, 200},
		"no":                  {false, nil, 403},
		"could not tell":      {false, errors.New("the directory is down"), 503},
		"could not tell, yes": {true, errors.New("the directory is down"), 503},
	} {
		t.Run(desc, func(t *testing.T) {
			store := newTestStore()
			var asked []wecom.Identity
			w := newWorld(t, func(o *wecom.Options) {
				o.SessionStore = store
				o.Authorize = func(ctx context.Context, api *wecom.Client, id wecom.Identity) (bool, error) {
					assert.Empty(t, store.rows())
					_, bounded := ctx.Deadline()
					assert.True(t, bounded, "it has a deadline")
					assert.NotNil(t, api)
					asked = append(asked, id)
					return tt.ok, tt.err
				}
			})
			b := w.browser()
			res := b.Get("/reports")
			assert.Equal(t, tt.status, res.Status)
			assert.NotContains(t, res.Body, "directory")
			assert.Equal(t, tt.status == 503, res.Header.Get("Retry-After") != "")
			require.Len(t, asked, 1)
			assert.Equal(t, "zhangsan", asked[0].UserID)
			if tt.status != 200 {
				assert.Empty(t, store.rows())
				assert.Len(t, res.Hops, 3, "no loop")
				assert.Equal(t, tt.status, b.Get(res.URL).Status, "and none by the same callback")
				assert.Empty(t, store.rows())
			}
		})
	}
}

// T17 through the whole middleware: none of these bodies is somebody.
func TestT17_B4_HostileAnswers(t *testing.T) {
	store := newTestStore()
	w := newWorld(t, func(o *wecom.Options) {
		o.SessionStore, o.AllowOutsiders, o.AllowLinkedCorps = store, true, true
	})
	for _, body := range hostile {
		w.fake.Always("auth/getuserinfo", wecomtest.Fault{Body: []byte(body)})
		b := w.browser()
		res := b.Get("/reports")
		name := body[:min(len(body), 80)]
		assert.GreaterOrEqual(t, res.Status, 400, name)
		assert.Less(t, res.Status, 504, name)
		assert.NotContains(t, res.Body, "hello", name)
		assert.Empty(t, who(b), name)
		assert.Empty(t, store.rows(), name)
		assert.NotContains(t, w.logs.String(), "zhangsan", "the answer is quoted: %s", name)
	}
	for desc, fault := range map[string]wecomtest.Fault{
		"another status":   {Status: 201, Body: []byte(`{"errcode":0,"userid":"zhangsan"}`)},
		"a server's error": {Status: 500, Body: []byte(`{"errcode":0,"userid":"zhangsan"}`)},
		"too large":        {Size: 2 << 20},
		"compressed":       {Header: http.Header{"Content-Encoding": {"gzip"}}, Body: []byte("\x1f\x8b\x08\x00")},
	} {
		w.fake.Always("auth/getuserinfo", fault)
		b := w.browser()
		assert.GreaterOrEqual(t, b.Get("/reports").Status, 400, desc)
		assert.Empty(t, who(b), desc)
	}
	assert.Empty(t, store.rows())
	w.fake.ClearFaults()
	assert.Equal(t, 200, w.browser().Get("/").Status, "the bodies were at fault")

	t.Run("who is signed in stays signed in", func(t *testing.T) {
		b := w.signedIn("lisi")
		for _, body := range hostile[:40] {
			w.fake.Always("auth/getuserinfo", wecomtest.Fault{Body: []byte(body)})
			b.Get("/wecom/login")
			assert.Equal(t, "lisi", who(b), body)
		}
	})
}

// A provider's identity of another app, or of nobody, is none.
func TestT17_ForeignIdentities(t *testing.T) {
	app := fixedProvider{}.App()
	for desc, id := range map[string]wecom.Identity{
		"nobody":                  {},
		"nobody of this app":      {Provider: app.Provider, CorpID: app.CorpID, AppID: app.AppID, Name: "boss", Email: "boss@example.com", UnionID: "u"},
		"of another provider":     {Provider: "wecom", CorpID: app.CorpID, AppID: app.AppID, UserID: "boss"},
		"of another corp":         {Provider: app.Provider, CorpID: "other", AppID: app.AppID, UserID: "boss"},
		"of another app":          {Provider: app.Provider, CorpID: app.CorpID, AppID: "2", UserID: "boss"},
		"that does not say whose": {UserID: "boss"},
	} {
		t.Run(desc, func(t *testing.T) {
			m := fixed(t, func(o *wecom.Options) {
				o.Provider = fixedProvider{identify: func(context.Context, string) (wecom.Identity, error) { return id, nil }}
			})
			r := comeFrom(t, m.Routes(), "/wecom/login", "x")
			res := do(m.Routes(), r)
			assert.Equal(t, 503, res.Code)
			assert.NotContains(t, res.Body.String(), "boss")
			assert.Empty(t, res.Header()["Set-Cookie"])
		})
	}
}

// T18: two apps in one process, one store, one browser. Nothing of one opens the other.
func TestT18_TwoApps(t *testing.T) {
	fake := wecomtest.New()
	fake.AddApp(wecomtest.App{AgentID: "1000003", Secret: testSecret, Name: "another"})
	fake.AddApp(wecomtest.App{CorpID: "wwother", AgentID: fake.AgentID(), Secret: testSecret + "2", Name: "another corp's"})
	fake.AddMember(wecomtest.Member{CorpID: "wwother", UserID: "zhangsan", Name: "somebody else"})
	store := memstore.NewWithCleanupInterval(0)
	apps := map[string]*wecom.Middleware{}
	mux := http.NewServeMux()
	for name, change := range map[string]func(*wecom.Options){
		"one":   func(*wecom.Options) {},
		"two":   func(o *wecom.Options) { o.AgentID, o.Secret = "1000003", wecom.NewSecret(testSecret) },
		"three": func(o *wecom.Options) { o.CorpID, o.Secret = "wwother", wecom.NewSecret(testSecret+"2") },
	} {
		o := fake.Options(site + "/" + name + "/wecom/callback")
		o.Logger = slog.New(slog.DiscardHandler)
		o.SessionStore, o.StateKey = store, wecom.NewSecret(strings.Repeat("k", 32)) // the same key for all: the apps differ
		change(&o)
		m, err := wecom.New(o)
		require.NoError(t, err)
		apps[name] = m
		mux.Handle("/"+name+"/", m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, _ := wecom.FromContext(r.Context())
			fmt.Fprint(w, name, " ", id.Key(), " ", id.AppID)
		})))
	}
	corp := fake.CorpID()
	greets := map[string]string{
		"one":   "one wecom:" + corp + ":user:zhangsan " + fake.AgentID(),
		"two":   "two wecom:" + corp + ":user:lisi 1000003",
		"three": "three wecom:wwother:user:zhangsan " + fake.AgentID(),
	}
	b := fake.Browser(site, mux)
	for name, person := range map[string]string{"one": "zhangsan", "two": "lisi", "three": "zhangsan"} {
		assert.Equal(t, 302, b.GetNoFollow("/"+name+"/").Status, "the others' sessions do not count")
		assert.Equal(t, greets[name], b.SignInAs(person).Get("/"+name+"/").Body)
	}
	for name, want := range greets {
		assert.Equal(t, want, b.Get("/"+name+"/").Body, "all at once in one jar")
	}

	for from := range apps {
		for to, m := range apps {
			if from == to {
				continue
			}
			// Another app's session under the name of ours.
			fresh := fake.Browser(site, mux).SignInAs("zhangsan")
			if from == "two" {
				fresh.SignInAs("lisi")
			}
			require.Equal(t, 200, fresh.Get("/"+from+"/").Status)
			name := strings.SplitN(do(m.Routes(), request("GET", "/"+to+"/wecom/login")).Result().Cookies()[0].Name, "-wecom-", 2)
			session := name[0] + "-wecom-" + name[1][:8]
			for _, c := range fresh.Cookies("/") {
				r := request("GET", "/"+to+"/")
				r.AddCookie(&http.Cookie{Name: session, Value: c.Value})
				assert.Equal(t, 302, do(mux, r).Code, "%s at %s", from, to)
			}

			// Another app's callback: state, code and cookie.
			fresh.DropCookies()
			fresh.StopAt(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/callback") })
			held := fresh.Get("/" + from + "/")
			fresh.StopAt(nil)
			fake.ResetCalls()
			res := fresh.GetNoFollow(strings.Replace(held.URL, "/"+from+"/", "/"+to+"/", 1))
			assert.Equal(t, 400, res.Status)
			assert.Zero(t, fake.TotalCalls())
			assert.Empty(t, res.Header["Set-Cookie"])
		}
	}

	b.Post("/two/wecom/logout")
	assert.Equal(t, 302, b.GetNoFollow("/two/").Status)
	assert.Equal(t, greets["one"], b.Get("/one/").Body, "a logout is one app's")
	require.NoError(t, apps["one"].RevokeAll(t.Context()))
	assert.NotEqual(t, 200, b.GetNoFollow("/one/").Status)
	assert.Equal(t, greets["three"], b.Get("/three/").Body, "and so is a revocation")
}

// Two apps whose names are the same text when written one after the other share nothing.
func TestT18_AppsWhoseNamesRunTogether(t *testing.T) {
	store := newTestStore()
	made := func(app wecom.App) *wecom.Middleware {
		return fixed(t, func(o *wecom.Options) { o.Provider, o.SessionStore = fixedProvider{app: app}, store })
	}
	one, two := made(wecom.App{Provider: "fixed", CorpID: "a,b", AppID: "c"}), made(wecom.App{Provider: "fixed", CorpID: "a", AppID: "b,c"})
	callback := comeBack(t, one, "zhangsan")
	assert.Equal(t, 400, do(two.Routes(), callback).Code, "no state of its own")
	session := sessionOf(do(one.Routes(), callback))
	assert.True(t, isIn(one.Handler(hello()), session))
	assert.False(t, two.OwnsCookie(session.Name))
}

// A row of another app is no session, even under the name of one of ours.
func TestT18_ARowOfAnotherApp(t *testing.T) {
	store := newTestStore()
	one := newWorld(t, func(o *wecom.Options) { o.SessionStore = store })
	one.signedIn("lisi")
	theirs := store.rows()
	require.Len(t, theirs, 1)
	two := newWorld(t, func(o *wecom.Options) {
		o.SessionStore, o.AgentID, o.Secret = store, "1000003", wecom.NewSecret(testSecret)
	})
	two.fake.AddApp(wecomtest.App{AgentID: "1000003", Secret: testSecret})
	b := two.signedIn("zhangsan")
	for ours := range store.rows() {
		for key, row := range theirs {
			if ours != key {
				require.NoError(t, store.MemStore.Commit(ours, row, time.Now().Add(time.Hour)))
			}
		}
	}
	assert.Empty(t, who(b))
	assert.NotContains(t, b.Get("/").Body, "hello")
}

// A code of one app is worth nothing at another, WeCom or not.
func TestT18_ACodeOfAnotherApp(t *testing.T) {
	w := newWorld(t)
	w.fake.AddApp(wecomtest.App{AgentID: "1000003", Secret: testSecret})
	b := w.browser()
	callback := w.held(b, "/")
	u := mustParse(t, callback.URL)
	q := u.Query()
	q.Set("code", w.fake.IssueCode(wecomtest.Grant{Who: "lisi", AgentID: "1000003"}))
	u.RawQuery = q.Encode()
	res := b.GetNoFollow(u.String())
	assert.Equal(t, 302, res.Status, "it starts over")
	assert.Empty(t, who(b))
}

// T19: what a callback may hold and must not.
func TestT19_AbusiveCallbacks(t *testing.T) {
	w := newWorld(t)
	type query struct {
		desc, query string // STATE and CODE are those of a sign-in that waits
		status      int
	}
	tests := []query{
		{"nothing", "", 400},
		{"code alone", "code=CODE", 400},
		{"code in an array", "code[]=CODE&state=STATE", 403},
		{"code by another name", "Code=CODE&state=STATE", 403},
		{"code empty", "code=&state=STATE", 403},
		{"code twice, equal", "code=CODE&code=CODE&state=STATE", 400},
		{"code twice, one empty", "code=CODE&code=&state=STATE", 400},
		{"code twice, one encoded", "code=CODE&%63ode=x&state=STATE", 400},
		{"state twice, equal", "code=CODE&state=STATE&state=STATE", 400},
		{"state twice, first empty", "code=CODE&state=&state=STATE", 400},
		{"semicolons", "code=CODE;state=STATE", 400},
		{"semicolons behind", "code=CODE&state=STATE;x=y", 400},
		{"a null byte in the state", "code=CODE&state=STATE%00", 400},
		{"a blank behind the state", "code=CODE&state=STATE%20", 400},
		{"a plus behind the state", "code=CODE&state=STATE+", 400},
		{"a line break behind the state", "code=CODE&state=STATE%0a", 400},
		{"the fragment in the state", "code=CODE&state=STATE%23wechat_redirect", 400},
		{"state not UTF-8", "code=CODE&state=%ff%fe", 400},
		{"state in another alphabet", "code=CODE&state=ＳＴＡＴＥ", 400},
		{"state longer than WeCom allows", "code=CODE&state=STATE" + strings.Repeat("0", 60), 400},
		{"code longer than WeCom allows", "code=" + strings.Repeat("c", 513) + "&state=STATE", 400},
		{"a broken escape", "code=CODE&state=STATE&%=1", 400},
		{"a broken escape in the code", "code=%c&state=STATE", 400},
		{"4 KiB and more", "code=CODE&state=STATE&x=" + strings.Repeat("x", 4096), 400},
		{"a thousand parameters", "code=CODE&state=STATE" + strings.Repeat("&a", 2100), 400},
		{"an error of OAuth's", "error=access_denied&state=STATE", 403},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			b := w.browser()
			callback := w.held(b, "/reports")
			u := mustParse(t, callback.URL)
			raw := strings.NewReplacer("STATE", u.Query().Get("state"), "CODE", u.Query().Get("code")).Replace(tt.query)
			before := b.Cookies("/")
			w.fake.ResetCalls()
			res := b.GetNoFollow("/wecom/callback?" + raw)
			assert.Equal(t, tt.status, res.Status, res.Body)
			assert.Zero(t, w.fake.TotalCalls(), "calls to WeCom")
			assert.Empty(t, who(b))
			if tt.status == 400 {
				assert.Equal(t, before, b.Cookies("/"), "nothing changed")
				assert.Equal(t, 200, b.Follow(callback).Status, "the sign-in that waits goes on")
			}
		})
	}
	t.Run("the code reaches WeCom as it came, and nothing beside it", func(t *testing.T) {
		for _, code := range []string{"a&access_token=x&userid=boss", "a#b", "a?b=c", "a+b%20c", "../../x", strings.Repeat("%", 512), "a;b"} {
			w := newWorld(t)
			b := w.browser()
			u := mustParse(t, w.held(b, "/").URL)
			b.GetNoFollow("/wecom/callback?state=" + u.Query().Get("state") + "&code=" + url.QueryEscape(code))
			assert.Equal(t, 1, w.fake.Sent(code), "%q", code)
			assert.Empty(t, who(b))
		}
	})
}
