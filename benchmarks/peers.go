package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/go-pkgz/auth/v2"
	"github.com/go-pkgz/auth/v2/avatar"
	"github.com/go-pkgz/auth/v2/token"
	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/sessions"
	"github.com/markbates/goth/gothic"
	"github.com/redis/go-redis/v9"
	"golang.org/x/oauth2"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/benchmarks/internal/scratch"
	"github.com/wecomauth/wecom/wecomtest"
)

const (
	site   = "https://app.example.com"
	userID = "zhangsan"
	key    = "0123456789abcdef0123456789abcdef" // signs what is thrown away at the end of the run
)

// A peer answers the question "who is signed in?" for each request.
type peer struct {
	name    string
	does    string // what the answer rests on
	handler http.Handler
	request *http.Request // signed in
}

// seen fails loudly if a peer did not find out: a fast wrong answer is no result.
func seen(got string) {
	if got != userID {
		panic(fmt.Sprintf("the handler saw %q", got))
	}
}

func get(cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, site+"/reports?from=2026-01-01", nil)
	r.RequestURI = "/reports?from=2026-01-01"
	r.Header.Set("Accept", "text/html")
	r.Header.Set("User-Agent", wecomtest.UserAgentChrome)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return r
}

type userKey struct{}

// bare takes an identity from a cookie and puts it into the context, by the means of net/http, as programs do.
func bare() peer {
	return peer{
		name: "bare: cookie and context", does: "nothing is checked",
		handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := r.Cookie("session")
			if err != nil {
				return
			}
			r = r.WithContext(context.WithValue(r.Context(), userKey{}, wecom.Identity{UserID: c.Value}))
			id, _ := r.Context().Value(userKey{}).(wecom.Identity)
			seen(id.UserID)
		}),
		request: get(&http.Cookie{Name: "session", Value: userID}),
	}
}

// options are the defaults against an instant fake.
func options(fake *wecomtest.Fake) wecom.Options {
	o := fake.Options(site + "/wecom/callback")
	o.Logger = slog.New(slog.DiscardHandler)
	return o
}

func mustNew(o wecom.Options) *wecom.Middleware {
	m, err := wecom.New(o)
	if err != nil {
		panic(err)
	}
	return m
}

var whoAmI = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
	id, _ := wecom.FromContext(r.Context())
	seen(id.UserID)
})

// signIn runs a whole sign-in through h and returns the browser's cookies.
func signIn(fake *wecomtest.Fake, h http.Handler) []*http.Cookie {
	b := fake.Browser(site, h).SignInAs(userID)
	if res := b.Get("/"); res.Status != http.StatusOK {
		panic(fmt.Sprintf("sign-in ended with %d: %v", res.Status, res.Err))
	}
	return b.Cookies("/")
}

// ours is wecom with somebody signed in.
func ours(name, does string, store scs.Store) (peer, *wecom.Middleware) {
	fake := wecomtest.New()
	o := options(fake)
	o.SessionStore = store
	m := mustNew(o)
	h := m.Handler(whoAmI)
	return peer{name: name, does: does, handler: h, request: get(signIn(fake, h)...)}, m
}

func wecomDefault() peer {
	p, _ := ours("wecom", "session row in memory, revocable, ends on the server", nil)
	return p
}

// wecomRevoked is the default in a process that revoked somebody once: from then on it looks whom.
func wecomRevoked() peer {
	p, m := ours("wecom, after a revocation", "the same, and the list of who was revoked", nil)
	if err := m.Revoke(context.Background(), wecom.Identity{UserID: "lisi"}); err != nil {
		panic(err)
	}
	return p
}

// wecomInSCS is wecom in the application's scs session, where LoadAndSave stands outside and where
// it is left out. store nil is in memory.
func wecomInSCS(store scs.Store) (outside, leftOut peer) {
	fake := wecomtest.New()
	manager := secureManager()
	if store != nil {
		manager.Store = store
	}
	o := options(fake)
	o.Sessions = manager
	alone := mustNew(o).Handler(whoAmI)
	h := manager.LoadAndSave(alone)
	request := get(signIn(fake, h)...)
	outside = peer{
		name: "wecom in an scs session", does: "scs as it ships (gob), and our row",
		handler: h, request: request,
	}
	leftOut = peer{
		name: "the same, LoadAndSave left out", does: "likewise; wecom loads the session",
		handler: alone, request: request,
	}
	return outside, leftOut
}

func wecomRedis(client *redis.Client) peer {
	p, _ := ours("wecom, sessions in Redis", "one round trip to Redis", goredisstore.NewWithPrefix(client, scratch.Keys+"wecom:"))
	return p
}

func secureManager() *scs.SessionManager {
	manager := scs.New()
	manager.Store = memstore.NewWithCleanupInterval(0)
	manager.HashTokenInStore = true
	manager.Cookie.Name, manager.Cookie.Secure = "__Host-session", true
	return manager
}

func plainSCS(name, does string, manager *scs.SessionManager) peer {
	handler := manager.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen(manager.GetString(r.Context(), "user"))
	}))
	put := manager.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		manager.Put(r.Context(), "user", userID)
	}))
	w := httptest.NewRecorder()
	put.ServeHTTP(w, get())
	return peer{name: name, does: does, handler: handler, request: get(w.Result().Cookies()...)}
}

func scsGob() peer {
	return plainSCS("scs as it ships (gob)", "session row in memory, hashed token", secureManager())
}

func scsRedis(client *redis.Client) peer {
	manager := secureManager()
	manager.Store = goredisstore.NewWithPrefix(client, scratch.Keys+"scs:")
	return plainSCS("scs, sessions in Redis", "one round trip to Redis", manager)
}

// emptyCodec stores nothing: what scs costs without its codec.
type emptyCodec struct{}

func (emptyCodec) Encode(time.Time, map[string]any) ([]byte, error) { return []byte{1}, nil }
func (emptyCodec) Decode([]byte) (time.Time, map[string]any, error) {
	return time.Time{}, fixedValues, nil
}

var fixedValues = map[string]any{"user": userID}

func scsEmptyCodec() peer {
	manager := secureManager()
	manager.Codec = emptyCodec{}
	return plainSCS("scs without a codec", "session row in memory; the value is not stored", manager)
}

func jwtCookie() peer {
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject: userID, ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour)),
	}).SignedString([]byte(key))
	if err != nil {
		panic(err)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}))
	return peer{
		name: "JWT cookie (golang-jwt)", does: "signature and expiry; cannot be revoked",
		handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := r.Cookie("jwt")
			if err != nil {
				return
			}
			var claims jwt.RegisteredClaims
			if _, err := parser.ParseWithClaims(c.Value, &claims, func(*jwt.Token) (any, error) { return []byte(key), nil }); err != nil {
				return
			}
			r = r.WithContext(context.WithValue(r.Context(), userKey{}, claims.Subject))
			user, _ := r.Context().Value(userKey{}).(string)
			seen(user)
		}),
		request: get(&http.Cookie{Name: "jwt", Value: signed}),
	}
}

func goPkgzAuth() peer {
	service := auth.NewService(auth.Opts{
		SecretReader: token.SecretFunc(func(string) (string, error) { return key, nil }),
		URL:          site, Issuer: "bench", AvatarStore: avatar.NewNoOp(),
		AudienceReader: token.AudienceFunc(func() ([]string, error) { return []string{"bench"}, nil }),
		TokenDuration:  time.Hour, CookieDuration: time.Hour,
		XSRFIgnoreMethods: []string{http.MethodGet}, // as its documentation advises for pages
	})
	service.AddProvider("dev", "", "")
	w := httptest.NewRecorder()
	_, err := service.TokenService().Set(w, token.Claims{
		User:             &token.User{ID: "dev_" + userID, Name: userID},
		RegisteredClaims: jwt.RegisteredClaims{ID: "1", Audience: jwt.ClaimStrings{"bench"}},
	})
	if err != nil {
		panic(err)
	}
	middleware := service.Middleware()
	return peer{
		name: "go-pkgz/auth", does: "JWT cookie: signature, expiry, audience; cannot be revoked",
		handler: middleware.Auth(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			user, err := token.GetUserInfo(r)
			if err != nil {
				panic(err)
			}
			seen(strings.TrimPrefix(user.ID, "dev_"))
		})),
		request: get(w.Result().Cookies()...),
	}
}

// gothPattern is what programs do that sign in with goth: its session store is gorilla's cookie
// store, and values go through its own helpers.
func gothPattern() peer {
	gothic.Store = sessions.NewCookieStore([]byte(key))
	w := httptest.NewRecorder()
	if err := gothic.StoreInSession("user", userID, get(), w); err != nil {
		panic(err)
	}
	return peer{
		name: "goth with gorilla/sessions", does: "signed cookie (gob, gzip); cannot be revoked",
		handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			r = r.WithContext(r.Context()) // gorilla keeps what it decoded in the request, which is a new one each time
			user, err := gothic.GetFromSession("user", r)
			if err != nil {
				return
			}
			r = r.WithContext(context.WithValue(r.Context(), userKey{}, user))
			got, _ := r.Context().Value(userKey{}).(string)
			seen(got)
		}),
		request: get(w.Result().Cookies()...),
	}
}

// peers returns all that work in memory, wecom and the bare handler first.
func peers() []peer {
	outside, leftOut := wecomInSCS(nil)
	return []peer{
		bare(), wecomDefault(), wecomRevoked(), scsEmptyCodec(), jwtCookie(), goPkgzAuth(), scsGob(), outside, leftOut, gothPattern(),
	}
}

func redisPeers(client *redis.Client) []peer {
	outside, _ := wecomInSCS(goredisstore.NewWithPrefix(client, scratch.Keys+"wecom-scs:"))
	outside.name, outside.does = "wecom in an scs session, in Redis", "two round trips: scs's, and ours"
	return []peer{wecomRedis(client), scsRedis(client), outside}
}

// A nullWriter keeps nothing but its header, which is reused.
type nullWriter struct{ header http.Header }

func (w *nullWriter) Header() http.Header         { return w.header }
func (w *nullWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *nullWriter) WriteHeader(int)             {}

// serve runs one request as a server does: the same connection, a new header.
func (p peer) serve(w *nullWriter) {
	clear(w.header)
	p.handler.ServeHTTP(w, p.request)
}

func (p peer) bench(b *testing.B) {
	w := &nullWriter{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		p.serve(w)
	}
}

// A callback is a sign-in that waits for its last step.
type callback struct {
	handler http.Handler
	request *http.Request
}

// begin brings a browser as far as the callback.
func begin(fake *wecomtest.Fake, h http.Handler) (callback, error) {
	b := fake.Browser(site, h).SignInAs(userID)
	b.StopAt(func(r *http.Request) bool { return r.URL.Path == "/wecom/callback" })
	held := b.Get("/reports")
	if !held.Held {
		return callback{}, errors.New("the browser did not get to the callback")
	}
	u, err := url.Parse(held.URL)
	if err != nil {
		return callback{}, err
	}
	r := get(b.Cookies("/")...)
	r.URL, r.RequestURI = u, u.RequestURI()
	return callback{h, r}, nil
}

func (c callback) run() int {
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, c.request)
	return w.Code
}

// A tokenSource has its token cached, for an hour.
type tokenSource struct {
	name string
	call func() error
}

func tokenSources() []tokenSource {
	ends := time.Now().Add(time.Hour)
	ours := wecom.NewTokenSource("bench", nil, func(context.Context, wecom.Token) (wecom.Token, error) {
		return wecom.Token{Value: wecom.NewSecret("t"), Expires: ends}, nil
	})
	theirs := oauth2.ReuseTokenSource(nil, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "t", Expiry: ends}))
	list := []tokenSource{
		{"wecom", func() error { _, err := ours.Token(context.Background()); return err }},
		{"x/oauth2's ReuseTokenSource", func() error { _, err := theirs.Token(); return err }},
	}
	for _, s := range list {
		if err := s.call(); err != nil {
			panic(err)
		}
	}
	return list
}

func (s tokenSource) alone(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = s.call()
	}
}

func (s tokenSource) crowded(b *testing.B) {
	b.ReportAllocs()
	b.SetParallelism(max(1, 200/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_ = s.call()
		}
	})
}
