package weixin

import (
	"context"

	"github.com/wecomauth/wecom"
)

// An OfficialAccount is a service account (服务号): a [wecom.Provider] for pages
// that are opened inside Weixin, where nobody has to scan anything. Its callback's host must
// be among the account's 网页授权域名. Elsewhere than in Weixin its page only asks to be opened
// there: a site for both has a [Website] beside it.
//
// People who look at a page in Weixin's snapshot mode are virtual, and are refused.
//
// Make one with [NewOfficialAccount]; it is safe for concurrent use. The zero
// OfficialAccount identifies nobody.
type OfficialAccount struct {
	app    *app
	client *wecom.Client
}

// NewOfficialAccount returns the provider for o, or an error that joins all
// mistakes in o. It does no I/O and starts no goroutine.
func NewOfficialAccount(o Options) (*OfficialAccount, error) {
	var c checks
	c.both(o)
	c.account(o)
	c.signIn(o)
	if err := c.err(); err != nil {
		return nil, err
	}
	return newOfficialAccount(o)
}

func newOfficialAccount(o Options) (*OfficialAccount, error) {
	a := &OfficialAccount{app: newApp(o)}
	tokens := o.TokenSource
	if tokens == nil {
		tokens = newTokenSource(a.app, o)
	}
	client, err := wecom.NewClient(wecom.Options{
		Provider:    a,
		TokenSource: tokens,
		Endpoints:   wecom.Endpoints{API: a.app.api},
		Transport:   a.app.transport,
	})
	a.client = client
	return a, err
}

// NewClient returns a client of an official account's API, for programs without a
// web page. Of o it uses AppID, Secret, ClassicToken, TokenStore, TokenSource, Endpoints.API,
// Transport and Logger; Secret may be empty if there is a TokenSource. It does no
// I/O. If o is not valid, the client is nil and the error joins all mistakes.
func NewClient(o Options) (*wecom.Client, error) {
	var c checks
	c.both(o)
	c.account(o)
	if err := c.err(); err != nil {
		return nil, err
	}
	a, err := newOfficialAccount(o)
	if err != nil {
		return nil, err
	}
	return a.client, nil
}

// App returns "weixin" and the app id.
func (a *OfficialAccount) App() wecom.App { return a.app.app() }

// AuthorizeURL returns the address of the page that works inside Weixin.
func (a *OfficialAccount) AuthorizeURL(at wecom.Attempt) string {
	scope := "snsapi_base"
	if a.app != nil && a.app.profile {
		scope = "snsapi_userinfo"
	}
	return a.app.authorizeURL("/connect/oauth2/authorize", scope, at, "")
}

// Identify exchanges the code for the person's openid, and with Options.Profile
// asks for name and picture.
func (a *OfficialAccount) Identify(ctx context.Context, code string) (wecom.Identity, error) {
	return a.app.identify(ctx, code)
}

// Client returns a client of the account's API, which has the account's access
// token. It is nil for the zero OfficialAccount.
func (a *OfficialAccount) Client() *wecom.Client { return a.client }

// Exchange does what [Website.Exchange] does.
func (a *OfficialAccount) Exchange(ctx context.Context, code string) (UserToken, error) {
	return a.app.exchange(ctx, code)
}

// Refresh does what [Website.Refresh] does.
func (a *OfficialAccount) Refresh(ctx context.Context, t UserToken) (UserToken, error) {
	return a.app.refresh(ctx, t)
}

// Validate does what [Website.Validate] does.
func (a *OfficialAccount) Validate(ctx context.Context, t UserToken) (bool, error) {
	return a.app.validate(ctx, t)
}

// UserInfo does what [Website.UserInfo] does; the person must have been asked
// for consent (Options.Profile).
func (a *OfficialAccount) UserInfo(ctx context.Context, t UserToken) (User, error) {
	return a.app.userInfo(ctx, t)
}
