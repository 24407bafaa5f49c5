package pages

import (
	_ "embed"
	"net/url"
	"strings"
)

// A Brand says whose pages these are. Without it a page is as if there were no such thing,
// byte for byte.
type Brand struct {
	// App is the application's name. May be empty.
	App string
	// Contact is whom to ask: text, an address such as mailto:it@example.com, or an
	// https URL; both are shown as links. May be empty.
	Contact string
}

//go:embed brand.css
var brandCSS string

// namedTitles are the titles that name the app themselves.
var namedTitles = map[string]string{
	"需要登录":                  "登录“{app}”",
	"登录":                    "登录“{app}”",
	"选择登录方式":                "选择登录“{app}”的方式",
	"Please sign in":        "Sign in to {app}",
	"Sign in":               "Sign in to {app}",
	"Choose how to sign in": "Choose how to sign in to {app}",
}

// A branding is a Brand on one page.
type branding struct {
	Title, WindowTitle      string
	AppLine                 string // empty if Title names the app
	ContactText, ContactURL string
}

func (b Brand) on(title string) branding {
	shown := branding{Title: title, WindowTitle: title}
	if app := printable(b.App); app != "" {
		if named := namedTitles[title]; named != "" {
			shown.Title = strings.ReplaceAll(named, "{app}", app)
			shown.WindowTitle = shown.Title
		} else {
			shown.AppLine = app
			shown.WindowTitle += " · " + app
		}
	}
	shown.ContactText = printable(b.Contact)
	if u, err := url.Parse(b.Contact); err == nil && (u.Scheme == "mailto" || u.Scheme == "https") {
		shown.ContactURL = u.String()
		shown.ContactText = printable(strings.TrimSuffix(u.Opaque+u.Host+u.Path, "/"))
	}
	return shown
}

// styleFor is a page's style, with what the brand needs.
func (b Brand) styleFor(style string) string {
	if b == (Brand{}) {
		return style
	}
	return style + compact(brandCSS)
}
