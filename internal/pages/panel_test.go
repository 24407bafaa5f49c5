package pages_test

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/pages"
)

var panelOf = pages.Panel{
	Attempt: "/wecom/attempt", Session: "/wecom/session", Script: "https://cdn.example/a.js", ReturnTo: "/x", Direct: "/wecom/login?panel=no",
}

func TestPanelLanguages(t *testing.T) {
	for lang, want := range map[string]string{"zh": "zh-CN", "": "zh-CN", "fr": "zh-CN", "en": "en"} {
		p := panelOf
		p.Lang = lang
		body := string(p.Render())
		assert.Contains(t, body, `<html lang="`+want+`">`)
		visible := regexp.MustCompile(`(?s)<style>.*?</style>|<script>.*?</script>|<[^>]*>`).ReplaceAllString(body, "")
		chinese := strings.ContainsFunc(visible, func(r rune) bool { return unicode.Is(unicode.Han, r) })
		assert.Equal(t, want == "zh-CN", chinese, visible)
	}
}

// The policy allows exactly the style and the script that are in the page.
func TestPanelCSP(t *testing.T) {
	body := string(panelOf.Render())
	csp := pages.PanelCSP(pages.Brand{}, "https://cdn.example/a.js", "https://login.example")
	for _, element := range []string{"style", "script"} {
		found := regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllStringSubmatch(body, -1)
		require.Len(t, found, 1)
		sum := sha256.Sum256([]byte(found[0][1]))
		assert.Contains(t, csp, element+"-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
	assert.NotContains(t, csp, "unsafe")
	assert.NotContains(t, body, " style=")
	assert.NotRegexp(t, ` on[a-z]+=`, body)
	for _, directive := range []string{
		"default-src 'none'", "connect-src 'self'", "frame-src https://login.example", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'",
	} {
		assert.Contains(t, strings.Split(csp, "; "), directive)
	}
	assert.Contains(t, csp, "' https://cdn.example/a.js; ")
}

func TestT22_PanelEscapes(t *testing.T) {
	p := panelOf
	hostile := `"'><script>alert(1)</script>&amp;`
	p.ReturnTo, p.Script, p.Attempt, p.Session = "/"+hostile+"\x00\x1b", hostile, hostile, hostile
	p.Direct = "javascript:alert(1)"
	body := string(p.Render())
	assert.NotContains(t, body, "<script>alert")
	assert.NotContains(t, body, "javascript:alert")
	assert.NotContains(t, body, "\x1b")
}
