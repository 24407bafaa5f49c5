package pages

// wording is one code's page in one language.
type wording struct {
	title, message, advice, button string
}

// texts holds everything that a page of ours ever says, by code. Each page tells
// somebody who is no programmer what happened and what to do next; causes are in
// the log.
var texts = map[string]struct {
	tone   Tone
	zh, en wording
}{
	"login_required": {
		tone: Neutral,
		zh: wording{
			title:   "需要登录",
			message: "你还没有登录，或者登录已经失效。",
			advice:  "请登录后继续。",
			button:  "登录",
		},
		en: wording{
			title:   "Please sign in",
			message: "You are not signed in, or your session has ended.",
			advice:  "Please sign in to continue.",
			button:  "Sign in",
		},
	},
	"form_not_sent": {
		tone: Warning,
		zh: wording{
			title:   "内容没有提交",
			message: "登录已经失效，刚才填写的内容没有提交。",
			advice:  "请先返回上一页，把填写的内容复制下来，登录后再重新提交。",
			button:  "登录",
		},
		en: wording{
			title:   "Nothing was submitted",
			message: "You are no longer signed in, so what you entered was not submitted.",
			advice:  "Please go back and copy what you entered, then sign in and submit it again.",
			button:  "Sign in",
		},
	},
	"session_ended": {
		tone: Neutral,
		zh: wording{
			title:   "你已被退出登录",
			message: "这次登录已被结束，可能是管理员的操作，也可能是账号有变动。",
			advice:  "请重新登录；如果多次出现，请把本页的参考编号告诉管理员。",
			button:  "重新登录",
		},
		en: wording{
			title:   "You were signed out",
			message: "Your session was ended, by an administrator or because your account has changed.",
			advice:  "Please sign in again; if this keeps happening, give your administrator the reference on this page.",
			button:  "Sign in again",
		},
	},
	"method_not_allowed": {
		tone: Warning,
		zh: wording{
			title:   "无法这样打开",
			message: "这个地址不能用刚才的方式打开。",
			advice:  "请返回首页，从页面上的入口重新操作。",
			button:  "返回首页",
		},
		en: wording{
			title:   "This address cannot be opened like this",
			message: "The address does not work in the way it was just opened.",
			advice:  "Please go to the home page and start again from there.",
			button:  "Go to the home page",
		},
	},
	"prefetch_refused": {
		tone: Neutral,
		zh: wording{
			title:   "登录尚未完成",
			message: "浏览器在后台提前加载了登录页面，为了安全，登录没有继续。",
			advice:  "请点击下方按钮登录。",
			button:  "登录",
		},
		en: wording{
			title:   "Sign-in is not finished yet",
			message: "The browser loaded the sign-in page ahead of time in the background, so for safety the sign-in was not continued.",
			advice:  "Please use the button below to sign in.",
			button:  "Sign in",
		},
	},
	"bad_callback": {
		tone: Warning,
		zh: wording{
			title:   "登录没有完成",
			message: "返回的登录信息格式不正确，无法继续登录。",
			advice:  "请重新登录；如果多次出现，请把本页的参考编号告诉管理员。",
			button:  "重新登录",
		},
		en: wording{
			title:   "Sign-in did not finish",
			message: "The sign-in details that came back were not in the expected form.",
			advice:  "Please sign in again; if this keeps happening, give your administrator the reference on this page.",
			button:  "Sign in again",
		},
	},
	"bad_state": {
		tone: Warning,
		zh: wording{
			title:   "登录链接无效",
			message: "这个登录链接不是由本应用发出的，或者内容已被改动。",
			advice:  "请点击下方按钮重新登录，不要再使用原来的链接。",
			button:  "重新登录",
		},
		en: wording{
			title:   "This sign-in link is not valid",
			message: "The link did not come from this app, or it was changed on the way.",
			advice:  "Please sign in again with the button below and do not use the old link any more.",
			button:  "Sign in again",
		},
	},
	"signin_refused": {
		tone: Neutral,
		zh: wording{
			title:   "登录已取消",
			message: "企业微信没有返回登录授权，可能是在授权页面点了取消。",
			advice:  "如需继续使用，请重新登录并在授权页面点同意。",
			button:  "重新登录",
		},
		en: wording{
			title:   "Sign-in was cancelled",
			message: "WeCom did not confirm the sign-in; it may have been cancelled or declined there.",
			advice:  "To continue, please sign in again and agree when WeCom asks.",
			button:  "Sign in again",
		},
	},
	"attempt_lost": {
		tone: Warning,
		zh: wording{
			title:   "登录无法继续",
			message: "浏览器没有带回这次登录的记录，可能是 Cookie 被禁用，或者登录中途换了浏览器。",
			advice:  "请允许浏览器使用 Cookie，并在同一个浏览器中重新登录。",
			button:  "重新登录",
		},
		en: wording{
			title:   "Sign-in could not continue",
			message: "The browser did not bring back the cookie of this sign-in; cookies may be blocked, or the sign-in continued in another browser.",
			advice:  "Please allow cookies for this site, then sign in again and stay in the same browser.",
			button:  "Sign in again",
		},
	},
	"session_not_stuck": {
		tone: Warning,
		zh: wording{
			title:   "登录状态没有保存",
			message: "登录已经成功，但浏览器没有保存登录状态。",
			advice:  "请允许浏览器使用 Cookie，或换一个浏览器，然后重新登录。",
			button:  "重新登录",
		},
		en: wording{
			title:   "The browser did not keep the sign-in",
			message: "You signed in successfully, but the browser did not keep the cookie that says so.",
			advice:  "Please allow cookies for this site or use another browser, then sign in again.",
			button:  "Sign in again",
		},
	},
	"code_rejected": {
		tone: Warning,
		zh: wording{
			title:   "登录没有成功",
			message: "企业微信没有接受这次登录，登录授权可能已过期或已被使用。",
			advice:  "请重新登录；如果多次出现，请把本页的参考编号告诉管理员。",
			button:  "重新登录",
		},
		en: wording{
			title:   "Sign-in did not succeed",
			message: "WeCom did not accept this sign-in; it may have expired or been used already.",
			advice:  "Please sign in again; if this keeps happening, give your administrator the reference on this page.",
			button:  "Sign in again",
		},
	},
	"outsider": {
		tone: Warning,
		zh: wording{
			title:   "仅限本企业成员使用",
			message: "当前登录的账号不是本企业的成员。",
			advice:  "请切换到本企业的账号重新登录；如果还没有加入企业，请联系管理员。",
			button:  "重新登录",
		},
		en: wording{
			title:   "For members of this company only",
			message: "The account that signed in is not a member of this company.",
			advice:  "Please switch to your company account and sign in again, or ask the administrator to add you.",
			button:  "Sign in again",
		},
	},
	"linked_corp": {
		tone: Warning,
		zh: wording{
			title:   "未向互联企业开放",
			message: "当前账号属于互联企业或上下游企业，这个应用没有向这些企业的成员开放。",
			advice:  "请切换到本企业的账号重新登录；如果确实需要使用，请联系本企业的管理员。",
			button:  "重新登录",
		},
		en: wording{
			title:   "Not open to linked companies",
			message: "Your account belongs to a linked company, and this app is not open to its members.",
			advice:  "Please sign in with an account of this company, or ask its administrator for access.",
			button:  "Sign in again",
		},
	},
	"snapshot_user": {
		tone: Neutral,
		zh: wording{
			title:   "请使用完整服务",
			message: "当前页面是以快照方式打开的，无法确认你的微信账号。",
			advice:  "请点页面底部的“使用完整服务”，然后再登录。",
			button:  "登录",
		},
		en: wording{
			title:   "Please open the full page",
			message: "Weixin shows this page in snapshot mode, in which your account cannot be confirmed.",
			advice:  "Please choose full service at the bottom of the screen, and then sign in.",
			button:  "Sign in",
		},
	},
	"not_allowed": {
		tone: Warning,
		zh: wording{
			title:   "没有访问权限",
			message: "已确认你的身份，但当前账号没有访问权限。",
			advice:  "如需使用，请联系这个应用的管理员开通权限，然后再试一次。",
			button:  "再试一次",
		},
		en: wording{
			title:   "You do not have access",
			message: "Your account was recognised, but it does not have access here.",
			advice:  "Please ask the administrator of this app for access, and then try again.",
			button:  "Try again",
		},
	},
	"setup_fault": {
		tone: Error,
		zh: wording{
			title:   "应用设置有误",
			message: "这个应用在企业微信管理后台的设置有误，暂时无法登录。",
			advice:  "请把本页的参考编号告诉管理员，管理员可凭编号在日志中查到原因。",
			button:  "再试一次",
		},
		en: wording{
			title:   "The app is not set up correctly",
			message: "A setting of this app in the WeCom admin console is wrong, so nobody can sign in at the moment.",
			advice:  "Please give your administrator the reference on this page; it leads to the cause in the log.",
			button:  "Try again",
		},
	},
	"callback_mismatch": {
		tone: Error,
		zh: wording{
			title:   "登录没有回到正确的地址",
			message: "这个应用的登录设置有误，暂时无法登录。",
			advice:  "请把本页的参考编号告诉管理员，管理员可凭编号在日志中查到原因。",
			button:  "再试一次",
		},
		en: wording{
			title:   "The sign-in came back to the wrong address",
			message: "A setting of this app's sign-in is wrong, so nobody can sign in at the moment.",
			advice:  "Please give your administrator the reference on this page; it leads to the cause in the log.",
			button:  "Try again",
		},
	},
	"wecom_unavailable": {
		tone: Error,
		zh: wording{
			title:   "企业微信暂时没有响应",
			message: "暂时无法连接企业微信，登录没有完成。",
			advice:  "请稍后再试；如果一直这样，请把本页的参考编号告诉管理员。",
			button:  "再试一次",
		},
		en: wording{
			title:   "WeCom is not answering",
			message: "WeCom cannot be reached at the moment, so the sign-in was not finished.",
			advice:  "Please try again in a moment; if it stays like this, give your administrator the reference on this page.",
			button:  "Try again",
		},
	},
	"busy": {
		tone: Warning,
		zh: wording{
			title:   "当前请求过多",
			message: "企业微信限制了这个应用的请求频率，暂时无法登录。",
			advice:  "请等几分钟再试，不必反复刷新。",
			button:  "再试一次",
		},
		en: wording{
			title:   "Too busy at the moment",
			message: "WeCom is limiting the requests of this app, so signing in has to wait.",
			advice:  "Please wait a few minutes before you try again; reloading does not make it faster.",
			button:  "Try again",
		},
	},
	"session_store": {
		tone: Error,
		zh: wording{
			title:   "服务暂时不可用",
			message: "暂时无法读取或保存登录状态。",
			advice:  "请稍后再试，之前的登录一般不受影响。",
			button:  "再试一次",
		},
		en: wording{
			title:   "Temporarily unavailable",
			message: "Your sign-in cannot be read or saved at the moment.",
			advice:  "Please try again in a moment; an earlier sign-in normally stays valid.",
			button:  "Try again",
		},
	},
	"too_many_attempts": {
		tone: Warning,
		zh: wording{
			title:   "尝试次数过多",
			message: "短时间内多次登录没有成功，登录已暂停。",
			advice:  "请等几分钟再试；如果仍然无法登录，请把本页的参考编号告诉管理员。",
			button:  "再试一次",
		},
		en: wording{
			title:   "Too many attempts",
			message: "Several sign-ins failed within a short time, so signing in is paused.",
			advice:  "Please wait a few minutes and try again; if it still fails, give your administrator the reference on this page.",
			button:  "Try again",
		},
	},
	"cross_origin": {
		tone: Warning,
		zh: wording{
			title:   "操作没有执行",
			message: "这个操作是从其他网站发起的，为了安全没有执行。",
			advice:  "请返回本应用的首页，在应用内重新操作。",
			button:  "返回首页",
		},
		en: wording{
			title:   "The request was not carried out",
			message: "It came from another website, so for safety nothing was done.",
			advice:  "Please go to the home page of this app and try again from there.",
			button:  "Go to the home page",
		},
	},
	"bad_request": {
		tone: Warning,
		zh: wording{
			title:   "无法处理这个请求",
			message: "请求的内容不完整或格式不正确。",
			advice:  "请返回首页后重新操作。",
			button:  "返回首页",
		},
		en: wording{
			title:   "The request cannot be handled",
			message: "Something in the address or the request is missing or not in the expected form.",
			advice:  "Please go to the home page and start again from there.",
			button:  "Go to the home page",
		},
	},
	"not_found": {
		tone: Neutral,
		zh: wording{
			title:   "页面不存在",
			message: "这个地址没有对应的页面。",
			advice:  "请检查地址是否正确，或返回首页。",
			button:  "返回首页",
		},
		en: wording{
			title:   "Page not found",
			message: "There is no page at this address.",
			advice:  "Please check the address or go to the home page.",
			button:  "Go to the home page",
		},
	},
	"internal": {
		tone: Error,
		zh: wording{
			title:   "服务出现问题",
			message: "服务器处理时遇到问题，操作没有完成。",
			advice:  "请稍后再试；如果一直这样，请把本页的参考编号告诉管理员。",
			button:  "再试一次",
		},
		en: wording{
			title:   "Something went wrong",
			message: "The server ran into a problem and could not finish.",
			advice:  "Please try again in a moment; if it stays like this, give your administrator the reference on this page.",
			button:  "Try again",
		},
	},
	"upstream_unavailable": { // the gateway's; it is no fault of the sign-in, and says so
		tone: Error,
		zh: wording{
			title:   "系统暂时无法访问",
			message: "你已登录，但要访问的系统没有响应。",
			advice:  "请稍后再试；如果一直这样，请把本页的参考编号告诉管理员。",
			button:  "再试一次",
		},
		en: wording{
			title:   "The system cannot be reached",
			message: "You are signed in, but the system behind this page does not answer.",
			advice:  "Please try again in a moment; if it stays like this, give your administrator the reference on this page.",
			button:  "Try again",
		},
	},
	"client_unknown": { // these two are the issuer's, and are read by who sets a client up
		tone: Error,
		zh: wording{
			title:   "这个系统尚未接入",
			message: "要登录的系统所用的客户端 ID 没有登记。",
			advice:  "请把本页的参考编号告诉管理员，由管理员核对两边的客户端 ID。",
			button:  "返回首页",
		},
		en: wording{
			title:   "This system is not connected",
			message: "The system that sent you here uses a client ID that is not registered.",
			advice:  "Please give your administrator the reference on this page, to compare the client ID on both sides.",
			button:  "Go to the home page",
		},
	},
	"redirect_unknown": {
		tone: Error,
		zh: wording{
			title:   "回调地址没有登记",
			message: "要登录的系统给出的回调地址与登记的不完全一致，因此不会跳转过去。",
			advice:  "请把本页的参考编号告诉管理员，由管理员逐字符核对两边的回调地址。",
			button:  "返回首页",
		},
		en: wording{
			title:   "The redirect URI is not registered",
			message: "The system that sent you here gave a redirect URI that differs from the registered ones, so you are not sent there.",
			advice:  "Please give your administrator the reference on this page, to compare the redirect URI on both sides, letter by letter.",
			button:  "Go to the home page",
		},
	},
	"signed_out": {
		tone: Good,
		zh: wording{
			title:   "已退出登录",
			message: "你已退出这个应用，企业微信的登录不受影响。",
			advice:  "现在可以关闭页面，需要时再重新登录。",
			button:  "重新登录",
		},
		en: wording{
			title:   "Signed out",
			message: "You are signed out of this app; WeCom itself stays signed in.",
			advice:  "You can close this page now and sign in again when you need to.",
			button:  "Sign in again",
		},
	},
	"choose": {
		tone: Neutral,
		zh: wording{
			title:   "选择登录方式",
			message: "这个页面可以用以下任意一种方式登录。",
			advice:  "请选择与你的账号对应的方式。",
			button:  "登录",
		},
		en: wording{
			title:   "Choose how to sign in",
			message: "You can sign in to this page in any of the ways below.",
			advice:  "Please choose the one that fits your account.",
			button:  "Sign in",
		},
	},
}

// weixinTexts says of Weixin what texts says of WeCom. What is not here names
// neither. The tones are those of texts.
var weixinTexts = map[string]struct{ zh, en wording }{
	"session_ended": {
		zh: wording{
			title:   "你已被退出登录",
			message: "这次登录已被网站结束，可能是账号有变动。",
			advice:  "请重新登录；如果多次出现，请把本页的参考编号告诉网站客服。",
			button:  "重新登录",
		},
		en: wording{
			title:   "You were signed out",
			message: "The site ended your session, perhaps because your account has changed.",
			advice:  "Please sign in again; if this keeps happening, tell the site's support the reference on this page.",
			button:  "Sign in again",
		},
	},
	"bad_callback": {
		zh: wording{
			title:   "登录没有完成",
			message: "返回的登录信息格式不正确，无法继续登录。",
			advice:  "请重新登录；如果多次出现，请把本页的参考编号告诉网站客服。",
			button:  "重新登录",
		},
		en: wording{
			title:   "Sign-in did not finish",
			message: "The sign-in details that came back were not in the expected form.",
			advice:  "Please sign in again; if this keeps happening, tell the site's support the reference on this page.",
			button:  "Sign in again",
		},
	},
	"too_many_attempts": {
		zh: wording{
			title:   "尝试次数过多",
			message: "短时间内多次登录没有成功，登录已暂停。",
			advice:  "请等几分钟再试；如果仍然无法登录，请把本页的参考编号告诉网站客服。",
			button:  "再试一次",
		},
		en: wording{
			title:   "Too many attempts",
			message: "Several sign-ins failed within a short time, so signing in is paused.",
			advice:  "Please wait a few minutes and try again; if it still fails, tell the site's support the reference on this page.",
			button:  "Try again",
		},
	},
	"internal": {
		zh: wording{
			title:   "服务出现问题",
			message: "服务器处理时遇到问题，操作没有完成。",
			advice:  "请稍后再试；如果一直这样，请把本页的参考编号告诉网站客服。",
			button:  "再试一次",
		},
		en: wording{
			title:   "Something went wrong",
			message: "The server ran into a problem and could not finish.",
			advice:  "Please try again in a moment; if it stays like this, tell the site's support the reference on this page.",
			button:  "Try again",
		},
	},
	"signin_refused": {
		zh: wording{
			title:   "登录已取消",
			message: "微信没有返回登录授权，可能是在授权页面点了拒绝。",
			advice:  "如需继续使用，请重新登录并在授权页面点同意。",
			button:  "重新登录",
		},
		en: wording{
			title:   "Sign-in was cancelled",
			message: "Weixin did not confirm the sign-in; it may have been cancelled or declined there.",
			advice:  "To continue, please sign in again and agree when Weixin asks.",
			button:  "Sign in again",
		},
	},
	"code_rejected": {
		zh: wording{
			title:   "登录没有成功",
			message: "微信没有接受这次登录，登录授权可能已过期或已被使用。",
			advice:  "请重新登录；如果多次出现，请把本页的参考编号告诉网站客服。",
			button:  "重新登录",
		},
		en: wording{
			title:   "Sign-in did not succeed",
			message: "Weixin did not accept this sign-in; it may have expired or been used already.",
			advice:  "Please sign in again; if this keeps happening, tell the site's support the reference on this page.",
			button:  "Sign in again",
		},
	},
	"not_allowed": {
		zh: wording{
			title:   "没有访问权限",
			message: "已确认你的身份，但当前账号没有访问权限。",
			advice:  "如有疑问，请联系网站客服。",
			button:  "再试一次",
		},
		en: wording{
			title:   "You do not have access",
			message: "Your account was recognised, but it does not have access here.",
			advice:  "If you think that it should, please contact the site's support.",
			button:  "Try again",
		},
	},
	"setup_fault": {
		zh: wording{
			title:   "应用设置有误",
			message: "这个网站的微信登录设置有误，暂时无法登录。",
			advice:  "请把本页的参考编号告诉网站客服。",
			button:  "再试一次",
		},
		en: wording{
			title:   "The app is not set up correctly",
			message: "A setting of this site's sign-in with Weixin is wrong, so nobody can sign in at the moment.",
			advice:  "Please tell the site's support the reference on this page.",
			button:  "Try again",
		},
	},
	"callback_mismatch": {
		zh: wording{
			title:   "登录没有回到正确的地址",
			message: "这个网站的登录设置有误，暂时无法登录。",
			advice:  "请把本页的参考编号告诉网站客服。",
			button:  "再试一次",
		},
		en: wording{
			title:   "The sign-in came back to the wrong address",
			message: "A setting of this site's sign-in is wrong, so nobody can sign in at the moment.",
			advice:  "Please tell the site's support the reference on this page.",
			button:  "Try again",
		},
	},
	"wecom_unavailable": {
		zh: wording{
			title:   "微信暂时没有响应",
			message: "暂时无法连接微信，登录没有完成。",
			advice:  "请稍后再试；如果一直这样，请把本页的参考编号告诉网站客服。",
			button:  "再试一次",
		},
		en: wording{
			title:   "Weixin is not answering",
			message: "Weixin cannot be reached at the moment, so the sign-in was not finished.",
			advice:  "Please try again in a moment; if it stays like this, tell the site's support the reference on this page.",
			button:  "Try again",
		},
	},
	"busy": {
		zh: wording{
			title:   "当前请求过多",
			message: "微信限制了这个应用的请求频率，暂时无法登录。",
			advice:  "请等几分钟再试，不必反复刷新。",
			button:  "再试一次",
		},
		en: wording{
			title:   "Too busy at the moment",
			message: "Weixin is limiting the requests of this app, so signing in has to wait.",
			advice:  "Please wait a few minutes before you try again; reloading does not make it faster.",
			button:  "Try again",
		},
	},
	"signed_out": {
		zh: wording{
			title:   "已退出登录",
			message: "你已退出这个网站，微信的登录不受影响。",
			advice:  "现在可以关闭页面，需要时再重新登录。",
			button:  "重新登录",
		},
		en: wording{
			title:   "Signed out",
			message: "You are signed out of this site; Weixin itself stays signed in.",
			advice:  "You can close this page now and sign in again when you need to.",
			button:  "Sign in again",
		},
	},
}

// TextFor is Text for the pages of a provider, as it names itself: "weixin" has
// sentences of its own, every other has WeCom's.
func TextFor(provider, lang, code string) (title, message, advice, button string, ok bool) {
	t, own := weixinTexts[code]
	if provider != "weixin" || !own {
		return Text(lang, code)
	}
	w := t.zh
	if lang == "en" {
		w = t.en
	}
	return w.title, w.message, w.advice, w.button, true
}

// Text returns the sentences for a failure's code or for "signed_out" and
// "choose", in English for lang "en" and otherwise in Chinese. ok is false, and
// the rest empty, for a code that has none.
func Text(lang, code string) (title, message, advice, button string, ok bool) {
	t, ok := texts[code]
	w := t.zh
	if lang == "en" {
		w = t.en
	}
	return w.title, w.message, w.advice, w.button, ok
}

// ToneOf returns the tone that suits a code's page, [Error] for an unknown code.
func ToneOf(code string) Tone {
	if t, ok := texts[code]; ok {
		return t.tone
	}
	return Error
}

// SignInWith returns the text of a button that signs in with a provider: "wecom",
// "weixin" (as they name themselves) or, without a name, any other.
func SignInWith(lang, provider string) string {
	en := lang == "en"
	switch {
	case provider == "wecom" && en:
		return "Sign in with WeCom"
	case provider == "wecom":
		return "企业微信登录"
	case provider == "weixin" && en:
		return "Sign in with Weixin"
	case provider == "weixin":
		return "微信登录"
	case en:
		return "Sign in"
	}
	return "登录"
}
