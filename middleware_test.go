package wecom_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// T28: what an anonymous request is met with.

func TestT28_RequestShapes(t *testing.T) {
	const (
		signIn  = "to WeCom"
		page    = "to the login page" // HEAD: nothing is minted
		refused = "401"
		button  = "401 with a page"
		refresh = "401 with a Refresh" // for web-views that do not say that they navigate
	)
	const html = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	tests := []struct {
		desc    string
		method  string
		headers []string
		want    string
	}{
		{"a browser", "GET", []string{html, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-Site: none"}, signIn},
		{"a link on another site", "GET", []string{html, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-Site: cross-site"}, signIn},
		{"a reload", "GET", []string{html, "Cache-Control: no-cache", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, signIn},
		{"an old browser", "GET", []string{html}, signIn},
		{"an old browser, Accept on two lines", "GET", []string{"Accept: application/json", "Accept: text/html"}, signIn},
		{"XHTML only", "GET", []string{"Accept: application/xhtml+xml"}, signIn},
		{"media types are case-insensitive and have parameters", "GET", []string{"Accept: image/png, TEXT/HTML ; level=1;q=0.4"}, signIn},
		{"WeCom's Android web-view", "GET", []string{html, "X-Requested-With: com.tencent.wework", "User-Agent: " + wecomtest.UserAgentWeComAndroid}, signIn},
		{"another Android web-view", "GET", []string{html, "X-Requested-With: com.example.browser", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, signIn},
		{"navigate without a destination", "GET", []string{"Accept: */*", "Sec-Fetch-Mode: navigate"}, signIn},
		{"a document without a mode", "GET", []string{"Accept: */*", "Sec-Fetch-Dest: document"}, signIn},
		{"a service worker's preload of a navigation", "GET", []string{html, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Service-Worker-Navigation-Preload: true"}, signIn},

		{"HEAD of a navigation", "HEAD", []string{html}, page},
		{"HEAD of a browser", "HEAD", []string{html, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, page},
		{"HEAD of a program", "HEAD", []string{"Accept: */*"}, refused},
		{"HEAD of a script", "HEAD", []string{html, "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, refused},

		{"fetch", "GET", []string{"Accept: */*", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, refused},
		{"fetch of a page", "GET", []string{"Accept: text/html", "Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: empty"}, refused},
		{"fetch that follows nothing", "GET", []string{"Accept: text/html", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: empty"}, refused},
		{"an image", "GET", []string{"Accept: image/avif,*/*;q=0.8", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, refused},
		{"a script element", "GET", []string{"Accept: */*", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"}, refused},
		{"a frame", "GET", []string{html, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, button},
		{"an object", "GET", []string{html, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: object"}, button},
		{"a worker", "GET", []string{"Accept: */*", "Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: worker"}, refused},
		{"a mode that no browser sends", "GET", []string{html, "Sec-Fetch-Mode: NAVIGATE", "Sec-Fetch-Dest: document"}, refused},
		{"an empty destination without a mode", "GET", []string{html, "Sec-Fetch-Dest: empty"}, refresh},
		{"XMLHttpRequest by name", "GET", []string{html, "X-Requested-With: XMLHttpRequest"}, refresh},
		{"XMLHttpRequest in lower case", "GET", []string{html, "X-Requested-With: xmlhttprequest", "Sec-Fetch-Mode: navigate"}, refused},
		{"a program", "GET", []string{"Accept: */*", "User-Agent: curl/8.10"}, refresh},
		{"no Accept at all", "GET", nil, refresh},
		{"JSON", "GET", []string{"Accept: application/json"}, refresh},
		{"text/html;q=0", "GET", []string{"Accept: application/json, text/html;q=0"}, refresh},
		{"text/html;q=0.000", "GET", []string{"Accept: text/html; level=1 ; Q = 0.000, */*"}, refresh},
		{"a type that only begins like it", "GET", []string{"Accept: text/html5, text/htmlx;q=1, x-text/html"}, refresh},
		{"all texts", "GET", []string{"Accept: text/*"}, refresh},
		{"server-sent events", "GET", []string{"Accept: text/event-stream", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, refused},
		{"server-sent events of an old browser", "GET", []string{"Accept: text/event-stream"}, refresh},
		{"a WebSocket", "GET", []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-Fetch-Mode: websocket", "Sec-Fetch-Dest: empty"}, refused},
		{"an Upgrade that says that it navigates", "GET", []string{html, "Upgrade: websocket", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, refused},

		{"prefetch", "GET", []string{html, "Sec-Purpose: prefetch", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, refused},
		{"prerender", "GET", []string{html, "Sec-Purpose: prefetch;prerender", "Sec-Fetch-Mode: navigate"}, refused},
		{"a prefetch in capitals", "GET", []string{html, "Purpose: PREFETCH"}, refused},
		{"an old prefetch", "GET", []string{html, "Purpose: prefetch"}, refused},
		{"Firefox's old prefetch", "GET", []string{html, "X-Moz: prefetch"}, refused},
		{"Safari's preview", "GET", []string{html, "X-Purpose: preview"}, refused},

		{"a form", "POST", []string{html, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Content-Type: application/x-www-form-urlencoded"}, button},
		{"a form of an old browser", "POST", []string{html}, button},
		{"a form sent by a script", "POST", []string{html, "X-Requested-With: XMLHttpRequest"}, refused},
		{"fetch by POST", "POST", []string{html, "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, refused},
		{"PUT", "PUT", []string{html}, refused},
		{"PATCH", "PATCH", []string{html}, refused},
		{"DELETE", "DELETE", []string{html}, refused},
		{"OPTIONS", "OPTIONS", []string{html}, refused},
		{"TRACE", "TRACE", []string{html}, refused},
		{"a method of nobody", "BREW", []string{html}, refused},
		{"get in lower case", "get", []string{html}, refused},
	}
	w := newWorld(t)
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			r := request("GET", "/reports?x=1")
			r.Method, r.Header = tt.method, http.Header{}
			for _, line := range tt.headers {
				name, value, _ := strings.Cut(line, ": ")
				r.Header.Add(name, value)
			}
			res := do(w.app, r)
			h := res.Header()
			assert.Equal(t, "no-store", h.Get("Cache-Control"))
			for _, name := range []string{"Cookie", "Accept", "X-Requested-With", "Sec-Fetch-Mode", "Sec-Fetch-Dest"} {
				assert.Contains(t, h.Get("Vary"), name)
			}
			switch tt.want {
			case signIn:
				assert.Equal(t, 302, res.Code)
				assert.Contains(t, []string{webPage, inAppPage}, mustParse(t, h.Get("Location")).Path)
				assert.Len(t, h["Set-Cookie"], 1)
			case page:
				assert.Equal(t, 302, res.Code)
				assert.Equal(t, "/wecom/login?return_to=%2Freports%3Fx%3D1", h.Get("Location"))
				assert.Empty(t, h["Set-Cookie"], "HEAD mints nothing")
			case button:
				assert.Equal(t, 401, res.Code)
				for _, name := range []string{"Location", "Set-Cookie", "Refresh"} {
					assert.Empty(t, h[name], name)
				}
				assert.Equal(t, "text/html; charset=utf-8", h.Get("Content-Type"))
				assert.Contains(t, res.Body.String(), `<a href="/wecom/login" target="_top"`)
				assert.Contains(t, h.Get("Content-Security-Policy"), "frame-ancestors 'self'")
			default:
				assert.Equal(t, 401, res.Code)
				assert.Empty(t, h["Location"])
				assert.Empty(t, h["Set-Cookie"])
				assert.Equal(t, "application/json; charset=utf-8", h.Get("Content-Type"))
				if tt.method == "HEAD" {
					assert.Empty(t, res.Body.String())
				} else {
					var body map[string]any
					require.NoError(t, json.Unmarshal(res.Body.Bytes(), &body))
					assert.Equal(t, "login_required", body["error"])
					assert.Equal(t, "/wecom/login", body["login_url"])
				}
				want := ""
				if tt.want == refresh {
					want = "0; url=/wecom/login?return_to=%2Freports%3Fx%3D1"
				}
				assert.Equal(t, want, h.Get("Refresh"))
			}
		})
	}
	assert.Zero(t, w.fake.TotalCalls())
}

// Where WeCom is reached from: the page, its parameters and their order.
func TestBothSignInPages(t *testing.T) {
	const weixin = wecomtest.UserAgentWeixin
	agents := []struct{ desc, ua, page, weixinPage string }{
		{"Chrome", wecomtest.UserAgentChrome, webPage, webPage},
		{"no User-Agent", "", webPage, webPage},
		{"WeCom on Android", wecomtest.UserAgentWeComAndroid, inAppPage, inAppPage},
		{"WeCom on iOS", wecomtest.UserAgentWeComIOS, inAppPage, inAppPage},
		{"WeCom on Windows", wecomtest.UserAgentWeComWindows, inAppPage, inAppPage},
		{"WeCom on macOS, no space before it", wecomtest.UserAgentWeComMac, inAppPage, inAppPage},
		{"WeCom of 2017", "Mozilla/5.0 (iPhone) AppleWebKit/603.3.8 Mobile/14G60 wxwork/2.4.2 MicroMessenger/6.3.22 Language/zh", inAppPage, inAppPage},
		{"a private deployment", "Mozilla/5.0 (Windows NT 6.1) wxworklocal/3.3.0 wxwork/4.0.0 MicroMessenger/7.0.1", inAppPage, inAppPage},
		{"in capitals", "Mozilla/5.0 WXWORK/4.1.0", inAppPage, inAppPage},
		{"Weixin on a phone", weixin, webPage, inAppPage},
		{"Weixin on Windows", "Mozilla/5.0 (Windows NT 10.0) NetType/WIFI MicroMessenger/7.0.20.1781(0x6700143B) WindowsWechat(0x63090c11) XWEB/11581 Flue", webPage, inAppPage},
		{"Weixin 4 on Windows", "Mozilla/5.0 (Windows NT 10.0) MicroMessenger/7.0.20.1781 UnifiedPCWindowsWechat(0xf2541022) XWEB/16467 Flue", webPage, inAppPage},
		{"Weixin on macOS", "Mozilla/5.0 (Macintosh) MicroMessenger/6.8.0(0x16080000) MacWechat/3.8.10(0x13080a10) XWEB/1227 Flue", webPage, inAppPage},
		{"a mini program", "Mozilla/5.0 (iPhone) MicroMessenger/8.0.50(0x18003237) miniProgram/wx0123456789abcdef", webPage, inAppPage},
		{"a word that only looks like it", "Mozilla/5.0 (X11) wxworker/1.0 wxwork 4", webPage, webPage},
	}
	const callback = "redirect_uri=https%3A%2F%2Fapp.example.com%2Fwecom%2Fcallback"
	for _, p := range []struct {
		page  wecom.Page
		scope string
		want  func(auto, weixin string) string
	}{
		{wecom.PageAuto, "", func(auto, _ string) string { return auto }},
		{wecom.PageAuto, "snsapi_privateinfo", func(auto, _ string) string { return auto }},
		{wecom.PageInApp, "snsapi_base", func(_, _ string) string { return inAppPage }},
		{wecom.PageWeb, "", func(_, _ string) string { return webPage }},
		{wecom.PageWeixin, "", func(_, weixin string) string { return weixin }},
	} {
		w := newWorld(t, func(o *wecom.Options) { o.Page, o.Scope = p.page, p.scope })
		for _, a := range agents {
			t.Run(fmt.Sprintf("%s/%s/%s", p.page, p.scope, a.desc), func(t *testing.T) {
				r := request("GET", "/")
				r.Header.Set("User-Agent", a.ua)
				r.Header.Set("Accept-Language", "en-GB,en;q=0.9,zh;q=0.8")
				location := do(w.app, r).Header().Get("Location")
				state := stateOf(t, location)
				require.Len(t, state, 76)
				scope := p.scope
				if scope == "" {
					scope = "snsapi_base"
				}
				if p.want(a.page, a.weixinPage) == inAppPage {
					assert.Equal(t, "https://open.weixin.qq.com/connect/oauth2/authorize?appid=ww0123456789abcdef&"+callback+
						"&response_type=code&scope="+scope+"&state="+state+"&agentid=1000002#wechat_redirect", location)
				} else {
					assert.Equal(t, "https://login.work.weixin.qq.com/wwlogin/sso/login?login_type=CorpApp&appid=ww0123456789abcdef&agentid=1000002&"+callback+
						"&state="+state+"&lang=en", location)
				}
			})
		}
	}

	t.Run("without an agent id", func(t *testing.T) {
		w := newWorld(t, func(o *wecom.Options) { o.Page, o.AgentID = wecom.PageInApp, "" })
		location := do(w.app, request("GET", "/")).Header().Get("Location")
		assert.NotContains(t, location, "agentid")
		assert.True(t, strings.HasSuffix(location, "#wechat_redirect"))
	})
	t.Run("at other hosts", func(t *testing.T) {
		w := newWorld(t, func(o *wecom.Options) {
			o.Endpoints = wecom.Endpoints{Authorize: "https://wx.example.com/a", WebLogin: "https://wx.example.com/b"}
		})
		r := request("GET", "/")
		assert.True(t, strings.HasPrefix(do(w.app, r).Header().Get("Location"), "https://wx.example.com/b?login_type=CorpApp&"))
		r.Header.Set("User-Agent", wecomtest.UserAgentWeComMac)
		assert.True(t, strings.HasPrefix(do(w.app, r).Header().Get("Location"), "https://wx.example.com/a?appid="))
	})
}

func TestLanguage(t *testing.T) {
	for _, tt := range []struct{ option, accept, want string }{
		{"", "", "zh"},
		{"", "zh-CN,zh;q=0.9,en;q=0.8", "zh"},
		{"", "en-US,en;q=0.9", "en"},
		{"", "fr, de", "zh"},
		{"en", "zh-CN", "en"},
		{"zh", "en", "zh"},
	} {
		w := newWorld(t, func(o *wecom.Options) { o.Language = tt.option })
		r := request("GET", "/")
		r.Header.Set("Accept-Language", tt.accept)
		assert.Equal(t, tt.want, mustParse(t, do(w.app, r).Header().Get("Location")).Query().Get("lang"), "%+v", tt)

		r = request("GET", "/wecom/callback")
		r.Header.Set("Accept-Language", tt.accept)
		body := do(w.app, r).Body.String()
		assert.Equal(t, tt.want == "en", strings.Contains(body, "Sign in again"), "%+v", tt)
		assert.Equal(t, tt.want == "zh", strings.Contains(body, "重新登录"), "%+v", tt)
	}
}

// T13 and T3: what proxies and clients say about the address changes nothing.
func TestT13_T3_HeadersDecideNothing(t *testing.T) {
	const evil = "evil.example"
	variants := []string{
		"Host: evil.example", "Host: evil.example:443", "Host: app.example.com.evil.example", "Host: app.example.com:8443",
		"X-Forwarded-Host: evil.example", "X-Forwarded-Host: evil.example, app.example.com", "X-Forwarded-Server: evil.example",
		"X-Forwarded-Proto: http", "X-Forwarded-Proto: javascript", "X-Forwarded-Scheme: http", "X-Forwarded-Ssl: off", "X-Url-Scheme: http", "Front-End-Https: off",
		"X-Forwarded-Port: 8443", "X-Forwarded-Prefix: //evil.example", "X-Forwarded-Path: /wecom/signed-out",
		"Forwarded: host=evil.example;proto=http;for=127.0.0.1", "X-Host: evil.example", "X-Original-Host: evil.example",
		"X-Original-URL: /wecom/signed-out", "X-Rewrite-URL: /wecom/signed-out", "X-Original-URI: //evil.example/", "X-Forwarded-Uri: https://evil.example/", "X-Envoy-Original-Path: /wecom/signed-out",
		"X-Auth-Request-Redirect: https://evil.example/", "X-Forwarded-Method: POST", "X-HTTP-Method-Override: POST", "X-Replaced-Path: //evil.example",
		"Referer: https://evil.example/login", "Origin: https://evil.example", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "True-Client-IP: 127.0.0.1", "Via: 1.1 evil.example",
		"Remote-User: zhangsan", "Authorization: Bearer zhangsan",
	}
	require.GreaterOrEqual(t, len(variants), 24)
	w := newWorld(t, func(o *wecom.Options) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} // a trusted peer gets no further
	})
	b := w.browser()
	for _, line := range append([]string{"X-Nothing: at all"}, variants...) {
		name, value, _ := strings.Cut(line, ": ")
		t.Run(line, func(t *testing.T) {
			change := func(r *http.Request) *http.Request {
				if name == "Host" {
					r.Host = value
				} else {
					r.Header.Set(name, value)
				}
				return r
			}
			b.DropCookies()
			start := b.Do(change(&http.Request{Method: "GET", URL: mustParse(t, site+"/reports?x=1"), Header: http.Header{"Accept": {"text/html"}}}))
			require.Equal(t, 302, start.Status)
			location := start.Header.Get("Location")
			assert.Equal(t, site+"/wecom/callback", mustParse(t, location).Query().Get("redirect_uri"))
			assert.Equal(t, "login.work.weixin.qq.com", mustParse(t, location).Host)
			assert.NotContains(t, location, evil)
			assert.NotContains(t, fmt.Sprint(start.Header), evil)

			r := change(request("GET", "/api"))
			r.Header.Set("Accept", "*/*")
			refused := do(w.app, r)
			assert.Equal(t, 401, refused.Code, "protected as ever")
			assert.NotContains(t, fmt.Sprint(refused.Header(), refused.Body), evil)

			callback := &http.Request{Method: "GET", Header: http.Header{"Accept": {"text/html"}},
				URL: mustParse(t, site+"/wecom/callback?code="+w.code("zhangsan")+"&state="+stateOf(t, location))}
			done := b.Do(change(callback))
			assert.Equal(t, 303, done.Status)
			assert.Equal(t, "/reports?x=1", done.Header.Get("Location"))
			for _, c := range done.Header["Set-Cookie"] {
				assert.True(t, strings.HasPrefix(c, "__Host-") && strings.Contains(c, "; Secure"), c)
			}
		})
	}
}

// T15: 40 spellings of a path beside public routes, in front of two routers.
func TestT15_PathSpellings(t *testing.T) {
	spellings := []string{
		"/admin", "/admin/", "//admin", "///admin", "/./admin", "/.//admin", "/admin/.", "/admin/./", "/x/../admin", "/%61dmin", "/%2561dmin", "/admin%00", "/admin%20",
		"/public/../admin", "/public/../../admin", "/public/%2e%2e/admin", "/public/.%2e/admin", "/public/%2E%2E/admin", "/public/%252e%252e/admin",
		"/public/..%2fadmin", "/public%2f..%2fadmin", "/public/..%5cadmin", `/public/..\admin`, "/public/..;/admin", "/public/;/../admin", "/public/..%3b/admin", "/public;/admin",
		"/publicx", "/publicx/../admin", "/Public", "/PUBLIC/../admin", "/public%2f", "/public//../admin", "/public/./../admin", "//public/../admin", "/%70ublic/../admin",
		"/public/..%00/admin", "/public/%c0%ae%c0%ae/admin", "/public/..%ef%bc%8fadmin", "/admin?/public/", "/admin?x=/../public/", "/admin#/public/", "/admin;/public/", "/admin/../admin",
		"/wecom/../admin", "/wecom/callback/../../admin", "/wecom/login/..;/admin", "/wecom/signed-out/%2e%2e/%2e%2e/admin", "/wecom/signed-out%2f..%2f..%2fadmin", "/WECOM/signed-out/../../admin", "/wecom//signed-out/../../admin", "http://app.example.com/public/../admin", "http://evil.example/admin",
	}
	require.GreaterOrEqual(t, len(spellings), 40)
	w := newWorld(t)
	public := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "public") })
	inner := http.NewServeMux()
	inner.HandleFunc("/admin", func(http.ResponseWriter, *http.Request) { assert.Fail(t, "the protected handler ran") })
	inner.HandleFunc("/", func(http.ResponseWriter, *http.Request) { assert.Fail(t, "the protected handler ran") })

	mux := http.NewServeMux()
	mux.Handle("/public/", public)
	mux.Handle("/", w.auth.Handler(inner))
	// cleaning is a router that cleans paths in its own way and tells nobody.
	cleaning := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		q := r.Clone(r.Context())
		q.URL.Path, q.URL.RawPath = path.Clean(strings.ReplaceAll(r.URL.Path, `\`, "/")), ""
		if strings.HasPrefix(q.URL.Path, "/public/") {
			public.ServeHTTP(rw, q)
			return
		}
		w.auth.Handler(inner).ServeHTTP(rw, q)
	})
	for name, router := range map[string]http.Handler{"ServeMux": mux, "a router that cleans": cleaning} {
		l := newSocket(t, router)
		for _, spelling := range spellings {
			for hop, target := 0, spelling; target != "" && hop < 4; hop++ {
				res := l.send(t, "GET "+target+" HTTP/1.1\r\nHost: app.example.com\r\nAccept: text/html\r\n\r\n")
				at := fmt.Sprintf("%s: %s: %d", name, target, res.StatusCode)
				target = ""
				switch res.StatusCode {
				case 200:
					assert.NotContains(t, res.body, "admin", at)
				case 301, 302, 307, 308:
					if location := res.Header.Get("Location"); strings.HasPrefix(location, "/") {
						target = location
					} else {
						assert.Equal(t, "login.work.weixin.qq.com", mustParse(t, location).Host, at)
					}
				default:
					assert.Contains(t, []int{400, 401, 404}, res.StatusCode, at)
				}
			}
		}
	}
}

// T15: our own routes match the undecoded path exactly, so that a proxy's rule for one means what we mean.
func TestT15_OwnRoutesMatchExactly(t *testing.T) {
	w := newWorld(t)
	for _, route := range []string{"/wecom/callback", "/wecom/signed-out"} {
		for _, spelling := range []string{
			"/%s/", "//%s", "/.%s", "/./%s", "/x/..%s", "%%2f%s", "%s%%20", "%s%%00", "%s;x", "%s.", "/%s//",
		} {
			target := "/" + strings.TrimPrefix(fmt.Sprintf(spelling, route), "/")
			if spelling == "//%s" {
				target = "/" + route
			}
			assertNotOwn(t, w, target)
		}
		assertNotOwn(t, w, strings.ToUpper(route))
		assertNotOwn(t, w, strings.Replace(route, "/wecom", "/WeCom", 1))
		assertNotOwn(t, w, strings.Replace(route, "c", "%63", 1))
		assertNotOwn(t, w, strings.Replace(route, "/wecom/", "/wecom%2f", 1))
		assertNotOwn(t, w, strings.Replace(route, "/wecom/", `/wecom\`, 1))
		assertNotOwn(t, w, strings.Replace(route, "/wecom/", "/wecom//", 1))
	}
}

// assertNotOwn asks for target with a callback's query and expects what every page gets.
func assertNotOwn(t *testing.T, w *world, target string) {
	t.Helper()
	r := request("GET", "/")
	u, err := url.ParseRequestURI(target)
	require.NoError(t, err, target)
	start := do(w.app, request("GET", "/"))
	r.URL.Path, r.URL.RawPath = u.Path, u.RawPath
	r.RequestURI = target
	assert.Equal(t, 302, do(w.app, r).Code, target)

	r.URL.RawQuery = "code=" + w.code("zhangsan") + "&state=" + stateOf(t, start.Header().Get("Location"))
	with(r, start.Result().Cookies())
	res := do(w.app, r)
	assert.Equal(t, 400, res.Code, target)
	assert.Empty(t, res.Header()["Set-Cookie"], target)
	assert.Zero(t, w.fake.TotalCalls(), target)
}

// T16: an identity is what a session says, and nothing else.
func TestT16_NobodyIsBelieved(t *testing.T) {
	w := newWorld(t)
	other := newWorld(t, func(o *wecom.Options) { o.AgentID, o.Secret = "1000003", wecom.NewSecret(testSecret) })
	other.fake.AddApp(wecomtest.App{AgentID: "1000003", Secret: testSecret})
	boss := wecom.Identity{Provider: "wecom", CorpID: w.fake.CorpID(), AppID: w.fake.AgentID(), UserID: "boss"}

	headers := http.Header{}
	for _, name := range []string{
		"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Preferred-Username", "X-Remote-User", "Remote-User", "X-User", "X-Userid", "X-Auth-Request-User",
		"X-Webauth-User", "X-Authenticated-Userid", "X-Wecom-User-Id", "X-Wecom-Corp-Id", "X_Wecom_User_Id", "Wecom-User", "Userid", "From",
	} {
		headers.Set(name, "boss")
	}
	headers["X-wecom-user_id"] = []string{"boss"}
	headers.Set("Authorization", "Basic Ym9zczpib3Nz")
	headers.Set("Cookie", "wecom=boss; user=boss; session=boss; __Host-wecom=boss")

	for desc, setup := range map[string]func(http.Handler) (http.Handler, *http.Request){
		"headers": func(h http.Handler) (http.Handler, *http.Request) {
			r := request("GET", "/")
			for name, v := range headers {
				r.Header[name] = v
			}
			return h, r
		},
		"NewContext": func(h http.Handler) (http.Handler, *http.Request) {
			r := request("GET", "/")
			return h, r.WithContext(wecom.NewContext(r.Context(), boss))
		},
		"a context value by a likely key": func(h http.Handler) (http.Handler, *http.Request) {
			r := request("GET", "/")
			ctx := r.Context()
			for _, key := range []any{"identity", "identityKey", "user", "wecom", "userid", struct{}{}, 0} {
				ctx = context.WithValue(ctx, key, boss)
			}
			return h, r.WithContext(ctx)
		},
		"an identity of another Middleware": func(h http.Handler) (http.Handler, *http.Request) {
			r := with(request("GET", "/"), other.signedIn("lisi").Cookies("/"))
			return other.auth.Handler(h), r
		},
	} {
		t.Run(desc, func(t *testing.T) {
			ran := false
			next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran = true })
			for _, h := range []http.Handler{w.auth.Handler(next), w.auth.Require(everybody)(next)} {
				h, r := setup(h)
				assert.Equal(t, 302, do(h, r).Code)
			}
			assert.False(t, ran)
			if desc == "headers" {
				h, r := setup(w.auth.Optional(hello()))
				assert.Equal(t, `hello "" false /`, do(h, r).Body.String())
			}
		})
	}
	t.Run("who is signed in stays who they are", func(t *testing.T) {
		b := w.signedIn("zhangsan")
		r := &http.Request{Method: "GET", URL: mustParse(t, site+"/"), Header: headers.Clone()}
		r = r.WithContext(wecom.NewContext(context.Background(), boss))
		assert.Equal(t, `hello "zhangsan" true /`, b.Do(r).Body)
	})
}

func TestRequire(t *testing.T) {
	w := newWorld(t)
	in := w.signedIn("zhangsan")
	request := func() *http.Request {
		r := with(request("GET", "/admin"), in.Cookies("/"))
		return r
	}
	answer := func(ok bool, err error) wecom.Authorizer {
		return func(_ context.Context, api *wecom.Client, id wecom.Identity) (bool, error) {
			assert.Same(t, w.auth.Client(), api)
			assert.Equal(t, "zhangsan", id.UserID)
			return ok, err
		}
	}
	for _, tt := range []struct {
		desc      string
		authorize wecom.Authorizer
		status    int
		code      string
	}{
		{"yes", answer(true, nil), 200, ""},
		{"no", answer(false, nil), 403, "not_allowed"},
		{"could not tell", answer(false, errors.New("database down")), 503, "wecom_unavailable"},
		{"yes, and an error", answer(true, errors.New("database down")), 503, "wecom_unavailable"},
		{"forgotten", nil, 503, "wecom_unavailable"},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			guarded := w.auth.Require(tt.authorize)(hello())
			for desc, h := range map[string]http.Handler{"alone": guarded, "inside Handler": w.auth.Handler(guarded), "inside Optional": w.auth.Optional(guarded)} {
				res := do(h, request())
				assert.Equal(t, tt.status, res.Code, desc)
				if tt.status == 200 {
					assert.Equal(t, `hello "zhangsan" true /admin`, res.Body.String())
					continue
				}
				assert.NotContains(t, res.Body.String(), "database")
				assert.Contains(t, w.logs.String(), "code="+tt.code)
				assert.Equal(t, tt.status == 503, res.Header().Get("Retry-After") != "")
				assert.Empty(t, res.Header()["Set-Cookie"], "the session stays")
			}
		})
	}
	t.Run("F25: a panic is the program's own", func(t *testing.T) {
		h := w.auth.Require(func(context.Context, *wecom.Client, wecom.Identity) (bool, error) { panic("in Authorize") })(hello())
		assert.PanicsWithValue(t, "in Authorize", func() { do(h, request()) })
		assert.Equal(t, 200, do(w.app, request()).Code, "the next request works")
	})
	t.Run("anonymous", func(t *testing.T) {
		never := func(context.Context, *wecom.Client, wecom.Identity) (bool, error) {
			assert.Fail(t, "asked about nobody")
			return true, nil
		}
		r := request()
		r.Header.Del("Cookie")
		for _, h := range []http.Handler{w.auth.Require(never)(hello()), w.auth.Handler(w.auth.Require(never)(hello())), w.auth.Optional(w.auth.Require(never)(hello()))} {
			assert.Equal(t, 302, do(h, r).Code)
		}
	})
	t.Run("it serves the own routes too when it stands alone", func(t *testing.T) {
		h := w.auth.Require(everybody)(hello())
		assert.Equal(t, `hello "lisi" true /reports`, w.fake.Browser(site, h).SignInAs("lisi").Get("/reports").Body)
	})
	t.Run("what the inner middleware of two says counts for it alone", func(t *testing.T) {
		other := newWorld(t, func(o *wecom.Options) { o.AgentID = "1000003"; o.CallbackURL = site + "/other/callback" })
		h := w.auth.Handler(other.auth.Require(everybody)(hello()))
		assert.Equal(t, 302, do(h, request()).Code)
	})
}

func TestOptional(t *testing.T) {
	w := newWorld(t)
	h := w.auth.Optional(hello())
	for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
		res := do(h, request(method, "/page"))
		assert.Equal(t, 200, res.Code)
		assert.Equal(t, `hello "" false /page`, res.Body.String())
		assert.Equal(t, "Cookie", res.Header().Get("Vary"))
		assert.Empty(t, res.Header()["Set-Cookie"])
	}
	varied := httptest.NewRecorder()
	varied.Header().Set("Vary", "Origin")
	h.ServeHTTP(varied, request("GET", "/page"))
	assert.Equal(t, []string{"Origin", "Cookie"}, varied.Header()["Vary"])
	b := w.fake.Browser(site, h).SignInAs("lisi")
	assert.Equal(t, `hello "" false /page`, b.Get("/page").Body)
	assert.Equal(t, `hello "lisi" true /page`, b.Get("/wecom/login?return_to=/page").Body)
	res := b.Get("/page")
	assert.Equal(t, `hello "lisi" true /page`, res.Body)
	assert.Equal(t, "Cookie", res.Header.Get("Vary"))
}

func TestRoutes(t *testing.T) {
	w := newWorld(t)
	mux := http.NewServeMux()
	mux.Handle("/wecom/", w.auth.Routes())
	mux.Handle("/", w.auth.Handler(hello()))
	b := w.fake.Browser(site, mux).SignInAs("zhangsan")
	assert.Equal(t, `hello "zhangsan" true /reports`, b.Get("/reports").Body)
	for _, target := range []string{"/wecom/", "/wecom/none", "/wecom/callback/x"} {
		res := b.Get(target)
		assert.Equal(t, 404, res.Status, target)
		assert.NotContains(t, res.Body, "zhangsan")
		assert.Contains(t, res.Body, `href="/"`, "a way out")
	}
	assert.Equal(t, 404, b.Fetch("GET", "/wecom/none", "").Status)
}

func TestZeroMiddleware(t *testing.T) {
	var m wecom.Middleware
	for _, h := range []http.Handler{m.Handler(hello()), m.Optional(hello()), m.Require(everybody)(hello()), m.Routes()} {
		for _, target := range []string{"/", "/login", "/wecom/callback?code=1&state=2"} {
			r := request("GET", target)
			r = r.WithContext(wecom.NewContext(r.Context(), wecom.Identity{UserID: "boss"}))
			res := do(h, r)
			assert.Equal(t, 500, res.Code)
			assert.NotContains(t, res.Body.String(), "hello")
			assert.Equal(t, "no-store", res.Header().Get("Cache-Control"))
		}
	}
	assert.Nil(t, m.Client())
	assert.NotPanics(t, func() { _ = m.LoginURL("/x") })
	assert.Error(t, m.Revoke(t.Context(), wecom.Identity{UserID: "x"}))
	assert.Error(t, m.RevokeAll(t.Context()))
	assert.Error(t, m.DirectoryChanged(t.Context()))
	assert.Zero(t, m.App())
}

func TestDomainProof(t *testing.T) {
	w := newWorld(t, func(o *wecom.Options) { o.DomainProof = []string{"WW_verify_AbCd1234.txt", "MP_verify_xyz.txt"} })
	for target, want := range map[string]string{"/WW_verify_AbCd1234.txt": "AbCd1234", "/MP_verify_xyz.txt": "xyz", "/MP_verify_xyz.txt?x=1": "xyz"} {
		res := do(w.app, request("GET", target))
		assert.Equal(t, 200, res.Code, target)
		assert.Equal(t, want, res.Body.String())
		assert.Equal(t, "text/plain; charset=utf-8", res.Header().Get("Content-Type"))
	}
	for _, target := range []string{
		"/WW_verify_other.txt", "/WW_verify_AbCd1234", "/WW_verify_AbCd1234.txt/", "//WW_verify_AbCd1234.txt", "/x/WW_verify_AbCd1234.txt",
		"/ww_verify_abcd1234.txt", "/WW_verify_.txt", "/WW_verify_AbCd1234.txt%00", "/MP_verify_AbCd1234.txt",
	} {
		assert.Equal(t, 302, do(w.app, request("GET", target)).Code, "protected like any other: %s", target)
		assert.Equal(t, 404, do(w.auth.Routes(), request("GET", target)).Code, target)
	}
	l := newSocket(t, w.app)
	head := l.send(t, "HEAD /WW_verify_AbCd1234.txt HTTP/1.1\r\nHost: x\r\n\r\n")
	assert.Equal(t, 200, head.StatusCode)
	assert.Empty(t, head.body)
	post := do(w.app, request("POST", "/WW_verify_AbCd1234.txt"))
	assert.Equal(t, 405, post.Code)
	assert.Equal(t, "GET, HEAD", post.Header().Get("Allow"))
	assert.Equal(t, "AbCd1234", do(w.auth.Optional(hello()), request("GET", "/WW_verify_AbCd1234.txt")).Body.String())
}

func TestLoginURL(t *testing.T) {
	w := newWorld(t)
	for returnTo, want := range map[string]string{
		"":                                "/wecom/login",
		"/":                               "/wecom/login?return_to=%2F",
		"/reports?from=2026-01-01&to=x#a": "/wecom/login?return_to=%2Freports%3Ffrom%3D2026-01-01%26to%3Dx%23a",
		"/报表":                             "/wecom/login?return_to=%2F%E6%8A%A5%E8%A1%A8",
		"reports":                         "/wecom/login",
		"//evil.example":                  "/wecom/login",
		`/\evil.example`:                  "/wecom/login",
		"https://app.example.com/x":       "/wecom/login",
		"/x\r\nSet-Cookie: a=b":           "/wecom/login",
		"/wecom/login":                    "/wecom/login",
		"/wecom/login?return_to=/x":       "/wecom/login",
		"/wecom/callback?code=1":          "/wecom/login",
		"/wecom/logout#x":                 "/wecom/login",
		"/wecom/loginx":                   "/wecom/login?return_to=%2Fwecom%2Floginx",
	} {
		assert.Equal(t, want, w.auth.LoginURL(returnTo), returnTo)
	}
}

// Every way in which the middleware may be mounted.
func TestMounts(t *testing.T) {
	pages := func() http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/", hello())
		return mux
	}
	// stripping is a proxy that takes the prefix off what it passes on.
	stripping := func(prefix string, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			stripped := strings.TrimPrefix(r.RequestURI, prefix)
			u, err := url.ParseRequestURI(stripped)
			if err != nil || stripped == r.RequestURI {
				http.NotFound(w, r)
				return
			}
			q := r.Clone(r.Context())
			q.URL, q.RequestURI = u, stripped
			next.ServeHTTP(w, q)
		})
	}
	for _, tt := range []struct {
		desc, prefix string
		mountPath    bool
		mount        func(*wecom.Middleware) http.Handler
		seen         string // the prefix of the target that the server saw
	}{
		{"at the root", "", false, func(m *wecom.Middleware) http.Handler { return m.Handler(pages()) }, ""},
		{"under a prefix", "/app", false, func(m *wecom.Middleware) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/app/", m.Handler(pages()))
			return mux
		}, "/app"},
		{"behind StripPrefix", "/app", true, func(m *wecom.Middleware) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/app/", http.StripPrefix("/app", m.Handler(pages())))
			return mux
		}, "/app"},
		{"behind a proxy that strips", "/app", true, func(m *wecom.Middleware) http.Handler {
			return stripping("/app", m.Handler(pages()))
		}, ""},
		{"behind a proxy and StripPrefix", "/out/app", true, func(m *wecom.Middleware) http.Handler {
			return stripping("/out/app", m.Handler(pages()))
		}, ""},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			w := newWorld(t, func(o *wecom.Options) {
				o.CallbackURL = site + tt.prefix + "/wecom/callback"
				if tt.mountPath {
					o.MountPath = tt.prefix
				}
			})
			app := tt.mount(w.auth)
			browser := func() *wecomtest.Browser { return w.fake.Browser(site, app).SignInAs("zhangsan") }

			for _, link := range []string{
				"/", "/reports?from=2026-01-01&to=2026-02-01", "/a%2Fb/c?x=%2F", "/%E6%8A%A5%E8%A1%A8?x=%20", "/a|b[c]", "/app/x", "/app", "/reports/?", "/a%20b+c",
			} {
				res := browser().Get(site + tt.prefix + link)
				last := res.Hops[len(res.Hops)-1].URL
				assert.Equal(t, 200, res.Status, link)
				assert.Equal(t, res.Hops[0].URL, last, "the deep link")
				assert.Equal(t, fmt.Sprintf(`hello "zhangsan" true %s`, tt.seen+link), res.Body)
			}

			b := browser()
			assert.Equal(t, tt.prefix+"/wecom/login?return_to="+url.QueryEscape(tt.prefix+"/x"), w.auth.LoginURL(tt.prefix+"/x"))
			assert.Equal(t, tt.prefix+"/wecom/login", w.auth.LoginURL(tt.prefix+"/wecom/login"))
			res := b.Get(w.auth.LoginURL(""))
			assert.Equal(t, site+tt.prefix+"/", strings.TrimSuffix(res.URL, "#wechat_redirect"), "the default page")
			assert.Equal(t, 200, res.Status)
			assert.Equal(t, 200, b.Fetch("GET", tt.prefix+"/wecom/session", "").Status)

			res = b.Post(tt.prefix + "/wecom/logout")
			assert.Equal(t, site+tt.prefix+"/wecom/signed-out", res.URL)
			assert.Equal(t, 200, res.Status)
			assert.Contains(t, res.Body, `href="`+tt.prefix+`/wecom/login"`)

			var refused struct {
				LoginURL string `json:"login_url"`
			}
			res = b.Fetch("GET", tt.prefix+"/api", "")
			assert.Equal(t, 401, res.Status)
			require.NoError(t, res.JSON(&refused))
			assert.Equal(t, tt.prefix+"/wecom/login", refused.LoginURL)

			res = browser().Get(tt.prefix + "/wecom/login?return_to=" + url.QueryEscape(tt.prefix+"/wecom/login"))
			assert.Equal(t, site+tt.prefix+"/", strings.TrimSuffix(res.URL, "#wechat_redirect"), "an own route is no page to return to")
		})
	}
}

func TestOwnsCookie(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("zhangsan")
	w.held(b, "/wecom/login")
	require.Len(t, b.Cookies("/"), 4, "the session, a mark, a spent attempt and a pending one")
	for _, c := range b.Cookies("/") {
		assert.True(t, w.auth.OwnsCookie(c.Name), c.Name)
		for _, name := range []string{c.Name[1:], strings.ToLower(c.Name), "x" + c.Name, strings.Replace(c.Name, "wecom-", "wecom-0", 1)} {
			assert.False(t, w.auth.OwnsCookie(name), name)
		}
	}
	for _, name := range []string{"", "-", "session", "__Host-", "__Host-wecom"} {
		assert.False(t, w.auth.OwnsCookie(name), name)
		assert.False(t, new(wecom.Middleware).OwnsCookie(name), name)
	}
}

// T29: the handler gets the ResponseWriter that the server made.

func TestT29_TheSameResponseWriter(t *testing.T) {
	w := newWorld(t)
	in := w.signedIn("zhangsan")
	var given, got http.ResponseWriter
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { got = w })
	for desc, h := range map[string]http.Handler{
		"Handler":                w.auth.Handler(next),
		"Optional":               w.auth.Optional(next),
		"Require":                w.auth.Require(everybody)(next),
		"Require inside Handler": w.auth.Handler(w.auth.Require(everybody)(next)),
	} {
		r := with(request("GET", "/"), in.Cookies("/"))
		given, got = httptest.NewRecorder(), nil
		h.ServeHTTP(given, r)
		assert.Same(t, given, got, desc)
	}
	given, got = httptest.NewRecorder(), nil
	w.auth.Optional(next).ServeHTTP(given, request("GET", "/"))
	assert.Same(t, given, got, "Optional, anonymous")
}

// A socket is a server on loopback that is spoken to byte by byte.
type socket struct{ addr string }

type rawResponse struct {
	*http.Response
	body string
	head string // the bytes before the body
}

func newSocket(t testing.TB, h http.Handler) socket {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return socket{srv.Listener.Addr().String()}
}

// send sends raw on a connection of its own and reads the first answer.
func (s socket) send(t testing.TB, raw string) rawResponse {
	t.Helper()
	l := s.line(t)
	defer l.Close()
	return l.send(t, raw)
}

// A line is one connection.
type line struct {
	net.Conn
	in   *bufio.Reader
	seen *strings.Builder // since the last send
}

func (s socket) line(t testing.TB) line {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	_ = conn.(*net.TCPConn).SetLinger(0) // thousands of them must not use up the ports
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	seen := &strings.Builder{}
	return line{conn, bufio.NewReaderSize(io.TeeReader(conn, seen), 1<<14), seen}
}

func (l line) send(t testing.TB, raw string) rawResponse {
	t.Helper()
	l.seen.Reset()
	_, err := io.WriteString(l, raw)
	require.NoError(t, err)
	method, _, _ := strings.Cut(raw, " ")
	res, err := http.ReadResponse(l.in, &http.Request{Method: method})
	require.NoError(t, err, "%q", raw)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	head, _, _ := strings.Cut(l.seen.String(), "\r\n\r\n")
	return rawResponse{res, string(body), head}
}

// location returns the bytes of the Location header as they were sent.
func (r rawResponse) location() (string, bool) {
	for line := range strings.SplitSeq(r.head, "\r\n") {
		if value, ok := strings.CutPrefix(line, "Location: "); ok {
			return value, true
		}
	}
	return "", false
}
