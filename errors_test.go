package wecom_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
)

// Set-up faults say which screen of the admin console mends them.
func TestAPIErrorSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		code  int
		where []string
		wait  time.Duration
	}{
		{40001, []string{"Options.Secret", "应用管理 → 应用 → (the app) → Secret"}, 5 * time.Minute},
		{40013, []string{"Options.CorpID", "我的企业 → 企业信息 → 企业ID"}, 5 * time.Minute},
		{40091, []string{"企业ID", "Secret"}, 5 * time.Minute},
		{45031, []string{"reset", "Secret"}, 5 * time.Minute},
		{50003, []string{"enable", "应用管理"}, 5 * time.Minute},
		{45009, []string{"Options.TokenStore"}, time.Minute},
		{45033, []string{"fewer"}, time.Second},
		{40056, []string{"Options.AgentID", "AgentId"}, 0},
		{301002, []string{"AgentId", "Secret"}, 0},
		{50001, []string{"Options.CallbackURL", "可信域名", "企业微信授权登录 → 授权回调域"}, 0},
		{60020, []string{"企业可信IP", "a minute"}, 0},
		{85005, []string{"WW_verify_", "Options.DomainProof", "可信域名"}, 0},
		{80001, []string{"ICP", "可信域名"}, 0},
		{60011, []string{"可见范围"}, 0},
		{60021, []string{"可见范围"}, 0},
		{60111, []string{"可见范围"}, 0},
		{92000, []string{"可见范围"}, 0},
		{92001, []string{"snsapi_base"}, 0},
		{41001, []string{"proxy"}, 0},
	} {
		e := &wecom.APIError{Provider: "wecom", Op: "user/get", Code: tt.code}
		for _, want := range tt.where {
			assert.Contains(t, e.Remedy(), want, tt.code)
		}
		assert.Equal(t, tt.wait, e.RetryAfter(), tt.code)
		assert.True(t, strings.HasPrefix(e.Error(), fmt.Sprintf("wecom: user/get: errcode %d (", tt.code)), e.Error())
		assert.True(t, strings.HasSuffix(e.Error(), ": "+e.Remedy()), e.Error())
	}
	for _, code := range []int{-1, 40014, 42001, 40029, 42003, 42022, 41008, 84014, 84015} {
		e := &wecom.APIError{Provider: "wecom", Op: "user/get", Code: code}
		assert.Empty(t, e.Remedy(), code)
		assert.Zero(t, e.RetryAfter(), code)
		assert.Contains(t, e.Error(), " (")
	}
}

// The same number means different things on different platforms.
func TestAPIErrorOfAnotherPlatform(t *testing.T) {
	e := &wecom.APIError{Provider: "weixin-website", Op: "sns/userinfo", Code: 40001, Hint: "invalid credential"}
	assert.EqualError(t, e, "wecom: sns/userinfo: errcode 40001")
	assert.Empty(t, e.Remedy())
	assert.Zero(t, e.RetryAfter())
	assert.EqualError(t, &wecom.APIError{Provider: "wecom", Op: "user/get", Code: 987654}, "wecom: user/get: errcode 987654")
}

func TestAPIErrorHint(t *testing.T) {
	hintOf := func(errmsg string) string {
		api := &scriptedAPI{script: inTurn("user/get", `{"errcode":60011,"errmsg":`+errmsg+`}`)}
		var e *wecom.APIError
		require.ErrorAs(t, newTestClient(t, api).Call(t.Context(), "GET", "user/get", nil, nil, nil), &e)
		assert.Equal(t, 60011, e.Code)
		assert.Equal(t, "wecom", e.Provider)
		if e.Hint != "" {
			assert.NotContains(t, e.Error(), e.Hint, "it is for logs only")
		}
		return e.Hint
	}
	assert.Equal(t, "no privilege, hint: [1], from ip: 203.0.113.7", hintOf(`"no privilege, hint: [1], from ip: 203.0.113.7"`))
	assert.Equal(t, "没有权限", hintOf(`"没有权限"`))
	assert.Equal(t, "a  level=ERROR msg=forged", hintOf(`"a\r\nlevel=ERROR msg=forged"`))
	assert.Equal(t, "a [31m b", hintOf(`"a\u001b[31m\u202eb"`))
	assert.Empty(t, hintOf(`null`))
	assert.Empty(t, hintOf(`7`))
	long := hintOf(`"` + strings.Repeat("长", 1000) + `"`)
	assert.LessOrEqual(t, len(long), 300+len("…"))
	assert.True(t, utf8.ValidString(long))
}

func TestAPIErrorInALog(t *testing.T) {
	var log bytes.Buffer
	var err error = &wecom.APIError{Provider: "wecom", Op: "auth/getuserinfo", Code: 60020, Hint: "from ip: 203.0.113.7"}
	slog.New(slog.NewTextHandler(&log, nil)).Error("refused", "cause", err)
	for _, want := range []string{"cause.op=auth/getuserinfo", "cause.errcode=60020", "cause.meaning=", "企业可信IP", `cause.hint="from ip: 203.0.113.7"`} {
		assert.Contains(t, log.String(), want)
	}
	assert.NotContains(t, err.Error(), "203.0.113.7")
}
