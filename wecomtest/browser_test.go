package wecomtest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/wecomauth/wecom/wecomtest"
)

const origin = "https://app.example.com"

// app signs in with nothing but package net/http: what any other WeCom client does.
func app(fake *wecomtest.Fake, client *http.Client) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("__Host-user"); err == nil {
			fmt.Fprint(w, "hello "+c.Value)
			return
		}
		q := "redirect_uri=" + url.QueryEscape(origin+"/callback") + "&state=0a"
		http.Redirect(w, r, "https://login.work.weixin.qq.com/wwlogin/sso/login?login_type=CorpApp&appid="+fake.CorpID()+"&agentid="+fake.AgentID()+"&"+q, http.StatusFound)
	})
	mux.HandleFunc("/callback", func(w http.ResponseWriter, r *http.Request) {
		who := exchange(client, fake.CorpID(), fake.Secret(), r.URL.Query().Get("code"))
		http.SetCookie(w, &http.Cookie{Name: "__Host-user", Value: fmt.Sprint(who["userid"]), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	return mux
}

func get(client *http.Client, u string) map[string]any { return decode(client.Get(u)) }

// decode returns the answer's fields, or what went wrong as the field "error".
func decode(res *http.Response, err error) map[string]any {
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	var v map[string]any
	if json.Unmarshal(b, &v) != nil {
		return map[string]any{"error": string(b)}
	}
	return v
}

func exchange(client *http.Client, corp, secret, code string) map[string]any {
	const api = "https://qyapi.weixin.qq.com/cgi-bin/"
	t := get(client, api+"gettoken?corpid="+corp+"&corpsecret="+secret)
	return get(client, api+"auth/getuserinfo?access_token="+fmt.Sprint(t["access_token"])+"&code="+code)
}

func TestSignIn(t *testing.T) {
	fake := wecomtest.New()
	b := fake.Browser(origin, app(fake, fake.Client())).SignInAs("zhangsan")
	res := b.Get("/")
	require.NoError(t, res.Err)
	assert.Equal(t, 200, res.Status)
	assert.Equal(t, "hello zhangsan", res.Body)
	assert.Len(t, res.Hops, 4)
	assert.Equal(t, 1, fake.Calls("/wwlogin/sso/login"))
	assert.Equal(t, 2, fake.TotalCalls())
	require.Len(t, fake.Codes(), 1)
	assert.True(t, fake.Codes()[0].Used)
	assert.Equal(t, 1, fake.Codes()[0].Sent)
}

// What a browser makes of a redirect decides whether it was an open one.
func TestRedirectsAsBrowsersResolveThem(t *testing.T) {
	for location, want := range map[string]string{
		"/x":                        origin + "/x",
		"x":                         origin + "/a/x",
		"?q=1":                      origin + "/a/b?q=1",
		"../x":                      origin + "/x",
		"/a/./b/%2e%2E/c":           origin + "/a/c",
		"/..":                       origin + "/",
		"/a/..":                     origin + "/",
		"/a/.":                      origin + "/a/",
		"//evil.test/x":             "https://evil.test/x",
		`/\evil.test/x`:             "https://evil.test/x",
		`\\evil.test\x`:             "https://evil.test/x",
		`/\/evil.test`:              "https://evil.test/",
		"///evil.test":              "https://evil.test/",
		"/\t/evil.test":             "https://evil.test/",
		"https:evil":                origin + "/a/evil",
		"https:/evil":               origin + "/evil",
		"https:///evil.test":        "https://evil.test/",
		"http:evil.test":            "http://evil.test/",
		"HTTPS://EVIL.test:443/x":   "https://evil.test/x",
		"https://u:p@evil.test/":    "https://evil.test/",
		"https://a@b@evil.test":     "https://evil.test/",
		`https://evil.test\@app/`:   "https://evil.test/@app/",
		"/%2Fevil.test":             origin + "/%2Fevil.test",
		"/x#frag":                   origin + "/x#frag",
		"/南?q=南 'x'":                origin + "/%E5%8D%97?q=%E5%8D%97%20%27x%27",
		"javascript:alert(1)":       "",
		"https://":                  "",
		"https://a b/":              "",
		"https://evil.test:x/":      "",
		"https://evil.test:99999/":  "",
		"https://evil.test:/":       "https://evil.test/",
		"https://[::1]:8443/x":      "https://[::1]:8443/x",
		"no+scheme.but-a:colon":     "",
		"":                          "",
		" https://evil.test/ ":      "https://evil.test/",
		"https://%65vil.test/":      "https://evil.test/",
		"https://evil.test?x":       "https://evil.test/?x",
		"https://evil.test/?u=//x/": "https://evil.test/?u=//x/",
	} {
		b := wecomtest.New().Browser(origin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusFound)
		}))
		res := b.GetNoFollow("/a/b")
		assert.Equal(t, want, res.Location(), "%q", location)
	}
}

func TestRequestTargets(t *testing.T) {
	b := wecomtest.New().Browser(origin, landing)
	for _, path := range []string{
		"/", "/a%2Fb?x=1&y=%20+&z=//e", "//evil.test/x", "/a//b", "/%E5%8D%97", "/a;b=c", "/?", "/x?return_to=https://evil.test",
	} {
		assert.Equal(t, path, b.Get(path).Body, "byte for byte")
	}
	assert.Equal(t, "/%E5%8D%97?q=%22", b.Get(`/南?q="`).Body)
	assert.Equal(t, "/x", b.Get("/y/../x#frag").Body)
	assert.Equal(t, origin+"/x#frag", b.Get("/x#frag").URL)
	assert.Error(t, b.Get("ftp://example.com").Err)
	assert.Error(t, b.Get("no url").Err)
	assert.Error(t, b.Get("https://nowhere.test/").Err)
	assert.Error(t, b.Get("/%zz").Err)
	assert.Error(t, b.From(origin).Click("mailto:x").Err)
	assert.Nil(t, b.Cookies("ftp://x"))
	var n int
	assert.NoError(t, (&wecomtest.Response{Body: "7"}).JSON(&n))
	assert.Equal(t, 7, n)
}

// seen is an application that tells which headers it saw.
func seen(names ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusSeeOther)
			return
		}
		if policy := r.URL.Query().Get("policy"); policy != "" {
			w.Header().Set("Referrer-Policy", policy)
		}
		w.Header().Set("Access-Control-Allow-Origin", "*")
		var out []string
		for _, name := range names {
			out = append(out, r.Header.Get(name))
		}
		fmt.Fprint(w, r.Method+" "+strings.Join(out, "|"))
	})
}

func TestFetchMetadata(t *testing.T) {
	fake := wecomtest.New()
	newTab := func() *wecomtest.Browser {
		h := seen("Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-User")
		return fake.Browser(origin, h).Serve("https://www.example.com", h).Serve("https://evil.test", h).Serve("http://plain.test", h).SignInAs("lisi")
	}
	b := newTab()
	assert.Equal(t, "GET none|navigate|document|?1", b.Get("/").Body)
	assert.Equal(t, "GET same-origin|navigate|document|?1", b.Click("/x").Body)
	assert.Equal(t, "POST same-origin|navigate|document|?1", b.Post("/x").Body)
	assert.Equal(t, "PUT same-origin|cors|empty|", b.Fetch("put", "/x", "body").Body)
	assert.Equal(t, "GET same-site|navigate|document|?1", b.Click("https://www.example.com/").Body)
	assert.Equal(t, "GET same-site|cors|empty|", b.Fetch("GET", origin+"/", "").Body)
	assert.Equal(t, "GET cross-site|navigate|document|?1", b.From("https://evil.test").Click(origin+"/").Body)
	assert.Equal(t, "GET none|navigate|document|?1", newTab().Get("https://evil.test/?to="+origin).Body, "nobody but the user started it")
	assert.Equal(t, "GET cross-site|navigate|document|?1", b.From(origin).Click("https://evil.test/?to="+origin+"/").Body, "the worst hop counts")
	assert.Equal(t, "GET |||", b.Get("http://plain.test/").Body, "not without https")

	// A web login is ended by a script of WeCom's page; an in-app one by a real redirect.
	assert.Equal(t, "GET cross-site|navigate|document|", newTab().Get(link(web, goodWeb)).Body)
	assert.Equal(t, "GET none|navigate|document|?1", newTab().Get(link(inApp, goodInApp)).Body)
	const sibling = "https://app.weixin.qq.com"
	b2 := fake.Browser(sibling, seen("Sec-Fetch-Site")).SignInAs("lisi")
	assert.Equal(t, "GET same-site", b2.From("https://evil.test").Click(link(web, goodWeb, "redirect_uri", sibling)).Body, "what came before does not count")
	assert.Equal(t, "GET |||", b.FetchMetadata(false).Get("/").Body)
}

func TestHeaders(t *testing.T) {
	fake := wecomtest.New()
	b := fake.Browser(origin, seen("User-Agent", "Accept", "Accept-Language", "X-Requested-With"))
	assert.Regexp(t, `^GET Mozilla/5.0 .*Chrome/.*\|text/html,.*\|zh-CN,zh;q=0.9,en;q=0.8\|$`, b.Get("/").Body)
	assert.Regexp(t, `\|\*/\*\|zh-CN,zh;q=0.9,en;q=0.8\|$`, b.Fetch("GET", "/", "").Body)
	assert.Regexp(t, `wxwork/.*\|text/html.*\|en\|com.tencent.wework$`, b.InApp().SetLanguage("en").Get("/").Body)
	assert.Regexp(t, `\|application/json\|en\|XMLHttpRequest$`, b.Fetch("GET", "/", "", "Accept: application/json", "X-Requested-With: XMLHttpRequest").Body)

	b = fake.Browser(origin, seen("Content-Type", "Origin", "Referer")).Serve("https://evil.test", seen("Content-Type", "Origin", "Referer")).Serve("http://plain.test", seen("Origin", "Referer"))
	assert.Equal(t, "GET ||", b.Get("/a?b").Body)
	assert.Equal(t, "GET ||"+origin+"/a?b", b.Click("/c").Body)
	assert.Equal(t, "POST application/x-www-form-urlencoded|"+origin+"|"+origin+"/c", b.Post("/d").Body)
	assert.Equal(t, "GET ||"+origin+"/d", b.Click("?to=/e").Body, "no Content-Type after a 303")
	assert.Equal(t, "POST text/plain;charset=UTF-8|"+origin+"|"+origin+"/e", b.Fetch("POST", "/f", "x").Body)
	assert.Equal(t, "GET |"+origin+"|"+origin+"/", b.Fetch("GET", "https://evil.test/", "").Body)
	assert.Equal(t, "GET ||"+origin+"/", b.Click("https://evil.test/").Body, "an origin and no more")
	for policy, want := range map[string][4]string{ // to the same origin, to another, to http, by a form
		"no-referrer":     {"GET ||", "GET ||", "GET |", "POST application/x-www-form-urlencoded|null|"},
		"origin":          {"GET ||" + origin + "/", "GET ||" + origin + "/", "GET |" + origin + "/", "POST application/x-www-form-urlencoded|" + origin + "|" + origin + "/"},
		"same-origin":     {"GET ||" + origin + "/?policy=same-origin", "GET ||", "GET |", "POST application/x-www-form-urlencoded|null|"},
		"unsafe-url":      {"GET ||" + origin + "/?policy=unsafe-url", "GET ||" + origin + "/?policy=unsafe-url", "GET |" + origin + "/?policy=unsafe-url", "POST application/x-www-form-urlencoded|" + origin + "|" + origin + "/?policy=unsafe-url"},
		"strict-origin":   {"GET ||" + origin + "/", "GET ||" + origin + "/", "GET |", "POST application/x-www-form-urlencoded|" + origin + "|" + origin + "/"},
		"never-heard-of-": {"GET ||" + origin + "/?policy=never-heard-of-", "GET ||" + origin + "/", "GET |", "POST application/x-www-form-urlencoded|" + origin + "|" + origin + "/"},
	} {
		page := "/?policy=" + policy
		to := origin + "/x"
		b.Get(page)
		assert.Equal(t, want[3], b.Post("https://evil.test/").Body, policy)
		b.Get(page)
		assert.Equal(t, want[0], b.Click(to).Body, policy)
		b.Get(page)
		assert.Equal(t, want[1], b.Click("https://evil.test/").Body, policy)
		b.Get(page)
		assert.Equal(t, want[2], b.Click("http://plain.test/").Body, policy)
	}
}

func TestCORS(t *testing.T) {
	b := wecomtest.New().Browser(origin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, link(web, goodWeb), http.StatusFound)
	})).SignInAs("lisi")
	res := b.Fetch("GET", "/api", "")
	assert.ErrorContains(t, res.Err, "CORS")
	assert.Len(t, res.Hops, 2, "but it was asked")
}

func TestRedirectMethods(t *testing.T) {
	for status, want := range map[int]string{301: "GET ", 302: "GET ", 303: "GET ", 307: "POST a=1", 308: "POST a=1"} {
		b := wecomtest.New().Browser(origin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				http.Redirect(w, r, "/x", status)
				return
			}
			body, _ := io.ReadAll(r.Body)
			fmt.Fprint(w, r.Method+" "+string(body))
		}))
		assert.Equal(t, want, b.PostForm("/", url.Values{"a": {"1"}}).Body, status)
	}
}

func TestTooManyRedirects(t *testing.T) {
	b := wecomtest.New().Browser(origin, http.RedirectHandler("/", http.StatusFound))
	res := b.Get("/")
	assert.ErrorIs(t, res.Err, wecomtest.ErrTooManyRedirects)
	assert.Zero(t, res.Status)
	assert.Len(t, res.Hops, 21)
}

func TestHoldingACallback(t *testing.T) {
	fake := wecomtest.New()
	a := app(fake, fake.Client())
	mallory, victim := fake.Browser(origin, a).SignInAs("lisi"), fake.Browser(origin, a)
	mallory.StopAt(func(r *http.Request) bool { return r.URL.Path == "/callback" })
	held := mallory.Get("/")
	require.True(t, held.Held)
	assert.Zero(t, held.Status)
	assert.Len(t, held.Hops, 2)
	assert.Contains(t, held.URL, origin+"/callback?code=")
	assert.Empty(t, held.Location())
	assert.Equal(t, 0, fake.Calls("auth/getuserinfo"))

	tab := mallory.Tab()
	assert.Equal(t, "hello lisi", tab.Get("/").Body, "other tabs go on")
	assert.Equal(t, "hello lisi", victim.Follow(held).Body)
	assert.Equal(t, "hello lisi", victim.Get("/").Body)
	res := mallory.Follow(held)
	assert.Equal(t, "hello <nil>", res.Body, "the code is used up: no userid came")
	assert.Error(t, victim.Follow(res).Err, "nothing more to follow")
	mallory.StopAt(nil)

	step := victim.GetNoFollow("/?x")
	assert.Equal(t, 200, step.Status)
	victim.DropCookies()
	step = victim.GetNoFollow("/")
	assert.Equal(t, 302, step.Status)
	assert.Contains(t, step.Location(), web)
	assert.Contains(t, victim.Follow(step).Body, "企业微信登录")
}

func TestTabsShareWhatBrowsersShare(t *testing.T) {
	b := wecomtest.New().Browser(origin, echo)
	tab := b.Tab()
	b.Get("/?set=a%3D1")
	assert.Equal(t, "a=1", tab.Get("/").Body)
	assert.Len(t, b.History(), 1)
	assert.Equal(t, wecomtest.Hop{Method: "GET", URL: origin + "/", Status: 200}, tab.History()[0])
}

func TestDo(t *testing.T) {
	b := wecomtest.New().Browser(origin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s %s %q %s|%s", r.Method, r.Host, r.RequestURI, r.URL.Path, r.RemoteAddr, r.Header["Cookie"], r.UserAgent(), body)
	}))
	b.SetCookie(origin, "a=1; SameSite=Strict")
	r, err := http.NewRequest("POST", "/x?y", strings.NewReader("body"))
	require.NoError(t, err)
	assert.Regexp(t, `^POST app.example.com /x\?y /x 100\.64\.\d+\.\d+:50000 \["a=1"\] \|body$`, b.Do(r).Body)
	r, err = http.NewRequest("GET", origin+"/x", nil)
	require.NoError(t, err)
	r.Host, r.RequestURI, r.RemoteAddr = "evil.test", "http://other.test//p?q", "192.0.2.9:1"
	r.Header.Set("Cookie", "b=2")
	assert.Equal(t, `GET evil.test http://other.test//p?q //p 192.0.2.9:1 ["b=2; a=1"] |`, b.Do(r).Body)
	r, err = http.NewRequest("HEAD", origin, nil)
	require.NoError(t, err)
	assert.Empty(t, b.Do(r).Body)
	r, err = http.NewRequest("GET", "ftp://x/", nil)
	require.NoError(t, err)
	assert.Error(t, b.Do(r).Err)
	r, err = http.NewRequest("POST", origin, errReader{})
	require.NoError(t, err)
	assert.Error(t, b.Do(r).Err)
}

// Handlers run under the same rules as behind net/http's server.
func TestHandlersInProcess(t *testing.T) {
	var body string
	b := wecomtest.New().Browser(origin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/tls":
			assert.NotNil(t, r.TLS)
			assert.Equal(t, "", r.URL.Host)
		case "/early":
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("X-A", "1")
			_, _ = io.WriteString(w, "<html>")
			w.Header().Set("X-B", "2")
			w.WriteHeader(http.StatusTeapot)
		case "/flush":
			assert.NoError(t, http.NewResponseController(w).Flush())
			w.Header().Set("Set-Cookie", "late=1")
		case "/none":
			w.WriteHeader(http.StatusNoContent)
			_, err := io.WriteString(w, "x")
			assert.ErrorIs(t, err, http.ErrBodyNotAllowed)
		case "/inject":
			w.Header().Set("X-A", "a\r\nSet-Cookie: evil=1")
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/panic":
			panic("oops")
		case "/body":
			p, _ := io.ReadAll(r.Body)
			body = string(p)
		}
	}))
	assert.Equal(t, 200, b.Get("/tls").Status)
	res := b.Get("/early")
	assert.Equal(t, 200, res.Status)
	assert.Equal(t, http.Header{"X-A": {"1"}, "Content-Type": {"text/html; charset=utf-8"}}, res.Header)
	assert.Empty(t, b.Get("/flush").Header)
	assert.Equal(t, 204, b.Get("/none").Status)
	assert.Equal(t, "a  Set-Cookie: evil=1", b.Get("/inject").Header.Get("X-A"))
	assert.Empty(t, b.Cookies(""))
	assert.Error(t, b.Get("/abort").Err)
	assert.PanicsWithValue(t, "oops", func() { b.Get("/panic") })
	b.PostForm("/body", url.Values{"a": {"1 2"}})
	assert.Equal(t, "a=1+2", body)
}

func TestFaultsInTheBrowser(t *testing.T) {
	fake := wecomtest.New()
	b := fake.Browser(origin, landing).SignInAs("lisi")
	for _, x := range []wecomtest.Fault{{Drop: wecomtest.DropAfter}, {Drop: wecomtest.DropDial}, {Drop: wecomtest.DropMidway}} {
		fake.Script("/wwlogin/sso/login", x)
		assert.Error(t, b.Get(link(web, goodWeb)).Err)
	}
	fake.Script("/wwlogin/sso/login", wecomtest.Fault{Status: 503})
	assert.Equal(t, 503, b.Get(link(web, goodWeb)).Status)
	assert.Equal(t, 200, b.Get(link(web, goodWeb)).Status)
}

// The browser finds the fake behind a socket too, without using the socket.
func TestBrowserAtAServer(t *testing.T) {
	fake := wecomtest.New()
	s, err := fake.Start("")
	require.NoError(t, err)
	b := fake.Browser("http://127.0.0.1:8080", landing).SignInAs("lisi")
	u := link(s.Endpoints().WebLogin, goodWeb, "redirect_uri", "http://127.0.0.1:8080/cb")
	assert.Regexp(t, "^/cb", b.Get(u).Body)
	require.NoError(t, s.Close())
	assert.Error(t, b.Get(u).Err)
}
