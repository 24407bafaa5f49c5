package errcode_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom/internal/errcode"
)

// The same number, another meaning (wecom-api §16.3).
func TestOfTheTwoPlatforms(t *testing.T) {
	for _, tt := range []struct {
		code          int
		op            string
		wecom, weixin errcode.Class
	}{
		{-1, "user/get", errcode.Busy, errcode.Busy},
		{40001, "user/info", errcode.Setup, errcode.Token},
		{40001, "sns/userinfo", errcode.Setup, errcode.Token},
		{40001, "token", errcode.Setup, errcode.Setup},
		{40001, "stable_token", errcode.Setup, errcode.Setup},
		{40001, "sns/oauth2/access_token", errcode.Setup, errcode.Setup},
		{40014, "user/info", errcode.Token, errcode.Token},
		{42001, "user/info", errcode.Token, errcode.Token},
		{40013, "token", errcode.Setup, errcode.Setup},
		{40029, "", errcode.Code, errcode.Code},
		{40163, "", errcode.Unknown, errcode.Code},
		{40164, "", errcode.Unknown, errcode.Setup},
		{60020, "", errcode.Setup, errcode.Unknown},
		{42007, "", errcode.Unknown, errcode.Code},
		{43004, "", errcode.Unknown, errcode.Denied},
		{48005, "", errcode.Setup, errcode.Unknown},
		{50001, "", errcode.Setup, errcode.Unknown},
		{50002, "", errcode.Denied, errcode.Denied},
		{45009, "", errcode.Limited, errcode.Limited},
		{89503, "", errcode.Unknown, errcode.Setup},
		{99999, "", errcode.Unknown, errcode.Unknown},
	} {
		assert.Equal(t, tt.wecom, errcode.Of(errcode.WeCom, tt.op, tt.code).Class, "WeCom %d", tt.code)
		assert.Equal(t, tt.weixin, errcode.Of(errcode.Weixin, tt.op, tt.code).Class, "Weixin %d at %q", tt.code, tt.op)
		assert.Zero(t, errcode.Of("another", tt.op, tt.code))
	}
}

// Each platform's faults speak of its own consoles.
func TestFaultsSpeakOfTheirOwnPlatform(t *testing.T) {
	known := map[string]int{}
	for code := -1; code < 100000; code++ {
		for _, platform := range []string{errcode.WeCom, errcode.Weixin} {
			for _, op := range []string{"user/get", "token"} {
				f := errcode.Of(platform, op, code)
				if f == (errcode.Fault{}) {
					continue
				}
				known[platform]++
				assert.NotEmpty(t, f.Meaning, "%s %d", platform, code)
				assert.False(t, strings.HasSuffix(f.Meaning+f.Remedy, "."), "%s %d", platform, code)
				if f.Wait > 0 {
					assert.Contains(t, []errcode.Class{errcode.Setup, errcode.Limited}, f.Class, "%s %d", platform, code)
				}
				if platform == errcode.Weixin {
					for _, word := range []string{"WeCom", "企业微信", "AgentID", "corp", "可信IP", "应用管理"} {
						assert.NotContains(t, f.Meaning+f.Remedy, word, "%d", code)
					}
				}
			}
		}
	}
	assert.Greater(t, known[errcode.Weixin], 60)
	assert.Greater(t, known[errcode.WeCom], 100)
}
