package issuer

import (
	"cmp"
	"context"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/wecomauth/wecom"
)

// Options says everything about an [Issuer]. Only keyed literals compile. [New]
// copies it. Middleware, URL, Clients and, for replicas, Store and Key are what it needs.
type Options struct {
	_ [0]func()

	// Middleware signs people in.
	Middleware *wecom.Middleware
	// URL is the issuer identifier, and the folder of the issuer's routes: origin and
	// folder of the middleware's CallbackURL, such as https://sso.example.com/wecom.
	URL string
	// MountPath is the middleware's.
	MountPath string

	// Clients are the programs that sign people in here. See [Issuer.SetClients].
	Clients []Client

	// Store keeps codes, access tokens and signing keys: the middleware's
	// SessionStore, or any store of scs that all replicas share. A store that is a [Taker] makes
	// codes single-use across replicas; with another one, two replicas that get
	// one code in the same moment may both take it. With one that is no [Adder], start one
	// replica before the others, or two make different keys. Default: in memory.
	Store scs.Store
	// Key encrypts the signing keys in Store: at least 32 bytes, the same on all replicas,
	// secret. Another Key means other signing keys. Required with Store, unless SigningKeys is set.
	Key wecom.Secret
	// SigningKeys sign instead of keys that the issuer makes: RSA keys of at least 2048 bits sign
	// RS256, ECDSA keys on P-256 sign ES256. The first of a kind signs, the others are
	// published, for a change of keys. Default: one of each kind, made at first use,
	// kept in Store and replaced every 90 days; a new key is published a day before it signs.
	SigningKeys []crypto.Signer

	// Groups tells the groups of a person, for clients that ask for the scope groups, which
	// tells the ids of the person's departments too. If it
	// fails, so does the request: many programs take no groups for the person having left
	// them. Default: no groups.
	Groups func(ctx context.Context, id wecom.Identity) ([]string, error)
	// Email tells the address of a person, "" for none. It must not hand out what a member may edit,
	// such as Identity.Email: programs find accounts by it. Only an address that is
	// Identity.BizMail, which the corp gives, is called verified. Default: BizMail.
	Email func(id wecom.Identity) string

	// SessionLifetime is the middleware's: no token is valid for longer than the
	// session that it stands for. Default: 12 hours.
	SessionLifetime time.Duration
	// TokenLifetime is how long ID tokens and access tokens are valid, 1 minute to 24 hours. Default: 1 hour.
	TokenLifetime time.Duration

	// Transport carries the calls to BackChannelLogoutURIs. Default: one of our own, which
	// honours the proxy variables of the environment.
	Transport http.RoundTripper
	// Logger gets causes; no secret, code, token or state reaches it. Default: slog.Default().
	Logger *slog.Logger
}

// A Client is a program that signs people in by the issuer.
type Client struct {
	// ID is what the program calls client_id: 1 to 100 letters, digits and -._~
	ID string
	// SecretSHA256 is the SHA-256 of client_secret in hexadecimal. Empty: a public client, which
	// has no secret and must use PKCE, such as a single-page application or a command.
	SecretSHA256 string
	// RedirectURIs are compared letter by letter. They are https, or http on loopback;
	// for public clients also of a scheme of the program's own, such as com.example.app:/callback.
	RedirectURIs []string
	// PostLogoutRedirectURIs are where a sign-out that the program asked for may end.
	PostLogoutRedirectURIs []string
	// BackChannelLogoutURI is what the program is told at, from server to server, that a session has ended
	// from which it got tokens; then their claim sid names that session. See [Issuer.Observe].
	BackChannelLogoutURI string
	// Authorize decides who may use the program, of those who may sign in at all. Default: everybody.
	Authorize wecom.Authorizer
	// Scopes are those that the program may have beside openid: others that it asks
	// for are left out. Default: profile, email and groups.
	Scopes []string
	// OfflineAccess is how long after a sign-in the program may renew its tokens without the browser, if it
	// asks for the scope offline_access: 365 days at most. A refresh token works once; one that comes
	// twice ends all tokens of the sign-in. Revoking the person ends them too, and the end of the session
	// does not. Who has left the corp is found by events or Options.Recheck of the
	// middleware alone. Default: no refresh tokens.
	OfflineAccess time.Duration
	// Algorithm signs the program's ID tokens: RS256 or ES256. Default: RS256, which every program knows.
	Algorithm string
	// DangerouslyAllowHTTP accepts redirect URIs with http: everybody on the network path can
	// sign in to this program as somebody else.
	DangerouslyAllowHTTP bool

	calls chan struct{} // to BackChannelLogoutURI
}

var allScopes = []string{"openid", "profile", "email", "groups"}

const offlineAccess = "offline_access"

func (c *Client) public() bool { return c.SecretSHA256 == "" }

// scope returns what the client gets of what it asks for.
func (c *Client) scope(asked string) string {
	var granted []string
	for _, s := range strings.Fields(asked) {
		may := s == "openid" || s == offlineAccess && c.OfflineAccess > 0 || slices.Contains(allScopes, s) && (c.Scopes == nil || slices.Contains(c.Scopes, s))
		if may && !slices.Contains(granted, s) {
			granted = append(granted, s)
		}
	}
	return strings.Join(granted, " ")
}

// New returns an issuer, or every mistake that it finds in o.
func New(o Options) (*Issuer, error) {
	s := &Issuer{
		auth:      o.Middleware,
		url:       o.URL,
		rows:      &rows{store: o.Store, space: o.URL, locks: newStripes()},
		lists:     newStripes(),
		groups:    o.Groups,
		email:     o.Email,
		lifetime:  cmp.Or(o.SessionLifetime, 12*time.Hour),
		tokenLife: cmp.Or(o.TokenLifetime, time.Hour),
		log:       o.Logger,
		endings:   make(chan struct{}, endingsAtOnce),
		transport: o.Transport,
	}
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("issuer: "+format, args...)) }
	if o.Middleware == nil || o.Middleware.App() == (wecom.App{}) {
		wrong("Middleware: missing, or not made by wecom.New")
	} else {
		s.path = strings.TrimSuffix(path.Dir(o.Middleware.LoginURL("")), "/")
		s.folder = strings.TrimPrefix(s.path, o.MountPath)
		if err := s.checkURL(); err != nil {
			wrong("URL: %w", err)
		}
		if !strings.HasPrefix(s.path, o.MountPath) {
			wrong("MountPath: want the middleware's")
		}
	}
	if s.transport == nil {
		s.transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: callsAtOnce, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: maxBody,
		}
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.groups == nil {
		s.groups = func(context.Context, wecom.Identity) ([]string, error) { return nil, nil }
	}
	if s.email == nil {
		s.email = func(id wecom.Identity) string { return id.BizMail }
	}
	if s.tokenLife < time.Minute || s.tokenLife > 24*time.Hour {
		wrong("TokenLifetime: %v: want 1 minute to 24 hours", s.tokenLife)
	}
	if s.lifetime < time.Minute {
		wrong("SessionLifetime: %v: want at least a minute", s.lifetime)
	}
	shared := o.Store != nil
	if !shared {
		s.rows.store = &memory{}
	}
	var err error
	switch key := o.Key.Reveal(); {
	case len(o.SigningKeys) > 0:
		s.keys, err = fixedKeys(o.SigningKeys)
	case shared && len(key) < 32:
		err = fmt.Errorf("%s: %d bytes: want at least 32, or SigningKeys", "Key", len(key))
	default:
		s.keys, err = keptKeys(s.rows, key, shared)
	}
	if err != nil {
		wrong("%w", err)
	}
	if s.keys != nil { // else each client would be wrong too
		if err := s.SetClients(o.Clients); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s.routes = s.allRoutes()
	return s, nil
}

// checkURL compares URL with where the middleware stands, as far as that shows it.
func (s *Issuer) checkURL() error {
	u, err := url.Parse(s.url)
	switch {
	case err != nil, u.Host == "", u.User != nil, u.RawQuery != "", u.Fragment != "", u.String() != s.url:
		return errors.New("want an absolute URL, such as https://sso.example.com/wecom")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("want https, or http where CallbackURL has that")
	case u.Path != s.path:
		return fmt.Errorf("want the path %q, which is that of the middleware's routes", s.path)
	}
	return nil
}

// SetClients replaces all clients, for requests from now on. If one of them is
// wrong, the error names every mistake and the earlier clients stay. Codes and access tokens of
// a client that is gone are void; those of one that lost scopes tell less.
func (s *Issuer) SetClients(clients []Client) error {
	list := make(map[string]*Client, len(clients))
	var errs []error
	for i, c := range clients {
		c.RedirectURIs, c.PostLogoutRedirectURIs, c.Scopes = slices.Clone(c.RedirectURIs), slices.Clone(c.PostLogoutRedirectURIs), slices.Clone(c.Scopes)
		c.SecretSHA256 = strings.ToLower(c.SecretSHA256)
		c.Algorithm = cmp.Or(c.Algorithm, "RS256")
		c.calls = make(chan struct{}, callsAtOnce)
		if err := c.Check(); err != nil {
			errs = append(errs, fmt.Errorf("issuer: client %d (%q): %w", i+1, c.ID, err))
		} else if !slices.Contains(s.keys.algorithms, c.Algorithm) {
			errs = append(errs, fmt.Errorf("issuer: client %d (%q): Algorithm: there is no key for %s", i+1, c.ID, c.Algorithm))
		}
		if list[c.ID] != nil {
			errs = append(errs, fmt.Errorf("issuer: client %d (%q): there are two of that ID", i+1, c.ID))
		}
		list[c.ID] = &c
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.clients.Store(&list)
	return nil
}

// Check returns every mistake in c that can be seen without the issuer, as [New] and
// [Issuer.SetClients] do: for programs that read clients from a file and know the line.
func (c *Client) Check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.ID == "" || len(c.ID) > 100 || strings.Trim(c.ID, unreserved) != "" {
		wrong("ID: want 1 to 100 letters, digits and -._~")
	}
	if sum, err := hex.DecodeString(c.SecretSHA256); err != nil || len(sum) != 0 && len(sum) != 32 {
		wrong("SecretSHA256: want 64 hexadecimal digits")
	}
	if len(c.RedirectURIs) == 0 {
		wrong("RedirectURIs: missing")
	}
	for _, uri := range slices.Concat(c.RedirectURIs, c.PostLogoutRedirectURIs) {
		if err := c.checkRedirect(uri); err != nil {
			wrong("%q: %w", uri, err)
		}
	}
	if uri := c.BackChannelLogoutURI; uri != "" {
		if err := c.checkRedirect(uri); err != nil {
			wrong("BackChannelLogoutURI: %q: %w", uri, err)
		} else if !strings.HasPrefix(uri, "https://") && !strings.HasPrefix(uri, "http://") {
			wrong("BackChannelLogoutURI: %q: want https", uri)
		}
	}
	for _, scope := range c.Scopes {
		if !slices.Contains(allScopes, scope) {
			wrong("Scopes: %q: want profile, email or groups", scope)
		}
	}
	if c.OfflineAccess != 0 && (c.OfflineAccess < time.Minute || c.OfflineAccess > 365*24*time.Hour) {
		wrong("OfflineAccess: %v: want 1 minute to 365 days", c.OfflineAccess)
	}
	if !slices.Contains([]string{"", "RS256", "ES256"}, c.Algorithm) {
		wrong("Algorithm: %q: want RS256 or ES256", c.Algorithm)
	}
	return errors.Join(errs...)
}

const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

// checkRedirect keeps out what a browser and a comparison could understand differently.
func (c *Client) checkRedirect(uri string) error {
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Scheme == "" || len(uri) > 1000 || strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }):
		return errors.New("want an absolute URI of at most 1000 printable ASCII characters")
	case u.Fragment != "" || strings.Contains(uri, "#"):
		return errors.New("want no fragment")
	case u.User != nil:
		return errors.New("want no user in it")
	case u.Scheme == "https" && u.Host != "":
		return nil
	case u.Scheme == "http" && u.Host != "":
		addr, err := netip.ParseAddr(u.Hostname())
		if c.DangerouslyAllowHTTP || u.Hostname() == "localhost" || err == nil && addr.IsLoopback() {
			return nil
		}
		return errors.New("want https, or http on loopback, unless the client has dangerously_allow_http")
	case c.public() && strings.Contains(u.Scheme, "."):
		return nil
	}
	return errors.New("want https; for public clients also a scheme with a dot, such as com.example.app")
}
