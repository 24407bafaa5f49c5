// Package returnto decides where a sign-in may end: on a page of the
// application's own origin, and nowhere else.
//
// A target that is accepted is handed on byte for byte. It may stand in a
// Location header or, escaped as HTML demands, in an href: by the rules of the
// WHATWG URL standard, which browsers follow, it resolves to the origin of the
// page, and net/http writes it as it is. http.Redirect does not: it cleans the path, and must not be used.
package returnto

import (
	"net/url"
	"path"
	"strings"
	"unicode/utf8"
)

// Parse returns target and true if it is a path of the own origin, with or
// without query and fragment, and "" and false otherwise.
//
// Refused are:
//   - what does not begin with a slash, or begins with two, a backslash counting as one
//   - control characters and spaces anywhere: browsers strip some, net/http others
//   - invalid UTF-8: HTML and JSON cannot carry it unchanged
//   - a backslash in the path: to a browser it is a slash
//   - a path that begins with two slashes once its escapes are decoded or its dot
//     segments removed, since handlers and proxies do both and then redirect
//   - a path with a dot segment and an escaped slash: which path it is depends on what comes first
//   - a path with a malformed escape or an escaped control character
//
// Everything else survives, above all in query and fragment. Escapes are
// decoded once, as net/http does. The work is linear in the target's length.
func Parse(target string) (string, bool) {
	if !plain(target) {
		return "", false
	}
	if !safePath(pathOf(target)) {
		return "", false
	}
	return target, true
}

// Path returns the path of target as a browser or a proxy may read it, for comparison with
// others: without query and fragment, decoded, without dot segments, empty segments and a slash at the end.
func Path(target string) string {
	p := pathOf(target)
	if decoded, err := url.PathUnescape(p); err == nil {
		p = decoded
	}
	return path.Clean(strings.ReplaceAll(p, `\`, "/"))
}

// pathOf returns target without query and fragment.
func pathOf(target string) string {
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		return target[:i]
	}
	return target
}

// plain reports whether s is UTF-8 without control characters of ASCII and spaces.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

// safePath reports whether path begins with a single slash, however it is read.
//
// Removing dot segments can uncover an empty segment that stood further back, as in
// "/a/..//evil.example", and which segments there are depends on whether escapes are
// decoded first and whether a backslash separates. Instead of trying every reading, a
// path is split as finely as possible, and refused if it then has a dot segment and
// also an empty segment or an escaped slash: to a browser "/a%2Fb/../x" is "/x".
func safePath(path string) bool {
	decoded, err := url.PathUnescape(path)
	if err != nil || !strings.HasPrefix(path, "/") || strings.Contains(path, `\`) || strings.ContainsFunc(decoded, isControl) {
		return false
	}
	slashed := strings.ReplaceAll(decoded, `\`, "/")
	if strings.HasPrefix(slashed, "//") {
		return false
	}
	emptySegment := strings.Contains(slashed, "//")
	escapedSlash := strings.Count(slashed, "/") > strings.Count(path, "/")
	for segment := range strings.SplitSeq(slashed, "/") {
		if segment == "." || segment == ".." {
			return !emptySegment && !escapedSlash
		}
	}
	return true
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
