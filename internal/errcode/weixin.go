package errcode

import "time"

// The screens of the two consoles: a website app's on https://open.weixin.qq.com,
// an official account's on https://mp.weixin.qq.com.
const (
	screenSite     = "open.weixin.qq.com: 管理中心 → 网站应用 → (the app)"
	screenBasics   = "mp.weixin.qq.com: 设置与开发 → 基本配置"
	screenRights   = "mp.weixin.qq.com: 设置与开发 → 接口权限"
	screenKeys     = screenSite + ", or " + screenBasics
	screenListedIP = screenBasics + " → IP白名单"
)

// ofWeixin tells 40001's two meanings apart: where the secret is sent it is
// about the secret, elsewhere about the access token.
func ofWeixin(op string, code int) Fault {
	if code == 40001 {
		switch op {
		case "token", "stable_token", "sns/oauth2/access_token":
			return wrongSecret
		}
	}
	return weixin[code]
}

var wrongSecret = Fault{Setup, setupWait, "the secret is wrong",
	"compare Options.Secret with the AppSecret at " + screenKeys}

// weixin is read only.
var weixin = map[int]Fault{
	-1: {Class: Busy, Meaning: "Weixin is busy"},

	40001: {Class: Token, Meaning: "the access token is not valid, or not the latest",
		Remedy: "if it comes again and again, something else fetches tokens for this app: let all share them by Options.TokenStore or Options.TokenSource"},
	40014: {Class: Token, Meaning: "the access token is not valid"},
	42001: {Class: Token, Meaning: "the access token is expired"},

	40013: {Setup, setupWait, "the app id is wrong", "compare Options.AppID with the AppID at " + screenKeys},
	40125: wrongSecret,
	40164: {Setup, setupWait, "this server's IP address is not on the account's list",
		"enter the address from which the calls leave (the hint names it) under " + screenListedIP},
	41002: {Setup, setupWait, "the app id is missing", "set Options.AppID"},
	41004: {Setup, setupWait, "the secret is missing", "set Options.Secret"},
	50004: {Setup, setupWait, "the account may not use this API at present", "see the notices at " + screenBasics},
	89501: {Setup, setupWait, "an administrator has yet to confirm this server's IP address",
		"have it confirmed in Weixin, or enter it under " + screenListedIP},
	89503: {Setup, setupWait, "an administrator must confirm this server's IP address",
		"have it confirmed in Weixin, or enter it under " + screenListedIP},
	89506: {Setup, 24 * time.Hour, "an administrator refused this server's IP address twice: it is locked for a day",
		"enter the address under " + screenListedIP},
	89507: {Setup, time.Hour, "an administrator refused this server's IP address: it is locked for an hour",
		"enter the address under " + screenListedIP},
	40002: {Class: Setup, Meaning: "the grant type is wrong"},
	48001: {Class: Setup, Meaning: "the account is not allowed to call this API",
		Remedy: "see " + screenRights + "; for a person in snapshot mode there is no remedy"},
	48002: {Class: Denied, Meaning: "the person has switched off messages from the account"},
	48004: {Class: Setup, Meaning: "the API is blocked for breaking the rules", Remedy: "see the notices at mp.weixin.qq.com"},

	40029: {Class: Code, Meaning: "the code is not valid: unknown, another app's, or long used"},
	40163: {Class: Code, Meaning: "the code is used already"},
	41008: {Class: Code, Meaning: "the code is missing"},
	42003: {Class: Code, Meaning: "the code is expired"},
	40030: {Class: Code, Meaning: "the refresh token is not valid", Remedy: "have the person sign in again"},
	41003: {Class: Code, Meaning: "the refresh token is missing", Remedy: "have the person sign in again"},
	42002: {Class: Code, Meaning: "the refresh token is expired", Remedy: "have the person sign in again"},
	42007: {Class: Code, Meaning: "the person changed the password, which voids all their tokens", Remedy: "have the person sign in again"},

	45009: {Class: Limited, Wait: time.Minute, Meaning: "too many calls today",
		Remedy: "share the access token by Options.TokenStore; the count can be reset at " + screenRights},
	45011: {Class: Limited, Wait: 30 * time.Second, Meaning: "too many calls in a short time", Remedy: "wait a minute"},

	43004: {Class: Denied, Meaning: "the person does not follow the account"},
	50002: {Class: Denied, Meaning: "the person's account is restricted"},

	40003: {Meaning: "the openid is not valid, or another app's"},
	41001: {Meaning: "the access token did not arrive", Remedy: "see whether a proxy between this server and Weixin cuts the query off"},
	41009: {Meaning: "the openid is missing"},
	43001: {Meaning: "the call must be a GET"},
	43002: {Meaning: "the call must be a POST"},
	43003: {Meaning: "the call must use https"},
	48005: {Meaning: "what is to be deleted is in use"},
	50001: {Meaning: "the person did not grant this API", Remedy: "set Options.Profile, so that the person is asked"},
}
