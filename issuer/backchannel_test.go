package issuer_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/issuer"
	"github.com/wecomauth/wecom/wecomtest"
)

// A listener is what clients are told logouts at.
type listener struct {
	mu     sync.Mutex
	tokens []string
	answer func(n int, r *http.Request) (*http.Response, error) // n from 1; nil: 200
}

func (l *listener) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || r.Method != "POST" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		return nil, errors.New("no form")
	}
	l.mu.Lock()
	l.tokens = append(l.tokens, form.Get("logout_token"))
	n := len(l.tokens)
	l.mu.Unlock()
	if l.answer != nil {
		return l.answer(n, r)
	}
	return status(200), nil
}

func (l *listener) raw() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.tokens)
}

func status(code int) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{}, Body: http.NoBody}
}

// listens makes grafana and closed clients that listen.
func listens(l *listener) func(*options) {
	return func(o *options) {
		o.issuer.Transport = l
		o.issuer.Clients[0].BackChannelLogoutURI = app + "/logout?x=y"
		o.issuer.Clients[2].BackChannelLogoutURI = app + "/closed/logout"
	}
}

// heard returns the claims of what the listener was told until now.
func (w *world) heard(l *listener) (all []map[string]any) {
	w.Helper()
	time.Sleep(2 * time.Second)
	for _, raw := range l.raw() {
		token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
		require.NoError(w, err)
		assert.Equal(w, jose.ContentType("logout+jwt"), jose.ContentType(token.Headers[0].ExtraHeaders[jose.HeaderType].(string)))
		assert.Equal(w, "RS256", token.Headers[0].Algorithm)
		var claims map[string]any
		require.NoError(w, token.Claims(rsaKey().Public(), &claims))
		all = append(all, claims)
	}
	return all
}

// While the store is slow, the requests of one person do not wait for each other without a bound.
func TestListsOfSessionsBehindASlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &shared{}
		w := newWorld(t, listens(&listener{}), func(o *options) {
			o.wecom.SessionStore, o.issuer.Store = store, store
			o.issuer.Key = wecom.NewSecret(strings.Repeat("k", 32))
		})
		b := w.signedIn("zhangsan")
		codes := make([]string, 20)
		for i := range codes {
			codes[i] = w.code(b)
		}
		store.slow = 1900 * time.Millisecond
		began := time.Now()
		var all sync.WaitGroup
		for _, code := range codes {
			all.Go(func() { w.token(form(code)) })
		}
		all.Wait()
		assert.Less(t, time.Since(began), 20*time.Second)
	})
}

// Who signs out is signed out of the clients too, in this browser; who is thrown out, in all.
func TestBackChannelLogout(t *testing.T) {
	for name, c := range map[string]struct {
		end func(w, other *world, b *wecomtest.Browser, hint string)
		of  []int // the browsers whose sessions end
	}{
		"logout": {func(_, _ *world, b *wecomtest.Browser, _ string) { b.Post(iss + "/logout") }, []int{0}},
		"end-session": {func(_, _ *world, b *wecomtest.Browser, hint string) {
			b.Get(iss + "/end-session?id_token_hint=" + hint)
		}, []int{0}},
		"a script": {func(_, _ *world, b *wecomtest.Browser, _ string) { b.Fetch("DELETE", iss+"/session", "{}") }, []int{0}},
		"logout twice": {func(_, _ *world, b *wecomtest.Browser, _ string) {
			b.Post(iss + "/logout")
			b.Post(iss + "/logout")
		}, []int{0}},
		"everywhere": {func(_, _ *world, b *wecomtest.Browser, _ string) { b.Post(iss + "/logout?everywhere=1") }, []int{0, 1}},
		"revoked": {func(w, _ *world, _ *wecomtest.Browser, _ string) {
			assert.NoError(w, w.auth.Revoke(w.Context(), wecom.Identity{UserID: "ZhangSan"}))
		}, []int{0, 1}},
		"revoked at another replica": {func(_, other *world, _ *wecomtest.Browser, _ string) {
			assert.NoError(other, other.auth.Revoke(other.Context(), wecom.Identity{UserID: "zhangsan"}))
		}, []int{0, 1}},
		"logout, then revoked": {func(w, other *world, b *wecomtest.Browser, _ string) {
			b.Post(iss + "/logout")
			time.Sleep(time.Second)
			assert.NoError(other, other.auth.Revoke(other.Context(), wecom.Identity{UserID: "zhangsan"}))
		}, []int{0, 1}},
		"no longer a member": {func(w, _ *world, b *wecomtest.Browser, _ string) {
			w.fake.RemoveMember("zhangsan")
			time.Sleep(2 * time.Hour)
			b.Get("/") // has them looked up again
		}, []int{0, 1}},
		"everybody": {func(w, _ *world, _ *wecomtest.Browser, _ string) {
			assert.NoError(w, w.auth.RevokeAll(w.Context()))
			assert.Contains(w, w.logs.String(), "clients are not told")
		}, nil},
		"the directory": {func(w, _ *world, _ *wecomtest.Browser, _ string) {
			assert.NoError(w, w.auth.DirectoryChanged(w.Context()))
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, fake, store := &listener{}, wecomtest.New(), &shared{}
				both := func(o *options) { o.wecom.SessionStore, o.issuer.Store, o.wecom.Recheck = store, store, time.Hour }
				w, other := newReplica(t, fake, listens(l), both), newReplica(t, fake, listens(l), both)
				var browsers []*wecomtest.Browser
				var sids []string
				var hint string
				for _, who := range []string{"zhangsan", "zhangsan", "lisi"} {
					time.Sleep(time.Second)
					b := w.signedIn(who)
					got := other.token(form(w.code(b)))
					claims, err := w.verify("grafana", got.IDToken)
					require.NoError(t, err)
					browsers, sids = append(browsers, b), append(sids, claims["sid"].(string))
					if hint == "" {
						hint = got.IDToken
					}
					assert.Equal(t, 200, w.token(form(w.code(b))).Status, "once more in the same session")
					got = w.token(form(w.code(b, "client_id", "spa", "redirect_uri", "https://spa.example.com/"), "client_id", "spa", "redirect_uri", "https://spa.example.com/", "-client_secret"))
					claims, err = w.verify("spa", got.IDToken)
					require.NoError(t, err)
					assert.NotContains(t, claims, "sid", "it does not listen")
				}
				c.end(w, other, browsers[0], hint)
				var want, heard []string
				for _, n := range c.of {
					want = append(want, sids[n])
				}
				jtis := map[any]bool{}
				for _, claims := range w.heard(l) {
					heard = append(heard, claims["sid"].(string))
					assert.Equal(t, iss, claims["iss"])
					assert.Equal(t, "grafana", claims["aud"])
					assert.Equal(t, "wecom:"+w.fake.CorpID()+":user:zhangsan", claims["sub"])
					assert.Equal(t, map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}, claims["events"])
					assert.LessOrEqual(t, claims["exp"].(float64)-claims["iat"].(float64), 120.0)
					assert.NotContains(t, claims, "nonce")
					jtis[claims["jti"]] = true
				}
				assert.ElementsMatch(t, want, heard)
				assert.Len(t, jtis, len(heard))
			})
		})
	}
}

// A client that does not take it is told three times, and then the log; one that says no, once.
func TestBackChannelLogoutFails(t *testing.T) {
	hang := func(_ int, r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	always := func(codes ...int) func(int, *http.Request) (*http.Response, error) {
		return func(n int, _ *http.Request) (*http.Response, error) {
			res := status(codes[min(n, len(codes))-1])
			res.Header.Set("Location", "https://evil.example/")
			return res, nil
		}
	}
	for name, c := range map[string]struct {
		answer func(int, *http.Request) (*http.Response, error)
		calls  int
		cause  string
	}{
		"no content":         {always(204), 1, ""},
		"back after a while": {always(502, 503, 200), 3, ""},
		"away":               {always(500), 3, "it answers 500"},
		"refuses":            {always(400), 1, "it answers 400"},
		"redirects":          {always(307), 1, "it answers 307"},
		"hangs":              {hang, 3, "deadline exceeded"},
		"no answer": {func(int, *http.Request) (*http.Response, error) {
			return nil, errors.New("connection refused")
		}, 3, "connection refused"},
		"never ends": {func(int, *http.Request) (*http.Response, error) {
			res := status(200)
			res.Body = io.NopCloser(endless{})
			return res, nil
		}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &listener{answer: c.answer}
				w := newWorld(t, listens(l))
				b := w.signedIn("zhangsan")
				w.token(form(w.code(b)))
				b.Post(iss + "/logout")
				time.Sleep(time.Minute)
				require.Len(t, l.raw(), c.calls)
				said := w.logs.String()
				if c.cause == "" {
					assert.NotContains(t, said, "was not told")
				} else {
					assert.Contains(t, said, "a client was not told that a session has ended")
					assert.Contains(t, said, c.cause)
				}
				assert.NotContains(t, said, l.raw()[0])
			})
		})
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// A client that hangs delays no other, and is not called by all at once.
func TestBackChannelLogoutHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hanging, most, told int
		var mu sync.Mutex
		l := &listener{}
		l.answer = func(_ int, r *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			if strings.HasPrefix(r.URL.Path, "/closed") {
				told++
				return status(200), nil
			}
			hanging++
			most = max(most, hanging)
			mu.Unlock()
			<-r.Context().Done()
			mu.Lock()
			hanging--
			return nil, r.Context().Err()
		}
		w := newWorld(t, listens(l))
		for range 30 {
			time.Sleep(time.Millisecond)
			b := w.signedIn("lisi")
			require.Equal(t, 200, w.token(form(w.code(b))).Status)
			closed := []string{"client_id", "closed", "redirect_uri", app + "/closed"}
			require.Equal(t, 200, w.token(form(w.code(b, closed...), closed...)).Status)
			b.Post(iss + "/logout")
		}
		synctest.Wait()
		mu.Lock()
		assert.Equal(t, 30, told)
		assert.Equal(t, 8, most)
		mu.Unlock()
		require.NoError(t, w.iss.Shutdown(t.Context()))
		assert.Zero(t, hanging)
	})
}

// Of the sessions of one person, a client hears of the latest.
func TestBackChannelLogoutBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		w := newWorld(t, listens(l))
		for range 25 {
			time.Sleep(time.Second)
			w.token(form(w.code(w.signedIn("zhangsan"))))
		}
		require.NoError(t, w.auth.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		assert.Len(t, w.heard(l), 20)
	})
}

// A replica that has not heard of a revocation may still give tokens: the client is told of these too.
func TestT26_RevokedWhileRedeeming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, fake, store := &listener{}, wecomtest.New(), &shared{}
		both := func(o *options) { o.wecom.SessionStore, o.issuer.Store = store, store }
		w, other := newReplica(t, fake, listens(l), both), newReplica(t, fake, listens(l), both)
		code := w.code(w.signedIn("zhangsan"))
		require.NoError(t, other.auth.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		synctest.Wait()
		require.Empty(t, l.raw())
		require.Equal(t, 200, w.token(form(code)).Status)
		assert.Len(t, w.heard(l), 1)
	})
}

// A logout token is neither an access token nor a proof of whom the client signs out.
func TestT41_LogoutTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		w := newWorld(t, listens(l))
		b := w.signedIn("zhangsan")
		w.token(form(w.code(b)))
		b.Post(iss + "/logout")
		w.heard(l)
		b = w.signedIn("zhangsan")
		assert.Equal(t, 200, b.Get(iss+"/end-session?id_token_hint="+l.raw()[0]).Status)
		assert.Equal(t, 200, b.Fetch("GET", iss+"/session", "").Status, "still signed in")
		got := answered(t, b.Get(authorizeURL(ask("prompt", "none", "id_token_hint", l.raw()[0]))))
		assert.Equal(t, "login_required", got.Get("error"))
		status, _ := w.userinfo(l.raw()[0])
		assert.Equal(t, 401, status)
	})
}

func TestNoIssuer(t *testing.T) {
	for _, none := range []*issuer.Issuer{nil, {}} {
		none.Observe(t.Context(), wecom.Event{Name: "signout", Outcome: "ok"})
		assert.NoError(t, none.Shutdown(t.Context()))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := newWorld(t)
	require.NoError(t, w.iss.Shutdown(t.Context()))
	assert.ErrorIs(t, w.iss.Shutdown(ctx), context.Canceled)
}

// A sign-out everywhere is a revocation and a sign-out at the same time. The client is told once.
func TestBackChannelLogoutOnce(t *testing.T) {
	for turn := range 8 {
		synctest.Test(t, func(t *testing.T) {
			l, store := &listener{}, &racing{}
			w := newWorld(t, listens(l), func(o *options) { o.issuer.Store = store })
			b := w.signedIn("zhangsan")
			w.token(form(w.code(b)))
			store.calls, store.turn = 0, turn
			store.others = func() {
				for range 1000 { // no time passes: the other may be waiting for a lock
					runtime.Gosched()
				}
			}
			b.Post(iss + "/logout?everywhere=1")
			assert.Len(t, w.heard(l), 1)
		})
	}
}
