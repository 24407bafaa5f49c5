package pages

import "cmp"

// A text is in both languages.
type text struct{ zh, en string }

// in returns the text in a language: "en", or anything else for Chinese.
func (t text) in(lang string) string {
	if lang == "en" {
		return t.en
	}
	return t.zh
}

// A wording is what a page says.
type wording struct {
	tone                           Tone
	title, message, advice, button text
}

// What several pages say.
var (
	signIn             = text{"登录", "Sign in"}
	signInAgain        = text{"重新登录", "Sign in again"}
	tryAgain           = text{"再试一次", "Try again"}
	goHome             = text{"返回首页", "Go to the home page"}
	againOrTell        = text{"请重新登录；如果多次出现，请把本页的参考编号告诉管理员。", "Please sign in again; if this keeps happening, give your administrator the reference on this page."}
	tell               = text{"请把本页的参考编号告诉管理员，管理员可凭编号在日志中查到原因。", "Please give your administrator the reference on this page; it leads to the cause in the log."}
	laterOrTell        = text{"请稍后再试；如果一直这样，请把本页的参考编号告诉管理员。", "Please try again in a moment; if it stays like this, give your administrator the reference on this page."}
	againOrTellSupport = text{"请重新登录；如果多次出现，请把本页的参考编号告诉网站客服。", "Please sign in again; if this keeps happening, tell the site's support the reference on this page."}
	laterOrTellSupport = text{"请稍后再试；如果一直这样，请把本页的参考编号告诉网站客服。", "Please try again in a moment; if it stays like this, tell the site's support the reference on this page."}
	tellSupport        = text{"请把本页的参考编号告诉网站客服。", "Please tell the site's support the reference on this page."}
)

// texts holds what the pages say, by code. Each tells somebody who is no programmer what happened
// and what to do next; causes are in the log.
var texts = map[string]wording{
	"login_required": {
		tone:    Neutral,
		title:   text{"需要登录", "Please sign in"},
		message: text{"你还没有登录，或者登录已经失效。", "You are not signed in, or your session has ended."},
		advice:  text{"请登录后继续。", "Please sign in to continue."},
		button:  signIn,
	},
	"form_not_sent": {
		tone:    Warning,
		title:   text{"内容没有提交", "Nothing was submitted"},
		message: text{"登录已经失效，刚才填写的内容没有提交。", "You are no longer signed in, so what you entered was not submitted."},
		advice:  text{"请先返回上一页，把填写的内容复制下来，登录后再重新提交。", "Please go back and copy what you entered, then sign in and submit it again."},
		button:  signIn,
	},
	"session_ended": {
		tone:    Neutral,
		title:   text{"你已被退出登录", "You were signed out"},
		message: text{"这次登录已被结束：可能是你退出了所有设备，也可能是管理员的操作，或者账号有变动。", "Your session was ended: by you on another device, by an administrator, or because your account has changed."},
		advice:  againOrTell,
		button:  signInAgain,
	},
	"method_not_allowed": {
		tone:    Warning,
		title:   text{"无法这样打开", "This address cannot be opened like this"},
		message: text{"这个地址不能用刚才的方式打开。", "The address does not work in the way it was just opened."},
		advice:  text{"请返回首页，从页面上的入口重新操作。", "Please go to the home page and start again from there."},
		button:  goHome,
	},
	"sign_out": {
		tone:    Neutral,
		title:   text{"退出登录？", "Sign out?"},
		message: text{"点击下方按钮，在这个浏览器里退出登录。", "Use the button below to sign out in this browser."},
		advice:  text{"其他设备上的登录不受影响。", "You stay signed in on your other devices."},
		button:  text{"退出登录", "Sign out"},
	},
	"prefetch_refused": {
		tone:    Neutral,
		title:   text{"登录尚未完成", "Sign-in is not finished yet"},
		message: text{"浏览器在后台提前加载了登录页面，为了安全，登录没有继续。", "The browser loaded the sign-in page ahead of time in the background, so for safety the sign-in was not continued."},
		advice:  text{"请点击下方按钮登录。", "Please use the button below to sign in."},
		button:  signIn,
	},
	"bad_callback": {
		tone:    Warning,
		title:   text{"登录没有完成", "Sign-in did not finish"},
		message: text{"返回的登录信息格式不正确，无法继续登录。", "The sign-in details that came back were not in the expected form."},
		advice:  againOrTell,
		button:  signInAgain,
	},
	"bad_state": {
		tone:    Warning,
		title:   text{"登录链接无效", "This sign-in link is not valid"},
		message: text{"这个登录链接不是由本应用发出的，或者内容已被改动。", "The link did not come from this app, or it was changed on the way."},
		advice:  text{"请点击下方按钮重新登录，不要再使用原来的链接。", "Please sign in again with the button below and do not use the old link any more."},
		button:  signInAgain,
	},
	"signin_refused": {
		tone:    Neutral,
		title:   text{"登录已取消", "Sign-in was cancelled"},
		message: text{"企业微信没有返回登录授权，可能是在授权页面点了取消。", "WeCom did not confirm the sign-in; it may have been cancelled or declined there."},
		advice:  text{"如需继续使用，请重新登录并在授权页面点同意。", "To continue, please sign in again and agree when WeCom asks."},
		button:  signInAgain,
	},
	"attempt_lost": {
		tone:    Warning,
		title:   text{"登录无法继续", "Sign-in could not continue"},
		message: text{"浏览器没有带回这次登录的记录，可能是 Cookie 被禁用，或者登录中途换了浏览器。", "The browser did not bring back the cookie of this sign-in; cookies may be blocked, or the sign-in continued in another browser."},
		advice:  text{"请允许浏览器使用 Cookie，并在同一个浏览器中重新登录。", "Please allow cookies for this site, then sign in again and stay in the same browser."},
		button:  signInAgain,
	},
	"session_not_kept": {
		tone:    Warning,
		title:   text{"登录状态没有保存", "The browser did not keep the sign-in"},
		message: text{"登录已经成功，但浏览器没有保存登录状态。", "You signed in successfully, but the browser did not keep the cookie that says so."},
		advice:  text{"请允许浏览器使用 Cookie，或换一个浏览器，然后重新登录。", "Please allow cookies for this site or use another browser, then sign in again."},
		button:  signInAgain,
	},
	"code_rejected": {
		tone:    Warning,
		title:   text{"登录没有成功", "Sign-in did not succeed"},
		message: text{"企业微信没有接受这次登录，登录授权可能已过期或已被使用。", "WeCom did not accept this sign-in; it may have expired or been used already."},
		advice:  againOrTell,
		button:  signInAgain,
	},
	"outsider": {
		tone:    Warning,
		title:   text{"仅限本企业成员使用", "For members of this company only"},
		message: text{"当前登录的账号不是本企业的成员。", "The account that signed in is not a member of this company."},
		advice:  text{"请切换到本企业的账号重新登录；如果还没有加入企业，请联系管理员。", "Please switch to your company account and sign in again, or ask the administrator to add you."},
		button:  signInAgain,
	},
	"linked_corp": {
		tone:    Warning,
		title:   text{"未向互联企业开放", "Not open to linked companies"},
		message: text{"当前账号属于互联企业或上下游企业，这个应用没有向这些企业的成员开放。", "Your account belongs to a linked company, and this app is not open to its members."},
		advice:  text{"请切换到本企业的账号重新登录；如果确实需要使用，请联系本企业的管理员。", "Please sign in with an account of this company, or ask its administrator for access."},
		button:  signInAgain,
	},
	"snapshot_user": {
		tone:    Neutral,
		title:   text{"请使用完整服务", "Please open the full page"},
		message: text{"当前页面是以快照方式打开的，无法确认你的微信账号。", "Weixin shows this page in snapshot mode, in which your account cannot be confirmed."},
		advice:  text{"请点页面底部的“使用完整服务”，然后再登录。", "Please choose full service at the bottom of the screen, and then sign in."},
		button:  signIn,
	},
	"not_allowed": {
		tone:    Warning,
		title:   text{"没有访问权限", "You do not have access"},
		message: text{"已确认你的身份，但当前账号没有访问权限。", "Your account was recognised, but it does not have access here."},
		advice:  text{"如需使用，请联系这个应用的管理员开通权限，然后再试一次。", "Please ask the administrator of this app for access, and then try again."},
		button:  tryAgain,
	},
	"setup_fault": {
		tone:    Error,
		title:   text{"应用设置有误", "The app is not set up correctly"},
		message: text{"这个应用在企业微信管理后台的设置有误，暂时无法登录。", "A setting of this app in the WeCom admin console is wrong, so nobody can sign in at the moment."},
		advice:  tell,
		button:  tryAgain,
	},
	"callback_mismatch": {
		tone:    Error,
		title:   text{"登录没有回到正确的地址", "The sign-in came back to the wrong address"},
		message: text{"这个应用的登录设置有误，暂时无法登录。", "A setting of this app's sign-in is wrong, so nobody can sign in at the moment."},
		advice:  tell,
		button:  tryAgain,
	},
	"wecom_unavailable": {
		tone:    Error,
		title:   text{"企业微信暂时没有响应", "WeCom is not answering"},
		message: text{"暂时无法连接企业微信，登录没有完成。", "WeCom cannot be reached at the moment, so the sign-in was not finished."},
		advice:  laterOrTell,
		button:  tryAgain,
	},
	"busy": {
		tone:    Warning,
		title:   text{"当前请求过多", "Too busy at the moment"},
		message: text{"登录的人太多，或者企业微信限制了这个应用的请求频率，暂时无法登录。", "Too many people are signing in, or WeCom is limiting the requests of this app, so signing in has to wait."},
		advice:  text{"请等几分钟再试，不必反复刷新。", "Please wait a few minutes before you try again; reloading does not make it faster."},
		button:  tryAgain,
	},
	"session_store": {
		tone:    Error,
		title:   text{"服务暂时不可用", "Temporarily unavailable"},
		message: text{"暂时无法读取或保存登录状态。", "Your sign-in cannot be read or saved at the moment."},
		advice:  text{"请稍后再试，之前的登录一般不受影响。", "Please try again in a moment; an earlier sign-in normally stays valid."},
		button:  tryAgain,
	},
	"too_many_attempts": {
		tone:    Warning,
		title:   text{"尝试次数过多", "Too many attempts"},
		message: text{"短时间内多次登录没有成功，登录已暂停。", "Several sign-ins failed within a short time, so signing in is paused."},
		advice:  text{"请等几分钟再试；如果仍然无法登录，请把本页的参考编号告诉管理员。", "Please wait a few minutes and try again; if it still fails, give your administrator the reference on this page."},
		button:  tryAgain,
	},
	"cross_origin": {
		tone:    Warning,
		title:   text{"操作没有执行", "The request was not carried out"},
		message: text{"这个操作是从其他网站发起的，为了安全没有执行。", "It came from another website, so for safety nothing was done."},
		advice:  text{"请返回本应用的首页，在应用内重新操作。", "Please go to the home page of this app and try again from there."},
		button:  goHome,
	},
	"bad_request": {
		tone:    Warning,
		title:   text{"无法处理这个请求", "The request cannot be handled"},
		message: text{"请求的内容不完整或格式不正确。", "Something in the address or the request is missing or not in the expected form."},
		advice:  text{"请返回首页后重新操作。", "Please go to the home page and start again from there."},
		button:  goHome,
	},
	"not_found": {
		tone:    Neutral,
		title:   text{"页面不存在", "Page not found"},
		message: text{"这个地址没有对应的页面。", "There is no page at this address."},
		advice:  text{"请检查地址是否正确，或返回首页。", "Please check the address or go to the home page."},
		button:  goHome,
	},
	"internal": {
		tone:    Error,
		title:   text{"服务出现问题", "Something went wrong"},
		message: text{"服务器处理时遇到问题，操作没有完成。", "The server ran into a problem and could not finish."},
		advice:  laterOrTell,
		button:  tryAgain,
	},
	"upstream_unavailable": { // the gateway's; it is no fault of the sign-in, and says so
		tone:    Error,
		title:   text{"系统暂时无法访问", "The system cannot be reached"},
		message: text{"你已登录，但要访问的系统没有响应。", "You are signed in, but the system behind this page does not answer."},
		advice:  laterOrTell,
		button:  tryAgain,
	},
	"client_unknown": { // these two are the issuer's, and are read by who sets a client up
		tone:    Error,
		title:   text{"这个系统尚未接入", "This system is not connected"},
		message: text{"要登录的系统所用的客户端 ID 没有登记。", "The system that sent you here uses a client ID that is not registered."},
		advice:  text{"请把本页的参考编号告诉管理员，由管理员核对两边的客户端 ID。", "Please give your administrator the reference on this page, to compare the client ID on both sides."},
		button:  goHome,
	},
	"redirect_unknown": {
		tone:    Error,
		title:   text{"回调地址没有登记", "The redirect URI is not registered"},
		message: text{"对方系统给出的回调地址与登记的不一致，因此不会跳转过去。", "The system that sent you here gave a redirect URI that differs from the registered ones, so you are not sent there."},
		advice:  text{"请把本页的参考编号告诉管理员，由管理员逐字符核对两边的回调地址。", "Please give your administrator the reference on this page, to compare the redirect URI on both sides, letter by letter."},
		button:  goHome,
	},
	"signed_out": {
		tone:    Good,
		title:   text{"已退出登录", "Signed out"},
		message: text{"你已退出这个应用，企业微信的登录不受影响。", "You are signed out of this app; WeCom itself stays signed in."},
		advice:  text{"现在可以关闭页面，需要时再重新登录。", "You can close this page now and sign in again when you need to."},
		button:  signInAgain,
	},
	"choose": {
		tone:    Neutral,
		title:   text{"选择登录方式", "Choose how to sign in"},
		message: text{"这个页面可以用以下任意一种方式登录。", "You can sign in to this page in any of the ways below."},
		advice:  text{"请选择与你的账号对应的方式。", "Please choose the one that fits your account."},
		button:  signIn,
	},
}

// weixinTexts holds what a page says of Weixin where that is not what it says of WeCom.
var weixinTexts = map[string]wording{
	"session_ended": {
		message: text{"这次登录已被网站结束，可能是账号有变动。", "The site ended your session, perhaps because your account has changed."},
		advice:  againOrTellSupport,
	},
	"bad_callback":      {advice: againOrTellSupport},
	"too_many_attempts": {advice: text{"请等几分钟再试；如果仍然无法登录，请把本页的参考编号告诉网站客服。", "Please wait a few minutes and try again; if it still fails, tell the site's support the reference on this page."}},
	"internal":          {advice: laterOrTellSupport},
	"signin_refused": {
		message: text{"微信没有返回登录授权，可能是在授权页面点了拒绝。", "Weixin did not confirm the sign-in; it may have been cancelled or declined there."},
		advice:  text{"如需继续使用，请重新登录并在授权页面点同意。", "To continue, please sign in again and agree when Weixin asks."},
	},
	"code_rejected": {
		message: text{"微信没有接受这次登录，登录授权可能已过期或已被使用。", "Weixin did not accept this sign-in; it may have expired or been used already."},
		advice:  againOrTellSupport,
	},
	"not_allowed": {advice: text{"如有疑问，请联系网站客服。", "If you think that it should, please contact the site's support."}},
	"setup_fault": {
		message: text{"这个网站的微信登录设置有误，暂时无法登录。", "A setting of this site's sign-in with Weixin is wrong, so nobody can sign in at the moment."},
		advice:  tellSupport,
	},
	"callback_mismatch": {
		message: text{"这个网站的登录设置有误，暂时无法登录。", "A setting of this site's sign-in is wrong, so nobody can sign in at the moment."},
		advice:  tellSupport,
	},
	"wecom_unavailable": {
		title:   text{"微信暂时没有响应", "Weixin is not answering"},
		message: text{"暂时无法连接微信，登录没有完成。", "Weixin cannot be reached at the moment, so the sign-in was not finished."},
		advice:  laterOrTellSupport,
	},
	"busy":       {message: text{"登录的人太多，或者微信限制了这个应用的请求频率，暂时无法登录。", "Too many people are signing in, or Weixin is limiting the requests of this app, so signing in has to wait."}},
	"signed_out": {message: text{"你已退出这个网站，微信的登录不受影响。", "You are signed out of this site; Weixin itself stays signed in."}},
}

// For returns the page of a failure's code, or of "signed_out", "sign_out" or "choose", and the text of its
// button. It speaks of the provider: "weixin", or anything else for WeCom. ok is false, and the
// page says nothing, for a code that has none.
func For(provider, lang, code string) (p Page, button string, ok bool) {
	w, ok := texts[code]
	if !ok {
		return Page{Lang: lang, Tone: Error}, "", false
	}
	var own wording
	if provider == "weixin" {
		own = weixinTexts[code]
	}
	return Page{
		Lang: lang, Tone: w.tone,
		Title:   cmp.Or(own.title, w.title).in(lang),
		Message: cmp.Or(own.message, w.message).in(lang),
		Advice:  cmp.Or(own.advice, w.advice).in(lang),
	}, w.button.in(lang), true
}

// SignInWith returns the text of a button that signs in with a provider: "wecom", "weixin" (as they
// name themselves) or, without a name, any other.
func SignInWith(lang, provider string) string {
	switch provider {
	case "wecom":
		return text{"企业微信登录", "Sign in with WeCom"}.in(lang)
	case "weixin":
		return text{"微信登录", "Sign in with Weixin"}.in(lang)
	}
	return signIn.in(lang)
}
