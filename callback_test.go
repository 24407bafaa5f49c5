package wecom_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// The callback's table (DESIGN §4.3), row by row.

func TestCallbackRow1MethodAndPrefetchAndForm(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		w := on.newWorld(t)
		tests := []struct {
			desc   string
			change func(r *http.Request)
			status int
		}{
			{"T30: HEAD", func(r *http.Request) { r.Method = "HEAD" }, 405},
			{"T30: POST", func(r *http.Request) { r.Method = "POST" }, 405},
			{"PUT", func(r *http.Request) { r.Method = "PUT" }, 405},
			{"T30: prefetch", func(r *http.Request) { r.Header.Set("Sec-Purpose", "prefetch") }, 403},
			{"T30: prerender", func(r *http.Request) { r.Header.Set("Sec-Purpose", "prefetch;prerender") }, 403},
			{"T30: an old prefetch", func(r *http.Request) { r.Header.Set("Purpose", "prefetch") }, 403},
			{"T30: an older prefetch", func(r *http.Request) { r.Header.Set("X-Moz", "prefetch") }, 403},
			{"an image", func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "image") }, 403},
			{"a script's fetch", func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "empty") }, 403},
			{"a code with a line break", func(r *http.Request) { r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "code=", "code=a%0d%0a", 1) }, 400},
			{"a code with a blank", func(r *http.Request) { r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "code=", "code=a+", 1) }, 400},
			{"a code in Chinese", func(r *http.Request) { r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "code=", "code=%E5%BC%A0", 1) }, 400},
			{"a code that is no text", func(r *http.Request) { r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "code=", "code=%ff", 1) }, 400},
		}
		for _, tt := range tests {
			t.Run(tt.desc, func(t *testing.T) {
				b := w.browser()
				callback := w.held(b, "/reports")
				w.fake.ResetCalls()
				u, err := url.Parse(callback.URL)
				require.NoError(t, err)
				r := &http.Request{Method: "GET", URL: u, Header: http.Header{"Accept": {"text/html"}}}
				tt.change(r)
				res := b.Do(r)
				assert.Equal(t, tt.status, res.Status, res.Body)
				assert.Empty(t, res.Location())
				assert.Empty(t, res.Header["Set-Cookie"])
				assert.Zero(t, w.fake.TotalCalls(), "calls to WeCom")
				if tt.status == 405 {
					assert.Equal(t, "GET", res.Header.Get("Allow"))
				}

				res = b.Follow(callback)
				assert.Equal(t, 200, res.Status, "the code was not spent")
				assert.Contains(t, res.Body, "zhangsan")
			})
		}
	})
}

func TestCallbackRow2StateOfNobody(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		w := on.newWorld(t)
		good := stateOf(t, w.held(w.browser(), "/").URL)
		other := on.newWorld(t, on.another)
		for desc, state := range map[string]string{
			"none":                  "",
			"garbage":               "abc",
			"T6: another app's":     stateOf(t, do(other.app, request("GET", "/")).Header().Get("Location")),
			"T6: flipped":           forge(good),
			"in capitals":           strings.ToUpper(good),
			"with something behind": good + "%23wechat_redirect",
			"cut":                   good[:75],
		} {
			t.Run(desc, func(t *testing.T) {
				for _, b := range []*wecomtest.Browser{w.browser(), w.signedIn("lisi")} {
					before := who(b)
					w.fake.ResetCalls()
					res := b.GetNoFollow("/wecom/callback?code=" + w.code("zhangsan") + "&state=" + state)
					assert.Equal(t, 400, res.Status)
					assert.Contains(t, res.Body, `href="/wecom/login"`, "a button")
					assert.Empty(t, res.Header["Set-Cookie"])
					assert.Zero(t, w.fake.TotalCalls(), "calls to WeCom")
					assert.Equal(t, before, who(b))
				}
			})
		}
	})
}

func TestCallbackRow3Refused(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		w := on.newWorld(t)
		b := w.browser().Refuse()
		res := b.Get("/reports?x=1")
		assert.Equal(t, 403, res.Status)
		assert.Contains(t, res.Body, "/wecom/login?return_to=%2Freports%3Fx%3D1")
		assert.Empty(t, b.Cookies("/"), "the attempt is dropped")
		assert.Equal(t, 1, w.pages())
		assert.Zero(t, w.fake.TotalCalls())

		t.Run("who was signed in stays signed in", func(t *testing.T) {
			b := w.signedIn("lisi").Refuse()
			assert.Equal(t, 403, b.Get("/wecom/login").Status)
			assert.Equal(t, "lisi", who(b))
		})
	})
}

func TestCallbackRow4Exchange(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		w := on.newWorld(t)
		b := w.browser()
		res := b.Get("/reports?from=2026-01-01&to=2026-02-01")
		assert.Equal(t, 200, res.Status)
		assert.Equal(t, `hello "zhangsan" true /reports?from=2026-01-01&to=2026-02-01`, res.Body)
		assert.Equal(t, []int{302, 302, 303, 200}, statuses(res))

		t.Run("signed in as somebody else", func(t *testing.T) {
			old := b.Cookies("/")
			res := b.SignInAs("lisi").Get("/wecom/login?return_to=/next")
			assert.Equal(t, `hello "lisi" true /next`, res.Body)
			for _, c := range old {
				r := request("GET", "/")
				r.AddCookie(c)
				assert.NotEqual(t, 200, do(w.app, r).Code, "T8: the earlier session has ended")
			}
		})
	})
}

func TestCallbackRow5Spent(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		synctest.Test(t, func(t *testing.T) {
			w := on.newWorld(t)
			b := w.browser()
			callback := w.held(b, "/reports?x=1")
			time.Sleep(5 * time.Second) // somebody takes a moment
			require.Equal(t, 200, b.Follow(callback).Status)
			time.Sleep(15 * time.Second) // the outcome is no longer shared

			res := b.GetNoFollow(callback.URL)
			assert.Equal(t, 303, res.Status, "F9: back button")
			assert.Equal(t, "/reports?x=1", res.Header.Get("Location"))
			assert.Equal(t, 1, w.exchanges())

			dropSession(b)
			res = b.GetNoFollow(callback.URL)
			assert.Equal(t, 302, res.Status, "without a session, one restart")
			assert.Equal(t, `hello "zhangsan" true /reports?x=1`, b.Follow(res).Body)
			assert.Equal(t, 2, w.exchanges(), "the code was not sent again")
		})
	})
}

// The replica that sees a spent attempt again is not the one that it was spent at.
func TestCallbackRow5SpentAtAnotherReplica(t *testing.T) {
	store := newTestStore()
	shared := func(o *wecom.Options) { o.SessionStore = store }
	one, other := fixed(t, shared), fixed(t, shared)
	callback := comeBack(t, one, "zhangsan")
	callback.Header.Set("Cookie", cookieHeader(do(one.Routes(), callback).Result().Cookies()))
	res := do(other.Routes(), callback)
	assert.Equal(t, 303, res.Code)
	assert.Empty(t, res.Result().Cookies(), "the code is not sent again")

}

func TestCallbackRow6Expired(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		synctest.Test(t, func(t *testing.T) {
			w := on.newWorld(t)
			b := w.browser()
			callback := w.held(b, "/reports")
			expired := b.Cookies("/")
			time.Sleep(10 * time.Minute)
			r := request("GET", target(callback))
			for _, c := range expired {
				r.AddCookie(c) // a browser whose clock stands still
			}
			w.fake.ResetCalls()
			res := do(w.app, r)
			assert.Equal(t, 302, res.Code)
			assert.Equal(t, on.page, mustParse(t, res.Header().Get("Location")).Path)
			assert.Zero(t, w.fake.TotalCalls(), "calls to WeCom")
		})
	})
}

func TestCallbackRows7To9CookieLost(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		t.Run("7: signed in", func(t *testing.T) {
			w := on.newWorld(t)
			b := w.signedIn("lisi")
			other := w.held(w.browser(), "/reports")
			w.fake.ResetCalls()
			res := b.GetNoFollow(other.URL)
			assert.Equal(t, 303, res.Status)
			assert.Equal(t, "/", res.Header.Get("Location"))
			assert.Zero(t, w.fake.TotalCalls())
			assert.Equal(t, "lisi", who(b))
		})
		t.Run("8: one restart, to the default page", func(t *testing.T) {
			w := on.newWorld(t)
			b := w.browser()
			callback := w.held(b, "/reports")
			b.DropCookies()
			res := b.Follow(callback)
			assert.Equal(t, `hello "zhangsan" true /`, res.Body)
			assert.Equal(t, 2, w.pages())
			assert.Equal(t, 1, w.exchanges())
			assert.Zero(t, w.fake.Sent(mustParse(t, callback.URL).Query().Get("code")), "the presented code is never used")
		})
		t.Run("9: lost again, a page", func(t *testing.T) {
			w := on.newWorld(t)
			b := w.browser()
			callback := w.held(b, "/reports")
			b.DropCookies()
			b.StopAt(isCallback)
			again := b.Follow(callback)
			require.True(t, again.Held)
			b.StopAt(nil)
			b.DropCookies()
			res := b.Follow(again)
			assert.Equal(t, 403, res.Status)
			assert.Contains(t, res.Body, `href="/wecom/login"`)
			assert.Zero(t, w.exchanges())
		})
	})
}

func TestT27_B17_AtMostTwoTripsWithoutCookies(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		for desc, setup := range map[string]func(*wecomtest.Browser){
			"in a browser":    func(*wecomtest.Browser) {},
			"in WeCom":        func(b *wecomtest.Browser) { b.InApp() },
			"in an old WeCom": func(b *wecomtest.Browser) { b.InApp().FetchMetadata(false) },
		} {
			t.Run(desc, func(t *testing.T) {
				w := on.newWorld(t)
				b := w.browser().BlockCookies(true)
				setup(b)
				for n := 1; n <= 3; n++ { // each click on the page's button is an action of its own
					res := b.Get("/reports")
					assert.Equal(t, 403, res.Status)
					assert.LessOrEqual(t, w.pages(), 2*n)
					res = b.Click("/wecom/login")
					assert.Equal(t, 403, res.Status)
					w.fake.ResetCalls()
				}
				assert.Zero(t, w.exchanges())
			})
		}
	})
}

func TestLoopBreakerSessionDidNotStick(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		synctest.Test(t, func(t *testing.T) {
			w := on.newWorld(t)
			b := w.signedIn("zhangsan")
			dropSession(b)
			res := b.Get("/reports?x=1")
			assert.Equal(t, 403, res.Status)
			assert.Contains(t, res.Body, "/wecom/login?return_to=%2Freports%3Fx%3D1")
			assert.Equal(t, 1, w.pages())
			assert.Equal(t, 200, b.Click("/wecom/login?return_to=/reports").Status, "the button signs in")

			dropSession(b)
			time.Sleep(31 * time.Second)
			assert.Equal(t, 200, b.Get("/reports").Status, "later it is an ordinary sign-in")
		})
	})
}

func TestCallbackPathMismatch(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		w := on.newWorld(t)
		b := w.browser()
		callback := w.held(b, "/")
		w.fake.ResetCalls()
		res := b.GetNoFollow(strings.Replace(callback.URL, "/wecom/callback", "/app/wecom/callback", 1))
		assert.Equal(t, 400, res.Status)
		assert.Contains(t, w.logs.String(), "callback_mismatch")
		assert.Zero(t, w.pages()+w.fake.TotalCalls())

		res = b.GetNoFollow("/page?code=1&state=of-somebody-else")
		assert.Equal(t, 302, res.Status, "another state is the application's own business")
	})
}

func TestT5_LoginCSRF(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		w := on.newWorld(t)
		attacker := w.browser().SignInAs("lisi")
		victim := w.signedIn("zhangsan")
		bystander := w.browser()
		for i := range 3 {
			callback := w.held(attacker, "/")
			w.fake.ResetCalls()

			before := victim.Cookies("/")
			res := victim.GetNoFollow(callback.URL)
			assert.NotContains(t, res.Body, "lisi")
			assert.Zero(t, w.fake.TotalCalls(), "B5: calls to WeCom before the state is checked")
			assert.Equal(t, before, victim.Cookies("/"))
			assert.Equal(t, "zhangsan", who(victim))

			// A cookie of the victim's own, for another attempt, does not help either.
			w.held(bystander, fmt.Sprintf("/%d", i))
			w.fake.ResetCalls()
			res = bystander.GetNoFollow(callback.URL)
			assert.Equal(t, 302, res.Status)
			assert.Zero(t, w.fake.TotalCalls())
			assert.Empty(t, who(bystander))
		}
	})
}

// A cookie answers for its own attempt, whatever name it stands under.
func TestT5_AnotherAttemptsCookie(t *testing.T) {
	m := fixed(t)
	mine, other := request("GET", "/wecom/login?return_to=/mine"), comeBack(t, m, "zhangsan")
	mine.Header.Set("Cookie", cookieHeader(do(m.Routes(), mine).Result().Cookies()))
	name, _, _ := strings.Cut(other.Header.Get("Cookie"), "=")
	_, value, _ := strings.Cut(mine.Header.Get("Cookie"), "=")
	other.Header.Set("Cookie", name+"="+value)
	res := do(m.Routes(), other)
	assert.Equal(t, 302, res.Code, "as without a cookie: one restart")
	assert.Nil(t, sessionOf(res))
	again := request("GET", "/wecom/callback?code=zhangsan&state="+stateOf(t, res.Header().Get("Location")))
	again.Header.Set("Cookie", cookieHeader(res.Result().Cookies()))
	assert.Equal(t, "/", do(m.Routes(), again).Header().Get("Location"), "not the other attempt's page")
}

func TestT6_StateIsUsedOnce(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		w := on.newWorld(t)
		b := w.browser()
		callback := w.held(b, "/")
		state := stateOf(t, callback.URL)
		assert.Regexp(t, regexp.MustCompile(`^[0-9a-f]{76}$`), state)

		attempt := b.Cookies("/") // as it was before it is spent
		require.Equal(t, 200, b.Follow(callback).Status)
		r := with(request("GET", "/wecom/callback?state="+state+"&code="+w.code("lisi")), attempt)
		res := do(w.app, r)
		assert.NotContains(t, res.Body.String(), "lisi")
		assert.Equal(t, 1, w.exchanges(), "a used attempt exchanges nothing, also with its old cookie and another code")

		t.Run("swapped between two attempts", func(t *testing.T) {
			b := w.browser()
			one, two := w.held(b, "/1"), w.held(b, "/2")
			swapped := strings.Replace(one.URL, stateOf(t, one.URL), stateOf(t, two.URL), 1)
			res := b.Get(swapped)
			assert.Equal(t, `hello "zhangsan" true /2`, res.Body, "the page follows the state, not the code")
		})
	})
}

func TestT7_B6_TenTabs(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		w := on.newWorld(t)
		b := w.browser()
		var callbacks []*wecomtest.Response
		for i := range 10 {
			callbacks = append(callbacks, w.held(b.Tab(), fmt.Sprintf("/tab?n=%d", i)))
		}
		var wg sync.WaitGroup
		for i, c := range callbacks {
			wg.Go(func() {
				assert.Equal(t, fmt.Sprintf(`hello "zhangsan" true /tab?n=%d`, i), b.Tab().Follow(c).Body)
			})
		}
		wg.Wait()
	})
}

// A tab that signs in while another does must not end what the other is loading;
// signing in again on purpose ends the earlier session (T8).
func TestT7_ATabDoesNotEndAnothersSession(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	first, second := w.held(b.Tab(), "/1"), w.held(b.Tab(), "/2")
	require.Equal(t, 200, b.Tab().Follow(first).Status)
	loading := b.Cookies("/")
	assert.Equal(t, `hello "zhangsan" true /2`, b.Tab().Follow(second).Body)
	status := func() int {
		r := with(request("GET", "/api"), loading)
		return do(w.app, r).Code
	}
	assert.Equal(t, 200, status())

	assert.Equal(t, 200, b.Get("/wecom/login").Status)
	assert.NotEqual(t, 200, status(), "on purpose")
	assert.Equal(t, 200, b.Get("/").Status)

	loading = b.Cookies("/")
	w.fake.Script("auth/getuserinfo", wecomtest.Fault{ErrCode: 40029})
	assert.Equal(t, 200, b.Get("/wecom/login").Status)
	assert.NotEqual(t, 200, status(), "on purpose, though WeCom rejected the first code")
}

// Two tabs leave for WeCom, and two people come back.
func TestT7_TwoTabsTwoPeople(t *testing.T) {
	m := fixed(t)
	first, second := comeBack(t, m, "zhangsan"), comeBack(t, m, "lisi")
	zhangsan := sessionOf(do(m.Routes(), first))
	require.NotNil(t, zhangsan)
	second.AddCookie(zhangsan)
	lisi := sessionOf(do(m.Routes(), second))
	require.NotNil(t, lisi)
	assert.True(t, isIn(m.Handler(hello()), lisi))
	assert.False(t, isIn(m.Handler(hello()), zhangsan), "the session that the browser had")
}

func TestT7_PendingAttemptsStaySmall(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		w := on.newWorld(t)
		b := w.browser()
		for i := range 200 {
			b.GetNoFollow(fmt.Sprintf("/%s?n=%d", strings.Repeat("x", 5*i), i))
			header := 0
			for _, c := range b.Cookies("/") {
				header += len(c.Name) + len(c.Value) + 3
				assert.Less(t, len(c.String()), 4096)
			}
			require.Less(t, header, 4096, "the Cookie header after %d starts", i+1)
		}
		assert.Equal(t, 200, b.Get("/after").Status)
	})
}

// A callback that comes again gets the same session for ten seconds, although its browser does
// not know yet that the attempt was spent.
func TestF9_TheOutcomeIsSharedForTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fixed(t)
		callback := comeBack(t, m, "zhangsan")
		first := sessionOf(do(m.Routes(), callback))
		require.NotNil(t, first)
		time.Sleep(9 * time.Second)
		second := sessionOf(do(m.Routes(), callback))
		require.NotNil(t, second)
		assert.Equal(t, first.Value, second.Value)
		time.Sleep(2 * time.Second)
		res := do(m.Routes(), callback)
		assert.Equal(t, 302, res.Code, "one restart")
		assert.Nil(t, sessionOf(res))
	})
}

func TestF9_B6_OneCallbackManyTimes(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		for _, n := range []int{2, 10, 50} {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				w := on.newWorld(t)
				b := w.browser()
				callback := w.held(b, "/reports")
				release := make(chan struct{})
				w.fake.Script(on.exchange, wecomtest.Fault{Until: release})
				var wg sync.WaitGroup
				cookies := make([]string, n)
				started := make(chan struct{}, n)
				for i := range n {
					wg.Go(func() {
						r := with(request("GET", target(callback)), b.Cookies("/"))
						started <- struct{}{}
						res := do(w.app, r)
						assert.Equal(t, 303, res.Code)
						assert.Equal(t, "/reports", res.Header().Get("Location"))
						for _, c := range res.Result().Cookies() {
							if !strings.HasPrefix(c.Name[len("__Host-wecom-"):], "-") && len(c.Name) == len("__Host-wecom-00000000") {
								cookies[i] = c.Value
							}
						}
					})
				}
				for range n {
					<-started
				}
				close(release)
				wg.Wait()
				assert.Equal(t, 1, w.exchanges())
				for _, c := range cookies {
					assert.Equal(t, cookies[0], c, "all get one session")
				}
				assert.NotEmpty(t, cookies[0])
			})
		}
	})
}

func TestF9_CodeRejected(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		w := on.newWorld(t)
		w.fake.Script(on.exchange, wecomtest.Fault{ErrCode: on.usedCode})
		b := w.browser()
		restart := b.GetNoFollow(w.held(b, "/reports").URL)
		assert.Len(t, b.Cookies("/"), 1, "the new attempt's in place of the old one's")
		res := b.Follow(restart)
		assert.Equal(t, `hello "zhangsan" true /reports`, res.Body, "one restart, and the page is not forgotten")
		assert.Equal(t, 2, w.pages())

		w.fake.ResetCalls()
		w.fake.Always(on.exchange, wecomtest.Fault{ErrCode: on.usedCode})
		res = w.browser().Get("/reports")
		assert.Equal(t, 403, res.Status, "then a page")
		assert.Equal(t, 2, w.pages())
		assert.Equal(t, 2, w.exchanges())
	})
}

func TestF6_ConnectionDiesAfterTheCodeWasSent(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		for name, drop := range map[string]wecomtest.Drop{"after": wecomtest.DropAfter, "midway": wecomtest.DropMidway} {
			t.Run(name, func(t *testing.T) {
				w := on.newWorld(t)
				w.fake.Always(on.exchange, wecomtest.Fault{Drop: drop})
				res := w.browser().Get("/reports")
				assert.Equal(t, 503, res.Status)
				assert.NotEmpty(t, res.Header.Get("Retry-After"))
				assert.Equal(t, 2, w.pages(), "one automatic fresh sign-in")
				for _, c := range w.fake.Codes() {
					assert.LessOrEqual(t, w.fake.Sent(c.Value), 1)
				}
			})
		}
	})
}

// WeCom out of order: nobody is asked to scan twice before they are told, and inside
// WeCom, where a sign-in asks nothing, it starts over once.
func TestF10_AnswersOfSomebodyElse(t *testing.T) {
	for desc, fault := range map[string]wecomtest.Fault{
		"502":        {Status: 502},
		"a 404":      {Status: 404},
		"a proxy's":  {Body: []byte("<html>blocked</html>")},
		"no errcode": {Body: []byte("{}")},
		"over 1 MiB": {Body: bytes.Repeat([]byte(" "), 1<<20+1)},
	} {
		t.Run(desc, func(t *testing.T) {
			w := newWorld(t)
			w.fake.Always("auth/getuserinfo", fault)
			res := w.browser().Get("/reports")
			assert.Equal(t, 503, res.Status)
			assert.Contains(t, res.Body, `href="/wecom/login?return_to=%2Freports"`)
			assert.Equal(t, 1, w.pages())

			b := w.browser()
			res = handIn(b, w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan"}), w.mint(b).State)
			assert.Equal(t, 503, res.Status)
			code, _ := refusal(t, res)
			assert.Equal(t, "wecom_unavailable", code)

			w.fake.ResetCalls()
			assert.Equal(t, 503, w.browser().InApp().Get("/reports").Status)
			assert.Equal(t, 2, w.pages())
			w.fake.ClearFaults()
			w.fake.Script("auth/getuserinfo", fault)
			assert.Equal(t, 200, w.browser().InApp().Get("/reports").Status)
		})
	}
	t.Run("Weixin", func(t *testing.T) {
		everyPlatform(t, func(t *testing.T, on platform) {
			w := on.newWorld(t)
			w.fake.Always(on.exchange, wecomtest.Fault{Status: 502})
			assert.Equal(t, 503, w.browser().Get("/reports").Status)
			assert.Equal(t, 1, w.pages())
		})
	})
}

func TestF5_F1_B12_TwoHundredCallbacks(t *testing.T) {
	for desc, before := range map[string]func(*world){
		"cold token":    func(*world) {},
		"expired token": func(w *world) { w.signedIn("lisi"); w.fake.ExpireTokens() },
		"killed token":  func(w *world) { w.signedIn("lisi"); w.fake.KillTokens() },
	} {
		t.Run(desc, func(t *testing.T) {
			w := newWorld(t)
			before(w)
			var browsers []*wecomtest.Browser
			var callbacks []*wecomtest.Response
			for range 200 {
				b := w.browser()
				browsers, callbacks = append(browsers, b), append(callbacks, w.held(b, "/reports"))
			}
			w.fake.ResetCalls()
			var wg sync.WaitGroup
			for i, b := range browsers {
				wg.Go(func() { assert.Equal(t, 200, b.Follow(callbacks[i]).Status) })
			}
			wg.Wait()
			assert.Equal(t, 1, w.fake.Calls("gettoken"))
			for _, c := range w.fake.Codes() {
				assert.LessOrEqual(t, w.fake.Sent(c.Value), 2)
			}
		})
	}
}

func TestF3_TokenEndpointDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		in := w.signedIn("lisi")
		w.fake.KillTokens()
		w.fake.Always("gettoken", wecomtest.Fault{Drop: wecomtest.DropDial})
		w.fake.ResetCalls()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				b := w.browser()
				res := b.Get("/reports")
				assert.Equal(t, 503, res.Status)
				assert.NotEmpty(t, res.Header.Get("Retry-After"))
				assert.Len(t, res.Hops, 3, "no redirect to WeCom after the failure")
			})
		}
		wg.Wait()
		assert.LessOrEqual(t, w.fake.Calls("gettoken"), 4, "one shared failure")
		assert.Equal(t, "lisi", who(in), "who is signed in is not touched")

		w.fake.ClearFaults()
		time.Sleep(time.Minute)
		assert.Equal(t, 200, w.browser().Get("/reports").Status, "it recovers without a restart")
	})
}

func TestF21_BrowserLeavesDuringTheExchange(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
			w := on.newWorld(t)
			b := w.browser()
			callback := w.held(b, "/reports")
			arrived, release := make(chan struct{}), make(chan struct{})
			w.fake.Script(on.exchange, wecomtest.Fault{OnCall: func(*http.Request) { close(arrived) }, Until: release})
			ctx, leave := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				r := &http.Request{Method: "GET", URL: mustParse(t, callback.URL), Header: http.Header{"Accept": {"text/html"}}}
				b.Do(r.WithContext(ctx))
			}()
			<-arrived
			leave()
			<-done
			close(release)
			synctest.Wait()
			assert.Equal(t, 200, b.Follow(callback).Status, "the same callback, again, gets the outcome")
			assert.Equal(t, 1, w.exchanges())
		})
	})
}

func TestFailedExchangesAreLimited(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		synctest.Test(t, func(t *testing.T) {
			w := on.newWorld(t)
			attacker := w.browser()
			refused := 0
			for range perClient + 100 {
				state := stateOf(t, attacker.GetNoFollow("/wecom/login").Location())
				if attacker.GetNoFollow("/wecom/callback?code="+w.made()+"&state="+state).Status == 429 {
					refused++
				}
			}
			assert.Equal(t, perClient, w.exchanges(), "wrong codes of one client")
			assert.Equal(t, 100, refused)
			assert.Equal(t, 200, w.browser().Get("/").Status, "others sign in")
			time.Sleep(time.Hour + time.Minute)
			assert.Equal(t, 200, attacker.Get("/").Status, "and so does the client, later")
		})
	})
}

func TestT21_EveryAnswerOfOurs(t *testing.T) {
	everyPlatform(t, func(t *testing.T, on platform) {
		w := on.newWorld(t)
		b := w.browser()
		b.StopAt(func(*http.Request) bool { return false })
		res := b.Get("/reports")
		answers := []*wecomtest.Response{
			b.Tab().GetNoFollow("/wecom/login"),
			b.GetNoFollow("/wecom/callback"),
			b.Post("/wecom/logout"),
			b.GetNoFollow("/wecom/signed-out"),
			b.GetNoFollow("/wecom/logout"),
			b.Fetch("GET", "/api", ""),
			b.Fetch("GET", "/wecom/session", ""),
			b.GetNoFollow("/deep"),
		}
		require.Equal(t, 200, res.Status)
		for _, a := range answers {
			h := a.Header
			assert.Equal(t, "no-store", h.Get("Cache-Control"), a.URL)
			assert.Equal(t, "origin", h.Get("Referrer-Policy"), a.URL)
			assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"), a.URL)
			assert.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'", a.URL)
			assert.Contains(t, h.Get("Content-Security-Policy"), "frame-ancestors 'self'", a.URL)
			assert.NotEmpty(t, h.Get("Vary"), a.URL)
			assert.NotContains(t, []int{301, 307, 308}, a.Status, a.URL)
		}
	})
}

// code issues a code as if who had signed in.
func (w *world) code(who string) string {
	return w.fake.IssueCode(wecomtest.Grant{Who: who, WeixinAppID: w.on.appID})
}

// made returns a code that WeCom never issued, each time another.
func (w *world) made() string {
	return "made" + fmt.Sprint(time.Now().UnixNano()) + fmt.Sprint(w.exchanges())
}

func statuses(res *wecomtest.Response) (list []int) {
	for _, h := range res.Hops {
		list = append(list, h.Status)
	}
	return list
}

// dropSession takes the session's cookie from a browser and leaves the attempts'.
func dropSession(b *wecomtest.Browser) {
	for _, c := range b.Cookies("/") {
		if len(c.Name) == len("__Host-wecom-00000000") {
			b.SetCookie("/", c.Name+"=; Path=/; Secure; Max-Age=0")
		}
	}
}

// target is the path and query of the request that a response stands for, as
// they go over the wire: official accounts' callbacks keep Weixin's fragment.
func target(res *wecomtest.Response) string {
	target, _, _ := strings.Cut(strings.TrimPrefix(res.URL, site), "#")
	return target
}

func mustParse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	return u
}
