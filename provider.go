package wecom

import "context"

// A rechecker can tell whether somebody who signed in may still sign in. It is an optional part of a Provider.
type rechecker interface {
	Recheck(ctx context.Context, id Identity) (bool, error)
}

// A Provider is where people prove who they are: the seam between a
// [Middleware] and WeCom, or whatever stands in WeCom's place. The default one,
// made by [New] from CorpID, AgentID and Secret, is a WeCom corp app.
//
// A Provider must be safe for concurrent use. The middleware takes care of
// state, cookies, restarts, sessions and failures; a provider only knows an
// address and an exchange.
type Provider interface {
	// App names the app that people sign in to. It is constant, and it is part
	// of every cookie's name, signature and session: two middlewares whose
	// providers or callbacks differ never accept each other's.
	App() App

	// AuthorizeURL returns the absolute URL of the page where the browser signs
	// in. It must carry a.State and a.RedirectURI unchanged. It does no I/O.
	AuthorizeURL(a Attempt) string

	// Identify exchanges the code that came back for the person behind it. It
	// sends the code at most once, and once more only when it is certain that
	// the first was not used up. ctx bounds the whole exchange.
	//
	// The identity's Provider, CorpID and AppID must be those of App, and it must
	// name somebody. If a fresh sign-in by the same person can mend the failure (the code is used,
	// expired, or its fate is unknown), the error wraps [ErrStartOver]; a
	// *[Failure] in the error's chain is answered as it is; anything else is answered as "the
	// sign-in service is not available". An identity beside the error says that the
	// code was good and only the person is refused: it does not count against the
	// limit on failed exchanges, and is not used otherwise.
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

// An Attempt is what a [Provider] needs to build the address of a sign-in page.
type Attempt struct {
	// State goes out and must come back: 76 lower-case hexadecimal digits.
	State string
	// RedirectURI is Options.CallbackURL, not yet encoded.
	RedirectURI string
	// Language is "zh" or "en".
	Language string
	// UserAgent is the browser's. It may pick a page and must decide nothing else.
	UserAgent string
}
