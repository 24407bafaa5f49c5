package wecomtest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
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

// A WeixinApp is a website app of the Weixin Open Platform (网站应用), or an
// official account (服务号).
type WeixinApp struct {
	// AppID is wx and 16 hexadecimal digits in life.
	AppID  string
	Secret string
	// Name is shown on the pages.
	Name string
	// OfficialAccount makes it one: its page is connect/oauth2/authorize, and it has an
	// access token and an API. Otherwise its page is connect/qrconnect.
	OfficialAccount bool
	// Domain is the host to which a code may be sent (授权回调域, 网页授权域名). "": every host.
	Domain string
	// ListedIPs are the addresses or CIDR prefixes that may fetch an access
	// token (IP白名单). nil: every address.
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
	// OpenIDs are the person's openids by app id. Default: one made up for each
	// app. A test may choose one that is a member's user id.
	OpenIDs map[string]string
	// Snapshot makes every page that the person opens with snsapi_userinfo one in
	// snapshot mode (快照页). The app then gets a virtual account: an openid that is
	// another one at each sign-in, one unionid for everybody, and no real name. A program that
	// keys its users by either shows it.
	Snapshot bool

	virtual bool // see visitor
}

// A weixin is the other half of a Fake: what api.weixin.qq.com knows.
type weixin struct {
	apps   map[string]*WeixinApp
	users  []*WeixinUser
	tokens map[string]*weixinToken // of official accounts
	grants map[string]*weixinGrant // by access token and by refresh token of people
	stable map[string]*stableLimit // by app
}

// A weixinToken is an official account's access token.
type weixinToken struct {
	value   string
	app     string
	stable  bool
	current bool // what the endpoint gives out, or gave out last
	expires time.Time
	dead    int // the errcode it answers before its time; 0 while it lives
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

func newWeixin() weixin {
	return weixin{
		apps:   map[string]*WeixinApp{},
		tokens: map[string]*weixinToken{},
		grants: map[string]*weixinGrant{},
		stable: map[string]*stableLimit{},
	}
}

// addDemo adds the apps and people that [New] lists.
func (f *Fake) addDemoWeixin() {
	f.AddWeixinApp(WeixinApp{AppID: demoWebsite, Secret: demoWeixinSecret, Name: "示例商城"})
	f.AddWeixinApp(WeixinApp{AppID: demoAccount, Secret: demoWeixinSecret, Name: "示例商城服务号", OfficialAccount: true})
	f.AddWeixinUser(WeixinUser{ID: "xiaoming", Nickname: "小明 🎈"})
	f.AddWeixinUser(WeixinUser{ID: "xiaohong", Nickname: "小红"})
	f.AddWeixinUser(WeixinUser{ID: "kuaizhao", Nickname: "微信用户", Snapshot: true})
}

// AddWeixinApp adds an app, or replaces the one with the same app id. Tokens of a replaced
// app go on to work.
func (f *Fake) AddWeixinApp(a WeixinApp) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a.ListedIPs = slices.Clone(a.ListedIPs)
	f.weixin.apps[a.AppID] = &a
}

// AddWeixinUser adds somebody, or replaces who has the same ID.
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

// OpenID returns the openid of a [WeixinUser] in an app. It panics if there is
// no such person.
func (f *Fake) OpenID(appID, user string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.weixin.user(user)
	if u == nil {
		panic("wecomtest: there is nobody called " + user)
	}
	return u.openID(appID)
}

// ChangePassword makes a [WeixinUser]'s tokens of all apps void: they answer 42007.
func (f *Fake) ChangePassword(user string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mustExist(user)
	for _, g := range f.weixin.grants {
		g.void = g.void || g.user.ID == user
	}
}

func (w *weixin) user(id string) *WeixinUser {
	for _, u := range w.users {
		if u.ID == id {
			return u
		}
	}
	return nil
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

// A weixinCall is one request to Weixin's API.
type weixinCall struct {
	f     *Fake
	ip    string
	query url.Values
	body  []byte
	app   *WeixinApp // whose access token the query holds
}

// A weixinEndpoint's do runs under the Fake's lock.
type weixinEndpoint struct {
	post    bool // takes its parameters as a JSON body
	form    bool // takes POST, too, with its parameters in the query or in a form
	account bool // takes an official account's access token
	do      func(c *weixinCall) any
}

const (
	snsPrefix   = "/sns/"
	snsExchange = "/sns/oauth2/access_token"
)

var weixinEndpoints = map[string]*weixinEndpoint{
	snsExchange:                  {form: true, do: (*weixinCall).exchange},
	"/sns/oauth2/refresh_token":  {form: true, do: (*weixinCall).refresh},
	"/sns/auth":                  {do: (*weixinCall).validate},
	"/sns/userinfo":              {form: true, do: (*weixinCall).userInfo},
	"/cgi-bin/token":             {do: (*weixinCall).token},
	"/cgi-bin/stable_token":      {post: true, do: (*weixinCall).stableToken},
	"/cgi-bin/user/info":         {account: true, do: (*weixinCall).follower},
	"/cgi-bin/ticket/getticket":  {account: true, do: (*weixinCall).ticket},
	"/cgi-bin/getcallbackip":     {account: true, do: (*weixinCall).callbackIPs},
	"/cgi-bin/get_api_domain_ip": {account: true, do: (*weixinCall).apiIPs},
}

// weixinAPI answers a call of Weixin's API; body is the request's.
func (f *Fake) weixinAPI(path string, r *http.Request, body []byte) *answer {
	c := &weixinCall{f: f, ip: callerIP(r), query: r.URL.Query(), body: body}
	f.mu.Lock()
	e, added := weixinEndpoints[path], f.added[path]
	var v any
	if added != nil || e.account {
		if code := c.authenticate(); code != 0 {
			v = code
		}
	}
	if v == nil && added == nil {
		switch {
		case e.post && r.Method != http.MethodPost:
			v = errcode(43002)
		case !e.post && r.Method != http.MethodGet && !(e.form && r.Method == http.MethodPost):
			v = errcode(43001)
		default:
			if e.form {
				_ = r.ParseForm() // what cannot be read is missing
				c.query = r.Form
			}
			v = e.do(c)
		}
	}
	f.mu.Unlock()
	if v == nil {
		v = added(r)
	}
	if code, ok := v.(errcode); ok {
		v = weixinFailure(int(code), "", c.ip)
	}
	return weixinAnswer(path, v)
}

func weixinAnswer(path string, v any) *answer {
	a := jsonAnswer(v)
	if strings.HasPrefix(path, snsPrefix) {
		// As in life: JSON in UTF-8 under a header that says neither.
		a.header.Set("Content-Type", "text/plain")
	} else {
		a.header.Set("Content-Type", "application/json; encoding=utf-8")
	}
	return a
}

var weixinErrmsgs = map[int]string{
	-1:    "system error",
	40001: "invalid credential, access_token is invalid or not latest",
	40002: "invalid grant_type",
	40003: "invalid openid",
	40013: "invalid appid",
	40014: "invalid access_token",
	40029: "invalid code",
	40030: "invalid refresh_token",
	40066: "invalid url",
	40097: "invalid args",
	40125: "invalid appsecret",
	40163: "code been used",
	40164: "invalid ip, not in whitelist",
	41001: "access_token missing",
	41002: "appid missing",
	41003: "refresh_token missing",
	41004: "appsecret missing",
	41008: "missing code",
	41009: "missing openid",
	42001: "access_token expired",
	42002: "refresh_token expired",
	42003: "code expired",
	42007: "access_token and refresh_token invalid, due to user change password",
	43001: "require GET method",
	43002: "require POST method",
	45009: "reach max api daily quota limit",
	45011: "api minute-quota reach limit, must slower, retry next minute",
	47001: "data format error",
	48001: "api unauthorized",
}

// weixinFailure is an errcode with a text as Weixin writes it.
func weixinFailure(code int, errmsg, ip string) status {
	if errmsg == "" {
		errmsg = weixinErrmsgs[code]
	}
	if errmsg == "" {
		errmsg = "error"
	}
	if code == 40164 {
		errmsg = "invalid ip " + ip + " ipv6 ::ffff:" + ip + ", not in whitelist"
	}
	return status{code, fmt.Sprintf("%s, rid: 6%s-%s-%s", errmsg, digits(7), digits(8), digits(8))}
}

// isWeixinToken reports whether value is an official account's; f.mu is held.
func (f *Fake) isWeixinToken(value string) bool { return f.weixin.tokens[value] != nil }

// authenticate finds the account whose token the query holds.
func (c *weixinCall) authenticate() errcode {
	value := c.query.Get("access_token")
	t := c.f.weixin.tokens[value]
	switch {
	case value == "":
		return 41001
	case t == nil:
		return 40001
	case t.dead != 0:
		return errcode(t.dead)
	case !c.f.now().Before(t.expires):
		return 42001
	}
	c.app = c.f.weixin.apps[t.app]
	return 0
}

// credentials finds the app that appid and secret belong to.
func (c *weixinCall) credentials(appID, secret string) (*WeixinApp, errcode) {
	a := c.f.weixin.apps[appID]
	switch {
	case appID == "":
		return nil, 41002
	case secret == "":
		return nil, 41004
	case a == nil:
		return nil, 40013
	case a.Secret != secret:
		return nil, 40125
	}
	return a, 0
}

type weixinGrantReply struct {
	AccessToken  string `json:"access_token"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token"`
	OpenID       string `json:"openid"`
	Scope        string `json:"scope"`
	Snapshot     int    `json:"is_snapshotuser,omitempty"`
	UnionID      string `json:"unionid,omitempty"`
}

func (c *weixinCall) exchange() any {
	f := c.f
	a, code := c.credentials(c.query.Get("appid"), c.query.Get("secret"))
	if code != 0 {
		return code
	}
	if c.query.Get("grant_type") != "authorization_code" {
		return errcode(40002)
	}
	value := c.query.Get("code")
	if value == "" {
		return errcode(41008)
	}
	k := f.codes[value]
	if k == nil || k.WeixinAppID != a.AppID {
		return errcode(40029)
	}
	if k.Used {
		return errcode(40163)
	}
	life := f.settings.CodeLifetime
	if !a.OfficialAccount {
		life = f.settings.WebsiteCodeLifetime
	}
	u := f.weixin.user(k.Who)
	switch {
	case !f.now().Before(k.IssuedAt.Add(life)):
		return errcode(42003)
	case u == nil:
		return errcode(40029)
	}
	k.Used = true
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
	reply := g.reply(f)
	if a.OfficialAccount && k.Scope != scopeUser {
		return reply
	}
	reply.UnionID = u.unionID(a)
	return reply
}

func (g *weixinGrant) reply(f *Fake) weixinGrantReply {
	r := weixinGrantReply{
		AccessToken: g.access, ExpiresIn: secondsTo(g.accessEnds, f.now()), RefreshToken: g.refresh,
		OpenID: g.user.openID(g.app), Scope: g.scope,
	}
	if g.user.virtual {
		r.Snapshot = 1
	}
	return r
}

func (c *weixinCall) refresh() any {
	f := c.f
	value := c.query.Get("refresh_token")
	g := f.weixin.grants[value]
	switch {
	case c.query.Get("grant_type") != "refresh_token":
		return errcode(40002)
	case value == "":
		return errcode(41003)
	case f.weixin.apps[c.query.Get("appid")] == nil:
		return errcode(40013)
	case g == nil || g.refresh != value || g.app != c.query.Get("appid"):
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
	r := g.reply(f)
	r.Snapshot = 0
	return r
}

// granted finds the grant whose access token the query holds.
func (c *weixinCall) granted() (*weixinGrant, errcode) {
	value := c.query.Get("access_token")
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

func (c *weixinCall) validate() any {
	g, code := c.granted()
	switch {
	case code != 0:
		return code
	case c.query.Get("openid") == "":
		return errcode(41009)
	case g.user.openID(g.app) != c.query.Get("openid"):
		return errcode(40003)
	}
	return success
}

// userInfo answers for the token's own person, whatever openid the query holds: Weixin is
// not known to compare it.
func (c *weixinCall) userInfo() any {
	g, code := c.granted()
	if code != 0 {
		return code
	}
	if g.scope == scopeBase {
		return errcode(48001)
	}
	return struct {
		OpenID    string   `json:"openid"`
		Nickname  string   `json:"nickname"`
		Sex       int      `json:"sex"`
		Language  string   `json:"language"`
		City      string   `json:"city"`
		Province  string   `json:"province"`
		Country   string   `json:"country"`
		Avatar    string   `json:"headimgurl"`
		Privilege []string `json:"privilege"`
		UnionID   string   `json:"unionid,omitempty"`
	}{
		OpenID: g.user.openID(g.app), Nickname: g.user.Nickname, Avatar: g.user.Avatar, Privilege: []string{},
		UnionID: g.user.unionID(c.f.weixin.apps[g.app]),
	}
}

// secondsTo rounds up: what was made a moment ago still has its whole life.
func secondsTo(end, now time.Time) int64 {
	return int64((end.Sub(now) + time.Second - 1) / time.Second)
}

// --- an official account's access token

type weixinTokenReply struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
}

// account finds the official account that may fetch a token from here.
func (c *weixinCall) account(appID, secret, grantType string) (*WeixinApp, errcode) {
	if grantType != "client_credential" {
		return nil, 40002
	}
	a, code := c.credentials(appID, secret)
	switch {
	case code != 0:
		return nil, code
	case !a.OfficialAccount:
		return nil, 48001
	case a.ListedIPs != nil && !(&App{TrustedIPs: a.ListedIPs}).admits(c.ip):
		return nil, 40164
	}
	return a, 0
}

// token makes a new classic token; the one before lives on for the overlap.
func (c *weixinCall) token() any {
	a, code := c.account(c.query.Get("appid"), c.query.Get("secret"), c.query.Get("grant_type"))
	if code != 0 {
		return code
	}
	if old := c.current(a, false); old != nil {
		old.current = false
		if overlap := c.f.settings.ClassicOverlap; overlap <= 0 {
			old.dead = 40001
		} else if ends := c.f.now().Add(overlap); ends.Before(old.expires) {
			old.expires = ends
		}
	}
	return c.tokenReply(c.newToken(a, false))
}

func (c *weixinCall) stableToken() any {
	var in struct {
		GrantType string `json:"grant_type"`
		AppID     string `json:"appid"`
		Secret    string `json:"secret"`
		Force     bool   `json:"force_refresh"`
	}
	if json.Unmarshal(c.body, &in) != nil {
		return errcode(47001)
	}
	a, code := c.account(in.AppID, in.Secret, in.GrantType)
	if code != 0 {
		return code
	}
	now := c.f.now()
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
	old := c.current(a, true)
	limit.forced = slices.DeleteFunc(limit.forced, func(t time.Time) bool { return now.Sub(t) >= 24*time.Hour })
	n := len(limit.forced)
	if !in.Force || n >= stableForcedADay || n > 0 && now.Sub(limit.forced[n-1]) < stableForcedApart {
		if old == nil || old.expires.Sub(now) <= stableRenewal {
			if old != nil {
				old.current = false
			}
			old = c.newToken(a, true)
		}
		return c.tokenReply(old)
	}
	limit.forced = append(limit.forced, now)
	if old != nil {
		old.current, old.dead = false, 40001
	}
	return c.tokenReply(c.newToken(a, true))
}

// current returns the token that an endpoint gave out last, if it still serves.
func (c *weixinCall) current(a *WeixinApp, stable bool) *weixinToken {
	for _, t := range c.f.weixin.tokens {
		if t.app == a.AppID && t.stable == stable && t.current && t.dead == 0 && c.f.now().Before(t.expires) {
			return t
		}
	}
	return nil
}

func (c *weixinCall) newToken(a *WeixinApp, stable bool) *weixinToken {
	now := c.f.now()
	for value, t := range c.f.weixin.tokens {
		if now.Sub(t.expires) > time.Hour {
			delete(c.f.weixin.tokens, value)
		}
	}
	t := &weixinToken{value: random(136), app: a.AppID, stable: stable, current: true, expires: now.Add(c.f.settings.TokenLifetime)}
	c.f.weixin.tokens[t.value] = t
	return t
}

func (c *weixinCall) tokenReply(t *weixinToken) weixinTokenReply {
	return weixinTokenReply{t.value, secondsTo(t.expires, c.f.now())}
}

// follower answers cgi-bin/user/info: everybody follows the account.
func (c *weixinCall) follower() any {
	openID := c.query.Get("openid")
	if openID == "" {
		return errcode(41009)
	}
	for _, u := range c.f.weixin.users {
		if u.openID(c.app.AppID) == openID {
			return struct {
				Subscribe int    `json:"subscribe"`
				OpenID    string `json:"openid"`
				Language  string `json:"language"`
				UnionID   string `json:"unionid,omitempty"`
			}{1, openID, "zh_CN", u.unionID(c.app)}
		}
	}
	return errcode(40003)
}

// ticket answers cgi-bin/ticket/getticket. Like WeCom's it is constant: nothing in the fake checks
// signatures.
func (c *weixinCall) ticket() any {
	kind := c.query.Get("type")
	if kind != "jsapi" && kind != "wx_card" {
		return errcode(40097)
	}
	t := "fake-" + kind + "-" + c.app.AppID
	return ticketReply{success, t + strings.Repeat("0", max(0, 86-len(t))), 7200}
}

type weixinIPReply struct {
	IPList []string `json:"ip_list"`
}

func (c *weixinCall) callbackIPs() any { return weixinIPReply{[]string{"192.0.2.64/26"}} }
func (c *weixinCall) apiIPs() any      { return weixinIPReply{[]string{"198.51.100.64"}} }
