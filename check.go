package wecom

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/wecomauth/wecom/internal/config"
	"github.com/wecomauth/wecom/internal/errcode"
)

// Check asks WeCom whether the app is set up, for a program's start: an access
// token (corp id, secret, app enabled) and the app itself (agent id, the trusted
// IP address 企业可信IP, 可见范围). Without Options.AgentID it makes the
// cheapest call that there is instead. It returns nil, or an error that lists every
// fault with the screen of the admin console where it can be fixed; errors that WeCom
// answered with are in it as *[APIError]. A cached token is not fetched again.
//
// It costs one call to WeCom beside that for the token: do not poll it.
func (c *Client) Check(ctx context.Context) error {
	_, err := c.checkApp(ctx)
	return err
}

// checkApp returns the app too, the zero Agent if it is not known.
func (c *Client) checkApp(ctx context.Context) (Agent, error) {
	if c != nil && c.tokens != nil && c.app.AppID == "" {
		_, _, err := c.call(ctx, http.MethodGet, "getcallbackip", nil, nil)
		return Agent{}, err
	}
	app, err := c.Agent(ctx)
	if err != nil {
		return Agent{}, err
	}
	var errs []error
	if app.Closed {
		errs = append(errs, errors.New("wecom: the app is disabled: enable it at the top of "+errcode.ScreenApp))
	}
	if len(app.VisibleUsers)+len(app.VisibleDepartments)+len(app.VisibleTags) == 0 {
		errs = append(errs, errors.New("wecom: nobody is in the app's visible range: choose members or departments under "+errcode.ScreenVisible))
	}
	return app, errors.Join(errs...)
}

// Check is [Client.Check] and, as far as WeCom shows it, a check of CallbackURL:
// its host and port must be the app's trusted domain (可信域名). WeCom shows one such
// domain and never the 授权回调域, which the web-login page accepts as well: with
// [PageWeb], and for a callback on loopback, nothing is compared. A program whose app
// has several trusted domains calls Client().Check instead.
//
// If Options.Provider is set, its method Check is called instead, if it has one:
// see [Provider].
func (m *Middleware) Check(ctx context.Context) error {
	if m.sessions == nil {
		return errZeroMiddleware
	}
	p, ok := m.provider.(*corpApp)
	if !ok {
		if p, ok := m.provider.(interface{ Check(context.Context) error }); ok {
			return p.Check(ctx)
		}
		return nil
	}
	app, err := p.client.checkApp(ctx)
	if app.AgentID != "" && p.o.Page != PageWeb {
		err = errors.Join(err, checkDomain(m.site.callback, app.RedirectDomain))
	}
	return err
}

// checkDomain compares as WeCom does: host and port, letter by letter.
func checkDomain(callback, trusted string) error {
	u, err := url.Parse(callback)
	if err != nil || config.IsLoopback(u.Hostname()) {
		return nil
	}
	bare := strings.TrimRight(strings.TrimPrefix(strings.TrimPrefix(trusted, "https://"), "http://"), "/")
	switch {
	case bare == "":
		return fmt.Errorf("wecom: the app has no trusted domain: enter %q under %s", u.Host, errcode.ScreenDomains)
	case !strings.EqualFold(bare, u.Host):
		return fmt.Errorf("wecom: the trusted domain is %q and CallbackURL's %q: enter the latter, exactly, under %s", bare, u.Host, errcode.ScreenDomains)
	}
	return nil
}
