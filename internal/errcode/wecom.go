package errcode

import "time"

// Configuration faults last until a person fixes them, and WeCom locks the
// address for an hour after many calls with a wrong secret.
const setupWait = 5 * time.Minute

// The screens of the admin console (https://work.weixin.qq.com).
const (
	ScreenApp     = "应用管理 → 应用 → (the app)"
	ScreenDomains = ScreenApp + " → 网页授权及JS-SDK → 可信域名"
	ScreenLogin   = ScreenApp + " → 企业微信授权登录 → 授权回调域"
	ScreenIPs     = ScreenApp + " → 企业可信IP"
	ScreenVisible = ScreenApp + " → 可见范围"
)

// wecom is read only.
var wecom = map[int]Fault{
	-1: {Class: Busy, Meaning: "WeCom is busy"},

	40001: {Setup, setupWait, "the secret is wrong, belongs to another app, or the app is disabled",
		"compare Options.Secret with " + ScreenApp + " → Secret"},
	40013: {Setup, setupWait, "the corp id is wrong",
		"compare Options.CorpID with 我的企业 → 企业信息 → 企业ID"},
	40091: {Setup, setupWait, "the secret is another corp's",
		"take CorpID (我的企业 → 企业ID) and Secret (" + ScreenApp + ") from the same corp"},
	41002: {Setup, setupWait, "the corp id is missing", "set Options.CorpID"},
	41004: {Setup, setupWait, "the secret is missing", "set Options.Secret"},
	45031: {Setup, setupWait, "WeCom judges the secret too weak",
		"reset it under " + ScreenApp + " → Secret"},
	50003: {Setup, setupWait, "the app is disabled",
		"enable it at the top of " + ScreenApp},
	50006: {Setup, setupWait, "the system app is disabled", "enable it under 应用管理"},
	40056: {Class: Setup, Meaning: "the agent id is wrong",
		Remedy: "compare Options.AgentID with " + ScreenApp + " → AgentId"},
	41011: {Class: Setup, Meaning: "the agent id is missing", Remedy: "set Options.AgentID"},
	43009: {Class: Setup, Meaning: "the corp is not verified", Remedy: "have it verified under 我的企业 → 企业信息"},
	48001: {Class: Setup, Meaning: "the app is not allowed to call this API",
		Remedy: "grant the permission in the admin console, or use the secret of an app that has it"},
	48002: {Class: Setup, Meaning: "the app has no permission for this API",
		Remedy: "grant it under " + ScreenApp + ", or use the secret of an app that has it"},
	48004: {Class: Setup, Meaning: "the authorization of the app has ended", Remedy: "authorize the app again under 应用管理"},
	48005: {Class: Setup, Meaning: "this API no longer exists"},
	48006: {Class: Setup, Meaning: "the permission was withdrawn since it was not used for long",
		Remedy: "apply for it again under " + ScreenApp},
	48009: {Class: Setup, Meaning: "contact sync may not read details from a new address",
		Remedy: "use the secret of a self-built app instead of the one under 管理工具 → 通讯录同步"},
	50001: {Class: Setup, Meaning: "the callback's domain is not a trusted domain of this app",
		Remedy: "enter host and port of Options.CallbackURL, exactly, under " + ScreenDomains +
			" (for the web-login page also " + ScreenLogin + "), and use this very app's secret"},
	60020: {Class: Setup, Meaning: "this server's IP address is not trusted",
		Remedy: "enter the address from which the calls leave (the hint names it) under " + ScreenIPs +
			"; it takes about a minute to work"},
	301002: {Class: Setup, Meaning: "the access token belongs to another app than the agent id",
		Remedy: "take AgentId and Secret from the same page, " + ScreenApp},
	80001: {Class: Setup, Meaning: "the domain is wrong or has no ICP record",
		Remedy: "register the domain (ICP备案), then enter it under " + ScreenDomains},
	85004: {Class: Setup, Meaning: "too many changes of trusted domains this month", Remedy: "wait for the next month"},
	85005: {Class: Setup, Meaning: "the domain's ownership is not proven",
		Remedy: "serve WW_verify_….txt (Options.DomainProof) and press 申请校验域名 under " + ScreenDomains},
	85006: {Class: Setup, Meaning: "the setting of trusted domain or address is refused", Remedy: "see " + ScreenDomains + " and " + ScreenIPs},
	85007: {Class: Setup, Meaning: "the setting of trusted domain or address is refused", Remedy: "see " + ScreenDomains + " and " + ScreenIPs},
	85008: {Class: Setup, Meaning: "the domain has no ICP record, or one of another company",
		Remedy: "register the domain (ICP备案) for this company"},
	85111: {Class: Setup, Meaning: "the domain belongs to a service provider", Remedy: "use a domain of the corp's own"},
	92001: {Class: Setup, Meaning: "the app may not read sensitive fields",
		Remedy: "tick the fields under " + ScreenApp + " → 成员敏感信息, or use the scope snsapi_base"},
	301042: {Class: Setup, Meaning: "this server's IP address is not on the API's list",
		Remedy: "enter the address from which the calls leave (the hint names it) in the settings of that API"},
	90308: {Class: Setup, Meaning: "this server's IP address is not on the API's list",
		Remedy: "enter the address from which the calls leave (the hint names it) in the settings of that API"},
	701008: {Class: Setup, Meaning: "the corp has no licence for this API", Remedy: "order licences under 应用管理 or from the service provider"},

	40029: {Class: Code, Meaning: "the code is used, older than five minutes, or another app's"},
	40078: {Class: Code, Meaning: "the code is not valid"},
	41008: {Class: Code, Meaning: "the code is missing"},
	42003: {Class: Code, Meaning: "the code is expired"},
	42022: {Class: Code, Meaning: "the code is used already"},
	84014: {Class: Code, Meaning: "the user_ticket is expired"},
	84015: {Class: Code, Meaning: "the user_ticket is not valid"},
	84090: {Class: Code, Meaning: "the user_ticket is missing"},

	40014: {Class: Token, Meaning: "the access token is not valid"},
	42001: {Class: Token, Meaning: "the access token is expired"},

	45009: {Class: Limited, Wait: time.Minute, Meaning: "too many calls, or too many with a wrong secret",
		Remedy: "wait (a minute, an hour or a day, as the limit says); share the access token by Options.TokenStore"},
	45033: {Class: Limited, Wait: time.Second, Meaning: "too many calls at the same time",
		Remedy: "call this API from fewer places at once"},

	46004: {Class: Denied, Meaning: "there is no such member, or the app may not see them",
		Remedy: "compare with 通讯录, and add the member under " + ScreenVisible},
	50002: {Class: Denied, Meaning: "the member is outside what the app may access",
		Remedy: "add the member under " + ScreenVisible},
	60011: {Class: Denied, Meaning: "the app may not see this member, department or tag",
		Remedy: "add it under " + ScreenVisible},
	60021: {Class: Denied, Meaning: "the member is not in the app's visible range",
		Remedy: "add the member under " + ScreenVisible},
	60111: {Class: Denied, Meaning: "there is no such member, or the app may not see them",
		Remedy: "compare the user id with 通讯录, and add the member under " + ScreenVisible},
	90210:  {Class: Denied, Meaning: "the member has not authorized the app yet"},
	92000:  {Class: Denied, Meaning: "the member is not in the app's visible range", Remedy: "add the member under " + ScreenVisible},
	701016: {Class: Denied, Meaning: "the member's account has no licence", Remedy: "assign one under 应用管理 or have the service provider do it"},

	40003: {Meaning: "the user id is malformed or unknown"},
	40068: {Meaning: "there is no such tag, or the app may not see it", Remedy: "compare the tag's id with 通讯录 → 标签, and add the tag under " + ScreenVisible},
	40063: {Meaning: "a parameter is empty, or method or body have the wrong form"},
	40073: {Meaning: "the openid is not valid"},
	41001: {Meaning: "the access token did not arrive", Remedy: "see whether a proxy between this server and WeCom cuts the query off"},
	41009: {Meaning: "the user id is missing"},
	43004: {Meaning: "the member has neither signed in to WeCom with Weixin nor follows 微信插件"},
	60003: {Meaning: "there is no such department"},
	60123: {Meaning: "the department id is not valid"},
	81013: {Meaning: "none of the members, departments and tags is valid", Remedy: "compare them with " + ScreenVisible},
}
