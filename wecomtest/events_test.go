package wecomtest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/events"
	"github.com/wecomauth/wecom/wecomtest"
)

// A receiver may be saved again while events of the earlier one are on their way.
func TestEventReceiverIsReplaced(t *testing.T) {
	const token, key = "Tok3nForTests", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	fake := wecomtest.New()
	receiver, err := events.New(events.Options{Token: wecom.NewSecret(token), EncodingAESKey: wecom.NewSecret(key), ReceiveIDs: []string{fake.CorpID()}})
	require.NoError(t, err)
	entered, release := make(chan struct{}), make(chan struct{})
	var posts atomic.Int64
	at := wecomtest.EventReceiver{AgentID: fake.AgentID(), URL: "https://app.example.com/wecom/events", Token: token, EncodingAESKey: key,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				entered <- struct{}{}
				if posts.Add(1) == 1 {
					<-release
				}
			}
			receiver.ServeHTTP(w, r)
			_, _ = w.Write(nil)
			w.WriteHeader(http.StatusTeapot) // too late
		})}
	require.NoError(t, fake.SaveEventReceiver(at))
	fake.PostEvent(fake.AgentID(), map[string]string{"Event": "one"})
	<-entered
	require.NoError(t, fake.SaveEventReceiver(at))
	fake.PostEvent(fake.AgentID(), map[string]string{"Event": "two"})
	<-entered
	close(release)
	require.NoError(t, fake.AwaitEvents(t.Context()))
	require.Len(t, fake.Deliveries(), 2)
	for _, d := range fake.Deliveries() {
		assert.Equal(t, http.StatusOK, d.Status, "what the handler said first")
	}
}

// The fake's own page has a button for everybody who signed in: they leave, and their session is over.
func TestPageOfLeavers(t *testing.T) {
	const site, token, key = "https://app.example.com", "Tok3nForTests", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	fake := wecomtest.New()
	auth, err := wecom.New(fake.Options(site + "/wecom/callback"))
	require.NoError(t, err)
	receiver, err := events.New(events.Options{Token: wecom.NewSecret(token), EncodingAESKey: wecom.NewSecret(key), Middlewares: []*wecom.Middleware{auth}})
	require.NoError(t, err)
	require.NoError(t, fake.SaveEventReceiver(wecomtest.EventReceiver{AgentID: fake.AgentID(), URL: site + "/wecom/events", Handler: receiver, Token: token, EncodingAESKey: key}))
	app := auth.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	zhangsan, lisi := fake.Browser(site, app).SignInAs("zhangsan"), fake.Browser(site, app).SignInAs("lisi")
	require.Equal(t, 200, zhangsan.Get("/").Status)
	require.Equal(t, 200, lisi.Get("/").Status)

	ask := func(method, from string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "http://127.0.0.1:8081/", strings.NewReader("leaves=zhangsan"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", from)
		res := httptest.NewRecorder()
		fake.ServeHTTP(res, r)
		return res
	}
	page := ask("GET", "none").Body.String()
	assert.Contains(t, page, `value="zhangsan"`)
	assert.Contains(t, page, `value="lisi"`)
	assert.NotContains(t, page, `value="wangwu"`)
	assert.Equal(t, 403, ask("POST", "cross-site").Code)
	assert.Equal(t, 200, zhangsan.GetNoFollow("/").Status)
	assert.Equal(t, 303, ask("POST", "same-origin").Code)
	assert.NotEqual(t, 200, zhangsan.GetNoFollow("/").Status)
	assert.Equal(t, 200, lisi.GetNoFollow("/").Status)
	assert.NotContains(t, ask("GET", "none").Body.String(), `value="zhangsan"`)
}
