package issuer_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

const (
	wiki = "https://wiki.example.com"
	logs = "https://logs.example.com"
)

// A company has the issuer's host and two more, all of which answer what was asked for.
type company struct {
	*world
	sites   map[string]http.Handler // by origin
	cookies []string                // the Set-Cookie lines of all of them
}

func newCompany(t *testing.T, change ...func(*options)) *company {
	t.Helper()
	return newBranch(t, wecomtest.New(), memstore.NewWithCleanupInterval(0), change...)
}

// newBranch is a replica.
func newBranch(t *testing.T, fake *wecomtest.Fake, store scs.Store, change ...func(*options)) *company {
	t.Helper()
	c := &company{sites: map[string]http.Handler{}}
	var o wecom.Options
	c.world = newReplica(t, fake, append(change, func(all *options) {
		all.wecom.SessionStore, all.issuer.Store = store, store
		o = all.wecom
	})...)
	c.serve(origin, c.site)
	for _, at := range []string{wiki, logs} {
		o.CallbackURL = at + "/wecom/callback"
		h, err := c.iss.Host(o)
		require.NoError(t, err)
		c.serve(at, h.Handler(h.Middleware.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, _ := wecom.FromContext(r.Context())
			_, _ = io.WriteString(w, id.UserID+" at "+r.RequestURI)
		}))))
	}
	return c
}

func (c *company) serve(at string, h http.Handler) {
	c.sites[at] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { c.cookies = append(c.cookies, w.Header()["Set-Cookie"]...) }()
		h.ServeHTTP(w, r)
	})
}

// browser is one that knows all hosts, and asks at for paths.
func (c *company) browser(who, at string) *wecomtest.Browser {
	b := c.fake.Browser(at, c.sites[at]).SignInAs(who)
	for at, h := range c.sites {
		b.Serve(at, h)
	}
	return b
}

// who is signed in at a host, "" for nobody.
func (c *company) who(b *wecomtest.Browser, at string) string {
	var id wecom.Identity
	if res := b.From(at).Fetch("GET", "/wecom/session", ""); res.Status != 200 || res.JSON(&id) != nil {
		return ""
	}
	return id.UserID
}

func (c *company) everywhere(b *wecomtest.Browser) []string {
	return []string{c.who(b, origin), c.who(b, wiki), c.who(b, logs)}
}

// held begins a sign-in at a host and returns the callback there that would end it.
func (c *company) held(b *wecomtest.Browser, target string) *wecomtest.Response {
	c.Helper()
	u, _ := url.Parse(target)
	res := b.StopAt(func(r *http.Request) bool { return r.Host == u.Host && r.URL.Path == "/wecom/callback" }).Get(target)
	b.StopAt(nil)
	require.True(c, res.Held, "%d %s %s", res.Status, res.URL, res.Body)
	return res
}

func parameter(t *testing.T, at, name string) string {
	t.Helper()
	u, err := url.Parse(at)
	require.NoError(t, err)
	return u.Query().Get(name)
}

// with is a URL with other parameters.
func withParameters(t *testing.T, at string, change ...string) string {
	t.Helper()
	u, err := url.Parse(at)
	require.NoError(t, err)
	q := u.Query()
	for i := 0; i < len(change); i += 2 {
		if q.Set(change[i], change[i+1]); change[i+1] == "" {
			q.Del(change[i])
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func TestOneSignInForAllHosts(t *testing.T) {
	for name, change := range map[string]func(*wecomtest.Browser){
		"a browser": func(b *wecomtest.Browser) {},
		"in WeCom":  func(b *wecomtest.Browser) { b.InApp() },
		"an old browser": func(b *wecomtest.Browser) {
			b.FetchMetadata(false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCompany(t)
			b := c.browser("zhangsan", wiki)
			change(b)
			for _, page := range []string{
				wiki + "/d/a%2Fb?q=1|2&x=%7C%e6%8a%a5&&y=/../z;a=b", wiki + "//a//b?", wiki + "/报表?%zz",
				logs + "/?return_to=https://evil.example/&state=1&code=2", origin + "/", logs + "/%2e%2e/x",
			} {
				res := b.Get(page)
				require.Equal(t, 200, res.Status, "%s: %s", page, res.Body)
				want := res.Hops[0].URL // as the browser spells it
				at, _, _ := strings.Cut(strings.TrimPrefix(want, "https://"), "/")
				if at != "sso.example.com" {
					assert.Equal(t, "zhangsan at "+strings.TrimPrefix(want, "https://"+at), res.Body)
				}
			}
			assert.Equal(t, 1, c.fake.Calls("auth/getuserinfo"), "of WeCom's codes")

			identities := map[string]bool{}
			for at := range c.sites {
				identities[b.From(at).Fetch("GET", "/wecom/session", "").Body] = true
				assert.Len(t, slices.DeleteFunc(b.Cookies(at+"/"), func(k *http.Cookie) bool { return len(k.Value) != 43 }), 1, "its session")
				for _, k := range b.Cookies(at + "/") {
					assert.True(t, strings.HasPrefix(k.Name, "__Host-wecom-"), k.Name)
				}
			}
			require.Len(t, identities, 1, "the same in every respect: %v", identities)
			for id := range identities {
				assert.Contains(t, id, `"name":"张三"`)
				assert.Contains(t, id, `"departments":[`)
			}
			require.NotEmpty(t, c.cookies)
			values := map[string]string{}
			for _, line := range c.cookies {
				assert.NotContains(t, strings.ToLower(line), "domain=")
				k, err := http.ParseSetCookie(line)
				require.NoError(t, err)
				assert.True(t, k.Secure && k.HttpOnly && k.Path == "/" && k.SameSite == http.SameSiteLaxMode, line)
				if len(k.Value) == 43 {
					values[k.Value] = k.Name
				}
			}
			assert.Len(t, values, 3, "no host has another's session")
		})
	}
}

// What needs no redirect gets none, at a host as anywhere.
func TestAHostAnswersScriptsAndForms(t *testing.T) {
	c := newCompany(t)
	b := c.browser("zhangsan", wiki)
	b.Get(origin + "/")
	var told map[string]string
	res := b.From(wiki).Fetch("GET", "/api?x=1", "")
	require.NoError(t, res.JSON(&told))
	assert.Equal(t, 401, res.Status)
	assert.True(t, strings.HasPrefix(told["login_url"], "/wecom/login"), "its own: %s", told["login_url"])
	res = b.From(wiki).PostForm("/save", url.Values{"a": {"b"}})
	assert.Equal(t, 401, res.Status)
	assert.Contains(t, res.Header.Get("Content-Type"), "text/html")
	assert.Equal(t, "zhangsan at /after", b.Get(wiki+told["login_url"]+"?return_to=/after").Body)
	assert.Equal(t, 200, b.From(wiki).Fetch("GET", "/api", "").Status)
}

// T44: a code that ends a sign-in at a host is good for one browser, once, at this host.
func TestT44_CodesOfHosts(t *testing.T) {
	c := newCompany(t)
	signIn := func(who string) (b *wecomtest.Browser, callback string) {
		b = c.browser(who, wiki)
		return b, c.held(b, wiki+"/page").URL
	}
	authorize := func(b *wecomtest.Browser, change ...string) string {
		res := b.StopAt(func(r *http.Request) bool { return r.Host == "sso.example.com" }).Get(wiki + "/page")
		b.StopAt(nil)
		require.True(t, res.Held)
		return withParameters(t, res.URL, change...)
	}
	for name, attack := range map[string]func(victim, attacker *wecomtest.Browser, sent, own string) *wecomtest.Response{
		"the whole address is stolen": func(_, attacker *wecomtest.Browser, sent, _ string) *wecomtest.Response {
			return attacker.Get(sent)
		},
		"the code is stolen": func(_, attacker *wecomtest.Browser, sent, own string) *wecomtest.Response {
			return attacker.Get(withParameters(t, own, "code", parameter(t, sent, "code")))
		},
		"the code is stolen, for another host": func(_, attacker *wecomtest.Browser, sent, _ string) *wecomtest.Response {
			own := c.held(attacker, logs+"/").URL
			return attacker.Get(withParameters(t, own, "code", parameter(t, sent, "code")))
		},
		"by a script": func(_, attacker *wecomtest.Browser, sent, own string) *wecomtest.Response {
			return attacker.From(wiki).Fetch("POST", "/wecom/session", fmt.Sprintf(`{"code":%q,"state":%q}`, parameter(t, sent, "code"), parameter(t, own, "state")), "Content-Type: application/json")
		},
		"by a script, with a state in the address": func(_, attacker *wecomtest.Browser, sent, own string) *wecomtest.Response {
			return attacker.From(wiki).Fetch("POST", "/wecom/session?state="+parameter(t, sent, "state"), fmt.Sprintf(`{"code":%q,"state":%q}`, parameter(t, sent, "code"), parameter(t, own, "state")), "Content-Type: application/json")
		},
		"a second state": func(_, attacker *wecomtest.Browser, sent, own string) *wecomtest.Response {
			return attacker.Get(withParameters(t, own, "code", parameter(t, sent, "code")) + "&state=" + parameter(t, sent, "state"))
		},
		"the victim asks without a challenge": func(victim, attacker *wecomtest.Browser, _, own string) *wecomtest.Response {
			victim.StopAt(func(r *http.Request) bool { return r.Host == "wiki.example.com" })
			sent := victim.Get(authorize(c.browser("lisi", wiki), "code_challenge", "", "code_challenge_method", "")).URL
			victim.StopAt(nil)
			return attacker.Get(withParameters(t, own, "code", parameter(t, sent, "code")))
		},
		"it was used": func(victim, attacker *wecomtest.Browser, sent, own string) *wecomtest.Response {
			require.Equal(t, "zhangsan at /page", victim.Get(sent).Body)
			return attacker.Get(withParameters(t, own, "code", parameter(t, sent, "code")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			victim, sent := signIn("zhangsan")
			attacker, own := signIn("lisi")
			res := attack(victim, attacker, sent, own)
			assert.NotContains(t, res.Body, "zhangsan")
			assert.NotContains(t, c.everywhere(attacker), "zhangsan")
			assert.NotContains(t, c.everywhere(victim), "lisi")
		})
	}
	t.Run("swapped", func(t *testing.T) {
		victim, sent := signIn("zhangsan")
		attacker, own := signIn("lisi")
		assert.Equal(t, "zhangsan at /", victim.Get(own).Body, "the victim starts over, as themselves")
		assert.Equal(t, "lisi at /", attacker.Get(sent).Body)
	})
	t.Run("replayed", func(t *testing.T) {
		victim, sent := signIn("zhangsan")
		require.Equal(t, "zhangsan at /page", victim.Get(sent).Body)
		calls := c.fake.Calls("auth/getuserinfo")
		assert.Equal(t, "zhangsan at /page", victim.Get(sent).Body, "by the session that there is")
		assert.Equal(t, 303, victim.From(wiki).Post("/wecom/logout").Hops[0].Status)
		hops := victim.Get(sent).Hops
		assert.True(t, strings.HasPrefix(hops[1].URL, iss+"/authorize?"), "it starts over: %v", hops)
		assert.Equal(t, calls, c.fake.Calls("auth/getuserinfo"))
	})
	t.Run("another host's code", func(t *testing.T) {
		// The browser and the state are right, so that nothing but the client tells.
		b := c.browser("zhangsan", wiki)
		own := c.held(b, logs+"/page").URL
		b.StopAt(func(r *http.Request) bool { return r.Host == "wiki.example.com" })
		sent := b.Get(authorize(c.browser("lisi", wiki), "code_challenge", challenge(parameter(t, own, "state")))).URL
		b.StopAt(nil)
		require.NotEmpty(t, parameter(t, sent, "code"))
		hops := b.Get(withParameters(t, own, "code", parameter(t, sent, "code"))).Hops
		assert.True(t, strings.HasPrefix(hops[1].URL, iss+"/authorize?"), "it starts over: %v", hops)
	})
	t.Run("the token endpoint", func(t *testing.T) {
		b, sent := signIn("zhangsan")
		for _, secret := range []string{"", "none", password} {
			got := c.token(url.Values{
				"grant_type": {"authorization_code"}, "code": {parameter(t, sent, "code")}, "redirect_uri": {wiki + "/wecom/callback"},
				"client_id": {wiki + "/wecom/callback"}, "client_secret": {secret}, "code_verifier": {parameter(t, sent, "state")},
			})
			assert.Equal(t, "invalid_client", got.Error, "%q", secret)
		}
		assert.Equal(t, "zhangsan at /page", b.Get(sent).Body)
	})
	t.Run("redirects", func(t *testing.T) {
		b, _ := signIn("zhangsan")
		for _, change := range [][]string{
			{"redirect_uri", "https://evil.example/wecom/callback"},
			{"redirect_uri", wiki + "/wecom/callback/"},
			{"redirect_uri", wiki + "/"},
			{"redirect_uri", logs + "/wecom/callback"},
			{"redirect_uri", "https://wiki.example.com.evil.example/wecom/callback"},
			{"redirect_uri", ""},
			{"client_id", "https://other.example.com/wecom/callback"},
			{"client_id", "https://other.example.com/wecom/callback", "redirect_uri", "https://other.example.com/wecom/callback"},
			{"client_id", "wiki.example.com"},
			// What the issuer would tell a client of: a host's callback could only say that the person refused.
			{"prompt", "none", "max_age", "x"},
			{"scope", ""},
			{"response_type", "token"},
		} {
			res := b.GetNoFollow(authorize(c.browser("lisi", wiki), change...))
			assert.Equal(t, 400, res.Status, "%v", change)
			assert.Empty(t, res.Location(), "%v", change)
		}
	})
	assert.NotContains(t, c.logs.String(), "state=")
}

func TestSignOutHereAndEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		c := newCompany(t, listens(l))
		b, phone, other := c.browser("zhangsan", wiki), c.browser("zhangsan", logs), c.browser("lisi", wiki)
		for _, b := range []*wecomtest.Browser{b, phone, other} {
			for at := range c.sites {
				require.Equal(t, 200, b.Get(at+"/").Status)
			}
		}
		all, none := []string{"zhangsan", "zhangsan", "zhangsan"}, []string{"", "", ""}
		require.Equal(t, 200, c.token(form(c.code(b.StopAt(toClient)))).Status)
		b.StopAt(nil)
		time.Sleep(time.Minute)

		res := b.From(wiki).Post("/wecom/logout")
		assert.Equal(t, wiki+"/wecom/signed-out", res.URL)
		assert.Equal(t, []string{"zhangsan", "", "zhangsan"}, c.everywhere(b), "here")
		assert.Equal(t, all, c.everywhere(phone))
		assert.Empty(t, c.heard(l), "the issuer's clients keep theirs")
		calls := c.fake.Calls("auth/getuserinfo")
		assert.Equal(t, "zhangsan at /again", b.Get(wiki+"/again").Body, "by the session at the issuer's host")
		assert.Equal(t, calls, c.fake.Calls("auth/getuserinfo"))

		assert.Equal(t, 401, c.browser("zhangsan", wiki).From(wiki).Post("/wecom/logout?everywhere=1").Status, "nobody")
		time.Sleep(time.Minute)
		require.Equal(t, logs+"/wecom/signed-out", b.From(logs).Post("/wecom/logout?everywhere=1").URL)
		time.Sleep(time.Second)
		assert.Equal(t, none, c.everywhere(b))
		assert.Equal(t, none, c.everywhere(phone), "on every device")
		assert.NotEmpty(t, c.heard(l), "and at clients")
		assert.Equal(t, []string{"lisi", "lisi", "lisi"}, c.everywhere(other))
		b.Get(wiki + "/")
		assert.Greater(t, c.fake.Calls("auth/getuserinfo"), calls, "WeCom is asked again")
		assert.Equal(t, []string{"zhangsan", "zhangsan", ""}, c.everywhere(b))

		time.Sleep(time.Second)
		require.NoError(t, c.auth.Revoke(t.Context(), wecom.Identity{UserID: "lisi"}))
		time.Sleep(time.Second)
		assert.Equal(t, none, c.everywhere(other), "revoked by the operator or an event")
		require.NoError(t, c.auth.RevokeAll(t.Context()))
		time.Sleep(time.Second)
		assert.Equal(t, none, c.everywhere(b))
	})
}

// A replica that has not heard yet that somebody was revoked signs them in at a host by the
// session that is none: that sign-in must end too, though it is younger than the revocation.
func TestARevocationOvertakesASignInAtAHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, store := wecomtest.New(), memstore.NewWithCleanupInterval(0)
		c, there := newBranch(t, fake, store), newBranch(t, fake, store)
		b := c.browser("zhangsan", wiki)
		require.Equal(t, "zhangsan at /", b.Get(wiki+"/").Body)
		time.Sleep(time.Hour)
		require.Equal(t, []string{"zhangsan", "zhangsan", ""}, c.everywhere(b)) // both ask for revocations now
		b.From(wiki).Post("/wecom/logout")
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, there.auth.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, "zhangsan at /", b.Get(wiki+"/").Body, "it has not heard")
		require.Equal(t, "zhangsan", c.who(b, wiki))
		time.Sleep(time.Second)
		assert.Equal(t, []string{"", "", ""}, c.everywhere(b))
	})
}

// A session at a host ends when the one that it came from would.
func TestAHostsSessionEndsWithTheSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t)
		b := c.browser("zhangsan", wiki)
		b.Get(origin + "/")
		time.Sleep(12*time.Hour - time.Minute)
		require.Equal(t, "zhangsan at /", b.Get(wiki+"/").Body)
		require.Equal(t, 1, c.fake.Calls("auth/getuserinfo"))
		time.Sleep(time.Minute)
		assert.Equal(t, []string{"", "", ""}, c.everywhere(b))
	})
}

func TestRecheckOnceForAllHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCompany(t, func(o *options) { o.wecom.Recheck = time.Hour })
		b := c.browser("zhangsan", wiki)
		for at := range c.sites {
			b.Get(at + "/")
		}
		before := c.fake.Calls("user/get")
		time.Sleep(90 * time.Minute)
		require.Equal(t, "hello zhangsan", b.Get(origin+"/").Body)
		synctest.Wait()
		require.Equal(t, 1, c.fake.Calls("user/get")-before)
		time.Sleep(20 * time.Minute)
		for range 40 + 9*60 {
			assert.Equal(t, "zhangsan at /", b.Get(wiki+"/").Body)
			assert.Equal(t, "zhangsan at /", b.Get(logs+"/").Body)
			time.Sleep(time.Minute)
		}
		b.Get(wiki + "/")
		synctest.Wait()
		assert.Equal(t, 1+10, c.fake.Calls("user/get")-before, "as often as for one host, and as early")
		c.fake.RemoveMember("zhangsan")
		time.Sleep(time.Hour)
		b.Get(wiki + "/")
		time.Sleep(time.Second)
		assert.Equal(t, []string{"", "", ""}, c.everywhere(b))
	})
}

// Whatever fails at the issuer's host is shown there, and is no refusal of the person's.
func TestAHostWhileTheStoreIsAway(t *testing.T) {
	broken := &brokenStore{Store: memstore.NewWithCleanupInterval(0)}
	c := newBranch(t, wecomtest.New(), broken)
	b := c.browser("zhangsan", wiki)
	b.Get(origin + "/")
	broken.commits = true
	res := b.Get(wiki + "/page")
	assert.Equal(t, 503, res.Status)
	assert.True(t, strings.HasPrefix(res.URL, iss+"/authorize?"), res.URL)
	broken.commits = false
	callback := c.held(b, wiki+"/page")
	broken.finds = true
	res = b.Get(callback.URL)
	assert.Equal(t, 503, res.Status)
	assert.NotContains(t, res.Body, "企业微信暂时", "WeCom is not to blame")
	broken.finds = false
	assert.Equal(t, "zhangsan at /page", b.Get(wiki+"/page").Body)
}

// A brokenStore fails when it is told to.
type brokenStore struct {
	scs.Store
	commits, finds bool
}

func (s *brokenStore) Commit(token string, b []byte, expiry time.Time) error {
	if s.commits {
		return context.DeadlineExceeded
	}
	return s.Store.Commit(token, b, expiry)
}

func (s *brokenStore) Find(token string) ([]byte, bool, error) {
	if s.finds {
		return nil, false, context.DeadlineExceeded
	}
	return s.Store.Find(token)
}

func TestHostsThatCannotWork(t *testing.T) {
	store := memstore.NewWithCleanupInterval(0)
	w := newWorld(t, func(o *options) { o.wecom.SessionStore, o.issuer.Store = store, store })
	with := func(callback string, change ...func(*wecom.Options)) wecom.Options {
		o := w.fake.Options(callback)
		o.SessionStore, o.Profile, o.Scope, o.LoginPanel, o.JSSDK = store, true, "snsapi_privateinfo", true, true
		for _, f := range change {
			f(&o)
		}
		return o
	}
	_, err := w.iss.Host(with(wiki + "/wecom/callback"))
	require.NoError(t, err, "what is for WeCom's pages is left out")
	for want, o := range map[string]wecom.Options{
		"CallbackURL: want another host than the issuer's":                                       with(origin + "/other/callback"),
		"CallbackURL: want another host than the issuer's: a browser sends cookies to all ports": with(origin + ":8443/wecom/callback"),
		"there are two hosts wiki.example.com":                                                   with(wiki + "/wecom/callback"),
		"there are two hosts wiki.example.com: a browser sends cookies to all ports":             with(wiki + ":8443/wecom/callback"),
		"CallbackURL: plain http":                                                                with("http://logs.example.com/wecom/callback"),
		"CallbackURL: want an absolute URL":                                                      with("logs.example.com"),
		"SessionStore: want that of the issuer's middleware":                                     with(logs+"/wecom/callback", func(o *wecom.Options) { o.SessionStore = nil }),
		"SessionLifetime": with(logs+"/wecom/callback", func(o *wecom.Options) { o.SessionLifetime = -1 }),
	} {
		h, err := w.iss.Host(o)
		assert.ErrorContains(t, err, want)
		assert.Nil(t, h)
	}
	// New clients change nothing for the hosts.
	require.NoError(t, w.iss.SetClients(nil))
	r := httptest.NewRecorder()
	w.site.ServeHTTP(r, httptest.NewRequest("GET", iss+"/authorize?client_id="+url.QueryEscape(wiki+"/wecom/callback")+"&redirect_uri=https://evil.example", nil))
	assert.Contains(t, w.logs.String(), "redirect_unknown")
}
