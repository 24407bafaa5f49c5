package wecom_test

import (
	"testing"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
	"github.com/wecomauth/wecom/weixin"
)

// A platform is where people sign in. What holds for attempts, state, callbacks
// and failures holds for each of them: see everyPlatform.
type platform struct {
	name     string
	exchange string // the endpoint that takes codes, as the fake names it
	usedCode int    // what that says about a code that is used up
	page     string // where it sends a desktop browser
	appID    string // for codes of Weixin's

	options func(*wecomtest.Fake) wecom.Options
	another func(*wecom.Options) // makes them another app's
}

var weCom = platform{
	name:     "WeCom",
	exchange: "auth/getuserinfo",
	usedCode: 40029,
	page:     webPage,
	options:  func(f *wecomtest.Fake) wecom.Options { return f.Options(site + "/wecom/callback") },
	another:  func(o *wecom.Options) { o.AgentID = "1000003" },
}

var platforms = []platform{
	weCom,
	weixinPlatform("Weixin, website", wecomtest.New().WeixinWebsite().AppID, qrPage, func(o weixin.Options) (wecom.Provider, error) {
		return weixin.NewWebsite(o)
	}),
	weixinPlatform("Weixin, official account", wecomtest.New().WeixinAccount().AppID, inAppPage, func(o weixin.Options) (wecom.Provider, error) {
		return weixin.NewOfficialAccount(o)
	}),
}

func weixinPlatform(name, appID, page string, provider func(weixin.Options) (wecom.Provider, error)) platform {
	options := func(f *wecomtest.Fake, appID string) wecom.Options {
		// Their openids are the user ids of the staff: nothing may confuse the two.
		for _, who := range []string{"zhangsan", "lisi"} {
			f.AddWeixinUser(wecomtest.WeixinUser{ID: who, OpenIDs: map[string]string{appID: who}})
		}
		secret := wecom.NewSecret(f.WeixinWebsite().Secret)
		p, err := provider(weixin.Options{AppID: appID, Secret: secret, Transport: f.Transport()})
		if err != nil {
			panic(err)
		}
		return wecom.Options{Provider: p, Secret: secret, CallbackURL: site + "/wecom/callback"}
	}
	return platform{
		name:     name,
		exchange: "/sns/oauth2/access_token",
		usedCode: 40163,
		page:     page,
		appID:    appID,
		options:  func(f *wecomtest.Fake) wecom.Options { return options(f, appID) },
		another:  func(o *wecom.Options) { o.Provider = options(wecomtest.New(), "wx00000000000000ff").Provider },
	}
}

// everyPlatform runs a test for each platform.
func everyPlatform(t *testing.T, test func(*testing.T, platform)) {
	for _, on := range platforms {
		t.Run(on.name, func(t *testing.T) { test(t, on) })
	}
}
