package wecomtest

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxCookie       = 4096 // name and value
	maxCookieAttr   = 1024
	cookiesPerSite  = 180
	maxCookieAge    = 400 * 24 * time.Hour
	laxUnsafeWindow = 2 * time.Minute
)

// A jar keeps cookies by the rules of the successor of RFC 6265 as Chromium applies them, with one
// difference: Secure cookies need https, also on loopback, as Safari demands. Package
// net/http/cookiejar knows neither SameSite nor the prefixes.
type jar struct {
	mu      sync.Mutex
	cookies []*cookie // the oldest first
}

// A cookie has no Domain if it is its host's alone, and no Expires if it ends with the browser.
type cookie struct {
	http.Cookie
	host    string // with all below it, if there is a Domain
	created time.Time
}

// A reach says how a request came about, as far as SameSite cares.
type reach struct {
	sameSite bool // started and led all the way within one site
	top      bool // a top-level navigation
	safe     bool // GET or HEAD
}

// set stores what a Set-Cookie line of a response from a says, and reports whether it was accepted.
func (j *jar) set(a address, line string, now time.Time) bool {
	parsed, ok := parseCookie(line)
	if !ok {
		return false
	}
	c := &cookie{Cookie: parsed, created: now}
	host, secure := a.Hostname(), a.Scheme == "https"
	if isPublicSuffix(c.Domain) && c.Domain == host {
		c.Domain = ""
	}
	c.host = cmp.Or(c.Domain, host)
	prefix := strings.ToLower(cmp.Or(c.Name, c.Value))
	switch {
	case c.Domain != "" && (isPublicSuffix(c.Domain) || !domainMatch(host, c.Domain)),
		c.Secure && !secure,
		strings.HasPrefix(prefix, "__secure-") && (c.Name == "" || !c.Secure),
		strings.HasPrefix(prefix, "__host-") && (c.Name == "" || !c.Secure || c.Domain != "" || c.Path != "/"),
		c.SameSite == http.SameSiteNoneMode && !c.Secure:
		return false
	}
	if !strings.HasPrefix(c.Path, "/") {
		c.Path = defaultPath(a.Path())
	}
	latest := now.Add(maxCookieAge)
	switch {
	case c.MaxAge < 0:
		c.Expires = now
	case c.MaxAge > 0 && c.MaxAge < int(maxCookieAge/time.Second):
		c.Expires = now.Add(time.Duration(c.MaxAge) * time.Second)
	case c.MaxAge > 0 || c.Expires.After(latest):
		c.Expires = latest
	}
	c.MaxAge = 0

	j.mu.Lock()
	defer j.mu.Unlock()
	// An insecure origin must not push aside a secure cookie.
	if !secure && slices.ContainsFunc(j.cookies, func(old *cookie) bool {
		return old.Secure && old.Name == c.Name && (domainMatch(old.host, c.host) || domainMatch(c.host, old.host)) && pathMatch(c.Path, old.Path)
	}) {
		return false
	}
	same := slices.IndexFunc(j.cookies, func(old *cookie) bool {
		return old.Name == c.Name && old.host == c.host && old.Domain == c.Domain && old.Path == c.Path
	})
	switch ended := c.ended(now); {
	case same >= 0 && ended:
		j.cookies = slices.Delete(j.cookies, same, same+1)
	case same >= 0:
		c.created, j.cookies[same] = j.cookies[same].created, c
	case !ended:
		j.cookies = append(j.cookies, c)
	}
	var of []*cookie // this site's
	for _, old := range j.cookies {
		if siteOf(old.host) == siteOf(c.host) {
			of = append(of, old)
		}
	}
	if len(of) > cookiesPerSite {
		j.cookies = slices.DeleteFunc(j.cookies, func(old *cookie) bool { return old == of[0] })
	}
	return true
}

func (c *cookie) ended(now time.Time) bool { return !c.Expires.IsZero() && !c.Expires.After(now) }

// header returns the Cookie header for a request to a, "" if there is none.
func (j *jar) header(a address, via reach, now time.Time) string {
	var pairs []string
	for _, c := range j.matching(a, now) {
		switch {
		case via.sameSite || c.SameSite == http.SameSiteNoneMode:
		case c.SameSite == http.SameSiteStrictMode || !via.top:
			continue
		case !via.safe && (c.SameSite == http.SameSiteLaxMode || now.Sub(c.created) > laxUnsafeWindow):
			continue
		}
		pair := c.Value
		if c.Name != "" {
			pair = c.Name + "=" + pair
		}
		pairs = append(pairs, pair)
	}
	return strings.Join(pairs, "; ")
}

// matching returns the live cookies for a, those of longer paths and older ones first.
func (j *jar) matching(a address, now time.Time) []*cookie {
	host := a.Hostname()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cookies = slices.DeleteFunc(j.cookies, func(c *cookie) bool { return c.ended(now) })
	var list []*cookie
	for _, c := range j.cookies {
		if (c.host == host || c.Domain != "" && domainMatch(host, c.Domain)) && pathMatch(a.Path(), c.Path) && (!c.Secure || a.Scheme == "https") {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b *cookie) int { return len(b.Path) - len(a.Path) })
	return list
}

func (j *jar) clear() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cookies = nil
}

// parseCookie reads a Set-Cookie line as browsers do: unlike those of [http.ParseSetCookie], values
// may hold quotes, commas and blanks, and there need be no name.
func parseCookie(line string) (http.Cookie, bool) {
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return http.Cookie{}, false
	}
	attrs := strings.Split(line, ";")
	name, value, named := strings.Cut(attrs[0], "=")
	if !named {
		name, value = "", name
	}
	name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
	attrs[0] = "name=value"
	for i, attr := range attrs[1:] {
		key, value, _ := strings.Cut(attr, "=")
		key, value = strings.Trim(key, " \t"), strings.Trim(value, " \t")
		if attrs[i+1] = key + "=" + value; len(value) > maxCookieAttr {
			attrs[i+1] = ""
		}
	}
	c, err := http.ParseSetCookie(strings.Join(attrs, ";"))
	if err != nil || name == "" && value == "" || len(name)+len(value) > maxCookie {
		return http.Cookie{}, false
	}
	return http.Cookie{
		Name: name, Value: value, Path: c.Path, Domain: strings.ToLower(strings.TrimPrefix(c.Domain, ".")),
		Expires: c.Expires, MaxAge: c.MaxAge, Secure: c.Secure, HttpOnly: c.HttpOnly, SameSite: c.SameSite,
	}, true
}

func domainMatch(host, domain string) bool {
	_, err := netip.ParseAddr(host)
	return host == domain || err != nil && strings.HasSuffix(host, "."+domain)
}

func pathMatch(path, of string) bool {
	return path == of || strings.HasPrefix(path, of) && (strings.HasSuffix(of, "/") || path[len(of)] == '/')
}

func defaultPath(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}
