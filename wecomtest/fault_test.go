package wecomtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/wecomauth/wecom/wecomtest"
)

// Both ways to reach the fake must show the same faults.
func bothWays(t *testing.T, test func(t *testing.T, fake *wecomtest.Fake, client *http.Client, base string)) {
	t.Run("in process", func(t *testing.T) {
		fake := wecomtest.New()
		test(t, fake, fake.Client(), "https://qyapi.weixin.qq.com")
	})
	t.Run("server", func(t *testing.T) {
		fake := wecomtest.New()
		s, err := fake.Start("")
		require.NoError(t, err)
		tr := &http.Transport{}
		defer func() {
			tr.CloseIdleConnections()
			assert.NoError(t, s.Close())
		}()
		test(t, fake, &http.Client{Transport: tr}, s.URL())
	})
}

func fetch(t *testing.T, client *http.Client, u string) (status int, header http.Header, body string, err error) {
	t.Helper()
	res, err := client.Get(u)
	if err != nil {
		return 0, nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(b), err
}

func TestFaults(t *testing.T) {
	tests := []struct {
		name   string
		fault  wecomtest.Fault
		status int
		body   string // how it begins; "token" means the real answer
		err    error
		made   bool // WeCom did what was asked
		sent   bool
	}{
		{"none", wecomtest.Fault{}, 200, "user", nil, true, true},
		{"errcode", wecomtest.Fault{ErrCode: -1}, 200, `{"errcode":-1,"errmsg":"system busy, hint: [`, nil, false, true},
		{"errcode with text", wecomtest.Fault{ErrCode: 45009, ErrMsg: "slow down"}, 200, `{"errcode":45009,"errmsg":"slow down, hint: [`, nil, false, true},
		{"unknown errcode", wecomtest.Fault{ErrCode: 99999}, 200, `{"errcode":99999,"errmsg":"error, hint: [`, nil, false, true},
		{"errcode after processing", wecomtest.Fault{ErrCode: -1, Processed: true}, 200, `{"errcode":-1,`, nil, true, true},
		{"raw body", wecomtest.Fault{Body: []byte("<html>oops")}, 200, "<html>oops", nil, false, true},
		{"empty body", wecomtest.Fault{Body: []byte{}}, 200, "", nil, false, true},
		{"status", wecomtest.Fault{Status: 502}, 502, "Bad Gateway", nil, false, true},
		{"status and body", wecomtest.Fault{Status: 500, Body: []byte("x")}, 500, "x", nil, false, true},
		{"status and errcode", wecomtest.Fault{Status: 500, ErrCode: 40029}, 500, `{"errcode":40029,`, nil, false, true},
		{"drop before", wecomtest.Fault{Drop: wecomtest.DropBefore}, 0, "", io.EOF, false, true},
		{"drop after", wecomtest.Fault{Drop: wecomtest.DropAfter}, 0, "", io.EOF, true, true},
		{"drop midway", wecomtest.Fault{Drop: wecomtest.DropMidway}, 200, `{"errcode":0`, io.ErrUnexpectedEOF, true, true},
		{"drip", wecomtest.Fault{Drip: time.Microsecond, DripBytes: 7}, 200, "user", nil, true, true},
		{"padding", wecomtest.Fault{Size: 3 << 20}, 200, " user", nil, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, fake *wecomtest.Fake, client *http.Client, base string) {
				token := decode(client.Get(base + "/cgi-bin/gettoken?corpid=" + fake.CorpID() + "&corpsecret=" + fake.Secret()))["access_token"].(string)
				client.CloseIdleConnections()
				if tt.err == io.EOF && strings.HasPrefix(base, "https") {
					client = fake.Client() // without a connection that invites a second try
				}
				code := fake.IssueCode(wecomtest.Grant{Who: "zhangsan"})
				tt.fault.Header = http.Header{"X-Fault": {"yes"}}
				fake.Script("auth/getuserinfo", tt.fault)
				status, header, body, err := fetch(t, client, base+"/cgi-bin/auth/getuserinfo?access_token="+token+"&code="+code)
				if tt.err != nil {
					assert.ErrorIs(t, err, tt.err)
				} else {
					require.NoError(t, err)
				}
				assert.Equal(t, tt.status, status)
				if status != 0 {
					assert.Equal(t, "yes", header.Get("X-Fault"))
				}
				want := tt.body
				switch want {
				case "user":
					assert.Equal(t, `{"errcode":0,"errmsg":"ok","userid":"zhangsan"}`, body)
				case " user":
					assert.Len(t, body, 3<<20)
					assert.Equal(t, `{"errcode":0,"errmsg":"ok","userid":"zhangsan"}`, strings.TrimLeft(body, " "))
				default:
					assert.True(t, strings.HasPrefix(body, want), body)
				}
				assert.Equal(t, tt.made, fake.Codes()[0].Used, "used")
				sent := 0
				if tt.sent {
					sent = 1
				}
				assert.Equal(t, sent, fake.Sent(code), "sent")
				assert.Equal(t, 1, fake.Calls("auth/getuserinfo"))
			})
		})
	}
}

func TestDropDial(t *testing.T) {
	fake := wecomtest.New()
	c := newCaller(t, fake)
	code := fake.IssueCode(wecomtest.Grant{Who: "zhangsan"})
	fake.Script("auth/getuserinfo", wecomtest.Fault{Drop: wecomtest.DropDial})
	u := api + "auth/getuserinfo?access_token=" + c.token + "&code=" + code
	_, _, _, err := fetch(t, c.client, u)
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	assert.Equal(t, "dial", op.Op)
	assert.Equal(t, 0, fake.Sent(code))
	assert.EqualValues(t, 0, get(c.client, u)["errcode"])
	assert.Equal(t, 1, fake.Sent(code))
}

// net/http sends a GET again when a connection that it used before dies. The
// transport in this process must not be more merciful than the real one.
func TestSecondTryOfNetHTTP(t *testing.T) {
	for _, tt := range []struct {
		name string
		body io.ReadCloser
		want int
	}{
		{"no body", nil, 2},
		{"an empty body that is not NoBody", io.NopCloser(strings.NewReader("")), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, fake *wecomtest.Fake, client *http.Client, base string) {
				token := decode(client.Get(base + "/cgi-bin/gettoken?corpid=" + fake.CorpID() + "&corpsecret=" + fake.Secret()))["access_token"].(string)
				code := fake.IssueCode(wecomtest.Grant{Who: "zhangsan"})
				fake.Script("auth/getuserinfo", wecomtest.Fault{Drop: wecomtest.DropAfter})
				r, err := http.NewRequest("GET", base+"/cgi-bin/auth/getuserinfo?access_token="+token+"&code="+code, nil)
				require.NoError(t, err)
				r.Body = tt.body
				v := decode(client.Do(r))
				assert.Equal(t, tt.want, fake.Sent(code), v)
				if tt.want == 2 {
					assert.EqualValues(t, 40029, v["errcode"], "used up by the first")
				} else {
					assert.Contains(t, v["error"], "EOF")
				}
			})
		})
	}
}

func TestScripts(t *testing.T) {
	fake := wecomtest.New()
	c := newCaller(t, fake)
	ask := func() any { return c.get("user/get", "userid=lisi")["errcode"] }
	fake.Script("user/get", wecomtest.Fault{Times: 2, ErrCode: -1}, wecomtest.Fault{}, wecomtest.Fault{ErrCode: 45009})
	fake.Always("/cgi-bin/user/get", wecomtest.Fault{ErrCode: 45033})
	var got []any
	for range 6 {
		got = append(got, ask())
	}
	assert.Equal(t, []any{-1., -1., 0., 45009., 45033., 45033.}, got)
	fake.ClearFaults()
	assert.EqualValues(t, 0, ask())

	fake.Always("*", wecomtest.Fault{ErrCode: -1})
	assert.EqualValues(t, -1, ask())
	assert.EqualValues(t, -1, get(c.client, api+"gettoken")["errcode"])
	b := fake.Browser(origin, app(fake, c.client)).SignInAs("lisi")
	assert.Equal(t, 302, b.GetNoFollow(b.GetNoFollow("/").Location()).Status, "pages are no part of the API")
}

func TestWaiting(t *testing.T) {
	t.Run("delay", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			fake := wecomtest.New()
			c := newCaller(t, fake)
			fake.Script("user/get", wecomtest.Fault{Delay: time.Hour})
			start := time.Now()
			assert.EqualValues(t, 0, c.get("user/get", "userid=lisi")["errcode"])
			assert.Equal(t, time.Hour, time.Since(start))
		})
	})
	t.Run("drip", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			fake := wecomtest.New()
			c := newCaller(t, fake)
			fake.Script("user/get", wecomtest.Fault{Drip: time.Second, DripBytes: 10, Body: []byte(`{"errcode":0,"errmsg":"ok"}`)})
			start := time.Now()
			assert.EqualValues(t, 0, c.get("user/get", "userid=lisi")["errcode"])
			assert.Equal(t, 2*time.Second, time.Since(start))
		})
	})
	t.Run("caller leaves", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			fake := wecomtest.New()
			c := newCaller(t, fake)
			for _, x := range []wecomtest.Fault{
				{Delay: time.Hour},
				{Until: make(chan struct{})},
				{Drip: time.Minute},
				{Processed: true, Delay: time.Hour},
			} {
				code := fake.IssueCode(wecomtest.Grant{Who: "lisi"})
				fake.Script("auth/getuserinfo", x)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				r, err := http.NewRequestWithContext(ctx, "GET", api+"auth/getuserinfo?access_token="+c.token+"&code="+code, nil)
				require.NoError(t, err)
				start := time.Now()
				res, err := c.client.Do(r)
				if err == nil {
					_, err = io.ReadAll(res.Body)
				}
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.Equal(t, time.Second, time.Since(start))
				all := fake.Codes()
				assert.Equal(t, x.Processed || x.Drip > 0, all[len(all)-1].Used)
				cancel()
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(errors.New("gone"))
			r, _ := http.NewRequestWithContext(ctx, "GET", api+"gettoken", nil)
			_, err := c.client.Do(r)
			assert.ErrorContains(t, err, "gone")
		})
	})
	t.Run("until", func(t *testing.T) {
		fake := wecomtest.New()
		c := newCaller(t, fake)
		open, arrived := make(chan struct{}), make(chan string, 1)
		fake.Script("user/get", wecomtest.Fault{Until: open, OnCall: func(r *http.Request) { arrived <- r.URL.Path }})
		done := make(chan any)
		go func() { done <- c.get("user/get", "userid=lisi")["errcode"] }()
		assert.Equal(t, "/cgi-bin/user/get", <-arrived)
		select {
		case <-done:
			t.Fatal("answered too early")
		default:
		}
		close(open)
		assert.EqualValues(t, 0, <-done)
	})
}

func TestTransport(t *testing.T) {
	fake := wecomtest.New()
	tr := fake.Transport()
	for _, u := range []string{"https://example.com/", "http://qyapi.weixin.qq.com/cgi-bin/gettoken", "https://qyapi.weixin.qq.com:8443/", "http://127.0.0.1:1/"} {
		r, err := http.NewRequest("GET", u, nil)
		require.NoError(t, err)
		_, err = tr.RoundTrip(r)
		var dns *net.DNSError
		assert.ErrorAs(t, err, &dns, u)
	}
	for u, status := range map[string]int{
		"https://qyapi.weixin.qq.com/cgi-bin/gettoken":               200,
		"https://QYAPI.weixin.qq.com:443/cgi-bin/gettoken":           200,
		"https://qyapi.weixin.qq.com/connect/oauth2/authorize":       404,
		"https://open.weixin.qq.com/cgi-bin/gettoken":                404,
		"https://open.weixin.qq.com/connect/oauth2/authorize":        400,
		"https://login.work.weixin.qq.com/wwlogin/sso/login":         400,
		"https://login.work.weixin.qq.com/wwlogin/sso/login/nothing": 404,
		"https://login.work.weixin.qq.com/":                          404,
	} {
		res, err := fake.Client().Get(u)
		require.NoError(t, err)
		assert.Equal(t, status, res.StatusCode, u)
		_ = res.Body.Close()
	}
	res, err := fake.Client().Head(api + "gettoken")
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	assert.Empty(t, b)
	assert.NoError(t, err)
	assert.Positive(t, res.ContentLength)

	body := &closing{Reader: strings.NewReader("{}")}
	r, err := http.NewRequest("POST", api+"gettoken", body)
	require.NoError(t, err)
	_, err = tr.RoundTrip(r)
	require.NoError(t, err)
	assert.True(t, body.closed)
	r.Body = io.NopCloser(errReader{})
	_, err = tr.RoundTrip(r)
	assert.ErrorContains(t, err, "cannot read")
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("cannot read") }

func TestServer(t *testing.T) {
	fake := wecomtest.New()
	for _, addr := range []string{":0", "0.0.0.0:0", "192.0.2.1:80", "example.com:80", "127.0.0.1", "[::]:0", "127.0.0.1:x"} {
		_, err := fake.Start(addr)
		assert.Error(t, err, addr)
	}
	before := runtime.NumGoroutine()
	s, err := fake.Start("localhost:0")
	require.NoError(t, err)
	assert.Equal(t, s.URL(), s.Endpoints().API)
	assert.Equal(t, s.URL()+"/connect/oauth2/authorize", s.Endpoints().Authorize)
	assert.Equal(t, s.URL()+"/wwlogin/sso/login", s.Endpoints().WebLogin)

	tr := &http.Transport{}
	client := &http.Client{Transport: tr}
	v := decode(client.Get(s.URL() + "/cgi-bin/gettoken?corpid=x&corpsecret=y"))
	assert.EqualValues(t, 40013, v["errcode"])
	assert.Contains(t, v["errmsg"], "from ip: 127.0.0.1,")
	status, _, body, err := fetch(t, client, s.URL()+"/")
	require.NoError(t, err)
	assert.Equal(t, 200, status)
	assert.Contains(t, body, fake.Secret())

	// Close ends calls that hang, and what nobody uses.
	arrived := make(chan struct{})
	fake.Script("auth/getuserdetail", wecomtest.Fault{Until: make(chan struct{}), OnCall: func(*http.Request) { close(arrived) }})
	ended := make(chan any)
	go func() {
		ended <- post(client, s.URL()+"/cgi-bin/auth/getuserdetail", strings.Repeat(" ", 1<<20))["error"]
	}()
	<-arrived
	idle, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	require.NoError(t, err)
	assert.NoError(t, s.Close())
	assert.NoError(t, s.Close())
	assert.NotNil(t, <-ended)
	_ = idle.Close()
	tr.CloseIdleConnections()
	_, err = client.Get(s.URL())
	assert.Error(t, err)
	for range 1_000_000 { // those of the client leave by themselves
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
	}
	t.Error("goroutines are left")
}

func TestAllAtOnce(t *testing.T) {
	fake := wecomtest.New()
	c := newCaller(t, fake)
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			b := fake.Browser(origin, app(fake, c.client)).SignInAs("lisi")
			for range 10 {
				fake.Script("user/get", wecomtest.Fault{ErrCode: -1})
				c.get("user/get", "userid=lisi")
				fake.KillTokens()
				fake.AddMember(wecomtest.Member{UserID: "more"})
				fake.TrustDomain("app.example.com")
				fake.Configure(func(s *wecomtest.Settings) { s.FreshTokens = !s.FreshTokens })
				fake.SetClock(time.Now)
				fake.SignInAs("zhangsan")
				b.Get("/")
				b.Tab().Get("/?" + url.QueryEscape(b.History()[0].URL))
				fake.RemoveMember("more")
				fake.Codes()
				fake.ClearFaults()
				fake.ForgetConsents()
			}
		}()
	}
	wg.Wait()
	assert.Equal(t, 80, fake.Calls("user/get"))
	res := fake.Browser(origin, app(fake, c.client)).SignInAs("lisi").Get("/")
	assert.Equal(t, 200, res.Status, res.Body)
}
