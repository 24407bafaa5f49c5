package issuer_test

import (
	"crypto"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/issuer"
	"github.com/wecomauth/wecom/wecomtest"
)

// A code and its token, as a client whose person is signed in asks for them.
func BenchmarkCodeAndToken(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256"} {
		b.Run(alg, func(b *testing.B) {
			iss, cookie := signedInAt(b, alg)
			for b.Loop() {
				r := httptest.NewRequest("GET", authorizeURL(ask("scope", "openid profile")), nil)
				r.Header.Set("Cookie", cookie)
				w := httptest.NewRecorder()
				iss.ServeHTTP(w, r)
				_, rest, _ := strings.Cut(w.Header().Get("Location"), "code=")
				code, _, _ := strings.Cut(rest, "&")
				r = httptest.NewRequest("POST", origin+"/wecom/token", strings.NewReader(form(code).Encode()))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				w = httptest.NewRecorder()
				iss.ServeHTTP(w, r)
				if w.Code != 200 {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}

func BenchmarkAssertion(b *testing.B) {
	s, err := issuer.New(issuer.Options{Middleware: newAuth(b, wecomtest.New()), URL: origin + "/wecom", SigningKeys: []crypto.Signer{ecKey()}})
	require.NoError(b, err)
	id := wecom.Identity{Provider: "wecom", CorpID: "ww1", AppID: "1", UserID: "zhangsan", Name: "张三", Departments: []int64{2}, AuthenticatedAt: time.Now()}
	for b.Loop() {
		if _, err := s.Assertion(b.Context(), id, app); err != nil {
			b.Fatal(err)
		}
	}
}

func newAuth(b *testing.B, fake *wecomtest.Fake) *wecom.Middleware {
	o := fake.Options(iss + "/callback")
	o.Logger = slog.New(slog.DiscardHandler)
	auth, err := wecom.New(o)
	require.NoError(b, err)
	return auth
}

// signedInAt returns an issuer, and the cookies of somebody who is signed in there.
func signedInAt(b *testing.B, alg string) (site http.Handler, cookie string) {
	fake := wecomtest.New()
	auth := newAuth(b, fake)
	all := clients()[:1]
	all[0].Algorithm = alg
	s, err := issuer.New(issuer.Options{
		Middleware: auth, URL: iss, Clients: all, SigningKeys: []crypto.Signer{rsaKey(), ecKey()}, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(b, err)
	site = s.Handler(auth.Handler(http.NotFoundHandler()))
	browser := fake.Browser(origin, site).SignInAs("zhangsan")
	browser.Get("/")
	for _, c := range browser.Cookies(iss) {
		cookie += c.Name + "=" + c.Value + "; "
	}
	return site, cookie
}
