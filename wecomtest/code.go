package wecomtest

import (
	"net/url"
	"time"
)

const (
	maxCode      = 512
	keepCodes    = 10000
	scopeBase    = "snsapi_base"
	scopeUser    = "snsapi_userinfo" // silent, from old documents
	scopePrivate = "snsapi_privateinfo"
)

// A Code is an authorization code that a sign-in page gave to a browser.
type Code struct {
	Value string
	// Who signed in, as [Fake.SignInAs] takes it.
	Who             string
	CorpID, AgentID string
	// WeixinAppID is the app if the code is Weixin's; CorpID and AgentID are empty then.
	WeixinAppID string
	// MiniProgram says that wx.qy.login of a mini-program made it: a js_code.
	MiniProgram bool
	// InApp tells the in-app page from the web-login page.
	InApp       bool
	Scope       string
	State       string
	RedirectURI string
	IssuedAt    time.Time
	// Sent counts how often the code arrived at an endpoint that exchanges codes.
	Sent int
	// Used says that it was exchanged and is no longer valid.
	Used bool
}

// A Grant describes a sign-in for [Fake.IssueCode]. Only Who is needed.
type Grant struct {
	Who             string // as Fake.SignInAs takes it
	CorpID, AgentID string // default: the default app
	WeixinAppID     string // instead of CorpID and AgentID: the app of the WeixinUser Who
	MiniProgram     bool   // a js_code, from wx.qy.login of a mini-program
	InApp           bool   // from the in-app page; default: from the web-login page
	Scope           string // default: snsapi_base
	RedirectURI     string // checked against the trusted domains when the code is exchanged; default: not checked
}

type code struct {
	Code
	person somebody
	fields []string // the sensitive fields that admin and member agreed to
}

// An owner is what an access token belongs to: an app of a corp, or an official account, which has
// one token of each kind.
type owner struct {
	corp, agent string
	sync        bool // the contact-sync assistant

	account string // Weixin's app id
	stable  bool
}

type token struct {
	owner
	value   string
	expires time.Time
	current bool // what the endpoint gave out last
	killed  bool
}

type userTicket struct {
	corp, agent string
	userID      string
	fields      []string
	expires     time.Time
}

type consent struct {
	until  time.Time
	fields []string
}

type wrongSecrets struct {
	since  time.Time
	count  int
	locked time.Time // until
}

// issue makes a code for who; fields are what was agreed to; f.mu is held.
func (f *Fake) issue(k Code, who somebody, fields []string) *code {
	length := f.settings.CodeLength
	if k.WeixinAppID != "" {
		length = 32
	}
	k.Value, k.Who, k.IssuedAt = random(length), who.who, f.now()
	issued := &code{k, who, fields}
	f.codes[k.Value] = issued
	f.issued = append(f.issued, issued)
	f.note(entry{kind: "code", who: issued.Who, name: who.name, where: hostOf(k.RedirectURI)})
	if len(f.issued) > keepCodes { // a demo may run for weeks
		delete(f.codes, f.issued[0].Value)
		delete(f.sent, f.issued[0].Value)
		f.issued = f.issued[1:]
	}
	return issued
}

// redeem uses a code up and returns it, or says why not; f.mu is held.
func (f *Fake) redeem(value string, c *corp, a *App, js bool) (*code, errcode) {
	k := f.codes[value]
	if k == nil || k.Used || k.MiniProgram != js || k.CorpID != c.id || !f.now().Before(k.IssuedAt.Add(f.settings.CodeLifetime)) {
		return nil, 40029
	}
	if a.ContactSync || k.RedirectURI != "" && !a.trusts(hostOf(k.RedirectURI), k.InApp) {
		return nil, 50001
	}
	if k.AgentID != "" && k.AgentID != a.AgentID {
		return nil, 40029
	}
	if _, ok := c.find(k.Who); !ok {
		return nil, 40029 // the member left in between
	}
	k.Used = true
	return k, 0
}

// ticketFor makes a user_ticket if this code is worth one, else ""; f.mu is held.
func (f *Fake) ticketFor(k *code, c *corp, a *App) string {
	m := k.person.member
	if !k.InApp || k.Scope != scopePrivate || k.AgentID == "" || m == nil || !c.sees(a, m) {
		return ""
	}
	for old, t := range f.tickets {
		if f.now().Sub(t.expires) > time.Hour {
			delete(f.tickets, old)
		}
	}
	t := random(64)
	f.tickets[t] = &userTicket{
		corp: c.id, agent: a.AgentID, userID: m.UserID, fields: k.fields,
		expires: f.now().Add(f.settings.TicketLifetime),
	}
	return t
}

// current returns the token that its endpoint gave out last, if it still works; f.mu is held.
func (f *Fake) current(of owner) *token {
	for _, t := range f.tokens {
		if t.owner == of && t.current && !t.killed && f.now().Before(t.expires) {
			return t
		}
	}
	return nil
}

// mint makes a token, the current one from now on; f.mu is held.
func (f *Fake) mint(of owner, length int) *token {
	now := f.now()
	for v, t := range f.tokens {
		t.current = t.current && t.owner != of
		if now.Sub(t.expires) > time.Hour {
			delete(f.tokens, v)
		}
	}
	t := &token{owner: of, value: random(length), expires: now.Add(f.settings.TokenLifetime), current: true}
	f.tokens[t.value] = t
	return t
}

// hostOf returns host and port as the console's trusted domains spell them: no port if it is the
// scheme's own.
func hostOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return canonicalHost(u.Scheme, u.Host)
}
