package weixin

import (
	"context"

	"github.com/wecomauth/wecom"
)

// A Website is a website app of the Weixin Open Platform (网站应用): a
// [wecom.Provider] whose page shows a QR code. Its callback's host must be the app's 授权回调域. Make one
// with [NewWebsite]; it is safe for concurrent use. The zero Website identifies nobody.
type Website struct{ app *app }

// NewWebsite returns the provider for o, or an error that joins all mistakes in
// o. It does no I/O and starts no goroutine.
func NewWebsite(o Options) (*Website, error) {
	var c checks
	c.both(o)
	c.signIn(o)
	if o.TokenStore != nil || o.TokenSource != nil || o.ClassicToken {
		c.bad("TokenStore, TokenSource and ClassicToken belong to official accounts: a website app has no access token of its own")
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	return &Website{newApp(o)}, nil
}

// App returns "weixin" and the app id.
func (w *Website) App() wecom.App { return w.app.app() }

// AuthorizeURL returns the address of the page with the QR code.
func (w *Website) AuthorizeURL(a wecom.Attempt) string {
	lang := "&lang=cn"
	if a.Language == "en" {
		lang = "&lang=en"
	}
	return w.app.authorizeURL("/connect/qrconnect", "snsapi_login", a, lang)
}

// Identify exchanges the code for the person's openid, and with Options.Profile
// asks for name and picture.
func (w *Website) Identify(ctx context.Context, code string) (wecom.Identity, error) {
	return w.app.identify(ctx, code)
}

// Exchange gives the code for the person's tokens (sns/oauth2/access_token), for
// programs that do so without a middleware. The code is sent at most once, or once more each time that
// Weixin says that it is busy. If a fresh sign-in can mend the
// failure, the error wraps [wecom.ErrStartOver]; if Weixin refused, it is a *[wecom.APIError].
func (w *Website) Exchange(ctx context.Context, code string) (UserToken, error) {
	return w.app.exchange(ctx, code)
}

// Refresh returns t with a new access token, or with the same one and a
// new life if that still serves (sns/oauth2/refresh_token). An error that wraps [wecom.ErrStartOver] says
// that the refresh token is worth nothing any more: the person has to sign in again.
func (w *Website) Refresh(ctx context.Context, t UserToken) (UserToken, error) {
	return w.app.refresh(ctx, t)
}

// Validate asks Weixin whether t's access token still serves (sns/auth). An
// error means that it could not tell.
func (w *Website) Validate(ctx context.Context, t UserToken) (bool, error) {
	return w.app.validate(ctx, t)
}

// UserInfo asks for the person's name, picture and so on (sns/userinfo).
func (w *Website) UserInfo(ctx context.Context, t UserToken) (User, error) {
	return w.app.userInfo(ctx, t)
}
