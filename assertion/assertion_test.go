package assertion_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/assertion"
	"github.com/wecomauth/wecom/issuer"
	"github.com/wecomauth/wecom/wecomtest"
)

const (
	iss = "https://sso.example.com/wecom"
	aud = "https://wiki.example.com"
)

var person = wecom.Identity{Provider: "wecom", CorpID: "ww1", AppID: "1", UserID: "zhangsan", Name: "张三", Departments: []int64{2, 7}}

func newKey() *ecdsa.PrivateKey {
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return k
}

// A gateway is the issuer's part of one, and a transport that leads to it.
type gateway struct {
	iss     *issuer.Issuer
	fetches atomic.Int64
	away    atomic.Bool
}

func newGateway(t *testing.T, keys ...crypto.Signer) *gateway {
	o := wecomtest.New().Options(iss + "/callback")
	o.Logger = slog.New(slog.DiscardHandler)
	auth, err := wecom.New(o)
	require.NoError(t, err)
	i, err := issuer.New(issuer.Options{Middleware: auth, URL: iss, SigningKeys: keys})
	require.NoError(t, err)
	return &gateway{iss: i}
}

func (g *gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	g.fetches.Add(1)
	if g.away.Load() {
		return nil, errors.New("no route to host")
	}
	w := httptest.NewRecorder()
	g.iss.Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(r.Method, r.URL.String(), nil))
	return w.Result(), nil
}

func (g *gateway) assert(t *testing.T, audience string) string {
	t.Helper()
	id := person
	id.AuthenticatedAt = time.Now()
	raw, err := g.iss.Assertion(t.Context(), id, audience)
	require.NoError(t, err)
	return raw
}

// newProgram greets whoever is signed in.
func newProgram(t *testing.T, g http.RoundTripper) func(headers ...string) *httptest.ResponseRecorder {
	v, err := assertion.New(assertion.Options{Issuer: iss, Audience: aud, Transport: g, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	h := v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		_, _ = io.WriteString(w, "hello "+id.Key()+" "+id.Name)
	}))
	return func(headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", aud+"/", nil)
		r.Header["X-Wecom-Assertion"] = headers
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
}

func TestHandler(t *testing.T) {
	g := newGateway(t, newKey())
	ask := newProgram(t, g)
	for range 3 {
		res := ask(g.assert(t, aud))
		assert.Equal(t, "hello wecom:ww1:user:zhangsan 张三", res.Body.String())
	}
	assert.EqualValues(t, 1, g.fetches.Load())
}

// What did not come from the gateway, or not for this program, or not now.
func TestT41_Forged(t *testing.T) {
	key := newKey()
	g := newGateway(t, key)
	good := g.assert(t, aud)
	claims := func(change map[string]any) map[string]any {
		id := person
		id.AuthenticatedAt = time.Now()
		all := map[string]any{"iss": iss, "aud": aud, "sub": person.Key(), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(), "identity": id}
		for name, value := range change {
			all[name] = value
			if value == nil {
				delete(all, name)
			}
		}
		return all
	}
	kid := func() string {
		token, err := jwt.ParseSigned(good, []jose.SignatureAlgorithm{jose.ES256})
		require.NoError(t, err)
		return token.Headers[0].KeyID
	}()
	sign := func(alg jose.SignatureAlgorithm, key any, embed bool, all map[string]any) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, &jose.SignerOptions{EmbedJWK: embed})
		require.NoError(t, err)
		raw, err := jwt.Signed(s).Claims(all).Serialize()
		require.NoError(t, err)
		return raw
	}
	public, err := key.PublicKey.Bytes()
	require.NoError(t, err)
	parts := strings.Split(good, ".")
	boss := person
	boss.UserID = "boss"
	for name, headers := range map[string][]string{
		"none":                         nil,
		"empty":                        {""},
		"two":                          {good, good},
		"no JWT":                       {"zhangsan"},
		"alg none":                     {"eyJhbGciOiJub25lIn0." + parts[1] + "."},
		"signature cut off":            {parts[0] + "." + parts[1] + "."},
		"signature of another":         {parts[0] + "." + strings.Split(g.assert(t, aud), ".")[1] + "." + parts[2]},
		"the public key as a secret":   {sign(jose.HS256, public, false, claims(nil))},
		"a key of one's own":           {sign(jose.ES256, newKey(), false, claims(nil))},
		"a key that comes along":       {sign(jose.ES256, newKey(), true, claims(nil))},
		"another program's":            {g.assert(t, "https://grafana.example.com")},
		"an ID token":                  {sign(jose.ES256, key, false, claims(map[string]any{"aud": "wiki", "identity": nil}))},
		"another issuer's":             {sign(jose.ES256, key, false, claims(map[string]any{"iss": "https://evil.example/wecom"}))},
		"old":                          {sign(jose.ES256, key, false, claims(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}))},
		"without an end":               {sign(jose.ES256, key, false, claims(map[string]any{"exp": nil}))},
		"of tomorrow":                  {sign(jose.ES256, key, false, claims(map[string]any{"iat": time.Now().Add(time.Hour).Unix()}))},
		"nobody's":                     {sign(jose.ES256, key, false, claims(map[string]any{"sub": "", "identity": wecom.Identity{}}))},
		"two people's":                 {sign(jose.ES256, key, false, claims(map[string]any{"identity": boss}))},
		"a megabyte":                   {strings.Repeat("x", 1<<20)},
		"a megabyte of a JWT":          {parts[0] + "." + strings.Repeat("A", 1<<20) + "." + parts[2]},
		"in JSON":                      {`{"payload":"` + parts[1] + `","signatures":[{"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}]}`},
		"of a gateway with other keys": {newGateway(t, newKey()).assert(t, aud)},
	} {
		t.Run(name, func(t *testing.T) {
			res := newProgram(t, g)(headers...)
			assert.Equal(t, 401, res.Code)
			assert.NotContains(t, res.Body.String(), "hello")
		})
	}
	assert.Equal(t, 200, newProgram(t, g)(sign(jose.ES256, key, false, claims(nil))).Code, "the table's claims are in order")
}

// Keys change under a program that runs; a gateway that is away stops nobody whose key is
// known; keys that are made up are not asked for again and again.
func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, newKey())
		var now http.RoundTripper = g
		ask := newProgram(t, transport(func(r *http.Request) (*http.Response, error) { return now.RoundTrip(r) }))
		g.away.Store(true)
		assert.Equal(t, 503, ask(g.assert(t, aud)).Code)
		g.away.Store(false)
		time.Sleep(10 * time.Second)
		assert.Equal(t, 200, ask(g.assert(t, aud)).Code)
		g.away.Store(true)
		time.Sleep(time.Hour)
		assert.Equal(t, 200, ask(g.assert(t, aud)).Code)
		synctest.Wait()
		g.away.Store(false)
		time.Sleep(time.Minute)

		other := newGateway(t, newKey())
		before := g.fetches.Load()
		for range 100 {
			assert.Equal(t, 401, ask(other.assert(t, aud)).Code)
		}
		assert.LessOrEqual(t, g.fetches.Load()-before, int64(1))
		now = other
		time.Sleep(10 * time.Second)
		assert.Equal(t, 200, ask(other.assert(t, aud)).Code)
		assert.Equal(t, 401, ask(g.assert(t, aud)).Code, "a key that is published no more")
	})
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestMistakes(t *testing.T) {
	for name, o := range map[string]assertion.Options{
		"Issuer":   {Audience: aud, KeysURL: "https://a/keys"},
		"Audience": {Issuer: iss},
		"KeysURL":  {Issuer: iss, Audience: aud, KeysURL: "http://gateway:8080/wecom/keys"},
	} {
		_, err := assertion.New(o)
		assert.ErrorContains(t, err, name)
	}
	_, err := assertion.New(assertion.Options{Issuer: iss, Audience: aud, KeysURL: "http://gateway:8080/wecom/keys", DangerouslyAllowHTTP: true})
	assert.NoError(t, err)
	_, err = assertion.New(assertion.Options{Issuer: iss, Audience: aud, KeysURL: "http://127.0.0.1:8080/wecom/keys"})
	assert.NoError(t, err)

	var zero assertion.Verifier
	_, err = zero.Verify(t.Context(), "x")
	assert.Error(t, err)
	w := httptest.NewRecorder()
	zero.Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", aud, nil))
	assert.Equal(t, 401, w.Code)
}
