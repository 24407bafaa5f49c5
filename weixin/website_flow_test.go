package weixin_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
	"github.com/wecomauth/wecom/weixin"
)

// What seed S2 could do, first against bodies as Weixin sends them and then against the fake.

const (
	rawGrant = `{"access_token":"` + userValue + `","expires_in":7200,"refresh_token":"` + refresher + `",` +
		`"openid":"o6_bmjrPTlm6_2sgVt7hMZOPfL2M","scope":"snsapi_login","unionid":"o6_bmasdasdsad6_2sgVt7hMZOPfL"}`
	rawRefresh = `{"openid":"o6_bmjrPTlm6_2sgVt7hMZOPfL2M","access_token":"` + userValue + `-2","expires_in":7200,` +
		`"refresh_token":"` + refresher + `","scope":"snsapi_login"}`
	rawUser = `{"openid":"o6_bmjrPTlm6_2sgVt7hMZOPfL2M","nickname":"小明 🎈","sex":0,"language":"","city":"","province":"","country":"",` +
		`"headimgurl":"https:\/\/thirdwx.qlogo.cn\/mmopen\/vi_32\/Q0j4\/132","privilege":[],"unionid":"o6_bmasdasdsad6_2sgVt7hMZOPfL"}`
)

func refusal(code int, msg string) string {
	return fmt.Sprintf(`{"errcode":%d,"errmsg":"%s, rid: 673c5f8e-0a1b2c3d-4e5f6071"}`, code, msg)
}

func TestWebsiteAuthorizeURL(t *testing.T) {
	o := options(nil)
	a := wecom.AuthorizeRequest{State: "0123456789abcdef", RedirectURI: "https://shop.example.com/authorization", Language: "zh"}
	assert.Equal(t, "https://open.weixin.qq.com/connect/qrconnect?appid="+oneAppID+
		"&redirect_uri=https%3A%2F%2Fshop.example.com%2Fauthorization&response_type=code&scope=snsapi_login"+
		"&state=0123456789abcdef&lang=cn#wechat_redirect", website(t, o).AuthorizeURL(a))
	a.Language = "en"
	assert.Contains(t, website(t, o).AuthorizeURL(a), "&lang=en#wechat_redirect")

	in := "https://open.weixin.qq.com/connect/oauth2/authorize?appid=" + oneAppID +
		"&redirect_uri=https%3A%2F%2Fshop.example.com%2Fauthorization&response_type=code&scope="
	assert.Equal(t, in+"snsapi_base&state=0123456789abcdef#wechat_redirect", account(t, o).AuthorizeURL(a))
	o.Profile = true
	assert.Equal(t, in+"snsapi_userinfo&state=0123456789abcdef#wechat_redirect", account(t, o).AuthorizeURL(a))
}

func TestWebsiteRawBodies(t *testing.T) {
	api := says(map[string][]string{
		"/sns/oauth2/access_token":  {rawGrant},
		"/sns/oauth2/refresh_token": {rawRefresh, strings.Replace(rawRefresh, "refresh_token", "other", 1)},
		"/sns/auth":                 {`{"errcode":0,"errmsg":"ok"}`, refusal(40003, "invalid openid"), refusal(42001, "access_token expired"), refusal(-1, "system error")},
		"/sns/userinfo":             {rawUser},
	})
	synctest.Test(t, func(t *testing.T) {
		site, ctx := website(t, options(api)), t.Context()
		start := time.Now()

		token, err := site.Exchange(ctx, oneCode)
		require.NoError(t, err)
		assert.Equal(t, userValue, token.AccessToken.Reveal())
		assert.Equal(t, refresher, token.RefreshToken.Reveal())
		assert.Equal(t, start.Add(2*time.Hour), token.Expires)
		assert.Equal(t, "o6_bmjrPTlm6_2sgVt7hMZOPfL2M", token.OpenID)
		assert.Equal(t, "o6_bmasdasdsad6_2sgVt7hMZOPfL", token.UnionID)
		assert.Equal(t, []string{"snsapi_login"}, token.Scopes)
		assert.False(t, token.Snapshot)

		fresh, err := site.Refresh(ctx, token)
		require.NoError(t, err)
		assert.Equal(t, userValue+"-2", fresh.AccessToken.Reveal())
		assert.Equal(t, token.OpenID, fresh.OpenID)
		assert.Equal(t, token.UnionID, fresh.UnionID, "which this answer does not repeat")

		kept, err := site.Refresh(ctx, fresh)
		require.NoError(t, err)
		assert.Equal(t, refresher, kept.RefreshToken.Reveal(), "the answer holds none: the one that there is serves on")

		for i, want := range []bool{true, false, false} {
			valid, err := site.Validate(ctx, fresh)
			require.NoError(t, err)
			assert.Equal(t, want, valid, i)
		}
		_, err = site.Validate(ctx, fresh)
		assert.Error(t, err, "it could not tell")

		user, err := site.UserInfo(ctx, fresh)
		require.NoError(t, err)
		assert.Equal(t, weixin.User{
			OpenID: "o6_bmjrPTlm6_2sgVt7hMZOPfL2M", UnionID: "o6_bmasdasdsad6_2sgVt7hMZOPfL", Name: "小明 🎈",
			AvatarURL: "https://thirdwx.qlogo.cn/mmopen/vi_32/Q0j4/132", Privileges: []string{},
		}, user)
	})

	var sent []string
	for _, c := range api.seen {
		sent = append(sent, c.method+" "+c.path+"?"+c.query)
	}
	auth := "GET api.weixin.qq.com/sns/auth?access_token=" + userValue + "-2&openid=o6_bmjrPTlm6_2sgVt7hMZOPfL2M"
	assert.Equal(t, []string{
		"GET api.weixin.qq.com/sns/oauth2/access_token?appid=" + oneAppID + "&code=" + oneCode + "&grant_type=authorization_code&secret=" + url.QueryEscape(secret),
		"GET api.weixin.qq.com/sns/oauth2/refresh_token?appid=" + oneAppID + "&grant_type=refresh_token&refresh_token=" + refresher,
		"GET api.weixin.qq.com/sns/oauth2/refresh_token?appid=" + oneAppID + "&grant_type=refresh_token&refresh_token=" + refresher,
		auth, auth, auth, auth, auth, auth, // -1 is asked three times
		"GET api.weixin.qq.com/sns/userinfo?access_token=" + userValue + "-2&lang=zh_CN&openid=o6_bmjrPTlm6_2sgVt7hMZOPfL2M",
	}, sent)
}

func TestWebsiteAgainstTheFake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := wecomtest.New()
		app := fake.WeixinWebsite()
		site, ctx := website(t, fakeOptions(fake, app)), t.Context()

		var code string
		b := fake.Browser("https://shop.example.com", nil).SignInAs("xiaoming")
		res := b.GetNoFollow(site.AuthorizeURL(wecom.AuthorizeRequest{State: "abc", RedirectURI: "https://shop.example.com/authorization"}))
		require.Equal(t, 302, res.Status, res.Body)
		back, err := url.Parse(res.Location())
		require.NoError(t, err)
		assert.Equal(t, "abc", back.Query().Get("state"))
		code = back.Query().Get("code")

		token, err := site.Exchange(ctx, code)
		require.NoError(t, err)
		assert.Equal(t, fake.OpenID(app.AppID, "xiaoming"), token.OpenID)
		assert.NotEmpty(t, token.UnionID)
		_, err = site.Exchange(ctx, code)
		var refused *wecom.APIError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, 40163, refused.Code)
		assert.ErrorIs(t, err, wecom.ErrStartOver)

		valid, err := site.Validate(ctx, token)
		require.NoError(t, err)
		assert.True(t, valid)
		user, err := site.UserInfo(ctx, token)
		require.NoError(t, err)
		assert.Equal(t, "小明 🎈", user.Name)
		assert.Equal(t, token.UnionID, user.UnionID)

		same, err := site.Refresh(ctx, token)
		require.NoError(t, err)
		assert.Equal(t, token.AccessToken.Reveal(), same.AccessToken.Reveal(), "it still serves")

		time.Sleep(2 * time.Hour)
		valid, err = site.Validate(ctx, token)
		require.NoError(t, err)
		assert.False(t, valid)
		_, err = site.UserInfo(ctx, token)
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, 42001, refused.Code)
		fresh, err := site.Refresh(ctx, token)
		require.NoError(t, err)
		assert.NotEqual(t, token.AccessToken.Reveal(), fresh.AccessToken.Reveal())
		valid, err = site.Validate(ctx, fresh)
		require.NoError(t, err)
		assert.True(t, valid)

		time.Sleep(30 * 24 * time.Hour)
		_, err = site.Refresh(ctx, fresh)
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, 42002, refused.Code)
		assert.ErrorIs(t, err, wecom.ErrStartOver)
		fake.ChangePassword("xiaoming")
		_, err = site.Refresh(ctx, fresh)
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, 42007, refused.Code)
	})
}

func TestAUserTokenShowsNothing(t *testing.T) {
	site := website(t, options(says(map[string][]string{"/sns/oauth2/access_token": {rawGrant}})))
	token, err := site.Exchange(t.Context(), oneCode)
	require.NoError(t, err)
	body, err := json.Marshal(token)
	require.NoError(t, err)
	for _, shown := range []string{string(body), fmt.Sprint(token), fmt.Sprintf("%+v %#v %v", token, token, &token)} {
		assert.NotContains(t, shown, "CANARY")
	}
}

func TestNicknamesAreUTF8WhateverTheHeader(t *testing.T) {
	user := func(nickname string) string {
		return `{"openid":"o6_bmjrPTlm6_2sgVt7hMZOPfL2M","nickname":"` + nickname + `","headimgurl":"http://thirdwx.qlogo.cn/x/132"}`
	}
	for _, tt := range []struct{ name, sent, want string }{
		{"emoji", "小明🎈", "小明🎈"},
		{"cut in a character", "小明\xe5\xb0", "小明�"},
		{"Latin-1 by mistake", "Jos\xe9", "Jos�"},
		{"a control character", "a\x06b\x1fc", "a b c"},
		{"half of an emoji", `a\ud83cb`, "a�b"},
		{"an escaped one", `a\u0000b\u202e`, "ab\u202e"},
		{"markup stays text", "<b>\\\"x\\\"</b>", `<b>"x"</b>`},
		{"spaces around it", "  x ", "x"},
		{"none", "", ""},
	} {
		for _, header := range []string{"text/plain", "text/plain; charset=ISO-8859-1", "application/json; charset=GBK", ""} {
			api := says(map[string][]string{"/sns/oauth2/access_token": {rawGrant}, "/sns/userinfo": {user(tt.sent)}})
			api.header = header
			o := options(api)
			o.Profile = true
			id, err := website(t, o).Identify(t.Context(), oneCode)
			require.NoError(t, err, tt.name)
			assert.Equal(t, tt.want, id.Name, "%s, %s", tt.name, header)
			assert.Equal(t, "http://thirdwx.qlogo.cn/x/132", id.AvatarURL)
		}
	}
}
