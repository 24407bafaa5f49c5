package tokenserver_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenserver"
)

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// An issuer stands for gettoken.
type issuer struct {
	calls atomic.Int64
	life  time.Duration
	fail  func() error
	takes time.Duration
}

func (i *issuer) fetch(ctx context.Context, _ wecom.Token) (wecom.Token, error) {
	start, n := time.Now(), i.calls.Add(1)
	if i.takes > 0 {
		select {
		case <-time.After(i.takes):
		case <-ctx.Done():
			return wecom.Token{}, ctx.Err()
		}
	}
	if i.fail != nil {
		if err := i.fail(); err != nil {
			return wecom.Token{}, err
		}
	}
	life := i.life
	if life == 0 {
		life = 2 * time.Hour
	}
	return wecom.Token{Value: wecom.NewSecret("token-" + strconv.FormatInt(n, 10)), Expires: start.Add(life)}, nil
}

func (i *issuer) source() wecom.TokenSource { return wecom.NewTokenSource("app", nil, i.fetch) }

var quiet = slog.New(slog.DiscardHandler)

// serve returns a server of the apps "portal" (src) and "other", and the key of
// a client that may have the first.
func serve(t *testing.T, src wecom.TokenSource) (*tokenserver.Server, string) {
	t.Helper()
	key, sum := tokenserver.GenerateKey()
	srv, err := tokenserver.New(tokenserver.Config{
		Apps:    map[string]wecom.TokenSource{"portal": src, "other": (&issuer{}).source()},
		Clients: []tokenserver.Client{{Name: "billing", KeySHA256: sum, Apps: []string{"portal"}}},
		Logger:  quiet,
	})
	require.NoError(t, err)
	return srv, key.Reveal()
}

type reply struct {
	Status         int
	Header         http.Header
	AccessToken    string  `json:"access_token"`
	ExpiresIn      float64 `json:"expires_in"`
	Error, Message string
}

func ask(h http.Handler, key, body string, change ...func(*http.Request)) reply {
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", "application/json")
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	a := reply{Status: w.Code, Header: w.Header()}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		a.Error = "not JSON: " + w.Body.String()
	}
	return a
}

func report(token string) string {
	return fmt.Sprintf(`{"app":"portal","rejected_sha256":%q}`, hash(token))
}

const portal = `{"app":"portal"}`

func TestAnswer(t *testing.T) {
	srv, key := serve(t, (&issuer{}).source())
	a := ask(srv, key, portal)
	assert.Equal(t, http.StatusOK, a.Status)
	assert.Equal(t, "token-1", a.AccessToken)
	assert.InDelta(t, 7200, a.ExpiresIn, 2)
	assert.Equal(t, http.Header{
		"Cache-Control":           {"no-store"},
		"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
		"Content-Type":            {"application/json"},
		"Referrer-Policy":         {"origin"},
		"X-Content-Type-Options":  {"nosniff"},
	}, a.Header)
	assert.Equal(t, "token-1", ask(srv, key, ` {"app":"portal","more":[1]} `).AccessToken, "what is not known is passed over")
	assert.Equal(t, "token-1", ask(srv, key, portal, func(r *http.Request) {
		r.Header.Set("Authorization", "bearer "+key)
		r.Header.Set("Content-Type", "Application/JSON; charset=utf-8")
	}).AccessToken)
}

func TestRefusals(t *testing.T) {
	var up issuer
	srv, key := serve(t, up.source())
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	target := func(target string) func(*http.Request) {
		return func(r *http.Request) { r.URL = httptest.NewRequest(http.MethodPost, target, nil).URL }
	}
	for _, c := range []struct {
		name   string
		body   string
		change func(*http.Request)
		status int
		code   string
	}{
		{"the key in the query", portal, target("/token?key=" + key), 400, "query_not_allowed"},
		{"the key in the query alone", portal, func(r *http.Request) { target("/token?access_token=" + key)(r); r.Header.Del("Authorization") }, 400, "query_not_allowed"},
		{"the app in the query", portal, target("/token?app=portal"), 400, "query_not_allowed"},
		{"an empty query", portal, target("/token?"), 400, "query_not_allowed"},
		{"GET", "", func(r *http.Request) { r.Method = http.MethodGet }, 405, "method_not_allowed"},
		{"HEAD", "", func(r *http.Request) { r.Method = http.MethodHead }, 405, "method_not_allowed"},
		{"PUT", portal, func(r *http.Request) { r.Method = http.MethodPut }, 405, "method_not_allowed"},
		{"OPTIONS", "", func(r *http.Request) { r.Method = http.MethodOptions }, 405, "method_not_allowed"},

		{"no key", portal, header("Authorization"), 401, "unauthorized"},
		{"an empty key", portal, header("Authorization", "Bearer "), 401, "unauthorized"},
		{"no scheme", portal, header("Authorization", key), 401, "unauthorized"},
		{"another scheme", portal, header("Authorization", "Basic "+key), 401, "unauthorized"},
		{"two keys", portal, header("Authorization", "Bearer "+key, "Bearer "+key), 401, "unauthorized"},
		{"half a key", portal, header("Authorization", "Bearer "+key[:40]), 401, "unauthorized"},
		{"a key and more", portal, header("Authorization", "Bearer "+key+" x"), 401, "unauthorized"},
		{"a key in upper case", portal, header("Authorization", "Bearer "+strings.ToUpper(key)), 401, "unauthorized"},
		{"another key", portal, header("Authorization", "Bearer "+strings.Repeat("0", 64)), 401, "unauthorized"},
		{"the key's hash", portal, header("Authorization", "Bearer "+hash(key)), 401, "unauthorized"},
		{"a huge key", portal, header("Authorization", "Bearer "+strings.Repeat("0", 1<<16)), 401, "unauthorized"},
		{"the key in a cookie", portal, func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("Cookie", "key="+key) }, 401, "unauthorized"},

		{"a form", "app=portal", header("Content-Type", "application/x-www-form-urlencoded"), 415, "unsupported_media_type"},
		{"text", portal, header("Content-Type", "text/plain"), 415, "unsupported_media_type"},
		{"no type", portal, header("Content-Type"), 415, "unsupported_media_type"},
		{"too much", `{"app":"portal","x":"` + strings.Repeat("x", 4096) + `"}`, nil, 413, "too_large"},
		{"nothing", "", nil, 400, "bad_request"},
		{"half an object", `{"app":"portal"`, nil, 400, "bad_request"},
		{"two objects", portal + portal, nil, 400, "bad_request"},
		{"a string", `"portal"`, nil, 400, "bad_request"},
		{"no app", `{}`, nil, 400, "bad_request"},
		{"an empty app", `{"app":""}`, nil, 400, "bad_request"},
		{"an app that is a number", `{"app":1}`, nil, 400, "bad_request"},
		{"two apps", `{"app":"portal","app":"other"}`, nil, 400, "bad_request"},
		{"another case", `{"App":"portal"}`, nil, 400, "bad_request"},
		{"a hash that is none", `{"app":"portal","rejected_sha256":"token-1"}`, nil, 400, "bad_request"},
		{"an empty hash", `{"app":"portal","rejected_sha256":""}`, nil, 400, "bad_request"},
		{"a hash in upper case", `{"app":"portal","rejected_sha256":"` + strings.ToUpper(hash("x")) + `"}`, nil, 400, "bad_request"},

		{"an app of others", `{"app":"other"}`, nil, 403, "app_not_allowed"},
		{"an app that is none", `{"app":"nonesuch"}`, nil, 403, "app_not_allowed"},
		{"an app in another case", `{"app":"Portal"}`, nil, 403, "app_not_allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change == nil {
				c.change = func(*http.Request) {}
			}
			a := ask(srv, key, c.body, c.change)
			assert.Equal(t, c.status, a.Status)
			assert.Equal(t, c.code, a.Error)
			assert.NotEmpty(t, a.Message)
			assert.Equal(t, "no-store", a.Header.Get("Cache-Control"))
			assert.Equal(t, c.status == 401, a.Header.Get("WWW-Authenticate") == "Bearer")
			assert.Equal(t, c.status == 405, a.Header.Get("Allow") == "POST")
			assert.Empty(t, a.AccessToken)
			for name := range a.Header {
				assert.NotContains(t, name, "Access-Control")
			}
		})
	}
	assert.Zero(t, up.calls.Load(), "nobody was let in")
	assert.Equal(t, ask(srv, key, `{"app":"other"}`), ask(srv, key, `{"app":"nonesuch"}`), "an app of others and none cannot be told apart")
}

func TestZeroServerRefusesEverybody(t *testing.T) {
	var srv tokenserver.Server
	key, _ := tokenserver.GenerateKey()
	slogDefault(t, quiet)
	for _, k := range []string{key.Reveal(), "", strings.Repeat("\x00", 64)} {
		assert.Equal(t, "unauthorized", ask(&srv, k, portal).Error)
	}
}

func slogDefault(t *testing.T, l *slog.Logger) {
	before := slog.Default()
	slog.SetDefault(l)
	t.Cleanup(func() { slog.SetDefault(before) })
}

// A request without a known key costs one hash: its body is not even read.
func TestStrangersBodyIsNotRead(t *testing.T) {
	srv, _ := serve(t, (&issuer{}).source())
	a := ask(srv, strings.Repeat("0", 64), "", func(r *http.Request) { r.Body = io.NopCloser(unreadable{t}) })
	assert.Equal(t, http.StatusUnauthorized, a.Status)
}

type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	assert.Fail(u.t, "the body was read")
	return 0, io.EOF
}

func TestNewFindsAllMistakes(t *testing.T) {
	src := (&issuer{}).source()
	apps := map[string]wecom.TokenSource{"portal": src}
	sum := hash(strings.Repeat("k", 64))
	good := tokenserver.Client{Name: "billing", KeySHA256: sum, Apps: []string{"portal"}}
	for name, c := range map[string]struct {
		config tokenserver.Config
		want   []string
	}{
		"nothing":      {tokenserver.Config{}, []string{"Apps is empty", "Clients is empty"}},
		"a nil source": {tokenserver.Config{Apps: map[string]wecom.TokenSource{"portal": nil}, Clients: []tokenserver.Client{good}}, []string{`Apps["portal"] is nil`}},
		"names": {tokenserver.Config{Apps: map[string]wecom.TokenSource{"": src, "a\nb": src, strings.Repeat("x", 129): src}, Clients: []tokenserver.Client{good}},
			[]string{`name ""`, `name "a\nb"`, `name "xxx`, `no app "portal"`}},
		"a client with nothing": {tokenserver.Config{Apps: apps, Clients: []tokenserver.Client{{}}}, []string{"Clients[0].Name", "Clients[0].KeySHA256", "Clients[0].Apps is empty"}},
		"the key itself":        {tokenserver.Config{Apps: apps, Clients: []tokenserver.Client{{Name: "x", KeySHA256: "canary-key", Apps: []string{"portal"}}}}, []string{"Clients[0].KeySHA256"}},
		"a hash too long":       {tokenserver.Config{Apps: apps, Clients: []tokenserver.Client{{Name: "x", KeySHA256: sum + "00", Apps: []string{"portal"}}}}, []string{"Clients[0].KeySHA256"}},
		"a hash too short":      {tokenserver.Config{Apps: apps, Clients: []tokenserver.Client{{Name: "x", KeySHA256: sum[2:], Apps: []string{"portal"}}}}, []string{"Clients[0].KeySHA256"}},
		"one key for two":       {tokenserver.Config{Apps: apps, Clients: []tokenserver.Client{good, good}}, []string{"Clients[1].KeySHA256 is an earlier client's"}},
		"an unknown app":        {tokenserver.Config{Apps: apps, Clients: []tokenserver.Client{{Name: "x", KeySHA256: sum, Apps: []string{"portal", "nonesuch"}}}}, []string{`no app "nonesuch"`}},
	} {
		t.Run(name, func(t *testing.T) {
			srv, err := tokenserver.New(c.config)
			assert.Nil(t, srv)
			for _, want := range c.want {
				assert.ErrorContains(t, err, want)
			}
			assert.NotContains(t, err.Error(), "canary-key")
		})
	}
	// A client changes its key: for a while it has two.
	other := good
	other.KeySHA256 = strings.ToUpper(hash(strings.Repeat("n", 64)))
	srv, err := tokenserver.New(tokenserver.Config{Apps: apps, Clients: []tokenserver.Client{good, other}, Logger: quiet})
	require.NoError(t, err)
	for _, letter := range []string{"k", "n"} {
		assert.Equal(t, http.StatusOK, ask(srv, strings.Repeat(letter, 64), portal).Status)
	}
}

// The server does not see how long a client's key is before it comes.
func TestT32_ShortKeysAreRefused(t *testing.T) {
	for length, want := range map[int]int{1: 401, 31: 401, 32: 200, 512: 200, 513: 401} {
		key := strings.Repeat("k", length)
		srv, err := tokenserver.New(tokenserver.Config{
			Apps:    map[string]wecom.TokenSource{"portal": (&issuer{}).source()},
			Clients: []tokenserver.Client{{Name: "billing", KeySHA256: hash(key), Apps: []string{"portal"}}},
			Logger:  quiet,
		})
		require.NoError(t, err)
		assert.Equal(t, want, ask(srv, key, portal).Status, "%d bytes", length)
	}
}

func TestGenerateKey(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		key, sum := tokenserver.GenerateKey()
		assert.Regexp(t, "^[0-9a-f]{64}$", key.Reveal())
		assert.Equal(t, hash(key.Reveal()), sum)
		seen[key.Reveal()] = true
	}
	assert.Len(t, seen, 1000)
}

// A hostile client always knows the current token, so that comparing alone is no brake.
func TestF5_HostileReports(t *testing.T) {
	for _, minutes := range []int{1, 10} {
		synctest.Test(t, func(t *testing.T) {
			var up issuer
			srv, key := serve(t, up.source())
			a := ask(srv, key, portal)
			require.Equal(t, int64(1), up.calls.Load())
			start := time.Now()
			for i := range 1000 {
				time.Sleep(time.Until(start.Add(time.Duration(i) * time.Duration(minutes) * time.Minute / 1000)))
				a = ask(srv, key, report(a.AccessToken))
				require.Equal(t, http.StatusOK, a.Status)
				require.NotEmpty(t, a.AccessToken)
			}
			assert.Equal(t, int64(1+minutes), up.calls.Load(), "one fetch a minute")
		})
	}
}

// While WeCom is down, one client's report, false perhaps, takes the token from nobody else.
func TestF5_AReportWhileThereIsNoOtherToken(t *testing.T) {
	for name, answersAfter := range map[string]time.Duration{"WeCom refuses": 0, "WeCom is silent": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var down atomic.Bool
				up := &issuer{fail: func() error {
					if !down.Load() {
						return nil
					}
					time.Sleep(answersAfter)
					return errors.New("down")
				}}
				srv, key := serve(t, up.source())
				require.Equal(t, "token-1", ask(srv, key, portal).AccessToken)
				down.Store(true)
				for range 3 {
					assert.Equal(t, http.StatusServiceUnavailable, ask(srv, key, report("token-1")).Status)
					a := ask(srv, key, portal)
					assert.Equal(t, "token-1", a.AccessToken)
					assert.InDelta(t, 7200, a.ExpiresIn, 120, "until its own end")
					time.Sleep(20 * time.Second)
				}
				time.Sleep(2 * time.Hour)
				assert.Equal(t, http.StatusServiceUnavailable, ask(srv, key, portal).Status)
				down.Store(false)
				time.Sleep(time.Minute)
				next := ask(srv, key, report("token-1")).AccessToken
				assert.NotEmpty(t, next)
				down.Store(true)
				assert.Equal(t, next, ask(srv, key, portal).AccessToken)
				time.Sleep(2*time.Hour + time.Minute)
				assert.Equal(t, http.StatusServiceUnavailable, ask(srv, key, portal).Status, "a token that nobody reported ends as ever")
				time.Sleep(time.Minute) // the last fetch ends
			})
		})
	}
}

func TestF5_ReportOfAnOlderToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up issuer
		srv, key := serve(t, up.source())
		ask(srv, key, portal)
		assert.Equal(t, "token-2", ask(srv, key, report("token-1")).AccessToken)
		for range 100 {
			time.Sleep(2 * time.Minute)
			for _, old := range []string{"token-1", "token-0", "nonsense", ""} {
				assert.Equal(t, http.StatusOK, ask(srv, key, report(old)).Status)
			}
		}
		// 200 minutes: one token ends in between by itself.
		assert.LessOrEqual(t, up.calls.Load(), int64(3))
	})
}

// A fleet finds out at once that its token was killed. One fetch serves all, and the
// brake keeps nobody from the new token.
func TestF5_FleetReportsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := issuer{takes: time.Second}
		srv, key := serve(t, up.source())
		ask(srv, key, portal)
		var group sync.WaitGroup
		for range 200 {
			group.Go(func() {
				assert.Equal(t, "token-2", ask(srv, key, report("token-1")).AccessToken)
			})
		}
		group.Wait()
		assert.Equal(t, int64(2), up.calls.Load())
	})
}

type pauseError struct{ pause time.Duration }

func (*pauseError) Error() string               { return "canary of the cause" }
func (e *pauseError) RetryAfter() time.Duration { return e.pause } // panics on nil

func TestF3_Unavailable(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"an error":            {errors.New("canary of the cause"), "2"},
		"a pause":             {&pauseError{1500 * time.Millisecond}, "2"},
		"a wrapped pause":     {fmt.Errorf("x: %w", &pauseError{20 * time.Second}), "20"},
		"a pause of an hour":  {&pauseError{time.Hour}, "60"},
		"a negative pause":    {&pauseError{-time.Hour}, "2"},
		"a pause that panics": {(*pauseError)(nil), "2"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, key := serve(t, failing{c.err})
			a := ask(srv, key, portal)
			assert.Equal(t, http.StatusServiceUnavailable, a.Status)
			assert.Equal(t, "unavailable", a.Error)
			assert.Equal(t, c.want, a.Header.Get("Retry-After"))
			assert.NotContains(t, a.Message, "canary")
		})
	}
	t.Run("a fetch that takes longer than a client waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			up := issuer{takes: 9 * time.Second}
			srv, key := serve(t, up.source())
			start := time.Now()
			assert.Equal(t, "unavailable", ask(srv, key, portal).Error)
			assert.Equal(t, 4*time.Second, time.Since(start))
			time.Sleep(6 * time.Second)
			assert.Equal(t, "token-1", ask(srv, key, portal).AccessToken, "it went on")
		})
	})
}

type failing struct{ err error }

func (f failing) Token(context.Context) (wecom.Token, error) { return wecom.Token{}, f.err }
func (failing) Invalidate(wecom.Token)                       {}

type fixed wecom.Token

func (f fixed) Token(context.Context) (wecom.Token, error) { return wecom.Token(f), nil }
func (fixed) Invalidate(wecom.Token)                       {}

func TestF20_OddSources(t *testing.T) {
	for name, c := range map[string]struct {
		token  wecom.Token
		status int
		life   float64
	}{
		"no token":         {wecom.Token{}, 503, 0},
		"no expiry":        {wecom.Token{Value: wecom.NewSecret("token")}, 200, 60},
		"an expired token": {wecom.Token{Value: wecom.NewSecret("token"), Expires: time.Now().Add(-time.Hour)}, 503, 0},
		"a dying token":    {wecom.Token{Value: wecom.NewSecret("token"), Expires: time.Now().Add(time.Minute)}, 200, 59},
	} {
		t.Run(name, func(t *testing.T) {
			srv, key := serve(t, fixed(c.token))
			a := ask(srv, key, portal)
			assert.Equal(t, c.status, a.Status)
			assert.InDelta(t, c.life, a.ExpiresIn, 1)
		})
	}
}

func TestT20_LogsHoldNoSecrets(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var elsewhere bytes.Buffer // what goes to slog's default logger
	slogDefault(t, slog.New(slog.NewJSONHandler(&elsewhere, nil)))
	key := "canary-key-" + strings.Repeat("0123456789abcdef", 3)
	src := wecom.NewTokenSource("app", nil, func(context.Context, wecom.Token) (wecom.Token, error) {
		return wecom.Token{Value: wecom.NewSecret("canary-token"), Expires: time.Now().Add(time.Hour)}, nil
	})
	srv, err := tokenserver.New(tokenserver.Config{
		Apps:    map[string]wecom.TokenSource{"portal": src, "other": src, "down": failing{errors.New("upstream down")}},
		Clients: []tokenserver.Client{{Name: "billing", KeySHA256: hash(key), Apps: []string{"portal", "down"}}},
		Logger:  logger,
	})
	require.NoError(t, err)

	quoted, _ := json.Marshal(map[string]string{"app": key})
	wrongPlace := func(r *http.Request) { r.URL.RawQuery = "key=" + key }
	for _, body := range []string{portal, report("canary-token"), report("other"), `{"app":"other"}`, string(quoted), "canary-token", strings.Repeat(key, 100)} {
		ask(srv, key, body)
		ask(srv, key[:40], body)
		ask(srv, key, body, wrongPlace)
		ask(srv, key, body, func(r *http.Request) { r.Header.Set("Content-Type", key) })
	}
	ask(srv, key, report("canary-token"))
	ask(srv, key, `{"app":"down"}`)

	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.NotEmpty(t, lines)
	for _, line := range lines {
		assert.NotContains(t, line, "canary")
		assert.NotContains(t, line, hash(key))
		assert.NotContains(t, line, hash("canary-token"))
		if strings.Contains(line, `"outcome":"report`) {
			assert.Contains(t, line, `"level":"WARN"`)
		}
	}
	assert.NotContains(t, elsewhere.String(), "canary")
	assert.NotContains(t, elsewhere.String(), "token server")
	assert.Contains(t, lines[0], `"level":"INFO"`)
	assert.Contains(t, lines[0], `"status":200,"outcome":"token"`)
	assert.Contains(t, lines[0], `"client":"billing","app":"portal"`)
	for _, outcome := range []string{"query_not_allowed", "unauthorized", "unsupported_media_type", "too_large", "bad_request", "app_not_allowed", "report_had_no_effect", "report_passed_over", "token_newer_than_reported", "unavailable"} {
		assert.Contains(t, out.String(), `"outcome":"`+outcome+`"`)
	}
}
