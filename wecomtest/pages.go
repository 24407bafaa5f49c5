package wecomtest

import (
	"bytes"
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
)

const (
	memberCookie  = "fake_wecom_member"
	weixinCookie  = "fake_weixin_user"
	consentPeriod = 30 * 24 * time.Hour
)

//go:embed pages.html
var pagesHTML string

var pages = template.Must(template.New("").Parse(pagesHTML))

var inAppState = regexp.MustCompile(`^[a-zA-Z0-9]{0,128}$`)

// A choice is what the person in front of a page does without being asked. The
// zero choice is none.
type choice struct {
	who    string
	refuse bool
}

// A pageContext tells a page what the scripted browser in front of it knows.
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
	f     *Fake
	r     *http.Request
	inApp bool
	lang  string
	auto  choice

	// What check found: corp and perhaps app, or wx.
	corp     *corp
	app      *App
	wx       *WeixinApp
	redirect *url.URL
	state    string
	hasState bool
	scope    string
}

// A problem is why a page cannot be shown: WeCom's number, if the web-login
// page has one for it, and texts in both languages.
type problem struct {
	Code   int
	zh, en string
}

func (f *Fake) page(path string, r *http.Request) *answer {
	v := &visit{f: f, r: r, inApp: path == inAppPath, lang: language(r)}
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
			return v.failed(problem{0, "链接缺少 #wechat_redirect", "The link lacks #wechat_redirect"})
		}
	}
	if id := r.URL.Query().Get("appid"); path == qrPath || path == inAppPath && f.weixin.apps[id] != nil {
		return v.weixinPage(f.weixin.apps[id])
	}
	if p := v.check(); p != nil {
		return v.failed(*p)
	}
	switch {
	case r.Method == http.MethodHead:
		return v.show("blank", nil)
	case v.auto.refuse:
		return v.refused()
	case v.auto.who != "":
		who, ok := v.corp.find(v.auto.who)
		if !ok {
			return v.failed(problem{0, "该企业没有这个成员：" + v.auto.who, "This corp knows nobody called " + v.auto.who})
		}
		return v.granted(who, nil)
	case r.Method == http.MethodPost:
		return v.posted()
	case v.inApp:
		return v.opened()
	}
	return v.show("scan", v.people())
}

// language is the page's: the parameter lang, else the browser's, else zh.
func language(r *http.Request) string {
	switch r.URL.Query().Get("lang") {
	case "zh", "cn":
		return "zh"
	case "en":
		return "en"
	}
	for tag := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag = strings.ToLower(strings.TrimSpace(tag))
		if strings.HasPrefix(tag, "zh") {
			return "zh"
		}
		if strings.HasPrefix(tag, "en") {
			return "en"
		}
	}
	return "zh"
}

// check looks at the parameters as WeCom does; f.mu is held from here on.
func (v *visit) check() *problem {
	q := v.r.URL.Query()
	v.state, v.hasState, v.scope = q.Get("state"), q.Has("state"), q.Get("scope")
	if v.f.settings.ClientOnly && v.inApp {
		ua := strings.ToLower(v.r.UserAgent())
		if !strings.Contains(ua, "wxwork/") && !strings.Contains(ua, "micromessenger/") {
			return &problem{0, "请在企业微信客户端打开链接", "Open this link in the WeCom client"}
		}
	}
	if !v.inApp && q.Get("login_type") != "CorpApp" {
		return &problem{-31040, "login_type 参数错误", "login_type is wrong"}
	}
	if v.corp = v.f.corps[q.Get("appid")]; v.corp == nil {
		return &problem{-31027, "appid 参数错误", "appid is wrong"}
	}
	agent := q.Get("agentid")
	if agent != "" || !v.inApp {
		if v.app = v.corp.app(agent); v.app == nil {
			return &problem{-31028, "agentid 参数错误", "agentid is wrong"}
		}
	}
	raw := q.Get("redirect_uri")
	if raw == "" {
		return &problem{-31035, "redirect_uri 参数为空", "redirect_uri is empty"}
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !v.trusted(canonicalHost(u.Scheme, u.Host)) {
		return &problem{-31020, "redirect_uri 参数错误", "redirect_uri is wrong"}
	}
	v.redirect = u
	if v.inApp && !inAppState.MatchString(v.state) {
		return &problem{0, "state 参数错误", "state is wrong"}
	}
	if !v.inApp {
		v.scope = scopeBase
		return nil
	}
	if q.Get("response_type") != "code" {
		return &problem{0, "response_type 参数错误", "response_type is wrong"}
	}
	if v.scope != scopeBase && v.scope != scopeUser && v.scope != scopePrivate {
		return &problem{0, "scope 参数错误", "scope is wrong"}
	}
	if v.scope == scopePrivate && v.app == nil {
		return &problem{0, "scope 为 snsapi_privateinfo 时 agentid 必填", "snsapi_privateinfo needs an agentid"}
	}
	return nil
}

// trusted reports whether a code may go to host: in-app, any app of the corp
// may own the domain (the exchange then looks at the token's own app); the
// web-login page asks the app itself.
func (v *visit) trusted(host string) bool {
	if !v.inApp {
		return v.app.trusts(host, false)
	}
	return slices.ContainsFunc(v.corp.apps, func(a *App) bool { return !a.ContactSync && a.trusts(host, true) })
}

// opened shows the in-app page: silent as far as it knows who holds the phone.
func (v *visit) opened() *answer {
	c, err := v.r.Cookie(memberCookie)
	if err == nil {
		if id, err := url.QueryUnescape(c.Value); err == nil {
			if who, ok := v.corp.find(id); ok {
				return v.asked(who)
			}
		}
	}
	return v.show("pick", v.people())
}

// asked goes on with somebody who is known: straight back, or by the consent page.
func (v *visit) asked(who somebody) *answer {
	if v.scope != scopePrivate || who.member == nil {
		return v.granted(who, nil)
	}
	if !v.corp.sees(v.app, who.member) {
		return v.invisible()
	}
	if c, ok := v.f.consents[v.consentKey(who)]; ok && v.f.now().Before(c.until) {
		return v.granted(who, c.fields)
	}
	return v.show("consent", v.consentFields(who))
}

// posted does what somebody pressed.
func (v *visit) posted() *answer {
	if err := v.r.ParseForm(); err != nil {
		return textAnswer(http.StatusBadRequest, "400")
	}
	form := v.r.PostForm
	if action := form.Get("action"); action == "refuse" {
		return v.refused()
	} else if action == "switch" {
		return v.remember(v.show("pick", v.people()), memberCookie, "")
	}
	who, ok := v.corp.find(form.Get("who"))
	switch {
	case !ok:
		return v.failed(problem{0, "该企业没有这个成员", "This corp knows no such member"})
	case !v.inApp:
		return v.granted(who, nil)
	case form.Get("action") == "allow":
		fields := append([]string{}, form["field"]...)
		v.f.consents[v.consentKey(who)] = consent{v.f.now().Add(consentPeriod), fields}
		return v.granted(who, fields)
	}
	return v.remember(v.asked(who), memberCookie, who.who())
}

func (v *visit) consentKey(who somebody) string {
	return v.corp.id + "/" + v.app.AgentID + "/" + who.who()
}

func (v *visit) invisible() *answer {
	return v.failed(problem{0, "你不在应用的可见范围内", "You are outside the app's visible range"})
}

// granted sends the browser back with a code. chosen are the fields that the
// person agreed to; nil means all.
func (v *visit) granted(who somebody, chosen []string) *answer {
	if v.scope == scopePrivate && who.member != nil && !v.corp.sees(v.app, who.member) {
		return v.invisible()
	}
	var fields []string
	if v.app != nil {
		fields = grantable(v.app, chosen)
	}
	k := v.f.issue(v.corp, v.app, who, v.scope, v.inApp, v.state, v.r.URL.Query().Get("redirect_uri"), fields)
	a := v.back("code=" + url.QueryEscape(k.Value))
	if framed := v.handed(k.Value, a.header.Get("Location")); framed != nil {
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

// back appends to the callback's own query, as WeCom does, and changes no byte of the rest.
func (v *visit) back(query string) *answer {
	if v.hasState {
		query = strings.TrimPrefix(query+"&state="+url.QueryEscape(v.state), "&")
	}
	to, fragment, hasFragment := strings.Cut(v.r.URL.Query().Get("redirect_uri"), "#")
	if query != "" {
		separator := "?"
		if strings.Contains(to, "?") {
			separator = "&"
		}
		to += separator + query
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

// remember keeps who is signed in to the fake's WeCom or Weixin in this browser.
func (v *visit) remember(a *answer, cookie, who string) *answer {
	c := http.Cookie{Name: cookie, Value: url.QueryEscape(who), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if who == "" {
		c.MaxAge = -1
	}
	a.header.Add("Set-Cookie", c.String())
	return a
}

// A person is a row of the member picker.
type person struct {
	Who, Name, Initial, Note string
	Odd                      bool // somebody that an application may well refuse
	Hue                      int
}

func (v *visit) people() []person {
	var list []person
	add := func(s somebody, zh, en string, odd bool) {
		note := zh
		if v.lang == "en" {
			note = en
		}
		p := person{Who: s.who(), Name: s.name(), Note: note, Odd: odd, Hue: 205 + 47*len(list)%360}
		if p.Name == "" {
			p.Name = p.Who
		}
		name := []rune(p.Name)
		p.Initial = string(name[len(name)-1:])
		list = append(list, p)
	}
	for _, m := range v.corp.members {
		zh, en, odd := "", "", false
		if d := v.corp.department(m.MainDepartment); d != nil {
			zh, en = d.Name, d.NameEN
			if en == "" {
				en = zh
			}
		}
		switch {
		case m.Status == Disabled:
			zh, en, odd = "已禁用", "disabled", true
		case m.Status == Inactive:
			zh, en, odd = "未激活", "not activated", true
		case m.Status == Resigned:
			zh, en, odd = "已退出企业", "left the corp", true
		case v.app != nil && !v.corp.sees(v.app, m):
			zh, en, odd = "可见范围外", "outside the visible range", true
		}
		add(somebody{member: m}, zh, en, odd)
	}
	for _, l := range v.corp.linked {
		add(somebody{linked: l}, "互联企业成员", "member of a linked corp", true)
	}
	for _, o := range v.corp.outsiders {
		if o.ExternalUserID != "" {
			add(somebody{outsider: o}, "外部联系人", "customer", true)
		} else {
			add(somebody{outsider: o}, "非企业成员", "not a member", true)
		}
	}
	return list
}

type consentField struct{ Name, Label, Value string }

type consentData struct {
	Who, Name string
	Fields    []consentField
}

func (v *visit) consentFields(who somebody) consentData {
	m := who.member
	d := consentData{Who: m.UserID, Name: m.Name}
	labels := map[string][2]string{
		"gender": {"性别", "Gender"}, "avatar": {"头像", "Photo"}, "qr_code": {"个人二维码", "Personal QR code"},
		"mobile": {"手机号", "Mobile"}, "email": {"邮箱", "Email"}, "biz_mail": {"企业邮箱", "Business email"}, "address": {"地址", "Address"},
	}
	values := map[string]string{"mobile": m.Mobile, "email": m.Email, "biz_mail": m.BizMail, "address": m.Address}
	for _, field := range grantable(v.app, nil) {
		label := labels[field][0]
		if v.lang == "en" {
			label = labels[field][1]
		}
		d.Fields = append(d.Fields, consentField{field, label, values[field]})
	}
	return d
}

// view is what every template gets.
type view struct {
	ZH         bool
	Lang       string
	Product    string // 企业微信 or 微信
	Corp, App  string
	Data       any
	Code       string
	Text       string
	QR         template.HTML
	RedirectTo string
	Told       *told
}

func (v *visit) view() view {
	w := view{ZH: v.lang == "zh", Lang: "en"}
	if w.ZH {
		w.Lang = "zh-CN"
	}
	switch weixins := v.wx != nil || v.r.URL.Path == qrPath; {
	case w.ZH && weixins:
		w.Product = "微信"
	case weixins:
		w.Product = "Weixin"
	case w.ZH:
		w.Product = "企业微信"
	default:
		w.Product = "WeCom"
	}
	if v.corp != nil {
		w.Corp = v.corp.id
		if d := v.corp.department(rootDept); d != nil {
			w.Corp = d.Name
			if !w.ZH && d.NameEN != "" {
				w.Corp = d.NameEN
			}
		}
	}
	if v.app != nil {
		w.App = v.app.Name
		if w.App == "" {
			w.App = v.app.AgentID
		}
	}
	if v.wx != nil {
		w.App = v.wx.Name
		if w.App == "" {
			w.App = v.wx.AppID
		}
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
	if name == "scan" {
		w.QR = fakeQR(v.r.URL.RawQuery)
	}
	return v.render(http.StatusOK, name, w)
}

func (v *visit) failed(p problem) *answer {
	w := v.view()
	w.Text = p.en
	if w.ZH {
		w.Text = p.zh
	}
	if (!v.inApp || v.wx != nil) && p.Code != 0 {
		w.Code = strconv.Itoa(p.Code)
	}
	if w.Told = v.tells(); w.Told != nil {
		w.Told.ErrCode, w.Told.ErrMsg = strconv.Itoa(p.Code), w.Text
	}
	// The status of WeCom's own error pages is not documented; 400 keeps a test
	// that looks at nothing but the status from taking one for success.
	return v.render(http.StatusBadRequest, "failed", w)
}

func (v *visit) render(status int, name string, w view) *answer {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, w); err != nil {
		panic("wecomtest: " + err.Error())
	}
	a := newAnswer(status, "text/html; charset=utf-8", b.Bytes())
	a.header.Set("Cache-Control", "no-store")
	a.header.Set("X-Content-Type-Options", "nosniff")
	a.header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; script-src "+frameHash)
	return a
}

// index is the page at the root of a [Server]: what to point a client at, and
// buttons by which those who signed in leave the company.
func (f *Fake) index(r *http.Request) *answer {
	if r.Method == http.MethodPost {
		return f.leaves(r)
	}
	v := &visit{f: f, r: r, lang: language(r)}
	f.mu.Lock()
	defer f.mu.Unlock()
	v.corp, v.app = f.corps[demoCorp], f.app()
	var signedIn []*Member
	for _, m := range v.corp.members {
		if slices.ContainsFunc(f.issued, func(c *code) bool { return c.Used && c.CorpID == demoCorp && c.Who == m.UserID }) {
			signedIn = append(signedIn, m)
		}
	}
	return v.show("index", struct {
		CorpID, AgentID, Secret, Base, Website, Account, WeixinSecret string
		SignedIn                                                      []*Member
	}{
		demoCorp, v.app.AgentID, v.app.Secret, "http://" + r.Host, demoWebsite, demoAccount, f.weixin.apps[demoWebsite].Secret, signedIn,
	})
}

// leaves removes a member. The answer comes when the event receivers know.
func (f *Fake) leaves(r *http.Request) *answer {
	if http.NewCrossOriginProtection().Check(r) != nil {
		return textAnswer(http.StatusForbidden, "403")
	}
	f.RemoveMember(r.PostFormValue("leaves"))
	_ = f.AwaitEvents(r.Context()) // the browser has gone
	a := newAnswer(http.StatusSeeOther, "text/plain; charset=utf-8", nil)
	a.header.Set("Location", "/")
	return a
}
