package issuer_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2/memstore"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/internal/vectors"
	"github.com/wecomauth/wecom/issuer"
	"github.com/wecomauth/wecom/wecomtest"
)

// RFC 9700 §4.1, §4.11: nobody is redirected, with a code or an error, to where no client said.
func TestT41_RedirectURIs(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("zhangsan")
	variants := []string{
		"", back + "/", back + "/..", back + "/../evil", back + "?", back + "?from=sso&x=1", back + "?from=evil", back + "#", back + "#x", back + "%23", back + " ", " " + back, back + "\n", back + "%0a",
		strings.ToUpper(back), "HTTPS" + strings.TrimPrefix(back, "https"), "http" + strings.TrimPrefix(back, "https"), "//grafana.example.com/login/oidc", "/login/oidc",
		app + "/login//oidc", app + "/login/./oidc", app + "/login/x/../oidc", app + "/login/%6fidc", app + "/Login/oidc", app + "/", app,
		"https://grafana.example.com:443/login/oidc", "https://grafana.example.com:8443/login/oidc", "https://grafana.example.com./login/oidc",
		"https://evil.grafana.example.com/login/oidc", "https://grafana.example.com.evil.example/login/oidc", "https://evil.example/login/oidc",
		"https://evil.example@grafana.example.com/login/oidc", "https://grafana.example.com@evil.example/login/oidc", "https://grafana.example.com%40evil.example/login/oidc",
		`https://evil.example\@grafana.example.com/login/oidc`, "https://evil.example#@grafana.example.com/login/oidc", "https://evil.example?@grafana.example.com/login/oidc",
		"javascript:alert(1)", "data:text/html,x", iss + "/callback",
	}
	send := func(uri string, change ...string) {
		q := ask(append(change, "redirect_uri", uri)...)
		r := httptest.NewRequest("GET", authorizeURL(q), nil)
		for _, c := range b.Cookies(iss) {
			r.AddCookie(c)
		}
		res := httptest.NewRecorder()
		w.site.ServeHTTP(res, r)
		if body := res.Body.String(); res.Code != 400 || res.Header().Get("Location") != "" || strings.Contains(body, "evil.") || strings.Contains(body, "http-equiv") {
			t.Errorf("%q: %d %v %s", uri, res.Code, res.Header(), body)
		}
	}
	for _, uri := range variants {
		for _, client := range []string{"grafana", "spa"} {
			send(uri, "client_id", client)
			send(uri, "client_id", client, "response_type", "token")
			send(uri, "client_id", client, "prompt", "none")
		}
	}
	for _, uri := range vectors.Redirects() {
		send(uri)
	}
	// Another client's, two, none.
	assert.Equal(t, 400, b.Get(authorizeURL(ask("redirect_uri", app+"/closed"))).Status)
	assert.Equal(t, 400, b.Get(authorizeURL(ask("-redirect_uri"))).Status)
	assert.Equal(t, 400, b.Get(authorizeURL(ask())+"&redirect_uri="+url.QueryEscape(back)).Status)
	assert.Equal(t, 400, b.Get(authorizeURL(ask("client_id", "nobody"))).Status)
	assert.Equal(t, 400, b.Get(authorizeURL(ask("-client_id"))).Status)
	assert.Equal(t, 400, b.Get(authorizeURL(ask())+"&client_id=spa").Status)
}

// What is wrong with a request of a known client goes back to it, with its state and our name.
func TestT41_AuthorizationRequests(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("zhangsan")
	spa := []string{"client_id", "spa", "redirect_uri", "https://spa.example.com/"}
	for name, c := range map[string]struct {
		change []string
		more   string
		want   string
	}{
		"implicit":                          {[]string{"response_type", "token"}, "", "unsupported_response_type"},
		"implicit ID token":                 {[]string{"response_type", "id_token"}, "", "unsupported_response_type"},
		"hybrid":                            {[]string{"response_type", "code id_token"}, "", "unsupported_response_type"},
		"no response_type":                  {[]string{"-response_type"}, "", "invalid_request"},
		"fragment":                          {[]string{"response_mode", "fragment"}, "", "invalid_request"},
		"form_post":                         {[]string{"response_mode", "form_post"}, "", "invalid_request"},
		"no scope":                          {[]string{"-scope"}, "", "invalid_scope"},
		"no openid":                         {[]string{"scope", "profile openid2"}, "", "invalid_scope"},
		"PKCE plain":                        {[]string{"code_challenge", verifier, "code_challenge_method", "plain"}, "", "invalid_request"},
		"PKCE without a method is plain":    {[]string{"-code_challenge_method"}, "", "invalid_request"},
		"PKCE taken out, but for its name":  {[]string{"-code_challenge"}, "", "invalid_request"},
		"PKCE too short":                    {[]string{"code_challenge", "abc"}, "", "invalid_request"},
		"PKCE in hexadecimal":               {[]string{"code_challenge", sha(verifier)}, "", "invalid_request"},
		"PKCE missing for a public client":  {append(spa, "-code_challenge", "-code_challenge_method"), "", "invalid_request"},
		"PKCE plain for a public client":    {append(spa, "code_challenge_method", "plain"), "", "invalid_request"},
		"a request object, alg none":        {[]string{"request", "eyJhbGciOiJub25lIn0.e30."}, "", "request_not_supported"},
		"a request object from somewhere":   {[]string{"request_uri", "https://evil.example/"}, "", "request_uri_not_supported"},
		"two states":                        {nil, "&state=other", "invalid_request"},
		"two nonces":                        {nil, "&nonce=other", "invalid_request"},
		"two scopes":                        {nil, "&scope=openid", "invalid_request"},
		"two challenges":                    {nil, "&code_challenge=" + challenge("other"), "invalid_request"},
		"two response types":                {nil, "&response_type=token", "invalid_request"},
		"registration":                      {[]string{"registration", "{}"}, "", "registration_not_supported"},
		"a hint of somebody else, no login": {[]string{"prompt", "none", "id_token_hint", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."}, "", "login_required"},
	} {
		t.Run(name, func(t *testing.T) {
			got := answered(t, b.Get(authorizeURL(ask(c.change...))+c.more))
			assert.Equal(t, c.want, got.Get("error"))
			assert.NotEmpty(t, got.Get("error_description"))
			assert.Empty(t, got.Get("code"))
			assert.Equal(t, iss, got.Get("iss"), "RFC 9207: against mix-up")
			if c.more != "&state=other" {
				assert.Equal(t, "a state", got.Get("state"))
			}
		})
	}
}

// RFC 9700 §4.5, §4.8, §2.1.1, RFC 6749 §4.1.3: what a code is bound to.
func TestT41_TokenRequests(t *testing.T) {
	spa := []string{"client_id", "spa", "redirect_uri", "https://spa.example.com/"}
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(user), url.QueryEscape(password)) }
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, c := range map[string]struct {
		asked  []string // of the authorization request
		change []string // of the token request
		how    func(*http.Request)
		want   string // the error
	}{
		"in order":                          {},
		"in order, basic":                   {nil, []string{"-client_id", "-client_secret"}, basic("grafana", password), ""},
		"in order, public":                  {spa, append(spa, "-client_secret"), nil, ""},
		"in order, without PKCE":            {[]string{"-code_challenge", "-code_challenge_method"}, []string{"-code_verifier"}, nil, ""},
		"code injection: another client's":  {spa, []string{"redirect_uri", "https://spa.example.com/"}, nil, "invalid_grant"},
		"code injection: another's PKCE":    {nil, []string{"code_verifier", strings.Repeat("v", 50)}, nil, "invalid_grant"},
		"no verifier":                       {nil, []string{"-code_verifier"}, nil, "invalid_grant"},
		"no verifier, public":               {spa, append(spa, "-client_secret", "-code_verifier"), nil, "invalid_grant"},
		"PKCE downgrade: challenge removed": {[]string{"-code_challenge", "-code_challenge_method"}, nil, nil, "invalid_grant"},
		"the challenge as verifier":         {nil, []string{"code_verifier", challenge(verifier)}, nil, "invalid_grant"},
		"a verifier too long":               {nil, []string{"code_verifier", strings.Repeat("v", 129)}, nil, "invalid_grant"},
		"another redirect URI":              {nil, []string{"redirect_uri", back + "?from=sso"}, nil, "invalid_grant"},
		"no redirect URI":                   {nil, []string{"-redirect_uri"}, nil, "invalid_grant"},
		"no code":                           {nil, []string{"-code"}, nil, "invalid_grant"},
		"a code made up":                    {nil, []string{"code", strings.Repeat("c", 43)}, nil, "invalid_grant"},
		"a wrong secret":                    {nil, []string{"client_secret", password + "x"}, nil, "invalid_client"},
		"the secret's hash":                 {nil, []string{"client_secret", sha(password)}, nil, "invalid_client"},
		"no secret":                         {nil, []string{"-client_secret"}, nil, "invalid_client"},
		"a secret for a public client":      {spa, append(spa, "client_secret", "x"), nil, "invalid_client"},
		"an unknown client":                 {nil, []string{"client_id", "nobody"}, nil, "invalid_client"},
		"no client":                         {nil, []string{"-client_id", "-client_secret"}, nil, "invalid_client"},
		"two ways":                          {nil, nil, basic("grafana", password), "invalid_client"},
		"two clients":                       {nil, []string{"-client_secret"}, basic("closed", password), "invalid_client"},
		"a bearer token":                    {nil, nil, header("Authorization", "Bearer x"), "invalid_client"},
		"JSON":                              {nil, nil, header("Content-Type", "application/json"), "invalid_request"},
		"no grant type":                     {nil, []string{"-grant_type"}, nil, "unsupported_grant_type"},
		"password":                          {nil, []string{"grant_type", "password"}, nil, "unsupported_grant_type"},
		"client credentials":                {nil, []string{"grant_type", "client_credentials"}, nil, "unsupported_grant_type"},
		"refresh token":                     {nil, []string{"grant_type", "refresh_token"}, nil, "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			code := w.code(w.signedIn("zhangsan"), c.asked...)
			f := form(code, c.change...)
			how := c.how
			if how == nil {
				how = func(*http.Request) {}
			}
			got := w.token(f, how)
			assert.Equal(t, c.want, got.Error, got.Description)
			switch c.want {
			case "":
				assert.Equal(t, 200, got.Status)
				assert.NotEmpty(t, got.IDToken)
				return
			case "invalid_client":
				assert.Equal(t, 401, got.Status)
				assert.NotEmpty(t, got.Header.Get("WWW-Authenticate"))
			default:
				assert.Equal(t, 400, got.Status)
			}
			assert.Empty(t, got.IDToken+got.AccessToken)
			for _, secret := range []string{code, password, verifier} {
				assert.NotContains(t, w.logs.String(), secret)
			}
		})
	}
}

// RFC 6749 §10.5: a code works once, and what was given for one that comes twice is void.
func TestT41_CodeReplay(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("zhangsan")
	code := w.code(b)
	got := w.token(form(code))
	require.Equal(t, 200, got.Status)
	status, _ := w.userinfo(got.AccessToken)
	require.Equal(t, 200, status)

	other := w.token(form(code, "client_id", "closed"))
	assert.Equal(t, "invalid_grant", other.Error)
	status, _ = w.userinfo(got.AccessToken)
	assert.Equal(t, 200, status, "another client cannot end it")

	again := w.token(form(code))
	assert.Equal(t, "invalid_grant", again.Error)
	status, _ = w.userinfo(got.AccessToken)
	assert.Equal(t, 401, status, "it may be the thief's")
}

// A racing store lets others go first, once, before its call number turn; and it knows what was written.
type racing struct {
	shared
	steps       sync.Mutex // guards the rest
	calls, turn int
	others      func()
	written     []func()
}

func (s *racing) step() {
	var others func()
	s.steps.Lock()
	if s.calls++; s.calls == s.turn {
		others, s.others = s.others, nil
	}
	s.steps.Unlock()
	if others != nil {
		others()
	}
}

func (s *racing) Find(token string) ([]byte, bool, error) {
	s.step()
	return s.shared.Find(token)
}

func (s *racing) Commit(token string, data []byte, expiry time.Time) error {
	s.step()
	s.steps.Lock()
	defer s.steps.Unlock()
	s.written = append(s.written, func() { _ = s.shared.Commit(token, data, expiry) })
	return s.shared.Commit(token, data, expiry)
}

func (s *racing) TakeCtx(_ context.Context, token string) ([]byte, bool, error) {
	s.step()
	data, found, err := s.shared.Find(token)
	if err == nil {
		_ = s.shared.Delete(token)
	}
	return data, found, err
}

// A code or a refresh token comes again at whatever moment of the first request: there is one token at
// most, and it is void. Nor does a write bring it back that the store does once more, or late.
func TestT41_ReplayInBetween(t *testing.T) {
	t.Run("code", func(t *testing.T) {
		replayInBetween(t, 5, func(w *world) url.Values {
			return form(w.code(w.signedIn("zhangsan"), "scope", "openid offline_access"))
		})
	})
	t.Run("refresh token", func(t *testing.T) {
		replayInBetween(t, 5, func(w *world) url.Values { return renewal(w.offlineTokens("zhangsan").RefreshToken) })
	})
}

func replayInBetween(t *testing.T, want int, request func(*world) url.Values) {
	moments := 0
	for turn := 1; turn == moments+1; turn++ {
		synctest.Test(t, func(t *testing.T) {
			store := &racing{}
			w := newWorld(t, offline(nil), func(o *options) { o.issuer.Store = store })
			f := request(w)
			var answers []tokens
			store.calls, store.turn = 0, turn
			store.others = func() { answers = append(answers, w.token(f)) }
			answers = append(answers, w.token(f))
			if len(answers) == 1 { // the request has fewer calls than that
				return
			}
			moments++
			for round := range 2 {
				var given []string
				for _, got := range answers {
					if got.Status == 200 {
						given = append(given, got.AccessToken)
						status, _ := w.userinfo(got.AccessToken)
						assert.Equal(t, 401, status, "moment %d, round %d", turn, round)
						assert.Equal(t, "invalid_grant", w.token(renewal(got.RefreshToken)).Error)
					} else {
						assert.Equal(t, "invalid_grant", got.Error)
					}
				}
				assert.Len(t, given, 1)
				for _, write := range store.written {
					write()
				}
			}
		})
	}
	assert.Equal(t, want, moments)
}

// Codes that nobody was given leave nothing in the store.
func TestT35_CodesMadeUp(t *testing.T) {
	store := &racing{}
	w := newWorld(t, func(o *options) { o.issuer.Store = store })
	for range 10 {
		assert.Equal(t, "invalid_grant", w.token(form(rand.Text()+rand.Text()[:17])).Error)
	}
	assert.Empty(t, store.written)
}

// A parameter that comes twice could mean one thing here and another to who looked at it before.
func TestT41_TokenParametersTwice(t *testing.T) {
	w := newWorld(t)
	for name := range form("") {
		f := form(w.code(w.signedIn("zhangsan")))
		f.Add(name, "x")
		assert.Equal(t, "invalid_request", w.token(f).Error, name)
	}
}

// Stores without Take: of many who bring one code at once, one at most gets a token.
func TestT41_CodeRace(t *testing.T) {
	for name, store := range map[string]interface {
		Find(string) ([]byte, bool, error)
		Commit(string, []byte, time.Time) error
		Delete(string) error
	}{"memory": nil, "a store of scs": memstore.NewWithCleanupInterval(0)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(o *options) {
				if store != nil {
					o.issuer.Store = store
				}
			})
			b := w.signedIn("zhangsan")
			for range 20 {
				code := w.code(b)
				var mu sync.Mutex
				var won []string
				var all sync.WaitGroup
				for range 8 {
					all.Go(func() {
						if got := w.token(form(code)); got.Status == 200 {
							mu.Lock()
							defer mu.Unlock()
							won = append(won, got.AccessToken)
						}
					})
				}
				all.Wait()
				require.LessOrEqual(t, len(won), 1)
				for _, access := range won {
					status, _ := w.userinfo(access)
					require.Equal(t, 401, status, "the code came twice")
				}
			}
		})
	}
}

// Codes last a minute, access tokens an hour, and nothing outlasts the session.
func TestT41_Lifetimes(t *testing.T) {
	t.Run("memory", func(t *testing.T) { synctest.Test(t, func(t *testing.T) { lifetimes(t, newWorld(t)) }) })
	t.Run("a store that forgets nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			lifetimes(t, newWorld(t, func(o *options) { o.issuer.Store = &shared{} }))
		})
	})
	synctest.Test(t, func(t *testing.T) {
		// A request that waits for its sign-in for too long starts over at the client.
		w := newWorld(t)
		b := w.browser()
		res := b.GetNoFollow(authorizeURL(ask("prompt", "login")))
		waiting, err := url.Parse(res.Location())
		require.NoError(t, err)
		time.Sleep(11 * time.Minute)
		assert.Equal(t, 400, b.Get(origin+waiting.Query().Get("return_to")).Status)
	})
}

func lifetimes(t *testing.T, w *world) {
	b := w.signedIn("zhangsan")
	code := w.code(b)
	time.Sleep(61 * time.Second)
	assert.Equal(t, "invalid_grant", w.token(form(code)).Error)

	got := w.token(form(w.code(b)))
	time.Sleep(59 * time.Minute)
	status, _ := w.userinfo(got.AccessToken)
	assert.Equal(t, 200, status)
	time.Sleep(2 * time.Minute)
	status, _ = w.userinfo(got.AccessToken)
	assert.Equal(t, 401, status)

	time.Sleep(10*time.Hour + 30*time.Minute)
	got = w.token(form(w.code(b)))
	assert.Less(t, got.ExpiresIn, 1800, "the session ends in less than half an hour")
	_, err := w.verify("grafana", got.IDToken)
	assert.NoError(t, err)
	time.Sleep(30 * time.Minute)
	_, err = w.verify("grafana", got.IDToken)
	assert.Error(t, err)

}

// A person who is thrown out, a client that is gone.
func TestT26_TokensOfTheRevoked(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("zhangsan")
	code, got := w.code(b), w.token(form(w.code(b)))
	other := w.token(form(w.code(w.signedIn("lisi"))))
	require.NoError(t, w.auth.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
	status, _ := w.userinfo(got.AccessToken)
	assert.Equal(t, 401, status)
	assert.Equal(t, "invalid_grant", w.token(form(code)).Error)
	status, _ = w.userinfo(other.AccessToken)
	assert.Equal(t, 200, status)

	require.NoError(t, w.iss.SetClients(clients()[1:]))
	status, _ = w.userinfo(other.AccessToken)
	assert.Equal(t, 401, status)
	assert.Equal(t, 400, b.Get(authorizeURL(ask())).Status)
}

// Who lost a client's tag gets no code, as soon as the middleware knows.
func TestT41_ClientsOfATag(t *testing.T) {
	w := newWorld(t, func(o *options) { o.issuer.Clients[0].Authorize = allow.Tags(1) })
	b := w.signedIn("wangwu")
	w.code(b)
	w.fake.AddTag(wecomtest.Tag{ID: 1, Name: "值班", Users: []string{"lisi"}})
	require.NoError(t, w.auth.DirectoryChanged(t.Context()))
	assert.Equal(t, "access_denied", answered(t, b.Get(authorizeURL(ask()))).Get("error"))

	w.fake.Always("tag/get", wecomtest.Fault{Status: 500})
	require.NoError(t, w.auth.DirectoryChanged(t.Context()))
	assert.Equal(t, "temporarily_unavailable", answered(t, b.Get(authorizeURL(ask()))).Get("error"))
}

// What a client may not have any more, earlier tokens and codes do not tell it.
func TestT41_ScopesTakenAway(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("zhangsan")
	got, code := w.token(form(w.code(b))), w.code(b)
	less := clients()
	less[0].Scopes = []string{"email"}
	require.NoError(t, w.iss.SetClients(less))
	status, claims := w.userinfo(got.AccessToken)
	assert.Equal(t, 200, status)
	assert.NotContains(t, claims, "name")
	got = w.token(form(code))
	assert.Equal(t, "openid email", got.Scope)
	claims, err := w.verify("grafana", got.IDToken)
	require.NoError(t, err)
	assert.NotContains(t, claims, "name")
}

// OpenID Connect Core 1.0 §3.1.2.1: a client that means one person gets no code for another.
func TestT41_HintOfAnother(t *testing.T) {
	w := newWorld(t)
	hint := w.token(form(w.code(w.signedIn("lisi")))).IDToken
	for name, b := range map[string]*wecomtest.Browser{"signed in": w.signedIn("zhangsan"), "anonymous": w.browser()} {
		got := answered(t, b.Get(authorizeURL(ask("id_token_hint", hint))))
		assert.Equal(t, "login_required", got.Get("error"), name)
		got = answered(t, b.SignInAs("lisi").Get(authorizeURL(ask("id_token_hint", hint))))
		assert.NotEmpty(t, got.Get("code"), "%s: changes to the other", name)
		got = answered(t, b.Get(authorizeURL(ask("id_token_hint", hint[:len(hint)-8]))))
		assert.NotEmpty(t, got.Get("code"), "%s: a hint of a key that is gone says nothing", name)
	}
}

// What requests of nobody leave in the store is bounded, and stands in few people's way for a while.
func TestT35_WaitingRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &countingStore{}
		w := newWorld(t, func(o *options) { o.issuer.Store = store })
		send := func() int {
			r := httptest.NewRequest("GET", authorizeURL(ask("prompt", "login"))+"&x="+strings.Repeat("<", 7000), nil)
			res := httptest.NewRecorder()
			w.site.ServeHTTP(res, r)
			return res.Code
		}
		require.Equal(t, 303, send())
		require.Less(t, store.size, 12_000)
		for range 5000 {
			send()
		}
		assert.Less(t, store.size, 48<<20)
		assert.Equal(t, 503, send())
		w.code(w.browser())
		time.Sleep(11 * time.Minute)
		assert.Equal(t, 303, send())
	})
}

// A countingStore keeps nothing.
type countingStore struct{ size int }

func (s *countingStore) Find(string) ([]byte, bool, error) { return nil, false, nil }
func (s *countingStore) Delete(string) error               { return nil }
func (s *countingStore) Commit(_ string, data []byte, _ time.Time) error {
	s.size += len(data)
	return nil
}

// Access tokens are as they were given, in the header and nowhere else.
func TestT41_AccessTokens(t *testing.T) {
	w := newWorld(t)
	got := w.token(form(w.code(w.signedIn("zhangsan"))))
	access := got.AccessToken
	rest, secret, _ := strings.Cut(access, ".")
	for name, change := range map[string]func(*http.Request){
		"none":           func(r *http.Request) {},
		"basic":          func(r *http.Request) { r.SetBasicAuth("grafana", password) },
		"in the query":   func(r *http.Request) { r.URL.RawQuery = "access_token=" + access },
		"an ID token":    func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+got.IDToken) },
		"another secret": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+rest+"."+strings.Repeat("x", 43)) },
		"the name alone": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+rest) },
		"turned round":   func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret+"."+rest) },
		"a megabyte":     func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 1<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", iss+"/userinfo", nil)
			change(r)
			res := httptest.NewRecorder()
			w.site.ServeHTTP(res, r)
			assert.Equal(t, 401, res.Code)
			assert.Contains(t, res.Header().Get("WWW-Authenticate"), "Bearer")
		})
	}
}

// Nothing is read without a bound, whatever parameter is long.
func TestT41_Megabyte(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("zhangsan")
	long := strings.Repeat("x", 1<<20)
	for name := range ask() {
		res := b.GetNoFollow(authorizeURL(ask(name, long)))
		assert.Equal(t, 400, res.Status, name)
		assert.Less(t, len(res.Body), 10000, name)
	}
	for name := range form("") {
		got := w.token(form("x", name, long))
		assert.Equal(t, "invalid_request", got.Error, name)
	}
	assert.Less(t, len(w.logs.String()), 20000)
}

// Our own headers stay below 3 KB, whatever a client asks for.
func TestT41_LongAnswers(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("zhangsan")
	for n := 0; n < 7000; n += 100 {
		res := b.GetNoFollow(authorizeURL(ask("state", strings.Repeat("s", n))))
		size := 0
		for name, values := range res.Header {
			for _, v := range values {
				size += len(name) + len(v) + 4
			}
		}
		require.Less(t, size, 3000, n)
		at := res.Location()
		if at == "" {
			at = refresh(res)
		}
		u, err := url.Parse(at)
		require.NoError(t, err)
		require.Len(t, u.Query().Get("state"), n)
	}
}

// alg none, a public key as HMAC secret, a key that the token brings along: none is a hint of ours.
func TestT41_ForgedHints(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("zhangsan")
	good := w.token(form(w.code(b)))
	claims := map[string]any{"iss": iss, "aud": "grafana", "sub": "wecom:" + w.fake.CorpID() + ":user:zhangsan"}
	hmac, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: rsaKey().PublicKey.N.Bytes()}, nil)
	require.NoError(t, err)
	confused, err := jwt.Signed(hmac).Claims(claims).Serialize()
	require.NoError(t, err)
	own, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: ecKey2()}, (&jose.SignerOptions{EmbedJWK: true}))
	require.NoError(t, err)
	embedded, err := jwt.Signed(own).Claims(claims).Serialize()
	require.NoError(t, err)
	_, payload, _ := strings.Cut(good.IDToken, ".")
	var id wecom.Identity
	require.NoError(t, b.Fetch("GET", iss+"/session", "").JSON(&id))
	assertion, err := w.iss.Assertion(t.Context(), id, "https://wiki.example.com")
	require.NoError(t, err)
	for name, hint := range map[string]string{
		"none":     "eyJhbGciOiJub25lIn0." + payload[:strings.IndexByte(payload, '.')+1],
		"HS256":    confused,
		"embedded": embedded,
		"cut":      good.IDToken[:len(good.IDToken)-4] + "AAAA",
		"no JWT":   "x",
		// The program behind a proxy keeps it: it must not sign people out of everything else.
		"an assertion": assertion,
	} {
		t.Run(name, func(t *testing.T) {
			got := answered(t, b.Get(authorizeURL(ask("prompt", "none", "id_token_hint", hint))))
			assert.Equal(t, "login_required", got.Get("error"))
			assert.Equal(t, 200, b.Get(iss+"/end-session?id_token_hint="+hint).Status)
			assert.Equal(t, 200, b.Fetch("GET", iss+"/session", "").Status, "the person is asked")
		})
	}
	got := answered(t, b.Get(authorizeURL(ask("prompt", "none", "id_token_hint", good.IDToken))))
	assert.NotEmpty(t, got.Get("code"), "the real one")
	lisi := w.token(form(w.code(w.signedIn("lisi"))))
	got = answered(t, b.Get(authorizeURL(ask("prompt", "none", "id_token_hint", lisi.IDToken))))
	assert.Equal(t, "login_required", got.Get("error"), "somebody else's")
}

// An identity that another middleware put into the context is nobody's here.
func TestT41_ForeignIdentity(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest("GET", authorizeURL(ask("prompt", "none")), nil)
	r = r.WithContext(wecom.NewContext(r.Context(), wecom.Identity{Provider: "wecom", CorpID: w.fake.CorpID(), AppID: w.fake.AgentID(), UserID: "boss", AuthenticatedAt: time.Now()}))
	res := httptest.NewRecorder()
	w.site.ServeHTTP(res, r)
	assert.Contains(t, res.Header().Get("Location"), "error=login_required")
}

func TestMistakes(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]issuer.Client{
		"no ID":                 {RedirectURIs: []string{back}},
		"an ID with a space":    {ID: "a b", RedirectURIs: []string{back}},
		"no redirect URI":       {ID: "a"},
		"http":                  {ID: "a", RedirectURIs: []string{"http://grafana.example.com/"}},
		"a fragment":            {ID: "a", RedirectURIs: []string{back + "#"}},
		"a user":                {ID: "a", RedirectURIs: []string{"https://a@grafana.example.com/"}},
		"relative":              {ID: "a", RedirectURIs: []string{"/login"}},
		"a script":              {ID: "a", RedirectURIs: []string{"javascript:alert(1)"}},
		"an own scheme, secret": {ID: "a", SecretSHA256: sha("x"), RedirectURIs: []string{"com.example:/cb"}},
		"a backslash":           {ID: "a", RedirectURIs: []string{`https://grafana.example.com\@evil.example/`}},
		"a secret, no hash":     {ID: "a", SecretSHA256: "secret", RedirectURIs: []string{back}},
		"a scope":               {ID: "a", RedirectURIs: []string{back}, Scopes: []string{"mail"}},
		"a logout URI, http":    {ID: "a", RedirectURIs: []string{back}, BackChannelLogoutURI: "http://grafana.example.com/"},
		"a logout URI, own":     {ID: "a", RedirectURIs: []string{back}, BackChannelLogoutURI: "com.example.app://logout"},
		"offline without unit":  {ID: "a", RedirectURIs: []string{back}, OfflineAccess: 30},
		"offline for two years": {ID: "a", RedirectURIs: []string{back}, OfflineAccess: 2 * 365 * 24 * time.Hour},
		"an algorithm":          {ID: "a", RedirectURIs: []string{back}, Algorithm: "HS256"},
	} {
		t.Run(name, func(t *testing.T) {
			err := w.iss.SetClients([]issuer.Client{c})
			require.Error(t, err)
			assert.Contains(t, err.Error(), fmt.Sprintf("client 1 (%q)", c.ID))
			assert.NotContains(t, err.Error(), "secret\"")
		})
	}
	assert.Error(t, w.iss.SetClients([]issuer.Client{clients()[0], clients()[0]}), "two of one ID")
	assert.NoError(t, w.iss.SetClients([]issuer.Client{{ID: "a", RedirectURIs: []string{"http://intranet/"}, DangerouslyAllowHTTP: true}}))

	_, err := issuer.New(issuer.Options{URL: origin + "/other", Middleware: w.auth, TokenLifetime: 48 * time.Hour, Store: memstore.NewWithCleanupInterval(0), Clients: clients()})
	require.Error(t, err)
	for _, part := range []string{"URL:", "TokenLifetime:", "Key:"} {
		assert.Contains(t, err.Error(), part)
	}
	_, err = issuer.New(issuer.Options{URL: iss})
	assert.ErrorContains(t, err, "Middleware")
	_, err = issuer.New(issuer.Options{URL: iss, Middleware: &wecom.Middleware{}})
	assert.ErrorContains(t, err, "Middleware")
}

// Scripts of public clients' pages may call what these need, and other pages' what is the same for everybody. The
// rest, and everything of the middleware's, is for no page of another origin.
func TestT41_Scripts(t *testing.T) {
	w := newWorld(t, func(o *options) {
		o.issuer.Clients[1].RedirectURIs = append(o.issuer.Clients[1].RedirectURIs, "https://UP.example.com:443/cb", "http://127.0.0.1:80/cb", "https://port.example.com:8443/cb")
	})
	const spa = "https://spa.example.com"
	for _, c := range []struct{ method, path, origin, want string }{
		{"GET", "/.well-known/openid-configuration", "https://any.example", "*"},
		{"GET", "/keys", "https://any.example", "*"},
		{"GET", "/keys", "", "*"},
		{"POST", "/token", spa, spa},
		{"GET", "/userinfo", spa, spa},
		{"GET", "/userinfo", "https://up.example.com", "https://up.example.com"},
		{"GET", "/userinfo", "http://127.0.0.1", "http://127.0.0.1"},
		{"GET", "/userinfo", "https://port.example.com:8443", "https://port.example.com:8443"},
		{"GET", "/userinfo", "https://port.example.com", ""},
		{"GET", "/userinfo", "https://up.example.com:443", ""},
		{"GET", "/userinfo", "http://spa.example.com", ""},
		{"GET", "/userinfo", "https://spa.example.com.evil.example", ""},
		{"GET", "/userinfo", "https://evil.example", ""},
		{"GET", "/userinfo", app, ""}, // a client with a secret has no use for it in a page
		{"GET", "/userinfo", "null", ""},
		{"GET", "/userinfo", "none", ""},
		{"GET", "/userinfo", "", ""},
		{"POST", "/token", "com.example.spa://", ""},
		{"POST", "/token", "https://evil.example", ""},
		{"GET", "/authorize", spa, ""},
		{"GET", "/end-session", spa, ""},
		{"GET", "/session", spa, ""},
		{"POST", "/logout", spa, ""},
		{"POST", "/attempt", spa, ""},
	} {
		for _, preflight := range []bool{false, true} {
			name := fmt.Sprint(c, preflight)
			r := httptest.NewRequest(c.method, iss+c.path, nil)
			if preflight {
				r.Method = "OPTIONS"
				r.Header.Set("Access-Control-Request-Method", c.method)
				r.Header.Set("Access-Control-Request-Headers", "authorization")
			}
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			res := httptest.NewRecorder()
			w.site.ServeHTTP(res, r)
			h := res.Header()
			assert.Equal(t, c.want, h.Get("Access-Control-Allow-Origin"), name)
			assert.Empty(t, h.Get("Access-Control-Allow-Credentials"), name)
			if c.path == "/token" || c.path == "/userinfo" {
				assert.Equal(t, "Origin", h.Get("Vary"), name)
			}
			switch {
			case preflight && c.want != "":
				assert.Equal(t, 204, res.Code, name)
				assert.Contains(t, h.Get("Access-Control-Allow-Methods"), c.method, name)
				assert.Contains(t, h.Get("Access-Control-Allow-Headers"), "Authorization", name)
			case preflight:
				assert.NotEqual(t, 2, res.Code/100, name)
			}
		}
	}
}
