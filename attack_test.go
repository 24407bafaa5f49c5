package wecom_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
)

// T10: browsers refuse a __Host- cookie of a neighbour's, but not one whose name
// begins with a space of Unicode's: a server that trims it reads the same name.
func TestT10_UnicodeSpacesDoNotMakeAPrefixedName(t *testing.T) {
	m := fixed(t)
	app := m.Handler(hello())
	for i, space := range []string{"\u0085", "\u00a0", "\u1680", "\u2000", "\u2003", "\u2028", "\u3000", "\ufeff"} {
		planted := signInFixed(t, m, fmt.Sprint("attacker", i))
		for _, c := range planted {
			r := request("GET", "/")
			r.Header.Set("Cookie", space+c.Name+"="+c.Value)
			assert.Equal(t, 302, do(app, r).Code, "%q", space)
			r.Header.Set("Cookie", "a=b; "+c.Name+space+"="+c.Value)
			assert.Equal(t, 302, do(app, r).Code, "%q behind", space)
		}
		r := comeBack(t, m, fmt.Sprint("other", i))
		r.Header.Set("Cookie", space+r.Header.Get("Cookie"))
		done := do(app, r)
		assert.NotEqual(t, 303, done.Code, "an attempt: %q", space)
		assert.NotContains(t, done.Header().Get("Set-Cookie"), planted[0].Name+"=", "%q", space)
	}
	r := request("GET", "/")
	r.Header.Set("Cookie", "a=b;\t "+cookieHeader(signInFixed(t, m, "zhangsan"))+" \t; c=d")
	assert.Equal(t, 200, do(app, r).Code, "but spaces and tabs are none of the name's")
}

// T10: nor does the application's own session choose between two cookies, one of
// which a neighbour planted.
func TestT10_TheApplicationsCookieTwice(t *testing.T) {
	for _, outside := range []bool{false, true} {
		manager := soundManager()
		m := fixed(t, func(o *wecom.Options) { o.Sessions = manager })
		app := m.Handler(hello())
		if outside {
			app = manager.LoadAndSave(app)
		}
		session := func(who string) (value string) {
			for _, c := range do(app, comeBack(t, m, who)).Result().Cookies() {
				if c.Name == manager.Cookie.Name {
					value = c.Name + "=" + c.Value
				}
			}
			r := request("GET", "/")
			r.Header.Set("Cookie", value)
			require.Equal(t, 200, do(app, r).Code)
			return value
		}
		mine, attackers := session("zhangsan"), session("attacker")
		for _, both := range []string{mine + "; " + attackers, attackers + "; " + mine} {
			r := request("GET", "/")
			r.Header.Set("Cookie", both)
			assert.Equal(t, 302, do(app, r).Code, "loaded outside: %t", outside)
		}
	}
}

// T18: two middlewares of one app admit different people, here by Authorize. What one of them
// let in is nothing to the other, even if they share a store and somebody renames the cookie.
func TestT18_TwoMiddlewaresOfOneApp(t *testing.T) {
	onlyBoss := func(_ context.Context, _ *wecom.Client, id wecom.Identity) (bool, error) {
		return id.UserID == "boss", nil
	}
	for name, carry := range carriers {
		t.Run(name, bubble(func(t *testing.T) {
			var shared wecom.Options
			carry(&shared, memstore.NewWithCleanupInterval(0))
			with := func(callback string, authorize wecom.Authorizer) *wecom.Middleware {
				return fixed(t, func(o *wecom.Options) {
					o.Sessions, o.SessionStore = shared.Sessions, shared.SessionStore
					o.CallbackURL, o.Authorize = callback, authorize
				})
			}
			wiki := with(site+"/wiki/wecom/callback", nil)
			finance := with("https://finance.example.com/wecom/callback", onlyBoss)
			name := do(finance.Handler(hello()), comeBack(t, finance, "boss")).Result().Cookies()[0].Name
			session := do(wiki.Handler(hello()), comeBack(t, wiki, "zhangsan")).Result().Cookies()[0]
			r := request("GET", "/")
			r.AddCookie(session)
			assert.Equal(t, 200, do(wiki.Handler(hello()), r).Code)
			assert.Equal(t, 302, do(finance.Handler(hello()), r).Code)
			r = request("GET", "/")
			r.AddCookie(&http.Cookie{Name: name, Value: session.Value})
			assert.Equal(t, 302, do(finance.Handler(hello()), r).Code)

			r = request("GET", "/")
			r.AddCookie(session)
			require.NoError(t, finance.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
			time.Sleep(3 * time.Second)
			assert.NotEqual(t, 200, do(wiki.Handler(hello()), r).Code, "a revocation is the person's, not one middleware's")
		}))
	}
}

// T27: the Refresh header, for web-views that do not say that they navigate, ends
// where a redirect would end.
func TestT27_RefreshEnds(t *testing.T) {
	m := fixed(t)
	keepAll := func(string) bool { return true }
	for name, tt := range map[string]struct {
		keep func(cookie string) bool
		at   func(path string) string // what a proxy makes of a path
	}{
		"the session is not kept":      {func(name string) bool { return strings.Count(name, "-") > 2 }, nil},
		"the callback is another path": {keepAll, func(path string) string { return strings.Replace(path, "/callback", "/callback/", 1) }},
		"no path is right":             {keepAll, func(path string) string { return "/app" + path }},
		"no cookie is kept":            {func(string) bool { return false }, nil},
	} {
		for _, accept := range []string{"*/*", "text/html,*/*;q=0.8"} {
			jar := map[string]*http.Cookie{}
			next, trips := "/page", 0
			for hop := 0; next != "" && assert.Less(t, hop, 20, "%s, %s", name, accept); hop++ {
				r := request("GET", next)
				r.Header.Set("Accept", accept)
				with(r, slices.Collect(maps.Values(jar)))
				if tt.at != nil {
					r.URL.Path = tt.at(r.URL.Path)
				}
				res := do(m.Handler(hello()), r)
				for _, c := range res.Result().Cookies() {
					if delete(jar, c.Name); c.MaxAge > 0 && tt.keep(c.Name) {
						jar[c.Name] = c
					}
				}
				next = res.Header().Get("Location")
				if next == "" {
					_, next, _ = strings.Cut(res.Header().Get("Refresh"), "url=")
				}
				if strings.HasPrefix(next, "https://idp.example") {
					trips++
					next = fmt.Sprintf("/wecom/callback?code=u%d&state=%s", hop, stateOf(t, next))
				}
			}
			assert.LessOrEqual(t, trips, 2, "%s, %s", name, accept)
		}
	}
}

// A home page that is an own route, however it is spelled, would sign in for ever.
func TestHomePathIsNoOwnRoute(t *testing.T) {
	for _, callback := range []string{"/wecom/callback", "/callback"} {
		folder := strings.TrimSuffix(callback, "/callback")
		for _, home := range []string{"/login", "/login?x=1", "/login#x", "/./login", "/x/../login", "/%6cogin", "/%2e/login", "/callback?", "/logout", "/signed-out"} {
			_, err := wecom.New(wecom.Options{
				Provider: fixedProvider{}, StateKey: wecom.NewSecret(strings.Repeat("k", 32)),
				CallbackURL: site + callback, HomePath: folder + home,
			})
			assert.ErrorContains(t, err, "HomePath", "%s %s", callback, home)
		}
	}
	m := fixed(t, func(o *wecom.Options) { o.CallbackURL, o.MountPath = site+"/app/callback", "/app" })
	start := do(m.Routes(), request("GET", "/login"))
	r := request("GET", "/callback?code=zhangsan&state="+stateOf(t, start.Header().Get("Location")))
	r.Header.Set("Cookie", cookieHeader(start.Result().Cookies()))
	assert.Equal(t, "/app/", do(m.Routes(), r).Header().Get("Location"), "the default is a page of the mounted application")
}

// Codes that are being exchanged count as wrong until they prove right: all at
// once they would pass a limit that counts afterwards, and lock the corp's IP.
func TestFailedExchangesAreLimitedAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int64
		answer := make(chan struct{})
		m := fixed(t, func(o *wecom.Options) {
			o.Provider = fixedProvider{identify: func(ctx context.Context, code string) (wecom.Identity, error) {
				sent.Add(1)
				<-answer
				return rejectEveryCode(ctx, code)
			}}
		})
		burst := func(n, host int) {
			for i := range n {
				r := comeBack(t, m, fmt.Sprintf("made%d-%d", host, i))
				r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", host)
				go do(m.Routes(), r)
			}
			synctest.Wait()
		}
		burst(perClient+50, 1)
		assert.EqualValues(t, perClient, sent.Load(), "one client")
		for host := range 6 {
			burst(perClient-1, host+2)
		}
		assert.EqualValues(t, unmarked, sent.Load(), "all clients")
		close(answer)
		synctest.Wait()
		time.Sleep(time.Hour + time.Minute)
		burst(1, 1)
		assert.EqualValues(t, unmarked+1, sent.Load())
	})
}

// T14: whom a wrong code is counted for. The attacker sends as many as may be; is the victim shut out?
func TestT14_ForwardedForIsBelievedOfTrustedProxiesOnly(t *testing.T) {
	prefixes := func(list ...string) (trusted []netip.Prefix) {
		for _, p := range list {
			trusted = append(trusted, netip.MustParsePrefix(p))
		}
		return trusted
	}
	const many = "*" // another address each time
	for name, tt := range map[string]struct {
		trusted              []netip.Prefix
		peer, forwarded      string // the attacker's
		victim, forwardedToo string
		shut                 bool
	}{
		"nobody is trusted: a header hides nobody":        {nil, "192.0.2.1", many, "192.0.2.1", "", true},
		"nobody is trusted: a header incriminates nobody": {nil, "192.0.2.1", "192.0.2.9", "192.0.2.9", "", false},
		"another peer than the proxy":                     {prefixes("10.0.0.0/8"), "192.0.2.1", many, "192.0.2.1", "", true},
		"behind the proxy":                                {prefixes("10.0.0.0/8"), "10.0.0.1", "192.0.2.1", "10.0.0.1", "192.0.2.9", false},
		"behind two proxies":                              {prefixes("10.0.0.0/8"), "10.0.0.1", "192.0.2.1, 10.0.0.7", "10.0.0.1", "192.0.2.1, 10.0.0.8", true},
		"an address in front is made up":                  {prefixes("10.0.0.0/8"), "10.0.0.1", many + ", 192.0.2.1", "10.0.0.1", "192.0.2.1", true},
		"made up to look like a proxy":                    {prefixes("10.0.0.0/8"), "10.0.0.1", many + ", 10.9.9.9, 192.0.2.1", "10.0.0.1", "192.0.2.1", true},
		"an IPv4 proxy on a socket for both":              {prefixes("10.0.0.0/8"), "::ffff:10.0.0.1", "192.0.2.1", "10.0.0.1", "192.0.2.1", true},
		"one customer's IPv6":                             {nil, "2001:db8:1:2::1", "", "2001:db8:1:2:ffff::9", "", true},
		"another customer's":                              {nil, "2001:db8:1:2::1", "", "2001:db8:1:3::1", "", false},
		"a proxy that writes the port":                    {prefixes("10.0.0.0/8"), "10.0.0.1", "192.0.2.1:4711", "10.0.0.1", "192.0.2.1:4712", true},
		"another behind it":                               {prefixes("10.0.0.0/8"), "10.0.0.1", "192.0.2.1:4711", "10.0.0.1", "192.0.2.2:4711", false},
		"an IPv6 behind it":                               {prefixes("10.0.0.0/8"), "10.0.0.1", "[2001:db8:1:2::1]:4711", "10.0.0.1", "[2001:db8:1:3::1]:4711", false},
		"a proxy writes an IPv4 as an IPv6":               {prefixes("10.0.0.0/8"), "10.0.0.1", "::ffff:192.0.2.1", "10.0.0.1", "192.0.2.1", true},
		"one customer's IPv6, on two links":               {nil, "fe80::1%eth0", "", "fe80::2%eth1", "", true},
		"no address at all ends the list":                 {prefixes("10.0.0.0/8"), "10.0.0.1", many + ", unknown", "10.0.0.1", "unknown", true},
	} {
		exact(t, name, func(t *testing.T) {
			m := fixed(t, func(o *wecom.Options) {
				o.TrustedProxies = tt.trusted
				o.Provider = fixedProvider{identify: rejectEveryCode}
			})
			clear(tt.trusted) // New has a copy
			from := func(i int, peer, forwarded string) int {
				r := comeBack(t, m, fmt.Sprint("made", i))
				r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(peer), 1234).String()
				if forwarded != "" {
					r.Header.Set("X-Forwarded-For", strings.ReplaceAll(forwarded, many, fmt.Sprintf("198.51.%d.%d", i/250, i%250)))
				}
				return do(m.Routes(), r).Code
			}
			for i := range perClient {
				require.Equal(t, 302, from(i, tt.peer, tt.forwarded))
			}
			assert.Equal(t, tt.shut, from(1000, tt.victim, tt.forwardedToo) == 429)
		})
	}
}

// A server on a Unix socket knows no addresses: its clients are one, but not the whole process.
func TestClientsWithoutAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fixed(t, func(o *wecom.Options) { o.Provider = fixedProvider{identify: rejectEveryCode} })
		from := func(i int, addr string) int {
			r := comeBack(t, m, fmt.Sprint("made", i))
			r.RemoteAddr = addr
			return do(m.Routes(), r).Code
		}
		for i := range perClient {
			require.Equal(t, 302, from(i, ""), i)
		}
		assert.Equal(t, 429, from(perClient, ""))
		assert.Equal(t, 302, from(301, "192.0.2.1:1"))
	})
}

// F25, B18: whatever a Provider or an Authorizer does, the browser has its answer when the budget is used up.
func TestF25_AProviderThatNeverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		m := fixed(t, func(o *wecom.Options) {
			o.Provider = fixedProvider{identify: func(context.Context, string) (wecom.Identity, error) {
				<-end // not ctx
				return wecom.Identity{}, errors.New("too late")
			}}
		})
		began := time.Now()
		r := comeBack(t, m, "zhangsan")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		assert.Equal(t, 503, do(m.Routes(), r.WithContext(ctx)).Code)
		assert.LessOrEqual(t, time.Since(began), 11*time.Second)
		close(end)
	})
}

// F25: a panic in Observe, or in what a Recheck calls, ends nothing but that look-up.
func TestF25_PanicsDuringARecheck(t *testing.T) {
	for _, where := range []string{"Observe", "Authorize", "Logger"} {
		t.Run(where, bubble(func(t *testing.T) {
			var armed atomic.Bool
			boom := func(here string) {
				if armed.Load() && here == where {
					panic("the application's own fault")
				}
			}
			m := fixed(t, func(o *wecom.Options) {
				o.Recheck = time.Minute
				o.Observe = func(_ context.Context, e wecom.Event) {
					if e.Name == "recheck" {
						boom("Observe")
					}
				}
				o.Logger = slogText(writerFunc(func(p []byte) (int, error) { boom("Logger"); return len(p), nil }))
				o.Authorize = func(context.Context, *wecom.Client, wecom.Identity) (bool, error) {
					boom("Authorize")
					return !armed.Load(), nil
				}
			})
			r := request("GET", "/")
			r.Header.Set("Accept", "*/*")
			r.Header.Set("Cookie", cookieHeader(signInFixed(t, m, "zhangsan")))
			armed.Store(true)
			time.Sleep(2 * time.Minute)
			for range 20 { // more than there are slots for look-ups
				do(m.Handler(hello()), r)
				synctest.Wait()
				time.Sleep(2 * time.Minute)
			}
			armed.Store(false)
			if where == "Authorize" {
				assert.Equal(t, 200, do(m.Handler(hello()), r).Code)
			} else {
				assert.Equal(t, 401, do(m.Handler(hello()), r).Code, "revoked all the same")
			}
		}))
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A lifetime that no clock of ours can hold would make every session expired.
func TestSessionLifetimeThatOverflows(t *testing.T) {
	_, err := wecom.New(wecom.Options{
		Provider: fixedProvider{}, StateKey: wecom.NewSecret(strings.Repeat("k", 32)),
		CallbackURL: site + "/wecom/callback", SessionLifetime: math.MaxInt64,
	})
	assert.ErrorContains(t, err, "SessionLifetime")
}

func slogText(w writerFunc) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// F25: what ends without a result is no sign-in and no row.
func TestF25_WhatNeverAnswers(t *testing.T) {
	for name, identify := range map[string]func(context.Context, string) (wecom.Identity, error){
		"ends its goroutine": func(context.Context, string) (wecom.Identity, error) {
			runtime.Goexit()
			return wecom.Identity{}, nil
		},
		"no failure":      func(context.Context, string) (wecom.Identity, error) { return wecom.Identity{}, (*wecom.Failure)(nil) },
		"panics with nil": func(context.Context, string) (wecom.Identity, error) { panic(nil) },
		"names nobody":    func(context.Context, string) (wecom.Identity, error) { return wecom.Identity{}, nil },
	} {
		m := fixed(t, func(o *wecom.Options) { o.Provider = fixedProvider{identify: identify} })
		done := do(m.Routes(), comeBack(t, m, "zhangsan"))
		assert.Equal(t, 503, done.Code, name)
		assert.Empty(t, done.Header()["Set-Cookie"], name)
	}
	store := newTestStore()
	store.set(func(string, string, []byte) error { runtime.Goexit(); return nil })
	m := replica(t, store)
	assert.Equal(t, 503, do(m.Routes(), comeBack(t, m, "zhangsan")).Code)
}

// T11: the outcome of a sign-in is shared with a callback that comes again, but not beyond a logout.
func TestT11_ACallbackThatComesAgainAfterTheLogout(t *testing.T) {
	eachCarrier(t, func(t *testing.T, w *world, _ *testStore, _ *scs.SessionManager) {
		b := w.browser()
		held := w.held(b, "/")
		callback := request("GET", strings.TrimPrefix(held.URL, site))
		for _, c := range b.Cookies("/wecom/callback") {
			callback.AddCookie(c)
		}
		require.Equal(t, 200, b.Follow(held).Status)
		b.Post("/wecom/logout")
		require.Empty(t, who(b))

		r := with(request("GET", "/"), do(w.app, callback).Result().Cookies())
		assert.NotEqual(t, 200, do(w.app, r).Code)
		assert.Equal(t, 1, w.exchanges())
	})
}
