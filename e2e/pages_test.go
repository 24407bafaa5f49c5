package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
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
)

// A brand is whose the pages are.
type brand struct{ name, app, contact string }

// A stage is everything that has pages.
type stage struct {
	*testing.T
	fake    *wecomtest.Fake
	wecom   string // the fake's own origin
	site    string // a quickstart
	alone   string // one with a fake of its own, whose story is beside the page
	private string // one that asks for consent
	panel   string // one with a login panel
	choice  string // a site with two ways to sign in
	strict  string // a site that lets nobody in, and has no home
	broken  string // a site whose session store is down
}

func newStage(t *testing.T, brand brand) *stage {
	s := &stage{T: t, fake: wecomtest.New()}
	server, err := s.fake.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	s.wecom = server.URL()
	env := []string{"WECOM_APP_NAME=" + brand.app, "WECOM_CONTACT=" + brand.contact}
	s.site = startQuickstart(t, s.fake, env...)
	s.alone = startQuickstart(t, nil, env...)
	s.private = startQuickstart(t, s.fake, append(env, "WECOM_SCOPE=snsapi_privateinfo")...)
	s.panel = s.serve(server, func(o *wecom.Options) { o.LoginPanel, o.AppName, o.Contact = true, brand.app, brand.contact }, (*wecom.Middleware).Routes)
	s.choice = s.serve(server, func(o *wecom.Options) { o.AppName, o.Contact = brand.app, brand.contact }, func(m *wecom.Middleware) http.Handler {
		return wecom.AnyOf(m, m)(http.NotFoundHandler())
	})
	s.strict = s.serve(server, func(o *wecom.Options) {
		o.Authorize = func(context.Context, *wecom.Client, wecom.Identity) (bool, error) { return false, nil }
		o.AppName, o.Contact = brand.app, brand.contact
	}, (*wecom.Middleware).Routes)
	s.broken = s.serve(server, func(o *wecom.Options) { o.SessionStore, o.AppName, o.Contact = downStore{}, brand.app, brand.contact }, func(m *wecom.Middleware) http.Handler {
		return m.Handler(http.NotFoundHandler())
	})
	return s
}

func (s *stage) serve(fake *wecomtest.Server, change func(*wecom.Options), handler func(*wecom.Middleware) http.Handler) string {
	site := httptest.NewUnstartedServer(nil)
	origin := "http://" + site.Listener.Addr().String()
	o := s.fake.Options(origin + "/wecom/callback")
	o.Endpoints, o.Transport = fake.Endpoints(), nil
	o.Logger = slog.New(slog.DiscardHandler)
	change(&o)
	auth, err := wecom.New(o)
	require.NoError(s, err)
	site.Config.Handler = handler(auth)
	site.Start()
	s.Cleanup(site.Close)
	return origin
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
		eval[bool](p, `(() => {
			const form = document.createElement("form");
			form.method = "post";
			form.action = "/approve";
			form.append(document.createElement("button"));
			document.body.replaceChildren(form);
			return true;
		})()`)
		return p.click("form button")
	}},
	{"method-not-allowed", 405, "无法这样打开", "cannot be opened like this", func(s *stage, p *page) int64 {
		return p.open(s.site + "/wecom/logout")
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
			p.open(s.site + deepLink)
			return p.pick("zhangsan")
		})
	}},
	{"wecom-unavailable", 503, "企业微信", "WeCom", func(s *stage, p *page) int64 {
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
	{"choose", 401, "选择", "Choose how to sign in", func(s *stage, p *page) int64 { return p.open(s.choice + "/") }},
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
	{"fake-consent", 200, "申请获取你的信息", "asks for your details", func(s *stage, p *page) int64 {
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
	{"fake-failed", 400, "agentid 参数错误", "agentid is wrong", func(s *stage, p *page) int64 {
		return p.open(s.wecom + "/wwlogin/sso/login?login_type=CorpApp&appid=" + s.fake.CorpID() + "&agentid=1")
	}},
}

func inApp(s *stage, p *page, fn func() int64) int64 {
	lang := eval[string](p, `navigator.language`)
	p.pretend(wecomtest.UserAgentWeComAndroid, lang)
	return fn()
}

// Each page in both languages, with and without AppName and Contact, on a phone and on a
// desktop, light and dark: it is what it should be, says nothing of the cause, and does not
// scroll sideways. No page breaks its own Content-Security-Policy (see openTab). With AXE,
// the path of axe-core's axe.min.js, it finds nothing on any of ours.
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
				if axe != nil && ours {
					eval[bool](p, string(axe)+";true")
				}
				for _, look := range looks {
					p.wear(look)
					wide := eval[[2]int](p, `[document.documentElement.scrollWidth, innerWidth]`)
					assert.LessOrEqual(t, wide[0], wide[1], "%s scrolls sideways", look.name)
					if pictures != "" {
						p.picture(filepath.Join(pictures, fmt.Sprintf("%s.%s.%s.%s.png", page.name, in.brand.name, lang[:2], look.name)))
					}
					if axe != nil && ours {
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
