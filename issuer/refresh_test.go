package issuer_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/wecomauth/wecom"
)

const month = 30 * 24 * time.Hour

// offline lets grafana and closed have refresh tokens, and keeps everything in store.
func offline(store *shared) func(*options) {
	return func(o *options) {
		o.issuer.Store = store
		o.issuer.Clients[0].OfflineAccess, o.issuer.Clients[2].OfflineAccess = month, month
	}
}

// offlineTokens signs in and returns what the client gets.
func (w *world) offlineTokens(who string) tokens {
	w.Helper()
	got := w.token(form(w.code(w.signedIn(who), "scope", "openid profile offline_access")))
	require.Equal(w, 200, got.Status, got)
	require.NotEmpty(w, got.RefreshToken)
	return got
}

// renewal is a token request with a refresh token that is in order, changed as by ask.
func renewal(token string, change ...string) url.Values {
	return form("", append([]string{"-code", "-redirect_uri", "-code_verifier", "grant_type", "refresh_token", "refresh_token", token}, change...)...)
}

// For a month, the client gets tokens without the browser.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shared{}
		w := newWorld(t, offline(store))
		plain := w.token(form(w.code(w.signedIn("zhangsan"))))
		assert.Empty(t, plain.RefreshToken, "it did not ask")
		plain = w.token(form(w.code(w.signedIn("zhangsan"), "client_id", "spa", "redirect_uri", "https://spa.example.com/", "scope", "openid offline_access"),
			"client_id", "spa", "redirect_uri", "https://spa.example.com/", "-client_secret"))
		assert.Equal(t, "openid", plain.Scope, "it may not")
		assert.Empty(t, plain.RefreshToken)

		got := w.offlineTokens("zhangsan")
		assert.Equal(t, "openid profile offline_access", got.Scope)
		first, err := w.verify("grafana", got.IDToken)
		require.NoError(t, err)
		for day := range 29 {
			time.Sleep(24 * time.Hour)
			before := got
			got = w.token(renewal(got.RefreshToken))
			require.Equal(t, 200, got.Status, "day %d: %v", day, got)
			assert.NotEqual(t, before.RefreshToken, got.RefreshToken)
			claims, err := w.verify("grafana", got.IDToken)
			require.NoError(t, err)
			assert.NotContains(t, claims, "nonce")
			for _, name := range []string{"iss", "sub", "aud", "auth_time", "name"} {
				assert.Equal(t, first[name], claims[name], name)
			}
			status, _ := w.userinfo(got.AccessToken)
			assert.Equal(t, 200, status)
			status, _ = w.userinfo(got.RefreshToken)
			assert.Equal(t, 401, status, "it is no access token")
			_, secret, _ := strings.Cut(got.RefreshToken, ".")
			assert.NotContains(t, store.dump()+w.logs.String(), secret)
		}
		p, err := oidc.NewProvider(w.context(), iss)
		require.NoError(t, err)
		other := oauth2.Config{ClientID: "grafana", ClientSecret: password, Endpoint: p.Endpoint()}
		renewed, err := other.TokenSource(w.context(), &oauth2.Token{RefreshToken: got.RefreshToken}).Token()
		require.NoError(t, err)
		got.RefreshToken = renewed.RefreshToken

		time.Sleep(24*time.Hour - 10*time.Minute)
		got = w.token(renewal(got.RefreshToken))
		assert.LessOrEqual(t, got.ExpiresIn, 600)
		time.Sleep(10 * time.Minute)
		assert.Equal(t, "invalid_grant", w.token(renewal(got.RefreshToken)).Error)
		status, _ := w.userinfo(got.AccessToken)
		assert.Equal(t, 401, status)
	})
}

// RFC 9700 §4.14: a refresh token works once, for its client; one that comes twice, or whose code does, ends all.
func TestT41_RefreshReplay(t *testing.T) {
	closed := []string{"client_id", "closed"}
	for name, c := range map[string]struct {
		steal func(w *world, first, second tokens) tokens
		ends  bool
	}{
		"the used one":             {func(w *world, first, _ tokens) tokens { return w.token(renewal(first.RefreshToken)) }, true},
		"an access token":          {func(w *world, _, second tokens) tokens { return w.token(renewal(second.AccessToken)) }, true},
		"the used one, by another": {func(w *world, first, _ tokens) tokens { return w.token(renewal(first.RefreshToken, closed...)) }, false},
		"the good one, by another": {func(w *world, _, second tokens) tokens { return w.token(renewal(second.RefreshToken, closed...)) }, false},
		"the good one, by nobody": {func(w *world, _, second tokens) tokens {
			return w.token(renewal(second.RefreshToken, "-client_secret"))
		}, false},
		"made up": {func(w *world, _, _ tokens) tokens {
			return w.token(renewal(strings.Repeat("x", 43) + "." + strings.Repeat("y", 43)))
		}, false},
		"none": {func(w *world, _, _ tokens) tokens { return w.token(renewal("x")) }, false},
		"made up for a public client": {func(w *world, first, _ tokens) tokens {
			return w.token(renewal(first.RefreshToken, "client_id", "spa", "-client_secret"))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, offline(&shared{}))
			first := w.offlineTokens("lisi") // who may use both clients
			second := w.token(renewal(first.RefreshToken))
			require.Equal(t, 200, second.Status)
			got := c.steal(w, first, second)
			assert.Contains(t, []string{"invalid_grant", "invalid_client"}, got.Error)
			assert.Empty(t, got.AccessToken+got.IDToken+got.RefreshToken)
			for _, access := range []string{first.AccessToken, second.AccessToken} {
				status, _ := w.userinfo(access)
				assert.Equal(t, c.ends, status == 401)
			}
			assert.Equal(t, c.ends, w.token(renewal(second.RefreshToken)).Status == 400)
		})
	}
	t.Run("the code", func(t *testing.T) {
		w := newWorld(t, offline(&shared{}))
		code := w.code(w.signedIn("zhangsan"), "scope", "openid offline_access")
		got := w.token(renewal(w.token(form(code)).RefreshToken))
		require.Equal(t, 200, got.Status)
		assert.Equal(t, "invalid_grant", w.token(form(code)).Error)
		assert.Equal(t, "invalid_grant", w.token(renewal(got.RefreshToken)).Error)
	})
}

// Who is thrown out, or may not use the client any more; and a client that may not have them any more.
func TestT26_RefreshOfTheRevoked(t *testing.T) {
	set := func(change func(*options)) func(*world) {
		return func(w *world) {
			o := options{}
			o.issuer.Clients = clients()
			offline(nil)(&o)
			change(&o)
			require.NoError(w, w.iss.SetClients(o.issuer.Clients))
		}
	}
	deny := func(ok bool, err error) wecom.Authorizer {
		return func(context.Context, *wecom.Client, wecom.Identity) (bool, error) { return ok, err }
	}
	for name, c := range map[string]struct {
		change func(*world)
		want   string
		back   bool // afterwards it may again
	}{
		"revoked":         {func(w *world) { require.NoError(w, w.auth.Revoke(w.Context(), wecom.Identity{UserID: "zhangsan"})) }, "invalid_grant", false},
		"everybody":       {func(w *world) { require.NoError(w, w.auth.RevokeAll(w.Context())) }, "invalid_grant", false},
		"another":         {func(w *world) { require.NoError(w, w.auth.Revoke(w.Context(), wecom.Identity{UserID: "lisi"})) }, "", true},
		"not for them":    {set(func(o *options) { o.issuer.Clients[0].Authorize = deny(false, nil) }), "invalid_grant", true},
		"it cannot tell":  {set(func(o *options) { o.issuer.Clients[0].Authorize = deny(false, errors.New("away")) }), "temporarily_unavailable", true},
		"not any more":    {set(func(o *options) { o.issuer.Clients[0].OfflineAccess = 0 }), "invalid_grant", true},
		"shorter":         {set(func(o *options) { o.issuer.Clients[0].OfflineAccess = time.Hour }), "invalid_grant", true},
		"the client gone": {set(func(o *options) { o.issuer.Clients = o.issuer.Clients[1:] }), "invalid_client", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, offline(&shared{}))
				got := w.offlineTokens("zhangsan")
				time.Sleep(2 * time.Hour)
				c.change(w)
				again := w.token(renewal(got.RefreshToken))
				assert.Equal(t, c.want, again.Error)
				if c.want == "" {
					got = again
				}
				set(func(*options) {})(w)
				assert.Equal(t, c.back, w.token(renewal(got.RefreshToken)).Status == 200)
			})
		})
	}
}

// A store that goes away before the refresh token was used leaves it good.
func TestF11_RefreshStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &racing{}
		w := newWorld(t, offline(nil), func(o *options) { o.issuer.Store = store })
		got := w.offlineTokens("zhangsan")
		for turn := 1; ; turn++ {
			store.calls, store.turn, store.others = 0, turn, func() { store.away.Store(true) }
			next := w.token(renewal(got.RefreshToken))
			store.away.Store(false)
			if next.Status == 200 {
				assert.Equal(t, 6, turn, "whichever of its five calls fails")
				break
			}
			assert.Equal(t, "temporarily_unavailable", next.Error)
		}
	})
}
