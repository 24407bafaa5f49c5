package wecom_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
)

// A fullProvider has two pages and can look people up again, like the built-in one.
type fullProvider struct {
	fixedProvider
	gone *atomic.Bool
}

func (fullProvider) AuthorizeURL(a wecom.AuthorizeRequest) string {
	return "https://idp.example/" + string(a.Page) + "?state=" + a.State
}

func (p fullProvider) Recheck(context.Context, wecom.Identity) (bool, error) {
	return !p.gone.Load(), nil
}

// A provider outside the package offers scripts both of its pages, as the built-in one does.
func TestScriptsAskAProviderForEitherPage(t *testing.T) {
	m := fixed(t, func(o *wecom.Options) { o.Provider = fullProvider{} })
	r := request("POST", "/wecom/attempt")
	r.Header.Set("Content-Type", "application/json")
	var answer map[string]string
	require.NoError(t, json.Unmarshal(do(m.Routes(), r).Body.Bytes(), &answer))
	assert.Equal(t, "https://idp.example/in-app?state="+answer["state"], answer["in_app_url"])
	assert.Equal(t, "https://idp.example/web?state="+answer["state"], answer["web_url"])
	assert.NotContains(t, answer, "login_type")

	m = fixed(t, func(o *wecom.Options) { o.Provider = fixedProvider{app: wecom.App{Provider: "p", AppID: "wx1"}} })
	r = request("POST", "/wecom/attempt")
	r.Header.Set("Content-Type", "application/json")
	answer = nil
	require.NoError(t, json.Unmarshal(do(m.Routes(), r).Body.Bytes(), &answer))
	assert.Equal(t, "wx1", answer["appid"], "the app is all there is")
	assert.NotContains(t, answer, "agentid")

	m = fixed(t, func(o *wecom.Options) { o.Provider = fullProvider{} })
	location := do(m.Routes(), request("GET", "/wecom/login")).Header().Get("Location")
	assert.True(t, strings.HasPrefix(location, "https://idp.example/?state="), "nobody asks for a page: %s", location)
}

func TestRecheckAsksAProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone atomic.Bool
		m := fixed(t, func(o *wecom.Options) { o.Provider, o.Recheck = fullProvider{gone: &gone}, time.Minute })
		r := request("GET", "/")
		r.Header.Set("Cookie", cookieHeader(signInFixed(t, m, "zhangsan")))
		for _, want := range []int{200, 200} {
			time.Sleep(2 * time.Minute)
			assert.Equal(t, want, do(m.Handler(hello()), r).Code)
			synctest.Wait()
		}
		gone.Store(true)
		time.Sleep(2 * time.Minute)
		assert.Equal(t, 200, do(m.Handler(hello()), r).Code, "the look-up runs beside the request")
		synctest.Wait()
		assert.NotEqual(t, 200, do(m.Handler(hello()), r).Code)
	})
}

// A provider that signs people in by a session elsewhere says since when that has lasted: ours ends with it.
func TestAProviderKnowsOfAnEarlierSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at time.Time
		m := fixed(t, func(o *wecom.Options) {
			o.SessionLifetime = time.Hour
			o.Provider = fixedProvider{identify: func(_ context.Context, code string) (wecom.Identity, error) {
				user, _, _ := strings.Cut(code, ".")
				return wecom.Identity{Provider: "fixed", CorpID: "corp", AppID: "1", UserID: user, AuthenticatedAt: at}, nil
			}}
		})
		signIn := func(user string, signedIn time.Time) *http.Cookie {
			at = signedIn
			return codeSession(t, m.Handler(hello()), user)
		}
		before := time.Now()
		time.Sleep(20 * time.Minute)
		earlier, future, now := signIn("zhangsan", before), signIn("lisi", time.Now().Add(time.Hour)), signIn("wangwu", time.Time{})
		time.Sleep(40*time.Minute - 1)
		assert.True(t, isIn(m.Handler(hello()), earlier))
		time.Sleep(time.Nanosecond)
		assert.False(t, isIn(m.Handler(hello()), earlier), "an hour after the sign-in elsewhere")
		time.Sleep(20*time.Minute - 1)
		assert.True(t, isIn(m.Handler(hello()), future) && isIn(m.Handler(hello()), now))
		time.Sleep(time.Nanosecond)
		assert.False(t, isIn(m.Handler(hello()), future) || isIn(m.Handler(hello()), now))

		before = time.Now()
		time.Sleep(time.Second)
		require.NoError(t, m.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		time.Sleep(time.Second)
		assert.False(t, isIn(m.Handler(hello()), signIn("zhangsan.2", before)), "revoked since")
		assert.True(t, isIn(m.Handler(hello()), signIn("zhangsan.3", time.Time{})))
	})
}
