package vectors

import (
	"net/netip"
	"strconv"
	"strings"
)

// A URL is where a browser would go.
type URL struct {
	Scheme string // lower-case, without the colon
	Host   string // lower-case, with the port unless it is the scheme's own
	Path   string // without dot segments; "" if the scheme is not one of the web
}

// Origin returns scheme and host as a browser compares them.
func (u URL) Origin() string { return u.Scheme + "://" + u.Host }

// SameOrigin reports whether a browser that is at base, an http or https URL, and follows
// ref stays in the origin. A ref that the browser refuses does not.
func SameOrigin(base, ref string) bool {
	from, ok := Resolve("about:blank", base)
	if !ok {
		return false
	}
	to, ok := Resolve(base, ref)
	return ok && to.Origin() == from.Origin()
}

// special are the schemes in which a backslash is a slash, with their ports.
var special = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21"}

// Resolve follows ref from base by the basic URL parser of the WHATWG URL
// standard. ok is false if the parser fails; then a browser goes nowhere. Hosts are
// decoded and lowered but not mapped by IDNA, so that a host in disguise
// shows as a foreign one.
func Resolve(base, ref string) (u URL, ok bool) {
	ref = strings.TrimFunc(ref, func(r rune) bool { return r <= ' ' })
	ref = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(ref)

	scheme, rest, ok := cutScheme(ref)
	if ok {
		if _, web := special[scheme]; !web {
			return URL{Scheme: scheme}, true
		}
		// "https:x" is relative to a base of the same scheme.
		if !strings.HasPrefix(rest, "//") && strings.HasPrefix(base, scheme+":") {
			return relative(base, rest)
		}
		return authority(scheme, rest)
	}
	return relative(base, ref)
}

func cutScheme(s string) (scheme, rest string, ok bool) {
	for i := range len(s) {
		c := s[i] | 0x20
		switch {
		case 'a' <= c && c <= 'z':
		case i > 0 && s[i] == ':':
			return strings.ToLower(s[:i]), s[i+1:], true
		case i > 0 && ('0' <= s[i] && s[i] <= '9' || strings.IndexByte("+-.", s[i]) >= 0):
		default:
			return "", "", false
		}
	}
	return "", "", false
}

// relative is the relative state and the relative slash state.
func relative(base, ref string) (URL, bool) {
	scheme, rest, _ := cutScheme(base)
	if _, web := special[scheme]; !web {
		return URL{}, false
	}
	u, ok := authority(scheme, rest)
	switch {
	case !ok:
		return URL{}, false
	case ref == "" || ref[0] == '?' || ref[0] == '#':
		return u, true
	case !isSlash(ref[0]):
		u.Path = path(u.Path[:strings.LastIndexByte(u.Path, '/')+1] + ref)
		return u, true
	case len(ref) > 1 && isSlash(ref[1]):
		return authority(scheme, ref)
	}
	u.Path = path(ref)
	return u, true
}

// authority is the states from the slashes in front of the authority to the end.
func authority(scheme, s string) (URL, bool) {
	s = strings.TrimLeft(s, `/\`)
	end := strings.IndexAny(s, `/\?#`)
	if end < 0 {
		end = len(s)
	}
	host, rest := s[:end], s[end:]
	host = host[strings.LastIndexByte(host, '@')+1:]

	var port string
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host, port = host[:i], host[i+1:]
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return URL{}, false
		}
		port = strconv.FormatUint(n, 10)
	}
	host, ok := parseHost(host)
	if !ok {
		return URL{}, false
	}
	if port != "" && port != special[scheme] {
		host += ":" + port
	}
	return URL{Scheme: scheme, Host: host, Path: path(rest)}, true
}

func parseHost(host string) (string, bool) {
	if strings.HasPrefix(host, "[") {
		inner, closed := strings.CutSuffix(host[1:], "]")
		addr, err := netip.ParseAddr(inner)
		return "[" + addr.String() + "]", closed && err == nil && addr.Is6() && addr.Zone() == ""
	}
	host = strings.ToLower(unescape(host))
	for i := range len(host) {
		if c := host[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`#%/:<>?@[\]^|`, c) >= 0 {
			return "", false
		}
	}
	return host, host != ""
}

// path is the path state: it cuts s at its query or fragment and removes dot segments.
func path(s string) string {
	if end := strings.IndexAny(s, "?#"); end >= 0 {
		s = s[:end]
	}
	if s == "" {
		return "/"
	}
	if isSlash(s[0]) {
		s = s[1:]
	}
	var kept []string
	for last := false; !last; {
		end := strings.IndexAny(s, `/\`)
		if last = end < 0; last {
			end = len(s)
		}
		segment := s[:end]
		if !last {
			s = s[end+1:]
		}
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case "..":
			kept = kept[:max(len(kept)-1, 0)]
			if last {
				kept = append(kept, "")
			}
		case ".":
			if last {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}

func isSlash(c byte) bool { return c == '/' || c == '\\' }

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
