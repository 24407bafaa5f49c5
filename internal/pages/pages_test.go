package pages_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/pages"
)

// A document is a page taken apart by a parser that forgives nothing.
type document struct {
	shape []string            // every element with the names of its attributes, in order
	text  map[string][]string // by element, and by element.class
	attr  map[string][]string // by element@attribute
}

func parse(t *testing.T, page []byte) document {
	t.Helper()
	d := document{text: map[string][]string{}, attr: map[string][]string{}}
	dec := xml.NewDecoder(bytes.NewReader(page))
	var open []string
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			require.Empty(t, open)
			return d
		}
		require.NoError(t, err, "%s", page)
		switch token := token.(type) {
		case xml.StartElement:
			name, shape := token.Name.Local, token.Name.Local
			for _, a := range token.Attr {
				key := token.Name.Local + "@" + a.Name.Local
				d.attr[key] = append(d.attr[key], a.Value)
				shape += " " + a.Name.Local
				if a.Name.Local == "class" {
					name += "." + a.Value
				}
			}
			d.shape, open = append(d.shape, shape), append(open, name)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			require.NotEmpty(t, open)
			name := open[len(open)-1]
			d.text[name] = append(d.text[name], string(token))
		case xml.Comment, xml.ProcInst:
			require.Fail(t, "comment or processing instruction", "%s", page)
		}
	}
}

func full(lang string) pages.Page {
	return pages.Page{
		Lang: lang, Title: "a title", Message: "a message", Advice: "some advice", Reference: "6f1c-02ab",
		Actions: []pages.Action{{Text: "link", URL: "/wecom/login"}, {Text: "button", URL: "/wecom/logout", Post: true}},
	}
}

func TestRender(t *testing.T) {
	cases := []struct {
		desc  string
		page  pages.Page
		shape []string // of main's content
		lang  string
	}{
		{"nothing", pages.Page{}, nil, "zh-CN"},
		{"title", pages.Page{Lang: "zh", Title: "t"}, []string{"h1"}, "zh-CN"},
		{"unknown language", pages.Page{Lang: "fr", Message: "m"}, []string{"p"}, "zh-CN"},
		{"advice", pages.Page{Lang: "en", Advice: "a"}, []string{"p class"}, "en"},
		{"reference", pages.Page{Lang: "en", Reference: "r"}, []string{"p class", "code"}, "en"},
		{
			"form first", pages.Page{Actions: []pages.Action{{Text: "b", URL: "/b", Post: true}, {Text: "a", URL: "/a"}}},
			[]string{"div class", "form method action", "button class", "a href target"}, "zh-CN",
		},
		{"action without text", pages.Page{Actions: []pages.Action{{URL: "/a"}}}, nil, "zh-CN"},
		{
			"a refused first action leaves the next one primary",
			pages.Page{Actions: []pages.Action{{Text: "x", URL: "javascript:x"}, {Text: "a", URL: "/a"}}},
			[]string{"div class", "a href target class"}, "zh-CN",
		},
		{
			"everything", full("en"),
			[]string{"h1", "p", "p class", "div class", "a href target class", "form method action", "button", "p class", "code"}, "en",
		},
	}
	head := []string{
		"html lang", "head", "meta charset", "meta name content", "meta name content", "meta name content",
		"meta name content", "title", "style", "body", "main class",
	}
	for _, tc := range cases {
		t.Run(tc.desc, func(t *testing.T) {
			d := parse(t, tc.page.Render())
			assert.Equal(t, head, d.shape[:len(head)])
			icon := []string{"svg viewBox width height aria-hidden", "circle cx cy r", "path d"}
			assert.Equal(t, slices.Concat(icon, tc.shape), d.shape[len(head):])
			assert.Equal(t, []string{tc.lang}, d.attr["html@lang"])
			assert.Contains(t, d.attr["meta@content"], "noindex")
			assert.Contains(t, d.attr["meta@content"], "width=device-width, initial-scale=1, viewport-fit=cover")
		})
	}
}

func TestRenderDoesNotChangeThePage(t *testing.T) {
	p := full("en")
	p.Title = "a\x00b"
	p.Actions[0].Text = "c\x00d"
	p.Render()
	assert.Equal(t, "a\x00b", p.Title)
	assert.Equal(t, "c\x00d", p.Actions[0].Text)
}

func TestTones(t *testing.T) {
	seen := map[string]bool{}
	for _, tone := range []pages.Tone{pages.Neutral, pages.Good, pages.Warning, pages.Error} {
		d := parse(t, pages.Page{Tone: tone}.Render())
		seen[d.attr["main@class"][0]+d.attr["path@d"][0]] = true
	}
	assert.Len(t, seen, 4)
	assert.Equal(t, pages.Page{Tone: pages.Neutral}.Render(), pages.Page{Tone: 99}.Render())
}

var markup = []string{
	`<script>alert(1)</script>`, `</title><script>alert(1)</script>`, `</style><script>alert(1)</script>`,
	`</code><img src=x onerror=alert(1)>`, `"><svg onload=alert(1)>`, `'><svg/onload=alert(1)>`,
	`" onfocus=alert(1) autofocus="`, `' onfocus=alert(1) autofocus='`, "` onfocus=alert(1) `", `x onclick=alert(1)`,
	`<!--`, `-->`, `<!--><script>alert(1)</script-->`, `<![CDATA[<script>alert(1)</script>]]>`, `]]>`, `<?xml version="1.0"?>`,
	`<iframe srcdoc="<script>alert(1)</script>">`, `<a href="javascript:alert(1)">x</a>`, `<base href="//evil.example/">`,
	`<meta http-equiv="refresh" content="0;url=//evil.example">`, `<form action="//evil.example">`, `<link rel=stylesheet href=//evil.example>`,
	`<math><mtext></mtext><mglyph><svg><mtext><style><path id="</style><img onerror=alert(1) src>">`, `<plaintext>`, `<textarea>`,
	`&lt;script&gt;`, `&#60;script&#62;`, `&`, `&amp`, `&#x3c;`, `{{.Title}}`, `{{style}}`, `${alert(1)}`, `%3Cscript%3E`, `\u003cscript\u003e`,
	"\u2028<script>\u2029", "＜script＞", "+ADw-script+AD4-", "\u202e<b>", "<\x00script>", "<scr\x00ipt>", "\x1b[31m<b>", "a\r\nSet-Cookie: b=c\r\n\r\n<b>",
	"\xff<script>", "\xc0\xbcscript\xc0\xbe", "\xe4\xbc<b>", "<" + strings.Repeat("a", 5000) + ">", `</main></body></html><script>`,
}

func wraps(s string) []string {
	return []string{s, "企业" + s, s + s, " " + s + " ", `"` + s, `'` + s, strings.ToUpper(s)}
}

// shown is what a reader must see of s.
func shown(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func TestT22_TextStaysText(t *testing.T) {
	want := parse(t, full("en").Render()).shape
	rows := 0
	for _, payload := range markup {
		for _, s := range wraps(payload) {
			p := full("en")
			p.Title, p.Message, p.Advice, p.Reference = s, s, s, s
			p.Actions[0].Text, p.Actions[1].Text = s, s
			d := parse(t, p.Render())
			require.Equal(t, want, d.shape, "%q", s)
			for _, place := range []string{"title", "h1", "p", "p.advice", "code", "a.primary", "button"} {
				require.Equal(t, shown(s), strings.Join(d.text[place], ""), "%s %q", place, s)
			}
			rows += 7
		}
	}
	t.Logf("%d hostile texts", rows)
}

func TestT22_HostileLanguageAndTone(t *testing.T) {
	want := parse(t, full("zh").Render())
	for _, s := range markup {
		p := full(s)
		p.Tone = pages.Tone(len(s) + 4)
		d := parse(t, p.Render())
		assert.Equal(t, want, d, "%q", s)
	}
}

func TestT22_OnlySafeLinks(t *testing.T) {
	refused := []string{
		"", "x", "login", "./login", "?a=b", "#a", "//evil.example", "///evil.example", "//evil.example/%2f..", `/\evil.example`, `\/evil.example`,
		`\\evil.example`, `/a\b`, "/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "\t//evil.example", " /a", "/a b", "/a\x00", "/a\x7f", "/a\u0085b",
		"/a\u00a0b", "/a\u3000b", "/a\u2028b", "/a\xffb",
		"javascript:alert(1)", "JavaScript:alert(1)", "javascript://example.com/%0aalert(1)", "java\tscript:alert(1)", "java\nscript:alert(1)", "\x01javascript:alert(1)",
		" javascript:alert(1)", "javascript&colon;alert(1)", "&#106;avascript:alert(1)", "vbscript:x", "data:text/html,<script>alert(1)</script>", "blob:https://a/b", "file:///etc/passwd",
		"about:blank", "weixin://dl/business", "wxwork://message", "tel:110", "mailto:a@example.com", "ftp://example.com/", "ws://example.com/", "view-source:https://a/", "intent://a#Intent;end",
		"https:", "https:/a", "https:a", "https://", "https:///a", "http:example.com", `https:\\evil.example`, `https://good.example\@evil.example`, "https://good@evil.example/", "https://a b/",
		"https://[::1", "https://a:b/", "://a", "HTTPS:evil.example",
	}
	for b := range 0x21 {
		refused = append(refused, string(rune(b))+"javascript:alert(1)", "java"+string(rune(b))+"script:alert(1)", "/"+string(rune(b))+"/evil.example")
	}
	for _, u := range refused {
		for _, post := range []bool{false, true} {
			d := parse(t, pages.Page{Actions: []pages.Action{{Text: "x", URL: u, Post: post}}}.Render())
			assert.Empty(t, d.attr["a@href"], "%q", u)
			assert.Empty(t, d.attr["form@action"], "%q", u)
		}
	}

	kept := map[string]string{
		"/":      "/",
		"/login": "/login",
		"/login?return_to=%2Freports%3Ffrom%3D2026-01-01%26to%3D2026-02-01&x=y": "/login?return_to=%2Freports%3Ffrom%3D2026-01-01%26to%3D2026-02-01&x=y",
		"/a//b":                     "/a//b",
		"/报表":                       "/%e6%8a%a5%e8%a1%a8",
		"/a?q=\"onclick=alert(1)&'": "/a?q=%22onclick=alert%281%29&%27",
		"/a?<script>":               "/a?%3cscript%3e",
		"/javascript:alert(1)":      "/javascript:alert%281%29",
		"http://127.0.0.1:8080/":    "http://127.0.0.1:8080/",
		"https://app.example.com":   "https://app.example.com",
		"HTTPS://app.example.com/":  "HTTPS://app.example.com/",
		"https://open.weixin.qq.com/connect/oauth2/authorize?appid=ww1&redirect_uri=https%3A%2F%2Fa%2Fb#wechat_redirect": "https://open.weixin.qq.com/connect/oauth2/authorize?appid=ww1&redirect_uri=https%3A%2F%2Fa%2Fb#wechat_redirect",
	}
	for u, want := range kept {
		d := parse(t, pages.Page{Actions: []pages.Action{{Text: "x", URL: u}, {Text: "y", URL: u, Post: true}}}.Render())
		assert.Equal(t, []string{want}, d.attr["a@href"], "%q", u)
		assert.Equal(t, []string{want}, d.attr["form@action"], "%q", u)
	}
}

func TestT21_PolicyFitsTheDocument(t *testing.T) {
	styles := regexp.MustCompile(`(?s)<style[^>]*>(.*?)</style>`)
	for _, p := range []pages.Page{{}, full("zh"), full("en"), {Title: markup[2], Tone: pages.Error}} {
		found := styles.FindAllSubmatch(p.Render(), -1)
		require.Len(t, found, 1)
		sum := sha256.Sum256(found[0][1])
		assert.Equal(t, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
			"'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'", pages.CSP(pages.Brand{}))

		// What the policy would block, and what would call somebody else.
		d := parse(t, p.Render())
		for key := range d.attr {
			_, name, _ := strings.Cut(key, "@")
			assert.NotContains(t, []string{"style", "src", "srcset", "ping", "http-equiv"}, name)
			assert.False(t, strings.HasPrefix(name, "on"), name)
		}
		for _, element := range d.shape {
			assert.NotRegexp(t, `^(script|link|img|iframe|base|object|embed|use)\b`, element)
		}
		assert.NotContains(t, string(found[0][1]), "url(")
		assert.NotContains(t, string(found[0][1]), "@import")
	}
}

func TestSize(t *testing.T) {
	largest := 0
	for _, lang := range []string{"zh", "en"} {
		for _, code := range codes {
			page := ofCode(lang, code).Render()
			largest = max(largest, len(page))
			assert.LessOrEqual(t, len(page), 6<<10, "%s %s", lang, code)
		}
	}
	t.Logf("largest page: %d bytes", largest)
}

// TestContrast checks WCAG 2.2 AA: 4.5 for text, 3 for icons and for the outline of the focus.
func TestContrast(t *testing.T) {
	page := string(pages.Page{}.Render())
	light, dark, found := strings.Cut(page, "(prefers-color-scheme: dark)")
	require.True(t, found)
	for scheme, css := range map[string]string{"light": light, "dark": dark} {
		luminance := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6})`).FindAllStringSubmatch(css, -1) {
			luminance[m[1]] = relativeLuminance(t, m[2])
		}
		for _, pair := range []struct {
			over, under string
			atLeast     float64
		}{
			{"text", "card", 4.5},
			{"soft", "card", 4.5},
			{"on-fill", "fill", 4.5},
			{"on-fill", "press", 4.5},
			{"text", "line", 4.5},
			{"neutral", "card", 3},
			{"good", "card", 3},
			{"warning", "card", 3},
			{"error", "card", 3},
			{"fill", "card", 3},
		} {
			require.Contains(t, luminance, pair.over)
			require.Contains(t, luminance, pair.under)
			a, b := luminance[pair.over], luminance[pair.under]
			assert.GreaterOrEqual(t, (max(a, b)+.05)/(min(a, b)+.05), pair.atLeast, "%s: %s on %s", scheme, pair.over, pair.under)
		}
	}
}

func relativeLuminance(t *testing.T, hex string) float64 {
	n, err := strconv.ParseUint(hex, 16, 32)
	require.NoError(t, err)
	linear := func(c uint64) float64 {
		v := float64(c&0xff) / 255
		if v <= .04045 {
			return v / 12.92
		}
		return math.Pow((v+.055)/1.055, 2.4)
	}
	return .2126*linear(n>>16) + .7152*linear(n>>8) + .0722*linear(n)
}

func BenchmarkRender(b *testing.B) {
	p := ofCode("zh", "attempt_lost")
	b.ReportAllocs()
	for b.Loop() {
		p.Render()
	}
}
