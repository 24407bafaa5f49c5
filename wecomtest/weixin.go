package wecomtest

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"slices"
	"time"
)

const (
	demoWebsite       = "wx0123456789abcdef"
	demoAccount       = "wxfedcba9876543210"
	demoWeixinSecret  = "0fake0weixin0secret0opens0no0door"
	scopeLogin        = "snsapi_login"
	stableRenewal     = 5 * time.Minute // before its end, Weixin replaces a stable token by itself
	stableForcedADay  = 20
	stableForcedApart = 30 * time.Second
	stableAMinute     = 10000
	refreshLifetime   = 30 * 24 * time.Hour
)

// A WeixinApp is a website app of the Weixin Open Platform (网站应用), or an official account
// (服务号).
type WeixinApp struct {
	// AppID is wx and 16 hexadecimal digits in life.
	AppID  string
	Secret string
	// Name is shown on the pages.
	Name string
	// OfficialAccount makes it one: its page is connect/oauth2/authorize, and it has an access
	// token and an API. Otherwise its page is connect/qrconnect.
	OfficialAccount bool
	// Domain is the host to which a code may be sent (授权回调域, 网页授权域名). "": every host.
	Domain string
	// ListedIPs are the addresses or CIDR prefixes that may fetch an access token (IP白名单). nil:
	// every address.
	ListedIPs []string
	// NoUnion says that the app is bound to no Open Platform account: there are no unionids.
	NoUnion bool
}

// A WeixinUser is somebody who has Weixin.
type WeixinUser struct {
	// ID is what [Fake.SignInAs] takes. No app ever sees it.
	ID       string
	Nickname string
	Avatar   string
	// OpenIDs are the person's openids by app id. Default: one made up for each app. A test may
	// choose one that is a member's user id.
	OpenIDs map[string]string
	// Snapshot makes every page that the person opens with snsapi_userinfo one in snapshot mode
	// (快照页). The app then gets a virtual account: an openid that differs at each sign-in, one
	// unionid for everybody, and no real name. It reveals a program that keys its users by either.
	Snapshot bool

	virtual bool // see visitor
}

// A weixin is the other half of a Fake: what api.weixin.qq.com knows.
type weixin struct {
	apps   map[string]*WeixinApp
	users  []*WeixinUser
	grants map[string]*weixinGrant // by access token and by refresh token of people
	stable map[string]*stableLimit // by app
}

// A weixinGrant is what one sign-in gave an app.
type weixinGrant struct {
	app, scope  string
	user        *WeixinUser
	access      string
	accessEnds  time.Time
	refresh     string
	refreshEnds time.Time
	void        bool // the password was changed
}

type stableLimit struct {
	forced []time.Time
	minute time.Time
	calls  int
}

// addDemo adds the apps and people that [New] lists.
func (f *Fake) addDemoWeixin() {
	f.AddWeixinApp(WeixinApp{AppID: demoWebsite, Secret: demoWeixinSecret, Name: "示例商城"})
	f.AddWeixinApp(WeixinApp{AppID: demoAccount, Secret: demoWeixinSecret, Name: "示例商城服务号", OfficialAccount: true})
	f.AddWeixinUser(WeixinUser{ID: "xiaoming", Nickname: "小明 🎈"})
	f.AddWeixinUser(WeixinUser{ID: "xiaohong", Nickname: "小红"})
	f.AddWeixinUser(WeixinUser{ID: "kuaizhao", Nickname: "微信用户", Snapshot: true})
}

// AddWeixinApp adds an app, or replaces the one with the same app id. Tokens of a replaced app stay
// valid.
func (f *Fake) AddWeixinApp(a WeixinApp) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a.ListedIPs = slices.Clone(a.ListedIPs)
	f.weixin.apps[a.AppID] = &a
}

// AddWeixinUser adds a user, or replaces the one with the same ID.
func (f *Fake) AddWeixinUser(u WeixinUser) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := map[string]string{}
	for app, id := range u.OpenIDs {
		ids[app] = id
	}
	u.OpenIDs = ids
	if u.Avatar == "" {
		u.Avatar = "https://thirdwx.qlogo.cn/mmopen/vi_32/fake_" + url.PathEscape(u.ID) + "/132"
	}
	put(&f.weixin.users, &u, func(v *WeixinUser) bool { return v.ID == u.ID })
}

// WeixinWebsite returns the default website app.
func (f *Fake) WeixinWebsite() WeixinApp { return f.weixinApp(demoWebsite) }

// WeixinAccount returns the default official account.
func (f *Fake) WeixinAccount() WeixinApp { return f.weixinApp(demoAccount) }

func (f *Fake) weixinApp(id string) WeixinApp {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := *f.weixin.apps[id]
	a.ListedIPs = slices.Clone(a.ListedIPs)
	return a
}

// OpenID returns the openid of a [WeixinUser] in an app. It panics if there is no such person.
func (f *Fake) OpenID(appID, user string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	who, ok := f.weixin.find(user)
	if !ok {
		panic("wecomtest: there is nobody called " + user)
	}
	return who.weixin.openID(appID)
}

// ChangePassword invalidates a [WeixinUser]'s tokens of all apps: they answer 42007.
func (f *Fake) ChangePassword(user string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustExist(user)
	for _, g := range f.weixin.grants {
		g.void = g.void || g.user.ID == user
	}
}

// find is corp.find of Weixin's users.
func (w *weixin) find(id string) (somebody, bool) {
	u := first(w.users, func(u *WeixinUser) bool { return u.ID == id })
	if u == nil {
		return somebody{}, false
	}
	return somebody{who: u.ID, name: u.Nickname, weixin: u}, true
}

func (u *WeixinUser) openID(app string) string {
	if id := u.OpenIDs[app]; id != "" {
		return id
	}
	return madeUp(app + " " + u.ID)
}

func (u *WeixinUser) unionID(a *WeixinApp) string {
	if a.NoUnion {
		return ""
	}
	if u.virtual {
		return madeUp("union of snapshots")
	}
	return madeUp("union " + u.ID)
}

// visitor returns the account that an app gets in the place of somebody in snapshot mode. Weixin's
// documents only call it virtual; the shared unionid was reported from the field.
func visitor() *WeixinUser {
	return &WeixinUser{
		ID: random(16), Nickname: "微信用户", Avatar: "https://thirdwx.qlogo.cn/mmopen/vi_32/fake_snapshot/132", virtual: true,
	}
}

// madeUp is a constant id in Weixin's form.
func madeUp(seed string) string {
	sum := sha256.Sum256([]byte(seed))
	return "o" + base64.RawURLEncoding.EncodeToString(sum[:])[:27]
}

// --- the API

const (
	snsPrefix   = "/sns/"
	snsExchange = "/sns/oauth2/access_token"
)

var weixins = platform{nowhere: 40066, badToken: 40001, wantsPost: 43002, wantsGet: 43001, endpoints: map[string]endpoint{
	snsExchange:                  {open: true, form: true, do: (*call).snsToken},
	"/sns/oauth2/refresh_token":  {open: true, form: true, do: (*call).snsRefresh},
	"/sns/auth":                  {open: true, do: (*call).snsAuth},
	"/sns/userinfo":              {open: true, form: true, do: (*call).snsUserInfo},
	"/cgi-bin/token":             {open: true, do: (*call).classicToken},
	"/cgi-bin/stable_token":      {open: true, post: true, do: (*call).stableToken},
	"/cgi-bin/user/info":         {needs: []need{{"openid", 41009}}, do: (*call).follower},
	"/cgi-bin/ticket/getticket":  {do: (*call).weixinTicket},
	"/cgi-bin/getcallbackip":     {do: func(*call) any { return object{"ip_list", []string{"192.0.2.64/26"}} }},
	"/cgi-bin/get_api_domain_ip": {do: func(*call) any { return object{"ip_list", []string{"198.51.100.64"}} }},
}}

// credentials finds the app that appid and secret belong to.
func (c *call) credentials() (*WeixinApp, errcode) {
	a := c.f.weixin.apps[c.text("appid")]
	switch {
	case c.text("appid") == "":
		return nil, 41002
	case c.text("secret") == "":
		return nil, 41004
	case a == nil:
		return nil, 40013
	case a.Secret != c.text("secret"):
		return nil, 40125
	}
	return a, 0
}

func (c *call) snsToken() any {
	f := c.f
	a, code := c.credentials()
	k := f.codes[c.text("code")]
	switch {
	case code != 0:
		return code
	case c.text("grant_type") != "authorization_code":
		return errcode(40002)
	case c.text("code") == "":
		return errcode(41008)
	case k == nil || k.WeixinAppID != a.AppID:
		return errcode(40029)
	case k.Used:
		return errcode(40163)
	}
	life := f.settings.CodeLifetime
	if !a.OfficialAccount {
		life = f.settings.WebsiteCodeLifetime
	}
	who, ok := f.weixin.find(k.Who)
	switch {
	case !f.now().Before(k.IssuedAt.Add(life)):
		return errcode(42003)
	case !ok:
		return errcode(40029)
	}
	k.Used = true
	u := who.weixin
	if u.Snapshot && k.Scope == scopeUser {
		u = visitor()
	}
	g := &weixinGrant{
		app: a.AppID, scope: k.Scope, user: u,
		access: random(90), accessEnds: f.now().Add(f.settings.TokenLifetime),
		refresh: random(90), refreshEnds: f.now().Add(refreshLifetime),
	}
	for value, old := range f.weixin.grants { // a demo may run for weeks
		if !f.now().Before(old.refreshEnds) {
			delete(f.weixin.grants, value)
		}
	}
	f.weixin.grants[g.access], f.weixin.grants[g.refresh] = g, g
	snapshot, union := 0, ""
	if u.virtual {
		snapshot = 1
	}
	if !a.OfficialAccount || k.Scope == scopeUser {
		union = u.unionID(a)
	}
	return append(g.reply(f), "is_snapshotuser?", snapshot, "unionid?", union)
}

func (g *weixinGrant) reply(f *Fake) object {
	return object{
		"access_token", g.access, "expires_in", secondsTo(g.accessEnds, f.now()), "refresh_token", g.refresh,
		"openid", g.user.openID(g.app), "scope", g.scope,
	}
}

func (c *call) snsRefresh() any {
	f := c.f
	value := c.text("refresh_token")
	g := f.weixin.grants[value]
	switch {
	case c.text("grant_type") != "refresh_token":
		return errcode(40002)
	case value == "":
		return errcode(41003)
	case f.weixin.apps[c.text("appid")] == nil:
		return errcode(40013)
	case g == nil || g.refresh != value || g.app != c.text("appid"):
		return errcode(40030)
	case g.void:
		return errcode(42007)
	case !f.now().Before(g.refreshEnds):
		return errcode(42002)
	}
	if !f.now().Before(g.accessEnds) { // a living one only gets a new life
		delete(f.weixin.grants, g.access)
		g.access = random(90)
		f.weixin.grants[g.access] = g
	}
	g.accessEnds = f.now().Add(f.settings.TokenLifetime)
	return g.reply(f)
}

// granted finds the grant whose access token came with the call.
func (c *call) granted() (*weixinGrant, errcode) {
	value := c.text("access_token")
	g := c.f.weixin.grants[value]
	switch {
	case value == "":
		return nil, 41001
	case g == nil || g.access != value:
		return nil, 40001
	case g.void:
		return nil, 42007
	case !c.f.now().Before(g.accessEnds):
		return nil, 42001
	}
	return g, 0
}

func (c *call) snsAuth() any {
	g, code := c.granted()
	switch {
	case code != 0:
		return code
	case c.text("openid") == "":
		return errcode(41009)
	case g.user.openID(g.app) != c.text("openid"):
		return errcode(40003)
	}
	return success()
}

// snsUserInfo answers for the token's own person, whatever openid the query holds: Weixin is not
// known to compare it.
func (c *call) snsUserInfo() any {
	g, code := c.granted()
	if code != 0 {
		return code
	}
	if g.scope == scopeBase {
		return errcode(48001)
	}
	return object{
		"openid", g.user.openID(g.app), "nickname", g.user.Nickname, "sex", 0, "language", "", "city", "", "province", "",
		"country", "", "headimgurl", g.user.Avatar, "privilege", []string{}, "unionid?", g.user.unionID(c.f.weixin.apps[g.app]),
	}
}

// secondsTo rounds up: what was made a moment ago still has its whole life.
func secondsTo(end, now time.Time) int64 {
	return int64((end.Sub(now) + time.Second - 1) / time.Second)
}

// --- an official account's access token

// official finds the official account that may fetch a token from here.
func (c *call) official() (*WeixinApp, errcode) {
	if c.text("grant_type") != "client_credential" {
		return nil, 40002
	}
	a, code := c.credentials()
	switch {
	case code != 0:
		return nil, code
	case !a.OfficialAccount:
		return nil, 48001
	case !admits(a.ListedIPs, callerIP(c.r)):
		return nil, 40164
	}
	return a, 0
}

// classicToken makes a new token; the one before lives on for the overlap.
func (c *call) classicToken() any {
	a, code := c.official()
	if code != 0 {
		return code
	}
	of := owner{account: a.AppID}
	if old := c.f.current(of); old != nil {
		overlap := c.f.settings.ClassicOverlap
		old.killed = overlap <= 0
		if ends := c.f.now().Add(overlap); ends.Before(old.expires) {
			old.expires = ends
		}
	}
	return c.accountToken(c.f.mint(of, 136))
}

func (c *call) stableToken() any {
	force, isBool := c.args["force_refresh"].(bool)
	if c.args == nil || !isBool && c.args["force_refresh"] != nil {
		return errcode(47001)
	}
	a, code := c.official()
	if code != 0 {
		return code
	}
	now, of := c.f.now(), owner{account: a.AppID, stable: true}
	limit := c.f.weixin.stable[a.AppID]
	if limit == nil {
		limit = &stableLimit{}
		c.f.weixin.stable[a.AppID] = limit
	}
	if now.Sub(limit.minute) >= time.Minute {
		limit.minute, limit.calls = now, 0
	}
	if limit.calls++; limit.calls > stableAMinute {
		return errcode(45011)
	}
	t := c.f.current(of)
	limit.forced = slices.DeleteFunc(limit.forced, func(t time.Time) bool { return now.Sub(t) >= 24*time.Hour })
	n := len(limit.forced)
	switch {
	case force && n < stableForcedADay && (n == 0 || now.Sub(limit.forced[n-1]) >= stableForcedApart):
		limit.forced = append(limit.forced, now)
		if t != nil {
			t.killed = true
		}
		t = c.f.mint(of, 136)
	case t == nil || t.expires.Sub(now) <= stableRenewal:
		t = c.f.mint(of, 136)
	}
	return c.accountToken(t)
}

func (c *call) accountToken(t *token) object {
	return object{"access_token", t.value, "expires_in", secondsTo(t.expires, c.f.now())}
}

// follower answers cgi-bin/user/info: everybody follows the account.
func (c *call) follower() any {
	openID := c.text("openid")
	u := first(c.f.weixin.users, func(u *WeixinUser) bool { return u.openID(c.account.AppID) == openID })
	if u == nil {
		return errcode(40003)
	}
	return object{"subscribe", 1, "openid", openID, "language", "zh_CN", "unionid?", u.unionID(c.account)}
}

func (c *call) weixinTicket() any {
	kind := c.text("type")
	if kind != "jsapi" && kind != "wx_card" {
		return errcode(40097)
	}
	return jsTicket(kind + "-" + c.account.AppID)
}
