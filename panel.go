package wecom

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/wecomauth/wecom/internal/pages"
)

// The sign-in page of our own, with WeCom's login panel in it: Options.LoginPanel.

// A panelPage holds what is the same in every answer.
type panelPage struct {
	app    *corpApp
	script string // URL of WeCom's script
	csp    string
}

// newPanelPage returns the page that valid options describe, nil without LoginPanel.
func newPanelPage(o Options, p Provider, s site) *panelPage {
	app, ok := p.(*corpApp)
	if !o.LoginPanel || !ok {
		return nil
	}
	script := o.Endpoints.PanelScript
	absolute := script
	if strings.HasPrefix(script, "/") {
		absolute = s.origin + script
	}
	return &panelPage{app, script, pages.PanelCSP(s.brand, absolute, originOf(app.o.Endpoints.WebLogin))}
}

// originOf returns the origin of an address that has been found valid.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// isFor reports whether this browser signs in on our page. Others go to one of
// WeCom's. The nil page is for none.
func (p *panelPage) isFor(r *http.Request) bool { return p != nil && !p.app.inApp(r.UserAgent()) }

// onPhone reports whether a phone's own browser, or Weixin on a phone, sent userAgent.
// No phone can scan its own screen.
func onPhone(userAgent string) bool {
	return strings.Contains(userAgent, "Mobile") && !strings.Contains(userAgent, "iPad")
}
