package wecomtest_test

import (
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/wecomauth/wecom/wecomtest"
)

const (
	inApp = "https://open.weixin.qq.com/connect/oauth2/authorize"
	web   = "https://login.work.weixin.qq.com/wwlogin/sso/login"
)

var (
	goodInApp = url.Values{
		"appid": {"ww0123456789abcdef"}, "redirect_uri": {origin + "/cb"}, "response_type": {"code"},
		"scope": {"snsapi_base"}, "state": {"abc123"}, "agentid": {"1000002"},
	}
	goodWeb = url.Values{
		"login_type": {"CorpApp"}, "appid": {"ww0123456789abcdef"}, "agentid": {"1000002"},
		"redirect_uri": {origin + "/cb"}, "state": {"abc123"},
	}
)

// link returns the page's address with some parameters changed; "-" removes one.
func link(page string, good url.Values, changes ...string) string {
	q := url.Values{}
	for k, v := range good {
		q[k] = v
	}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "-" {
			q.Del(changes[i])
		} else {
			q.Set(changes[i], changes[i+1])
		}
	}
	u := page + "?" + q.Encode()
	if page == inApp {
		u += "#wechat_redirect"
	}
	return u
}

// landing is an application that only says where it was called.
var landing = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.RequestURI)) })

func TestPageParameters(t *testing.T) {
	tests := []struct {
		name string
		url  string
		want string // on the error page; "" means that it works
	}{
		{"in-app", link(inApp, goodInApp), ""},
		{"in-app, without state", link(inApp, goodInApp, "state", "-"), ""},
		{"in-app, longest state", link(inApp, goodInApp, "state", strings.Repeat("a", 128)), ""},
		{"in-app, without agentid", link(inApp, goodInApp, "agentid", "-"), ""},
		{"in-app, old scope", link(inApp, goodInApp, "scope", "snsapi_userinfo"), ""},
		{"in-app, port of the scheme", link(inApp, goodInApp, "redirect_uri", "https://app.example.com:443/cb"), ""},
		{"in-app, other scheme", link(inApp, goodInApp, "redirect_uri", "http://app.example.com/cb"), ""},
		{"in-app, no fragment", strings.TrimSuffix(link(inApp, goodInApp), "#wechat_redirect"), "#wechat_redirect"},
		{"in-app, no appid", link(inApp, goodInApp, "appid", "-"), "appid 参数错误"},
		{"in-app, wrong appid", link(inApp, goodInApp, "appid", "wwnone"), "appid 参数错误"},
		{"in-app, wrong agentid", link(inApp, goodInApp, "agentid", "1000009"), "agentid 参数错误"},
		{"in-app, privateinfo without agentid", link(inApp, goodInApp, "agentid", "-", "scope", "snsapi_privateinfo"), "agentid 必填"},
		{"in-app, no redirect_uri", link(inApp, goodInApp, "redirect_uri", "-"), "redirect_uri 参数为空"},
		{"in-app, untrusted host", link(inApp, goodInApp, "redirect_uri", "https://evil.example/cb"), "redirect_uri 参数错误"},
		{"in-app, host below", link(inApp, goodInApp, "redirect_uri", "https://x.app.example.com/cb"), "redirect_uri 参数错误"},
		{"in-app, other port", link(inApp, goodInApp, "redirect_uri", "https://app.example.com:8443/cb"), "redirect_uri 参数错误"},
		{"in-app, no URL", link(inApp, goodInApp, "redirect_uri", "javascript:alert(1)"), "redirect_uri 参数错误"},
		{"in-app, relative", link(inApp, goodInApp, "redirect_uri", "/cb"), "redirect_uri 参数错误"},
		{"in-app, web's domain", link(inApp, goodInApp, "redirect_uri", "https://web.example.com/cb"), "redirect_uri 参数错误"},
		{"in-app, wrong response_type", link(inApp, goodInApp, "response_type", "token"), "response_type 参数错误"},
		{"in-app, wrong scope", link(inApp, goodInApp, "scope", "snsapi_login"), "scope 参数错误"},
		{"in-app, state with other characters", link(inApp, goodInApp, "state", "a-b_c"), "state 参数错误"},
		{"in-app, state too long", link(inApp, goodInApp, "state", strings.Repeat("a", 129)), "state 参数错误"},
		{"web", link(web, goodWeb), ""},
		{"web, callback domain", link(web, goodWeb, "redirect_uri", "https://web.example.com/cb"), ""},
		{"web, other characters", link(web, goodWeb, "state", "a-b_c"), ""},
		{"web, wrong login_type", link(web, goodWeb, "login_type", "ServiceApp"), "-31040"},
		{"web, wrong appid", link(web, goodWeb, "appid", "wwnone"), "-31027"},
		{"web, wrong agentid", link(web, goodWeb, "agentid", "x"), "-31028"},
		{"web, no agentid", link(web, goodWeb, "agentid", "-"), "-31028"},
		{"web, no redirect_uri", link(web, goodWeb, "redirect_uri", "-"), "-31035"},
		{"web, untrusted host", link(web, goodWeb, "redirect_uri", "https://evil.example/cb"), "-31020"},
		{"web, any state", link(web, goodWeb, "state", "任意 - "+strings.Repeat("a", 129)), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fake := wecomtest.New()
			fake.TrustDomain("app.example.com")
			a := fake.App()
			a.CallbackDomains = []string{"web.example.com"}
			fake.AddApp(a)
			b := fake.Browser(origin, landing).SignInAs("zhangsan")
			res := b.GetNoFollow(tt.url)
			if tt.want == "" {
				assert.Equal(t, 302, res.Status, res.Body)
				assert.Contains(t, res.Location(), "code=")
				return
			}
			assert.Equal(t, 400, res.Status)
			assert.Contains(t, res.Body, tt.want)
			assert.Empty(t, res.Header.Get("Location"))
			assert.Empty(t, fake.Codes())
		})
	}
}

// In-app any app of the corp may own the domain; the exchange then asks the token's own.
func TestDomainOfAnotherApp(t *testing.T) {
	fake := wecomtest.New()
	fake.TrustDomain("other.example.com")
	fake.AddApp(wecomtest.App{AgentID: "1000003", Secret: "third", TrustedDomains: []string{"app.example.com"}})
	c := newCaller(t, fake)
	b := fake.Browser(origin, landing).SignInAs("zhangsan")
	require.Equal(t, 200, b.Get(link(inApp, goodInApp)).Status)
	assert.EqualValues(t, 50001, c.get("auth/getuserinfo", "code="+fake.Codes()[0].Value)["errcode"])
	assert.Equal(t, 400, b.Get(link(web, goodWeb)).Status)
}

// The callback's own address keeps every byte.
func TestBackToTheCallback(t *testing.T) {
	for redirect, want := range map[string]string{
		origin + "/cb":               origin + "/cb?code=C&state=abc123",
		origin:                       origin + "/?code=C&state=abc123",
		origin + "/cb?":              origin + "/cb?&code=C&state=abc123",
		origin + "/cb?x=%2F&y=a+b":   origin + "/cb?x=%2F&y=a+b&code=C&state=abc123",
		origin + "/%E5%8D%97/a%2Fb":  origin + "/%E5%8D%97/a%2Fb?code=C&state=abc123",
		origin + "/cb?x=1#frag?ment": origin + "/cb?x=1&code=C&state=abc123#frag?ment",
	} {
		fake := wecomtest.New()
		res := fake.Browser(origin, landing).SignInAs("zhangsan").GetNoFollow(link(web, goodWeb, "redirect_uri", redirect))
		require.Len(t, fake.Codes(), 1, redirect)
		assert.Equal(t, strings.Replace(want, "=C&", "="+fake.Codes()[0].Value+"&", 1), res.Location())
	}
}

func TestPeopleOnTheWebPage(t *testing.T) {
	fake := wecomtest.New()
	b := fake.Browser(origin, landing)
	page := b.Get(link(web, goodWeb))
	require.Equal(t, 200, page.Status)
	for _, who := range []string{"zhangsan", "sunqi", "wwfedcba9876543210/zhouba", "oFakeOutsider0000000000000001", "oFakeCustomer0000000000000001"} {
		assert.Contains(t, html.UnescapeString(page.Body), `value="`+who+`"`)
	}
	assert.Contains(t, page.Body, "企业微信登录")
	assert.Contains(t, page.Body, "模拟")
	assert.Equal(t, "no-store", page.Header.Get("Cache-Control"))
	assert.Contains(t, page.Header.Get("Content-Security-Policy"), "default-src 'none'")

	res := b.PostForm("", url.Values{"who": {"lisi"}})
	assert.Equal(t, 200, res.Status)
	assert.Equal(t, "/cb?code="+fake.Codes()[0].Value+"&state=abc123", res.Body)
	assert.Equal(t, 303, res.Hops[0].Status)
	assert.Equal(t, "lisi", fake.Codes()[0].Who)
	assert.Equal(t, 1, fake.Calls("/wwlogin/sso/login"), "a press of a button is no arrival")
	assert.Equal(t, 200, b.Get(link(web, goodWeb)).Status, "asks every time")

	assert.Equal(t, "/cb?state=abc123", b.PostForm("", url.Values{"action": {"refuse"}}).Body)
	b.Get(link(web, goodWeb))
	assert.Equal(t, 400, b.PostForm("", url.Values{"who": {"nobody"}}).Status)
	assert.Equal(t, 400, b.PostForm("", nil).Status)
	fake.Configure(func(s *wecomtest.Settings) { s.RefusalStays = true })
	b.Get(link(web, goodWeb))
	res = b.PostForm("", url.Values{"action": {"refuse"}})
	assert.Contains(t, res.Body, "已取消")
	assert.Contains(t, res.URL, web)
	assert.Len(t, fake.Codes(), 1)
}

func TestPeopleOnTheInAppPage(t *testing.T) {
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	fake := wecomtest.New()
	fake.SetClock(func() time.Time { return now })
	c := newCaller(t, fake)
	b := fake.Browser(origin, landing).InApp()
	last := func() wecomtest.Code { all := fake.Codes(); return all[len(all)-1] }

	// Base: asked once whose phone it is, silent from then on.
	assert.Contains(t, b.Get(link(inApp, goodInApp)).Body, "谁在用这台手机")
	res := b.PostForm("", url.Values{"who": {"zhangsan"}})
	assert.Equal(t, "/cb?code="+last().Value+"&state=abc123", res.Body)
	res = b.Get(link(inApp, goodInApp))
	assert.Equal(t, []int{302, 200}, []int{res.Hops[0].Status, res.Hops[1].Status})
	assert.True(t, last().InApp)
	res = b.PostForm(link(inApp, goodInApp), url.Values{"who": {"zhangsan"}, "action": {"allow"}})
	assert.Equal(t, "/cb?code="+last().Value+"&state=abc123", res.Body, "consent that nobody asked for")

	// privateinfo: consent, remembered for 30 days.
	private := link(inApp, goodInApp, "scope", "snsapi_privateinfo")
	assert.Contains(t, b.Get(private).Body, "申请获取你的信息")
	res = b.PostForm("", url.Values{"who": {"zhangsan"}, "action": {"allow"}, "field": {"mobile", "email"}})
	require.True(t, strings.HasPrefix(res.Body, "/cb?code="), res.Body)
	ticket := func() any { return c.get("auth/getuserinfo", "code="+last().Value)["user_ticket"] }
	d := c.post("auth/getuserdetail", `{"user_ticket":"`+ticket().(string)+`"}`)
	assert.Equal(t, map[string]any{
		"errcode": 0., "errmsg": "ok", "userid": "zhangsan", "gender": "0", "avatar": "https://wework.qpic.cn/wwpic/default/0",
		"mobile": "13800000001", "email": "zhangsan@mail.example.net",
	}, d, "only what was agreed to")

	now = now.Add(30*24*time.Hour - time.Second)
	assert.Equal(t, 302, b.GetNoFollow(private).Status)
	now = now.Add(time.Second)
	assert.Contains(t, b.Get(private).Body, "申请获取你的信息")
	res = b.PostForm("", url.Values{"who": {"zhangsan"}, "action": {"refuse"}})
	assert.Equal(t, "/cb?state=abc123", res.Body)

	// Another member; and one whom the app may not ask.
	b.Get(private)
	assert.Contains(t, b.PostForm("", url.Values{"action": {"switch"}}).Body, "谁在用这台手机")
	assert.Contains(t, b.PostForm("", url.Values{"who": {"sunqi"}}).Body, "可见范围")
	assert.Equal(t, 302, b.GetNoFollow(link(inApp, goodInApp)).Status, "base does not ask for the visible range")
	assert.Equal(t, "sunqi", last().Who)

	b.DropCookies()
	b.Get(private)
	assert.True(t, strings.HasPrefix(b.PostForm("", url.Values{"who": {"oFakeOutsider0000000000000001"}}).Body, "/cb?code="))
	assert.Nil(t, ticket())
	fake.ForgetConsents()
}

func TestAutomaticMode(t *testing.T) {
	fake := wecomtest.New()
	a, b := fake.Browser(origin, landing), fake.Browser(origin, landing)
	who := func() string { all := fake.Codes(); return all[len(all)-1].Who }

	fake.SignInAs("lisi")
	a.Get(link(web, goodWeb))
	assert.Equal(t, "lisi", who())
	b.SignInAs("wwfedcba9876543210/zhouba").Get(link(inApp, goodInApp))
	assert.Equal(t, "wwfedcba9876543210/zhouba", who(), "the browser's own choice goes first")
	a.Get(link(inApp, goodInApp, "scope", "snsapi_privateinfo"))
	assert.Equal(t, "snsapi_privateinfo", fake.Codes()[2].Scope)
	assert.Equal(t, 400, a.SignInAs("sunqi").Get(link(inApp, goodInApp, "scope", "snsapi_privateinfo")).Status)
	a.SignInAs("")

	fake.AutoRefuse(true)
	assert.Equal(t, "/cb?state=abc123", a.Get(link(web, goodWeb)).Body)
	fake.AutoRefuse(false)
	assert.Contains(t, a.Get(link(web, goodWeb)).Body, "企业微信登录")
	assert.Equal(t, "/cb?state=abc123", a.Refuse().Get(link(inApp, goodInApp)).Body)
	assert.Equal(t, "/cb", a.Get(link(inApp, goodInApp, "state", "-")).Body)
	n := len(fake.Codes())
	r, _ := http.NewRequest("HEAD", link(web, goodWeb), nil)
	assert.Equal(t, 200, b.Do(r).Status)
	r.Method = "PUT"
	assert.Equal(t, 405, b.Do(r).Status)
	assert.Len(t, fake.Codes(), n)

	fake.AddApp(wecomtest.App{CorpID: "wwother", AgentID: "1", Secret: "x"})
	assert.Equal(t, 400, a.SignInAs("lisi").Get(link(web, goodWeb, "appid", "wwother", "agentid", "1")).Status)
}

func TestLanguages(t *testing.T) {
	fake := wecomtest.New()
	b := fake.Browser(origin, landing)
	for _, tt := range []struct{ accept, param, want string }{
		{"zh-CN,zh;q=0.9", "-", "zh-CN"},
		{"en-GB,en;q=0.9,zh;q=0.8", "-", "en"},
		{"fr,en;q=0.5", "-", "en"},
		{"fr", "-", "zh-CN"},
		{"zh-CN", "en", "en"},
		{"en", "zh", "zh-CN"},
		{"en", "fr", "en"},
	} {
		b.SetLanguage(tt.accept)
		assert.Contains(t, b.Get(link(web, goodWeb, "lang", tt.param)).Body, `<html lang="`+tt.want+`">`, tt)
	}
}

func TestClientOnly(t *testing.T) {
	fake := wecomtest.New()
	fake.Configure(func(s *wecomtest.Settings) { s.ClientOnly = true })
	b := fake.Browser(origin, landing).SignInAs("lisi")
	assert.Contains(t, b.Get(link(inApp, goodInApp)).Body, "请在企业微信客户端打开链接")
	for _, ua := range []string{
		wecomtest.UserAgentWeComAndroid, wecomtest.UserAgentWeComIOS, wecomtest.UserAgentWeComWindows,
		wecomtest.UserAgentWeComMac, wecomtest.UserAgentWeixin,
	} {
		assert.Equal(t, "/cb", b.SetUserAgent(ua).Get(link(inApp, goodInApp)).Body[:3], ua)
	}
	assert.Equal(t, 200, b.SetUserAgent(wecomtest.UserAgentChrome).Get(link(web, goodWeb)).Status)
}

// Names come from whoever writes the test, or from an attacker.
func TestPagesEscape(t *testing.T) {
	const evil = `"><script>alert(1)</script>`
	fake := wecomtest.New()
	a := fake.App()
	a.Name = evil
	fake.AddApp(a)
	fake.AddMember(wecomtest.Member{UserID: `x">`, Name: evil, Mobile: evil})
	fake.AddOutsider(wecomtest.Outsider{OpenID: evil})
	fake.AddDepartment(wecomtest.Department{ID: 1, Name: evil, NameEN: evil})
	b := fake.Browser(origin, landing)
	for _, res := range []*wecomtest.Response{
		b.Get(link(web, goodWeb, "state", evil)),
		b.Get(link(inApp, goodInApp, "state", evil)),
		b.Get(link(inApp, goodInApp)),
		b.Get(link(inApp, goodInApp, "scope", "snsapi_privateinfo")),
		b.PostForm("", url.Values{"who": {"zhangsan"}}),
		b.PostForm("", url.Values{"who": {evil}}),
		b.Get(link(web, goodWeb, "lang", evil, "redirect_uri", "https://"+evil)),
	} {
		assert.NotContains(t, res.Body, "<script>", res.URL)
	}
}
