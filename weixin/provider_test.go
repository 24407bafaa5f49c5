package weixin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
	"github.com/wecomauth/wecom/wecomtest/conformance"
	"github.com/wecomauth/wecom/weixin"
)

func TestConformance(t *testing.T) {
	for name, open := range map[string]func(*testing.T, *wecomtest.Fake) (wecom.Provider, string){
		"website": func(t *testing.T, f *wecomtest.Fake) (wecom.Provider, string) {
			return website(t, fakeOptions(f, f.WeixinWebsite())), f.WeixinWebsite().AppID
		},
		"official account": func(t *testing.T, f *wecomtest.Fake) (wecom.Provider, string) {
			return account(t, fakeOptions(f, f.WeixinAccount())), f.WeixinAccount().AppID
		},
		"official account with the profile": func(t *testing.T, f *wecomtest.Fake) (wecom.Provider, string) {
			o := fakeOptions(f, f.WeixinAccount())
			o.Profile = true
			return account(t, o), f.WeixinAccount().AppID
		},
	} {
		t.Run(name, func(t *testing.T) {
			conformance.Provider(t, func(t *testing.T) conformance.Desk {
				fake := wecomtest.New()
				p, appID := open(t, fake)
				const exchange = "/sns/oauth2/access_token"
				return conformance.Desk{
					Provider:   p,
					Code:       func() string { return fake.IssueCode(wecomtest.Grant{Who: "xiaoming", WeixinAppID: appID}) },
					Sent:       fake.Sent,
					LoseAnswer: func() { fake.Script(exchange, wecomtest.Fault{Drop: wecomtest.DropAfter}) },
					Garble: func() {
						fake.Script(exchange, wecomtest.Fault{Processed: true, Body: []byte("<html>Welcome to the airport's network</html>")})
					},
					Hang: func() { fake.Always(exchange, wecomtest.Fault{Until: make(chan struct{})}) },
				}
			})
		})
	}
}

func TestOptionsReportEveryMistake(t *testing.T) {
	bad := weixin.Options{
		AppID: "wx with spaces", Secret: wecom.NewSecret("CANARY "),
		Endpoints: weixin.Endpoints{API: "http://api.example.com?CANARY", Pages: "open.weixin.qq.com"},
	}
	for _, err := range []error{
		func() error { _, err := weixin.NewWebsite(bad); return err }(),
		func() error { _, err := weixin.NewOfficialAccount(bad); return err }(),
		func() error { _, err := weixin.NewClient(bad); return err }(),
	} {
		for _, want := range []string{"AppID", "Secret", "Endpoints.API", "Endpoints.Pages"} {
			assert.ErrorContains(t, err, want)
		}
		assert.NotContains(t, err.Error(), "CANARY")
	}

	source := wecom.NewTokenSource("x", nil, nil)
	for _, tt := range []struct {
		name                     string
		change                   func(*weixin.Options)
		website, account, client string // what the error names, "" for none
	}{
		{"as it should be", func(*weixin.Options) {}, "", "", ""},
		{"a corp id", func(o *weixin.Options) { o.AppID = "ww0123456789abcdef" }, "WeCom", "WeCom", "WeCom"},
		{"nothing", func(o *weixin.Options) { *o = weixin.Options{} }, "AppID", "Secret", "Secret"},
		{"a store", func(o *weixin.Options) { o.TokenStore = &memoryStore{} }, "TokenStore", "", ""},
		{"the classic token", func(o *weixin.Options) { o.ClassicToken = true }, "ClassicToken", "", ""},
		{"a source", func(o *weixin.Options) { o.TokenSource = source }, "TokenSource", "", ""},
		{"a source and a store", func(o *weixin.Options) { o.TokenSource, o.TokenStore = source, &memoryStore{} }, "TokenSource", "TokenStore", "TokenStore"},
		{"a source for secret", func(o *weixin.Options) { o.TokenSource, o.Secret = source, wecom.Secret{} }, "Secret", "Secret", ""},
		{"loopback", func(o *weixin.Options) {
			o.Endpoints = weixin.Endpoints{API: "http://127.0.0.1:1", Pages: "http://localhost:2/"}
		}, "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(nil)
			tt.change(&o)
			check := func(want string, err error) {
				t.Helper()
				if want == "" {
					assert.NoError(t, err)
				} else {
					assert.ErrorContains(t, err, want)
				}
			}
			_, err := weixin.NewWebsite(o)
			check(tt.website, err)
			_, err = weixin.NewOfficialAccount(o)
			check(tt.account, err)
			_, err = weixin.NewClient(o)
			check(tt.client, err)
		})
	}
}

func TestZeroValuesIdentifyNobody(t *testing.T) {
	for _, p := range []wecom.Provider{&weixin.Website{}, &weixin.OfficialAccount{}} {
		assert.Equal(t, wecom.App{Provider: "weixin"}, p.App())
		assert.Empty(t, p.AuthorizeURL(wecom.AuthorizeRequest{}))
		_, err := p.Identify(t.Context(), oneCode)
		assert.Error(t, err)
	}
	var w weixin.Website
	_, err := w.Refresh(t.Context(), weixin.UserToken{})
	assert.Error(t, err)
	_, err = w.Validate(t.Context(), weixin.UserToken{})
	assert.Error(t, err)
	_, err = w.UserInfo(t.Context(), weixin.UserToken{})
	assert.Error(t, err)
	assert.Nil(t, (&weixin.OfficialAccount{}).Client())
}

// What Weixin says at the exchange, and what the person is told.
func TestIdentifyErrors(t *testing.T) {
	const path = "/sns/oauth2/access_token"
	for _, tt := range []struct {
		name    string
		answer  string
		code    string // of the Failure; "" for ErrStartOver
		status  int
		errcode int
		sent    int
	}{
		{"40029: a code of nobody's", refusal(40029, "invalid code"), "", 0, 40029, 1},
		{"40163: a used code", refusal(40163, "code been used"), "", 0, 40163, 1},
		{"42003: an old code", refusal(42003, "code expired"), "", 0, 42003, 1},
		{"40001 is about the secret here", refusal(40001, "invalid credential"), "setup_fault", 500, 40001, 1},
		{"40125: a wrong secret", refusal(40125, "invalid appsecret"), "setup_fault", 500, 40125, 1},
		{"40013: a wrong app", refusal(40013, "invalid appid"), "setup_fault", 500, 40013, 1},
		{"40164: an unlisted address", refusal(40164, "invalid ip 203.0.113.7"), "setup_fault", 500, 40164, 1},
		{"45011: too fast", refusal(45011, "slower"), "busy", 503, 45011, 1},
		{"50002: a restricted account", refusal(50002, "user limited"), "not_allowed", 403, 50002, 1},
		{"-1: busy", refusal(-1, "system error"), "wecom_unavailable", 503, -1, 3},
		{"something new", refusal(99999, "?"), "wecom_unavailable", 503, 99999, 1},
		{"lost", "lost", "", 0, 0, 1},
		{"no JSON", "<html>", "", 0, 0, 1},
		{"no object", "[]", "", 0, 0, 1},
		{"nothing", "{}", "", 0, 0, 1},
		{"no openid", `{"access_token":"t","expires_in":7200}`, "", 0, 0, 1},
		{"an empty openid", strings.Replace(rawGrant, "o6_bmjrPTlm6_2sgVt7hMZOPfL2M", "", 1), "", 0, 0, 1},
		{"an openid with a space", strings.Replace(rawGrant, "o6_b", "o6 b", 1), "", 0, 0, 1},
		{"a long openid", strings.Replace(rawGrant, "o6_bmj", strings.Repeat("o", 65), 1), "", 0, 0, 1},
		{"an openid that is a number", strings.Replace(rawGrant, `"o6_bmjrPTlm6_2sgVt7hMZOPfL2M"`, "6", 1), "", 0, 0, 1},
		{"two openids", strings.Replace(rawGrant, `"openid"`, `"openid":"o1","OpenID"`, 1), "", 0, 0, 1},
		{"no token", strings.Replace(rawGrant, "access_token", "token", 1), "", 0, 0, 1},
		{"an openid that is no text", strings.Replace(rawGrant, "o6_b", "o6\xffb", 1), "", 0, 0, 1},
		{"errcode as text", `{"errcode":"0",` + rawGrant[1:], "", 0, 0, 1},
		{"errcode 0", `{"errcode":0,"errmsg":"ok",` + rawGrant[1:], "none", 0, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := says(map[string][]string{path: {tt.answer}})
				id, err := website(t, options(api)).Identify(t.Context(), oneCode)
				assert.Equal(t, tt.sent, api.count(path))
				if tt.code == "none" {
					require.NoError(t, err)
					return
				}
				require.Error(t, err)
				assert.Zero(t, id)
				assert.NotContains(t, fmt.Sprintf("%v %+v", err, err), "CANARY")
				assert.NotContains(t, err.Error(), "203.0.113.7", "Weixin's own words are for the hint")
				assert.Equal(t, tt.code == "", errors.Is(err, wecom.ErrStartOver))
				if tt.code != "" {
					res := signInByScript(t, website(t, options(says(map[string][]string{path: {tt.answer}}))))
					assert.Equal(t, tt.status, res.Code)
					assert.Contains(t, res.Body.String(), `"error":"`+tt.code+`"`)
				}
				var refused *wecom.APIError
				if assert.Equal(t, tt.errcode != 0, errors.As(err, &refused)) && refused != nil {
					assert.Equal(t, tt.errcode, refused.Code)
					assert.Equal(t, "weixin", refused.Provider)
					assert.Equal(t, "sns/oauth2/access_token", refused.Op)
				}
			})
		})
	}
}

func TestIdentity(t *testing.T) {
	// An official account learns of the unionid by sns/userinfo alone.
	withoutUnion := strings.Replace(rawGrant, `"unionid"`, `"x"`, 1)
	api := says(map[string][]string{"/sns/oauth2/access_token": {rawGrant, withoutUnion}, "/sns/userinfo": {rawUser}})
	o := options(api)
	id, err := website(t, o).Identify(t.Context(), oneCode)
	require.NoError(t, err)
	assert.Equal(t, wecom.Identity{
		Provider: "weixin", AppID: oneAppID, OpenID: "o6_bmjrPTlm6_2sgVt7hMZOPfL2M", UnionID: "o6_bmasdasdsad6_2sgVt7hMZOPfL",
	}, id)
	assert.Equal(t, "weixin:"+oneAppID+":openid:o6_bmjrPTlm6_2sgVt7hMZOPfL2M", id.Key())
	assert.Zero(t, api.count("/sns/userinfo"))

	o.Profile = true
	var kept weixin.UserToken
	o.OnToken = func(_ context.Context, id wecom.Identity, token weixin.UserToken) {
		assert.Equal(t, "小明 🎈", id.Name)
		kept = token
	}
	id, err = website(t, o).Identify(t.Context(), oneCode)
	require.NoError(t, err)
	assert.Equal(t, "小明 🎈", id.Name)
	assert.Equal(t, "https://thirdwx.qlogo.cn/mmopen/vi_32/Q0j4/132", id.AvatarURL)
	assert.Equal(t, "o6_bmasdasdsad6_2sgVt7hMZOPfL", id.UnionID)
	assert.Equal(t, userValue, kept.AccessToken.Reveal())
}

func TestT17_RefreshOfSomebodyElse(t *testing.T) {
	api := says(map[string][]string{"/sns/oauth2/refresh_token": {rawGrant}})
	_, err := website(t, options(api)).Refresh(t.Context(), weixin.UserToken{OpenID: "o-somebody-else", RefreshToken: wecom.NewSecret("r")})
	assert.ErrorContains(t, err, "another person")
}

func TestAProfileThatFailsStopsNobody(t *testing.T) {
	for _, answer := range []string{
		refusal(48001, "api unauthorized"), "lost", "<html>", `{"openid":"o-somebody-else","nickname":"x"}`, `{"openid":"o6_bmjrPTlm6_2sgVt7hMZOPfL2M","nickname":7}`,
	} {
		var log bytes.Buffer
		o := options(says(map[string][]string{"/sns/oauth2/access_token": {rawGrant}, "/sns/userinfo": {answer}}))
		o.Profile = true
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		id, err := website(t, o).Identify(t.Context(), oneCode)
		require.NoError(t, err)
		assert.Equal(t, "o6_bmjrPTlm6_2sgVt7hMZOPfL2M", id.OpenID)
		assert.Empty(t, id.Name)
		assert.Contains(t, log.String(), "level=WARN")
		assert.NotContains(t, log.String(), "CANARY")
	}
}

func TestAnAvatarIsAnAddressOfAPicture(t *testing.T) {
	for raw, want := range map[string]string{
		"https://thirdwx.qlogo.cn/x": "https://thirdwx.qlogo.cn/x", "http://wx.qlogo.cn/x": "http://wx.qlogo.cn/x", "javascript:alert(1)": "", "//evil.example/x": "", "": "",
		"https://x/" + strings.Repeat("a", 900): "https://x/" + strings.Repeat("a", 900), "https://x/" + strings.Repeat("a", 2000): "", "data:text/html,x": "",
	} {
		api := says(map[string][]string{"/sns/userinfo": {`{"openid":"o1","nickname":"x","headimgurl":"` + raw + `"}`}})
		user, err := website(t, options(api)).UserInfo(t.Context(), weixin.UserToken{OpenID: "o1"})
		require.NoError(t, err)
		assert.Equal(t, want, user.AvatarURL)
	}
}

func TestSnapshotUsersAreRefused(t *testing.T) {
	fake := wecomtest.New()
	o := fakeOptions(fake, fake.WeixinAccount())
	o.Profile = true // only with snsapi_userinfo is there a snapshot
	site := newSite(t, fake, account(t, o), o.Secret)
	res := site.browser("kuaizhao").SetUserAgent(wecomtest.UserAgentWeixin).Get("/")
	assert.Equal(t, 403, res.Status)
	assert.Contains(t, res.Body, "使用完整服务")
	assert.Zero(t, fake.Calls("/sns/userinfo"))
	assert.Equal(t, 200, site.browser("xiaoming").SetUserAgent(wecomtest.UserAgentWeixin).Get("/").Status)
}

// Who refuses is told so if Weixin says it, and is not sent round in circles.
func TestRefusalWithAndWithoutRedirect(t *testing.T) {
	for name, kind := range map[string]func(*testing.T, *wecomtest.Fake) (wecom.Provider, wecom.Secret){
		"website": func(t *testing.T, f *wecomtest.Fake) (wecom.Provider, wecom.Secret) {
			o := fakeOptions(f, f.WeixinWebsite())
			return website(t, o), o.Secret
		},
		"official account": func(t *testing.T, f *wecomtest.Fake) (wecom.Provider, wecom.Secret) {
			o := fakeOptions(f, f.WeixinAccount())
			o.Profile = true
			return account(t, o), o.Secret
		},
	} {
		t.Run(name, func(t *testing.T) {
			fake := wecomtest.New()
			p, key := kind(t, fake)
			site := newSite(t, fake, p, key)
			res := site.browser("xiaoming").Refuse().Get("/page")
			assert.Equal(t, 403, res.Status)
			assert.Contains(t, res.Body, "微信没有返回登录授权")
			assert.NotContains(t, res.Body, "企业微信")
			assert.Contains(t, res.Body, "/weixin/login?return_to=%2Fpage")
			assert.Zero(t, fake.TotalCalls())

			fake.Configure(func(s *wecomtest.Settings) { s.RefusalStays = true })
			b := site.browser("xiaoming").Refuse()
			res = b.Get("/page")
			assert.Equal(t, 200, res.Status)
			assert.Contains(t, res.URL, "https://open.weixin.qq.com/", "the person stays on Weixin's page")
			assert.Equal(t, 200, b.SignInAs("xiaoming").Get("/page").Status, "and may come again")
		})
	}
}

func TestCodesLiveTenMinutesOrFive(t *testing.T) {
	fake := wecomtest.New()
	for _, tt := range []struct {
		app     wecomtest.WeixinApp
		p       wecom.Provider
		minutes int
	}{
		{fake.WeixinWebsite(), website(t, fakeOptions(fake, fake.WeixinWebsite())), 10},
		{fake.WeixinAccount(), account(t, fakeOptions(fake, fake.WeixinAccount())), 5},
	} {
		clock := newClock()
		fake.SetClock(clock.Now)
		good := fake.IssueCode(wecomtest.Grant{Who: "xiaoming", WeixinAppID: tt.app.AppID})
		late := fake.IssueCode(wecomtest.Grant{Who: "xiaoming", WeixinAppID: tt.app.AppID})
		clock.add(tt.minutes*60 - 1)
		_, err := tt.p.Identify(t.Context(), good)
		assert.NoError(t, err)
		clock.add(1)
		_, err = tt.p.Identify(t.Context(), late)
		assert.ErrorIs(t, err, wecom.ErrStartOver)
	}
}

// One app's code, cookie and session are worth nothing to another's.
func TestWebsiteAndAccountAreApart(t *testing.T) {
	fake := wecomtest.New()
	web, acc := website(t, fakeOptions(fake, fake.WeixinWebsite())), account(t, fakeOptions(fake, fake.WeixinAccount()))
	assert.NotEqual(t, web.App(), acc.App())
	code := fake.IssueCode(wecomtest.Grant{Who: "xiaoming", WeixinAppID: fake.WeixinWebsite().AppID})
	_, err := acc.Identify(t.Context(), code)
	assert.ErrorIs(t, err, wecom.ErrStartOver)
	one, err := web.Identify(t.Context(), code)
	require.NoError(t, err)
	two, err := acc.Identify(t.Context(), fake.IssueCode(wecomtest.Grant{Who: "xiaoming", WeixinAppID: fake.WeixinAccount().AppID, Scope: "snsapi_userinfo"}))
	require.NoError(t, err)
	assert.NotEqual(t, one.Key(), two.Key())
	assert.Equal(t, one.UnionID, two.UnionID, "the unionid says that it is one person")

	key := wecom.NewSecret(fake.WeixinWebsite().Secret)
	a, b := newSite(t, fake, web, key), newSite(t, fake, acc, key)
	browser := a.browser("xiaoming")
	require.Equal(t, 200, browser.Get("/").Status)
	r, err := http.NewRequest("GET", origin+"/api", nil)
	require.NoError(t, err)
	for _, c := range browser.Cookies("/") {
		r.AddCookie(c)
	}
	assert.Equal(t, 200, serve(a.app, r).Code)
	assert.Equal(t, 401, serve(b.app, r).Code)
}

func TestTheCorpsOwnTextsDoNotShow(t *testing.T) {
	for errcode, want := range map[int]string{40125: "微信登录设置有误", 45011: "微信限制了", 50002: "没有访问权限", -1: "暂时无法连接微信"} {
		fake := wecomtest.New()
		o := fakeOptions(fake, fake.WeixinWebsite())
		site := newSite(t, fake, website(t, o), o.Secret)
		fake.Always("/sns/oauth2/access_token", wecomtest.Fault{ErrCode: errcode})
		res := site.browser("xiaoming").Get("/")
		assert.Contains(t, res.Body, want)
		assert.NotContains(t, res.Body, "企业微信")
		res = site.browser("xiaoming").SetLanguage("en").Get("/")
		assert.NotContains(t, res.Body, "WeCom")
	}
}
