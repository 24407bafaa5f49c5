package weixin_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

const origin = "https://shop.example.com"

// A site is an application behind one provider.
type site struct {
	fake *wecomtest.Fake
	auth *wecom.Middleware
	app  http.Handler
}

func newSite(t *testing.T, fake *wecomtest.Fake, p wecom.Provider, key wecom.Secret) *site {
	t.Helper()
	auth, err := wecom.New(wecom.Options{
		Provider: p, Secret: key, CallbackURL: origin + "/weixin/callback", Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	return &site{fake, auth, auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		fmt.Fprintf(w, "hello %s %s", id.Name, id.Key())
	}))}
}

func (s *site) browser(who string) *wecomtest.Browser {
	return s.fake.Browser(origin, s.app).SignInAs(who)
}

// signInByScript signs somebody in at a middleware behind p, with oneCode.
func signInByScript(t *testing.T, p wecom.Provider) *httptest.ResponseRecorder {
	t.Helper()
	h := newSite(t, nil, p, wecom.NewSecret(strings.Repeat("k", 32))).app
	post := func(path, body string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", origin+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		return serve(h, r)
	}
	begun := post("/weixin/attempt", "")
	var attempt struct{ State string }
	require.NoError(t, json.Unmarshal(begun.Body.Bytes(), &attempt), begun.Body)
	return post("/weixin/session", `{"code":"`+oneCode+`","state":"`+attempt.State+`"}`, begun.Result().Cookies()...)
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// A clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(seconds int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Duration(seconds) * time.Second)
}
