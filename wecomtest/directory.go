package wecomtest

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// An App is one app of a corp (自建应用), as its page in the admin console shows it.
type App struct {
	// CorpID is the corp that owns the app. Default: [Fake.CorpID]. A corp that does not exist is
	// created.
	CorpID string
	// AgentID is the app's AgentId, digits. Empty only for ContactSync.
	AgentID string
	// Secret is the app's Secret.
	Secret string
	// Name is shown on the pages.
	Name string

	// TrustedDomains are the hosts, each with its port unless that is the scheme's own, to which a
	// code may be sent (可信域名). nil: every host.
	TrustedDomains []string
	// CallbackDomains are further hosts for the web-login page alone (授权回调域).
	CallbackDomains []string
	// TrustedIPs are the addresses or CIDR prefixes that may call the API with this app's token
	// (企业可信IP). nil: every address.
	TrustedIPs []string

	// VisibleUsers, VisibleDepartments (with all below them) and VisibleTags are the visible range
	// (可见范围). All nil: the whole corp.
	VisibleUsers       []string
	VisibleDepartments []int64
	VisibleTags        []int64

	// SensitiveFields are the fields that the admin ticked for snsapi_privateinfo: gender, avatar,
	// qr_code, mobile, email, biz_mail, address. nil: all of them.
	SensitiveFields []string
	// LegacyFields makes user/get answer mobile, email and the like, as it does for apps created
	// before 20 June 2022.
	LegacyFields bool
	// Disabled makes gettoken answer 50003.
	Disabled bool
	// ContactSync makes this the contact-sync assistant (通讯录同步): it alone may call
	// user/list_id, and it cannot exchange codes.
	ContactSync bool
}

// The values of [Member.Status].
const (
	Active    = 1
	Disabled  = 2
	Inactive  = 4 // not activated yet
	Resigned  = 5
	rootDept  = int64(1)
	maxUserID = 64
)

// A Member is somebody in a corp's contacts (成员).
type Member struct {
	// CorpID is the member's corp. Default: [Fake.CorpID].
	CorpID string
	// UserID is the account (账号), 1 to 64 bytes. Ids that differ only in the case of their
	// letters are one member.
	UserID string
	Name   string
	// Departments holds department ids. Default: the root, 1.
	Departments []int64
	// MainDepartment is one of Departments. Default: the first.
	MainDepartment int64
	// LeaderOf are those of Departments that the member leads.
	LeaderOf []int64
	// Status is Active (the default), Disabled, Inactive or Resigned.
	Status int
	// Gender is "1" (male), "2" (female) or "" (unknown).
	Gender   string
	Position string
	Alias    string
	Mobile   string
	Email    string
	BizMail  string
	Avatar   string
	QRCode   string
	Address  string
	// LegacySpelling makes auth/getuserinfo spell its answer about this member UserId, as
	// user/getuserinfo does. WeCom is not known to do so, but a client should read both.
	LegacySpelling bool
	// NoWeixin says that the member has never signed in to WeCom with Weixin and does not use its
	// plugin: user/convert_to_openid answers 43004.
	NoWeixin bool
}

// A LinkedMember is a member of another corp, linked (互联企业) or upstream or downstream (上下游),
// who may use the apps of CorpID. WeCom names this person "LinkedCorpID/UserID".
type LinkedMember struct {
	CorpID       string // default: Fake.CorpID
	LinkedCorpID string
	UserID       string
	Name         string
}

func (l *LinkedMember) who() string { return l.LinkedCorpID + "/" + l.UserID }

// An Outsider is somebody who is not a member of the corp.
type Outsider struct {
	CorpID string // default: Fake.CorpID
	OpenID string
	// ExternalUserID is set for customers (外部联系人) of a member in the app's visible range.
	ExternalUserID string
	Name           string
}

// A Department is one node of a corp's tree; the root has id 1.
type Department struct {
	CorpID   string // default: Fake.CorpID
	ID       int64
	Name     string
	NameEN   string
	ParentID int64 // default: the root, 1
	Order    int64
	Leaders  []string
}

// A Tag is a set of members and departments.
type Tag struct {
	CorpID      string // default: Fake.CorpID
	ID          int64
	Name        string
	Users       []string
	Departments []int64
}

type corp struct {
	id          string
	apps        []*App
	members     []*Member
	linked      []*LinkedMember
	outsiders   []*Outsider
	departments []*Department
	tags        []*Tag
}

// fold lowers A to Z: user ids are ASCII, and WeCom compares them without case.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// first returns the element that is asked for, or nil.
func first[T any](list []*T, is func(*T) bool) *T {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i]
	}
	return nil
}

func (c *corp) app(agentID string) *App {
	return first(c.apps, func(a *App) bool { return a.AgentID == agentID && !a.ContactSync })
}

func (c *corp) member(userID string) *Member {
	return first(c.members, func(m *Member) bool { return fold(m.UserID) == fold(userID) })
}

func (c *corp) department(id int64) *Department {
	return first(c.departments, func(d *Department) bool { return d.ID == id })
}

func (c *corp) tag(id int64) *Tag {
	return first(c.tags, func(t *Tag) bool { return t.ID == id })
}

// sensitive returns what snsapi_privateinfo may show of m, by the names of [App.SensitiveFields].
func (m *Member) sensitive() map[string]string {
	return map[string]string{
		"gender": cmp.Or(m.Gender, "0"), "avatar": m.Avatar, "qr_code": m.QRCode,
		"mobile": m.Mobile, "email": m.Email, "biz_mail": m.BizMail, "address": m.Address,
	}
}

// within reports whether department id is one of tops or stands below one.
func (c *corp) within(id int64, tops []int64) bool {
	for range len(c.departments) + 1 { // a tree with a loop must not hang us
		if slices.Contains(tops, id) {
			return true
		}
		d := c.department(id)
		if d == nil || d.ID == rootDept {
			return false
		}
		id = d.ParentID
	}
	return false
}

// clone keeps callers from changing what the Fake reads.
func (a App) clone() App {
	a.TrustedDomains, a.CallbackDomains = slices.Clone(a.TrustedDomains), slices.Clone(a.CallbackDomains)
	a.TrustedIPs, a.SensitiveFields = slices.Clone(a.TrustedIPs), slices.Clone(a.SensitiveFields)
	a.VisibleUsers, a.VisibleTags = slices.Clone(a.VisibleUsers), slices.Clone(a.VisibleTags)
	a.VisibleDepartments = slices.Clone(a.VisibleDepartments)
	return a
}

func (a *App) seesAll() bool {
	return a.VisibleUsers == nil && a.VisibleDepartments == nil && a.VisibleTags == nil
}

func (c *corp) seesDepartment(a *App, id int64) bool {
	return a.seesAll() || c.within(id, a.VisibleDepartments)
}

func (c *corp) sees(a *App, m *Member) bool {
	if a.seesAll() {
		return true
	}
	listed := func(ids []string) bool {
		return slices.ContainsFunc(ids, func(id string) bool { return fold(id) == fold(m.UserID) })
	}
	below := func(tops []int64) bool {
		return slices.ContainsFunc(m.Departments, func(id int64) bool { return c.within(id, tops) })
	}
	if listed(a.VisibleUsers) || below(a.VisibleDepartments) {
		return true
	}
	for _, id := range a.VisibleTags {
		if t := c.tag(id); t != nil && (listed(t.Users) || below(t.Departments)) {
			return true
		}
	}
	return false
}

// trusts reports whether a code may go to host. The web-login page also takes the callback domains.
func (a *App) trusts(host string, inApp bool) bool {
	listed := func(hosts []string) bool {
		return slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, host) })
	}
	return a.TrustedDomains == nil || listed(a.TrustedDomains) || !inApp && listed(a.CallbackDomains)
}

// admits reports whether ip is one of some addresses and CIDR prefixes; nil is all of them.
func admits(listed []string, ip string) bool {
	addr, err := netip.ParseAddr(ip)
	addr = addr.Unmap()
	return listed == nil || err == nil && slices.ContainsFunc(listed, func(s string) bool {
		p, err := netip.ParsePrefix(s)
		one, _ := netip.ParseAddr(s)
		return err == nil && p.Contains(addr) || one == addr
	})
}

// somebody is a person in front of a page: one field beside who and name is set, or none for a
// member of a linked corp.
type somebody struct {
	who, name string // who finds somebody again
	member    *Member
	outsider  *Outsider
	weixin    *WeixinUser
}

// find resolves who as [Fake.SignInAs] documents it.
func (c *corp) find(who string) (somebody, bool) {
	of, id, linked := strings.Cut(who, "/")
	m := c.member(who)
	if m == nil && linked && of == c.id {
		m = c.member(id)
	}
	if m != nil {
		return somebody{who: m.UserID, name: m.Name, member: m}, true
	}
	if l := first(c.linked, func(l *LinkedMember) bool { return l.LinkedCorpID == of && fold(l.UserID) == fold(id) }); linked && l != nil {
		return somebody{who: l.who(), name: l.Name}, true
	}
	if o := first(c.outsiders, func(o *Outsider) bool { return o.OpenID == who }); o != nil {
		return somebody{who: o.OpenID, name: o.Name, outsider: o}, true
	}
	return somebody{}, false
}

// AddApp adds an app, or replaces the one with the same corp and agent id. Access tokens of a
// replaced app stay valid, as they do in WeCom when a secret is reset. To change the default app:
//
//	a := fake.App()
//	a.Secret = "another"
//	fake.AddApp(a)
func (f *Fake) AddApp(a App) {
	a = a.clone()
	f.edit(nil, func() {
		put(&f.corp(&a.CorpID).apps, &a, func(b *App) bool { return b.AgentID == a.AgentID && b.ContactSync == a.ContactSync })
	})
}

// App returns a copy of the default app as it stands now.
func (f *Fake) App() App {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.app().clone()
}

// TrustDomain adds hosts to the default app's trusted domains; from the first call on, codes go to
// no other host. A host has no scheme and no path, and its port only if that is not the scheme's
// own.
func (f *Fake) TrustDomain(hosts ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.app()
	a.TrustedDomains = append(nonNil(a.TrustedDomains), hosts...)
}

// TrustIP adds addresses or CIDR prefixes to the default app's trusted IPs; from the first call on,
// the API answers 60020 to all others. Calls through [Fake.Transport] come from Settings.CallerIP,
// calls to a [Server] from the address of the connection.
func (f *Fake) TrustIP(ips ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.app()
	a.TrustedIPs = append(nonNil(a.TrustedIPs), ips...)
}

// AddMember adds a member, or replaces the one with the same corp and user id.
func (f *Fake) AddMember(m Member) {
	if m.UserID == "" || len(m.UserID) > maxUserID {
		panic("wecomtest: a user id has 1 to 64 bytes: " + m.UserID)
	}
	m.Departments, m.LeaderOf = slices.Clone(m.Departments), slices.Clone(m.LeaderOf)
	if len(m.Departments) == 0 {
		m.Departments = []int64{rootDept}
	}
	m.MainDepartment = cmp.Or(m.MainDepartment, m.Departments[0])
	m.Status = cmp.Or(m.Status, Active)
	f.edit(nil, func() {
		put(&f.corp(&m.CorpID).members, &m, func(b *Member) bool { return fold(b.UserID) == fold(m.UserID) })
	})
}

// Member returns a copy of a member of the default corp, and whether there is one.
func (f *Fake) Member(userID string) (Member, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.corps[demoCorp].member(userID); m != nil {
		copied := *m
		copied.Departments, copied.LeaderOf = slices.Clone(m.Departments), slices.Clone(m.LeaderOf)
		return copied, true
	}
	return Member{}, false
}

// RemoveMember removes a member of the default corp from the contacts: user/get answers 60111 from
// now on, and codes issued earlier are invalid.
func (f *Fake) RemoveMember(userID string) {
	f.edit(nil, func() {
		remove(&f.corps[demoCorp].members, func(m *Member) bool { return fold(m.UserID) == fold(userID) })
	})
}

// DisableMember sets the status of a member of the default corp to Disabled, which user/get
// reports. It panics if there is no such member.
func (f *Fake) DisableMember(userID string) { f.setStatus(userID, Disabled) }

// AddLinkedMember adds a member of a linked corp.
func (f *Fake) AddLinkedMember(m LinkedMember) {
	f.edit(nil, func() {
		put(&f.corp(&m.CorpID).linked, &m, func(b *LinkedMember) bool {
			return b.LinkedCorpID == m.LinkedCorpID && fold(b.UserID) == fold(m.UserID)
		})
	})
}

// AddOutsider adds somebody who is not a member, or replaces the one with the same corp and openid.
func (f *Fake) AddOutsider(o Outsider) {
	f.edit(nil, func() {
		put(&f.corp(&o.CorpID).outsiders, &o, func(b *Outsider) bool { return b.OpenID == o.OpenID })
	})
}

// AddDepartment adds a department, or replaces the one with the same corp and id.
func (f *Fake) AddDepartment(d Department) {
	if d.ParentID == 0 && d.ID != rootDept {
		d.ParentID = rootDept
	}
	d.Leaders = slices.Clone(d.Leaders)
	f.edit(nil, func() {
		put(&f.corp(&d.CorpID).departments, &d, func(b *Department) bool { return b.ID == d.ID })
	})
}

// AddTag adds a tag, or replaces the one with the same corp and id.
func (f *Fake) AddTag(t Tag) {
	t.Users, t.Departments = slices.Clone(t.Users), slices.Clone(t.Departments)
	f.edit(nil, func() {
		put(&f.corp(&t.CorpID).tags, &t, func(b *Tag) bool { return b.ID == t.ID })
	})
}

// nonNil keeps "none" apart from "no rule".
func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// put replaces the element that same accepts, or appends v. Nothing that is already in the list is
// written to, since issued codes still point at it.
func put[T any](list *[]*T, v *T, same func(*T) bool) {
	*list = slices.Clone(*list)
	if i := slices.IndexFunc(*list, same); i >= 0 {
		(*list)[i] = v
		return
	}
	*list = append(*list, v)
}

// remove is put's opposite.
func remove[T any](list *[]*T, is func(*T) bool) {
	*list = slices.DeleteFunc(slices.Clone(*list), is)
}

// corp returns the corp named by *id, making it if need be; f.mu is held.
func (f *Fake) corp(id *string) *corp {
	*id = cmp.Or(*id, demoCorp)
	c := f.corps[*id]
	if c == nil {
		c = &corp{id: *id, departments: []*Department{{CorpID: *id, ID: rootDept, Name: *id}}}
		f.corps[*id] = c
	}
	return c
}

// app returns the default app; f.mu is held.
func (f *Fake) app() *App { return f.corps[demoCorp].app(demoAgent) }
