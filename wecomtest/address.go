package wecomtest

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// An address is a URL as a browser understands it, by the WHATWG's rules for
// http and https and not by those of net/url: backslashes are slashes, tabs and newlines vanish,
// surplus slashes before a host do not matter. What a test wants to know about a redirect is
// where a browser would go.
type address struct {
	scheme   string
	host     string // lower case; with its port unless that is the scheme's own
	target   string // path and query as they go over the wire
	fragment string
}

func (a address) origin() string { return a.scheme + "://" + a.host }

func (a address) String() string {
	s := a.origin() + a.target
	if a.fragment != "" {
		s += "#" + a.fragment
	}
	return s
}

func (a address) path() string {
	p, _, _ := strings.Cut(a.target, "?")
	return p
}

// trustworthy reports whether a browser trusts the origin like https.
func (a address) trustworthy() bool {
	host := a.host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return a.scheme == "https" || host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// canonicalHost lowers host and drops a port that is the scheme's own.
func canonicalHost(scheme, host string) string {
	host = strings.ToLower(host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return host
}

func isSlash(c byte) bool { return c == '/' || c == '\\' }

// resolve reads ref as a browser does that shows base; base may be nil. ok is
// false for what is no http or https URL.
func resolve(base *address, ref string) (a address, ok bool) {
	ref = strings.TrimFunc(ref, func(r rune) bool { return r <= ' ' })
	ref = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(ref)
	ref, fragment, _ := strings.Cut(ref, "#")

	scheme, rest := "", ref
	if i := strings.IndexByte(ref, ':'); i > 0 && isScheme(ref[:i]) {
		scheme, rest = strings.ToLower(ref[:i]), ref[i+1:]
		if scheme != "http" && scheme != "https" {
			return address{}, false
		}
	}
	twoSlashes := len(rest) >= 2 && isSlash(rest[0]) && isSlash(rest[1])
	if twoSlashes || scheme != "" && (base == nil || base.scheme != scheme) {
		if scheme == "" {
			if base == nil {
				return address{}, false
			}
			scheme = base.scheme
		}
		rest = strings.TrimLeft(rest, `/\`)
		end := strings.IndexAny(rest, `/\?`)
		if end < 0 {
			end = len(rest)
		}
		host, ok := parseHost(rest[:end])
		if !ok {
			return address{}, false
		}
		a = address{scheme: scheme, host: canonicalHost(scheme, host)}
		a.target = cleanTarget(rest[end:])
		a.fragment = fragment
		return a, true
	}
	if base == nil {
		return address{}, false
	}
	a = address{scheme: base.scheme, host: base.host, fragment: fragment}
	switch {
	case rest == "":
		a.target = base.target
	case rest[0] == '?':
		a.target = cleanTarget(base.path() + rest)
	case isSlash(rest[0]):
		a.target = cleanTarget(rest)
	default:
		dir := base.path()
		a.target = cleanTarget(dir[:strings.LastIndexByte(dir, '/')+1] + rest)
	}
	return a, true
}

func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if 'a' <= c && c <= 'z' || i > 0 && ('0' <= s[i] && s[i] <= '9' || strings.IndexByte("+-.", s[i]) >= 0) {
			continue
		}
		return false
	}
	return true
}

func parseHost(authority string) (string, bool) {
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	host, err := url.PathUnescape(authority)
	if err != nil || host == "" || strings.ContainsAny(host, " #%/<>?@\\^|\x00\x7f") {
		return "", false
	}
	if _, port, ok := strings.Cut(host[strings.LastIndexByte(host, ']')+1:], ":"); ok {
		if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
			return "", false
		}
		host = strings.TrimSuffix(host, ":")
	}
	return host, true
}

// cleanTarget makes path and query what a browser sends: dot segments
// resolved, backslashes turned, everything that must be escaped escaped.
func cleanTarget(s string) string {
	path, query, hasQuery := strings.Cut(s, "?")
	path = strings.ReplaceAll(path, `\`, "/")
	var out []string
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, seg := range segments {
		last := i == len(segments)-1
		switch strings.ReplaceAll(strings.ToLower(seg), "%2e", ".") {
		case ".":
			if last {
				out = append(out, "")
			}
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, seg)
		}
	}
	target := "/" + escape(strings.Join(out, "/"), " \"<>`{}^")
	if hasQuery {
		target += "?" + escape(query, " \"<>'")
	}
	return target
}

func escape(s, set string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c > '~' || strings.IndexByte(set, c) >= 0 {
			b.WriteByte('%')
			b.WriteByte("0123456789ABCDEF"[c>>4])
			b.WriteByte("0123456789ABCDEF"[c&15])
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// twoPart are public suffixes of two labels that tests are likely to meet. The
// whole list of them would be a dependency; an origin below another one counts as one site too many.
var twoPart = map[string]bool{
	"com.cn": true, "net.cn": true, "org.cn": true, "gov.cn": true, "edu.cn": true, "ac.cn": true,
	"com.hk": true, "com.tw": true, "com.sg": true, "com.au": true, "com.br": true,
	"co.uk": true, "org.uk": true, "ac.uk": true, "co.jp": true, "co.kr": true, "github.io": true,
}

// siteOf returns the registrable domain of host: example.com for app.example.com.
func siteOf(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if net.ParseIP(strings.Trim(host, "[]")) != nil {
		return host
	}
	labels := strings.Split(host, ".")
	keep := 2
	if n := len(labels); n >= 2 && twoPart[labels[n-2]+"."+labels[n-1]] {
		keep = 3
	}
	return strings.Join(labels[max(0, len(labels)-keep):], ".")
}

// isPublicSuffix reports whether cookies for the whole domain are refused.
func isPublicSuffix(domain string) bool {
	return !strings.Contains(domain, ".") || twoPart[domain]
}

// relation is what Sec-Fetch-Site calls the way from a to b.
func relation(a, b address) string {
	switch {
	case a.origin() == b.origin():
		return "same-origin"
	case a.scheme == b.scheme && siteOf(a.host) == siteOf(b.host):
		return "same-site"
	}
	return "cross-site"
}
