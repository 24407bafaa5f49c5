package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/issuer"
)

// A host is one of WECOM_HOSTS.
type host struct {
	name     string   // with its port, if it is not the usual one
	upstream *url.URL // nil: none
}

var hostName = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[1-9][0-9]{0,4})?$`)

func (c *config) parseHosts(s string, wrong *mistakes) {
	for _, entry := range list(s) {
		name, upstream, own := strings.Cut(entry, "=")
		h := host{name, c.upstream}
		var err error
		if own {
			h.upstream, err = readUpstream(upstream)
		}
		if !hostName.MatchString(name) {
			err = errors.New("want a host as browsers send it, such as wiki.example.com")
		}
		if c.callback != nil && c.callback.Port() != "" && !strings.Contains(name, ":") {
			c.warnings = append(c.warnings, "WECOM_HOSTS: "+name+" has no port, as WECOM_CALLBACK_URL has: browsers send it, unless it is 80 or 443")
		}
		if err != nil {
			wrong.add("WECOM_HOSTS", "%s: %v", withoutPassword(name), err)
			continue
		}
		c.hosts = append(c.hosts, h)
	}
}

// at is the configuration of the gateway at a further host.
func (c config) at(h host) config {
	callback := *c.callback
	callback.Host = h.name
	c.callback, c.CallbackURL, c.upstream = &callback, callback.String(), h.upstream
	if c.audience != "" { // or the program at one host could pass on what was said to it to that at another
		c.audience = callback.Scheme + "://" + h.name
	}
	return c
}

// furtherHosts makes what signs people in at WECOM_HOSTS; o are the options of auth. iss is nil if it could not be made.
func (c *config) furtherHosts(iss *issuer.Issuer, o wecom.Options) (made []*issuer.Host, err error) {
	for _, h := range c.hosts {
		if iss == nil {
			return nil, nil
		}
		o.CallbackURL = c.at(h).CallbackURL
		one, wrong := iss.Host(o)
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("WECOM_HOSTS: %s: %w", h.name, wrong))
		}
		made = append(made, one)
	}
	return made, err
}

// serveHosts adds the further hosts. They are gateways of their own that share what is there once.
func (g *gateway) serveHosts(c config, hosts []*issuer.Host) {
	g.hosts = map[string]*gateway{}
	if len(hosts) > 0 {
		g.label = g.host
	}
	for i, h := range c.hosts {
		further := newGateway(c.at(h), hosts[i].Middleware, nil, g.issuer, g.groups, g.stores, g.counts, g.log)
		further.label = h.name
		further.rules, further.asked, further.stranger, further.stopping = g.rules, g.asked, g.stranger, g.stopping
		further.oidc = nil // the issuer is where WeCom's callback is
		further.own = hosts[i].Handler(further.own)
		g.hosts[bareName(h.name)] = further
	}
}

// at returns the gateway of the host that the browser knows. Who asks for another proxy may
// have its own name in Host; nobody else is believed: a proxy's restriction is for the host that it saw.
func (g *gateway) at(r *http.Request, route string) *gateway {
	names := []string{r.Host}
	if said := r.Header["X-Forwarded-Host"]; len(said) == 1 && (route == "auth" || route == "forward") && g.trusts(r) {
		names = append(names, said[0])
	}
	for _, name := range names {
		if h := g.hosts[bareName(name)]; h != nil {
			return h
		}
	}
	return g
}

// bareName is what servers compare of a host: without port, case and the dot at its end. A name that they
// take for a host's must lead to that host's rules.
func bareName(host string) string {
	name, _, _ := strings.Cut(strings.ToLower(host), ":")
	return strings.TrimRight(name, ".")
}

// hostNames are all hosts, for rules.
func (c *config) hostNames() (names []string) {
	for _, h := range c.hosts {
		names = append(names, h.name)
	}
	if c.callback != nil {
		names = append(names, c.callback.Host)
	}
	return names
}

// checkHosts refuses rules for hosts that there are not: such a rule would restrict nothing.
func (rs rules) checkHosts(names []string) error {
	var errs []error
	for _, r := range rs {
		if r.Host != "" && !slices.Contains(names, r.Host) {
			errs = append(errs, fmt.Errorf("line %d: host %q: want one of %s", r.line, r.Host, strings.Join(names, ", ")))
		}
	}
	return errors.Join(errs...)
}
