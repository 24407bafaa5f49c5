package pages_test

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/pages"
)

// A brand adds its own parts to a page and changes nothing else, but for the titles that name the app.
func TestBrand(t *testing.T) {
	for _, lang := range []string{"zh", "en"} {
		for _, code := range codes {
			p := ofCode(lang, code)
			plain := string(p.Render())
			p.Brand = pages.Brand{App: "Reports", Contact: "IT service desk"}
			branded := string(p.Render())

			style := regexp.MustCompile(`<style>(.*)</style>`).FindStringSubmatch(branded)
			require.NotNil(t, style)
			sum := sha256.Sum256([]byte(style[1]))
			assert.Contains(t, pages.CSP(p.Brand), "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
			assert.Contains(t, branded, map[string]string{"zh": "请联系 IT service desk</p>", "en": "Ask IT service desk</p>"}[lang])
			assert.Regexp(t, `<title>[^<]*Reports`, branded)

			title := regexp.MustCompile(`<h1>(.*)</h1>`).FindStringSubmatch(branded)[1]
			if code == "login_required" || code == "choose" {
				assert.Contains(t, title, "Reports")
				branded = strings.ReplaceAll(branded, title, p.Title)
			}
			for _, part := range []string{`<p class="app">Reports</p>`, `<p class="contact">[^<]*</p>`, ` · Reports`, `\.app \{.*</style>`} {
				branded = regexp.MustCompile(part).ReplaceAllStringFunc(branded, func(s string) string {
					if strings.HasSuffix(s, "</style>") {
						return "</style>"
					}
					return ""
				})
			}
			assert.Equal(t, plain, branded, code)
		}
		panel := panelOf
		panel.Lang, panel.Brand = lang, pages.Brand{App: "Reports"}
		body := string(panel.Render())
		assert.Contains(t, body, map[string]string{"zh": "<h1>登录“Reports”</h1>", "en": "<h1>Sign in to Reports</h1>"}[lang])
		assert.NotContains(t, body, `class="contact"`)
		style := regexp.MustCompile(`<style>(.*)</style>`).FindStringSubmatch(body)
		sum := sha256.Sum256([]byte(style[1]))
		assert.Contains(t, pages.PanelCSP(panel.Brand, "https://cdn.example/a.js", "https://login.example"), "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
}

func TestContact(t *testing.T) {
	for contact, want := range map[string]string{
		"IT service desk, 8001":       `Need help? Ask IT service desk, 8001</p>`,
		"mailto:it@example.com":       `Need help? Ask <a href="mailto:it@example.com" target="_top">it@example.com</a></p>`,
		"https://help.example.com/":   `Need help? Ask <a href="https://help.example.com/" target="_top">help.example.com</a></p>`,
		"https://example.com/it?a=b":  `Need help? Ask <a href="https://example.com/it?a=b" target="_top">example.com/it</a></p>`,
		"javascript:alert(1)":         `Need help? Ask javascript:alert(1)</p>`,
		"http://example.com/":         `Need help? Ask http://example.com/</p>`,
		"desk\u202e\x00":              "Need help? Ask desk\u202e\ufffd</p>",
		`"><script>alert(1)</script>`: `Need help? Ask &#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;</p>`,
	} {
		for _, brand := range []pages.Brand{{Contact: contact}, {App: "<b>&{app}", Contact: contact}} {
			body := string(pages.Page{Lang: "en", Title: "Sign in", Brand: brand}.Render())
			assert.Contains(t, body, want)
			assert.NotContains(t, body, "<b>")
			if brand.App != "" {
				assert.Contains(t, body, "<h1>Sign in to &lt;b&gt;&amp;{app}</h1>")
			}
			assert.Equal(t, 1, strings.Count(body, "<main"))
		}
	}
}
