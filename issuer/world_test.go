package issuer_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/logtest"
	"github.com/wecomauth/wecom/issuer"
	"github.com/wecomauth/wecom/wecomtest"
)

const (
	origin = "https://sso.example.com"
	iss    = origin + "/wecom"
	app    = "https://grafana.example.com"
	back   = app + "/login/oidc"

	password = "a-secret-of-grafana-0123456789"
	verifier = "a-verifier-of-pkce-that-is-long-enough-0123456789"
)

func sha(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// clients are those of every world: one with a secret, one public, one that nobody may use.
func clients() []issuer.Client {
	return []issuer.Client{
		{ID: "grafana", SecretSHA256: sha(password), RedirectURIs: []string{back, back + "?from=sso"}, PostLogoutRedirectURIs: []string{app + "/bye"}},
		{ID: "spa", RedirectURIs: []string{"https://spa.example.com/", "com.example.spa:/cb", "http://127.0.0.1:8000/cb"}, Algorithm: "ES256"},
		{ID: "closed", SecretSHA256: sha(password), RedirectURIs: []string{app + "/closed"}, Authorize: func(_ context.Context, _ *wecom.Client, id wecom.Identity) (bool, error) {
			return id.UserID == "lisi", nil
		}},
	}
}

var (
	rsaKey = sync.OnceValue(func() *rsa.PrivateKey { k, _ := rsa.GenerateKey(rand.Reader, 2048); return k })
	ecKey  = sync.OnceValue(func() *ecdsa.PrivateKey { k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); return k })
)

func ecKey2() *ecdsa.PrivateKey { k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); return k }

// A world is a fake WeCom, a middleware and the issuer before it.
type world struct {
	*testing.T
	fake *wecomtest.Fake
	auth *wecom.Middleware
	iss  *issuer.Issuer
	site http.Handler
	logs *logtest.Buffer
}

type options struct {
	wecom  wecom.Options
	issuer issuer.Options
}

func newWorld(t *testing.T, change ...func(*options)) *world {
	t.Helper()
	return newReplica(t, wecomtest.New(), change...)
}

func newReplica(t *testing.T, fake *wecomtest.Fake, change ...func(*options)) *world {
	t.Helper()
	w := &world{T: t, fake: fake, logs: &logtest.Buffer{}}
	o := options{fake.Options(iss + "/callback"), issuer.Options{URL: iss, Clients: clients()}}
	log := slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.wecom.Logger, o.issuer.Logger = log, log
	o.wecom.Profile = true
	o.wecom.Observe = func(ctx context.Context, e wecom.Event) { w.iss.Observe(ctx, e) }
	o.issuer.SigningKeys = []crypto.Signer{rsaKey(), ecKey()} // to make one for each world takes long
	for _, f := range change {
		f(&o)
	}
	var err error
	w.auth, err = wecom.New(o.wecom)
	require.NoError(t, err)
	o.issuer.Middleware = w.auth
	w.iss, err = issuer.New(o.issuer)
	require.NoError(t, err)
	w.site = w.iss.Handler(w.auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		_, _ = io.WriteString(w, "hello "+id.UserID)
	})))
	return w
}

// browser is one that stops before it goes to a client.
func (w *world) browser() *wecomtest.Browser {
	return w.fake.Browser(origin, w.site).SignInAs("zhangsan").StopAt(toClient)
}

func toClient(r *http.Request) bool {
	return r.Host != "sso.example.com" && !strings.HasSuffix(r.Host, ".weixin.qq.com")
}

func (w *world) signedIn(who string) *wecomtest.Browser {
	w.Helper()
	b := w.browser().SignInAs(who)
	require.Equal(w, "hello "+who, b.Get("/").Body)
	return b
}

// ask is an authorization request that is in order, changed. "-name" takes a parameter out.
func ask(change ...string) url.Values {
	q := url.Values{
		"client_id": {"grafana"}, "redirect_uri": {back}, "response_type": {"code"}, "scope": {"openid profile email groups"},
		"state": {"a state"}, "nonce": {"a nonce"}, "code_challenge": {challenge(verifier)}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(change); i += 2 {
		if name, out := strings.CutPrefix(change[i], "-"); out {
			q.Del(name)
			i--
			continue
		}
		q.Set(change[i], change[i+1])
	}
	return q
}

func authorizeURL(q url.Values) string { return iss + "/authorize?" + q.Encode() }

// answered returns the parameters that the browser brings to the client.
func answered(t *testing.T, res *wecomtest.Response) url.Values {
	t.Helper()
	at := res.URL
	if !res.Held {
		at = refresh(res)
	}
	require.NotEmpty(t, at, "%d %s %v %s", res.Status, res.URL, res.Err, res.Body)
	u, err := url.Parse(at)
	require.NoError(t, err)
	require.NotEqual(t, "sso.example.com", u.Host)
	return u.Query()
}

// refresh is where a page leads by itself.
func refresh(res *wecomtest.Response) string {
	_, rest, _ := strings.Cut(res.Body, `content="0;url=`)
	target, _, _ := strings.Cut(rest, `"`)
	return strings.NewReplacer("&amp;", "&", "&#43;", "+").Replace(target)
}

// code signs in and returns the client's code.
func (w *world) code(b *wecomtest.Browser, change ...string) string {
	w.Helper()
	got := answered(w.T, b.Get(authorizeURL(ask(change...))))
	require.Empty(w, got.Get("error"), got)
	require.Len(w, got.Get("code"), 43)
	return got.Get("code")
}

type tokens struct {
	Status       int
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	IDToken      string `json:"id_token"`
	RefreshToken string `json:"refresh_token"`
	Scope        string
	Error        string
	Description  string `json:"error_description"`
	Header       http.Header
}

// form is a token request that is in order, changed as by ask.
func form(code string, change ...string) url.Values {
	f := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {back}, "code_verifier": {verifier},
		"client_id": {"grafana"}, "client_secret": {password},
	}
	for i := 0; i < len(change); i += 2 {
		if name, out := strings.CutPrefix(change[i], "-"); out {
			f.Del(name)
			i--
			continue
		}
		f.Set(change[i], change[i+1])
	}
	return f
}

// token sends a token request.
func (w *world) token(f url.Values, change ...func(*http.Request)) (got tokens) {
	w.Helper()
	r := httptest.NewRequest("POST", iss+"/token", strings.NewReader(f.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, f := range change {
		f(r)
	}
	return w.send(r)
}

func (w *world) send(r *http.Request) (got tokens) {
	res := httptest.NewRecorder()
	w.site.ServeHTTP(res, r)
	_ = json.Unmarshal(res.Body.Bytes(), &got)
	got.Status, got.Header = res.Code, res.Header()
	assert.Equal(w, "no-store", res.Header().Get("Cache-Control"))
	return got
}

// userinfo asks with an access token.
func (w *world) userinfo(access string) (status int, claims map[string]any) {
	r := httptest.NewRequest("GET", iss+"/userinfo", nil)
	r.Header.Set("Authorization", "Bearer "+access)
	res := httptest.NewRecorder()
	w.site.ServeHTTP(res, r)
	_ = json.Unmarshal(res.Body.Bytes(), &claims)
	return res.Code, claims
}

// context is for go-oidc: its calls reach the issuer without a network.
func (w *world) context() context.Context {
	return oidc.ClientContext(w.Context(), &http.Client{Transport: handlerTransport{w.site}})
}

type handlerTransport struct{ h http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	in := httptest.NewRequest(r.Method, r.URL.String(), r.Body)
	in.Header = r.Header
	in.ContentLength = r.ContentLength
	w := httptest.NewRecorder()
	t.h.ServeHTTP(w, in)
	return w.Result(), nil
}

// verify is what coreos/go-oidc says of an ID token.
func (w *world) verify(client, raw string) (map[string]any, error) {
	p, err := oidc.NewProvider(w.context(), iss)
	require.NoError(w, err)
	token, err := p.VerifierContext(w.context(), &oidc.Config{ClientID: client}).Verify(w.context(), raw)
	if err != nil {
		return nil, err
	}
	var claims map[string]any
	return claims, token.Claims(&claims)
}

// A relying party is a web application that signs people in with coreos/go-oidc.
func (w *world) relyingParty(c oauth2.Config) http.Handler {
	p, err := oidc.NewProvider(w.context(), iss)
	require.NoError(w, err)
	c.Endpoint = p.Endpoint()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		http.SetCookie(rw, &http.Cookie{Name: "page", Value: url.QueryEscape(r.RequestURI), Path: "/"})
		http.Redirect(rw, r, c.AuthCodeURL("the-state", oidc.Nonce("the-nonce"), oauth2.S256ChallengeOption(verifier)), http.StatusFound)
	})
	mux.HandleFunc("/login/oidc", func(rw http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		assert.Equal(w, "the-state", q.Get("state"))
		assert.Equal(w, iss, q.Get("iss"))
		if e := q.Get("error"); e != "" {
			http.Error(rw, e, http.StatusForbidden)
			return
		}
		got, err := c.Exchange(w.context(), q.Get("code"), oauth2.VerifierOption(verifier))
		if !assert.NoError(w, err) {
			return
		}
		raw, _ := got.Extra("id_token").(string)
		verifier := p.VerifierContext(w.context(), &oidc.Config{ClientID: c.ClientID})
		token, err := verifier.Verify(w.context(), raw)
		if !assert.NoError(w, err) {
			return
		}
		assert.Equal(w, "the-nonce", token.Nonce)
		assert.NoError(w, token.VerifyAccessToken(got.AccessToken))
		info, err := p.UserInfo(w.context(), c.TokenSource(w.context(), got))
		if assert.NoError(w, err) {
			assert.Equal(w, token.Subject, info.Subject)
		}
		page, _ := r.Cookie("page")
		at, _ := url.QueryUnescape(page.Value)
		_, _ = io.WriteString(rw, token.Subject+" looks at "+at)
	})
	return mux
}
