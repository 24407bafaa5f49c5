package issuer_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/wecomauth/wecom"
)

// A relying party of another maker, from its page to WeCom and back to its page.
func TestSignIn(t *testing.T) {
	for name, c := range map[string]oauth2.Config{
		"basic":  {ClientID: "grafana", ClientSecret: password, RedirectURL: back},
		"post":   {ClientID: "grafana", ClientSecret: password, RedirectURL: back, Endpoint: oauth2.Endpoint{AuthStyle: oauth2.AuthStyleInParams}},
		"query":  {ClientID: "grafana", ClientSecret: password, RedirectURL: back + "?from=sso"},
		"public": {ClientID: "spa", RedirectURL: "https://spa.example.com/login/oidc"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(o *options) {
				o.issuer.Clients[1].RedirectURIs = []string{"https://spa.example.com/login/oidc"}
			})
			c.Scopes = []string{oidc.ScopeOpenID, "profile"}
			at := strings.TrimSuffix(c.RedirectURL, "?from=sso")
			at = strings.TrimSuffix(at, "/login/oidc")
			b := w.fake.Browser(origin, w.site).SignInAs("zhangsan").Serve(at, w.relyingParty(c))
			res := b.Get(at + "/d/abc?from=now-6h&to=now&var=%E5%BC%A0+x%2Fy")
			assert.Equal(t, "wecom:"+w.fake.CorpID()+":user:zhangsan looks at /d/abc?from=now-6h&to=now&var=%E5%BC%A0+x%2Fy", res.Body, "%v", res.Err)

			asked := len(w.fake.Codes())
			res = b.Get(at + "/second")
			assert.Contains(t, res.Body, "looks at /second")
			assert.Len(t, w.fake.Codes(), asked, "who is signed in is not sent to WeCom")
		})
	}
}

// Everything that a client gets.
func TestTokens(t *testing.T) {
	w := newWorld(t, func(o *options) {
		o.issuer.Groups = func(_ context.Context, id wecom.Identity) ([]string, error) {
			return []string{"公司/研发部", "2"}, nil
		}
	})
	b := w.signedIn("zhangsan")
	got := w.token(form(w.code(b)))
	require.Equal(t, 200, got.Status, got)
	assert.Equal(t, "Bearer", got.TokenType)
	assert.InDelta(t, 3600, got.ExpiresIn, 5)
	assert.Equal(t, "openid profile email groups", got.Scope)
	assert.Equal(t, "application/json", got.Header.Get("Content-Type"))
	claims, err := w.verify("grafana", got.IDToken)
	require.NoError(t, err)
	for name, want := range map[string]any{
		"iss": iss, "aud": "grafana", "sub": "wecom:" + w.fake.CorpID() + ":user:zhangsan", "nonce": "a nonce",
		"name": "张三", "preferred_username": "zhangsan", "groups": []any{"公司/研发部", "2"},
	} {
		assert.Equal(t, want, claims[name], name)
	}
	for _, name := range []string{"iat", "exp", "auth_time", "at_hash"} {
		assert.NotEmpty(t, claims[name], name)
	}
	status, info := w.userinfo(got.AccessToken)
	assert.Equal(t, 200, status)
	for _, name := range []string{"sub", "name", "preferred_username", "email", "groups"} {
		assert.Equal(t, claims[name], info[name], name)
	}

	_, err = w.verify("spa", got.IDToken)
	assert.Error(t, err, "another client's")
	got = w.token(form(w.code(b, "scope", "openid", "-nonce")))
	claims, err = w.verify("grafana", got.IDToken)
	require.NoError(t, err)
	for _, name := range []string{"name", "preferred_username", "email", "groups", "nonce", "picture", "email_verified"} {
		assert.NotContains(t, claims, name)
	}
}

func TestEmail(t *testing.T) {
	member := func(id wecom.Identity) func(*options) {
		return func(o *options) {
			id.Provider, id.CorpID, id.AppID = "one", "ww1", "1"
			o.wecom.Provider, o.wecom.StateKey = oneProvider{id}, wecom.NewSecret(strings.Repeat("k", 32))
			o.wecom.CorpID, o.wecom.AgentID, o.wecom.Secret, o.wecom.Profile = "", "", wecom.Secret{}, false
		}
	}
	rule := func(id wecom.Identity) string { return id.UserID + "@corp.example" }
	for name, c := range map[string]struct {
		rule     func(wecom.Identity) string
		id       wecom.Identity
		want     any
		verified any
	}{
		"the corp's":         {nil, wecom.Identity{UserID: "a", BizMail: "a@corp.example"}, "a@corp.example", true},
		"none, or their own": {nil, wecom.Identity{UserID: "a", Email: "a@evil.example"}, nil, nil},
		"by rule":            {rule, wecom.Identity{UserID: "a", BizMail: "b@corp.example"}, "a@corp.example", nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, member(c.id), func(o *options) { o.issuer.Email = c.rule })
			b := w.browser().Serve("https://one.test", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				http.Redirect(rw, r, iss+"/callback?code=x&state="+r.URL.Query().Get("state"), http.StatusFound)
			})).StopAt(func(r *http.Request) bool { return r.Host == "grafana.example.com" })
			got := w.token(form(w.code(b)))
			require.Equal(t, 200, got.Status, got)
			_, claims := w.userinfo(got.AccessToken)
			assert.Equal(t, c.want, claims["email"])
			assert.Equal(t, c.verified, claims["email_verified"])
		})
	}
}

// A oneProvider signs everybody in as one person.
type oneProvider struct{ id wecom.Identity }

func (p oneProvider) App() wecom.App {
	return wecom.App{Provider: p.id.Provider, CorpID: p.id.CorpID, AppID: p.id.AppID}
}
func (p oneProvider) AuthorizeURL(a wecom.AuthorizeRequest) string {
	return "https://one.test/?state=" + a.State
}
func (p oneProvider) Identify(context.Context, string) (wecom.Identity, error) { return p.id, nil }

// Groups that cannot be told: many programs would take none for the person having left them.
func TestGroupsFail(t *testing.T) {
	w := newWorld(t)
	failing := newReplica(t, w.fake, func(o *options) {
		o.issuer.Groups = func(context.Context, wecom.Identity) ([]string, error) {
			return []string{"half"}, errors.New("WeCom is away")
		}
	})
	got := failing.token(form(failing.code(failing.signedIn("zhangsan"))))
	assert.Equal(t, 503, got.Status)
	assert.Equal(t, "temporarily_unavailable", got.Error)
	assert.Contains(t, failing.logs.String(), "WeCom is away")
}

// The program behind a proxy learns who it is, from what no client takes for an ID token.
func TestAssertion(t *testing.T) {
	w := newWorld(t)
	id := wecom.Identity{Provider: "wecom", CorpID: "ww1", AppID: "1", UserID: "zhangsan", Name: "张三", Departments: []int64{2}, AuthenticatedAt: time.Now().Truncate(time.Second).UTC()}
	raw, err := w.iss.Assertion(t.Context(), id, "https://wiki.example.com")
	require.NoError(t, err)
	claims, err := w.verify("https://wiki.example.com", raw)
	require.NoError(t, err)
	assert.Equal(t, "wecom:ww1:user:zhangsan", claims["sub"])
	assert.NotEmpty(t, claims["jti"])
	whole, err := json.Marshal(claims["identity"])
	require.NoError(t, err)
	want, err := json.Marshal(id)
	require.NoError(t, err)
	assert.JSONEq(t, string(want), string(whole))
	_, err = w.iss.Assertion(t.Context(), id, "grafana")
	assert.Error(t, err, "a client's ID")
}

// What a client may ask about the sign-in.
func TestPrompt(t *testing.T) {
	asked := func(w *world) int { return len(w.fake.Codes()) }
	for name, c := range map[string]struct {
		change   []string
		signedIn bool
		want     string // the error
		signIns  int    // that it takes
	}{
		"anonymous":                {nil, false, "", 1},
		"signed in":                {nil, true, "", 0},
		"none, anonymous":          {[]string{"prompt", "none"}, false, "login_required", 0},
		"none, signed in":          {[]string{"prompt", "none"}, true, "", 0},
		"none and another":         {[]string{"prompt", "none login"}, true, "invalid_request", 0},
		"login, anonymous":         {[]string{"prompt", "login"}, false, "", 1},
		"login, signed in":         {[]string{"prompt", "login"}, true, "", 1},
		"consent":                  {[]string{"prompt", "consent"}, true, "", 0},
		"max_age, young":           {[]string{"max_age", "1000"}, true, "", 0},
		"max_age=0":                {[]string{"max_age", "0"}, true, "", 1},
		"max_age=0, none":          {[]string{"max_age", "0", "prompt", "none"}, true, "login_required", 0},
		"max_age, no number":       {[]string{"max_age", "-1"}, true, "invalid_request", 0},
		"state of 6 KB":            {[]string{"state", strings.Repeat("s%+", 2000)}, false, "", 1},
		"state of 6 KB, signed in": {[]string{"state", strings.Repeat("s%+", 2000)}, true, "", 0},
		"nonce of 3 KB":            {[]string{"nonce", strings.Repeat("n", 3000)}, false, "", 1},
		"unknown parameters":       {[]string{"foo", "bar", "resource", "x"}, false, "", 1},
		"unknown scopes":           {[]string{"scope", "openid offline_access x"}, true, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			if c.signedIn {
				b = w.signedIn("zhangsan")
			}
			before := asked(w)
			q := ask(c.change...)
			if len(q.Get("state")) > 100 { // three bytes become nine
				q.Set("state", q.Get("state")[:3000])
			}
			res := b.Get(authorizeURL(q))
			got := answered(t, res)
			assert.Equal(t, c.want, got.Get("error"))
			assert.Equal(t, q.Get("state"), got.Get("state"))
			assert.Equal(t, iss, got.Get("iss"))
			assert.Equal(t, c.signIns, asked(w)-before, "sign-ins")
			for _, hop := range b.History() {
				assert.NotEqual(t, 502, hop.Status)
			}
			if c.want == "" {
				assert.Equal(t, 200, w.token(form(got.Get("code"))).Status)
			}
		})
	}
}

// A form that another site posts brings no Lax cookie along. Who is signed in is known all the same.
func TestAuthorizeByPost(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("zhangsan")
	asked := len(w.fake.Codes())
	got := answered(t, b.From(app).StopAt(toClient).PostForm(iss+"/authorize", ask()))
	assert.Equal(t, 200, w.token(form(got.Get("code"))).Status)
	assert.Len(t, w.fake.Codes(), asked)
}

// Who may sign in but not use the client; and who WeCom's page refused.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	got := answered(t, w.signedIn("zhangsan").Get(authorizeURL(ask("client_id", "closed", "redirect_uri", app+"/closed"))))
	assert.Equal(t, "access_denied", got.Get("error"))
	assert.Empty(t, got.Get("code"))
	got = answered(t, w.signedIn("lisi").Get(authorizeURL(ask("client_id", "closed", "redirect_uri", app+"/closed"))))
	assert.Len(t, got.Get("code"), 43)

	res := w.browser().Refuse().Get(authorizeURL(ask()))
	assert.Equal(t, 403, res.Status)
	assert.False(t, res.Held, "the sign-in was refused before the client was concerned")
}

// Nobody but a person who opens a page is sent to WeCom.
func TestScriptsAndPrograms(t *testing.T) {
	w := newWorld(t)
	res := w.browser().Fetch("GET", authorizeURL(ask()), "")
	assert.Equal(t, 401, res.Status)
	assert.Empty(t, w.fake.Codes())
	for _, path := range []string{"/authorize", "/token", "/userinfo", "/keys", "/.well-known/openid-configuration", "/end-session"} {
		r := httptest.NewRequest("DELETE", iss+path, nil)
		rec := httptest.NewRecorder()
		w.site.ServeHTTP(rec, r)
		assert.Equal(t, 405, rec.Code, path)
		assert.NotEmpty(t, rec.Header().Get("Allow"), path)
	}
	// Only the exact path is the issuer's.
	rec := httptest.NewRecorder()
	w.site.ServeHTTP(rec, httptest.NewRequest("GET", iss+"/%6beys", nil))
	assert.Equal(t, 401, rec.Code)
}

func TestDiscovery(t *testing.T) {
	w := newWorld(t)
	p, err := oidc.NewProvider(w.context(), iss)
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, p.Claims(&m))
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "end_session_endpoint"} {
		u, err := url.Parse(m[name].(string))
		require.NoError(t, err)
		rec := httptest.NewRecorder()
		w.site.ServeHTTP(rec, httptest.NewRequest("GET", u.String(), nil))
		assert.NotEqual(t, 404, rec.Code, name)
	}
	rec := httptest.NewRecorder()
	w.site.ServeHTTP(rec, httptest.NewRequest("GET", m["jwks_uri"].(string), nil))
	assert.NotContains(t, rec.Body.String(), `"d"`, "no private part")
	assert.Equal(t, "*", rec.Header().Get("Access-Control-Allow-Origin"))
}
