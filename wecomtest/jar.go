package wecomtest

import (
	"net"
	"net/http"
	"slices"
	"strconv"
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

// A jar keeps cookies by the rules of the successor of RFC 6265 as Chromium
// applies them, with one difference: Secure cookies need https, also on
// loopback, as Safari demands.
type jar struct {
	mu      sync.Mutex
	cookies []*cookie
	serial  int
}

type cookie struct {
	name, value string
	domain      string
	hostOnly    bool
	path        string
	secure      bool
	httpOnly    bool
	sameSite    http.SameSite // DefaultMode: the attribute was absent
	expires     time.Time     // zero: with the browser
	created     time.Time
	serial      int
}

// A reach says how a request came about, as far as SameSite cares.
type reach struct {
	sameSite bool // started and led all the way within one site
	top      bool // a top-level navigation
	safe     bool // GET or HEAD
}

// set stores what a Set-Cookie line of a response from a says, and reports
// whether it was accepted.
func (j *jar) set(a address, line string, now time.Time) bool {
	c, persistent, ok := parseCookie(line, now)
	if !ok {
		return false
	}
	host := a.host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	secure := a.scheme == "https"
	explicitPath := c.path
	if c.domain != "" {
		if isPublicSuffix(c.domain) && c.domain == host {
			c.domain = ""
		} else if isPublicSuffix(c.domain) || !domainMatch(host, c.domain) {
			return false
		}
	}
	hadDomain := c.domain != ""
	if !hadDomain {
		c.domain, c.hostOnly = host, true
	}
	if !strings.HasPrefix(c.path, "/") {
		c.path = defaultPath(a.path())
	}
	name := strings.ToLower(c.name)
	switch {
	case c.secure && !secure,
		strings.HasPrefix(name, "__secure-") && !c.secure,
		strings.HasPrefix(name, "__host-") && (!c.secure || hadDomain || explicitPath != "/"),
		c.name == "" && (strings.HasPrefix(strings.ToLower(c.value), "__secure-") || strings.HasPrefix(strings.ToLower(c.value), "__host-")),
		c.sameSite == http.SameSiteNoneMode && !c.secure:
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	c.created = now
	if !c.secure && !secure {
		// An insecure origin must not push aside a secure cookie.
		for _, old := range j.cookies {
			if old.secure && old.name == c.name && (domainMatch(old.domain, c.domain) || domainMatch(c.domain, old.domain)) && pathMatch(c.path, old.path) {
				return false
			}
		}
	}
	j.serial++
	c.serial = j.serial
	j.cookies = slices.DeleteFunc(j.cookies, func(old *cookie) bool {
		same := old.name == c.name && old.domain == c.domain && old.hostOnly == c.hostOnly && old.path == c.path
		if same {
			c.created, c.serial = old.created, old.serial
		}
		return same
	})
	if persistent && !c.expires.After(now) {
		return true // accepted: it deletes
	}
	j.cookies = append(j.cookies, c)
	j.evict(siteOf(c.domain))
	return true
}

// evict drops the oldest cookies of a site that has too many.
func (j *jar) evict(site string) {
	var of []*cookie
	for _, c := range j.cookies {
		if siteOf(c.domain) == site {
			of = append(of, c)
		}
	}
	if len(of) <= cookiesPerSite {
		return
	}
	slices.SortFunc(of, func(a, b *cookie) int { return a.serial - b.serial })
	gone := of[:len(of)-cookiesPerSite]
	j.cookies = slices.DeleteFunc(j.cookies, func(c *cookie) bool { return slices.Contains(gone, c) })
}

// header returns the Cookie header for a request to a, "" if there is none.
func (j *jar) header(a address, via reach, now time.Time) string {
	var b strings.Builder
	for _, c := range j.matching(a, now) {
		switch {
		case via.sameSite || c.sameSite == http.SameSiteNoneMode:
		case c.sameSite == http.SameSiteStrictMode || !via.top:
			continue
		case !via.safe && (c.sameSite == http.SameSiteLaxMode || now.Sub(c.created) > laxUnsafeWindow):
			continue
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		if c.name != "" {
			b.WriteString(c.name + "=")
		}
		b.WriteString(c.value)
	}
	return b.String()
}

// matching returns the live cookies for a, those of longer paths and older ones first.
func (j *jar) matching(a address, now time.Time) []*cookie {
	host := a.host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cookies = slices.DeleteFunc(j.cookies, func(c *cookie) bool { return !c.expires.IsZero() && !c.expires.After(now) })
	var list []*cookie
	for _, c := range j.cookies {
		if c.hostOnly && c.domain != host || !c.hostOnly && !domainMatch(host, c.domain) ||
			!pathMatch(a.path(), c.path) || c.secure && a.scheme != "https" {
			continue
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *cookie) int {
		if len(a.path) != len(b.path) {
			return len(b.path) - len(a.path)
		}
		return a.serial - b.serial
	})
	return list
}

func (j *jar) clear() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cookies = nil
}

// parseCookie reads a Set-Cookie line as browsers do, which is not how
// http.ParseSetCookie does: values may hold quotes, commas and blanks.
func parseCookie(line string, now time.Time) (c *cookie, persistent, ok bool) {
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return nil, false, false
	}
	pair, attrs, _ := strings.Cut(line, ";")
	name, value, found := strings.Cut(pair, "=")
	if !found {
		name, value = "", pair
	}
	c = &cookie{name: strings.Trim(name, " \t"), value: strings.Trim(value, " \t")}
	if c.name == "" && c.value == "" || len(c.name)+len(c.value) > maxCookie {
		return nil, false, false
	}
	maxAge := false
	for attr := range strings.SplitSeq(attrs, ";") {
		key, val, _ := strings.Cut(attr, "=")
		key, val = strings.ToLower(strings.Trim(key, " \t")), strings.Trim(val, " \t")
		if len(val) > maxCookieAttr {
			continue
		}
		switch key {
		case "secure":
			c.secure = true
		case "httponly":
			c.httpOnly = true
		case "path":
			c.path = val
		case "domain":
			c.domain = strings.ToLower(strings.TrimPrefix(val, "."))
		case "samesite":
			switch strings.ToLower(val) {
			case "strict":
				c.sameSite = http.SameSiteStrictMode
			case "lax":
				c.sameSite = http.SameSiteLaxMode
			case "none":
				c.sameSite = http.SameSiteNoneMode
			default:
				c.sameSite = 0
			}
		case "max-age":
			seconds, err := strconv.ParseInt(val, 10, 64)
			if err != nil {
				continue
			}
			maxAge, persistent = true, true
			c.expires = now
			if seconds > 0 {
				c.expires = now.Add(time.Duration(min(seconds, int64(maxCookieAge/time.Second))) * time.Second)
			}
		case "expires":
			t, err := http.ParseTime(val)
			if err != nil {
				t, err = time.Parse("Mon, 02-Jan-2006 15:04:05 MST", val)
			}
			if err == nil && !maxAge {
				persistent, c.expires = true, t
				if t.After(now.Add(maxCookieAge)) {
					c.expires = now.Add(maxCookieAge)
				}
			}
		}
	}
	return c, persistent, true
}

func domainMatch(host, domain string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain) && net.ParseIP(host) == nil
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

// std returns the cookie as package net/http spells it, with its attributes.
func (c *cookie) std() *http.Cookie {
	s := &http.Cookie{Name: c.name, Value: c.value, Path: c.path, Expires: c.expires, Secure: c.secure, HttpOnly: c.httpOnly, SameSite: c.sameSite}
	if !c.hostOnly {
		s.Domain = c.domain
	}
	return s
}
