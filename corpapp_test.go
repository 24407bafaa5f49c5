package wecom_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/jsonx"
)

func corpOptions(rt http.RoundTripper) wecom.Options {
	o := clientOptions(rt)
	o.CallbackURL = "https://app.example.com/wecom/callback"
	return o
}

// An outcome is how one sign-in by the script routes ended.
type outcome struct {
	status  int
	id      wecom.Identity
	failure *wecom.Failure // what OnFailure got
	cookies int            // set on the last answer
	body    string
}

// signIn hands in code with a good attempt.
func signIn(t testing.TB, o wecom.Options, code string) (out outcome) {
	t.Helper()
	o.OnFailure = func(w http.ResponseWriter, r *http.Request, f *wecom.Failure) {
		out.failure = f
		f.ServeHTTP(w, r)
	}
	auth, err := wecom.New(o)
	require.NoError(t, err)
	routes := auth.Handler(http.NotFoundHandler())
	post := func(path string, in any, cookies []*http.Cookie) *httptest.ResponseRecorder {
		body, err := json.Marshal(in)
		require.NoError(t, err)
		r := httptest.NewRequest("POST", "https://app.example.com"+path, bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		with(r, cookies)
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, r)
		return w
	}
	begun := post("/wecom/attempt", struct{}{}, nil)
	require.Equal(t, 200, begun.Code, begun.Body)
	var attempt struct {
		State string `json:"state"`
	}
	require.NoError(t, json.Unmarshal(begun.Body.Bytes(), &attempt))
	ended := post("/wecom/session", map[string]string{"code": code, "state": attempt.State}, begun.Result().Cookies())
	out.status, out.cookies, out.body = ended.Code, len(ended.Result().Cookies()), ended.Body.String()
	if ended.Code == 200 {
		require.NoError(t, json.Unmarshal(ended.Body.Bytes(), &out.id))
	}
	return out
}

const getUserInfo = "auth/getuserinfo"

func TestIdentify(t *testing.T) {
	member := wecom.Identity{Provider: "wecom", CorpID: "ww1234567890abcdef", AppID: "1000002"}
	who := func(change func(*wecom.Identity)) wecom.Identity {
		id := member
		change(&id)
		return id
	}
	all := func(o *wecom.Options) { o.AllowOutsiders, o.AllowLinkedCorps = true, true }
	long := strings.Repeat("a", 64)
	for _, tt := range []struct {
		name, answer string
		allow        func(*wecom.Options)
		want         wecom.Identity
		refused      string
	}{
		{name: "member", answer: `{"errcode":0,"errmsg":"ok","userid":"ZhangSan"}`,
			want: who(func(id *wecom.Identity) { id.UserID = "ZhangSan" })},
		{name: "member with a ticket", answer: `{"errcode":0,"errmsg":"ok","userid":"zhangsan","user_ticket":"T","expires_in":7200}`,
			want: who(func(id *wecom.Identity) { id.UserID = "zhangsan" })},
		{name: "older spelling", answer: `{"errcode":0,"errmsg":"ok","UserId":"zhangsan","DeviceId":"0123"}`,
			want: who(func(id *wecom.Identity) { id.UserID, id.DeviceID = "zhangsan", "0123" })},
		{name: "a device id that nobody can compare", answer: `{"errcode":0,"UserId":"zhangsan","DeviceId":"01\u202e23"}`,
			want: who(func(id *wecom.Identity) { id.UserID = "zhangsan" })},
		{name: "third spelling", answer: `{"errcode":0,"userId":"zhangsan"}`,
			want: who(func(id *wecom.Identity) { id.UserID = "zhangsan" })},
		{name: "every character of user ids", answer: `{"errcode":0,"userid":"0a-B_c.d@e"}`,
			want: who(func(id *wecom.Identity) { id.UserID = "0a-B_c.d@e" })},
		{name: "longest", answer: `{"errcode":0,"userid":"` + long + `"}`,
			want: who(func(id *wecom.Identity) { id.UserID = long })},
		{name: "Chinese", answer: `{"errcode":0,"userid":"张三"}`,
			want: who(func(id *wecom.Identity) { id.UserID = "张三" })},
		{name: "a member's openid is beside the point", answer: `{"errcode":0,"userid":"zhangsan","openid":"o1"}`, allow: all,
			want: who(func(id *wecom.Identity) { id.UserID = "zhangsan" })},

		{name: "outsider", answer: `{"errcode":0,"errmsg":"ok","openid":"o1"}`, refused: "outsider"},
		{name: "outsider by the older spelling", answer: `{"errcode":0,"OpenId":"o1","DeviceId":"0"}`, refused: "outsider"},
		{name: "outsider with an empty user id", answer: `{"errcode":0,"UserId":"","OpenId":"o1"}`, refused: "outsider"},
		{name: "customer", answer: `{"errcode":0,"openid":"o1","external_userid":"wm1"}`, refused: "outsider"},
		{name: "outsider, linked corps allowed", answer: `{"errcode":0,"openid":"o1"}`, refused: "outsider",
			allow: func(o *wecom.Options) { o.AllowLinkedCorps = true }},
		{name: "outsider, allowed", answer: `{"errcode":0,"OpenId":"o1"}`, allow: all,
			want: who(func(id *wecom.Identity) { id.OpenID = "o1" })},
		{name: "customer, allowed", answer: `{"errcode":0,"openid":"o1","external_userid":"wm1"}`, allow: all,
			want: who(func(id *wecom.Identity) { id.OpenID, id.ExternalUserID = "o1", "wm1" })},

		{name: "linked corp", answer: `{"errcode":0,"userid":"ww99/zhangsan"}`, refused: "linked_corp"},
		{name: "linked corp, outsiders allowed", answer: `{"errcode":0,"userid":"ww99/zhangsan"}`, refused: "linked_corp",
			allow: func(o *wecom.Options) { o.AllowOutsiders = true }},
		{name: "our own corp with a slash is no local id", answer: `{"errcode":0,"userid":"ww1234567890abcdef/zhangsan"}`, refused: "linked_corp"},
		{name: "linked corp, allowed", answer: `{"errcode":0,"userid":"ww99/zhangsan"}`, allow: all,
			want: who(func(id *wecom.Identity) { id.LinkedUserID = "ww99/zhangsan" })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := &scriptedAPI{script: inTurn(getUserInfo, tt.answer)}
			o := corpOptions(api)
			if tt.allow != nil {
				tt.allow(&o)
			}
			got := signIn(t, o, canaryCode)
			assert.Equal(t, scriptedCall{"GET", getUserInfo, "access_token=CANARY-token-1&code=" + url.QueryEscape(canaryCode), ""}, api.seen[1])
			if tt.refused != "" {
				assert.Equal(t, 403, got.status)
				require.NotNil(t, got.failure)
				assert.Equal(t, tt.refused, got.failure.Code)
				assert.NotEmpty(t, got.failure.Message)
				assert.Error(t, got.failure.Err)
				assert.NotContains(t, got.body, "o1")
				assert.NotErrorIs(t, got.failure.Err, wecom.ErrStartOver, "a fresh sign-in by the same person mends nothing")
				return
			}
			require.Equal(t, 200, got.status, got.body)
			assert.NotContains(t, got.body, "ticket")
			got.id.AuthenticatedAt = tt.want.AuthenticatedAt
			assert.Equal(t, tt.want, got.id)
		})
	}
}

// hostile are answers to auth/getuserinfo that name nobody whom WeCom vouches for.
var hostile = []string{
	``, ` `, `null`, `true`, `0`, `"zhangsan"`, `[]`, `{}`, `<html>zhangsan</html>`,
	`[{"errcode":0,"userid":"zhangsan"}]`,
	`{"errcode":0}`,
	`{"errcode":0,"errmsg":"ok"}`,
	`{"errcode":1e400,"userid":"zhangsan"}`,
	`{"errcode\u0000":0,"userid":"zhangsan"}`,
	`{"userid":"zhangsan"}`,
	`{"errmsg":"ok","userid":"zhangsan"}`,
	`{"errcode":null,"userid":"zhangsan"}`,
	`{"errcode":"0","userid":"zhangsan"}`,
	`{"errcode":0.0,"userid":"zhangsan"}`,
	`{"errcode":0e1,"userid":"zhangsan"}`,
	`{"errcode":false,"userid":"zhangsan"}`,
	`{"errcode":[0],"userid":"zhangsan"}`,
	`{"errcode":4294967296,"userid":"zhangsan"}`,
	`{"errcode":18446744073709551616,"userid":"zhangsan"}`,
	`{"errcode":1,"userid":"zhangsan"}`,
	"{\"errcode\":0,\"userid\":\"zhang\x01san\"}",
	"{\"errcode\":0,\"userid\":\"zhang\xffsan\"}",
	"{\"errcode\":0,\"user\x01id\":\"zhangsan\"}",
	"{\"errcode\":0,\"user\xffid\":\"zhangsan\"}",
	"{\"errcode\":0,\x01\"userid\":\"zhangsan\"}",
	`{"errcode":40029,"userid":"zhangsan"}`,
	`{"ErrCode":0,"userid":"zhangsan"}`,
	`{"errcode":40029,"errcode":0,"userid":"zhangsan"}`,
	`{"errcode":0,"ErrCode":40029,"userid":"zhangsan"}`,
	`{"err\u0063ode":0,"errcode":0,"userid":"zhangsan"}`,
	`{"errcode":0,"userid":""}`,
	`{"errcode":0,"userid":null}`,
	`{"errcode":0,"userid":7}`,
	`{"errcode":0,"userid":true}`,
	`{"errcode":0,"userid":["zhangsan"]}`,
	`{"errcode":0,"userid":{"userid":"zhangsan"}}`,
	`{"errcode":0,"data":{"userid":"zhangsan"}}`,
	`{"errcode":0,"user_id":"zhangsan"}`,
	`{"errcode":0,"USERID":"zhangsan"}`,
	"{\"errcode\":0,\"u\u017ferid\":\"zhangsan\"}",
	`{"errcode":0,"u\u017ferid":"zhangsan"}`,
	"{\"errcode\":0,\"userid\u200b\":\"zhangsan\"}",
	`{"errcode":0,"userid ":"zhangsan"}`,
	`{"errcode":0,"userid":"zhangsan","userid":"admin"}`,
	`{"errcode":0,"userid":"zhangsan","UserId":"admin"}`,
	"{\"errcode\":0,\"userid\":\"zhangsan\",\"u\u017ferid\":\"admin\"}",
	`{"errcode":0,"userid":"` + strings.Repeat("a", 65) + `"}`,
	`{"errcode":0,"userid":"` + strings.Repeat("张", 22) + `"}`,
	`{"errcode":0,"userid":" "}`,
	`{"errcode":0,"userid":"zhang san"}`,
	`{"errcode":0,"userid":" zhangsan"}`,
	`{"errcode":0,"userid":"zhangsan\u0000"}`,
	`{"errcode":0,"userid":"zhangsan\r\nX-Wecom-User-Id: admin"}`,
	`{"errcode":0,"userid":"zhangsan\t"}`,
	`{"errcode":0,"userid":"zhangsan\u007f"}`,
	`{"errcode":0,"userid":"zhangsan\u0085"}`,
	`{"errcode":0,"userid":"zhangsan\u200b"}`,
	`{"errcode":0,"userid":"\u202enasgnahz"}`,
	`{"errcode":0,"userid":"\ufeffzhangsan"}`,
	`{"errcode":0,"userid":"zhang\u00a0san"}`,
	`{"errcode":0,"userid":"zhangsan\ud800"}`,
	`{"errcode":0,"userid":"zhangsan\ufffd"}`,
	"{\"errcode\":0,\"userid\":\"zhangsan\xff\"}",
	"{\"errcode\":0,\"userid\":\"zhang\xc0\xafsan\"}",
	`{"errcode":0,"userid":"/"}`,
	`{"errcode":0,"userid":"/zhangsan"}`,
	`{"errcode":0,"userid":"ww99/"}`,
	`{"errcode":0,"userid":"ww99//zhangsan"}`,
	`{"errcode":0,"userid":"ww99/zhangsan/"}`,
	`{"errcode":0,"userid":"a/b/c"}`,
	`{"errcode":0,"userid":"` + strings.Repeat("w", 65) + `/zhangsan"}`,
	`{"errcode":0,"userid":"ww99/` + strings.Repeat("a", 65) + `"}`,
	`{"errcode":0,"openid":""}`,
	`{"errcode":0,"openid":7}`,
	`{"errcode":0,"openid":"o\n1"}`,
	`{"errcode":0,"openid":"` + strings.Repeat("o", 65) + `"}`,
	`{"errcode":0,"openid":"o1","OpenId":"o2"}`,
	`{"errcode":0,"external_userid":"wm 1"}`,
	`{"errcode":0,"userid":"zhangsan","openid":7}`,
	`{"errcode":0,"userid":"zhangsan"`,
	`{"errcode":0,"userid":"zhangsan"}}`,
	`{"errcode":0,"userid":"zhangsan"}{"errcode":0}`,
	`{"errcode":0,"userid":"zhangsan",}`,
	`{'errcode':0,'userid':'zhangsan'}`,
	"\ufeff" + `{"errcode":0,"userid":"zhangsan"}`,
	`callback({"errcode":0,"userid":"zhangsan"})`,
	`{"errcode":0,"x":` + strings.Repeat(`[`, 100000) + strings.Repeat(`]`, 100000) + `,"userid":"zhangsan"}`,
	`{"errcode":0,"userid":"zhangsan","x":"` + strings.Repeat("x", 1<<20) + `"}`,
}

func FuzzIdentify(f *testing.F) {
	for _, answer := range hostile {
		if len(answer) < 1000 {
			f.Add([]byte(answer))
		}
	}
	for _, answer := range []string{
		`{"errcode":0,"errmsg":"ok","userid":"ZhangSan","user_ticket":"T"}`,
		`{"errcode":0,"UserId":"zhangsan","DeviceId":"0"}`,
		`{"errcode":0,"openid":"o1","external_userid":"wm1"}`,
		`{"errcode":0,"userid":"ww99/zhangsan"}`,
	} {
		f.Add([]byte(answer))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		api := &scriptedAPI{script: inTurn(getUserInfo, string(answer))}
		o := corpOptions(api)
		o.TokenSource = fixedToken{}
		o.AllowOutsiders, o.AllowLinkedCorps = true, true
		if bytes.Contains(answer, []byte("-1")) {
			t.Skip("busy: it takes time and is tested elsewhere")
		}
		got := signIn(t, o, canaryCode)
		if got.status != 200 {
			assert.Zero(t, got.cookies)
			return
		}
		var plain map[string]any
		require.NoError(t, json.Unmarshal(jsonx.Repair(answer), &plain))
		assert.Equal(t, 0.0, plain["errcode"])
		local := got.id.UserID
		assert.NotContains(t, local, "/")
		assert.NotEmpty(t, got.id.Key())
		for _, id := range []string{local, got.id.LinkedUserID, got.id.OpenID, got.id.ExternalUserID} {
			assert.LessOrEqual(t, len(id), 129)
			if id != "" {
				assert.Contains(t, fmt.Sprint(plain), id)
				assert.NotContains(t, strings.ToLower(fmt.Sprintf("%+q", id)), `\x`, "control characters")
			}
		}
		if local != "" {
			assert.True(t, plain["userid"] == local || plain["UserId"] == local || plain["userId"] == local)
		}
	})
}

func TestIdentifyFailures(t *testing.T) {
	for _, tt := range []struct {
		answer    string
		code      string
		status    int
		startOver bool
	}{
		{errcode(40029), "code_rejected", 409, true},
		{errcode(42003), "code_rejected", 409, true},
		{errcode(42022), "code_rejected", 409, true},
		{errcode(41008), "code_rejected", 409, true},
		{errcode(50001), "setup_fault", 500, false},
		{errcode(60020), "setup_fault", 500, false},
		{errcode(40056), "setup_fault", 500, false},
		{errcode(301002), "setup_fault", 500, false},
		{errcode(48002), "setup_fault", 500, false},
		{errcode(50003), "setup_fault", 500, false},
		{errcode(45009), "busy", 503, false},
		{errcode(45033), "busy", 503, false},
		{errcode(50002), "not_allowed", 403, false},
		{errcode(60011), "not_allowed", 403, false},
		{errcode(60021), "not_allowed", 403, false},
		{errcode(60111), "not_allowed", 403, false},
		{errcode(-1), "wecom_unavailable", 503, false},
		{errcode(40014), "wecom_unavailable", 503, false},
		{errcode(987654), "wecom_unavailable", 503, false},
		{`{"errcode":0}`, "wecom_unavailable", 503, false},
		{`{"errcode":0,"userid":"zhang`, "wecom_unavailable", 503, true},
		{`<html>`, "wecom_unavailable", 503, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			got := signIn(t, corpOptions(&scriptedAPI{script: inTurn(getUserInfo, tt.answer)}), canaryCode)
			assert.Equal(t, tt.status, got.status, tt.answer)
			require.NotNil(t, got.failure, tt.answer)
			assert.Equal(t, tt.code, got.failure.Code, tt.answer)
			assert.Equal(t, tt.startOver, errors.Is(got.failure.Err, wecom.ErrStartOver), tt.answer)
			var want struct {
				Code int `json:"errcode"`
			}
			if json.Unmarshal([]byte(tt.answer), &want) == nil && want.Code != 0 {
				var apiErr *wecom.APIError
				if assert.ErrorAs(t, got.failure.Err, &apiErr, tt.answer) {
					assert.Equal(t, want.Code, apiErr.Code)
					assert.Equal(t, getUserInfo, apiErr.Op)
				}
				assert.NotContains(t, got.body, "203.0.113.7", "the server's address stays here")
			}
		})
	}
}

// Until the code is sent its fate is known, whatever happens.
func TestIdentifyWithoutAToken(t *testing.T) {
	for _, tt := range []struct {
		name   string
		script func(op string, n int, r *http.Request) (*http.Response, error)
		code   string
		sent   int
	}{
		{"gettoken down", func(op string, _ int, _ *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 502, Body: http.NoBody}, nil
		}, "wecom_unavailable", 0},
		{"gettoken cut off", func(op string, _ int, _ *http.Request) (*http.Response, error) {
			return nil, errors.New("connection reset")
		}, "wecom_unavailable", 0},
		{"wrong secret", inTurn("gettoken", errcode(40001)), "setup_fault", 0},
		{"limited", inTurn("gettoken", errcode(45009)), "busy", 0},
		{"a code's error is none at gettoken", inTurn("gettoken", errcode(40029)), "wecom_unavailable", 0},
		{"a denial is none at gettoken", inTurn("gettoken", errcode(60011)), "wecom_unavailable", 0},
		{"refresh fails", func(op string, n int, _ *http.Request) (*http.Response, error) {
			if op == getUserInfo {
				return says(errcode(42001)), nil
			}
			if n == 1 {
				return nil, nil
			}
			return &http.Response{StatusCode: 502, Body: http.NoBody}, nil
		}, "wecom_unavailable", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := &scriptedAPI{script: tt.script}
			got := signIn(t, corpOptions(api), canaryCode)
			require.NotNil(t, got.failure)
			assert.Equal(t, tt.code, got.failure.Code)
			assert.NotErrorIs(t, got.failure.Err, wecom.ErrStartOver)
			assert.Equal(t, tt.sent, api.count(getUserInfo))
			noCanary(t, everyText(got.failure.Err))
		})
	}
}

func TestF6_AfterAnAmbiguousFailureTheCodeIsNotSentAgain(t *testing.T) {
	for name, fail := range map[string]func() (*http.Response, error){
		"reset": func() (*http.Response, error) {
			return nil, &net.OpError{Op: "read", Err: errors.New("connection reset")}
		},
		"time-out":  func() (*http.Response, error) { return nil, context.DeadlineExceeded },
		"502":       func() (*http.Response, error) { return &http.Response{StatusCode: 502, Body: http.NoBody}, nil },
		"redirect":  func() (*http.Response, error) { return &http.Response{StatusCode: 302, Body: http.NoBody}, nil },
		"empty":     func() (*http.Response, error) { return says(""), nil },
		"no answer": func() (*http.Response, error) { return nil, nil },
		"over a MiB": func() (*http.Response, error) {
			return says(strings.Repeat(" ", 1<<20) + `{"errcode":0,"userid":"a"}`), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			sent := 0
			api := &scriptedAPI{}
			got := signIn(t, corpOptions(roundTrip(func(r *http.Request) (*http.Response, error) {
				if strings.HasSuffix(r.URL.Path, "/gettoken") {
					return api.RoundTrip(r)
				}
				sent++
				return fail()
			})), canaryCode)
			require.NotNil(t, got.failure)
			assert.ErrorIs(t, got.failure.Err, wecom.ErrStartOver)
			assert.Equal(t, 1, sent)
			noCanary(t, everyText(got.failure.Err))
		})
	}
}

func TestF7_ACodeThatWasNotSentIsNotLost(t *testing.T) {
	var logged bytes.Buffer
	o := corpOptions(&http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("refused")
	}})
	o.TokenSource = fixedToken{}
	o.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	got := signIn(t, o, canaryCode)
	require.NotNil(t, got.failure)
	assert.Equal(t, "wecom_unavailable", got.failure.Code)
	assert.NotErrorIs(t, got.failure.Err, wecom.ErrStartOver)
	noCanary(t, logged.String()+got.body)
}

func TestClientBesideAnotherProvider(t *testing.T) {
	api := &scriptedAPI{}
	o := corpOptions(api)
	o.Provider, o.StateKey = fixedProvider{}, wecom.NewSecret(strings.Repeat("k", 32))
	auth, err := wecom.New(o)
	require.NoError(t, err)
	require.NoError(t, auth.Client().Call(t.Context(), "GET", "user/get", nil, nil, nil))
	assert.Equal(t, 1, api.count("user/get"))

	o.CorpID, o.AgentID, o.Secret = "", "", wecom.Secret{}
	auth, err = wecom.New(o)
	require.NoError(t, err)
	require.Error(t, auth.Client().Call(t.Context(), "GET", "user/get", nil, nil, nil), "there is no app to call as")

	o.CorpID, o.Secret = "ww/1", wecom.NewSecret(canarySecret)
	_, err = wecom.New(o)
	require.ErrorContains(t, err, "CorpID")
}
