package wecom

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// A Provider is where people prove who they are: the seam between a
// [Middleware] and WeCom, or whatever stands in WeCom's place. The default one,
// made by [New] from CorpID, AgentID and Secret, is a WeCom corp app.
//
// A Provider must be safe for concurrent use. The middleware takes care of
// state, cookies, restarts, sessions and failures; a provider only knows an
// address and an exchange.
//
// A Provider may have further methods, which the middleware uses where there are any:
//
//	// Client returns the app's client, nil for none. It becomes Middleware.Client,
//	// which authorizers get, unless Options describe a client of their own.
//	Client() *Client
//
//	// Recheck reports whether a person who signed in as id may stay signed in, for
//	// Options.Recheck. An error means that it could not tell, and ends no session.
//	// It runs in the background, in up to eight goroutines, for 10 seconds at most.
//	Recheck(ctx context.Context, id Identity) (bool, error)
//
//	// Check checks the set-up, for Middleware.Check. It returns an error that lists
//	// every mistake that it found.
//	Check(ctx context.Context) error
type Provider interface {
	// App names the app that people sign in to. It is constant, and it is part
	// of every cookie's name, signature and session: two middlewares whose
	// providers or callbacks differ never accept each other's.
	App() App

	// AuthorizeURL returns the absolute URL of the page where the browser signs
	// in. It must carry req.State and req.RedirectURI unchanged. It does no I/O.
	AuthorizeURL(req AuthorizeRequest) string

	// Identify exchanges the code that came back for the person behind it. It
	// sends the code at most once, and once more only when it is certain that
	// the first was not used up. ctx bounds the whole exchange.
	//
	// The identity's Provider, CorpID and AppID must be those of App, and it must
	// name somebody. If a fresh sign-in by the same person can succeed (the code is
	// used, expired, or its fate is unknown), the error wraps [ErrStartOver]; a
	// *[Failure] in the error's chain is answered as it is, an *[APIError] by what its
	// errcode means, anything else as "the sign-in service is not available". An
	// identity beside the error says that the code was valid and only the person is
	// refused: it does not count against the limit on failed exchanges, and is not used
	// otherwise.
	//
	// AuthenticatedAt is zero, which means now, unless the provider knows of an earlier
	// sign-in: then the session ends when one of that time would.
	Identify(ctx context.Context, code string) (Identity, error)
}

// An App names what people sign in to.
type App struct {
	// Provider is "wecom" for WeCom corp apps; others choose a short lower-case
	// word of their own.
	Provider string
	// CorpID is the corp, empty for providers without corps.
	CorpID string
	// AppID is the app: the agent id for WeCom, the app id for Weixin.
	AppID string
}

// An AuthorizeRequest is what a [Provider] builds the address of a sign-in page from.
type AuthorizeRequest struct {
	// State goes out and must come back: 76 lower-case hexadecimal digits.
	State string
	// RedirectURI is Options.CallbackURL, not yet encoded.
	RedirectURI string
	// Language is "zh" or "en".
	Language string
	// UserAgent is the browser's. It may pick a page and must decide nothing else.
	UserAgent string
	// Page is [PageInApp] or [PageWeb] when a script wants the address of that page,
	// to choose by itself, and [PageAuto] otherwise. A provider with one page ignores it.
	Page Page
}

// A Page says which of WeCom's two sign-in pages a browser is sent to.
type Page string

const (
	// PageAuto sends WeCom's own web-view to the in-app page and every other
	// browser to the web-login page, by User-Agent.
	PageAuto Page = ""
	// PageInApp sends every browser to the in-app page (网页授权).
	PageInApp Page = "in-app"
	// PageWeb sends every browser to the web-login page (企业微信授权登录).
	PageWeb Page = "web"
	// PageWeixin is PageAuto, but Weixin's web-view too goes to the in-app page:
	// for corps whose members use WeCom through Weixin's plugin (微信插件).
	PageWeixin Page = "weixin"
)

// tagOf names what belongs together: 8 hexadecimal digits of a hash.
func tagOf(parts ...string) string {
	sum := sha256.Sum256([]byte(joinUnambiguously(parts...)))
	return hex.EncodeToString(sum[:4])
}

// joinUnambiguously joins parts so that no two lists of parts give one string.
func joinUnambiguously(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "%d:%s,", len(p), p)
	}
	return b.String()
}

func (id *Identity) app() App { return App{id.Provider, id.CorpID, id.AppID} }
