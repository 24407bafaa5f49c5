package main

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Programs disagree about what a path means: whether %2F is a slash, whether a
// semicolon begins a parameter, whether case matters. A rule must hold however the
// upstream reads the path, so it is looked up for every reading. A path that no
// browser sends and that has no reading to rely on, such as one with "..", is refused.

var (
	errControl   = errors.New("it holds a control character")
	errEncoding  = errors.New("it is not UTF-8")
	errDots      = errors.New("an element is dots, or ends with two")
	errTwice     = errors.New("escapes are escaped more than once, or only some of them")
	errAmbiguous = errors.New("it has too many readings")
)

// maxReadings bounds the work for one path.
const maxReadings = 16

var (
	escapes        = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	escapedEscapes = regexp.MustCompile(`%25[0-9A-Fa-f]{2}`)
	escapedSlashes = regexp.MustCompile(`%(2[Ff]|5[Cc])`)
	authority      = regexp.MustCompile(`^//+[^/]*`)
	slashes        = regexp.MustCompile(`//+`)
	aroundElement  = regexp.MustCompile(`(/) +|[. ]+(/|$)`)
)

// ways are what some programs do to a path and others do not.
var ways = []func(string) string{
	unescape,         // what is escaped still: slashes, or everything if it was escaped twice
	norm.NFKC.String, // makes a slash of U+FF0F
	func(p string) string { return strings.ReplaceAll(p, `\`, "/") },
	func(p string) string {
		if i := strings.IndexAny(p, "?#"); i >= 0 {
			p = p[:i]
		}
		return p
	},
	func(p string) string { return authority.ReplaceAllString(p, "") }, // a URL without a scheme
	func(p string) string { return parameters.ReplaceAllString(p, "") },
	func(p string) string { return slashes.ReplaceAllString(p, "/") },
	func(p string) string { return aroundElement.ReplaceAllString(p, "$1$2") }, // Windows
}

// readings returns a request's path, decoded, in every way in which a program may
// read it, but for case.
func readings(u *url.URL) ([]string, error) {
	raw := u.RawPath
	if raw == "" {
		raw = u.EscapedPath()
	}
	decoded := unescape(escapedSlashes.ReplaceAllString(raw, "%25$1"))
	if escapedEscapes.MatchString(raw) && (escapedSlashes.MatchString(raw) || escapes.MatchString(unescape(decoded))) {
		return nil, errTwice
	}
	all := []string{decoded}
	for _, way := range ways {
		for _, p := range all {
			if read := way(p); !slices.Contains(all, read) {
				all = append(all, read)
			}
		}
		if len(all) > maxReadings {
			return nil, errAmbiguous
		}
	}
	for _, p := range all {
		switch {
		case strings.ContainsFunc(p, func(c rune) bool { return c < ' ' || c == 0x7f }):
			return nil, errControl
		case !utf8.ValidString(p):
			return nil, errEncoding
		case hasDots(p):
			return nil, errDots
		}
	}
	return all, nil
}

// unescape decodes escapes and leaves alone what is none.
func unescape(p string) string {
	return escapes.ReplaceAllStringFunc(p, func(escape string) string {
		c, _ := url.PathUnescape(escape)
		return c
	})
}

// fold returns the same string for paths that differ in case. Some letters have two
// lower-case forms and one upper-case form.
func fold(p string) string { return strings.ToLower(strings.ToUpper(p)) }

// hasDots says whether an element leads up, also for a program that ignores dots and
// spaces at an element's end, or joins it to a folder without a slash in between.
func hasDots(p string) bool {
	for element := range strings.SplitSeq(p, "/") {
		if element != "" && strings.Trim(element, ". ") == "" || strings.HasSuffix(element, "..") {
			return true
		}
	}
	return false
}
