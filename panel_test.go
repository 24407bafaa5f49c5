package wecom_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

func withLoginPanel(o *wecom.Options) { o.LoginPanel = true }

func TestLoginPanelPage(t *testing.T) {
	w := newWorld(t, withLoginPanel)
	b := w.browser()
	res := b.Get("/reports?x=1&y=<2>")
	assert.Equal(t, 200, res.Status)
	assert.Equal(t, site+"/wecom/login?return_to=%2Freports%3Fx%3D1%26y%3D%253C2%253E", res.URL)
	require.Len(t, res.Hops, 2)
	assert.Equal(t, 302, res.Hops[0].Status)
	assert.Zero(t, w.pages())
	assert.Zero(t, w.fake.TotalCalls())
	assert.Empty(t, res.Header["Set-Cookie"], "who only looks at it gets no cookie")
	assert.Empty(t, b.Cookies("/"))

	assert.Contains(t, res.Body, `data-attempt="/wecom/attempt" data-session="/wecom/session"`)
	assert.Contains(t, res.Body, `data-script="https://wwcdn.weixin.qq.com/node/open/js/wecom-jssdk-2.3.4.js"`)
	assert.Contains(t, res.Body, `data-return-to="/reports?x=1&amp;y=%3C2%3E"`)
	assert.Contains(t, res.Body, `<html lang="zh-CN">`)
	assert.Contains(t, w.fake.Browser(site, w.app).SetLanguage("en").Get("/").Body, `<html lang="en">`)

	h := res.Header
	assert.Equal(t, "text/html; charset=utf-8", h.Get("Content-Type"))
	assert.Equal(t, "no-store", h.Get("Cache-Control"))
	assert.Equal(t, "origin", h.Get("Referrer-Policy"), "WeCom wants to know who frames it")
	assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
	assert.Empty(t, h.Get("Permissions-Policy"), "the frame needs local-network-access")
	assert.Regexp(t, `^default-src 'none'; style-src 'sha256-[^']+'; script-src 'sha256-[^']+' `+
		`https://wwcdn\.weixin\.qq\.com/node/open/js/wecom-jssdk-2\.3\.4\.js; connect-src 'self'; `+
		`frame-src https://login\.work\.weixin\.qq\.com; form-action 'none'; base-uri 'none'; frame-ancestors 'none'$`,
		h.Get("Content-Security-Policy"))
}

// The button below the panel leads to WeCom's own page, with an attempt that is minted when it is pressed.
func TestLoginPanelFallback(t *testing.T) {
	w := newWorld(t, withLoginPanel)
	b := w.browser()
	for _, target := range []string{"/reports?x=1", "/wecom/login", "/wecom/login?return_to=//evil.example"} {
		b.DropCookies()
		page := b.Get(target)
		require.Equal(t, 200, page.Status)
		link := regexp.MustCompile(`href="([^"]+)"`).FindStringSubmatch(page.Body)
		require.NotNil(t, link)
		res := b.Click(strings.ReplaceAll(link[1], "&amp;", "&"))
		want := site + "/"
		if target == "/reports?x=1" {
			want = site + target
		}
		assert.Equal(t, want, res.URL, target)
		assert.Equal(t, "zhangsan", who(b))
	}
}

func TestLoginPanelIsForBrowsersOnly(t *testing.T) {
	w := newWorld(t, withLoginPanel)
	inApp := w.browser().InApp().Get("/reports")
	assert.Equal(t, site+"/reports#wechat_redirect", inApp.URL)
	assert.Equal(t, 1, w.fake.Calls(inAppPage))
	assert.Equal(t, []string{site + "/reports"}, []string{inApp.Hops[0].URL}, "straight from the page that was asked for")
	direct := w.browser().InApp().Get("/wecom/login?return_to=/x")
	assert.Equal(t, site+"/x#wechat_redirect", direct.URL)

	script := w.browser().Fetch("GET", "/api", "")
	assert.Equal(t, 401, script.Status)
	head := do(w.app, request("HEAD", "/reports"))
	assert.Equal(t, 302, head.Code)
	assert.Equal(t, "/wecom/login?return_to=%2Freports", head.Header().Get("Location"))
	assert.Equal(t, 204, do(w.app, request("HEAD", "/wecom/login")).Code)
	assert.Equal(t, 405, do(w.app, request("POST", "/wecom/login")).Code)
	r := request("GET", "/wecom/login")
	r.Header.Set("Sec-Purpose", "prefetch")
	assert.Equal(t, 403, do(w.app, r).Code)
}

// The loop breakers hold: somebody who was just signed in and is anonymous again gets a page.
func TestLoginPanelSessionDidNotStick(t *testing.T) {
	w := newWorld(t, withLoginPanel)
	b := w.browser()
	require.Equal(t, 200, handIn(b, w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan"}), w.mint(b).State).Status)
	for _, c := range b.Cookies("/") {
		if !strings.Contains(c.Name[len("__Host-wecom-"):], "-") {
			b.SetCookie("/", c.Name+"=; Path=/; Secure; Max-Age=0")
		}
	}
	res := b.Get("/reports")
	assert.Equal(t, 403, res.Status)
	assert.Equal(t, site+"/reports", res.URL)
	assert.Contains(t, res.Body, "登录状态没有保存")
}

// What a stranger puts into the address ends up in the page as text, and leads nowhere.
func TestT1_LoginPanelReturnTo(t *testing.T) {
	w := newWorld(t, withLoginPanel)
	for _, hostile := range []string{
		"//evil.example", `/\evil.example`, "https://evil.example", "javascript:alert(1)", "/wecom/login", "/wecom/callback?code=1",
		"/" + strings.Repeat("a", 2000),
	} {
		res := w.browser().Get("/wecom/login?return_to=" + url.QueryEscape(hostile))
		assert.Equal(t, 200, res.Status)
		assert.Contains(t, res.Body, `data-return-to=""`, hostile)
		assert.Contains(t, res.Body, `href="/wecom/login?panel=no"`, hostile)
	}
	res := w.browser().Get("/wecom/login?return_to=" + url.QueryEscape(`/"><script>alert(1)</script>`))
	assert.NotContains(t, res.Body, "<script>alert")
	assert.Contains(t, res.Body, `data-return-to="/&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"`)
}

func TestLoginPanelElsewhere(t *testing.T) {
	w := newWorld(t, withLoginPanel, func(o *wecom.Options) {
		o.CallbackURL, o.MountPath = site+"/app/sso/callback", "/app"
		o.Endpoints.PanelScript = "/static/wecom-jssdk.js"
		o.Endpoints.WebLogin = "https://login.corp.example:8443/wwlogin/sso/login"
	})
	rec := do(w.app, request("GET", "/sso/login"))
	assert.Equal(t, 200, rec.Code)
	for _, want := range []string{
		`data-attempt="/app/sso/attempt"`, `data-session="/app/sso/session"`, `data-script="/static/wecom-jssdk.js"`, `href="/app/sso/login?panel=no"`,
	} {
		assert.Contains(t, rec.Body.String(), want)
	}
	csp := rec.Header().Get("Content-Security-Policy")
	assert.Contains(t, csp, " "+site+"/static/wecom-jssdk.js;")
	assert.Contains(t, csp, "frame-src https://login.corp.example:8443;")
}

func TestLoginPanelOptions(t *testing.T) {
	fake := wecomtest.New()
	tests := []struct {
		desc   string
		change func(*wecom.Options)
		want   string // part of the error, "" for none
	}{
		{"alone", func(*wecom.Options) {}, ""},
		{"in-app only", func(o *wecom.Options) { o.Page = wecom.PageInApp }, "LoginPanel is never shown"},
		{"another provider", func(o *wecom.Options) {
			*o = wecom.Options{Provider: fixedProvider{}, StateKey: wecom.NewSecret(strings.Repeat("k", 32)), CallbackURL: o.CallbackURL, LoginPanel: true}
		}, "built-in provider"},
		{"a script of our own", func(o *wecom.Options) { o.Endpoints.PanelScript = "/static/a.js" }, ""},
		{"a script on loopback", func(o *wecom.Options) { o.Endpoints.PanelScript = "http://127.0.0.1:1/a.js" }, ""},
		{"plain http", func(o *wecom.Options) { o.Endpoints.PanelScript = "http://cdn.example/a.js" }, "PanelScript: want https"},
		{"another site's path", func(o *wecom.Options) { o.Endpoints.PanelScript = "//cdn.example/a.js" }, "PanelScript"},
		{"a query", func(o *wecom.Options) { o.Endpoints.PanelScript = "https://cdn.example/a.js?x=1" }, "PanelScript"},
		{"a directive of its own", func(o *wecom.Options) { o.Endpoints.PanelScript = "https://cdn.example/a.js;script-src" }, "PanelScript"},
		{"two sources", func(o *wecom.Options) { o.Endpoints.PanelScript = "https://cdn.example/a.js *" }, "PanelScript"},
		{"two policies", func(o *wecom.Options) { o.Endpoints.PanelScript = "https://cdn.example/a,b" }, "PanelScript"},
		{"a host with a semicolon", func(o *wecom.Options) { o.Endpoints.WebLogin = "https://a;b/x" }, "WebLogin"},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			o := fake.Options(site + "/wecom/callback")
			o.LoginPanel = true
			tt.change(&o)
			_, err := wecom.New(o)
			if tt.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, tt.want)
			}
		})
	}
}

// --- the front-end helper

func TestHelperRoute(t *testing.T) {
	w := newWorld(t)
	source, err := os.ReadFile("js/wecom.js")
	require.NoError(t, err)
	get := func(method, match string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, site+"/wecom/wecom.js", nil)
		if match != "" {
			r.Header.Set("If-None-Match", match)
		}
		return do(w.app, r)
	}
	res := get("GET", "")
	require.Equal(t, 200, res.Code)
	assert.Equal(t, string(source), res.Body.String())
	assert.Equal(t, "text/javascript; charset=utf-8", res.Header().Get("Content-Type"))
	assert.Equal(t, "no-cache", res.Header().Get("Cache-Control"))
	assert.Equal(t, "nosniff", res.Header().Get("X-Content-Type-Options"))
	assert.Empty(t, res.Header()["Set-Cookie"])
	tag := res.Header().Get("ETag")
	assert.Regexp(t, `^"[0-9a-f]{16}"$`, tag)

	same := get("GET", tag)
	assert.Equal(t, http.StatusNotModified, same.Code)
	assert.Empty(t, same.Body.String())
	assert.Equal(t, 200, get("GET", `"another"`).Code)
	head := get("HEAD", "")
	assert.Equal(t, 200, head.Code)
	assert.Empty(t, head.Body.String())
	assert.Equal(t, 405, get("POST", "").Code)
}

// The types name what the module exports, and no more.
func TestHelperTypes(t *testing.T) {
	names := func(file, pattern string) (list []string) {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(data), -1) {
			list = append(list, m[1])
		}
		slices.Sort(list)
		return list
	}
	want := names("js/wecom.js", `(?m)^export (?:async )?function (\w+)`)
	assert.NotEmpty(t, want)
	assert.Equal(t, want, names("js/wecom.d.ts", `(?m)^export function (\w+)`))
}
