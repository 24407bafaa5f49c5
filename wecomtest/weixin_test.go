package wecomtest_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/wecomtest"
)

const (
	wxAPI   = "https://api.weixin.qq.com"
	wxPages = "https://open.weixin.qq.com"
	shop    = "https://shop.example.com"
)

func wxCode(f *wecomtest.Fake, app, scope string) string {
	return f.IssueCode(wecomtest.Grant{Who: "xiaoming", WeixinAppID: app, Scope: scope})
}

func wxExchange(f *wecomtest.Fake, a wecomtest.WeixinApp, code string) map[string]any {
	return get(f.Client(), wxAPI+"/sns/oauth2/access_token?appid="+a.AppID+"&secret="+a.Secret+"&grant_type=authorization_code&code="+url.QueryEscape(code))
}

func TestWeixinExchange(t *testing.T) {
	f := wecomtest.New()
	web, acc := f.WeixinWebsite(), f.WeixinAccount()

	v := wxExchange(f, web, wxCode(f, web.AppID, ""))
	assert.NotContains(t, v, "errcode", "success has none")
	assert.Equal(t, "snsapi_login", v["scope"])
	assert.EqualValues(t, 7200, v["expires_in"])
	assert.Equal(t, f.OpenID(web.AppID, "xiaoming"), v["openid"])
	assert.Regexp(t, `^o[0-9A-Za-z_-]{27}$`, v["openid"])
	union := v["unionid"]
	assert.NotEmpty(t, union)

	base := wxExchange(f, acc, wxCode(f, acc.AppID, ""))
	assert.Equal(t, "snsapi_base", base["scope"])
	assert.NotContains(t, base, "unionid")
	assert.NotEqual(t, v["openid"], base["openid"])
	full := wxExchange(f, acc, wxCode(f, acc.AppID, "snsapi_userinfo"))
	assert.Equal(t, union, full["unionid"])
	acc.NoUnion = true
	f.AddWeixinApp(acc)
	assert.NotContains(t, wxExchange(f, acc, wxCode(f, acc.AppID, "snsapi_userinfo")), "unionid")

	used := wxCode(f, web.AppID, "")
	wxExchange(f, web, used)
	for desc, tt := range map[string]struct {
		app  wecomtest.WeixinApp
		code string
		want int
	}{
		"used":         {web, used, 40163},
		"unknown":      {web, "x", 40029},
		"another's":    {acc, wxCode(f, web.AppID, ""), 40029},
		"WeCom's":      {web, f.IssueCode(wecomtest.Grant{Who: "lisi"}), 40029},
		"none":         {web, "", 41008},
		"wrong secret": {wecomtest.WeixinApp{AppID: web.AppID, Secret: "x"}, "x", 40125},
		"no secret":    {wecomtest.WeixinApp{AppID: web.AppID}, "x", 41004},
		"wrong app":    {wecomtest.WeixinApp{AppID: "wx0", Secret: "x"}, "x", 40013},
		"no app":       {wecomtest.WeixinApp{}, "x", 41002},
	} {
		v := wxExchange(f, tt.app, tt.code)
		assert.EqualValues(t, tt.want, v["errcode"], desc)
		assert.Regexp(t, `, rid: [0-9]{8}-[0-9]{8}-[0-9]{8}$`, v["errmsg"], desc)
		assert.Len(t, v, 2, desc)
	}
	assert.Equal(t, 2, f.Sent(used))
}

func TestWeixinHeadersAreLifes(t *testing.T) {
	f := wecomtest.New()
	for path, want := range map[string]string{"/sns/userinfo": "text/plain", "/cgi-bin/token": "application/json; encoding=utf-8"} {
		res, err := f.Client().Get(wxAPI + path)
		require.NoError(t, err)
		_ = res.Body.Close()
		assert.Equal(t, want, res.Header.Get("Content-Type"))
		assert.Equal(t, 200, res.StatusCode)
	}
}

func TestWeixinTokens(t *testing.T) {
	f := wecomtest.New()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.SetClock(func() time.Time { return now })
	acc := f.WeixinAccount()
	classic := func() string {
		v := get(f.Client(), wxAPI+"/cgi-bin/token?grant_type=client_credential&appid="+acc.AppID+"&secret="+acc.Secret)
		require.NotContains(t, v, "errcode")
		return v["access_token"].(string)
	}
	stable := func(force string) map[string]any {
		return post(f.Client(), wxAPI+"/cgi-bin/stable_token", `{"grant_type":"client_credential","appid":"`+acc.AppID+`","secret":"`+acc.Secret+`"`+force+`}`)
	}
	const forced = `,"force_refresh":true`
	use := func(token string) any {
		return get(f.Client(), wxAPI+"/cgi-bin/user/info?access_token="+token+"&openid="+f.OpenID(acc.AppID, "xiaoming"))["errcode"]
	}

	one := classic()
	two := classic()
	assert.NotEqual(t, one, two)
	assert.Nil(t, use(one), "both live for five minutes")
	assert.Nil(t, use(two))
	now = now.Add(5 * time.Minute)
	assert.EqualValues(t, 42001, use(one))
	assert.Nil(t, use(two))
	f.Configure(func(s *wecomtest.Settings) { s.ClassicOverlap = 0 })
	three := classic()
	assert.EqualValues(t, 40001, use(two), "killed at once")

	s := stable("")["access_token"].(string)
	assert.Equal(t, s, stable("")["access_token"], "the same to everybody")
	assert.Nil(t, use(s))
	assert.Nil(t, use(three), "the two know nothing of one another")
	now = now.Add(2*time.Hour - 5*time.Minute)
	renewed := stable("")["access_token"].(string)
	assert.NotEqual(t, s, renewed, "five minutes early")
	assert.Nil(t, use(s))
	now = now.Add(5 * time.Minute)
	assert.EqualValues(t, 42001, use(s))

	fresh := stable(forced)["access_token"].(string)
	assert.NotEqual(t, renewed, fresh)
	assert.EqualValues(t, 40001, use(renewed), "killed at once")
	assert.Equal(t, fresh, stable(forced)["access_token"], "30 seconds apart, else nothing is refreshed")
	assert.Nil(t, use(fresh))
	for range 19 {
		now = now.Add(30 * time.Second)
		next := stable(forced)["access_token"].(string)
		assert.NotEqual(t, fresh, next)
		fresh = next
	}
	now = now.Add(30 * time.Second)
	assert.Equal(t, fresh, stable(forced)["access_token"], "20 a day")
	now = now.Add(24 * time.Hour)
	assert.NotEqual(t, fresh, stable(forced)["access_token"])
	for range 10000 {
		stable("")
	}
	assert.EqualValues(t, 45011, stable("")["errcode"], "10,000 a minute")

	last := classic()
	f.KillTokens()
	assert.EqualValues(t, 40001, use(last))
	last = classic()
	f.ExpireTokens()
	assert.EqualValues(t, 42001, use(last))
	assert.EqualValues(t, 40001, use("x"))
	assert.EqualValues(t, 41001, use(""))

	acc.ListedIPs = []string{"198.51.100.1"}
	f.AddWeixinApp(acc)
	v := stable("")
	assert.EqualValues(t, 40164, v["errcode"])
	assert.Contains(t, v["errmsg"], "203.0.113.7")
	web := f.WeixinWebsite()
	v = get(f.Client(), wxAPI+"/cgi-bin/token?grant_type=client_credential&appid="+web.AppID+"&secret="+web.Secret)
	assert.EqualValues(t, 48001, v["errcode"], "a website has no token")
}

func TestWeixinPages(t *testing.T) {
	f := wecomtest.New()
	web, acc := f.WeixinWebsite(), f.WeixinAccount()
	qr := wxPages + "/connect/qrconnect?appid=" + web.AppID + "&redirect_uri=" + url.QueryEscape(shop+"/in?a=b") + "&response_type=code&scope=snsapi_login&state=s1&lang=en#wechat_redirect"
	in := wxPages + "/connect/oauth2/authorize?appid=" + acc.AppID + "&redirect_uri=" + url.QueryEscape(shop+"/in") + "&response_type=code&scope=snsapi_userinfo&state=s1#wechat_redirect"
	b := f.Browser(shop, nil)

	res := b.Get(qr)
	assert.Equal(t, 200, res.Status)
	assert.Contains(t, res.Body, "Sign in with Weixin")
	assert.Contains(t, res.Body, "小红")
	assert.NotContains(t, res.Body, "WeCom")
	b.StopAt(func(r *http.Request) bool { return r.URL.Path == "/in" })
	res = b.PostForm(qr, url.Values{"who": {"xiaohong"}})
	assert.True(t, res.Held)
	assert.Regexp(t, `^`+regexp.QuoteMeta(shop)+`/in\?a=b&code=[0-9A-Za-z_-]{32}&state=s1`, res.URL)
	assert.Equal(t, "xiaohong", f.Codes()[0].Who)

	res = b.Get(in)
	assert.Contains(t, res.Body, "谁在用这台手机")
	res = b.PostForm(in, url.Values{"who": {"xiaoming"}})
	assert.Contains(t, res.Body, "申请使用", "the consent page")
	assert.Contains(t, b.Get(in).Body, "申请使用", "this browser remembers who it is")
	assert.True(t, b.PostForm(in, url.Values{"who": {"xiaoming"}, "action": {"allow"}}).Held)
	silent := strings.Replace(in, "snsapi_userinfo", "snsapi_base", 1)
	assert.True(t, b.Get(silent).Held, "and snsapi_base asks nothing")
	res = b.PostForm(in, url.Values{"action": {"refuse"}})
	assert.True(t, res.Held)
	assert.NotContains(t, res.URL, "code=")
	assert.Contains(t, b.PostForm(in, url.Values{"action": {"switch"}}).Body, "谁在用这台手机")

	change := func(address, from, to string) string {
		require.Contains(t, address, from)
		return strings.Replace(address, from, to, 1)
	}
	for desc, address := range map[string]string{
		"unknown app":          change(qr, web.AppID, "wx0"),
		"an account's QR":      change(qr, web.AppID, acc.AppID),
		"a website inside":     change(in, acc.AppID, web.AppID),
		"another scope":        change(qr, "snsapi_login", "snsapi_base"),
		"no scope":             change(in, "snsapi_userinfo", ""),
		"no redirect_uri":      change(qr, "redirect_uri", "redirect"),
		"no response_type":     change(in, "response_type", "type"),
		"a state with a dash":  change(in, "state=s1", "state=s-1"),
		"a state of 129":       change(in, "state=s1", "state="+strings.Repeat("s", 129)),
		"without the fragment": change(qr, "#wechat_redirect", ""),
	} {
		assert.Equal(t, 400, b.GetNoFollow(address).Status, desc)
	}
	assert.Equal(t, 200, b.GetNoFollow(change(qr, "state=s1", "state="+url.QueryEscape("任意-"+strings.Repeat("s", 200)))).Status, "a website's state may be anything")
	web.Domain, acc.Domain = "other.example.com", "SHOP.example.com"
	f.AddWeixinApp(web)
	f.AddWeixinApp(acc)
	res = b.Get(qr)
	assert.Equal(t, 400, res.Status)
	assert.Contains(t, res.Body, "10003")
	assert.Equal(t, 200, b.Get(in).Status)

	f.Configure(func(s *wecomtest.Settings) { s.ClientOnly = true })
	assert.Equal(t, 400, b.Get(in).Status)
	assert.Equal(t, 400, b.SetUserAgent(wecomtest.UserAgentWeComIOS).Get(in).Status)
	assert.Equal(t, 200, b.SetUserAgent(wecomtest.UserAgentWeixin).Get(in).Status)

}

// One address serves both platforms' APIs, and the production names each its own.
func TestWeixinBesideWeCom(t *testing.T) {
	f := wecomtest.New()
	assert.NotContains(t, get(f.Client(), api+"token"), "access_token", "WeCom has no such endpoint")
	v := get(f.Client(), wxAPI+"/cgi-bin/gettoken")
	assert.EqualValues(t, 40066, v["errcode"], "nor has Weixin")
	assert.Contains(t, v["errmsg"], "rid: ")

	s, err := f.Start("")
	require.NoError(t, err)
	defer s.Close()
	acc := f.WeixinAccount()
	c := http.DefaultClient
	assert.EqualValues(t, 41002, get(c, s.URL()+"/cgi-bin/gettoken")["errcode"])
	v = get(c, s.URL()+"/cgi-bin/token?grant_type=client_credential&appid="+acc.AppID+"&secret="+acc.Secret)
	token, _ := v["access_token"].(string)
	assert.NotEmpty(t, token)

	// Both platforms have these: the token says whose call it is.
	weCom := get(c, s.URL()+"/cgi-bin/gettoken?corpid="+f.CorpID()+"&corpsecret="+f.Secret())["access_token"].(string)
	for _, path := range []string{"getcallbackip", "get_api_domain_ip"} {
		wx, ww := get(c, s.URL()+"/cgi-bin/"+path+"?access_token="+token), get(c, s.URL()+"/cgi-bin/"+path+"?access_token="+weCom)
		assert.NotContains(t, wx, "errcode", path)
		assert.EqualValues(t, 0, ww["errcode"], path)
		assert.NotEqual(t, wx["ip_list"], ww["ip_list"], path)
		assert.EqualValues(t, 40014, get(c, s.URL()+"/cgi-bin/"+path+"?access_token=x")["errcode"], path)
		assert.EqualValues(t, 40001, get(f.Client(), wxAPI+"/cgi-bin/"+path+"?access_token="+weCom)["errcode"], path)
	}
	assert.EqualValues(t, 40014, get(c, s.URL()+"/cgi-bin/user/get?userid=lisi&access_token="+token)["errcode"], "WeCom's alone")
	assert.Contains(t, get(c, s.URL()+"/cgi-bin/no/such?access_token="+token)["errmsg"], "rid: ")
	f.KillTokens()
	assert.EqualValues(t, 40001, get(c, s.URL()+"/cgi-bin/getcallbackip?access_token="+token)["errcode"])
	v = get(c, s.URL()+"/cgi-bin/token?grant_type=client_credential&appid="+acc.AppID+"&secret="+acc.Secret)
	token = v["access_token"].(string)

	ticket := get(c, s.URL()+"/cgi-bin/ticket/getticket?type=jsapi&access_token="+token)
	assert.EqualValues(t, 0, ticket["errcode"])
	assert.Len(t, ticket["ticket"], 86)
	assert.EqualValues(t, 40097, get(c, s.URL()+"/cgi-bin/ticket/getticket?access_token="+token)["errcode"])
	assert.EqualValues(t, 41001, get(c, s.URL()+"/cgi-bin/ticket/getticket?type=jsapi")["errcode"])

	f.Handle("/datacube/getusersummary", func(*http.Request) any { return map[string]any{"list": []any{}} })
	assert.Contains(t, get(c, s.URL()+"/datacube/getusersummary?access_token="+token), "list")
	assert.EqualValues(t, 40001, get(f.Client(), wxAPI+"/datacube/getusersummary?access_token=x")["errcode"])
	f.Always("/sns/userinfo", wecomtest.Fault{ErrCode: 48001})
	assert.Contains(t, get(f.Client(), wxAPI+"/sns/userinfo")["errmsg"], "rid: ")
	assert.NotContains(t, get(f.Client(), wxAPI+"/sns/userinfo")["errmsg"], "hint")
}

// Old clients POST, with their parameters in the query or in a form.
func TestWeixinTakesPost(t *testing.T) {
	f := wecomtest.New()
	web := f.WeixinWebsite()
	form := func(path string, q url.Values) map[string]any {
		res, err := f.Client().PostForm(wxAPI+path, q)
		return decode(res, err)
	}
	first, second := wxCode(f, web.AppID, ""), wxCode(f, web.AppID, "")
	params := url.Values{"appid": {web.AppID}, "secret": {web.Secret}, "grant_type": {"authorization_code"}, "code": {first}}
	grant := form("/sns/oauth2/access_token", params)
	assert.Equal(t, f.OpenID(web.AppID, "xiaoming"), grant["openid"])
	assert.Equal(t, 1, f.Sent(first))
	params.Set("code", second)
	assert.NotContains(t, post(f.Client(), wxAPI+"/sns/oauth2/access_token?"+params.Encode(), ""), "errcode")
	assert.Equal(t, 1, f.Sent(second))
	assert.EqualValues(t, 40163, form("/sns/oauth2/access_token", params)["errcode"])

	grant = form("/sns/oauth2/refresh_token", url.Values{"appid": {web.AppID}, "grant_type": {"refresh_token"}, "refresh_token": {grant["refresh_token"].(string)}})
	token := grant["access_token"].(string)
	user := url.Values{"access_token": {token}, "openid": {"another-person"}}
	assert.Equal(t, f.OpenID(web.AppID, "xiaoming"), form("/sns/userinfo", user)["openid"], "it does not compare")
	assert.EqualValues(t, 40003, get(f.Client(), wxAPI+"/sns/auth?"+user.Encode())["errcode"], "this one does")
	assert.EqualValues(t, 41009, get(f.Client(), wxAPI+"/sns/auth?access_token="+token)["errcode"])
	assert.EqualValues(t, 43001, form("/sns/auth", user)["errcode"])
}

// What a snapshot's visitor gets is of no use as a key: the openid changes, and the
// unionid is everybody's.
func TestWeixinSnapshots(t *testing.T) {
	f := wecomtest.New()
	acc := f.WeixinAccount()
	f.AddWeixinUser(wecomtest.WeixinUser{ID: "another", Nickname: "小刚", Snapshot: true})
	visit := func(who, scope string) (grant, user map[string]any) {
		grant = wxExchange(f, acc, f.IssueCode(wecomtest.Grant{Who: who, WeixinAppID: acc.AppID, Scope: scope}))
		token, _ := grant["access_token"].(string)
		return grant, get(f.Client(), wxAPI+"/sns/userinfo?openid=x&access_token="+token)
	}
	one, user := visit("kuaizhao", "snsapi_userinfo")
	assert.EqualValues(t, 1, one["is_snapshotuser"])
	assert.Equal(t, one["openid"], user["openid"])
	assert.Equal(t, one["unionid"], user["unionid"])
	assert.Equal(t, "微信用户", user["nickname"])
	assert.NotEmpty(t, user["headimgurl"])
	again, _ := visit("kuaizhao", "snsapi_userinfo")
	other, user := visit("another", "snsapi_userinfo")
	assert.Equal(t, "微信用户", user["nickname"])
	real := f.OpenID(acc.AppID, "kuaizhao")
	openIDs := map[any]bool{real: true, one["openid"]: true, again["openid"]: true, other["openid"]: true}
	assert.Len(t, openIDs, 4)
	assert.NotEmpty(t, one["unionid"])
	assert.Equal(t, one["unionid"], other["unionid"])

	base, user := visit("kuaizhao", "snsapi_base")
	assert.NotContains(t, base, "is_snapshotuser", "only with snsapi_userinfo")
	assert.Equal(t, real, base["openid"])
	assert.EqualValues(t, 48001, user["errcode"])

	b := f.Browser(shop, nil).SetUserAgent(wecomtest.UserAgentWeixin)
	b.StopAt(func(r *http.Request) bool { return r.URL.Path == "/in" })
	in := wxPages + "/connect/oauth2/authorize?appid=" + acc.AppID + "&redirect_uri=" + url.QueryEscape(shop+"/in") + "&response_type=code&scope=snsapi_userinfo&state=s1#wechat_redirect"
	assert.True(t, b.PostForm(in, url.Values{"who": {"kuaizhao"}}).Held, "a snapshot asks nothing")
}

func TestWeixinMisspeltNamesPanic(t *testing.T) {
	f := wecomtest.New()
	assert.Panics(t, func() { f.OpenID("wx0", "nobody") })
	assert.Panics(t, func() { f.ChangePassword("nobody") })
	assert.Panics(t, func() { f.IssueCode(wecomtest.Grant{Who: "zhangsan", WeixinAppID: f.WeixinWebsite().AppID}) })
	assert.Panics(t, func() { f.IssueCode(wecomtest.Grant{Who: "xiaoming", WeixinAppID: "wx0"}) })
	assert.Panics(t, func() { f.Calls("/sns/nothing") })
}
