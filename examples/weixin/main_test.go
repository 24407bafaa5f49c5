package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
	"github.com/wecomauth/wecom/weixin"
)

const origin = "https://shop.example.com"

// The three routes of seed S2.
func TestLoginAuthorizationHome(t *testing.T) {
	fake := wecomtest.New()
	app := fake.WeixinWebsite()
	site, err := newSite(weixin.Options{AppID: app.AppID, Secret: wecom.NewSecret(app.Secret), Transport: fake.Transport()}, origin+"/authorization")
	require.NoError(t, err)
	b := fake.Browser(origin, site).SignInAs("xiaoming")

	res := b.Get("/login")
	require.Equal(t, 200, res.Status)
	assert.Equal(t, origin+"/", res.URL)
	require.Len(t, res.Hops, 4)
	assert.Contains(t, res.Hops[1].URL, "https://open.weixin.qq.com/connect/qrconnect?")
	assert.Contains(t, res.Hops[2].URL, origin+"/authorization?code=")
	assert.Contains(t, res.Body, "你好，小明 🎈")
	assert.Contains(t, res.Body, fake.OpenID(app.AppID, "xiaoming"))
	assert.Contains(t, res.Body, "有效至")

	fake.ResetCalls()
	assert.Contains(t, b.Post("/refresh").Body, "有效至")
	assert.Equal(t, 1, fake.Calls("/sns/oauth2/refresh_token"))

	fake.ChangePassword("xiaoming")
	assert.Contains(t, b.Get("/").Body, "已失效")
	assert.Equal(t, 403, b.Post("/refresh").Status)

	assert.Equal(t, 200, b.Post("/logout").Status)
	assert.Equal(t, 401, b.Fetch("GET", "/", "").Status)
	assert.Equal(t, 405, b.Fetch("GET", "/logout", "").Status)
}
