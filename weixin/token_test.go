package weixin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenserver"
	"github.com/wecomauth/wecom/wecomtest"
	"github.com/wecomauth/wecom/weixin"
)

func client(t testing.TB, o weixin.Options) *wecom.Client {
	t.Helper()
	c, err := weixin.NewClient(o)
	require.NoError(t, err)
	return c
}

const (
	classic = "/cgi-bin/token"
	stable  = "/cgi-bin/stable_token"
)

func rawToken(n int) string {
	return fmt.Sprintf(`{"access_token":"CANARY-account-token-%d","expires_in":7200}`, n)
}

func TestTokensFromRawBodies(t *testing.T) {
	api := says(map[string][]string{classic: {rawToken(1)}, stable: {rawToken(2)}})
	o := options(api)
	token, err := client(t, o).Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "CANARY-account-token-2", token.Value.Reveal(), "the stable one by default")
	o.ClassicToken = true
	token, err = client(t, o).Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "CANARY-account-token-1", token.Value.Reveal())
	assert.Equal(t, []seen{
		{"POST", "api.weixin.qq.com" + stable, "", `{"grant_type":"client_credential","appid":"` + oneAppID + `","secret":"` + secret + `"}`},
		{"GET", "api.weixin.qq.com" + classic, "appid=" + oneAppID + "&grant_type=client_credential&secret=" + url.QueryEscape(secret), ""},
	}, api.seen)
}

// A proxy may log and quote what an earlier request held.
func TestErrorsHideTheSecret(t *testing.T) {
	c := client(t, options(says(map[string][]string{stable: {rawToken(1)}, "/cgi-bin/x": {"error: proxy remembers " + secret}})))
	err := c.Call(t.Context(), "GET", "x", nil, nil, nil)
	require.ErrorContains(t, err, "proxy remembers")
	assert.NotContains(t, err.Error(), "CANARY")
}

func TestTokenErrors(t *testing.T) {
	for _, op := range []string{classic, stable} {
		for _, tt := range []struct {
			answer  string
			errcode int
			want    string
		}{
			{refusal(40001, "invalid credential"), 40001, "AppSecret"},
			{refusal(40125, "invalid appsecret"), 40125, "AppSecret"},
			{refusal(40013, "invalid appid"), 40013, "AppID"},
			{refusal(40164, "invalid ip"), 40164, "IP白名单"},
			{refusal(89503, "needs confirmation"), 89503, "confirm"},
			{`{"expires_in":7200}`, 0, "access_token"},
			{`{"access_token":"with space","expires_in":7200}`, 0, "access_token"},
			{"<html>", 0, "platform"},
		} {
			synctest.Test(t, func(t *testing.T) {
				api := says(map[string][]string{op: {tt.answer}})
				o := options(api)
				o.ClassicToken = op == classic
				c := client(t, o)
				for range 3 {
					_, err := c.Token(t.Context())
					require.ErrorContains(t, err, tt.want)
					assert.NotContains(t, err.Error(), "CANARY")
				}
				assert.Equal(t, 1, api.count(op), "a fault of the settings is not hammered")
				var refused *wecom.APIError
				if tt.errcode != 0 {
					_, err := c.Token(t.Context())
					require.ErrorAs(t, err, &refused)
					assert.Equal(t, tt.errcode, refused.Code)
					assert.Equal(t, strings.TrimPrefix(op, "/cgi-bin/"), refused.Op)
					assert.NotEmpty(t, refused.Remedy())
					assert.Positive(t, refused.RetryAfter())
				}
			})
		}
	}
}

// 40001 is about the token wherever one is presented.
func TestTheClientMeansWhatWeixinMeans(t *testing.T) {
	for _, code := range []int{40001, 40014, 42001} {
		api := says(map[string][]string{
			stable:                           {rawToken(1), rawToken(2)},
			"/cgi-bin/user/info":             {refusal(code, "invalid credential"), `{"subscribe":1,"openid":"o1"}`},
			"/datacube/getusersummary":       {`{"list":[]}`},
			"/cgi-bin/message/custom/send":   {`{"errcode":0,"errmsg":"ok"}`, refusal(45015, "response out of time limit")},
			"/cgi-bin/message/template/send": {refusal(43004, "require subscribe")},
		})
		c := account(t, options(api)).Client()
		var user struct {
			Subscribe int `json:"subscribe"`
		}
		require.NoError(t, c.Call(t.Context(), "GET", "user/info", url.Values{"openid": {"o1"}}, nil, &user))
		assert.Equal(t, 1, user.Subscribe, "an answer without errcode is good")
		assert.Equal(t, 2, api.count(stable))
		assert.Contains(t, api.seen[len(api.seen)-1].query, "access_token=CANARY-account-token-2")
		require.NoError(t, c.Call(t.Context(), "POST", "/datacube/getusersummary", nil, map[string]string{}, nil), "not all is under /cgi-bin/")
		require.NoError(t, c.Call(t.Context(), "POST", "/cgi-bin/message/custom/send", nil, map[string]string{}, nil))
		var refused *wecom.APIError
		require.ErrorAs(t, c.Call(t.Context(), "POST", "/cgi-bin/message/custom/send", nil, map[string]string{}, nil), &refused)
		assert.Equal(t, "weixin", refused.Provider)
		assert.Equal(t, "message/custom/send", refused.Op)
		require.ErrorAs(t, c.Call(t.Context(), "POST", "/cgi-bin/message/template/send", nil, map[string]string{}, nil), &refused)
		assert.True(t, refused.Denied())
		assert.Error(t, c.Call(t.Context(), "GET", "//evil.example/x", nil, nil, nil))
		assert.Error(t, c.Call(t.Context(), "GET", "/../x", nil, nil, nil))
	}
}

func TestTheMiddlewaresClientIsTheAccounts(t *testing.T) {
	fake := wecomtest.New()
	o := fakeOptions(fake, fake.WeixinAccount())
	a := account(t, o)
	s := newSite(t, fake, a, o.Secret)
	require.NotNil(t, s.auth.Client())
	assert.Same(t, a.Client(), s.auth.Client())
	err := s.auth.Client().Call(t.Context(), "GET", "user/info", url.Values{"openid": {fake.OpenID(fake.WeixinAccount().AppID, "xiaoming")}}, nil, nil)
	assert.NoError(t, err)
	assert.Nil(t, newSite(t, fake, website(t, fakeOptions(fake, fake.WeixinWebsite())), o.Secret).auth.Client())
}

func info(t *testing.T, c *wecom.Client, fake *wecomtest.Fake) error {
	return c.Call(t.Context(), "GET", "user/info", url.Values{"openid": {fake.OpenID(fake.WeixinAccount().AppID, "xiaoming")}}, nil, nil)
}

// Several processes share a classic token by a store; whatever one of them fetches, no call of another fails.
func TestClassicTokenKillOnRefetch(t *testing.T) {
	for name, overlap := range map[string]time.Duration{"at once": 0, "five minutes": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := wecomtest.New()
				fake.Configure(func(s *wecomtest.Settings) { s.ClassicOverlap = overlap })
				store := &memoryStore{}
				var fleet []*wecom.Client
				for range 8 {
					o := fakeOptions(fake, fake.WeixinAccount())
					o.ClassicToken, o.TokenStore = true, store
					fleet = append(fleet, client(t, o))
				}
				var group sync.WaitGroup
				everybody := func() {
					for _, c := range fleet {
						for range 20 {
							group.Go(func() { assert.NoError(t, info(t, c, fake)) })
						}
					}
				}
				everybody()
				group.Wait()
				assert.Equal(t, 1, fake.Calls(classic))
				for n := range 3 {
					time.Sleep(2 * time.Minute)
					everybody()
					tok, err := fleet[n].Token(t.Context())
					require.NoError(t, err)
					fleet[n].Invalidate(tok) // one fetches, for whatever reason
					assert.NoError(t, info(t, fleet[n], fake))
					everybody()
					group.Wait()
				}
				if overlap == 0 {
					assert.Equal(t, 4, fake.Calls(classic))
				}

				// A whole day, each process refreshing when it thinks that it should.
				for range 24 * 60 {
					time.Sleep(time.Minute)
					for _, c := range fleet {
						require.NoError(t, info(t, c, fake))
					}
				}
				assert.Less(t, fake.Calls(classic), 4+15, "about one fetch in 110 minutes")
			})
		})
	}
}

func TestStableTokenIsForcedSparingly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := wecomtest.New()
		forced := 0
		c := client(t, fakeOptions(fake, fake.WeixinAccount()))
		require.NoError(t, info(t, c, fake))
		assert.Equal(t, 1, fake.Calls(stable))

		fake.KillTokens()
		require.NoError(t, info(t, c, fake))
		assert.Equal(t, 2, fake.Calls(stable), "Weixin had another by itself")

		// A token that Weixin gives out and yet refuses: forced, but 30 seconds apart and 20 times a day.
		fake.Handle("user/refusing", func(*http.Request) any { return map[string]any{"errcode": 40001, "errmsg": "invalid credential"} })
		for range 24 * 60 {
			time.Sleep(time.Minute)
			before, err := c.Token(t.Context())
			require.NoError(t, err)
			var refused *wecom.APIError
			require.ErrorAs(t, c.Call(t.Context(), "GET", "user/refusing", nil, nil, nil), &refused)
			after, err := c.Token(t.Context())
			require.NoError(t, err)
			if before.Value.Reveal() != after.Value.Reveal() {
				forced++
			}
			require.NoError(t, info(t, c, fake), "everything else goes on")
		}
		assert.GreaterOrEqual(t, forced, 20)
		assert.LessOrEqual(t, forced, 20+14, "20 forced, the others by age")
	})
}

func TestStableTokenOfAFleetIsForcedOnce(t *testing.T) {
	for name, store := range map[string]wecom.TokenStore{"with a store": &memoryStore{}, "without": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := wecomtest.New()
				var fleet []*wecom.Client
				for range 8 {
					o := fakeOptions(fake, fake.WeixinAccount())
					o.TokenStore = store
					fleet = append(fleet, client(t, o))
				}
				first, err := fleet[0].Token(t.Context())
				require.NoError(t, err)
				for _, c := range fleet {
					tok, err := c.Token(t.Context())
					require.NoError(t, err)
					assert.Equal(t, first.Value.Reveal(), tok.Value.Reveal())
				}
				values := map[string]bool{}
				for _, c := range fleet {
					c.Invalidate(first)
					tok, err := c.Token(t.Context())
					require.NoError(t, err)
					values[tok.Value.Reveal()] = true
				}
				assert.Len(t, values, 1, "one replacement serves all")
				assert.NotContains(t, values, first.Value.Reveal())
			})
		})
	}
}

func TestClassicAndStableTokensAreApart(t *testing.T) {
	fake := wecomtest.New()
	store := &memoryStore{}
	o := fakeOptions(fake, fake.WeixinAccount())
	o.TokenStore = store
	one, err := client(t, o).Token(t.Context())
	require.NoError(t, err)
	o.ClassicToken = true
	two, err := client(t, o).Token(t.Context())
	require.NoError(t, err)
	assert.NotEqual(t, one.Value.Reveal(), two.Value.Reveal())
	require.Len(t, store.tokens, 2)
	o.Secret = wecom.NewSecret("another-secret")
	_, err = client(t, o).Token(t.Context())
	assert.Error(t, err, "a token of another secret is not found")
	for key := range store.tokens {
		assert.Regexp(t, `^weixin:(stable|classic):`+o.AppID+`:[0-9a-f]{16}$`, key)
		assert.NotContains(t, key, fake.WeixinAccount().Secret)
	}
}

// The central token server hands out an account's token like any other.
func TestCentralTokenServer(t *testing.T) {
	fake := wecomtest.New()
	o := fakeOptions(fake, fake.WeixinAccount())
	o.ClassicToken = true
	key, hash := tokenserver.GenerateKey()
	server, err := tokenserver.New(tokenserver.Config{
		Apps:    map[string]wecom.TokenSource{"shop": client(t, o)},
		Clients: []tokenserver.Client{{Name: "mailer", KeySHA256: hash, Apps: []string{"shop"}}},
		Logger:  o.Logger,
	})
	require.NoError(t, err)
	web := httptest.NewServer(server)
	defer web.Close()
	for range 3 {
		source, err := tokenserver.NewSource(tokenserver.SourceConfig{URL: web.URL, App: "shop", Key: key})
		require.NoError(t, err)
		require.NoError(t, info(t, client(t, weixin.Options{AppID: o.AppID, TokenSource: source, Transport: o.Transport}), fake))
	}
	assert.Equal(t, 1, fake.Calls(classic))
}

// Others of the account have used up what Weixin replaces in a day: the token stays.
func TestStableTokenThatCannotBeForcedServesOn(t *testing.T) {
	api := says(map[string][]string{
		stable:               {rawToken(1), rawToken(1), refusal(45009, "reach max api daily quota limit")},
		"/cgi-bin/user/info": {refusal(40001, "invalid credential")},
	})
	c := client(t, options(api))
	var refused *wecom.APIError
	require.ErrorAs(t, c.Call(t.Context(), "GET", "user/info", nil, nil, nil), &refused)
	assert.Equal(t, 40001, refused.Code, "what it was refused for")
	token, err := c.Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "CANARY-account-token-1", token.Value.Reveal())
	assert.Equal(t, 3, api.count(stable))
}

// Weixin refuses the 21st request of a day to replace a token, and one within 30
// seconds of another. It is not asked.
func TestStableTokenIsForcedAtMostTwentyTimesADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := says(map[string][]string{stable: {rawToken(1)}, "/cgi-bin/user/info": {refusal(40001, "invalid credential")}})
		c := client(t, options(api))
		var forced []time.Time
		for range 2 * 24 * 360 { // every 10 seconds for two days
			before := len(api.seen)
			var refused *wecom.APIError
			require.ErrorAs(t, c.Call(t.Context(), "GET", "user/info", nil, nil, nil), &refused)
			assert.Equal(t, 40001, refused.Code)
			for _, call := range api.seen[before:] {
				if strings.Contains(call.body, `"force_refresh":true`) {
					forced = append(forced, time.Now())
				}
			}
			time.Sleep(10 * time.Second)
		}
		assert.Len(t, forced, 40)
		for i := 1; i < len(forced); i++ {
			assert.GreaterOrEqual(t, forced[i].Sub(forced[i-1]), 30*time.Second)
		}
		for i := 20; i < len(forced); i++ {
			assert.GreaterOrEqual(t, forced[i].Sub(forced[i-20]), 24*time.Hour)
		}
	})
}
