package pages

import (
	_ "embed"
	"html/template"
)

// A Panel is the sign-in page with WeCom's login panel in it. Its own script asks for an
// attempt, loads WeCom's script, and hands in the code that the panel yields; where any of that
// is blocked there is a link.
type Panel struct {
	// Lang is the language of the page: "en", or anything else for Chinese.
	Lang string
	// Attempt and Session are the paths of the routes for scripts.
	Attempt, Session string
	// Script is the URL of WeCom's script, which makes ww.createWWLoginPanel.
	Script string
	// ReturnTo is where the sign-in shall end. May be empty.
	ReturnTo string
	// Direct is the path that starts a sign-in on WeCom's own page.
	Direct string
	// Link is for a phone, which cannot scan its own screen: the page, an absolute
	// URL, is to be opened in WeCom, and there is no panel. Empty elsewhere.
	Link string
	// Brand says whose page it is.
	Brand Brand
}

var (
	//go:embed panel.html
	panelHTML string
	//go:embed panel.css
	panelCSS string
	//go:embed panel.js
	panelJS string

	panelStyle = compact(pageCSS + panelCSS)
	panel      = template.Must(template.New("panel").Funcs(template.FuncMap{
		"style":  func(b Brand) template.CSS { return template.CSS(b.styleFor(panelStyle)) },
		"script": func() template.JS { return template.JS(panelJS) },
	}).Parse(compact(panelHTML)))
)

// Branding is what the page's template shows of the brand, and the title.
func (p Panel) Branding() branding { return p.Brand.on(signIn.in(p.Lang)) }

// Say returns the text in the page's language.
func (p Panel) Say(zh, en string) string { return text{zh, en}.in(p.Lang) }

// Render returns the page as a complete HTML document in UTF-8. Every field is
// text, never markup.
func (p Panel) Render() []byte {
	p.ReturnTo, p.Link = printable(p.ReturnTo), printable(p.Link)
	return execute(panel, p)
}

// PanelCSP returns the Content-Security-Policy for every document of [Panel.Render] with the
// brand: the style and the script that are in it, WeCom's script (an absolute URL without
// query), frames from WeCom's origin, and requests to the own origin; nothing else, and nobody
// may frame the page itself.
func PanelCSP(b Brand, script, frames string) string {
	return "default-src 'none'; style-src " + hashOf(b.styleFor(panelStyle)) + "; script-src " + hashOf(panelJS) + " " + script +
		"; connect-src 'self'; frame-src " + frames + "; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
}
