package wecom

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// ErrStartOver says that a code is used up, expired, or of unknown fate, and
// that a fresh sign-in mends it. The middleware starts one, once, and then shows a page. See [Provider].
var ErrStartOver = errors.New("wecom: the code cannot be used (again); a new sign-in is needed")

// An APIError is an answer of WeCom's API whose errcode is not 0.
type APIError struct {
	// Provider is whose API answered, since the same number means different
	// things on different platforms: "wecom", as in [App].
	Provider string
	// Op is the operation, such as "auth/getuserinfo": a path, never a query.
	Op string
	// Code is the errcode.
	Code int
	// Hint is WeCom's errmsg, made printable, cut to 300 bytes and rid of our
	// secrets, of e-mail addresses and mobile numbers. It names this server's IP address and is for logs only; its
	// wording is not stable. The text of Error does not contain it.
	Hint string
}

// Error returns the operation, the errcode, its meaning and the remedy.
func (e *APIError) Error() string {
	f := e.fault()
	text := fmt.Sprintf("wecom: %s: errcode %d", e.Op, e.Code)
	if f.meaning != "" {
		text += " (" + f.meaning + ")"
	}
	if f.remedy != "" {
		text += ": " + f.remedy
	}
	return text
}

// Remedy says what to do, with the screen of the admin console where it is
// done. It is "" if there is nothing to do, or nothing known.
func (e *APIError) Remedy() string { return e.fault().remedy }

// RetryAfter returns how long the same call is bound to fail or to do harm: WeCom
// locks the address of those who repeat a wrong secret. 0 says that nothing is known.
func (e *APIError) RetryAfter() time.Duration { return e.fault().wait }

// LogValue returns a group with op, errcode, meaning, remedy and hint.
func (e *APIError) LogValue() slog.Value {
	f := e.fault()
	return slog.GroupValue(
		slog.String("op", e.Op),
		slog.Int("errcode", e.Code),
		slog.String("meaning", f.meaning),
		slog.String("remedy", f.remedy),
		slog.String("hint", e.Hint),
	)
}

func (e *APIError) fault() fault {
	switch e.Provider {
	case providerWeCom:
		return wecomFaults[e.Code]
	}
	return fault{}
}

// classOf returns the class of the first APIError in err's chain, and
// classUnknown if there is none.
func classOf(err error) class {
	var e *APIError
	if !errors.As(err, &e) {
		return classUnknown
	}
	return e.fault().class
}

// A class says what an errcode means to us.
type class int

const (
	classUnknown class = iota
	classSetup         // a setting in the admin console or in Options is wrong
	classCode          // the code or user_ticket is used up; a fresh sign-in mends it
	classToken         // the access token is refused; a new one mends it
	classBusy          // busy; a repeat may mend it
	classLimited       // too many calls; a repeat makes it worse
	classDenied        // the member is not one whom the app may see
)

// A fault is what is known about one errcode of one platform. The zero fault is
// an unknown errcode.
type fault struct {
	class   class
	wait    time.Duration
	meaning string
	remedy  string
}

const providerWeCom = "wecom"

// Configuration faults last until a person mends them, and WeCom locks the
// address for an hour after many calls with a wrong secret.
const setupWait = 5 * time.Minute

// The screens of the admin console (https://work.weixin.qq.com).
const (
	screenApp     = "应用管理 → 应用 → (the app)"
	screenDomains = screenApp + " → 网页授权及JS-SDK → 可信域名"
	screenLogin   = screenApp + " → 企业微信授权登录 → 授权回调域"
	screenIPs     = screenApp + " → 企业可信IP"
	screenVisible = screenApp + " → 可见范围"
)

// wecomFaults is read only.
var wecomFaults = map[int]fault{
	-1: {class: classBusy, meaning: "WeCom is busy"},

	40001: {classSetup, setupWait, "the secret is wrong, belongs to another app, or the app is disabled",
		"compare Options.Secret with " + screenApp + " → Secret"},
	40013: {classSetup, setupWait, "the corp id is wrong",
		"compare Options.CorpID with 我的企业 → 企业信息 → 企业ID"},
	40091: {classSetup, setupWait, "the secret is another corp's",
		"take CorpID (我的企业 → 企业ID) and Secret (" + screenApp + ") from the same corp"},
	41002: {classSetup, setupWait, "the corp id is missing", "set Options.CorpID"},
	41004: {classSetup, setupWait, "the secret is missing", "set Options.Secret"},
	45031: {classSetup, setupWait, "WeCom judges the secret too weak",
		"reset it under " + screenApp + " → Secret"},
	50003: {classSetup, setupWait, "the app is disabled",
		"enable it at the top of " + screenApp},
	50006: {classSetup, setupWait, "the system app is disabled", "enable it under 应用管理"},
	40056: {class: classSetup, meaning: "the agent id is wrong",
		remedy: "compare Options.AgentID with " + screenApp + " → AgentId"},
	41011: {class: classSetup, meaning: "the agent id is missing", remedy: "set Options.AgentID"},
	43009: {class: classSetup, meaning: "the corp is not verified", remedy: "have it verified under 我的企业 → 企业信息"},
	48001: {class: classSetup, meaning: "the app is not allowed to call this API",
		remedy: "grant the permission in the admin console, or use the secret of an app that has it"},
	48002: {class: classSetup, meaning: "the app has no permission for this API",
		remedy: "grant it under " + screenApp + ", or use the secret of an app that has it"},
	48004: {class: classSetup, meaning: "the authorization of the app has ended", remedy: "authorize the app again under 应用管理"},
	48005: {class: classSetup, meaning: "this API no longer exists"},
	48006: {class: classSetup, meaning: "the permission was withdrawn since it was not used for long",
		remedy: "apply for it again under " + screenApp},
	48009: {class: classSetup, meaning: "contact sync may not read details from a new address",
		remedy: "use the secret of a self-built app instead of the one under 管理工具 → 通讯录同步"},
	50001: {class: classSetup, meaning: "the callback's domain is not a trusted domain of this app",
		remedy: "enter host and port of Options.CallbackURL, exactly, under " + screenDomains +
			" (for the web-login page also " + screenLogin + "), and use this very app's secret"},
	60020: {class: classSetup, meaning: "this server's IP address is not trusted",
		remedy: "enter the address from which the calls leave (the hint names it) under " + screenIPs +
			"; it takes about a minute to work"},
	301002: {class: classSetup, meaning: "the access token belongs to another app than the agent id",
		remedy: "take AgentId and Secret from the same page, " + screenApp},
	80001: {class: classSetup, meaning: "the domain is wrong or has no ICP record",
		remedy: "register the domain (ICP备案), then enter it under " + screenDomains},
	85004: {class: classSetup, meaning: "too many changes of trusted domains this month", remedy: "wait for the next month"},
	85005: {class: classSetup, meaning: "the domain's ownership is not proven",
		remedy: "serve WW_verify_….txt (Options.DomainProof) and press 申请校验域名 under " + screenDomains},
	85006: {class: classSetup, meaning: "the setting of trusted domain or address is refused", remedy: "see " + screenDomains + " and " + screenIPs},
	85007: {class: classSetup, meaning: "the setting of trusted domain or address is refused", remedy: "see " + screenDomains + " and " + screenIPs},
	85008: {class: classSetup, meaning: "the domain has no ICP record, or one of another company",
		remedy: "register the domain (ICP备案) for this company"},
	85111: {class: classSetup, meaning: "the domain belongs to a service provider", remedy: "use a domain of the corp's own"},
	92001: {class: classSetup, meaning: "the app may not read sensitive fields",
		remedy: "tick the fields under " + screenApp + " → 成员敏感信息, or use the scope snsapi_base"},
	301042: {class: classSetup, meaning: "this server's IP address is not on the API's list",
		remedy: "enter the address from which the calls leave (the hint names it) in the settings of that API"},
	90308: {class: classSetup, meaning: "this server's IP address is not on the API's list",
		remedy: "enter the address from which the calls leave (the hint names it) in the settings of that API"},
	701008: {class: classSetup, meaning: "the corp has no licence for this API", remedy: "order licences under 应用管理 or from the service provider"},

	40029: {class: classCode, meaning: "the code is used, older than five minutes, or another app's"},
	40078: {class: classCode, meaning: "the code is not valid"},
	41008: {class: classCode, meaning: "the code is missing"},
	42003: {class: classCode, meaning: "the code is expired"},
	42022: {class: classCode, meaning: "the code is used already"},
	84014: {class: classCode, meaning: "the user_ticket is expired"},
	84015: {class: classCode, meaning: "the user_ticket is not valid"},
	84090: {class: classCode, meaning: "the user_ticket is missing"},

	40014: {class: classToken, meaning: "the access token is not valid"},
	42001: {class: classToken, meaning: "the access token is expired"},

	45009: {class: classLimited, wait: time.Minute, meaning: "too many calls, or too many with a wrong secret",
		remedy: "wait (a minute, an hour or a day, as the limit says); share the access token by Options.TokenStore"},
	45033: {class: classLimited, meaning: "too many calls at the same time",
		remedy: "call this API from fewer places at once"},

	46004: {class: classDenied, meaning: "there is no such member, or the app may not see them",
		remedy: "compare with 通讯录, and add the member under " + screenVisible},
	50002: {class: classDenied, meaning: "the member is outside what the app may access",
		remedy: "add the member under " + screenVisible},
	60011: {class: classDenied, meaning: "the app may not see this member, department or tag",
		remedy: "add it under " + screenVisible},
	60021: {class: classDenied, meaning: "the member is not in the app's visible range",
		remedy: "add the member under " + screenVisible},
	60111: {class: classDenied, meaning: "there is no such member, or the app may not see them",
		remedy: "compare the user id with 通讯录, and add the member under " + screenVisible},
	90210:  {class: classDenied, meaning: "the member has not authorized the app yet"},
	92000:  {class: classDenied, meaning: "the member is not in the app's visible range", remedy: "add the member under " + screenVisible},
	701016: {class: classDenied, meaning: "the member's account has no licence", remedy: "assign one under 应用管理 or have the service provider do it"},

	40003: {meaning: "the user id is malformed or unknown"},
	40068: {meaning: "there is no such tag, or the app may not see it", remedy: "compare the tag's id with 通讯录 → 标签, and add the tag under " + screenVisible},
	40063: {meaning: "a parameter is empty, or method or body have the wrong form"},
	40073: {meaning: "the openid is not valid"},
	41001: {meaning: "the access token did not arrive", remedy: "see whether a proxy between this server and WeCom cuts the query off"},
	41009: {meaning: "the user id is missing"},
	43004: {meaning: "the member has neither signed in to WeCom with Weixin nor follows 微信插件"},
	60003: {meaning: "there is no such department"},
	60123: {meaning: "the department id is not valid"},
	81013: {meaning: "none of the members, departments and tags is valid", remedy: "compare them with " + screenVisible},
}
