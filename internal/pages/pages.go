// Package pages renders the few HTML pages that the middleware shows by itself: failures, refusals,
// "signed out" and the choice between two ways to sign in. A page is one document with inline
// style, without script and without any other request.
package pages

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/url"
	"strings"
	"unicode"
)

// A Page is what to show. Empty fields leave out their part of the page.
type Page struct {
	// Lang is the language of the page: "en", or anything else for Chinese.
	Lang string
	// Title is the heading, a few words.
	Title string
	// Message is one sentence: what happened.
	Message string
	// Advice is one sentence: what to do next.
	Advice string
	// Reference is an id that the reader can copy and pass on.
	Reference string
	// Tone picks the icon and its colour.
	Tone Tone
	// Actions are the buttons, the primary one first.
	Actions []Action
	// Brand says whose page it is.
	Brand Brand
}

// A Tone says how a page feels.
type Tone int

const (
	Neutral Tone = iota
	Good
	Warning
	Error
)

var classes = map[Tone]string{Good: "good", Warning: "warning", Error: "error"}

// Class names the tone in the page's style and icon.
func (t Tone) Class() string { return cmp.Or(classes[t], "neutral") }

// An Action is a button. It is left out if its Text is empty or its URL is not safe to follow: a
// path beginning with exactly one slash, or an absolute http or https URL, in either case without
// backslashes, spaces and control characters.
type Action struct {
	Text string
	URL  string
	// Post makes it a form instead of a link. The policy of [CSP] lets a form reach its own origin
	// only, and browsers apply that to redirects of the answer too: a button that ends at another
	// site must be a link.
	Post bool
}

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string

	style = compact(pageCSS)
	page  = template.Must(template.New("page").Funcs(template.FuncMap{
		"style": func(b Brand) template.CSS { return template.CSS(b.styleFor(style)) },
	}).Parse(compact(pageHTML)))

	policy        = policyFor(Brand{})
	brandedPolicy = policyFor(Brand{App: "any"})
)

// CSP returns the Content-Security-Policy for every document of [Page.Render] with the brand: it
// allows the style that is in it, forms to its own origin, frames on pages of its own origin, whose
// links open in the whole tab, and nothing else.
func CSP(b Brand) string {
	if b == (Brand{}) {
		return policy
	}
	return brandedPolicy
}

func policyFor(b Brand) string {
	return "default-src 'none'; style-src " + hashOf(b.styleFor(style)) + "; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
}

func hashOf(source string) string {
	sum := sha256.Sum256([]byte(source))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// compact takes out the indentation and the line ends of a source file.
func compact(source string) string {
	var b strings.Builder
	for line := range strings.Lines(source) {
		b.WriteString(strings.TrimSpace(line))
	}
	return b.String()
}

// Branding is what the page's template shows of the brand, and the title.
func (p Page) Branding() branding { return p.Brand.on(p.Title) }

// Say returns the text in the page's language.
func (p Page) Say(zh, en string) string { return text{zh, en}.in(p.Lang) }

// Render returns the page as a complete HTML document in UTF-8. Every field is text, never markup.
func (p Page) Render() []byte {
	p.Title, p.Message = printable(p.Title), printable(p.Message)
	p.Advice, p.Reference = printable(p.Advice), printable(p.Reference)
	actions := p.Actions
	p.Actions = nil
	for _, a := range actions {
		if a.Text != "" && followable(a.URL) {
			a.Text = printable(a.Text)
			p.Actions = append(p.Actions, a)
		}
	}
	return execute(page, p)
}

func execute(t *template.Template, data any) []byte {
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		// Only a mistake in a template gets here: the data are strings and the writer is memory.
		panic("pages: " + err.Error())
	}
	return b.Bytes()
}

// printable replaces what has no place in a document: control characters, and bytes that are not
// UTF-8.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// followable reports whether a button may lead to raw. Browsers drop tabs and line ends from a URL
// and take a backslash for a slash, so that "/\t/host" and "/\host" leave the site; the URLs of
// ours that are meant hold neither.
func followable(raw string) bool {
	for _, r := range raw {
		if r == '\\' || unicode.IsSpace(r) || unicode.IsControl(r) || r == unicode.ReplacementChar {
			return false
		}
	}
	if strings.HasPrefix(raw, "/") {
		return !strings.HasPrefix(raw, "//")
	}
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}
