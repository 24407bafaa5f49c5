package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
	"github.com/wecomauth/wecom/weixin"
)

// A brand is whose the pages are.
type brand struct{ name, app, contact string }

// A stage is everything that has pages.
type stage struct {
	*testing.T
	fake    *wecomtest.Fake
	server  *wecomtest.Server
	brand   brand
	wecom   string // the fake's own origin
	site    string // a quickstart
	alone   string // one with a fake of its own, whose story is beside the page
	private string // one that asks for consent
	panel   string // one with a login panel
	choice  string // a site for staff, who sign in with WeCom, customers and readers, who sign in with Weixin
	strict  string // a site that lets nobody in, and has no home
	broken  string // a site whose session store is down
	failing string // a site that fails as its path says
}

func newStage(t *testing.T, brand brand) *stage {
	s := &stage{T: t, fake: wecomtest.New(), brand: brand}
	var err error
	s.server, err = s.fake.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.server.Close() })
	s.wecom = s.server.URL()
	env := []string{"WECOM_APP_NAME=" + brand.app, "WECOM_CONTACT=" + brand.contact}
	s.site = startQuickstart(t, s.fake, env...)
	s.alone = startQuickstart(t, nil, env...)
	s.private = startQuickstart(t, s.fake, append(env, "WECOM_SCOPE=snsapi_privateinfo")...)
	s.panel = s.serve(func(o *wecom.Options) { o.LoginPanel = true }, (*wecom.Middleware).Routes)
	s.choice = s.serveEverybody()
	s.strict = s.serve(func(o *wecom.Options) {
		o.Authorize = func(context.Context, *wecom.Client, wecom.Identity) (bool, error) { return false, nil }
	}, (*wecom.Middleware).Routes)
	protected := func(next http.HandlerFunc) func(*wecom.Middleware) http.Handler {
		return func(m *wecom.Middleware) http.Handler { return m.Handler(next) }
	}
	s.broken = s.serve(func(o *wecom.Options) { o.SessionStore = downStore{} }, protected(http.NotFound))
	s.failing = s.serve(func(*wecom.Options) {}, protected(func(w http.ResponseWriter, r *http.Request) {
		f := &wecom.Failure{Code: r.URL.Path[len("/500/"):], Reference: "abcdefghij", LoginURL: "/"}
		_, _ = fmt.Sscanf(r.URL.Path, "/%d/", &f.Status)
		f.ServeHTTP(w, r)
	}))
	return s
}

func (s *stage) serve(change func(*wecom.Options), handler func(*wecom.Middleware) http.Handler) string {
	site := httptest.NewUnstartedServer(nil)
	origin := "http://" + site.Listener.Addr().String()
	o := s.fake.Options(origin + "/wecom/callback")
	o.Endpoints, o.Transport = s.server.Endpoints(), nil
	o.Logger, o.AppName, o.Contact = slog.New(slog.DiscardHandler), s.brand.app, s.brand.contact
	change(&o)
	auth, err := wecom.New(o)
	require.NoError(s, err)
	site.Config.Handler = handler(auth)
	site.Start()
	s.Cleanup(site.Close)
	return origin
}

// serveEverybody serves /account for customers, /read for an official account's readers, and all
// else for staff and customers.
func (s *stage) serveEverybody() string {
	mux := http.NewServeMux()
	site := httptest.NewServer(mux)
	s.Cleanup(site.Close)
	with := func(folder string, o wecom.Options) *wecom.Middleware {
		o.CallbackURL, o.Logger, o.AppName, o.Contact = site.URL+folder+"callback", slog.New(slog.DiscardHandler), s.brand.app, s.brand.contact
		auth, err := wecom.New(o)
		require.NoError(s, err)
		mux.Handle(folder, auth.Routes())
		return auth
	}
	of := func(app wecomtest.WeixinApp) weixin.Options {
		return weixin.Options{AppID: app.AppID, Secret: wecom.NewSecret(app.Secret), Profile: true, Logger: slog.New(slog.DiscardHandler),
			Endpoints: weixin.Endpoints{API: s.wecom, Pages: s.wecom}}
	}
	website, err := weixin.NewWebsite(of(s.fake.WeixinWebsite()))
	require.NoError(s, err)
	account, err := weixin.NewOfficialAccount(of(s.fake.WeixinAccount()))
	require.NoError(s, err)
	staff := with("/wecom/", s.server.Options(""))
	customers := with("/weixin/", wecom.Options{Provider: website, Secret: wecom.NewSecret(s.fake.WeixinWebsite().Secret)})
	readers := with("/reader/", wecom.Options{Provider: account, Secret: wecom.NewSecret(s.fake.WeixinAccount().Secret)})
	mux.Handle("/account", customers.Handler(http.NotFoundHandler()))
	mux.Handle("/read", readers.Handler(http.NotFoundHandler()))
	mux.Handle("/", wecom.AnyOf(staff, customers)(http.NotFoundHandler()))
	return site.URL
}

// downStore is a session store that cannot be reached.
type downStore struct{}

func (downStore) Find(string) ([]byte, bool, error)      { return nil, false, errors.New("down") }
func (downStore) Commit(string, []byte, time.Time) error { return errors.New("down") }
func (downStore) Delete(string) error                    { return errors.New("down") }

// during runs fn while an endpoint of the fake misbehaves.
func (s *stage) during(endpoint string, x wecomtest.Fault, fn func() int64) int64 {
	s.fake.Always(endpoint, x)
	defer s.fake.ClearFaults()
	return fn()
}

// The pages of ours, of the quickstart and of the fake, and the way to each in a
// browser without cookies. zh and en are a part of what it says.
var shown = []struct {
	name   string
	status int64
	zh, en string
	reach  func(s *stage, p *page) int64
}{
	{"quickstart-story", 200, "你好，张三", "Hello, 张三", func(s *stage, p *page) int64 {
		p.open(s.alone + deepLink)
		return p.pick("zhangsan")
	}},
	{"quickstart", 200, "已通过企业微信登录", "signed in with WeCom", func(s *stage, p *page) int64 {
		p.open(s.site + deepLink)
		return p.pick("zhangsan")
	}},
	{"signed-out", 200, "已退出", "signed out", func(s *stage, p *page) int64 {
		p.open(s.site + "/")
		p.pick("zhangsan")
		return p.click(`form[action="/wecom/logout"] button`)
	}},
	{"signin-refused", 403, "登录已取消", "cancelled", func(s *stage, p *page) int64 {
		p.open(s.site + deepLink)
		return p.click(`button[value=refuse]`)
	}},
	{"bad-state", 400, "登录链接无效", "not valid", func(s *stage, p *page) int64 {
		return p.open(s.site + "/wecom/callback?code=1&state=2")
	}},
	{"bad-callback", 400, "登录没有完成", "did not finish", func(s *stage, p *page) int64 {
		return p.open(s.site + "/wecom/callback?code=1&code=2&state=3")
	}},
	{"outsider", 403, "仅限本企业成员使用", "members of", func(s *stage, p *page) int64 {
		p.open(s.site + deepLink)
		return p.pick("oFakeOutsider0000000000000001")
	}},
	{"linked-corp", 403, "未向互联企业开放", "linked companies", func(s *stage, p *page) int64 {
		p.open(s.site + deepLink)
		return p.pick("wwfedcba9876543210/zhouba")
	}},
	{"not-allowed", 403, "没有访问权限", "not have access", func(s *stage, p *page) int64 {
		p.open(s.strict + "/wecom/login")
		return p.pick("zhangsan")
	}},
	{"attempt-lost", 403, "登录无法继续", "could not continue", func(s *stage, p *page) int64 {
		p.open(s.site + deepLink)
		p.dropCookies()
		assert.EqualValues(s, 200, p.pick("zhangsan"), "the sign-in starts over, once")
		assert.Contains(s, p.href(), "/wwlogin/sso/login")
		p.dropCookies()
		return p.pick("zhangsan")
	}},
	{"session-not-stuck", 403, "登录状态没有保存", "did not keep", func(s *stage, p *page) int64 {
		p.open(s.site + deepLink)
		p.pick("zhangsan")
		p.dropSession(s.site)
		return p.open(s.site + "/next")
	}},
	{"session-ended", 401, "你已被退出登录", "were signed out", func(s *stage, p *page) int64 {
		p.open(s.site + deepLink)
		p.pick("zhangsan")
		for _, c := range p.cookies(s.site) {
			if isSessionCookie(c.Name) {
				p.setCookie(s.site, c.Name, strings.Repeat("a", len(c.Value)))
			}
		}
		return p.open(s.site + "/next")
	}},
	{"form-not-sent", 401, "内容没有提交", "Nothing was submitted", func(s *stage, p *page) int64 {
		p.open(s.site + "/wecom/signed-out")
		return p.post("/approve")
	}},
	{"sign-out", 405, "退出登录？", "Sign out?", func(s *stage, p *page) int64 { return p.open(s.site + "/wecom/logout") }},
	{"method-not-allowed", 405, "无法这样打开", "cannot be opened like this", func(s *stage, p *page) int64 {
		p.open(s.site + "/wecom/signed-out")
		return p.post("/wecom/login")
	}},
	{"callback-mismatch", 400, "没有回到正确的地址", "wrong address", func(s *stage, p *page) int64 {
		p.open(s.site + deepLink)
		at, err := url.Parse(p.href())
		require.NoError(s, err)
		return p.open(s.site + "/elsewhere?code=1&state=" + at.Query().Get("state"))
	}},
	{"code-rejected", 403, "登录没有成功", "did not succeed", func(s *stage, p *page) int64 {
		return s.during("auth/getuserinfo", wecomtest.Fault{ErrCode: 40029}, func() int64 {
			p.open(s.site + deepLink)
			assert.EqualValues(s, 200, p.pick("zhangsan"), "the sign-in starts over, once")
			return p.pick("zhangsan")
		})
	}},
	{"setup-fault", 500, "应用设置有误", "set up correctly", func(s *stage, p *page) int64 {
		return s.during("auth/getuserinfo", wecomtest.Fault{ErrCode: 60020}, func() int64 {
			p.open(s.site + deepLink)
			return p.pick("zhangsan")
		})
	}},
	{"busy", 503, "当前请求过多", "Too busy", func(s *stage, p *page) int64 {
		return s.during("auth/getuserinfo", wecomtest.Fault{ErrCode: 45009}, func() int64 {
			p.open(s.serve(func(*wecom.Options) {}, (*wecom.Middleware).Routes) + "/wecom/login") // it pauses from then on
			return p.pick("zhangsan")
		})
	}},
	{"too-many-attempts", 429, "尝试次数过多", "Too many attempts", func(s *stage, p *page) int64 {
		site := s.serve(func(*wecom.Options) {}, (*wecom.Middleware).Routes)
		for i, status := 0, 0; status != http.StatusTooManyRequests; i++ {
			require.Less(s, i, 200)
			jar, err := cookiejar.New(nil)
			require.NoError(s, err)
			post := func(route, body string) *http.Response {
				res, err := (&http.Client{Jar: jar}).Post(site+"/wecom/"+route, "application/json", strings.NewReader(body))
				require.NoError(s, err)
				return res
			}
			res := post("attempt", "{}")
			var begun struct{ State string }
			require.NoError(s, json.NewDecoder(res.Body).Decode(&begun))
			_ = res.Body.Close()
			res = post("session", fmt.Sprintf(`{"state":%q,"code":"made-up-%d"}`, begun.State, i))
			status = res.StatusCode
			_ = res.Body.Close()
		}
		p.open(site + "/wecom/login")
		return p.pick("zhangsan")
	}},
	{"cross-origin", 403, "操作没有执行", "not carried out", func(s *stage, p *page) int64 {
		p.open("about:blank")
		return p.post(s.site + "/wecom/logout")
	}},
	{"upstream-unavailable", 502, "系统暂时无法访问", "cannot be reached", failing("/502/upstream_unavailable")},
	{"internal", 500, "服务出现问题", "went wrong", failing("/500/internal")},
	{"prefetch-refused", 403, "登录尚未完成", "not finished yet", failing("/403/prefetch_refused")},
	{"bad-request", 400, "无法处理这个请求", "cannot be handled", failing("/400/bad_request")},
	{"client-unknown", 400, "这个系统尚未接入", "not connected", failing("/400/client_unknown")},
	{"redirect-unknown", 400, "回调地址没有登记", "not registered", failing("/400/redirect_unknown")},
	{"wecom-unavailable", 503, "企业微信暂时没有响应", "WeCom is not answering", func(s *stage, p *page) int64 {
		return s.during("auth/getuserinfo", wecomtest.Fault{ErrCode: -1}, func() int64 {
			p.open(s.site + deepLink)
			return p.pick("zhangsan")
		})
	}},
	{"session-store", 503, "服务暂时不可用", "Temporarily unavailable", func(s *stage, p *page) int64 {
		p.open(s.broken + "/wecom/login")
		return p.pick("zhangsan")
	}},
	{"login-panel", 200, "确认登录", "Scan the code", func(s *stage, p *page) int64 {
		status := p.open(s.panel + "/wecom/login")
		p.panelIs("ready")
		return status
	}},
	{"login-panel-phone", 200, "请在企业微信中打开", "Open this link in WeCom", func(s *stage, p *page) int64 {
		p.pretend(wecomtest.UserAgentWeixin, eval[string](p, `navigator.language`))
		return p.open(s.panel + "/wecom/login")
	}},
	{"login-panel-blocked", 200, "如果没有看到登录面板", "If you do not see", func(s *stage, p *page) int64 {
		s.fake.Always(panelScript, wecomtest.Fault{Drop: wecomtest.DropBefore})
		defer s.fake.ClearFaults()
		status := p.open(s.panel + "/wecom/login")
		p.panelIs("blocked")
		return status
	}},
	{"login-panel-failed", 200, "当前登录的账号不是本企业的成员", "not a member", func(s *stage, p *page) int64 {
		status := p.open(s.panel + "/wecom/login")
		p.scan("oFakeOutsider0000000000000001")
		p.panelIs("failed")
		return status
	}},
	{"choose", 401, "微信登录", "Choose how to sign in", func(s *stage, p *page) int64 { return p.open(s.choice + "/") }},
	{"weixin-unavailable", 503, "微信暂时没有响应", "Weixin is not answering", func(s *stage, p *page) int64 {
		return s.during("/sns/oauth2/access_token", wecomtest.Fault{Status: 502}, func() int64 {
			p.open(s.choice + "/account")
			return p.pick("xiaohong")
		})
	}},
	{"weixin-signed-out", 200, "微信的登录不受影响", "Weixin", func(s *stage, p *page) int64 { return p.open(s.choice + "/weixin/signed-out") }},
	{"snapshot-user", 403, "请使用完整服务", "open the full page", func(s *stage, p *page) int64 {
		p.pretend(wecomtest.UserAgentWeixin, eval[string](p, `navigator.language`))
		p.open(s.choice + "/read")
		return p.pick("kuaizhao")
	}},
	{"not-found", 404, "页面不存在", "not found", func(s *stage, p *page) int64 { return p.open(s.strict + "/nowhere") }},

	{"fake-index", 200, "离职", "leaves the company", func(s *stage, p *page) int64 {
		p.open(s.site + deepLink)
		p.pick("zhangsan")
		return p.open(s.wecom + "/")
	}},
	{"fake-story", 200, "刚才发生了什么", "What just happened", func(s *stage, p *page) int64 { return p.open(s.wecom + "/story") }},
	{"fake-web-login", 200, "由谁扫码", "Who scans it", func(s *stage, p *page) int64 { return p.open(s.site + deepLink) }},
	{"fake-in-app", 200, "谁在用这台手机", "Whose phone", func(s *stage, p *page) int64 {
		return inApp(s, p, func() int64 { return p.open(s.site + deepLink) })
	}},
	{"fake-weixin-web", 200, "微信登录", "Weixin", func(s *stage, p *page) int64 { return p.open(s.choice + "/account") }},
	{"fake-weixin-in-app", 200, "谁在用这台手机", "Whose phone", func(s *stage, p *page) int64 {
		p.pretend(wecomtest.UserAgentWeixin, eval[string](p, `navigator.language`))
		return p.open(s.choice + "/read")
	}},
	{"fake-consent", 200, "申请获取你的信息", "wants to see your details", func(s *stage, p *page) int64 {
		return inApp(s, p, func() int64 {
			p.open(s.private + deepLink)
			return p.pick("zhangsan")
		})
	}},
	{"fake-cancelled", 200, "已取消", "Cancelled", func(s *stage, p *page) int64 {
		s.fake.Configure(func(f *wecomtest.Settings) { f.RefusalStays = true })
		defer s.fake.Configure(func(f *wecomtest.Settings) { f.RefusalStays = false })
		p.open(s.site + deepLink)
		return p.click(`button[value=refuse]`)
	}},
	{"fake-failed", 400, "agentid 参数错误", "agentid is invalid", func(s *stage, p *page) int64 {
		return p.open(s.wecom + "/wwlogin/sso/login?login_type=CorpApp&appid=" + s.fake.CorpID() + "&agentid=1")
	}},
}

func failing(path string) func(s *stage, p *page) int64 {
	return func(s *stage, p *page) int64 {
		p.open(s.failing + path)
		return p.pick("zhangsan")
	}
}

// post sends an empty form from the page that is shown.
func (p *page) post(action string) int64 {
	p.Helper()
	eval[bool](p, fmt.Sprintf(`(() => {
		const form = document.createElement("form");
		form.method = "post";
		form.action = %s;
		form.append(document.createElement("button"));
		document.body.replaceChildren(form);
		return true;
	})()`, quoted(action)))
	return p.click("form button")
}

func inApp(s *stage, p *page, fn func() int64) int64 {
	lang := eval[string](p, `navigator.language`)
	p.pretend(wecomtest.UserAgentWeComAndroid, lang)
	return fn()
}

// Each page in both languages, with and without AppName and Contact, on a phone and on a
// desktop, light and dark: it is what it should be, says nothing of the cause, and does not
// scroll sideways. No page breaks its own Content-Security-Policy (see openTab). With AXE,
// the path of axe-core's axe.min.js, it finds nothing.
func TestPages(t *testing.T) {
	type setting struct {
		lang  string
		brand brand
		stage *stage
	}
	var settings []setting
	for _, brand := range []brand{{"plain", "", ""}, {"branded", "数据报表 Reports", "mailto:it-service-desk@example.com"}} {
		s := newStage(t, brand)
		settings = append(settings, setting{"zh-CN", brand, s}, setting{"en-US", brand, s})
	}
	var axe []byte
	if file := os.Getenv("AXE"); file != "" {
		var err error
		axe, err = os.ReadFile(file)
		require.NoError(t, err)
	}
	pictures := os.Getenv("SCREENSHOTS")
	for i, in := range settings {
		lang := in.lang
		for j, page := range shown {
			if !full && pictures == "" && axe == nil && (i+j)%len(settings) != 0 {
				continue // a quarter of them, to be quick
			}
			t.Run(page.name+" "+lang+" "+in.brand.name, func(t *testing.T) {
				p := newPage(t, lang)
				s := *in.stage
				s.T = t
				status := page.reach(&s, p)
				assert.Equal(t, page.status, status)
				want := page.zh
				if lang == "en-US" {
					want = page.en
				}
				text := p.text()
				assert.Contains(t, text, want)
				ours := !strings.HasPrefix(page.name, "fake-")
				if ours && !strings.HasPrefix(page.name, "quickstart") {
					assert.Equal(t, in.brand.app != "", strings.Contains(text, "Reports"))
					assert.Equal(t, in.brand.app != "", strings.Contains(text, "it-service-desk"))
				}
				for _, cause := range []string{"errcode", "hint:", "127.0.0.1", s.fake.Secret()} {
					if page.status >= 400 {
						assert.NotContains(t, strings.ReplaceAll(text, strings.TrimPrefix(s.site, "http://"), ""), cause)
					}
				}
				if axe != nil {
					eval[bool](p, string(axe)+";true")
				}
				for _, look := range looks {
					p.wear(look)
					wide := eval[[2]int](p, `[document.documentElement.scrollWidth, innerWidth]`)
					assert.LessOrEqual(t, wide[0], wide[1], "%s scrolls sideways", look.name)
					if pictures != "" {
						p.picture(filepath.Join(pictures, fmt.Sprintf("%s.%s.%s.%s.png", page.name, in.brand.name, lang[:2], look.name)))
					}
					if axe != nil {
						found := eval[string](p, `axe.run({iframes: false}).then(r => JSON.stringify(r.violations.map(v => [v.id, v.nodes.map(n => n.html)])))`)
						assert.Equal(t, "[]", found, look.name)
					}
				}
			})
		}
	}
}

type look struct {
	name          string
	width, height int64
	mobile        bool
	scheme        string
}

var looks = []look{
	{"phone-light", 390, 844, true, "light"},
	{"phone-dark", 390, 844, true, "dark"},
	{"desktop-light", 1280, 800, false, "light"},
	{"desktop-dark", 1280, 800, false, "dark"},
}

// wear changes what the page is looked at with.
func (p *page) wear(l look) {
	p.Helper()
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: l.width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.mobile,
	})
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}},
	})
}

func (p *page) picture(name string) {
	p.Helper()
	png := step(p, chromedp.CaptureScreenshot())
	require.NoError(p, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(p, os.WriteFile(name, png, 0o644))
}
