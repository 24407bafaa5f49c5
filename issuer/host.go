package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wecomauth/wecom"
)

// A Host is a further host of the company's, of which WeCom knows nothing: an app has one
// trusted domain. Its people sign in at the issuer's host, which they notice only if they have not done so
// yet, and have a session and a host-only cookie here. Make one with [Issuer.Host].
//
// It is a client of the issuer, by the same authorization code flow as any other, but in this process and with
// a middleware of its own whose [wecom.Provider] is the issuer. So attempts, deep links, restarts and pages are the
// middleware's, and codes the issuer's: nothing of it is made twice.
type Host struct {
	// Middleware protects the host. Its Revoke and a person's "sign out everywhere" reach all hosts,
	// a logout this one alone.
	Middleware *wecom.Middleware
}

// Host returns a further host. o are the options of the issuer's middleware, with another
// CallbackURL: of another host, and else where the host's middleware stands. They must have the SessionStore,
// which holds what ends sessions at all hosts. Of them Authorize, Recheck, and what
// belongs to WeCom's pages work at the issuer's host alone; who may see what here, [wecom.Middleware.Require] says.
func (s *Issuer) Host(o wecom.Options) (*Host, error) {
	name := nameOf(o.CallbackURL)
	if name != "" && name == nameOf(s.url) {
		return nil, errors.New("issuer: CallbackURL: want another host than the issuer's: a browser sends cookies to all ports")
	}
	if o.SessionStore == nil && o.Sessions == nil {
		return nil, errors.New("issuer: SessionStore: want that of the issuer's middleware, or what ends a person's sessions would not reach this host")
	}
	// No client of SetClients has such an ID, and no secret such a hash: at the token endpoint nobody is this client.
	client := &Client{ID: o.CallbackURL, RedirectURIs: []string{o.CallbackURL}, SecretSHA256: "none"}
	o.Provider = &provider{s, client}
	o.CorpID = "" // or New would make a second client, with a second access token
	o.Authorize, o.Scope, o.Page, o.Profile, o.ProfileRequired, o.LoginPanel, o.JSSDK = nil, "", "", false, false, false, false
	if o.Recheck > 0 {
		o.Recheck = time.Second // the issuer's middleware knows when it is time
	}
	if observe := o.Observe; observe != nil {
		o.Observe = func(ctx context.Context, e wecom.Event) { observe(context.WithValue(ctx, hostKey{}, true), e) }
	}
	auth, err := wecom.New(o)
	if err != nil {
		return nil, err
	}
	for id := range s.hosts.Range {
		if nameOf(id.(string)) == name {
			return nil, fmt.Errorf("issuer: there are two hosts %s: a browser sends cookies to all ports", name)
		}
	}
	s.hosts.Store(client.ID, client)
	return &Host{auth}, nil
}

// nameOf returns the host of a URL without its port.
func nameOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

type (
	stateKey struct{}
	hostKey  struct{} // for Observe: what happens at a further host
)

// Handler returns a handler that binds each code to the browser that asked for it, and calls
// next, which is, or leads to, the middleware's Handler. Without it nobody can sign in.
func (h *Host) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A callback's alone: a script's POST has its state in the body, which another one here would stand beside.
		if r.Method == http.MethodGet && strings.Contains(r.URL.RawQuery, "state=") {
			r = r.WithContext(context.WithValue(r.Context(), stateKey{}, r.URL.Query().Get("state")))
		}
		next.ServeHTTP(w, r)
	})
}

// A provider signs people in by the session that they have, or get, at the issuer's host.
type provider struct {
	issuer *Issuer
	client *Client
}

func (p *provider) App() wecom.App        { return p.issuer.auth.App() }
func (p *provider) Client() *wecom.Client { return p.issuer.auth.Client() }

// AuthorizeURL makes the state the code verifier of PKCE: the middleware takes a state only from the
// browser that has its cookie. So a code of another browser is worth nothing, which WeCom cannot offer.
func (p *provider) AuthorizeURL(req wecom.AuthorizeRequest) string {
	return p.issuer.url + "/authorize?" + url.Values{
		"client_id": {p.client.ID}, "redirect_uri": {req.RedirectURI}, "response_type": {"code"}, "scope": {"openid"},
		"state": {req.State}, "code_challenge": {hash(req.State)}, "code_challenge_method": {"S256"},
	}.Encode()
}

// Identify returns the identity of the session at the issuer's host, which names when that began.
func (p *provider) Identify(ctx context.Context, code string) (wecom.Identity, error) {
	state, _ := ctx.Value(stateKey{}).(string)
	c, err := p.issuer.findCode(ctx, p.client, code, p.client.ID, state)
	if err == nil {
		err = p.issuer.takeCode(ctx, p.client, code)
	}
	switch {
	case errors.As(err, new(*refusal)):
		return wecom.Identity{}, fmt.Errorf("%w: %w", wecom.ErrStartOver, err)
	case err != nil:
		return wecom.Identity{}, unavailable(err)
	}
	return c.Identity, nil
}

// Recheck lets the issuer's middleware look the person up, once for all hosts. It revokes by itself.
func (p *provider) Recheck(ctx context.Context, id wecom.Identity) (bool, error) {
	_, err := p.issuer.auth.Revoked(ctx, id)
	return true, err
}
