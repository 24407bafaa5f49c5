package wecom

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/wecomauth/wecom/internal/endpoint"
	"github.com/wecomauth/wecom/internal/pages"
)

// The sign-in page of our own, with WeCom's login panel in it: Options.LoginPanel.

const defaultPanelScript = "https://wwcdn.weixin.qq.com/node/open/js/wecom-jssdk-2.3.4.js"

// A panelPage is what is the same in every answer of the page.
type panelPage struct {
	app    *corpApp
	script string // URL of WeCom's script
	csp    string
}

// newPanelPage makes the page from options that have been found valid; nil if they do not ask for it.
func newPanelPage(o Options, p Provider, origin string) *panelPage {
	app, ok := p.(*corpApp)
	if !o.LoginPanel || !ok {
		return nil
	}
	script := or(o.Endpoints.PanelScript, defaultPanelScript)
	absolute := script
	if strings.HasPrefix(script, "/") {
		absolute = origin + script
	}
	return &panelPage{app, script, pages.PanelCSP(absolute, originOf(app.webLogin))}
}

// originOf returns the origin of an address that has been found valid.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// policyURL is what can stand in a Content-Security-Policy without ending its directive.
var policyURL = regexp.MustCompile(`^[0-9A-Za-z._~:/\[\]@%+-]+$`)

// panel checks LoginPanel and what it uses.
func (c *checks) panel(o Options) {
	script := o.Endpoints.PanelScript
	switch {
	case script == "" || plainPath.MatchString(script):
	case !policyURL.MatchString(script):
		c.bad("Endpoints.PanelScript: want an absolute URL, or a path on this site, of plain characters")
	default:
		if err := endpoint.Check("Endpoints.PanelScript", script); err != nil {
			*c = append(*c, err)
		}
	}
	switch {
	case !o.LoginPanel:
	case o.Provider != nil:
		c.bad("LoginPanel belongs to the built-in provider: leave it out when Provider is set")
	case o.Page == PageInApp:
		c.bad("LoginPanel is never shown with Page %q: leave one of them out", o.Page)
	case o.Endpoints.WebLogin != "" && !policyURL.MatchString(originOf(o.Endpoints.WebLogin)):
		c.bad("Endpoints.WebLogin: LoginPanel needs a host of plain characters")
	}
}

// wantsPanel says whether this browser signs in on our page; else it is sent to one of WeCom's.
func (m *Middleware) wantsPanel(r *http.Request) bool {
	return m.panel != nil && !m.panel.app.inApp(r.UserAgent())
}

// onPhone tells a phone's own browser, and Weixin on a phone: no phone can scan its own screen.
func onPhone(userAgent string) bool {
	return strings.Contains(userAgent, "Mobile") && !strings.Contains(userAgent, "iPad")
}

// showPanel answers with the page. Its script asks for the attempt, so that the
// attempt is fresh and a page that nobody signs in on costs a browser no cookie.
func (m *Middleware) showPanel(w http.ResponseWriter, r *http.Request, returnTo string) {
	direct := m.LoginURL(returnTo)
	if strings.Contains(direct, "?") {
		direct += "&panel=no"
	} else {
		direct += "?panel=no"
	}
	page := pages.Panel{
		Lang:    m.language(r),
		Attempt: m.mount + m.folder + "/attempt", Session: m.mount + m.folder + "/session",
		Script: m.panel.script, ReturnTo: returnTo, Direct: direct,
	}
	if onPhone(r.UserAgent()) {
		page.Link = m.origin + m.landing(returnTo)
	}
	body := page.Render()
	h := w.Header()
	h.Set("Content-Security-Policy", m.panel.csp)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body)
}
