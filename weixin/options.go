package weixin

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"regexp"
	"strings"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/config"
	"github.com/wecomauth/wecom/internal/upstream"
)

// Options describes a [Website] or an [OfficialAccount]. Use keyed literals. It is copied.
type Options struct {
	// AppID is the app's or account's AppID: wx and 16 hexadecimal digits.
	AppID string
	// Secret is its AppSecret.
	Secret wecom.Secret

	// Profile fills the identity's Name and AvatarURL with one more call to Weixin. If the call
	// fails, the sign-in continues without them (a warning is logged). With Profile, an
	// official account asks the person for consent (snsapi_userinfo), and only then is there a
	// unionid; without it, people are signed in silently (snsapi_base). Default: off.
	Profile bool

	// OnToken, if set, is called with the person's own tokens at each sign-in, before Authorize
	// decides whether the person may sign in. Keep them on the server; ctx bounds the whole
	// sign-in. It must be safe for concurrent use.
	OnToken func(ctx context.Context, id wecom.Identity, token UserToken)

	// ClassicToken gets an official account's access token from cgi-bin/token instead of
	// cgi-bin/stable_token. There, each fetch invalidates the previous token within five minutes, so
	// every program that uses the account must share one token through TokenStore or
	// TokenSource. Default: the stable token, which needs no sharing.
	ClassicToken bool
	// TokenStore shares an official account's token with other processes. Default: none.
	TokenStore wecom.TokenStore
	// TokenSource supplies an official account's token in place of a source made from AppID and
	// Secret: a central token server, for example.
	TokenSource wecom.TokenSource

	// Endpoints replaces Tencent's hosts. Default: the public ones.
	Endpoints Endpoints
	// Transport carries the calls to Weixin's API. Default: one of our own, which
	// honours the proxy variables of the environment.
	Transport http.RoundTripper
	// Logger gets warnings; no secret, code or token reaches it. Default: slog.Default().
	Logger *slog.Logger
}

// Endpoints are the addresses that the package calls or sends browsers to. An empty field means
// Weixin's own. http is accepted for loopback only.
type Endpoints struct {
	// API is the base URL of the server API. Default: https://api.weixin.qq.com
	API string
	// Pages is the base URL of the sign-in pages. Default: https://open.weixin.qq.com
	Pages string
}

// appIDForm allows more than Weixin issues, for fakes and proxies.
var appIDForm = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

// check checks what both kinds of app use of o.
func (o Options) check() (c config.Mistakes) {
	switch {
	case o.AppID == "":
		c.Add("AppID is missing: it stands beside the AppSecret at open.weixin.qq.com or mp.weixin.qq.com")
	case !appIDForm.MatchString(o.AppID):
		c.Add("AppID %.80q: want letters, digits, - and _ only", o.AppID)
	case strings.HasPrefix(o.AppID, "ww"):
		c.Add("AppID %q is a WeCom corp id (企业ID): a Weixin app's begins with wx", o.AppID)
	}
	switch secret := o.Secret.Reveal(); {
	case secret == "" && o.TokenSource == nil:
		c.Add("Secret is missing: it is the app's AppSecret")
	case strings.TrimSpace(secret) != secret:
		c.Add("Secret begins or ends with white space")
	}
	c.Address("Endpoints.API", o.Endpoints.API)
	c.Address("Endpoints.Pages", o.Endpoints.Pages)
	return c
}

// checkAccount checks what only official accounts use of o.
func (o Options) checkAccount(c *config.Mistakes) {
	if o.TokenSource != nil && (o.TokenStore != nil || o.ClassicToken) {
		c.Add("TokenStore and ClassicToken do nothing when TokenSource is set: leave them out")
	}
}

// checkSignIn checks what is needed besides for people to sign in.
func (o Options) checkSignIn(c *config.Mistakes) {
	if o.Secret.Reveal() == "" && o.TokenSource != nil { // else check has said so
		c.Add("Secret is missing: codes are exchanged with it")
	}
}

// withDefaults returns o, which is valid, with its defaults.
func (o Options) withDefaults() Options {
	o.Endpoints.API = strings.TrimRight(cmp.Or(o.Endpoints.API, "https://api.weixin.qq.com"), "/")
	o.Endpoints.Pages = strings.TrimRight(cmp.Or(o.Endpoints.Pages, "https://open.weixin.qq.com"), "/")
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.Transport == nil {
		o.Transport = upstream.NewTransport()
	}
	return o
}
