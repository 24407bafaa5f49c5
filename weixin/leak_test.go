package weixin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/weixin"
)

// A watchedStore notes every row that is stored.
type watchedStore struct {
	*memstore.MemStore
	mu   sync.Mutex
	rows []string
}

func (s *watchedStore) Commit(token string, b []byte, expiry time.Time) error {
	s.mu.Lock()
	s.rows = append(s.rows, token+" "+string(b))
	s.mu.Unlock()
	return s.MemStore.Commit(token, b, expiry)
}

// The secret, the code and the person's own tokens reach no cookie, row, page,
// script or log, whether the sign-in works or not.
func TestTheUsersTokensStayOnTheServer(t *testing.T) {
	for name, answers := range map[string]map[string][]string{
		"signed in":         {"/sns/oauth2/access_token": {rawGrant}, "/sns/userinfo": {rawUser}},
		"without a profile": {"/sns/oauth2/access_token": {rawGrant}, "/sns/userinfo": {refusal(40001, "invalid credential "+userValue)}},
		"refused":           {"/sns/oauth2/access_token": {refusal(40125, "invalid appsecret "+secret+" "+oneCode)}},
		"lost":              {"/sns/oauth2/access_token": {"lost"}},
		"another's answer":  {"/sns/oauth2/access_token": {"<p>" + userValue + secret + oneCode}},
		"half an answer":    {"/sns/oauth2/access_token": {rawGrant[:150]}},
		"no openid":         {"/sns/oauth2/access_token": {strings.Replace(rawGrant, "openid", "id", 1)}},
	} {
		t.Run(name, func(t *testing.T) {
			var logs bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
			store := &watchedStore{MemStore: memstore.NewWithCleanupInterval(0)}
			o := options(says(answers))
			o.Profile, o.Logger = true, logger
			kept := 0
			o.OnToken = func(_ context.Context, id wecom.Identity, token weixin.UserToken) {
				kept++
				logger.Info("a program's own mistake", "token", token, "id", id)
			}
			auth, err := wecom.New(wecom.Options{
				Provider: website(t, o), Secret: o.Secret, CallbackURL: origin + "/weixin/callback", Logger: logger, SessionStore: store,
				Observe: func(_ context.Context, e wecom.Event) { logger.Info("event", "event", e) },
			})
			require.NoError(t, err)
			app := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				id, _ := wecom.FromContext(r.Context())
				_ = json.NewEncoder(w).Encode(id)
			}))

			var seen strings.Builder
			ask := func(target string, cookies []*http.Cookie) *http.Response {
				r := httptest.NewRequest("GET", origin+target, nil)
				r.Header.Set("Accept", "text/html")
				for _, c := range cookies {
					r.AddCookie(c)
				}
				w := serve(app, r)
				require.NoError(t, w.Result().Header.Write(&seen))
				seen.WriteString(w.Body.String())
				return w.Result()
			}
			start := ask("/page", nil)
			page, err := url.Parse(start.Header.Get("Location"))
			require.NoError(t, err)
			end := ask("/weixin/callback?code="+oneCode+"&state="+page.Query().Get("state"), start.Cookies())
			if name == "signed in" || name == "without a profile" {
				require.Equal(t, 303, end.StatusCode)
				assert.Equal(t, 200, ask("/", end.Cookies()).StatusCode)
				assert.Equal(t, 1, kept)
				require.NotEmpty(t, store.rows)
			} else {
				assert.NotEqual(t, 303, end.StatusCode)
				assert.Zero(t, kept)
				assert.Empty(t, store.rows)
			}
			for where, text := range map[string]string{"the browser": seen.String(), "the log": logs.String(), "the store": strings.Join(store.rows, "\n")} {
				assert.NotContains(t, text, "CANARY", where)
			}
			assert.Contains(t, logs.String(), "event")
		})
	}
}
