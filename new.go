package wecom

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/attempt"
	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/lookup"
	"github.com/wecomauth/wecom/internal/pages"
	"github.com/wecomauth/wecom/internal/tokenkey"
)

// New checks o as a whole and returns the middleware, or nil and an error that
// lists every mistake in o (see errors.Join). It does no I/O and starts no goroutine.
func New(o Options) (*Middleware, error) {
	callback, home, err := o.validate()
	if err != nil {
		return nil, err
	}
	o = o.withDefaults()
	provider, client, err := newProvider(o)
	if err != nil {
		return nil, err
	}
	app := provider.App()
	// With CallbackURL: another middleware of the same app may let in other people.
	tag := tagOf(app.Provider, app.CorpID, app.AppID, o.CallbackURL)
	cookie := cookieKind{prefix: "wecom-" + tag}
	if callback.Scheme == "https" {
		cookie = cookieKind{prefix: "__Host-" + cookie.prefix, secure: true}
	}
	attempts, err := newAttempts(o, app, cookie)
	if err != nil {
		return nil, fmt.Errorf("wecom: %w", err)
	}
	m := &Middleware{
		provider:  provider,
		sessions:  newSessions(o, app, cookie, tag),
		attempts:  attempts,
		exchanges: &exchanges{timeout: o.Limits.SignIn},
		client:    client,
		authorize: o.Authorize,
		site:      newSite(o, callback, home),
		routes:    maps.Clone(builtInRoutes),
		proofs:    map[string]string{},
		lang:      o.Language,
		onFailure: o.OnFailure,
		observe:   o.Observe,
		log:       o.Logger,
		proxies:   slices.Clone(o.TrustedProxies),
	}
	m.routes["callback"] = callbackRoute
	m.panel = newPanelPage(o, provider, m.site)
	m.otherHost = &otherHost{callback: m.site.host, proxies: m.proxies, log: m.log}
	if o.Recheck > 0 {
		m.rechecks = &rechecks{every: o.Recheck, timeout: m.exchanges.timeout, slots: make(chan struct{}, rechecksAtOnce)}
	}
	for _, file := range o.DomainProof {
		m.proofs["/"+file] = proofName.FindStringSubmatch(file)[1]
	}
	return m, nil
}

func newSite(o Options, callback *url.URL, home string) site {
	path := strings.TrimPrefix(callback.Path, o.MountPath)
	s := site{
		callback: o.CallbackURL,
		origin:   callback.Scheme + "://" + callback.Host,
		host:     callback.Hostname(),
		mount:    o.MountPath,
		folder:   path[:strings.LastIndexByte(path, '/')],
		home:     home,
		brand:    pages.Brand{App: o.AppName, Contact: o.Contact},
		routes:   map[string]string{},
	}
	for name := range builtInRoutes {
		if name != "jssdk" || o.JSSDK {
			s.routes[s.folder+"/"+name] = name
		}
	}
	s.routes[path] = "callback"
	return s
}

func newSessions(o Options, app App, cookie cookieKind, space string) *sessions {
	s := &sessions{
		carrier:  &cookieCarrier{cookie},
		kind:     's',
		app:      app,
		space:    space,
		appSpace: tagOf(app.Provider, app.CorpID, app.AppID),
		lifetime: o.SessionLifetime,
		idle:     o.IdleTimeout,
	}
	rows := o.SessionStore
	if o.Sessions != nil {
		s.carrier = &scsCarrier{o.Sessions, newStore(o.Sessions.Store, o.Limits.SessionStore, o.Observe), "wecom." + space}
		s.kind = 'c'
		if rows == nil {
			rows = o.Sessions.Store
		}
	}
	if rows == nil {
		s.memory = newMemoryStore()
		rows = s.memory
	}
	s.store = newStore(rows, o.Limits.SessionStore, o.Observe)
	return s
}

func newAttempts(o Options, app App, cookie cookieKind) (*attempts, error) {
	current, earlier := o.StateKey, o.EarlierStateKeys
	if current.Reveal() == "" {
		current = o.Secret
	} else if o.Secret.Reveal() != "" {
		earlier = append(earlier[:len(earlier):len(earlier)], o.Secret)
	}
	var before [][]byte
	for _, k := range earlier {
		before = append(before, []byte(k.Reveal()))
	}
	info := joinUnambiguously(app.Provider, app.CorpID, app.AppID, o.CallbackURL)
	keys, err := attempt.NewKeys([]byte(current.Reveal()), before, info)
	return &attempts{keys, cookie}, err
}

// NewClient returns a client for a program without a web page, such as a cron
// job; [Middleware.Client] returns that of a middleware. Of o it uses CorpID,
// AgentID, Secret, TokenSource, TokenStore, Endpoints.API, Transport, Limits, Logger
// and Observe; CorpID and one of Secret and TokenSource are needed. It does no I/O.
// If o is not valid, the client is nil and the error lists every mistake.
//
// With Provider the client calls that platform's API: Provider's App stands for CorpID,
// AgentID and Secret, and TokenSource and Endpoints.API are needed. Package
// weixin makes its clients so.
func NewClient(o Options) (*Client, error) {
	var c checks
	c.client(o)
	c.limits(o.Limits)
	if err := c.Err("wecom: these options"); err != nil {
		return nil, err
	}
	return newClient(o.withDefaults()), nil
}

// newClient makes a client from options that are valid and have their defaults.
func newClient(o Options) *Client {
	c := &Client{
		app:       App{Provider: errcode.WeCom, CorpID: o.CorpID, AppID: o.AgentID},
		secret:    o.Secret,
		api:       o.Endpoints.API,
		transport: o.Transport,
		timeout:   o.Limits.Call,
		maxAnswer: o.Limits.AnswerBytes,
		tokens:    o.TokenSource,
	}
	if o.Provider != nil {
		c.app = o.Provider.App()
	}
	if c.tokens == nil {
		c.tokens = c.newSource(o, "", func(ctx context.Context, _ Token) (Token, error) {
			began := time.Now()
			t, err := c.fetchToken(ctx)
			e := Event{Name: "token", Outcome: "ok", ErrCode: errCode(err), Duration: time.Since(began)}
			if err != nil {
				e.Outcome = "failed"
			}
			o.Observe(ctx, e)
			return t, err
		})
	}
	if o.Provider == nil {
		c.corpTicket = c.newSource(o, "-jsapi", func(ctx context.Context, _ Token) (Token, error) {
			return c.fetch(ctx, "get_jsapi_ticket", "ticket", nil)
		})
		c.appTicket = c.newSource(o, "-agent-config", func(ctx context.Context, _ Token) (Token, error) {
			return c.fetch(ctx, "ticket/get", "ticket", url.Values{"type": {"agent_config"}})
		})
	}
	return c
}

// newSource returns a source of the app's tokens, or of its tickets of one kind, with
// a key of its own, or a store would take one ticket for another, or for the token.
func (c *Client) newSource(o Options, kind string, fetch func(context.Context, Token) (Token, error)) TokenSource {
	key := tokenkey.Of(c.app.Provider+kind, c.app.CorpID, c.app.AppID, c.secret.Reveal())
	return &tokenSource{key: key, store: o.TokenStore, fetch: fetch, warn: o.Logger.Warn}
}

// newProvider returns the provider that o asks for and the client beside it,
// which is nil if o describes no corp app and its Provider has no client. o is valid.
func newProvider(o Options) (Provider, *Client, error) {
	if o.Provider == nil {
		client := newClient(o)
		return &corpApp{client: client, o: o, departments: lookup.Memory[struct{}, map[int64]string]{Life: namesCount}}, client, nil
	}
	provider := o.Provider
	if o.CorpID != "" && (o.Secret.Reveal() != "" || o.TokenSource != nil) {
		o.Provider = nil
		client, err := NewClient(o)
		return provider, client, err
	}
	if p, ok := provider.(interface{ Client() *Client }); ok {
		return provider, p.Client(), nil
	}
	return provider, nil, nil
}
