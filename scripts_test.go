package wecom_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// The JSON routes (DESIGN §6): attempt and session.

const asJSON = "Content-Type: application/json"

// minted is what POST /wecom/attempt answers.
type minted struct {
	State       string `json:"state"`
	AppID       string `json:"appid"`
	AgentID     string `json:"agentid"`
	RedirectURI string `json:"redirect_uri"`
	InAppURL    string `json:"in_app_url"`
	WebURL      string `json:"web_url"`
	ReturnTo    string `json:"return_to"`
}

// mint asks for an attempt as a script on a page of the application does.
func (w *world) mint(b *wecomtest.Browser) minted {
	w.Helper()
	res := b.Fetch("POST", "/wecom/attempt", "{}", asJSON)
	require.Equal(w, 200, res.Status, res.Body)
	var m minted
	require.NoError(w, res.JSON(&m))
	return m
}

func pair(code, state string) string {
	b, _ := json.Marshal(map[string]string{"code": code, "state": state})
	return string(b)
}

// handIn sends a code to POST /wecom/session.
func handIn(b *wecomtest.Browser, code, state string) *wecomtest.Response {
	return b.Fetch("POST", "/wecom/session", pair(code, state), asJSON)
}

// refusal is the JSON of a refused request.
func refusal(t *testing.T, res *wecomtest.Response) (code, loginURL string) {
	t.Helper()
	var f struct {
		Error    string `json:"error"`
		LoginURL string `json:"login_url"`
	}
	require.NoError(t, res.JSON(&f), "%d %s", res.Status, res.Body)
	return f.Error, f.LoginURL
}

// sealed asserts what holds for every answer to a script, good or bad.
func sealed(t *testing.T, res *wecomtest.Response) {
	t.Helper()
	assert.Empty(t, res.Location(), "never a redirect")
	assert.Equal(t, "no-store", res.Header.Get("Cache-Control"))
	assert.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"))
	assert.NotEmpty(t, res.Header.Get("Content-Security-Policy"))
	for name := range res.Header {
		assert.False(t, strings.HasPrefix(name, "Access-Control-"), "CORS: %s", name)
	}
	if res.Status != http.StatusNoContent {
		assert.Equal(t, "application/json; charset=utf-8", res.Header.Get("Content-Type"))
		assert.True(t, json.Valid([]byte(res.Body)), res.Body)
	}
}

func TestScriptAttempt(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	res := b.Fetch("POST", "/wecom/attempt", `{"return_to":"/reports?x=1#/part/2"}`, asJSON)
	require.Equal(t, 200, res.Status, res.Body)
	sealed(t, res)

	var got map[string]string
	require.NoError(t, res.JSON(&got))
	state := got["state"]
	assert.Regexp(t, `^[0-9a-f]{76}$`, state)
	const back = "https%3A%2F%2Fapp.example.com%2Fwecom%2Fcallback"
	assert.Equal(t, map[string]string{
		"state": state, "appid": w.fake.CorpID(), "agentid": w.fake.AgentID(),
		"redirect_uri": site + "/wecom/callback", // the panel encodes it
		"in_app_url": "https://open.weixin.qq.com/connect/oauth2/authorize?appid=" + w.fake.CorpID() + "&redirect_uri=" + back +
			"&response_type=code&scope=snsapi_base&state=" + state + "&agentid=" + w.fake.AgentID() + "#wechat_redirect",
		"web_url": "https://login.work.weixin.qq.com/wwlogin/sso/login?login_type=CorpApp&appid=" + w.fake.CorpID() +
			"&agentid=" + w.fake.AgentID() + "&redirect_uri=" + back + "&state=" + state + "&lang=zh",
		"login_type": "CorpApp", "lang": "zh",
		"return_to": "/reports?x=1#/part/2",
	}, got)

	set := (&http.Response{Header: res.Header}).Cookies()
	require.Len(t, set, 1)
	c := set[0]
	assert.Regexp(t, `^__Host-wecom-[0-9a-f]{8}-[0-9a-f]{8}$`, c.Name)
	assert.True(t, c.HttpOnly && c.Secure && c.SameSite == http.SameSiteLaxMode && c.Path == "/" && c.MaxAge == 600, c.Raw)
	assert.Zero(t, w.fake.TotalCalls())
	assert.Zero(t, w.pages())

	// Both pages work with it, and lead where the script asked to.
	back2 := b.Get(got["web_url"])
	assert.Equal(t, site+"/reports?x=1#/part/2", back2.URL)
	assert.Equal(t, "zhangsan", who(b))
}

func TestScriptAttemptBodies(t *testing.T) {
	tests := []struct {
		desc, body string
		status     int
		returnTo   string
	}{
		{"no body", "", 200, "/"},
		{"empty object", "{}", 200, "/"},
		{"null", `{"return_to":null}`, 200, "/"},
		{"unknown members", `{"x":{"y":[1]}}`, 200, "/"},
		{"T1: another site", `{"return_to":"//evil.example"}`, 200, "/"},
		{"T1: a scheme", `{"return_to":"javascript:alert(1)"}`, 200, "/"},
		{"an own route", `{"return_to":"/wecom/login"}`, 200, "/"},
		{"another spelling of the key", `{"Return_To":"/x"}`, 200, "/"},
		{"wrong type", `{"return_to":["/x"]}`, 400, ""},
		{"T19: key twice", `{"return_to":"/a","return_to":"/b"}`, 400, ""},
		{"an array", `["/x"]`, 400, ""},
		{"a string", `"/x"`, 400, ""},
		{"trailing data", `{} {}`, 400, ""},
		{"cut off", `{"return_to":"/x"`, 400, ""},
		{"not UTF-8", "{\"return_to\":\"/\xff\"}", 400, ""},
		{"nested too deep", strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), 400, ""},
		{"4096 bytes", `{"x":"` + strings.Repeat("a", 4096-8) + `"}`, 200, "/"},
		{"4097 bytes", `{"x":"` + strings.Repeat("a", 4097-8) + `"}`, 413, ""},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			w := newWorld(t)
			res := w.browser().Fetch("POST", "/wecom/attempt", tt.body, asJSON)
			require.Equal(t, tt.status, res.Status, res.Body)
			sealed(t, res)
			if tt.status != 200 {
				code, _ := refusal(t, res)
				assert.Equal(t, "bad_request", code)
				assert.Empty(t, res.Header["Set-Cookie"])
				return
			}
			var m minted
			require.NoError(t, res.JSON(&m))
			assert.Equal(t, tt.returnTo, m.ReturnTo)
		})
	}
}

func TestScriptSignIn(t *testing.T) {
	eachCarrier(t, func(t *testing.T, w *world, _ *testStore, _ *scs.SessionManager) {
		b := w.browser()
		m := w.mint(b)

		res := handIn(b, w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan"}), m.State)
		require.Equal(t, 200, res.Status, res.Body)
		sealed(t, res)
		var id map[string]any
		require.NoError(t, res.JSON(&id))
		assert.Equal(t, "wecom", id["provider"])
		assert.Equal(t, w.fake.CorpID(), id["corp_id"])
		assert.Equal(t, w.fake.AgentID(), id["app_id"])
		assert.Equal(t, "zhangsan", id["user_id"])
		assert.NotEmpty(t, id["authenticated_at"])
		assert.Equal(t, 1, w.exchanges())

		assert.Equal(t, `hello "zhangsan" true /reports`, b.Get("/reports").Body)
		again := b.Fetch("GET", "/wecom/session", "")
		assert.Equal(t, 200, again.Status)
		sealed(t, again)
		assert.JSONEq(t, res.Body, again.Body, "the same identity")

		out := b.Fetch("DELETE", "/wecom/session", "")
		assert.Equal(t, 204, out.Status)
		assert.Empty(t, out.Body)
		sealed(t, out)
		gone := b.Fetch("GET", "/wecom/session", "")
		assert.Equal(t, 401, gone.Status)
		sealed(t, gone)
		code, loginURL := refusal(t, gone)
		assert.Equal(t, "login_required", code)
		assert.Equal(t, "/wecom/login?return_to=%2Freports", loginURL, "the page that the script is on")
		assert.Equal(t, "null", strings.TrimSpace(b.Fetch("GET", "/wecom/session?optional=1", "").Body))
		assert.Equal(t, 204, b.Fetch("DELETE", "/wecom/session", "").Status, "again, by somebody who is nobody")
	})
}

// An attempt that ended in one person's sign-in does not name the one who signed in after.
func TestScriptSpentAttemptOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		first := w.mint(b)
		code := w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan"})
		require.Equal(t, 200, handIn(b, code, first.State).Status)
		time.Sleep(time.Second)
		assert.Equal(t, 200, handIn(b, code, first.State).Status, "the same person's, again")
		time.Sleep(time.Second)
		require.Equal(t, 200, handIn(b, w.fake.IssueCode(wecomtest.Grant{Who: "lisi"}), w.mint(b).State).Status)
		res := handIn(b, code, first.State)
		assert.Equal(t, 409, res.Status)
		refused, _ := refusal(t, res)
		assert.Equal(t, "attempt_lost", refused)
	})
}

// What cannot be a script of ours changes nothing, whoever is signed in, and asks WeCom nothing.
func TestScriptRequestsRefused(t *testing.T) {
	long := strings.Repeat("a", 5000)
	tests := []struct {
		desc    string
		headers []string // beside what a page of the application sends
		body    func(good string) string
		status  int
		code    string
	}{
		{"T5: text/plain, as a form can send it", []string{"Content-Type: text/plain"}, nil, 415, "bad_request"},
		{"T5: urlencoded", []string{"Content-Type: application/x-www-form-urlencoded"}, nil, 415, "bad_request"},
		{"T5: multipart", []string{"Content-Type: multipart/form-data; boundary=x"}, nil, 415, "bad_request"},
		{"no content type", []string{"Content-Type:"}, nil, 415, "bad_request"},
		{"a malformed content type", []string{"Content-Type: application/json; charset"}, nil, 415, "bad_request"},
		{"a list of content types", []string{"Content-Type: text/plain, application/json"}, nil, 415, "bad_request"},
		{"T19: a body too large", nil, func(good string) string { return `{"x":"` + long + `",` + good[1:] }, 413, "bad_request"},
		{"T19: code twice", nil, func(good string) string { return `{"code":"x",` + good[1:] }, 400, "bad_request"},
		{"T19: code twice, in two spellings", nil, func(good string) string { return `{"Code":"x",` + good[1:] }, 400, "bad_request"},
		{"code is a number", nil, func(good string) string { return strings.Replace(good, `"code":"`, `"code":1,"x":"`, 1) }, 400, "bad_request"},
		{"state is an array", nil, func(good string) string { return strings.Replace(good, `"state":"`, `"state":[],"x":"`, 1) }, 400, "bad_request"},
		{"trailing data", nil, func(good string) string { return good + "{}" }, 400, "bad_request"},
		{"an array", nil, func(good string) string { return "[" + good + "]" }, 400, "bad_request"},
		{"no body", nil, func(string) string { return "" }, 400, "bad_state"},
		{"no state", nil, func(good string) string { return strings.Replace(good, `"state"`, `"stat"`, 1) }, 400, "bad_state"},
		{"T5: an invented state", nil, func(string) string { return pair("code", strings.Repeat("0", 76)) }, 400, "bad_state"},
		{"no code", nil, func(good string) string { return strings.Replace(good, `"code"`, `"cod"`, 1) }, 400, "bad_callback"},
		{"T19: code too long", nil, func(good string) string { return strings.Replace(good, `"code":"`, `"code":"`+long[:513], 1) }, 400, "bad_callback"},
		{"a code that is no text", nil, func(good string) string { return strings.Replace(good, `"code":"`, `"code":"a\u0000`, 1) }, 400, "bad_callback"},
		{"T19: state too long", nil, func(good string) string { return strings.Replace(good, `"state":"`, `"state":"`+long[:129], 1) }, 400, "bad_callback"},
	}
	for _, signedIn := range []bool{false, true} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s, signed in %t", tt.desc, signedIn), func(t *testing.T) {
				w := newWorld(t)
				b := w.browser()
				before := ""
				if signedIn {
					b, before = w.signedIn("wangwu"), "wangwu"
				}
				m := w.mint(b)
				good := pair(w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan"}), m.State)
				body := good
				if tt.body != nil {
					body = tt.body(good)
				}
				w.fake.ResetCalls()
				res := b.Fetch("POST", "/wecom/session", body, append([]string{asJSON}, tt.headers...)...)
				assert.Equal(t, tt.status, res.Status, res.Body)
				sealed(t, res)
				code, loginURL := refusal(t, res)
				assert.Equal(t, tt.code, code)
				assert.Equal(t, "/wecom/login", loginURL)
				assert.Empty(t, res.Header["Set-Cookie"])
				assert.Zero(t, w.fake.TotalCalls(), "calls to WeCom")
				assert.Equal(t, before, who(b))

				// The attempt is as good as before.
				assert.Equal(t, 200, b.Fetch("POST", "/wecom/session", good, asJSON).Status)
				assert.Equal(t, "zhangsan", who(b))
			})
		}
	}
}

// DESIGN §4.14: who may change something, by the headers that only browsers write.
func TestT5_ScriptsOfOtherOrigins(t *testing.T) {
	tests := []struct {
		headers string
		allowed bool
	}{
		{"", true}, // a program: it has no cookie to abuse
		{"Sec-Fetch-Site: same-origin", true},
		{"Sec-Fetch-Site: none", true},
		{"Sec-Fetch-Site: same-origin|Origin: https://evil.example", true}, // a browser cannot send that; the newer header counts
		{"Sec-Fetch-Site: same-site", false},
		{"Sec-Fetch-Site: cross-site", false},
		{"Sec-Fetch-Site: Same-Origin", false},
		{"Sec-Fetch-Site:", false},
		{"Sec-Fetch-Site: same-origin|Sec-Fetch-Site: cross-site", false},
		{"Sec-Fetch-Site: cross-site|Origin: " + site, false},
		{"Origin: " + site, true},
		{"Origin: https://evil.example", false},
		{"Origin: null", false},
		{"Origin:", false},
		{"Origin: http://app.example.com", false},
		{"Origin: https://app.example.com:444", false},
		{"Origin: https://app.example.com.evil.example", false},
		{"Origin: https://evil.example|Host: evil.example", false}, // Host is the client's choice
		{"Origin: " + site + "|Origin: https://evil.example", false},
	}
	routes := []struct {
		method, path string
		refused      int
	}{{"POST", "/wecom/attempt", 403}, {"POST", "/wecom/session", 403}, {"DELETE", "/wecom/session", 403}}
	for _, tt := range tests {
		t.Run(tt.headers, func(t *testing.T) {
			w := newWorld(t)
			for _, route := range routes {
				b := w.signedIn("wangwu")
				m := w.mint(b)
				w.fake.ResetCalls()
				body := pair(w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan"}), m.State)
				r := httptest.NewRequest(route.method, site+route.path, strings.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				for line := range strings.SplitSeq(tt.headers, "|") {
					name, value, _ := strings.Cut(line, ":")
					switch value = strings.TrimSpace(value); name {
					case "":
					case "Host":
						r.Host = value
					default:
						r.Header.Add(name, value)
					}
				}
				res := b.Do(r)
				if tt.allowed {
					assert.Less(t, res.Status, 300, "%s %s: %s", route.method, route.path, res.Body)
					continue
				}
				assert.Equal(t, route.refused, res.Status, "%s %s: %s", route.method, route.path, res.Body)
				sealed(t, res)
				code, _ := refusal(t, res)
				assert.Equal(t, "cross_origin", code)
				assert.Empty(t, res.Header["Set-Cookie"])
				assert.Zero(t, w.fake.TotalCalls())
				assert.Equal(t, "wangwu", who(b))
			}
		})
	}
}

// A stranger's page can make a browser send the stranger's code and state; in
// the scripted browser it has every way that a page has.
func TestT5_ScriptLoginCSRF(t *testing.T) {
	for _, before := range []string{"", "wangwu"} {
		t.Run("signed in as "+before, func(t *testing.T) {
			w := newWorld(t)
			stranger := w.browser()
			theirs := w.mint(stranger)
			code := w.fake.IssueCode(wecomtest.Grant{Who: "lisi"})

			victim := w.browser()
			if before != "" {
				victim = w.signedIn(before)
			}
			mine := w.mint(victim)
			w.fake.ResetCalls()
			evil := func() *wecomtest.Browser { return victim.From("https://evil.example") }
			for _, state := range []string{theirs.State, mine.State} {
				evil().Fetch("POST", site+"/wecom/session", pair(code, state), asJSON)
				evil().Fetch("POST", site+"/wecom/session", pair(code, state))
				evil().PostForm(site+"/wecom/session", map[string][]string{"code": {code}, "state": {state}})
				evil().Fetch("POST", site+"/wecom/attempt", "{}", asJSON)
				evil().Fetch("DELETE", site+"/wecom/session", "")
				assert.Equal(t, before, who(victim))
			}
			// Even from a page of our own: the stranger's attempt is not this browser's.
			res := handIn(victim, code, theirs.State)
			assert.Equal(t, 409, res.Status, res.Body)
			refused, _ := refusal(t, res)
			assert.Equal(t, "attempt_lost", refused)
			assert.Equal(t, before, who(victim))
			assert.Zero(t, w.fake.TotalCalls())
			assert.Zero(t, w.fake.Sent(code))

			assert.Equal(t, 200, handIn(stranger, code, theirs.State).Status, "which is theirs to use")
		})
	}
}

func TestScriptAttemptLost(t *testing.T) {
	t.Run("no cookie", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser()
		m := w.mint(b)
		b.DropCookies()
		code := w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan"})
		w.fake.ResetCalls()
		res := handIn(b, code, m.State)
		assert.Equal(t, 409, res.Status)
		sealed(t, res)
		lost, loginURL := refusal(t, res)
		assert.Equal(t, "attempt_lost", lost)
		assert.Equal(t, "/wecom/login", loginURL)
		assert.Zero(t, w.fake.TotalCalls())
		assert.Zero(t, w.fake.Sent(code), "the code is as good as before")
		assert.Equal(t, 200, handIn(b, code, w.mint(b).State).Status)
	})

	t.Run("another browser's cookie", func(t *testing.T) {
		w := newWorld(t)
		a, b := w.browser(), w.browser()
		m := w.mint(a)
		w.mint(b)
		res := handIn(b, w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan"}), m.State)
		assert.Equal(t, 409, res.Status)
		assert.Zero(t, w.exchanges())
	})

	// Somebody signed in must not be told that the code was theirs.
	for _, before := range []string{"", "wangwu"} {
		t.Run("too old, signed in as "+before, bubble(func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			if before != "" {
				b = w.signedIn(before)
			}
			w.fake.ResetCalls()
			m := w.mint(b)
			cookies := b.Cookies("/")
			time.Sleep(10 * time.Minute)
			r := httptest.NewRequest("POST", site+"/wecom/session", strings.NewReader(pair(w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan"}), m.State)))
			r.Header.Set("Content-Type", "application/json")
			with(r, cookies)
			rec := do(w.app, r)
			assert.Equal(t, 409, rec.Code, rec.Body)
			assert.Contains(t, rec.Body.String(), `"attempt_lost"`)
			assert.Zero(t, w.fake.TotalCalls())
			assert.Equal(t, before, who(b))
		}))
	}
}

func TestT6_ScriptReplays(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	m := w.mint(b)
	code := w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan"})
	require.Equal(t, 200, handIn(b, code, m.State).Status)

	again := handIn(b, code, m.State)
	assert.Equal(t, 200, again.Status, "by the browser that was signed in with it")
	assert.Contains(t, again.Body, `"zhangsan"`)
	other := handIn(b, w.fake.IssueCode(wecomtest.Grant{Who: "lisi"}), m.State)
	assert.Contains(t, other.Body, `"zhangsan"`, "an attempt is used once, whatever the code")

	require.Equal(t, 204, b.Fetch("DELETE", "/wecom/session", "").Status)
	gone := handIn(b, code, m.State)
	assert.Equal(t, 409, gone.Status, "nobody comes back by a replay")
	assert.Empty(t, who(b))

	used := handIn(b, code, w.mint(b).State)
	assert.Equal(t, 409, used.Status)
	refused, _ := refusal(t, used)
	assert.Equal(t, "code_rejected", refused)
	assert.Equal(t, 1, w.exchanges())
	assert.Equal(t, 1, w.fake.Sent(code))
}

func TestScriptDeliveredTwiceAtOnce(t *testing.T) {
	eachCarrier(t, func(t *testing.T, w *world, _ *testStore, _ *scs.SessionManager) {
		b := w.browser()
		m := w.mint(b)
		arrived, release := make(chan struct{}), make(chan struct{})
		w.fake.Script("auth/getuserinfo", wecomtest.Fault{OnCall: func(*http.Request) { close(arrived); <-release }})
		code := w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan"})

		const n = 8
		answers := make([]*wecomtest.Response, n)
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() { answers[i] = handIn(b.Tab(), code, m.State) })
		}
		<-arrived
		close(release)
		all.Wait()
		for _, res := range answers {
			assert.Equal(t, 200, res.Status, res.Body)
			assert.Contains(t, res.Body, `"zhangsan"`)
		}
		assert.Equal(t, 1, w.exchanges())
		assert.Equal(t, 1, w.fake.Sent(code))
		assert.Equal(t, "zhangsan", who(b))
	})
}

// Somebody signs in on a browser that is signed in, as another person or again: the
// earlier session ends, on the server too.
func TestT8_ScriptSignInReplacesTheSession(t *testing.T) {
	for _, next := range []string{"lisi", "wangwu"} {
		eachCarrier(t, func(t *testing.T, w *world, _ *testStore, _ *scs.SessionManager) {
			b := w.signedIn("wangwu")
			old := b.Cookies("/")
			res := handIn(b, w.fake.IssueCode(wecomtest.Grant{Who: next}), w.mint(b).State)
			require.Equal(t, 200, res.Status, res.Body)
			assert.Equal(t, next, who(b))
			r := with(httptest.NewRequest("GET", site+"/wecom/session", nil), old)
			assert.Equal(t, 401, do(w.app, r).Code, "the earlier cookie is worth nothing")
		})
	}
}

func TestScriptSignInFailures(t *testing.T) {
	tests := []struct {
		desc   string
		who    string
		at     string // what the fault is about, if not the exchange
		fault  *wecomtest.Fault
		change func(*wecom.Options)
		status int
		code   string
	}{
		{"outsider", "oFakeOutsider0000000000000001", "", nil, nil, 403, "outsider"},
		{"linked corp", "wwfedcba9876543210/zhouba", "", nil, nil, 403, "linked_corp"},
		{"code used", "zhangsan", "", &wecomtest.Fault{ErrCode: 40029}, nil, 409, "code_rejected"},
		{"setup", "zhangsan", "", &wecomtest.Fault{ErrCode: 60020}, nil, 500, "setup_fault"},
		{"limit", "zhangsan", "", &wecomtest.Fault{ErrCode: 45009}, nil, 503, "busy"},
		{"down", "zhangsan", "gettoken", &wecomtest.Fault{Drop: wecomtest.DropDial}, nil, 503, "wecom_unavailable"},
		{"fate unknown", "zhangsan", "", &wecomtest.Fault{Drop: wecomtest.DropAfter}, nil, 409, "code_rejected"},
		{"store down", "zhangsan", "", nil, func(o *wecom.Options) { o.SessionStore = brokenStore() }, 503, "session_store"},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			var change []func(*wecom.Options)
			if tt.change != nil {
				change = append(change, tt.change)
			}
			w := newWorld(t, change...)
			if tt.fault != nil {
				w.fake.Always(cmp.Or(tt.at, "auth/getuserinfo"), *tt.fault)
			}
			b := w.browser()
			res := handIn(b, w.fake.IssueCode(wecomtest.Grant{Who: tt.who}), w.mint(b).State)
			assert.Equal(t, tt.status, res.Status, res.Body)
			sealed(t, res)
			code, _ := refusal(t, res)
			assert.Equal(t, tt.code, code)
			assert.Equal(t, tt.status == 503, res.Header.Get("Retry-After") != "")
			assert.NotContains(t, res.Body, "errmsg")
			for _, c := range (&http.Response{Header: res.Header}).Cookies() {
				assert.Contains(t, c.Name[len("__Host-wecom-"):], "-", "no session: %s", c.Name)
			}
			assert.Empty(t, who(b))
		})
	}
}

// Two pages of one browser begin while nobody is signed in: the second sign-in does not end what
// the first one loads.
func TestT7_AScriptDoesNotEndAnothersSession(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	first, second := w.mint(b), w.mint(b)
	require.Equal(t, 200, handIn(b, w.code("zhangsan"), first.State).Status)
	loading := b.Cookies("/")
	require.Equal(t, 200, handIn(b, w.code("zhangsan"), second.State).Status)
	assert.Equal(t, 200, do(w.app, with(request("GET", "/"), loading)).Code)
}

// brokenStore is a database that takes no rows.
func brokenStore() *testStore {
	store := newTestStore()
	store.set(failing("Commit", errors.New("store: down")))
	return store
}

// A GET's body and query change nothing about its answer.
func TestScriptGetReadsNothing(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	m := w.mint(b)
	code := w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan"})
	w.fake.ResetCalls()
	r := httptest.NewRequest("GET", site+"/wecom/session?code="+code+"&state="+m.State, strings.NewReader(pair(code, m.State)))
	r.Header.Set("Content-Type", "application/json")
	assert.Equal(t, 401, b.Do(r).Status)
	assert.Zero(t, w.fake.TotalCalls())
	assert.Empty(t, who(b))
}

// Whatever a script sends, it gets JSON or nothing, no session, no redirect and no call to WeCom.
func FuzzScriptSession(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", "[]", `"x"`, `{"code":"a","state":"b"}`, `{"code":null}`, `{"code":1,"state":{}}`, "{\"code\":\"\xff\"}",
		pair("code", strings.Repeat("0", 76)), `{"state":"` + strings.Repeat("f", 128) + `","code":""}`, strings.Repeat("[", 4096),
	} {
		f.Add("/wecom/session", "application/json", seed)
	}
	f.Add("/wecom/attempt", "application/json; charset=utf-8", `{"return_to":"//evil.example"}`)
	f.Add("/wecom/attempt", "text/plain", `{"return_to":"/x"}`)
	fake := wecomtest.New()
	auth, err := wecom.New(fake.Options(site + "/wecom/callback"))
	require.NoError(f, err)
	app := auth.Handler(hello())
	f.Fuzz(func(t *testing.T, path, contentType, body string) {
		if path != "/wecom/attempt" {
			path = "/wecom/session"
		}
		r := httptest.NewRequest("POST", site+path, strings.NewReader(body))
		r.Header["Content-Type"] = []string{contentType}
		rec := do(app, r)
		h := rec.Header()
		require.True(t, json.Valid(rec.Body.Bytes()), rec.Body)
		require.Empty(t, h.Get("Location"))
		require.Equal(t, "no-store", h.Get("Cache-Control"))
		require.Zero(t, fake.TotalCalls())
		if path == "/wecom/session" {
			require.True(t, slices.Contains([]int{400, 413, 415}, rec.Code), rec.Code)
			require.Empty(t, h["Set-Cookie"])
			return
		}
		require.True(t, slices.Contains([]int{200, 400, 413, 415}, rec.Code), rec.Code)
		var m minted
		if rec.Code == 200 && json.Unmarshal(rec.Body.Bytes(), &m) == nil {
			require.Regexp(t, `^/([^/\\]|$)`, m.ReturnTo)
		}
	})
}

// An app on a phone has the code from WeCom's login SDK: its HTTP client has a cookie jar, and
// sends none of a browser's headers.
func TestAppWithALoginSDK(t *testing.T) {
	fake := wecomtest.New()
	site := httptest.NewUnstartedServer(nil)
	origin := "http://" + site.Listener.Addr().String()
	auth, err := wecom.New(fake.Options(origin + "/wecom/callback"))
	require.NoError(t, err)
	site.Config.Handler = auth.Handler(hello())
	site.Start()
	defer site.Close()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	app := &http.Client{Jar: jar}
	post := func(client *http.Client, path string, body any, into any) int {
		res, err := client.Post(origin+path, "application/json", bytes.NewReader(must(json.Marshal(body))))
		require.NoError(t, err)
		defer res.Body.Close()
		require.NoError(t, json.NewDecoder(res.Body).Decode(into))
		return res.StatusCode
	}
	var begun struct{ State, AppID, AgentID string }
	require.Equal(t, 200, post(app, "/wecom/attempt", struct{}{}, &begun))
	assert.Equal(t, fake.CorpID(), begun.AppID)
	code := map[string]string{"code": fake.IssueCode(wecomtest.Grant{Who: "zhangsan"}), "state": begun.State}

	var refused struct{ Error string }
	assert.Equal(t, 409, post(&http.Client{}, "/wecom/session", code, &refused), "another phone")
	var id wecom.Identity
	require.Equal(t, 200, post(app, "/wecom/session", code, &id))
	assert.Equal(t, "zhangsan", id.UserID)
	res, err := app.Get(origin + "/api")
	require.NoError(t, err)
	defer res.Body.Close()
	assert.Equal(t, 200, res.StatusCode)
}
