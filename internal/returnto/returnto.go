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
	path := target
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		path = target[:i]
	}
	if !safePath(path) {
		return "", false
	}
	return target, true
}

// Path returns the path of target as a browser or a proxy may read it, for comparison with
// others: without query and fragment, decoded, without dot segments, empty segments and a slash at the end.
func Path(target string) string {
	p := target
	if i := strings.IndexAny(p, "?#"); i >= 0 {
		p = p[:i]
	}
	if decoded, err := url.PathUnescape(p); err == nil {
		p = decoded
	}
	return path.Clean(strings.ReplaceAll(p, `\`, "/"))
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
// decoded first and whether a backslash separates. Instead of trying every
// reading, a path is refused that holds both a dot segment and an empty one when it is split as finely as possible,
// or both a dot segment and an escaped slash: to a browser "/a%2Fb/../x" is "/x".
func safePath(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	var (
		start       = 1 // of the segment, in decoded bytes
		n           = 1 // decoded bytes so far
		dots        = true
		dotSegment  bool
		emptyInside bool // an empty segment that is not the last
		escaped     bool // a slash is
	)
	for i := 1; i < len(path); {
		c := path[i]
		i++
		switch c {
		case '\\':
			return false
		case '%':
			if i+1 >= len(path) {
				return false
			}
			hi, lo := unhex(path[i]), unhex(path[i+1])
			if hi > 15 || lo > 15 {
				return false
			}
			c = hi<<4 | lo
			i += 2
			escaped = escaped || c == '/' || c == '\\'
			if c < ' ' || c == 0x7f {
				return false
			}
		}
		n++
		switch c {
		case '/', '\\':
			length := n - 1 - start
			if length == 0 {
				if start == 1 {
					return false // "//" or "/\" at the very beginning
				}
				emptyInside = true
			}
			dotSegment = dotSegment || dots && (length == 1 || length == 2)
			start, dots = n, true
		case '.':
		default:
			dots = false
		}
	}
	length := n - start
	dotSegment = dotSegment || dots && (length == 1 || length == 2)
	return !dotSegment || !emptyInside && !escaped
}

// unhex returns the value of a hexadecimal digit, more than 15 for anything else.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}
