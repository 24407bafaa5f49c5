package wecom_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
)

const (
	canarySecret = "CANARY+secret/0123456789=="
	canaryCode   = "CANARY+code/0123456789=="
	canaryTicket = "CANARY+ticket/0123456789=="
	canaryToken  = "CANARY-token-" // and a number
)

// A scriptedAPI is WeCom's API without a network: it gives out tokens by itself
// and answers everything else by script.
type scriptedAPI struct {
	mu     sync.Mutex
	calls  map[string]int // by operation
	seen   []scriptedCall
	script func(op string, n int, r *http.Request) (*http.Response, error) // n counts from 1
}

type scriptedCall struct{ method, op, query, body string }

func (a *scriptedAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	op := strings.TrimPrefix(r.URL.Path, "/cgi-bin/")
	a.mu.Lock()
	if a.calls == nil {
		a.calls = map[string]int{}
	}
	a.calls[op]++
	n := a.calls[op]
	a.seen = append(a.seen, scriptedCall{r.Method, op, r.URL.RawQuery, string(body)})
	a.mu.Unlock()
	if a.script != nil {
		if resp, err := a.script(op, n, r); resp != nil || err != nil {
			return resp, err
		}
	}
	if op == "gettoken" {
		return says(fmt.Sprintf(`{"errcode":0,"errmsg":"ok","access_token":"%s%d","expires_in":7200}`, canaryToken, n)), nil
	}
	return says(`{"errcode":0,"errmsg":"ok"}`), nil
}

func (a *scriptedAPI) count(op string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls[op]
}

// says is an answer with status 200.
func says(body string) *http.Response {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

// inTurn answers op with the bodies one after the other, and the last one again and again.
func inTurn(op string, bodies ...string) func(string, int, *http.Request) (*http.Response, error) {
	return func(got string, n int, _ *http.Request) (*http.Response, error) {
		if got != op {
			return nil, nil
		}
		return says(bodies[min(n, len(bodies))-1]), nil
	}
}

func errcode(code int) string {
	return fmt.Sprintf(`{"errcode":%d,"errmsg":"hint: [1], from ip: 203.0.113.7"}`, code)
}

func clientOptions(rt http.RoundTripper) wecom.Options {
	return wecom.Options{CorpID: "ww1234567890abcdef", AgentID: "1000002", Secret: wecom.NewSecret(canarySecret), Transport: rt,
		Logger: slog.New(slog.DiscardHandler)}
}

func newTestClient(t testing.TB, rt http.RoundTripper) *wecom.Client {
	t.Helper()
	c, err := wecom.NewClient(clientOptions(rt))
	require.NoError(t, err)
	return c
}

// clientFor calls the server with a transport of the package's own.
func clientFor(t testing.TB, server string) *wecom.Client {
	t.Helper()
	o := clientOptions(nil)
	o.Endpoints.API = server
	o.TokenSource = fixedToken{}
	c, err := wecom.NewClient(o)
	require.NoError(t, err)
	return c
}

type fixedToken struct{}

func (fixedToken) Token(context.Context) (wecom.Token, error) {
	return wecom.Token{Value: wecom.NewSecret(canaryToken + "fixed"), Expires: time.Now().Add(time.Hour)}, nil
}
func (fixedToken) Invalidate(wecom.Token) {}

func TestNewClientReportsEveryMistake(t *testing.T) {
	_, err := wecom.NewClient(wecom.Options{AgentID: "app", Endpoints: wecom.Endpoints{API: "http://api.example.com"}})
	for _, want := range []string{"CorpID", "AgentID", "Secret", "Endpoints.API"} {
		assert.ErrorContains(t, err, want)
	}
	for _, tt := range []struct {
		name   string
		change func(*wecom.Options)
		want   string // "" for none
	}{
		{"as it should be", func(o *wecom.Options) {}, ""},
		{"no agent", func(o *wecom.Options) { o.AgentID = "" }, ""},
		{"token source for secret", func(o *wecom.Options) { o.Secret, o.TokenSource = wecom.Secret{}, fixedToken{} }, ""},
		{"corp with a slash", func(o *wecom.Options) { o.CorpID = "ww/1" }, "CorpID"},
		{"agent in words", func(o *wecom.Options) { o.AgentID = "1000002x" }, "AgentID"},
		{"no secret", func(o *wecom.Options) { o.Secret = wecom.Secret{} }, "Secret"},
		{"secret with a newline", func(o *wecom.Options) { o.Secret = wecom.NewSecret(canarySecret + "\n") }, "Secret"},
		{"store beside source", func(o *wecom.Options) { o.TokenSource, o.TokenStore = fixedToken{}, newSharedStore() }, "TokenStore"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := clientOptions(nil)
			tt.change(&o)
			c, err := wecom.NewClient(o)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
			assert.Nil(t, c)
			assert.NotContains(t, err.Error(), "CANARY")
		})
	}
}

func TestCall(t *testing.T) {
	api := &scriptedAPI{script: func(op string, _ int, _ *http.Request) (*http.Response, error) {
		switch op {
		case "user/get":
			return says(`{"errcode":0,"errmsg":"ok","userid":"zhangsan","order":[4294967295]}`), nil
		case "user/list_id":
			return says(`{"errcode":0,"errmsg":"ok","dept_user":[{"userid":"zhangsan","department":1}]}`), nil
		}
		return nil, nil
	}}
	c := newTestClient(t, api)
	ctx := t.Context()

	query := url.Values{"userid": {"zhang san&x=1"}}
	var user struct {
		UserID string  `json:"userid"`
		Order  []int64 `json:"order"`
	}
	require.NoError(t, c.Call(ctx, "GET", "/cgi-bin/user/get", query, nil, &user))
	assert.Equal(t, "zhangsan", user.UserID)
	assert.Equal(t, []int64{1<<32 - 1}, user.Order)
	assert.Equal(t, url.Values{"userid": {"zhang san&x=1"}}, query, "the caller's query is not touched")

	var broken struct{ Name string }
	require.NoError(t, rawClient(t, "{\"errcode\":0,\"name\":\"a\x01\xffb\\ud83c\"}").Call(ctx, "GET", "user/get", nil, nil, &broken))
	assert.Equal(t, "a �b�", broken.Name)

	var raw json.RawMessage
	require.NoError(t, c.Call(ctx, "POST", "user/list_id", nil, map[string]int{"limit": 100}, &raw))
	assert.JSONEq(t, `{"errcode":0,"errmsg":"ok","dept_user":[{"userid":"zhangsan","department":1}]}`, string(raw))
	require.NoError(t, c.Call(ctx, "POST", "/cgi-bin/message/send", nil, nil, nil))

	assert.Equal(t, []scriptedCall{
		{"GET", "gettoken", "corpid=ww1234567890abcdef&corpsecret=" + url.QueryEscape(canarySecret), ""},
		{"GET", "user/get", "access_token=CANARY-token-1&userid=zhang+san%26x%3D1", ""},
		{"POST", "user/list_id", "access_token=CANARY-token-1", `{"limit":100}`},
		{"POST", "message/send", "access_token=CANARY-token-1", ""},
	}, api.seen)
}

func TestCallRefusesMisuse(t *testing.T) {
	api := &scriptedAPI{}
	c := newTestClient(t, api)
	for _, tt := range []struct {
		name         string
		method, path string
		query        url.Values
		in           any
	}{
		{name: "method", method: "PUT", path: "user/get"},
		{name: "no method", path: "user/get"},
		{name: "no path", method: "GET"},
		{name: "query in the path", method: "GET", path: "user/get?debug=1"},
		{name: "another host", method: "GET", path: "https://example.com/user/get"},
		{name: "host without scheme", method: "GET", path: "//example.com/user/get"},
		{name: "dots", method: "GET", path: "/cgi-bin/../admin"},
		{name: "escape", method: "GET", path: "user%2fget"},
		{name: "slash at the end", method: "GET", path: "user/get/"},
		{name: "own token", method: "GET", path: "user/get", query: url.Values{"access_token": {"x"}}},
		{name: "body of a GET", method: "GET", path: "user/get", in: 1},
		{name: "what JSON cannot hold", method: "POST", path: "user/get", in: make(chan int)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.ErrorContains(t, c.Call(t.Context(), tt.method, tt.path, tt.query, tt.in, nil), "wecom: ")
		})
	}
	assert.Empty(t, api.seen)

	for _, c := range []*wecom.Client{nil, {}} {
		assert.Error(t, c.Call(t.Context(), "GET", "user/get", nil, nil, nil))
		token, err := c.Token(t.Context())
		assert.Error(t, err)
		assert.Zero(t, token)
		c.Invalidate(wecom.Token{})
	}
}

// A mistake in out must not show after a message was sent: its caller would send it again.
func TestF6_NothingIsSentForAnAnswerWithoutAPlace(t *testing.T) {
	api := &scriptedAPI{}
	c := newTestClient(t, api)
	for _, out := range []any{struct{}{}, "", map[string]any{}, (*struct{ MsgID string })(nil), make(chan int)} {
		err := c.Call(t.Context(), "POST", "message/send", nil, map[string]string{"touser": "zhangsan"}, out)
		assert.ErrorContains(t, err, "pointer", "%T", out)
	}
	assert.Zero(t, api.count("message/send"))
}

func TestCallLeavesTheAnswerOutOfErrors(t *testing.T) {
	api := &scriptedAPI{script: inTurn("user/get", `{"errcode":0,"mobile":13800000000}`)}
	c := newTestClient(t, api)
	var user struct {
		Mobile string `json:"mobile"`
	}
	err := c.Call(t.Context(), "GET", "user/get", nil, nil, &user)
	require.ErrorContains(t, err, `field "mobile" is no string`)
	assert.NotContains(t, err.Error(), "138")
}

func TestF5_ARefusedTokenIsReplacedOnce(t *testing.T) {
	for _, tt := range []struct {
		name     string
		answers  []string
		wantCode int // 0 for success
		calls    int
		tokens   int
	}{
		{"good", []string{errcode(0)}, 0, 1, 1},
		{"not valid", []string{errcode(40014), errcode(0)}, 0, 2, 2},
		{"expired", []string{errcode(42001), errcode(0)}, 0, 2, 2},
		{"refused again", []string{errcode(40014), errcode(42001), errcode(0)}, 42001, 2, 2},
		{"then another error", []string{errcode(42001), errcode(60011)}, 60011, 2, 2},
		{"then busy", []string{errcode(42001), errcode(-1), errcode(0)}, 0, 3, 2},
		{"a wrong secret is no wrong token", []string{errcode(40001), errcode(0)}, 40001, 1, 1},
	} {
		t.Run(tt.name, bubble(func(t *testing.T) {
			api := &scriptedAPI{script: inTurn("user/get", tt.answers...)}
			c := newTestClient(t, api)
			err := c.Call(t.Context(), "GET", "user/get", nil, nil, nil)
			var apiErr *wecom.APIError
			if tt.wantCode == 0 {
				require.NoError(t, err)
			} else if assert.ErrorAs(t, err, &apiErr) {
				assert.Equal(t, tt.wantCode, apiErr.Code)
			}
			assert.Equal(t, tt.calls, api.count("user/get"))
			assert.Equal(t, tt.tokens, api.count("gettoken"))
		}))
	}
}

func TestF5_ASourceWithoutAnotherTokenGetsNoRepeat(t *testing.T) {
	api := &scriptedAPI{script: inTurn("user/get", errcode(40014))}
	o := clientOptions(api)
	o.TokenSource = fixedToken{}
	c, err := wecom.NewClient(o)
	require.NoError(t, err)
	var apiErr *wecom.APIError
	require.ErrorAs(t, c.Call(t.Context(), "GET", "user/get", nil, nil, nil), &apiErr)
	assert.Equal(t, 40014, apiErr.Code)
	assert.Equal(t, 1, api.count("user/get"))
}

func TestF8_BusyIsTriedThreeTimes(t *testing.T) {
	for _, tt := range []struct {
		op      string
		answers []string
		calls   int
		ok      bool
	}{
		{"user/get", []string{errcode(-1), errcode(0)}, 2, true},
		{"user/get", []string{errcode(-1), errcode(-1), errcode(0)}, 3, true},
		{"user/get", []string{errcode(-1), errcode(-1), errcode(-1), errcode(0)}, 3, false},
		{"user/get", []string{errcode(-1), errcode(40014), errcode(-1), errcode(-1), errcode(0)}, 4, false},
		{"gettoken", []string{errcode(-1), errcode(-1), `{"errcode":0,"access_token":"t","expires_in":7200}`}, 3, true},
		{"gettoken", []string{errcode(-1)}, 3, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			api := &scriptedAPI{script: inTurn(tt.op, tt.answers...)}
			err := newTestClient(t, api).Call(t.Context(), "POST", "user/get", nil, nil, nil)
			assert.Equal(t, tt.ok, err == nil, "%v", err)
			assert.Equal(t, tt.calls, api.count(tt.op))
		})
	}

	t.Run("within ctx", bubble(func(t *testing.T) {
		api := &scriptedAPI{script: inTurn("user/get", errcode(-1))}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		var apiErr *wecom.APIError
		require.ErrorAs(t, newTestClient(t, api).Call(ctx, "GET", "user/get", nil, nil, nil), &apiErr)
		assert.Equal(t, -1, apiErr.Code)
		assert.Equal(t, 300*time.Millisecond, time.Since(start))
		assert.Equal(t, 2, api.count("user/get"))
	}))
}

func TestLimitsAreNotHammered(t *testing.T) {
	for _, code := range []int{45009, 45033} {
		api := &scriptedAPI{script: inTurn("user/get", errcode(code))}
		var apiErr *wecom.APIError
		require.ErrorAs(t, newTestClient(t, api).Call(t.Context(), "GET", "user/get", nil, nil, nil), &apiErr)
		assert.Equal(t, code, apiErr.Code)
		assert.Equal(t, "user/get", apiErr.Op)
		assert.Equal(t, 1, api.count("user/get"))
	}
}

func TestAWrongSecretIsSentOnce(t *testing.T) {
	for _, code := range []int{40001, 40013, 40091, 45031, 45009, 50003} {
		api := &scriptedAPI{script: inTurn("gettoken", errcode(code))}
		c := newTestClient(t, api)
		for range 3 {
			err := c.Call(t.Context(), "GET", "user/get", nil, nil, nil)
			var apiErr *wecom.APIError
			require.ErrorAs(t, err, &apiErr)
			assert.Equal(t, code, apiErr.Code)
			assert.Equal(t, "gettoken", apiErr.Op)
		}
		assert.Equal(t, 1, api.count("gettoken"), "errcode %d", code)
		assert.Zero(t, api.count("user/get"))
	}
}

func TestF20_LifeOfAToken(t *testing.T) {
	for _, tt := range []struct {
		answer string
		want   time.Duration // 0: no token
	}{
		{`{"errcode":0,"access_token":"t","expires_in":7200}`, 2 * time.Hour},
		{`{"errcode":0,"access_token":"t","expires_in":600}`, 10 * time.Minute},
		{`{"errcode":0,"access_token":"t","expires_in":0}`, time.Minute},
		{`{"errcode":0,"access_token":"t","expires_in":-1}`, time.Minute},
		{`{"errcode":0,"access_token":"t","expires_in":59}`, time.Minute},
		{`{"errcode":0,"access_token":"t"}`, time.Minute},
		{`{"errcode":0,"access_token":"t","expires_in":"7200"}`, time.Minute},
		{`{"errcode":0,"access_token":"t","expires_in":7200.5}`, time.Minute},
		{`{"errcode":0,"access_token":"t","expires_in":86400}`, 2 * time.Hour},
		{`{"errcode":0,"access_token":"t","expires_in":9223372036854775807}`, 2 * time.Hour},
		{`{"errcode":0,"access_token":"t","expires_in":-9223372036854775808}`, time.Minute},
		{`{"errcode":0,"access_token":"t","expires_in":1e99}`, time.Minute},
		{`{"errcode":0,"access_token":""}`, 0},
		{`{"errcode":0,"expires_in":7200}`, 0},
		{`{"errcode":0,"access_token":null}`, 0},
		{`{"errcode":0,"access_token":7}`, 0},
		{`{"errcode":0,"access_token":"a b"}`, 0},
		{`{"errcode":0,"access_token":"a\r\nHost: x"}`, 0},
		{`{"errcode":0,"Access_Token":"t"}`, 0},
		{`{"access_token":"t","expires_in":7200}`, 0},
		{`{"errcode":0,"access_token":"` + strings.Repeat("t", 4097) + `"}`, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			api := &scriptedAPI{script: func(op string, _ int, _ *http.Request) (*http.Response, error) {
				time.Sleep(3 * time.Second) // of the bubble's clock: a slow answer
				return says(tt.answer), nil
			}}
			token, err := newTestClient(t, api).Token(t.Context())
			if tt.want == 0 {
				require.Error(t, err, tt.answer)
				assert.Zero(t, token)
				return
			}
			require.NoError(t, err, tt.answer)
			assert.Equal(t, tt.want, token.Expires.Sub(start), tt.answer)
		})
	}
}

// A server that closes a kept-alive connection makes net/http send a request
// again by itself.
func TestF6_NothingIsSentTwice(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		for _, in := range []any{nil, map[string]string{"userid": "zhangsan"}} {
			if method == "GET" && in != nil {
				continue
			}
			t.Run(fmt.Sprint(method, in), func(t *testing.T) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				require.NoError(t, err)
				defer l.Close()
				var requests atomic.Int32
				go func() {
					for {
						conn, err := l.Accept()
						if err != nil {
							return
						}
						go func() {
							defer conn.Close()
							r := bufio.NewReader(conn)
							for first := true; ; first = false {
								req, err := http.ReadRequest(r)
								if err != nil {
									return
								}
								_, _ = io.Copy(io.Discard, req.Body)
								requests.Add(1)
								if !first {
									return // read, not answered
								}
								_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"errcode\":0}")
							}
						}()
					}
				}()
				for name, rt := range map[string]http.RoundTripper{"own transport": nil, "http.DefaultTransport's": http.DefaultTransport.(*http.Transport).Clone()} {
					t.Run(name, func(t *testing.T) {
						requests.Store(0)
						o := clientOptions(rt)
						o.Endpoints.API = "http://" + l.Addr().String()
						o.TokenSource = fixedToken{}
						c, err := wecom.NewClient(o)
						require.NoError(t, err)
						require.NoError(t, c.Call(t.Context(), method, "user/get", nil, in, nil))
						require.Error(t, c.Call(t.Context(), method, "user/get", nil, in, nil))
						assert.EqualValues(t, 2, requests.Load())
					})
				}
			})
		}
	}
}

// A GET must not carry a trace of the body that keeps net/http from repeating it.
func TestAGETHasNoBodyOnTheWire(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Zero(t, r.ContentLength)
		assert.Empty(t, r.TransferEncoding)
		assert.Empty(t, r.Header.Get("Content-Type"))
		_, _ = io.WriteString(w, `{"errcode":0}`)
	}))
	defer server.Close()
	require.NoError(t, clientFor(t, server.URL).Call(t.Context(), "GET", "user/get", nil, nil, nil))
}

func TestF7_OneRetryIfNothingWasWritten(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		_, _ = io.WriteString(w, `{"errcode":0}`)
	}))
	defer server.Close()

	for _, tt := range []struct {
		failures, dials, requests int32
		ok                        bool
	}{
		{0, 1, 1, true},
		{1, 2, 1, true},
		{2, 2, 0, false},
	} {
		requests.Store(0)
		var dials atomic.Int32
		o := clientOptions(&http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if dials.Add(1) <= tt.failures {
					return nil, errors.New("refused")
				}
				return new(net.Dialer).DialContext(ctx, network, addr)
			},
		})
		o.Endpoints.API = server.URL
		o.TokenSource = fixedToken{}
		c, err := wecom.NewClient(o)
		require.NoError(t, err)
		err = c.Call(t.Context(), "POST", "message/send", nil, map[string]string{"touser": "zhangsan"}, nil)
		assert.Equal(t, tt.ok, err == nil, "%v", err)
		assert.Equal(t, tt.dials, dials.Load())
		assert.Equal(t, tt.requests, requests.Load())
	}

	t.Run("not if nothing is known", func(t *testing.T) {
		api := &scriptedAPI{script: func(string, int, *http.Request) (*http.Response, error) {
			return nil, errors.New("some failure of a transport that reports no connections")
		}}
		o := clientOptions(api)
		o.TokenSource = fixedToken{}
		c, err := wecom.NewClient(o)
		require.NoError(t, err)
		require.Error(t, c.Call(t.Context(), "GET", "user/get", nil, nil, nil))
		assert.Equal(t, 1, api.count("user/get"))
	})
}

func TestT31_UnverifiedTLS(t *testing.T) {
	var requests atomic.Int32
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	for name, version := range map[string]uint16{"self-signed": tls.VersionTLS13, "TLS 1.1": tls.VersionTLS11} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(handler)
			server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
			server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: version}
			server.StartTLS()
			defer server.Close()
			o := clientOptions(nil)
			o.Endpoints.API = server.URL
			c, err := wecom.NewClient(o)
			require.NoError(t, err)
			err = c.Call(t.Context(), "GET", "user/get", nil, nil, nil)
			require.Error(t, err)
			if version == tls.VersionTLS11 {
				assert.ErrorContains(t, err, "protocol version")
			} else {
				var unverified *tls.CertificateVerificationError
				assert.ErrorAs(t, err, &unverified)
			}
			assert.Zero(t, requests.Load())
		})
	}
}

func TestT20_RedirectsAreNotFollowed(t *testing.T) {
	var hits atomic.Int32
	sink := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer sink.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.RedirectHandler(sink.URL+"/?next", status))
		c := clientFor(t, server.URL)
		assert.ErrorContains(t, c.Call(t.Context(), "GET", "user/get", nil, nil, nil), fmt.Sprint(status))
		assert.ErrorContains(t, c.Call(t.Context(), "POST", "user/get", nil, nil, nil), fmt.Sprint(status))
		server.Close()
	}
	assert.Zero(t, hits.Load())
}

// An endless body counts what is read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) { e.read += len(p); return len(p), nil }
func (e *endless) Close() error               { return nil }

func TestF10_HostileAnswers(t *testing.T) {
	bomb := func() []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, `{"errcode":0,"userid":"`)
		_, _ = io.Copy(z, io.LimitReader(zeros{}, 8<<20))
		_ = z.Close()
		return b.Bytes()
	}()
	for name, handler := range map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"errcode":0}`, 500) },
		"201": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			_, _ = io.WriteString(w, `{"errcode":0}`)
		},
		"204":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"empty": func(http.ResponseWriter, *http.Request) {},
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"errcode":0}`)
		},
		"64 KiB of headers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("a", 64<<10))
			_, _ = io.WriteString(w, `{"errcode":0}`)
		},
		"unasked gzip": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		},
		"100 MiB": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"errcode":0,"userid":"`)
			_, _ = io.Copy(w, io.LimitReader(zeros{}, 100<<20))
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			out := json.RawMessage("untouched")
			require.Error(t, clientFor(t, server.URL).Call(t.Context(), "GET", "user/get", nil, nil, &out))
			assert.Equal(t, "untouched", string(out))
		})
	}

	t.Run("gzip bomb", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		}))
		defer server.Close()
		o := clientOptions(&http.Transport{}) // decompresses, unlike our own
		o.Endpoints.API = server.URL
		o.TokenSource = fixedToken{}
		c, err := wecom.NewClient(o)
		require.NoError(t, err)
		assert.ErrorContains(t, c.Call(t.Context(), "GET", "user/get", nil, nil, nil), "larger than 1048576 bytes")
	})

	t.Run("endless", func(t *testing.T) {
		body := &endless{}
		c := newTestClient(t, &scriptedAPI{script: func(op string, _ int, _ *http.Request) (*http.Response, error) {
			if op == "gettoken" {
				return nil, nil
			}
			return &http.Response{StatusCode: 200, Body: body}, nil
		}})
		require.Error(t, c.Call(t.Context(), "GET", "user/get", nil, nil, nil))
		assert.LessOrEqual(t, body.read, 1<<20+1)
	})

	t.Run("just small enough", func(t *testing.T) {
		long := `{"errcode":0,"x":"` + strings.Repeat("x", 1<<20-20) + `"}`
		require.Len(t, long, 1<<20)
		c := newTestClient(t, &scriptedAPI{script: inTurn("user/get", long)})
		require.NoError(t, c.Call(t.Context(), "GET", "user/get", nil, nil, nil))
		c = newTestClient(t, &scriptedAPI{script: inTurn("user/get", long+" ")})
		require.Error(t, c.Call(t.Context(), "GET", "user/get", nil, nil, nil))
	})

	t.Run("a transport without manners", func(t *testing.T) {
		for _, resp := range []*http.Response{nil, {StatusCode: 200}} {
			c, err := wecom.NewClient(func() wecom.Options {
				o := clientOptions(roundTrip(func(*http.Request) (*http.Response, error) { return resp, nil }))
				o.TokenSource = fixedToken{}
				return o
			}())
			require.NoError(t, err)
			require.Error(t, c.Call(t.Context(), "GET", "user/get", nil, nil, nil))
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type zeros struct{}

var zeroPage = bytes.Repeat([]byte("0"), 64<<10)

func (zeros) Read(p []byte) (int, error) { return copy(p, zeroPage), nil }

// A dripping body never ends and gives up when its request does.
type dripping struct{ ctx context.Context }

func (d dripping) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
}
func (dripping) Close() error { return nil }

func TestF10_ASlowDripEndsAfterFiveSeconds(t *testing.T) {
	for _, tt := range []struct{ ctx, want time.Duration }{{time.Minute, 5 * time.Second}, {2500 * time.Millisecond, 2500 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			o := clientOptions(roundTrip(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Body: dripping{r.Context()}}, nil
			}))
			o.TokenSource = fixedToken{}
			c, err := wecom.NewClient(o)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), tt.ctx)
			defer cancel()
			start := time.Now()
			err = c.Call(ctx, "GET", "user/get", nil, nil, nil)
			assert.Equal(t, tt.want, time.Since(start))
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			var timeout interface{ Timeout() bool }
			if assert.ErrorAs(t, err, &timeout) {
				assert.True(t, timeout.Timeout())
			}
		})
	}
}

func TestErrorsKeepTheirCause(t *testing.T) {
	refused := clientFor(t, "http://"+closedAddress(t))
	err := refused.Call(t.Context(), "GET", "user/get", nil, nil, nil)
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	assert.Equal(t, "dial", op.Op)
	var timeout interface{ Timeout() bool }
	require.ErrorAs(t, err, &timeout)
	assert.False(t, timeout.Timeout())
	assert.ErrorContains(t, err, "wecom: user/get: ")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = refused.Call(ctx, "GET", "user/get", nil, nil, nil)
	assert.ErrorIs(t, err, context.Canceled)
	assert.NotErrorIs(t, err, context.DeadlineExceeded)

	own := errors.New("own")
	c := newTestClient(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: own}
	}))
	err = c.Call(t.Context(), "GET", "user/get", nil, nil, nil)
	assert.ErrorIs(t, err, own)
	var u *url.Error
	assert.False(t, errors.As(err, &u), "it holds the URL")
}

// closedAddress is one on which nobody listens.
func closedAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// everyText shows err in all the ways in which errors come to be seen.
func everyText(err error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n%+v\n%#v\n%s\n%q\n%x\n%d\n", err, err, err, err, err, []any{err}, err)
	fmt.Fprintf(&b, "%v %+v %#v\n", struct{ err error }{err}, struct{ err error }{err}, struct{ err error }{err})
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Error("failed", "err", err, "group", slog.GroupValue(slog.Any("err", err)))
	}
	j, _ := json.Marshal(map[string]any{"err": err})
	b.Write(j)
	for e := err; e != nil; e = errors.Unwrap(e) {
		fmt.Fprintf(&b, "%v %+v %#v\n", e, e, e)
	}
	return b.String()
}

// noCanary asserts that a text holds none of the canaries, as they are or escaped.
func noCanary(t testing.TB, text string) {
	t.Helper()
	for _, form := range []string{"CANARY", fmt.Sprintf("%x", "CANARY")} {
		if i := strings.Index(text, form); i >= 0 {
			assert.Failf(t, "leak", "%q in %s", form, text[max(0, i-200):min(len(text), i+200)])
		}
	}
}

func TestT20_NoErrorHoldsASecret(t *testing.T) {
	server := func(h http.HandlerFunc) func(testing.TB) wecom.Options {
		return func(t testing.TB) wecom.Options {
			s := httptest.NewServer(h)
			t.Cleanup(s.Close)
			o := clientOptions(nil)
			o.Endpoints.API = s.URL
			return o
		}
	}
	transport := func(f roundTrip) func(testing.TB) wecom.Options {
		return func(testing.TB) wecom.Options { return clientOptions(f) }
	}
	for name, options := range map[string]func(testing.TB) wecom.Options{
		"refused": func(t testing.TB) wecom.Options {
			o := clientOptions(nil)
			o.Endpoints.API = "http://" + closedAddress(t)
			return o
		},
		"no such host": func(testing.TB) wecom.Options {
			o := clientOptions(&http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
				return nil, &net.DNSError{Err: "no such host", Name: addr, IsNotFound: true}
			}})
			return o
		},
		"TLS": func(t testing.TB) wecom.Options {
			s := httptest.NewUnstartedServer(http.NotFoundHandler())
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
			s.StartTLS()
			t.Cleanup(s.Close)
			o := clientOptions(nil)
			o.Endpoints.API = s.URL
			return o
		},
		"proxy": func(t testing.TB) wecom.Options {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Error(w, r.RequestURI, http.StatusProxyAuthRequired)
			}))
			t.Cleanup(s.Close)
			proxy, _ := url.Parse(s.URL)
			o := clientOptions(&http.Transport{Proxy: http.ProxyURL(proxy)})
			return o
		},
		"an odd status line": server(func(w http.ResponseWriter, r *http.Request) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			defer conn.Close()
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 %s\r\n\r\n", r.URL)
		}),
		"cut off": server(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = fmt.Fprintf(w, `{"errcode":0,"x":%q`, r.URL)
		}),
		"errmsg with everything": server(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			query, _ := url.QueryUnescape(r.URL.RawQuery)
			lower := strings.NewReplacer("%2B", "%2b", "%2F", "%2f", "%3D", "%3d").Replace(r.URL.RawQuery)
			msg, _ := json.Marshal(r.URL.RawQuery + " " + query + " " + lower + " " + string(body))
			_, _ = fmt.Fprintf(w, `{"errcode":40029,"errmsg":%s}`, string(msg))
		}),
		"a transport that shows parts": transport(func(r *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(r.Body)
			return nil, fmt.Errorf("%s %q", url.PathEscape(r.URL.Query().Get("corpsecret")), string(body)+r.URL.Query().Get("code")+r.URL.Query().Get("access_token"))
		}),
		"a transport with a struct": transport(func(r *http.Request) (*http.Response, error) {
			return nil, showing{r.URL.String()}
		}),
		"a transport with a memory": func() func(testing.TB) wecom.Options {
			var seen []string
			return transport(func(r *http.Request) (*http.Response, error) {
				seen = append(seen, r.URL.String(), r.URL.Query().Get("corpsecret"))
				if strings.HasSuffix(r.URL.Path, "/gettoken") {
					return says(`{"errcode":0,"access_token":"` + canaryToken + `9","expires_in":7200}`), nil
				}
				return nil, errors.New(strings.Join(seen[:2], " "))
			})
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			for _, source := range []wecom.TokenSource{nil, fixedToken{}} { // fails at gettoken, or at the call
				if strings.Contains(name, "memory") && source != nil {
					continue
				}
				o := options(t)
				o.TokenSource = source
				var log bytes.Buffer
				o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				c, err := wecom.NewClient(o)
				require.NoError(t, err)
				for _, call := range []func() error{
					func() error {
						return c.Call(t.Context(), "GET", "auth/getuserinfo", url.Values{"code": {canaryCode}}, nil, nil)
					},
					func() error {
						return c.Call(t.Context(), "POST", "auth/getuserdetail", nil, map[string]string{"user_ticket": canaryTicket}, nil)
					},
				} {
					err := call()
					require.Error(t, err)
					noCanary(t, everyText(err))
				}
				noCanary(t, log.String())
			}
		})
	}
}

type showing struct{ url string }

func (s showing) Error() string { return s.url }

func TestB19_NoGoroutineBeforeFirstUse(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 50 {
		newTestClient(t, nil)
	}
	assert.LessOrEqual(t, runtime.NumGoroutine(), before)
}

func TestAClientIsATokenSource(t *testing.T) {
	api := &scriptedAPI{}
	c := newTestClient(t, api)
	o := clientOptions(&scriptedAPI{script: inTurn("user/get", errcode(42001), errcode(0))})
	o.TokenSource = c
	second, err := wecom.NewClient(o)
	require.NoError(t, err)
	require.NoError(t, second.Call(t.Context(), "GET", "user/get", nil, nil, nil))
	assert.Equal(t, 2, api.count("gettoken"), "the second client's report reaches the first")
}
