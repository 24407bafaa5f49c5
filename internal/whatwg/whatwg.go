// Package whatwg parses URLs as browsers do, by the basic URL parser of the WHATWG URL standard and
// not by the rules of net/url: backslashes are slashes, tabs and newlines vanish, surplus slashes
// before a host do not matter. What wants to know where a browser would go asks it: the fake's
// browser, and tests of redirects.
package whatwg

import (
	"net/netip"
	"strconv"
	"strings"
)

// A URL is where a browser would go.
type URL struct {
	Scheme   string // lower-case, without the colon
	Host     string // lower-case, with the port unless it is the scheme's own
	Target   string // path and query as they go over the wire; "" if the scheme is not one of the web
	Fragment string // without the #
}

// Origin returns scheme and host as a browser compares them.
func (u URL) Origin() string { return u.Scheme + "://" + u.Host }

// String returns the URL as an address bar would show it.
func (u URL) String() string {
	s := u.Origin() + u.Target
	if u.Fragment != "" {
		s += "#" + u.Fragment
	}
	return s
}

// Path returns Target without the query. It has no dot segments.
func (u URL) Path() string {
	path, _, _ := strings.Cut(u.Target, "?")
	return path
}

// Hostname returns Host without the port. An IPv6 address keeps its brackets.
func (u URL) Hostname() string {
	host, _ := cutPort(u.Host)
	return host
}

// special are the schemes in which a backslash is a slash, with their ports.
var special = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21"}

// SameOrigin reports whether a browser that is at base, an http or https URL, and follows ref stays
// in the origin. A ref that the browser refuses does not.
func SameOrigin(base, ref string) bool {
	from, ok := Parse(base)
	if !ok {
		return false
	}
	to, ok := from.Resolve(ref)
	return ok && to.Origin() == from.Origin()
}

// Parse reads an absolute URL. ok is false if the parser fails; then a browser goes nowhere.
func Parse(s string) (u URL, ok bool) { return URL{}.Resolve(s) }

// Resolve follows ref from u. The zero URL is no base: then ref must be absolute. Hosts are decoded
// and lowered but not mapped by IDNA, so that a host in disguise shows as a foreign one.
func (u URL) Resolve(ref string) (to URL, ok bool) {
	ref = strings.TrimFunc(ref, func(r rune) bool { return r <= ' ' })
	ref = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(ref)
	ref, fragment, _ := strings.Cut(ref, "#")
	scheme, rest, absolute := cutScheme(ref)
	if _, web := special[scheme]; absolute && !web {
		return URL{Scheme: scheme}, true
	}
	// "https:x" is relative to a base of the same scheme.
	absolute = absolute && scheme != u.Scheme
	switch twoSlashes := len(rest) > 1 && isSlash(rest[0]) && isSlash(rest[1]); {
	case absolute:
		to, ok = authority(scheme, rest)
	case u.Host == "":
		return URL{}, false
	case twoSlashes:
		to, ok = authority(u.Scheme, rest)
	case rest == "":
		to, ok = u, true
	case rest[0] == '?':
		to, ok = URL{Scheme: u.Scheme, Host: u.Host, Target: target(u.Path() + rest)}, true
	default:
		if !isSlash(rest[0]) {
			rest = u.Path()[:strings.LastIndexByte(u.Path(), '/')+1] + rest
		}
		to, ok = URL{Scheme: u.Scheme, Host: u.Host, Target: target(rest)}, true
	}
	to.Fragment = fragment
	return to, ok
}

// cutScheme takes the scheme off; rest is all of s if there is none.
func cutScheme(s string) (scheme, rest string, ok bool) {
	for i := range len(s) {
		c := s[i] | 0x20
		switch {
		case 'a' <= c && c <= 'z':
		case i > 0 && s[i] == ':':
			return strings.ToLower(s[:i]), s[i+1:], true
		case i > 0 && ('0' <= s[i] && s[i] <= '9' || strings.IndexByte("+-.", s[i]) >= 0):
		default:
			return "", s, false
		}
	}
	return "", s, false
}

// authority is the states from the slashes in front of the authority to the end.
func authority(scheme, s string) (URL, bool) {
	s = strings.TrimLeft(s, `/\`)
	end := strings.IndexAny(s, `/\?`)
	if end < 0 {
		end = len(s)
	}
	host, rest := s[:end], s[end:]
	host, port := cutPort(host[strings.LastIndexByte(host, '@')+1:])
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return URL{}, false
		}
		port = strconv.FormatUint(n, 10)
	}
	host, ok := parseHost(host)
	if port != "" && port != special[scheme] {
		host += ":" + port
	}
	return URL{Scheme: scheme, Host: host, Target: target(rest)}, ok
}

func cutPort(host string) (name, port string) {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		return host[:i], host[i+1:]
	}
	return host, ""
}

func parseHost(host string) (string, bool) {
	if strings.HasPrefix(host, "[") {
		inner, closed := strings.CutSuffix(host[1:], "]")
		addr, err := netip.ParseAddr(inner)
		return "[" + addr.String() + "]", closed && err == nil && addr.Is6() && addr.Zone() == ""
	}
	host = strings.ToLower(unescape(host))
	forbidden := func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`#%/:<>?@[\]^|`, r) }
	return host, host != "" && !strings.ContainsFunc(host, forbidden)
}

// target makes path and query what a browser sends: dot segments gone, backslashes turned,
// everything escaped that must be.
func target(s string) string {
	path, query, hasQuery := strings.Cut(s, "?")
	segments := strings.Split(strings.ReplaceAll(path, `\`, "/"), "/")
	if segments[0] == "" {
		segments = segments[1:]
	}
	var kept []string
	for i, segment := range segments {
		last := i == len(segments)-1
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case "..":
			kept = kept[:max(len(kept)-1, 0)]
		case ".":
		default:
			kept = append(kept, segment)
			continue
		}
		if last {
			kept = append(kept, "")
		}
	}
	path = "/" + escape(strings.Join(kept, "/"), " \"<>`{}^")
	if hasQuery {
		path += "?" + escape(query, " \"<>'")
	}
	return path
}

// escape escapes what is not ASCII and printable, and what is in set.
func escape(s, set string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c > '~' || strings.IndexByte(set, c) >= 0 {
			const digits = "0123456789ABCDEF"
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// unescape decodes the well-formed escapes in s and leaves the others.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isSlash(c byte) bool { return c == '/' || c == '\\' }
