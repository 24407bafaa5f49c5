package issuer

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wecomauth/wecom"
)

// An Issuer serves OpenID Connect. Make one with [New] and share it: it is safe for
// concurrent use. The zero Issuer has no routes.
type Issuer struct {
	auth    *wecom.Middleware
	url     string
	path    string // the URL's: of the folder, as the browser sees it
	folder  string // as the handler sees it
	rows    *rows
	keys    *keys
	clients atomic.Pointer[map[string]*Client]
	hosts   sync.Map // the clients, by ID, that are further hosts
	waiting budget
	groups  func(context.Context, wecom.Identity) ([]string, error)
	email   func(wecom.Identity) string

	endings   chan struct{} // holds one for each of which clients are being told
	lists     *stripes      // of the clients' sessions
	transport http.RoundTripper

	lifetime  time.Duration // of sessions
	tokenLife time.Duration
	log       *slog.Logger
	routes    map[string]route // by path
}

// A route is one of the issuer's.
type route struct {
	name    string
	methods []string
	scripts origins
	serve   http.Handler
}

// origins says which pages' scripts may call a route from another origin. No cookie counts there.
type origins int

const (
	noOrigin      origins = iota
	clientOrigins         // of public clients' redirect URIs
	anyOrigin
)

func (s *Issuer) allRoutes() map[string]route {
	get, post, both := []string{"GET", "HEAD"}, []string{"POST"}, []string{"GET", "POST"}
	routes := map[string]route{}
	for _, r := range [...]route{
		{".well-known/openid-configuration", get, anyOrigin, http.HandlerFunc(s.discovery)},
		{"keys", get, anyOrigin, http.HandlerFunc(s.jwks)},
		{"authorize", both, noOrigin, s.withIdentity(s.authorize)},
		{"token", post, clientOrigins, http.HandlerFunc(s.token)},
		{"userinfo", both, clientOrigins, http.HandlerFunc(s.userinfo)},
		{"end-session", both, noOrigin, s.withIdentity(s.endSession)},
	} {
		routes[s.folder+"/"+r.name] = r
	}
	return routes
}

// Handler returns a handler that serves the issuer's routes, which lie in the folder of
// the middleware's, and calls next for everything else. next is, or leads to, the
// middleware's Handler.
func (s *Issuer) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Only the exact, undecoded path counts, as in the middleware.
		own, ok := s.routes[r.URL.Path]
		if !ok || r.URL.RawPath != "" {
			next.ServeHTTP(w, r)
			return
		}
		setHeaders(w, r)
		if s.admitsScripts(w, r, own) && r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if !slices.Contains(own.methods, r.Method) {
			w.Header().Set("Allow", strings.Join(own.methods, ", "))
			s.fail(w, r, &wecom.Failure{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed"})
			return
		}
		own.serve.ServeHTTP(w, r)
	})
}

// admitsScripts sets the headers with which a browser lets a page of another origin call the route, if it may.
func (s *Issuer) admitsScripts(w http.ResponseWriter, r *http.Request, own route) bool {
	h, origin := w.Header(), "*"
	switch own.scripts {
	case noOrigin:
		return false
	case clientOrigins:
		h.Set("Vary", "Origin")
		if origin = r.Header.Get("Origin"); !s.isPublicClient(origin) {
			return false
		}
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Methods", strings.Join(own.methods, ", "))
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	h.Set("Access-Control-Max-Age", "600")
	return true
}

// isPublicClient says whether origin is that of a redirect URI of a public client.
func (s *Issuer) isPublicClient(origin string) bool {
	for _, c := range *s.clients.Load() {
		if origin != "" && c.public() && slices.ContainsFunc(c.RedirectURIs, func(uri string) bool { return originOf(uri) == origin }) {
			return true
		}
	}
	return false
}

// originOf returns the origin of a redirect URI as a browser writes it, "" if no page has it.
func originOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return ""
	}
	host := strings.ToLower(u.Host)
	if port, ok := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]; ok {
		host = strings.TrimSuffix(host, port)
	}
	return u.Scheme + "://" + host
}

// withIdentity calls serve with the identity of the session, the zero Identity for nobody.
func (s *Issuer) withIdentity(serve func(http.ResponseWriter, *http.Request, wecom.Identity)) http.Handler {
	inner := s.auth.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		serve(w, r, id)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Optional leaves an identity that another middleware put there. Nobody's is none.
		inner.ServeHTTP(w, r.WithContext(wecom.NewContext(r.Context(), wecom.Identity{})))
	})
}

func (s *Issuer) client(id string) *Client {
	if host, ok := s.hosts.Load(id); ok {
		return host.(*Client)
	}
	return (*s.clients.Load())[id]
}

// discovery serves the metadata of OpenID Connect Discovery 1.0 and RFC 8414.
func (s *Issuer) discovery(w http.ResponseWriter, r *http.Request) {
	public(w)
	writeJSON(w, r, http.StatusOK, map[string]any{
		"issuer":                                         s.url,
		"authorization_endpoint":                         s.url + "/authorize",
		"token_endpoint":                                 s.url + "/token",
		"userinfo_endpoint":                              s.url + "/userinfo",
		"jwks_uri":                                       s.url + "/keys",
		"end_session_endpoint":                           s.url + "/end-session",
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token"},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          s.keys.algorithms,
		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "client_secret_post", "none"},
		"code_challenge_methods_supported":               []string{"S256"},
		"scopes_supported":                               append(slices.Clone(allScopes), offlineAccess),
		"claims_supported":                               []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "sid", "name", "preferred_username", "picture", "email", "email_verified", "departments", "groups"},
		"prompt_values_supported":                        []string{"none", "login"},
		"claims_parameter_supported":                     false,
		"request_parameter_supported":                    false,
		"request_uri_parameter_supported":                false,
		"authorization_response_iss_parameter_supported": true,
		"backchannel_logout_supported":                   true,
		"backchannel_logout_session_supported":           true,
	})
}

// jwks serves the public keys.
func (s *Issuer) jwks(w http.ResponseWriter, r *http.Request) {
	set, err := s.keys.published(r.Context())
	if err != nil {
		s.fail(w, r, unavailable(err))
		return
	}
	public(w)
	writeJSON(w, r, http.StatusOK, set)
}

func unavailable(err error) *wecom.Failure {
	return &wecom.Failure{Status: http.StatusServiceUnavailable, Code: "session_store", Err: err}
}

// fail answers for what has no answer in the protocol.
func (s *Issuer) fail(w http.ResponseWriter, r *http.Request, f *wecom.Failure) {
	told := *f // which may be one for all requests
	f = &told
	f.Reference = strings.ToLower(rand.Text()[:10])
	if f.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	if f.LoginURL == "" {
		f.LoginURL = "/"
	}
	s.refused(r, f.Code, f.Status, f.Err, slog.String("reference", f.Reference))
	f.ServeHTTP(w, r)
}

// refused logs that a request was refused, without anything that it holds.
func (s *Issuer) refused(r *http.Request, code string, status int, cause error, more ...slog.Attr) {
	attrs := append(more, slog.String("code", code), slog.Int("status", status), slog.String("route", s.routes[r.URL.Path].name))
	if cause != nil {
		attrs = append(attrs, slog.String("cause", cause.Error()))
	}
	level := slog.LevelWarn
	if status >= 500 {
		level = slog.LevelError
	}
	s.log.LogAttrs(r.Context(), level, "issuer: request refused", attrs...)
}
