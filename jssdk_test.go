package wecom_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/jssign"
	"github.com/wecomauth/wecom/wecomtest"
)

func withJSSDK(o *wecom.Options) { o.JSSDK = true }

// The fake's tickets, which are constant.
func ticketOf(fake *wecomtest.Fake, kind string) string {
	ticket := "fake-" + kind + "-" + fake.CorpID() + "-" + fake.AgentID()
	return ticket + strings.Repeat("0", 86-len(ticket))
}

func signed(b *wecomtest.Browser, query string) *wecomtest.Response {
	return b.Fetch("GET", "/wecom/jssdk?"+query, "")
}

func TestJSSDKSignature(t *testing.T) {
	const page = site + "/reports?a=b&c=%E4%B8%AD#/hash"
	tests := []struct {
		kind, query string
		want        func(w *world) map[string]any
		ticket      string
	}{
		{"config by default", "", func(w *world) map[string]any { return map[string]any{"appId": w.fake.CorpID()} }, "jsapi"},
		{"config", "&kind=config", func(w *world) map[string]any { return map[string]any{"appId": w.fake.CorpID()} }, "jsapi"},
		{"agentConfig", "&kind=agentConfig", func(w *world) map[string]any {
			return map[string]any{"corpid": w.fake.CorpID(), "agentid": w.fake.AgentID()}
		}, "agent"},
	}
	for _, tt := range tests {
		t.Run(tt.kind, func(t *testing.T) {
			w := newWorld(t, withJSSDK)
			b := w.signedIn("zhangsan")
			before := time.Now().Unix()
			res := signed(b, "url="+url.QueryEscape(page)+tt.query)
			require.Equal(t, 200, res.Status, res.Body)
			sealed(t, res)
			var got map[string]any
			require.NoError(t, res.JSON(&got))
			timestamp, nonce := int64(got["timestamp"].(float64)), got["nonceStr"].(string)
			assert.InDelta(t, before, timestamp, 60)
			assert.Regexp(t, `^[0-9A-Z]{16,32}$`, nonce)
			want := tt.want(w)
			want["timestamp"], want["nonceStr"] = got["timestamp"], nonce
			want["signature"] = jssign.Sign(ticketOf(w.fake, tt.ticket), nonce, timestamp, site+"/reports?a=b&c=%E4%B8%AD")
			assert.Equal(t, want, got)

			again := signed(b, "url="+url.QueryEscape(page)+tt.query)
			assert.NotContains(t, again.Body, nonce, "a nonce is used once")
		})
	}
}

// Whose ticket it is would be a matter of who may see what: nobody gets one, and no page of another origin a signature.
func TestJSSDKRefused(t *testing.T) {
	own := "url=" + url.QueryEscape(site+"/x")
	tests := []struct {
		desc, method, query string
		headers             []string
		status              int
		code                string
	}{
		{"POST", "POST", own, nil, 405, "method_not_allowed"},
		{"HEAD", "HEAD", own, nil, 405, ""},
		{"from another site", "GET", own, []string{"Sec-Fetch-Site: cross-site"}, 403, "cross_origin"},
		{"from a sister site", "GET", own, []string{"Sec-Fetch-Site: same-site"}, 403, "cross_origin"},
		{"no url", "GET", "", nil, 400, "bad_request"},
		{"two urls", "GET", own + "&" + own, nil, 400, "bad_request"},
		{"malformed escape", "GET", own + "&x=%zz", nil, 400, "bad_request"},
		{"unknown kind", "GET", own + "&kind=agentconfig", nil, 400, "bad_request"},
		{"two kinds", "GET", own + "&kind=config&kind=config", nil, 400, "bad_request"},
		{"too long", "GET", own + strings.Repeat("a", 4096), nil, 400, "bad_request"},
		{"another origin", "GET", "url=https://evil.example/", nil, 400, "bad_request"},
		{"another scheme", "GET", "url=http://app.example.com/", nil, 400, "bad_request"},
		{"another port", "GET", "url=https://app.example.com:8443/", nil, 400, "bad_request"},
		{"a longer host", "GET", "url=https://app.example.com.evil.example/", nil, 400, "bad_request"},
		{"a user", "GET", "url=https://app.example.com@evil.example/", nil, 400, "bad_request"},
		{"a path", "GET", "url=/x", nil, 400, "bad_request"},
		{"no path", "GET", "url=https://app.example.com", nil, 400, "bad_request"},
		{"upper case", "GET", "url=HTTPS://APP.EXAMPLE.COM/", nil, 400, "bad_request"},
		{"a space", "GET", "url=https://app.example.com/a%20b", nil, 400, "bad_request"},
		{"a line break", "GET", "url=https://app.example.com/a%0Ab", nil, 400, "bad_request"},
		{"the fragment of another", "GET", "url=https://evil.example/%23https://app.example.com/", nil, 400, "bad_request"},
	}
	w := newWorld(t, withJSSDK)
	b := w.signedIn("zhangsan")
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			w.fake.ResetCalls()
			res := b.Fetch(tt.method, "/wecom/jssdk?"+tt.query, "", tt.headers...)
			assert.Equal(t, tt.status, res.Status, res.Body)
			if tt.code != "" {
				sealed(t, res)
				code, _ := refusal(t, res)
				assert.Equal(t, tt.code, code)
			}
			assert.Zero(t, w.fake.TotalCalls())
		})
	}

	stranger := signed(w.browser(), own)
	assert.Equal(t, 401, stranger.Status)
	sealed(t, stranger)
	code, loginURL := refusal(t, stranger)
	assert.Equal(t, "login_required", code)
	assert.Equal(t, "/wecom/login", loginURL)
	assert.Zero(t, w.fake.TotalCalls())
}

func TestJSSDKDoesNotExistUnasked(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("zhangsan")
	res := signed(b, "url="+url.QueryEscape(site+"/x"))
	assert.Contains(t, res.Body, "hello", "the application's own")
	assert.Equal(t, 404, do(w.auth.Routes(), httptest.NewRequest("GET", site+"/wecom/jssdk?url="+site+"/x", nil)).Code)
	assert.Zero(t, w.fake.Calls("get_jsapi_ticket"))
}

func TestJSSDKOptions(t *testing.T) {
	o := wecomtest.New().Options(site + "/wecom/callback")
	o.JSSDK, o.AgentID, o.Page = true, "", wecom.PageInApp
	_, err := wecom.New(o)
	assert.ErrorContains(t, err, "JSSDK needs AgentID")

	_, err = wecom.New(wecom.Options{
		Provider: fixedProvider{}, StateKey: wecom.NewSecret(strings.Repeat("k", 32)), CallbackURL: site + "/wecom/callback", JSSDK: true,
	})
	assert.ErrorContains(t, err, "no Provider")
}

// WeCom gives 400 tickets an hour to a corp and 100 to an app.
func TestJSSDKTicketsAreCached(t *testing.T) {
	w := newWorld(t, withJSSDK)
	b := w.signedIn("zhangsan")
	const n = 400
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			res := signed(b.Tab(), "url="+url.QueryEscape(site+"/page/"+strconv.Itoa(i)))
			assert.Equal(t, 200, res.Status)
		})
	}
	all.Wait()
	assert.Equal(t, 1, w.fake.Calls("get_jsapi_ticket"))
	assert.Zero(t, w.fake.Calls("ticket/get"), "which nobody asked for")

	require.Equal(t, 200, signed(b, "kind=agentConfig&url="+url.QueryEscape(site+"/")).Status)
	require.Equal(t, 200, signed(b, "kind=agentConfig&url="+url.QueryEscape(site+"/")).Status)
	assert.Equal(t, 1, w.fake.Calls("ticket/get"))
	assert.Equal(t, 1, w.fake.Calls("get_jsapi_ticket"))
	assert.Equal(t, 1, w.fake.Calls("gettoken"))
}

func TestJSSDKTicketsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.auth.Client()
		sign := func() {
			_, _, _, err := client.JSConfig(t.Context(), site+"/")
			require.NoError(t, err)
			synctest.Wait()
		}
		sign()
		time.Sleep(100 * time.Minute)
		sign()
		assert.Equal(t, 1, w.fake.Calls("get_jsapi_ticket"))
		time.Sleep(19 * time.Minute) // 119 of 120
		sign()
		assert.Equal(t, 2, w.fake.Calls("get_jsapi_ticket"), "early enough")
	})
}

// A fleet shares tickets by the store that it shares the token by, under keys of their own.
func TestJSSDKTicketsAreShared(t *testing.T) {
	fake, store := wecomtest.New(), &faultyStore{sharedStore: newSharedStore()}
	store.update = func(ctx context.Context, key string, fn func(context.Context, wecom.Token) (wecom.Token, error)) (wecom.Token, error) {
		token, err := fn(ctx, store.get(key)) // a ticket's needs the token's: no one lock for both
		if err == nil {
			store.put(key, token)
		}
		return token, err
	}
	for range 3 {
		o := fake.Options(site + "/wecom/callback")
		o.TokenStore = store
		client, err := wecom.NewClient(o)
		require.NoError(t, err)
		_, _, _, err = client.JSConfig(t.Context(), site+"/")
		require.NoError(t, err)
		_, _, _, err = client.JSAgentConfig(t.Context(), site+"/")
		require.NoError(t, err)
	}
	assert.Equal(t, 1, fake.Calls("get_jsapi_ticket"))
	assert.Equal(t, 1, fake.Calls("ticket/get"))
	assert.Equal(t, 1, fake.Calls("gettoken"))
	require.Len(t, store.kept, 3)
	for key := range store.kept {
		assert.NotContains(t, key, fake.Secret())
	}
}

func TestJSSDKFailures(t *testing.T) {
	tests := []struct {
		desc   string
		fault  wecomtest.Fault
		status int
		code   string
	}{
		{"no right", wecomtest.Fault{ErrCode: 48002}, 500, "setup_fault"},
		{"limit", wecomtest.Fault{ErrCode: 45009}, 503, "busy"},
		{"down", wecomtest.Fault{Status: 502}, 503, "wecom_unavailable"},
		{"no ticket", wecomtest.Fault{Body: []byte(`{"errcode":0,"errmsg":"ok","expires_in":7200}`)}, 503, "wecom_unavailable"},
		{"a ticket of blanks", wecomtest.Fault{Body: []byte(`{"errcode":0,"ticket":"a b","expires_in":7200}`)}, 503, "wecom_unavailable"},
		{"a ticket that is a number", wecomtest.Fault{Body: []byte(`{"errcode":0,"ticket":1,"expires_in":7200}`)}, 503, "wecom_unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			w := newWorld(t, withJSSDK)
			b := w.signedIn("zhangsan")
			w.fake.Always("get_jsapi_ticket", tt.fault)
			res := signed(b, "url="+url.QueryEscape(site+"/"))
			assert.Equal(t, tt.status, res.Status, res.Body)
			sealed(t, res)
			code, _ := refusal(t, res)
			assert.Equal(t, tt.code, code)
			assert.Equal(t, "zhangsan", who(b), "nobody is signed out by it")
		})
	}
}

// A refused access token costs a new one, not the signature.
func TestJSSDKWithAKilledToken(t *testing.T) {
	w := newWorld(t, withJSSDK)
	b := w.signedIn("zhangsan")
	w.fake.KillTokens()
	assert.Equal(t, 200, signed(b, "url="+url.QueryEscape(site+"/")).Status)
	assert.Equal(t, 2, w.fake.Calls("gettoken"))
}

func TestJSSDKClient(t *testing.T) {
	w := newWorld(t)
	client := w.auth.Client()
	timestamp, nonce, signature, err := client.JSConfig(t.Context(), "https://other.example/a?b=c#d")
	require.NoError(t, err)
	assert.Equal(t, jssign.Sign(ticketOf(w.fake, "jsapi"), nonce, timestamp, "https://other.example/a?b=c"), signature)
	timestamp, nonce, signature, err = client.JSAgentConfig(t.Context(), "https://other.example")
	require.NoError(t, err)
	assert.Equal(t, jssign.Sign(ticketOf(w.fake, "agent"), nonce, timestamp, "https://other.example"), signature)

	for _, page := range []string{"", "#", "/x", "x", "javascript:1", "https://", "https://h/a b", "https://h/\n", "ftp://h/"} {
		_, _, _, err := client.JSConfig(t.Context(), page)
		assert.Error(t, err, page)
		_, _, _, err = client.JSAgentConfig(t.Context(), page)
		assert.Error(t, err, page)
	}
	for _, none := range []*wecom.Client{nil, {}} {
		_, _, _, err := none.JSConfig(t.Context(), site+"/")
		assert.Error(t, err)
		_, _, _, err = none.JSAgentConfig(t.Context(), site+"/")
		assert.Error(t, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	fresh := newWorld(t)
	fresh.fake.Script("get_jsapi_ticket", wecomtest.Fault{OnCall: func(*http.Request) {}})
	_, _, _, err = fresh.auth.Client().JSConfig(ctx, site+"/")
	assert.ErrorIs(t, err, context.Canceled)
}

// No ticket reaches a browser or a log.
func TestJSSDKTicketsStaySecret(t *testing.T) {
	w := newWorld(t, withJSSDK)
	b := w.signedIn("zhangsan")
	w.fake.Script("ticket/get", wecomtest.Fault{ErrCode: 40014}, wecomtest.Fault{ErrCode: 48002})
	for _, query := range []string{"url=" + site + "/", "url=" + site + "/&kind=agentConfig"} {
		assert.NotContains(t, signed(b, query).Body, "fake-jsapi")
	}
	assert.NotContains(t, w.logs.String(), ticketOf(w.fake, "jsapi"))
	assert.NotContains(t, w.logs.String(), ticketOf(w.fake, "agent"))
}
