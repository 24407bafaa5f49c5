package wecomtest

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	demoCorp   = "ww0123456789abcdef"
	demoLinked = "wwfedcba9876543210"
	demoAgent  = "1000002"
	demoSecret = "secret-of-the-fake-wecom-it-opens-no-door-0"
)

// A Fake is a complete WeCom: corps with their apps and members, the server API and the two sign-in
// pages; and a Weixin with website apps and official accounts. Use [New]; the zero value is not
// usable.
//
// A Fake is an [http.Handler] that serves everything under one base URL, and under Tencent's five
// host names what each of them serves. All its methods may be called at any time, from any
// goroutine. They panic if they are given the name of something that does not exist (an endpoint, a
// member): a test that misspells a name would otherwise pass for the wrong reason.
type Fake struct {
	mu       sync.Mutex
	settings Settings
	now      func() time.Time
	corps    map[string]*corp
	tokens   map[string]*token
	tickets  map[string]*userTicket
	codes    map[string]*code
	issued   []*code // in the order of issue
	sent     map[string]int
	calls    map[string]int
	apiCalls int
	wrong    map[string]*wrongSecrets
	script   map[string][]Fault
	always   map[string]Fault
	added    map[string]func(*http.Request) any
	auto     choice
	consents map[string]consent
	servers  map[string]bool // host:port of running servers
	weixin   weixin
	browsers int

	journal []entry // the last ones
	mishap  string  // the key of mishaps that the console switched on
	gone    []*Member
	changed func() // called when the console changed the directory; may be nil

	events        []*eventQueue
	eventFaults   EventFaults
	eventsPosted  int
	eventsIdle    chan struct{} // closed when no event waits any more; nil if none does
	eventsRunning int           // queues that deliver, also those that were replaced
	deliveries    []Delivery
}

// Settings are the settings of a [Fake], apart from its contacts. See [Fake.Configure].
type Settings struct {
	// TokenLifetime is the life of an access token. Default: 7200 s.
	TokenLifetime time.Duration
	// FreshTokens makes each gettoken return a new token; earlier ones stay valid. By default a
	// token is returned again as long as it is valid.
	FreshTokens bool
	// CodeLifetime is the life of an unused code. Default: 5 minutes.
	CodeLifetime time.Duration
	// WebsiteCodeLifetime is that of a code for a Weixin website app. Default: 10 minutes.
	WebsiteCodeLifetime time.Duration
	// ClassicOverlap is how long an official account's token from cgi-bin/token stays valid after
	// another one is fetched. 0 invalidates it at once. Default: 5 minutes.
	ClassicOverlap time.Duration
	// CodeLength is the length of codes in bytes, at most 512. Default: 43.
	CodeLength int
	// TicketLifetime is the life of a user_ticket. Default: 1800 s.
	TicketLifetime time.Duration
	// InvisibleErrcode is what calls about a member outside the visible range answer: 60011 (the
	// default) or 60111; WeCom's documents name both.
	InvisibleErrcode int
	// CallerIP is the address from which calls through [Fake.Transport] seem to come. Default:
	// 203.0.113.7.
	CallerIP string
	// WrongSecretLimit is the number of wrong secrets in an hour after which gettoken answers 45009
	// to the calling address, for an hour. Default: 2000.
	WrongSecretLimit int
	// ClientOnly makes the in-app page refuse browsers whose User-Agent is neither WeCom's nor
	// Weixin's, as the real page does, and an official account's page those that are not Weixin's.
	ClientOnly bool
	// RefusalStays keeps the browser on the page when somebody refuses or cancels. By default the
	// browser goes back with the state and without a code, which WeCom documents for the old
	// web-login page only. Weixin's documents used to say so and now say that nothing happens. An
	// application must handle both.
	RefusalStays bool
}

// New returns a fake WeCom with a demo corp, ready to use:
//
//	zhangsan   张三  member, 研发部 (department 2), its leader
//	lisi       李四  member, 销售部 (3), its leader
//	wangwu     王五  member, 平台组 (4, below 研发部)
//	zhaoliu    赵六  member, 销售部 (3), disabled
//	sunqi      孙七  member, 外部协作 (5), outside the app's visible range
//
//	wwfedcba9876543210/zhouba      周八  member of a linked corp
//	oFakeOutsider0000000000000001  吴九  no member
//	oFakeCustomer0000000000000001  郑十  no member, a customer with an external_userid
//
// Its one app trusts every domain and every address, until [Fake.TrustDomain] and [Fake.TrustIP]
// say which. Weixin has one website app, one official account, and
//
//	xiaoming   小明 🎈
//	xiaohong   小红
//	kuaizhao   whose pages open in snapshot mode
func New() *Fake {
	f := &Fake{
		settings: Settings{
			TokenLifetime:       7200 * time.Second,
			CodeLifetime:        5 * time.Minute,
			WebsiteCodeLifetime: 10 * time.Minute,
			ClassicOverlap:      5 * time.Minute,
			CodeLength:          43,
			TicketLifetime:      1800 * time.Second,
			InvisibleErrcode:    60011,
			CallerIP:            "203.0.113.7",
			WrongSecretLimit:    2000,
		},
		now:      time.Now,
		corps:    map[string]*corp{},
		tokens:   map[string]*token{},
		tickets:  map[string]*userTicket{},
		codes:    map[string]*code{},
		sent:     map[string]int{},
		calls:    map[string]int{},
		wrong:    map[string]*wrongSecrets{},
		script:   map[string][]Fault{},
		always:   map[string]Fault{},
		added:    map[string]func(*http.Request) any{},
		consents: map[string]consent{},
		servers:  map[string]bool{},
		weixin: weixin{
			apps:   map[string]*WeixinApp{},
			grants: map[string]*weixinGrant{},
			stable: map[string]*stableLimit{},
		},
	}
	f.AddApp(App{AgentID: demoAgent, Secret: demoSecret, Name: "示例应用", VisibleDepartments: []int64{2, 3}})
	for _, d := range []Department{
		{ID: 1, Name: "示例科技", NameEN: "Example Inc."},
		{ID: 2, Name: "研发部", NameEN: "R&D", Order: 300, Leaders: []string{"zhangsan"}},
		{ID: 3, Name: "销售部", NameEN: "Sales", Order: 200, Leaders: []string{"lisi"}},
		{ID: 4, Name: "平台组", NameEN: "Platform", ParentID: 2, Order: 100},
		{ID: 5, Name: "外部协作", NameEN: "Partners", Order: 50},
	} {
		f.AddDepartment(d)
	}
	for _, m := range []Member{
		{UserID: "zhangsan", Name: "张三", Departments: []int64{2}, LeaderOf: []int64{2}, Gender: "1", Position: "研发经理"},
		{UserID: "lisi", Name: "李四", Departments: []int64{3}, LeaderOf: []int64{3}, Gender: "2", Position: "销售经理"},
		{UserID: "wangwu", Name: "王五", Departments: []int64{4}, Gender: "1", Position: "工程师"},
		{UserID: "zhaoliu", Name: "赵六", Departments: []int64{3}, Gender: "1", Status: Disabled},
		{UserID: "sunqi", Name: "孙七", Departments: []int64{5}, Gender: "2"},
	} {
		n := len(f.corps[demoCorp].members)
		m.Mobile = "1380000000" + string(rune('1'+n))
		m.Email = m.UserID + "@mail.example.net"
		m.BizMail = m.UserID + "@corp.example.com"
		m.Avatar = "https://" + pictureHost + picturePath + m.UserID + "/0"
		m.QRCode = "https://open.work.weixin.qq.com/wwopen/userQRCode?vcode=fake_" + m.UserID
		m.Address = "广州市海珠区新港中路"
		f.AddMember(m)
	}
	f.AddTag(Tag{ID: 1, Name: "值班", Users: []string{"wangwu"}, Departments: []int64{3}})
	f.AddLinkedMember(LinkedMember{LinkedCorpID: demoLinked, UserID: "zhouba", Name: "周八"})
	f.AddOutsider(Outsider{OpenID: "oFakeOutsider0000000000000001", Name: "吴九"})
	f.AddOutsider(Outsider{OpenID: "oFakeCustomer0000000000000001", ExternalUserID: "wmFakeCustomer000000000000000001", Name: "郑十"})
	f.addDemoWeixin()
	return f
}

// CorpID returns the id of the default corp.
func (f *Fake) CorpID() string { return demoCorp }

// AgentID returns the agent id of the default app.
func (f *Fake) AgentID() string { return demoAgent }

// Secret returns the secret of the default app. It opens nothing but this fake.
func (f *Fake) Secret() string { return f.App().Secret }

// SetClock replaces the clock that decides when tokens, codes, tickets and cookies of a [Browser]
// expire. Default: time.Now. now must be safe for concurrent use and must not call the Fake.
// Scripted delays use timers, whatever the clock says.
func (f *Fake) SetClock(now func() time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = now
}

func (f *Fake) clock() time.Time {
	f.mu.Lock()
	now := f.now
	f.mu.Unlock()
	return now()
}

// Configure calls change with the current settings, which it may modify. change must not call the
// Fake.
func (f *Fake) Configure(change func(*Settings)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.settings)
	f.settings.CodeLength = min(max(f.settings.CodeLength, 16), maxCode)
}

// Calls returns how often an endpoint or a page was requested, whatever the answer, including
// requests that a fault dropped. path is as in [Fake.Script], or the path of a page:
// /connect/oauth2/authorize, /wwlogin/sso/login or /connect/qrconnect, where only opening the page
// counts and not what is pressed on it, or that of the login panel's script,
// /node/open/js/wecom-jssdk-2.3.4.js.
func (f *Fake) Calls(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[f.mustKnow(path)]
}

// TotalCalls returns how often the server API was called, all endpoints together and without the
// pages.
func (f *Fake) TotalCalls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.apiCalls
}

// ResetCalls sets all counts that Calls and TotalCalls return to zero.
func (f *Fake) ResetCalls() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.calls)
	f.apiCalls = 0
}

// Handle adds an endpoint of the server API that the fake does not have, or replaces one: path is
// as in [Fake.Script]. On Weixin's host, and with an official account's access token, it is one of
// Weixin's. The access token and the caller's address are checked before fn is called; fn returns
// what to encode as JSON, and should say "errcode" itself. fn must be safe for concurrent use and
// may call the Fake.
func (f *Fake) Handle(path string, fn func(*http.Request) any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.added[fullPath(path)] = fn
}

// fullPath lets callers write gettoken for /cgi-bin/gettoken.
func fullPath(path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	return apiPrefix + path
}

// mustKnow returns the full path of an endpoint or page; f.mu is held.
func (f *Fake) mustKnow(path string) string {
	p := fullPath(path)
	_, isWeComs := wecoms.endpoints[p]
	_, isWeixins := weixins.endpoints[p]
	if !isWeComs && !isWeixins && f.added[p] == nil && pageAt[p].show == nil {
		panic("wecomtest: the fake has no " + path)
	}
	return p
}

// SignInAs makes the pages answer at once as if who had signed in, for every browser: who is a user
// id, "Corp/userid" of a linked member, or the openid of an outsider, in the corp whose page it is;
// on Weixin's pages the ID of a [WeixinUser]. "" shows the pages again. A [Browser] with a choice
// of its own ([Browser.SignInAs]) is not affected.
func (f *Fake) SignInAs(who string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.auto = choice{who: f.mustExist(who)}
}

// AutoRefuse makes both pages answer at once as if the person had refused, for every browser, until
// [Fake.SignInAs] is called or on is false.
func (f *Fake) AutoRefuse(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.auto = choice{refuse: on}
}

// mustExist returns who if some corp has somebody of that name, or none is asked for; f.mu is held.
func (f *Fake) mustExist(who string) string {
	if who == "" {
		return who
	}
	for _, c := range f.corps {
		if _, ok := c.find(who); ok {
			return who
		}
	}
	if _, ok := f.weixin.find(who); ok {
		return who
	}
	panic("wecomtest: there is nobody called " + who)
}

// ForgetConsents makes the consent page appear again for everybody. WeCom remembers a consent for
// 30 days, and so does the fake.
func (f *Fake) ForgetConsents() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.consents)
}

// Codes returns all codes that were issued, oldest first.
func (f *Fake) Codes() []Code {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]Code, len(f.issued))
	for i, c := range f.issued {
		list[i] = c.Code
		list[i].Sent = f.sent[c.Value]
	}
	return list
}

// Sent returns how often code, issued or invented, arrived at an endpoint that exchanges codes,
// including the calls that a fault dropped.
func (f *Fake) Sent(code string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent[code]
}

// KillTokens invalidates all access tokens of apps and official accounts early: calls with one of them answer 40014 (Weixin: 40001), and the next gettoken returns a new one.
func (f *Fake) KillTokens() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.tokens {
		t.killed = true
	}
}

// ExpireTokens makes all access tokens expire now: calls with one of them answer 42001.
func (f *Fake) ExpireTokens() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.tokens {
		if f.now().Before(t.expires) {
			t.expires = f.now()
		}
	}
}

// IssueCode issues a code as if somebody had signed in, for tests without a browser. It panics if
// there is no such person or app.
func (f *Fake) IssueCode(g Grant) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := Code{Scope: g.Scope, MiniProgram: g.MiniProgram, InApp: g.InApp, RedirectURI: g.RedirectURI}
	if g.WeixinAppID != "" {
		a := f.weixin.apps[g.WeixinAppID]
		who, ok := f.weixin.find(g.Who)
		if a == nil || !ok {
			panic("wecomtest: there is nobody called " + g.Who + ", or no app " + g.WeixinAppID)
		}
		k.WeixinAppID, k.InApp = a.AppID, a.OfficialAccount
		if k.Scope == "" && a.OfficialAccount {
			k.Scope = scopeBase
		}
		k.Scope = cmp.Or(k.Scope, scopeLogin)
		return f.issue(k, who, nil).Value
	}
	c := f.corp(&g.CorpID)
	a := c.app(cmp.Or(g.AgentID, demoAgent))
	who, ok := c.find(g.Who)
	if a == nil || !ok {
		panic("wecomtest: there is nobody called " + g.Who + ", or no app " + g.AgentID)
	}
	k.CorpID, k.AgentID, k.Scope = c.id, a.AgentID, cmp.Or(k.Scope, scopeBase)
	return f.issue(k, who, grantable(a, nil)).Value
}

// random returns n characters of the alphabet of codes and tokens.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)[:n]
}

// digits returns n random decimal digits.
func digits(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = '0' + b[i]%10
	}
	return string(b)
}

// grantable returns the sensitive fields of chosen (nil: all) that the admin ticked.
func grantable(a *App, chosen []string) []string {
	fields := sensitiveFields
	if a.SensitiveFields != nil {
		fields = a.SensitiveFields
	}
	if chosen == nil {
		return fields
	}
	return slices.DeleteFunc(slices.Clone(fields), func(x string) bool { return !slices.Contains(chosen, x) })
}
