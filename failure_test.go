package wecom_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// A failureCase brings about one failure. It returns the answer, and options for the world it happens in.
type failureCase struct {
	code   string
	status int
	json   bool // the answer is JSON, whoever asks
	button string
	option func(*wecom.Options)
	happen func(w *world) *wecomtest.Response
}

func failureCases() []failureCase {
	fault := func(x wecomtest.Fault) func(*world) *wecomtest.Response {
		return func(w *world) *wecomtest.Response {
			w.fake.Always("auth/getuserinfo", x)
			return w.browser().Get("/reports")
		}
	}
	const again = "/wecom/login?return_to=%2Freports"
	const contentJSON = "Content-Type: application/json"
	return []failureCase{
		{"login_required", 401, true, "", nil, func(w *world) *wecomtest.Response { return w.browser().Fetch("GET", "/api", "") }},
		{"method_not_allowed", 405, false, "/", nil, func(w *world) *wecomtest.Response { return w.browser().Post("/wecom/callback") }},
		{"prefetch_refused", 403, false, "/wecom/login", nil, func(w *world) *wecomtest.Response {
			return w.browser().Do(&http.Request{Method: "GET", URL: must(url.Parse(site + "/wecom/login")), Header: http.Header{"Accept": {"text/html"}, "Sec-Purpose": {"prefetch"}}})
		}},
		{"bad_callback", 400, false, "/wecom/login", nil, func(w *world) *wecomtest.Response { return w.browser().Get("/wecom/callback?code=1&code=2") }},
		{"bad_state", 400, false, "/wecom/login", nil, func(w *world) *wecomtest.Response { return w.browser().Get("/wecom/callback?code=1&state=2") }},
		{"callback_mismatch", 400, false, "", nil, func(w *world) *wecomtest.Response {
			b := w.browser()
			return b.Get(strings.Replace(w.held(b, "/").URL, "/wecom/callback", "/elsewhere", 1))
		}},
		{"signin_refused", 403, false, again, nil, func(w *world) *wecomtest.Response { return w.browser().Refuse().Get("/reports") }},
		{"attempt_lost", 403, false, "/wecom/login", nil, func(w *world) *wecomtest.Response { return w.browser().BlockCookies(true).Get("/reports") }},
		{"session_not_kept", 403, false, again, nil, func(w *world) *wecomtest.Response {
			b := w.signedIn("zhangsan")
			dropSession(b)
			return b.Get("/reports")
		}},
		{"code_rejected", 403, false, again, nil, fault(wecomtest.Fault{ErrCode: 40029})},
		{"outsider", 403, false, again, nil, func(w *world) *wecomtest.Response { return w.browser().SignInAs(outsider).Get("/reports") }},
		{"linked_corp", 403, false, again, nil, func(w *world) *wecomtest.Response { return w.browser().SignInAs(linkedMember).Get("/reports") }},
		{"not_allowed", 403, false, again, func(o *wecom.Options) {
			o.Authorize = func(context.Context, *wecom.Client, wecom.Identity) (bool, error) { return false, nil }
		}, func(w *world) *wecomtest.Response { return w.browser().Get("/reports") }},
		{"wecom_unavailable", 503, false, again, nil, func(w *world) *wecomtest.Response {
			w.fake.Always("gettoken", wecomtest.Fault{Drop: wecomtest.DropDial})
			return w.browser().Get("/reports")
		}},
		{"setup_fault", 500, false, again, nil, fault(wecomtest.Fault{ErrCode: 50001})},
		{"busy", 503, false, again, nil, fault(wecomtest.Fault{ErrCode: 45009})},
		{"session_store", 503, false, "", func(o *wecom.Options) {
			store := newTestStore()
			store.set(failing("Commit", errors.New("disk full")))
			o.SessionStore = store
		}, func(w *world) *wecomtest.Response { return w.browser().Get("/reports") }},
		{"too_many_attempts", 429, false, "/wecom/login", nil, func(w *world) *wecomtest.Response {
			b := w.browser()
			for {
				res := b.GetNoFollow("/wecom/callback?code=" + w.made() + "&state=" + stateIn(b.GetNoFollow("/wecom/login").Location()))
				if res.Status != 302 && res.Status != 403 {
					return res
				}
			}
		}},
		{"cross_origin", 403, false, "", nil, func(w *world) *wecomtest.Response {
			return w.signedIn("lisi").From("https://evil.example").Post(site + "/wecom/logout")
		}},
		{"not_found", 404, false, "/", nil, func(w *world) *wecomtest.Response { return w.fake.Browser(site, w.auth.Routes()).Get("/nothing") }},
		{"bad_request", 415, true, "", nil, func(w *world) *wecomtest.Response { return w.browser().Fetch("POST", "/wecom/session", "{}") }},
		{"bad_request", 400, true, "", nil, func(w *world) *wecomtest.Response {
			return w.browser().Fetch("POST", "/wecom/session", "{", contentJSON)
		}},
		{"bad_request", 413, true, "", nil, func(w *world) *wecomtest.Response {
			return w.browser().Fetch("POST", "/wecom/session", `"`+strings.Repeat("x", 4096)+`"`, contentJSON)
		}},
		{"method_not_allowed", 405, true, "", nil, func(w *world) *wecomtest.Response { return w.browser().Fetch("PUT", "/wecom/session", "") }},
		{"bad_state", 400, true, "", nil, func(w *world) *wecomtest.Response {
			return w.browser().Fetch("POST", "/wecom/session", `{"code":"1","state":"2"}`, contentJSON)
		}},
	}
}

// Each failure has its status, its code, a page in both languages, and one log line that shares its reference.
func TestFailures(t *testing.T) {
	for _, tt := range failureCases() {
		for _, lang := range []string{"zh", "en"} {
			t.Run(fmt.Sprint(tt.code, " ", tt.status, " ", lang), func(t *testing.T) {
				t.Parallel()
				var events []wecom.Event
				var seen *wecom.Failure
				w := newWorld(t, func(o *wecom.Options) {
					o.Language = lang
					o.Observe = func(_ context.Context, e wecom.Event) { events = append(events, e) }
					if lang == "en" { // it gets every failure, and may pass it on
						o.OnFailure = func(w http.ResponseWriter, r *http.Request, f *wecom.Failure) {
							seen = f
							assert.Equal(t, "no-store", w.Header().Get("Cache-Control"), "set already")
							f.ServeHTTP(w, r)
						}
					}
					if tt.option != nil {
						tt.option(o)
					}
				})
				res := tt.happen(w)
				require.NoError(t, res.Err)
				assert.Equal(t, tt.status, res.Status)
				if lang == "en" {
					assert.Equal(t, tt.code, seen.Code)
					assert.Equal(t, tt.status, seen.Status)
					assert.NotEmpty(t, seen.Message)
					assert.Equal(t, seen.Err, errors.Unwrap(seen))
				}
				assert.Equal(t, "no-store", res.Header.Get("Cache-Control"))
				assert.Equal(t, "origin", res.Header.Get("Referrer-Policy"))
				assert.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"))
				assert.NotEmpty(t, res.Header.Get("Content-Security-Policy"))
				assert.Equal(t, tt.status == 503 || tt.status == 429, res.Header.Get("Retry-After") != "")

				var said struct{ Error, Message, Reference string }
				if tt.json {
					require.NoError(t, res.JSON(&said))
					assert.Equal(t, tt.code, said.Error)
					assert.NotEmpty(t, said.Message)
					assert.Equal(t, tt.code != "login_required", said.Reference != "")
				} else {
					assert.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
					assert.Contains(t, res.Body, map[string]string{"zh": `<html lang="zh-CN">`, "en": `<html lang="en">`}[lang])
					assert.Equal(t, lang == "zh", strings.Contains(res.Body, "参考编号"))
					_, after, ok := strings.Cut(res.Body, "<code>")
					require.True(t, ok, "a reference")
					said.Reference, _, _ = strings.Cut(after, "</code>")
					if tt.button != "" {
						assert.Contains(t, res.Body, `href="`+tt.button+`"`)
					}
				}
				for _, cause := range []string{"wecom: ", "errcode", "disk full", "connection refused", "from ip"} {
					assert.NotContains(t, res.Body, cause, "the cause is for the log alone")
				}
				logged := w.logs.String()
				assert.Equal(t, 1, strings.Count(logged, "code="+tt.code+" "), logged)
				if said.Reference != "" {
					assert.Equal(t, 1, strings.Count(logged, "reference="+said.Reference), "one log line has the reference")
				}
				require.NotEmpty(t, events)
				last := events[len(events)-1]
				assert.Equal(t, "refused", last.Name)
				assert.Equal(t, tt.code, last.Outcome)
			})
		}
	}
}

// Who was not allowed in stands in the log, where the page's reference leads, and not on the page.
func TestNotAllowedIsLoggedWithThePerson(t *testing.T) {
	w := newWorld(t, func(o *wecom.Options) {
		o.Authorize = func(context.Context, *wecom.Client, wecom.Identity) (bool, error) { return false, nil }
	})
	res := w.browser().SignInAs("lisi").Get("/reports")
	assert.Equal(t, http.StatusForbidden, res.Status)
	assert.Contains(t, w.logs.String(), ":user:lisi")
	assert.NotContains(t, res.Body, "lisi")
}

// A program may answer by a Failure of its own.
func TestFailureServesItself(t *testing.T) {
	page, script := request("GET", "/"), request("GET", "/")
	script.Header.Set("Accept", "application/json")
	t.Run("whatever its status", func(t *testing.T) {
		for status, want := range map[int]int{0: 500, 200: 500, 302: 500, 399: 500, 400: 400, 418: 418, 599: 599, 600: 500, -1: 500} {
			assert.Equal(t, want, do(&wecom.Failure{Status: status, Code: "x"}, page).Code)
		}
	})
	t.Run("as a page", func(t *testing.T) {
		f := &wecom.Failure{Status: 403, Code: "not_allowed", Message: "Ask the works council.", Reference: "abc", LoginURL: "/wecom/login"}
		body := do(f, page).Body.String()
		assert.Contains(t, body, "Ask the works council.")
		assert.Contains(t, body, "abc")
		assert.Contains(t, body, `href="/wecom/login"`)
		f.LoginURL = "javascript:alert(1)"
		assert.NotContains(t, do(f, page).Body.String(), "javascript")
	})
	t.Run("in the browser's language", func(t *testing.T) {
		r := request("GET", "/")
		r.Header.Set("Accept-Language", "en")
		assert.Contains(t, do(&wecom.Failure{Status: 403, Code: "not_allowed"}, r).Body.String(), `lang="en"`)
		assert.Contains(t, do(&wecom.Failure{Status: 403, Code: "not_allowed"}, page).Body.String(), `lang="zh-CN"`)
	})
	t.Run("as JSON", func(t *testing.T) {
		res := do(&wecom.Failure{Status: 403, Code: "quota", Message: "m", Reference: "r", LoginURL: "/l", Err: errors.New("hidden")}, script)
		assert.JSONEq(t, `{"error":"quota","message":"m","reference":"r","login_url":"/l"}`, res.Body.String())
		assert.Equal(t, "application/json; charset=utf-8", res.Header().Get("Content-Type"))
		assert.Equal(t, fmt.Sprint(res.Body.Len()), res.Header().Get("Content-Length"))
	})
	t.Run("as JSON, with the sentences of its code", func(t *testing.T) {
		res := do(&wecom.Failure{Status: 404, Code: "not_found"}, script)
		assert.JSONEq(t, `{"error":"not_found","message":"这个地址没有对应的页面。请检查地址是否正确，或返回首页。"}`, res.Body.String())
	})
	t.Run("to HEAD without a body", func(t *testing.T) {
		res := do(&wecom.Failure{Status: 403, Code: "quota"}, request("HEAD", "/"))
		assert.Zero(t, res.Body.Len())
		assert.NotEqual(t, "0", res.Header().Get("Content-Length"))
	})
	t.Run("as an error", func(t *testing.T) {
		cause := errors.New("cause")
		f := &wecom.Failure{Code: "quota", Err: cause}
		assert.ErrorIs(t, f, cause)
		assert.Equal(t, "wecom: quota: cause", f.Error())
		assert.Equal(t, "wecom: quota", (&wecom.Failure{Code: "quota"}).Error())
	})
}

// The sign-in that a 401 offers leads back to the page that holds the form, the
// frame or the script, if its Referer names one of this site.
func TestLoginRequiredLeadsBack(t *testing.T) {
	w := newWorld(t)
	requests := map[string]func() *http.Request{
		"a form": func() *http.Request { return request("POST", "/approve") },
		"a frame": func() *http.Request {
			r := request("GET", "/part")
			r.Header.Set("Sec-Fetch-Dest", "iframe")
			return r
		},
		"a script": func() *http.Request {
			r := request("GET", "/api")
			r.Header.Set("Accept", "*/*")
			return r
		},
		"a script that asks who is signed in": func() *http.Request {
			r := request("GET", "/wecom/session")
			r.Header.Set("Accept", "*/*")
			return r
		},
	}
	for referer, want := range map[string]string{
		"":                                "/wecom/login",
		site:                              "/wecom/login",
		site + "/":                        "/wecom/login",
		site + "/forms/7?step=2":          "/wecom/login?return_to=%2Fforms%2F7%3Fstep%3D2",
		site + "/wecom/logout":            "/wecom/login",
		site + "//evil.example/":          "/wecom/login",
		site + ".evil.example/":           "/wecom/login",
		site + "@evil.example/":           "/wecom/login",
		"http://app.example.com/forms":    "/wecom/login",
		"https://evil.example/forms":      "/wecom/login",
		"/forms":                          "/wecom/login?return_to=%2Fforms", // no browser sends it; it is a path all the same
		site + "/forms\\..\\evil.example": "/wecom/login",
	} {
		for desc, make := range requests {
			r := make()
			r.Header.Set("Referer", referer)
			res := do(w.app, r)
			assert.Equal(t, 401, res.Code)
			assert.Empty(t, res.Header()["Set-Cookie"])
			if strings.HasPrefix(desc, "a script") {
				var said struct {
					LoginURL string `json:"login_url"`
				}
				require.NoError(t, json.Unmarshal(res.Body.Bytes(), &said))
				assert.Equal(t, want, said.LoginURL, "%s from %s", desc, referer)
			} else {
				assert.Contains(t, res.Body.String(), `href="`+want+`"`, "%s from %s", desc, referer)
			}
		}
	}
}

// What a 401 says fits who reads it.
func TestLoginRequiredSays(t *testing.T) {
	w := newWorld(t, func(o *wecom.Options) { o.Language = "en" })
	form := do(w.app, request("POST", "/approve")).Body.String()
	assert.Contains(t, form, "Nothing was submitted")
	frame := request("GET", "/part")
	frame.Header.Set("Sec-Fetch-Dest", "iframe")
	assert.Contains(t, do(w.app, frame).Body.String(), "Please sign in")
	assert.NotContains(t, do(w.app, frame).Body.String(), "submitted")
	var said struct{ Message string }
	require.NoError(t, w.browser().Fetch("GET", "/api", "").JSON(&said))
	assert.Equal(t, "You are not signed in, or your session has ended. Please sign in to continue.", said.Message)

	assert.NotContains(t, w.logs.String(), "level=WARN")
	require.NoError(t, w.browser().Fetch("GET", "/events?msg_signature=x&echostr=y", "").JSON(&said))
	assert.Regexp(t, `level=WARN .*an events receiver that stands behind the sign-in`, w.logs.String())
}

// "Try again" leads to the page that was refused.
func TestRefusedPageLeadsToItself(t *testing.T) {
	w := newWorld(t)
	app := w.auth.Handler(w.auth.Require(func(context.Context, *wecom.Client, wecom.Identity) (bool, error) { return false, nil })(hello()))
	cookies := cookieHeader(w.signedIn("zhangsan").Cookies("/"))
	refused := func(method, target, referer string) string {
		r := request(method, target)
		r.Header.Set("Cookie", cookies)
		r.Header.Set("Referer", referer)
		res := do(app, r)
		assert.Equal(t, 403, res.Code)
		return res.Body.String()
	}
	assert.Contains(t, refused("GET", "/reports?x=1", ""), `href="/reports?x=1"`)
	assert.Contains(t, refused("POST", "/approve", site+"/forms/7"), `href="/forms/7"`)
	assert.Contains(t, refused("POST", "/approve", ""), `href="/"`)
}

// Somebody whose session was ended right after the sign-in is told that, and not to allow cookies.
func TestT26_SignedOutRightAfterTheSignIn(t *testing.T) {
	eachCarrier(t, func(t *testing.T, w *world, _ *testStore, _ *scs.SessionManager) {
		b := w.signedIn("zhangsan")
		require.NoError(t, w.auth.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		w.fake.ResetCalls()
		res := b.Get("/reports")
		assert.Equal(t, 401, res.Status)
		assert.Contains(t, res.Body, "你已被退出登录")
		assert.Contains(t, res.Body, `href="/wecom/login?return_to=%2Freports"`)
		assert.Zero(t, w.pages(), "no redirect: it might loop")
		assert.Contains(t, w.logs.String(), "it was revoked, or replicas do not share their SessionStore")
		assert.Equal(t, 200, b.Get("/wecom/login?return_to=%2Freports").Status)
	})
}

// An answer of OnFailure has the Failure's status, whatever it does with the ResponseWriter.
func TestOnFailureStatusHolds(t *testing.T) {
	for desc, tt := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request, *wecom.Failure)
		want   int
	}{
		"a body alone": {func(w http.ResponseWriter, _ *http.Request, _ *wecom.Failure) { fmt.Fprint(w, "mine") }, 401},
		"nothing":      {func(http.ResponseWriter, *http.Request, *wecom.Failure) {}, 401},
		"flushed first": {func(w http.ResponseWriter, _ *http.Request, _ *wecom.Failure) {
			assert.NoError(t, http.NewResponseController(w).Flush())
		}, 401},
		"early hints": {func(w http.ResponseWriter, _ *http.Request, _ *wecom.Failure) {
			w.WriteHeader(http.StatusEarlyHints)
			fmt.Fprint(w, "mine")
		}, 401},
		"a status of its own": {func(w http.ResponseWriter, _ *http.Request, _ *wecom.Failure) { w.WriteHeader(418) }, 418},
		"a redirect": {func(w http.ResponseWriter, r *http.Request, _ *wecom.Failure) {
			http.Redirect(w, r, "/welcome", http.StatusFound)
		}, 302},
		"another status": {func(w http.ResponseWriter, _ *http.Request, f *wecom.Failure) { f.Status = 404; fmt.Fprint(w, "mine") }, 404},
		"no status":      {func(w http.ResponseWriter, _ *http.Request, f *wecom.Failure) { f.Status = 0; fmt.Fprint(w, "mine") }, 401},
		"passed on":      {func(w http.ResponseWriter, r *http.Request, f *wecom.Failure) { f.ServeHTTP(w, r) }, 401},
	} {
		t.Run(desc, func(t *testing.T) {
			w := newWorld(t, func(o *wecom.Options) { o.OnFailure = tt.answer })
			server := httptest.NewServer(w.app)
			defer server.Close()
			res, err := server.Client().Transport.RoundTrip(must(http.NewRequest("GET", server.URL+"/api", nil)))
			require.NoError(t, err)
			assert.NoError(t, res.Body.Close())
			assert.Equal(t, tt.want, res.StatusCode)
		})
	}
}

// A provider's own Failure is answered as it is, and stays the provider's.
func TestFailureOfAProvider(t *testing.T) {
	theirs := &wecom.Failure{Status: 451, Code: "not_allowed", Message: "Not in this country."}
	m := fixed(t, func(o *wecom.Options) {
		o.Provider = fixedProvider{identify: func(context.Context, string) (wecom.Identity, error) {
			return wecom.Identity{}, fmt.Errorf("while signing in: %w", theirs)
		}}
	})
	for range 2 {
		start := do(m.Routes(), request("GET", "/wecom/login?return_to=/x"))
		r := with(request("GET", "/wecom/callback?code="+fmt.Sprint(time.Now().UnixNano())+"&state="+stateOf(t, start.Header().Get("Location"))), start.Result().Cookies())
		res := do(m.Routes(), r)
		assert.Equal(t, 451, res.Code)
		assert.Contains(t, res.Body.String(), "Not in this country.")
		assert.Contains(t, res.Body.String(), "/wecom/login?return_to=%2Fx")
	}
	assert.Equal(t, &wecom.Failure{Status: 451, Code: "not_allowed", Message: "Not in this country."}, theirs)
}
