package wecomtest

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/pages"
)

const (
	memberCookie  = "fake_wecom_member"
	weixinCookie  = "fake_weixin_user"
	consentPeriod = 30 * 24 * time.Hour
)

//go:embed pages.html
var pagesHTML string

var templates = template.Must(template.New("").Parse(pagesHTML))

var inAppState = regexp.MustCompile(`^[a-zA-Z0-9]{0,128}$`)

// A choice is made in advance: who signs in, or that they refuse. The zero choice
// is none, and the page asks.
type choice struct {
	who    string
	refuse bool
}

// A pageContext passes a page what the simulated browser knows and no request carries.
type pageContext struct {
	choice   choice
	fragment string
}

type pageContextKey struct{}

func withPageContext(ctx context.Context, p pageContext) context.Context {
	return context.WithValue(ctx, pageContextKey{}, p)
}

// A visit is one request to a sign-in page.
type visit struct {
	f      *Fake
	r      *http.Request
	query  url.Values
	inApp  bool
	weixin bool // the page is Weixin's
	lang   string
	auto   choice
	state  string
	scope  string

	// What check found: corp and perhaps app, or wx.
	corp     *corp
	app      *App
	wx       *WeixinApp
	redirect *url.URL
}

// A problem is why a page cannot be shown: the platform's error code, 0 for none, and
// the text in both languages.
type problem struct {
	Code   int
	zh, en string
}

func (f *Fake) page(r *http.Request) *answer {
	path, q := r.URL.Path, r.URL.Query()
	v := &visit{f: f, r: r, query: q, inApp: path == inAppPath, lang: language(r), state: q.Get("state"), scope: q.Get("scope")}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		return textAnswer(http.StatusMethodNotAllowed, "405")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	v.auto = f.auto
	if p, ok := r.Context().Value(pageContextKey{}).(pageContext); ok {
		if p.choice != (choice{}) {
			v.auto = p.choice
		}
		if path != webPath && r.Method == http.MethodGet && p.fragment != "wechat_redirect" {
			return v.failed(problem{0, "链接缺少 #wechat_redirect", "The link is missing #wechat_redirect"})
		}
	}
	v.wx = f.weixin.apps[q.Get("appid")]
	v.weixin = path == qrPath || path == inAppPath && v.wx != nil
	check := v.check
	if v.weixin {
		check = v.checkWeixin
	}
	if p := check(); p != nil {
		return v.failed(*p)
	}
	switch {
	case r.Method == http.MethodHead:
		return v.show("blank", nil)
	case v.auto.refuse:
		return v.refused()
	case v.auto.who != "":
		if who, ok := v.find(v.auto.who); ok {
			return v.granted(who, nil)
		}
		return v.nobody(v.auto.who)
	case r.Method == http.MethodPost:
		return v.posted()
	case v.inApp:
		return v.opened()
	}
	return v.show("scan", v.people())
}

// say returns the text that is in the page's language.
func (v *visit) say(zh, en string) string {
	if v.lang == "en" {
		return en
	}
	return zh
}

// language returns the page's language: that of the parameter lang, else the browser's.
func language(r *http.Request) string {
	switch r.URL.Query().Get("lang") {
	case "zh", "cn":
		return "zh"
	case "en":
		return "en"
	}
	return pages.Language(r.Header.Get("Accept-Language"))
}

// check validates the parameters as WeCom does. The caller holds f.mu.
func (v *visit) check() *problem {
	v.wx, v.corp = nil, v.f.corps[v.query.Get("appid")]
	agent := v.query.Get("agentid")
	if v.corp != nil && agent != "" {
		v.app = v.corp.app(agent)
	}
	switch {
	case v.f.settings.ClientOnly && v.inApp && !v.client("wxwork/") && !v.client("micromessenger/"):
		return &problem{0, "请在企业微信客户端打开链接", "Open this link in the WeCom client"}
	case !v.inApp && v.query.Get("login_type") != "CorpApp":
		return &problem{-31040, "login_type 参数错误", "login_type is invalid"}
	case v.corp == nil:
		return &problem{-31027, "appid 参数错误", "appid is invalid"}
	case v.app == nil && (agent != "" || !v.inApp):
		return &problem{-31028, "agentid 参数错误", "agentid is invalid"}
	case v.query.Get("redirect_uri") == "":
		return &problem{-31035, "redirect_uri 参数为空", "redirect_uri is empty"}
	case !v.mayRedirect(v.trusted):
		return &problem{-31020, "redirect_uri 参数错误", "redirect_uri is invalid"}
	case !v.inApp:
		v.scope = scopeBase
		return nil
	case !inAppState.MatchString(v.state):
		return &problem{0, "state 参数错误", "state is invalid"}
	case v.query.Get("response_type") != "code":
		return &problem{0, "response_type 参数错误", "response_type is invalid"}
	case v.scope != scopeBase && v.scope != scopeUser && v.scope != scopePrivate:
		return &problem{0, "scope 参数错误", "scope is invalid"}
	case v.scope == scopePrivate && v.app == nil:
		return &problem{0, "scope 为 snsapi_privateinfo 时 agentid 必填", "agentid is required with snsapi_privateinfo"}
	}
	return nil
}

// checkWeixin validates the parameters as Weixin does: connect/qrconnect is for website
// apps, connect/oauth2/authorize for official accounts.
func (v *visit) checkWeixin() *problem {
	switch {
	case v.wx == nil || v.wx.OfficialAccount != v.inApp:
		return &problem{0, "AppID 参数错误", "appid is invalid"}
	case v.f.settings.ClientOnly && v.inApp && (!v.client("micromessenger/") || v.client("wxwork/")):
		return &problem{0, "请在微信客户端打开链接", "Open this link in Weixin"}
	case v.query.Get("redirect_uri") == "":
		return &problem{10011, "redirect_uri 参数为空", "redirect_uri is empty"}
	case !v.mayRedirect(func(host string) bool { return v.wx.Domain == "" || strings.EqualFold(v.wx.Domain, host) }):
		return &problem{10003, "redirect_uri 域名与后台配置不一致", "The domain of redirect_uri does not match the settings"}
	case v.inApp && !inAppState.MatchString(v.state):
		return &problem{0, "state 参数错误", "state is invalid"}
	case v.query.Get("response_type") != "code":
		return &problem{0, "response_type 参数错误", "response_type is invalid"}
	case v.scope == "":
		return &problem{10010, "scope 不能为空", "scope is empty"}
	case v.inApp && v.scope != scopeBase && v.scope != scopeUser, !v.inApp && v.scope != scopeLogin:
		return &problem{10005, "该账号没有 scope 权限", "The app does not have this scope"}
	}
	return nil
}

// client reports whether the User-Agent contains name.
func (v *visit) client(name string) bool {
	return strings.Contains(strings.ToLower(v.r.UserAgent()), name)
}

// mayRedirect reports whether a code may be sent to redirect_uri: its host must be trusted.
func (v *visit) mayRedirect(trusted func(host string) bool) bool {
	u, err := url.Parse(v.query.Get("redirect_uri"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !trusted(canonicalHost(u.Scheme, u.Host)) {
		return false
	}
	v.redirect = u
	return true
}

// trusted reports whether a code may be sent to host. On the in-app page the domain may
// belong to any app of the corp (the exchange checks the app of the access token later);
// on the web-login page it must belong to this app.
func (v *visit) trusted(host string) bool {
	if !v.inApp {
		return v.app.trusts(host, false)
	}
	return slices.ContainsFunc(v.corp.apps, func(a *App) bool { return !a.ContactSync && a.trusts(host, true) })
}

func (v *visit) find(who string) (somebody, bool) {
	if v.wx != nil {
		return v.f.weixin.find(who)
	}
	return v.corp.find(who)
}

func (v *visit) nobody(who string) *answer {
	if v.wx != nil {
		return v.failed(problem{0, "没有这个微信用户：" + who, "There is no Weixin user " + who})
	}
	return v.failed(problem{0, "该企业没有这个成员：" + who, "This corp has no member " + who})
}

// opened shows the in-app page. Once this browser has chosen a person, it asks no more.
func (v *visit) opened() *answer {
	if c, err := v.r.Cookie(v.cookie()); err == nil {
		if id, err := url.QueryUnescape(c.Value); err == nil {
			if who, ok := v.find(id); ok {
				return v.asked(who)
			}
		}
	}
	return v.show("pick", v.people())
}

// asked continues with a person who is known: straight back, or to the consent page.
func (v *visit) asked(who somebody) *answer {
	switch {
	case who.weixin != nil && v.scope == scopeUser && !who.weixin.Snapshot: // a snapshot asks nothing
		return v.show("grant", who.weixin)
	case v.scope != scopePrivate || who.member == nil:
		return v.granted(who, nil)
	case !v.corp.sees(v.app, who.member):
		return v.invisible()
	}
	if c, ok := v.f.consents[v.consentKey(who)]; ok && v.f.now().Before(c.until) {
		return v.granted(who, c.fields)
	}
	return v.show("consent", v.consentFields(who.member))
}

// posted handles the button that was pressed.
func (v *visit) posted() *answer {
	if err := v.r.ParseForm(); err != nil {
		return textAnswer(http.StatusBadRequest, "400")
	}
	form := v.r.PostForm
	action := form.Get("action")
	who, ok := v.find(form.Get("who"))
	switch {
	case action == "refuse":
		return v.refused()
	case action == "switch":
		return v.remember(v.show("pick", v.people()), "")
	case !ok:
		return v.nobody(form.Get("who"))
	case !v.inApp, v.wx != nil && action == "allow":
		return v.granted(who, nil)
	case v.scope == scopePrivate && action == "allow":
		fields := append([]string{}, form["field"]...)
		v.f.consents[v.consentKey(who)] = consent{v.f.now().Add(consentPeriod), fields}
		return v.granted(who, fields)
	}
	return v.remember(v.asked(who), who.who)
}

func (v *visit) consentKey(who somebody) string {
	return v.corp.id + "/" + v.app.AgentID + "/" + who.who
}

func (v *visit) invisible() *answer {
	return v.failed(problem{0, "你不在应用的可见范围内", "You are outside the app's visible range"})
}

// granted redirects the browser back with a code. chosen lists the fields that the
// person agreed to; nil means all of them.
func (v *visit) granted(who somebody, chosen []string) *answer {
	if v.scope == scopePrivate && who.member != nil && !v.corp.sees(v.app, who.member) {
		return v.invisible()
	}
	k := Code{InApp: v.inApp, Scope: v.scope, State: v.state, RedirectURI: v.query.Get("redirect_uri")}
	var fields []string
	if v.wx != nil {
		k.WeixinAppID = v.wx.AppID
	} else {
		k.CorpID = v.corp.id
	}
	if v.app != nil {
		k.AgentID, fields = v.app.AgentID, grantable(v.app, chosen)
	}
	value := v.f.issue(k, who, fields).Value
	a := v.back("code=" + url.QueryEscape(value))
	if framed := v.handed(value, a.header.Get("Location")); framed != nil {
		return framed
	}
	return a
}

func (v *visit) refused() *answer {
	if v.f.settings.RefusalStays || v.framed() == "callback" {
		return v.show("cancelled", nil)
	}
	return v.back("")
}

// back redirects to the callback. Like WeCom, it appends to the callback's own query and
// leaves the rest as it is, byte for byte.
func (v *visit) back(query string) *answer {
	if v.query.Has("state") {
		query = strings.TrimPrefix(query+"&state="+url.QueryEscape(v.state), "&")
	}
	to, fragment, hasFragment := strings.Cut(v.query.Get("redirect_uri"), "#")
	if query != "" {
		to = withQuery(to, query)
	}
	if hasFragment {
		to += "#" + fragment
	}
	status := http.StatusFound
	if v.r.Method == http.MethodPost {
		status = http.StatusSeeOther
	}
	a := newAnswer(status, "text/html; charset=utf-8", nil)
	a.header.Set("Location", to)
	a.header.Set("Cache-Control", "no-store")
	return a
}

// withQuery appends query to a URL that has no fragment.
func withQuery(to, query string) string {
	if strings.Contains(to, "?") {
		return to + "&" + query
	}
	return to + "?" + query
}

// cookie returns the name of the cookie that remembers who uses WeCom or Weixin in this browser.
func (v *visit) cookie() string {
	if v.wx != nil {
		return weixinCookie
	}
	return memberCookie
}

func (v *visit) remember(a *answer, who string) *answer {
	c := http.Cookie{Name: v.cookie(), Value: url.QueryEscape(who), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if who == "" {
		c.MaxAge = -1
	}
	a.header.Add("Set-Cookie", c.String())
	return a
}

// A person is a row of the member picker.
type person struct {
	Who, Name, Initial, Note string
	Odd                      bool // an application may well refuse this person
	Hue                      int
}

func (v *visit) people() []person {
	var list []person
	add := func(who, name, note string, odd bool) {
		p := person{Who: who, Name: cmp.Or(name, who), Note: note, Odd: odd, Hue: 205 + 47*len(list)%360}
		letters := []rune(p.Name)
		p.Initial = string(letters[len(letters)-1]) // of a Chinese name
		if v.wx != nil {                            // a nickname may end in anything
			p.Initial = string(letters[0])
		}
		list = append(list, p)
	}
	if v.wx != nil {
		for _, u := range v.f.weixin.users {
			note := ""
			if u.Snapshot {
				note = v.say("快照页用户", "snapshot mode")
			}
			add(u.ID, u.Nickname, note, u.Snapshot)
		}
		return list
	}
	for _, m := range v.corp.members {
		note, odd := "", true
		switch {
		case m.Status == Disabled:
			note = v.say("已禁用", "disabled")
		case m.Status == Inactive:
			note = v.say("未激活", "not activated")
		case m.Status == Resigned:
			note = v.say("已退出企业", "left the corp")
		case v.app != nil && !v.corp.sees(v.app, m):
			note = v.say("可见范围外", "outside the visible range")
		default:
			odd = false
			if d := v.corp.department(m.MainDepartment); d != nil {
				note = v.say(d.Name, cmp.Or(d.NameEN, d.Name))
			}
		}
		add(m.UserID, m.Name, note, odd)
	}
	for _, l := range v.corp.linked {
		add(l.who(), l.Name, v.say("互联企业成员", "member of a linked corp"), true)
	}
	for _, o := range v.corp.outsiders {
		note := v.say("非企业成员", "not a corp member")
		if o.ExternalUserID != "" {
			note = v.say("外部联系人", "customer")
		}
		add(o.OpenID, o.Name, note, true)
	}
	return list
}

type consentField struct{ Name, Label, Value string }

type consentData struct {
	Who, Name string
	Fields    []consentField
}

// consentLabels holds the names of the sensitive fields on the consent page.
var consentLabels = map[string][2]string{
	"gender": {"性别", "Gender"}, "avatar": {"头像", "Photo"}, "qr_code": {"个人二维码", "Personal QR code"},
	"mobile": {"手机号", "Mobile"}, "email": {"邮箱", "Email"}, "biz_mail": {"企业邮箱", "Business email"}, "address": {"地址", "Address"},
}

func (v *visit) consentFields(m *Member) consentData {
	d := consentData{Who: m.UserID, Name: m.Name}
	values := m.sensitive()
	for _, field := range grantable(v.app, nil) {
		f := consentField{field, v.say(consentLabels[field][0], consentLabels[field][1]), values[field]}
		if field == "gender" || field == "avatar" || field == "qr_code" {
			f.Value = "" // a number or an address, which means nothing to the member
		}
		d.Fields = append(d.Fields, f)
	}
	return d
}

// A view is the data of every template.
type view struct {
	ZH         bool
	Lang       string
	Product    string // 企业微信 or 微信
	Corp, App  string
	Data, Part any
	Code       string
	Text       string
	RedirectTo string
	Told       *told
}

func (v *visit) view() view {
	w := view{ZH: v.lang == "zh", Lang: v.say("zh-CN", "en"), Product: v.say("企业微信", "WeCom")}
	if v.weixin {
		w.Product = v.say("微信", "Weixin")
	}
	if v.corp != nil {
		w.Corp = v.corp.id
		if d := v.corp.department(rootDept); d != nil {
			w.Corp = v.say(d.Name, cmp.Or(d.NameEN, d.Name))
		}
	}
	if v.app != nil {
		w.App = cmp.Or(v.app.Name, v.app.AgentID)
	}
	if v.wx != nil {
		w.App = cmp.Or(v.wx.Name, v.wx.AppID)
	}
	if v.redirect != nil {
		w.RedirectTo = v.redirect.Host
	}
	return w
}

func (v *visit) show(name string, data any) *answer {
	w := v.view()
	w.Data = data
	w.Told = v.tells()
	return v.render(http.StatusOK, name, w)
}

func (v *visit) failed(p problem) *answer {
	w := v.view()
	w.Text = v.say(p.zh, p.en)
	if (!v.inApp || v.weixin) && p.Code != 0 {
		w.Code = strconv.Itoa(p.Code)
	}
	if w.Told = v.tells(); w.Told != nil {
		w.Told.ErrCode, w.Told.ErrMsg = strconv.Itoa(p.Code), w.Text
	}
	// The status of WeCom's error pages is not documented. With 400, a test that checks
	// nothing but the status does not take one for success.
	return v.render(http.StatusBadRequest, "failed", w)
}

func (v *visit) render(status int, name string, w view) *answer {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, w); err != nil {
		panic("wecomtest: " + err.Error())
	}
	a := newAnswer(status, "text/html; charset=utf-8", b.Bytes())
	a.header.Set("Cache-Control", "no-store")
	a.header.Set("X-Content-Type-Options", "nosniff")
	a.header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; script-src "+frameHash)
	return a
}
