package wecomtest

import (
	"net/http"
	"net/url"
	"strings"
)

// weixinPage is connect/qrconnect of a website app, or connect/oauth2/authorize
// of an official account; f.mu is held. a is nil for an unknown app.
func (v *visit) weixinPage(a *WeixinApp) *answer {
	if a == nil || a.OfficialAccount != v.inApp {
		return v.failed(problem{0, "AppID 参数错误", "appid is wrong"})
	}
	v.wx = a
	if p := v.checkWeixin(); p != nil {
		return v.failed(*p)
	}
	f, form := v.f, url.Values{}
	if v.r.Method == http.MethodPost {
		if err := v.r.ParseForm(); err != nil {
			return textAnswer(http.StatusBadRequest, "400")
		}
		form = v.r.PostForm
	}
	action := form.Get("action")
	switch {
	case v.r.Method == http.MethodHead:
		return v.show("blank", nil)
	case v.auto.refuse || action == "refuse":
		return v.refused()
	case v.auto.who != "":
		u := f.weixin.user(v.auto.who)
		if u == nil {
			return v.failed(problem{0, "没有这个微信用户：" + v.auto.who, "Nobody in Weixin is called " + v.auto.who})
		}
		return v.grantedTo(u)
	case action == "switch":
		return v.remember(v.show("pick", v.weixinPeople()), weixinCookie, "")
	}
	u := f.weixin.user(form.Get("who"))
	switch {
	case v.r.Method == http.MethodPost && u == nil:
		return v.failed(problem{0, "没有这个微信用户", "Nobody in Weixin is called that"})
	case u != nil && !v.inApp, action == "allow":
		return v.grantedTo(u)
	case u != nil:
		return v.remember(v.askedOf(u), weixinCookie, u.ID)
	case !v.inApp:
		return v.show("scan", v.weixinPeople())
	}
	if c, err := v.r.Cookie(weixinCookie); err == nil {
		if id, err := url.QueryUnescape(c.Value); err == nil && f.weixin.user(id) != nil {
			return v.askedOf(f.weixin.user(id))
		}
	}
	return v.show("pick", v.weixinPeople())
}

// checkWeixin looks at the parameters as Weixin does.
func (v *visit) checkWeixin() *problem {
	q := v.r.URL.Query()
	v.state, v.hasState, v.scope = q.Get("state"), q.Has("state"), q.Get("scope")
	ua := strings.ToLower(v.r.UserAgent())
	if v.f.settings.ClientOnly && v.inApp && (!strings.Contains(ua, "micromessenger/") || strings.Contains(ua, "wxwork/")) {
		return &problem{0, "请在微信客户端打开链接", "Open this link in Weixin"}
	}
	u, err := url.Parse(q.Get("redirect_uri"))
	switch {
	case q.Get("redirect_uri") == "":
		return &problem{10011, "redirect_uri 参数为空", "redirect_uri is empty"}
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" ||
		v.wx.Domain != "" && !strings.EqualFold(v.wx.Domain, canonicalHost(u.Scheme, u.Host)):
		return &problem{10003, "redirect_uri 域名与后台配置不一致", "The host of redirect_uri is not the one in the settings"}
	}
	v.redirect = u
	switch {
	case v.inApp && !inAppState.MatchString(v.state):
		return &problem{0, "state 参数错误", "state is wrong"}
	case q.Get("response_type") != "code":
		return &problem{0, "response_type 参数错误", "response_type is wrong"}
	case v.scope == "":
		return &problem{10010, "scope 不能为空", "scope is empty"}
	case v.inApp && v.scope != scopeBase && v.scope != scopeUser, !v.inApp && v.scope != scopeLogin:
		return &problem{10005, "该账号没有 scope 权限", "The app does not have this scope"}
	}
	return nil
}

// askedOf goes on with somebody who is known: straight back, or by the consent page.
func (v *visit) askedOf(u *WeixinUser) *answer {
	if v.scope == scopeUser && !u.Snapshot { // a snapshot asks nothing
		return v.show("grant", u)
	}
	return v.grantedTo(u)
}

func (v *visit) grantedTo(u *WeixinUser) *answer {
	k := v.f.issueWeixin(v.wx, u, v.scope, v.state, v.r.URL.Query().Get("redirect_uri"))
	return v.back("code=" + url.QueryEscape(k.Value))
}

func (v *visit) weixinPeople() []person {
	var list []person
	for i, u := range v.f.weixin.users {
		p := person{Who: u.ID, Name: u.Nickname, Hue: 205 + 47*i%360, Odd: u.Snapshot}
		if p.Name == "" {
			p.Name = u.ID
		}
		if u.Snapshot {
			p.Note = "快照页用户"
			if v.lang == "en" {
				p.Note = "snapshot mode"
			}
		}
		p.Initial = string([]rune(p.Name)[:1])
		list = append(list, p)
	}
	return list
}
