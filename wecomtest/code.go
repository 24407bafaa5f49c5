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

// A Code is what a sign-in page handed to a browser.
type Code struct {
	Value string
	// Who signed in, as [Fake.SignInAs] takes it.
	Who             string
	CorpID, AgentID string
	// WeixinAppID is the app if the code is Weixin's; CorpID and AgentID are empty then.
	WeixinAppID string
	// InApp tells the in-app page from the web-login page.
	InApp       bool
	Scope       string
	State       string
	RedirectURI string
	IssuedAt    time.Time
	// Sent counts how often the code arrived at an endpoint that exchanges codes.
	Sent int
	// Used says that it was exchanged: it is worth nothing any more.
	Used bool
}

// A Grant describes a sign-in for [Fake.IssueCode]. Only Who is needed.
type Grant struct {
	Who             string // as Fake.SignInAs takes it
	CorpID, AgentID string // default: the default app
	WeixinAppID     string // instead of CorpID and AgentID: the app of the WeixinUser Who
	InApp           bool   // from the in-app page; default: from the web-login page
	Scope           string // default: snsapi_base
	RedirectURI     string // checked against the trusted domains when the code is exchanged; default: not checked
}

type code struct {
	Code
	person somebody
	fields []string // the sensitive fields that admin and member agreed to
}

type token struct {
	value   string
	corp    string
	agent   string
	sync    bool // of the contact-sync assistant
	expires time.Time
	dead    int // the errcode it answers before its time; 0 while it lives
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

// issue makes a code; f.mu is held.
func (f *Fake) issue(c *corp, a *App, who somebody, scope string, inApp bool, state, redirect string, fields []string) *code {
	k := &code{
		Code: Code{
			Value: random(f.settings.CodeLength), Who: who.who(), CorpID: c.id,
			InApp: inApp, Scope: scope, State: state, RedirectURI: redirect, IssuedAt: f.now(),
		},
		person: who,
		fields: fields,
	}
	if a != nil {
		k.AgentID = a.AgentID
	}
	f.keep(k)
	return k
}

// issueWeixin makes a code of Weixin's; f.mu is held.
func (f *Fake) issueWeixin(a *WeixinApp, u *WeixinUser, scope, state, redirect string) *code {
	if scope == "" {
		scope = scopeLogin
		if a.OfficialAccount {
			scope = scopeBase
		}
	}
	k := &code{Code: Code{
		Value: random(32), Who: u.ID, WeixinAppID: a.AppID, InApp: a.OfficialAccount,
		Scope: scope, State: state, RedirectURI: redirect, IssuedAt: f.now(),
	}}
	f.keep(k)
	return k
}

func (f *Fake) keep(k *code) {
	f.codes[k.Value] = k
	f.issued = append(f.issued, k)
	if len(f.issued) > keepCodes { // a demo may run for weeks
		delete(f.codes, f.issued[0].Value)
		delete(f.sent, f.issued[0].Value)
		f.issued = f.issued[1:]
	}
}

// redeem uses a code up and returns it, or says why not; f.mu is held.
func (f *Fake) redeem(value string, c *corp, a *App) (*code, int) {
	k := f.codes[value]
	if k == nil || k.Used || k.CorpID != c.id || !f.now().Before(k.IssuedAt.Add(f.settings.CodeLifetime)) {
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

// newToken returns the app's token, the same as long as it lives unless the
// settings say otherwise; f.mu is held.
func (f *Fake) newToken(a *App) *token {
	now := f.now()
	for v, t := range f.tokens {
		switch {
		case now.Sub(t.expires) > time.Hour:
			delete(f.tokens, v)
		case !f.settings.FreshTokens && t.dead == 0 && now.Before(t.expires) &&
			t.corp == a.CorpID && t.agent == a.AgentID && t.sync == a.ContactSync:
			return t
		}
	}
	t := &token{
		value: random(214), corp: a.CorpID, agent: a.AgentID, sync: a.ContactSync,
		expires: now.Add(f.settings.TokenLifetime),
	}
	f.tokens[t.value] = t
	return t
}

// hostOf returns host and port as the console's trusted domains spell them: no
// port if it is the scheme's own.
func hostOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return canonicalHost(u.Scheme, u.Host)
}
