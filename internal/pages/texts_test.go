package pages_test

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/pages"
)

var codes = []string{
	"login_required", "method_not_allowed", "prefetch_refused", "bad_callback", "bad_state", "signin_refused", "attempt_lost",
	"session_not_kept", "code_rejected", "outsider", "linked_corp", "snapshot_user", "not_allowed", "setup_fault", "callback_mismatch",
	"wecom_unavailable", "busy", "session_store", "too_many_attempts", "cross_origin", "bad_request", "not_found", "internal",
	"signed_out", "choose", "form_not_sent", "session_ended", "upstream_unavailable", "client_unknown", "redirect_unknown", "sign_out",
}

// ofCode is the page that a code gets.
func ofCode(lang, code string) pages.Page {
	p, button, _ := pages.For("", lang, code)
	p.Actions = []pages.Action{{Text: button, URL: "/wecom/login?return_to=%2Freports%3Ffrom%3D2026-01-01"}}
	switch code {
	case "choose":
		p.Actions = []pages.Action{
			{Text: pages.SignInWith(lang, "wecom"), URL: "/wecom/login"},
			{Text: pages.SignInWith(lang, "weixin"), URL: "/weixin/login"},
		}
	case "signed_out":
	default:
		p.Reference = "7f3c9a52e01b"
	}
	return p
}

func TestTextsAreComplete(t *testing.T) {
	hasHan := func(s string) bool {
		return strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Han, r) })
	}
	titles := map[string]string{}
	for _, code := range codes {
		t.Run(code, func(t *testing.T) {
			zh, en := sentences(t, "zh", code), sentences(t, "en", code)
			for i := range zh {
				assert.True(t, hasHan(zh[i]), zh[i])
				assert.False(t, hasHan(en[i]), en[i])
				assert.NotContains(t, zh[i]+en[i], "!")
				assert.NotContains(t, zh[i]+en[i], "！")
				assert.NotContains(t, zh[i]+en[i], "%")
				assert.NotContains(t, zh[i]+en[i], "_")
				assert.NotContains(t, zh[i]+en[i], "CallbackURL", "that is for the log")
			}
			for _, sentence := range zh[1:3] { // one sentence each
				assert.Equal(t, 1, strings.Count(sentence, "。"), sentence)
				assert.True(t, strings.HasSuffix(sentence, "。"), sentence)
			}
			for _, sentence := range en[1:3] {
				assert.Equal(t, 1, strings.Count(sentence, "."), sentence)
				assert.True(t, strings.HasSuffix(sentence, "."), sentence)
			}
			for _, title := range []string{zh[0], en[0]} {
				assert.Empty(t, titles[title], "the title of another code too: %s", title)
				titles[title] = code
			}
		})
	}
}

// Nobody who signs in with Weixin reads about WeCom, and the other way round.
func TestTextForWeixin(t *testing.T) {
	for _, code := range codes {
		for lang, wecom := range map[string]string{"zh": "企业微信", "en": "WeCom"} {
			p, button, ok := pages.For("weixin", lang, code)
			require.True(t, ok)
			all := p.Title + p.Message + p.Advice + button
			if !slices.Contains([]string{"outsider", "linked_corp", "upstream_unavailable", "client_unknown", "redirect_unknown"}, code) { // only WeCom, its gateway and its issuer have these
				assert.NotContains(t, all, wecom, code)
				assert.NotContains(t, all, "可见范围", code)
				assert.NotContains(t, all, "visible range", code)
				assert.NotContains(t, all, "管理员", code)
				assert.NotContains(t, all, "administrator", code)
			}
			for _, sentence := range []string{p.Message, p.Advice} {
				assert.Equal(t, 1, strings.Count(sentence, "。")+strings.Count(sentence, "."), sentence)
			}
			general := sentences(t, lang, code)
			assert.Equal(t, general[3], button, code)
			for _, provider := range []string{"wecom", "", "another"} {
				p, button, ok := pages.For(provider, lang, code)
				assert.True(t, ok)
				assert.Equal(t, general, []string{p.Title, p.Message, p.Advice, button})
			}
		}
	}
	_, _, ok := pages.For("weixin", "en", "no such code")
	assert.False(t, ok)
}

func sentences(t *testing.T, lang, code string) []string {
	t.Helper()
	p, button, ok := pages.For("", lang, code)
	require.True(t, ok)
	return []string{p.Title, p.Message, p.Advice, button}
}

func TestTextOfOtherLanguagesIsChinese(t *testing.T) {
	for _, code := range codes {
		assert.Equal(t, sentences(t, "zh", code), sentences(t, "fr", code))
		assert.Equal(t, sentences(t, "zh", code), sentences(t, "", code))
	}
}

func TestTextOfUnknownCodes(t *testing.T) {
	for _, code := range []string{"", "LOGIN_REQUIRED", "login_required ", "40029", "<script>"} {
		p, button, ok := pages.For("", "en", code)
		assert.False(t, ok)
		assert.Empty(t, p.Title+p.Message+p.Advice+button)
		assert.Equal(t, pages.Error, p.Tone)
	}
}

func TestTonesOfCodes(t *testing.T) {
	for code, want := range map[string]pages.Tone{
		"signed_out": pages.Good, "choose": pages.Neutral, "not_allowed": pages.Warning, "setup_fault": pages.Error,
	} {
		p, _, _ := pages.For("", "en", code)
		assert.Equal(t, want, p.Tone, code)
	}
}

func TestSignInWith(t *testing.T) {
	seen := map[string]bool{}
	for _, lang := range []string{"zh", "en"} {
		for _, provider := range []string{"wecom", "weixin", ""} {
			seen[pages.SignInWith(lang, provider)] = true
		}
		assert.Equal(t, pages.SignInWith(lang, ""), pages.SignInWith(lang, "<b>"))
	}
	assert.Len(t, seen, 6)
	assert.NotContains(t, seen, "")
}
