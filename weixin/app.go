package weixin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/jsonx"
	"github.com/wecomauth/wecom/internal/upstream"
)

const (
	maxCode = 512 // bytes
	maxID   = 64  // bytes of an openid or a unionid

	// profileTime leaves the rest of a sign-in's ten seconds to what comes after the profile.
	profileTime = 3 * time.Second
)

// A Website is a website app of the Weixin Open Platform (网站应用): a
// [wecom.Provider] whose page shows a QR code. Its callback's host must be the app's
// 授权回调域. Make one with [NewWebsite]; it is safe for concurrent use. The zero
// Website identifies nobody.
type Website struct{ *app }

// NewWebsite returns the provider for o, or an error that lists every mistake in o.
// It does no I/O and starts no goroutine.
func NewWebsite(o Options) (*Website, error) {
	c := o.check()
	o.checkSignIn(&c)
	if o.TokenStore != nil || o.TokenSource != nil || o.ClassicToken {
		c.Add("TokenStore, TokenSource and ClassicToken belong to official accounts: a website app has no access token of its own")
	}
	if err := c.Err("weixin: these options"); err != nil {
		return nil, err
	}
	return &Website{&app{o: o.withDefaults(), page: qrConnect, scope: "snsapi_login"}}, nil
}

// An OfficialAccount is a service account (服务号): a [wecom.Provider] for pages
// that are opened inside Weixin, where nobody has to scan anything. Its callback's
// host must be among the account's 网页授权域名. In any other browser its page only
// asks to be opened in Weixin: a site for both has a [Website] beside it.
//
// People who look at a page in Weixin's snapshot mode are virtual, and are refused.
//
// Make one with [NewOfficialAccount]; it is safe for concurrent use. The zero
// OfficialAccount identifies nobody.
type OfficialAccount struct {
	*app
	client *wecom.Client
}

// NewOfficialAccount returns the provider for o, or an error that lists every
// mistake in o. It does no I/O and starts no goroutine.
func NewOfficialAccount(o Options) (*OfficialAccount, error) {
	c := o.check()
	o.checkAccount(&c)
	o.checkSignIn(&c)
	if err := c.Err("weixin: these options"); err != nil {
		return nil, err
	}
	return newOfficialAccount(o)
}

func newOfficialAccount(o Options) (*OfficialAccount, error) {
	a := &app{o: o.withDefaults(), page: "/connect/oauth2/authorize", scope: "snsapi_base"}
	if o.Profile {
		a.scope = "snsapi_userinfo"
	}
	tokens := o.TokenSource
	if tokens == nil {
		tokens = newTokenSource(a)
	}
	client, err := a.newClient(tokens)
	return &OfficialAccount{a, client}, err
}

// NewClient returns a client of an official account's API, for programs without a
// web page. Of o it uses AppID, Secret, ClassicToken, TokenStore, TokenSource,
// Endpoints.API and Transport; Secret may be empty if there is a TokenSource. It does
// no I/O. If o is not valid, the client is nil and the error lists every mistake.
func NewClient(o Options) (*wecom.Client, error) {
	c := o.check()
	o.checkAccount(&c)
	if err := c.Err("weixin: these options"); err != nil {
		return nil, err
	}
	a, err := newOfficialAccount(o)
	return a.client, err
}

// Client returns a client of the account's API, which has the account's access
// token. It is nil for the zero OfficialAccount.
func (a *OfficialAccount) Client() *wecom.Client { return a.client }

// An app is what a Website and an OfficialAccount have in common. It is immutable;
// a nil app is that of their zero values.
type app struct {
	o     Options // with defaults
	page  string
	scope string
}

const qrConnect = "/connect/qrconnect"

// App returns "weixin" and the app id.
func (a *app) App() wecom.App {
	if a == nil {
		return wecom.App{Provider: errcode.Weixin}
	}
	return wecom.App{Provider: errcode.Weixin, AppID: a.o.AppID}
}

// AuthorizeURL returns the address of the sign-in page: a Website's shows the QR
// code, an OfficialAccount's works inside Weixin.
func (a *app) AuthorizeURL(req wecom.AuthorizeRequest) string {
	if a == nil {
		return ""
	}
	language := ""
	if a.page == qrConnect {
		language = "&lang=cn"
		if req.Language == "en" {
			language = "&lang=en"
		}
	}
	// By hand: Weixin compares parts of it literally, so that the parameters keep the
	// documented order and #wechat_redirect stays last.
	return a.o.Endpoints.Pages + a.page +
		"?appid=" + url.QueryEscape(a.o.AppID) +
		"&redirect_uri=" + url.QueryEscape(req.RedirectURI) +
		"&response_type=code" +
		"&scope=" + a.scope +
		"&state=" + url.QueryEscape(req.State) +
		language + "#wechat_redirect"
}

// Identify exchanges the code for the person's openid, and with Options.Profile
// asks for name and picture.
func (a *app) Identify(ctx context.Context, code string) (wecom.Identity, error) {
	token, err := a.Exchange(ctx, code)
	if err != nil {
		return wecom.Identity{}, err
	}
	id := wecom.Identity{Provider: errcode.Weixin, AppID: a.o.AppID, OpenID: token.OpenID, UnionID: token.UnionID}
	if token.Snapshot {
		return id, &wecom.Failure{Code: "snapshot_user",
			Err: errors.New("the page was opened in Weixin's snapshot mode (快照页), whose users are not real")}
	}
	if a.o.Profile {
		a.fillProfile(ctx, &id, token)
	}
	if a.o.OnToken != nil {
		a.o.OnToken(ctx, id, token)
	}
	return id, nil
}

func (a *app) fillProfile(ctx context.Context, id *wecom.Identity, token UserToken) {
	ctx, cancel := context.WithTimeout(ctx, profileTime)
	defer cancel()
	user, err := a.UserInfo(ctx, token)
	if err != nil {
		a.o.Logger.WarnContext(ctx, "weixin: signing in without the profile", "error", err)
		return
	}
	id.Name, id.AvatarURL = user.Name, user.AvatarURL
	if id.UnionID == "" {
		id.UnionID = user.UnionID
	}
}

// fixed is the source of one access token, perhaps the zero Token.
type fixed wecom.Token

func (t fixed) Token(context.Context) (wecom.Token, error) { return wecom.Token(t), nil }
func (fixed) Invalidate(wecom.Token)                       {}

func (a *app) newClient(tokens wecom.TokenSource) (*wecom.Client, error) {
	return wecom.NewClient(wecom.Options{
		Provider:    a,
		Secret:      a.o.Secret,
		TokenSource: tokens,
		Endpoints:   wecom.Endpoints{API: a.o.Endpoints.API},
		Transport:   a.o.Transport,
	})
}

var errZero = errors.New("weixin: this app was not made by NewWebsite or NewOfficialAccount")

// call makes a call with a person's access token, or without one.
func (a *app) call(ctx context.Context, token wecom.Secret, method, path string, query url.Values, body any) (jsonx.Object, error) {
	if a == nil {
		return nil, errZero
	}
	client, err := a.newClient(fixed{Value: token})
	if err != nil {
		return nil, err
	}
	var text json.RawMessage
	if err := client.Call(ctx, method, path, query, body, &text); err != nil {
		return nil, err
	}
	return jsonx.ParseObject(text)
}

// unreadable says that an answer with status 200 is none of Weixin's.
func unreadable(path string, err error) error {
	return fmt.Errorf("weixin: %s: the answer is not one of Weixin's: %w", strings.TrimPrefix(path, "/"), upstream.Unreadable(err))
}
