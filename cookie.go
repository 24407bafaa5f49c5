package wecom

import (
	"net/http"
	"strings"
	"time"
)

// cookieKind is how this middleware's cookies look: one prefix for the
// session's cookie, which stands for itself, and the attempts', each of which
// has a suffix. Under https the prefix begins with __Host-, so that no other
// host and no plain-http page can set them.
type cookieKind struct {
	prefix string
	secure bool
}

// maxSetCookie bounds the Set-Cookie lines of an answer to which another deletion is added.
// With it all our headers stay under 3 KiB: past 4, nginx answers 502.
const maxSetCookie = 1900

func (k cookieKind) name(suffix string) string {
	if suffix == "" {
		return k.prefix
	}
	return k.prefix + "-" + suffix
}

func (k cookieKind) set(w http.ResponseWriter, suffix, value string, life time.Duration) {
	seconds := int(life / time.Second)
	if seconds < 1 {
		seconds = 1
	}
	k.write(w, suffix, value, seconds)
}

// drop deletes a cookie, and says whether it could: a browser that made up its cookies
// gets rid of them over several answers.
func (k cookieKind) drop(w http.ResponseWriter, suffix string) bool {
	size := 0
	for _, line := range w.Header()["Set-Cookie"] {
		if strings.HasPrefix(line, k.prefix) {
			size += len("Set-Cookie: ") + len(line) + len("\r\n")
		}
	}
	if size > maxSetCookie {
		return false
	}
	k.write(w, suffix, "", -1)
	return true
}

func (k cookieKind) write(w http.ResponseWriter, suffix, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: k.name(suffix), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: k.secure, SameSite: http.SameSiteLaxMode,
	})
}

// value returns the cookie's value, "" if it is missing or, since only a
// neighbour could have planted the second, if it came twice.
func (k cookieKind) value(r *http.Request, suffix string) string {
	value, n := cookieNamed(r, k.name(suffix))
	if n != 1 {
		return ""
	}
	return value
}

func (k cookieKind) present(r *http.Request, suffix string) bool {
	_, n := cookieNamed(r, k.name(suffix))
	return n > 0
}

// cookieNamed returns the first of the n cookies of that name.
func cookieNamed(r *http.Request, name string) (value string, n int) {
	for c := range cookies(r) {
		if got, v, ok := strings.Cut(c, "="); ok && got == name {
			if n == 0 {
				value = v
			}
			n++
		}
	}
	return value, n
}

// attempts yields the suffix and value of each attempt's cookie.
func (k cookieKind) attempts(r *http.Request) func(yield func(suffix, value string) bool) {
	return func(yield func(suffix, value string) bool) {
		for c := range cookies(r) {
			rest, ok := strings.CutPrefix(c, k.prefix+"-")
			if !ok {
				continue
			}
			if suffix, value, ok := strings.Cut(rest, "="); ok && !yield(suffix, value) {
				return
			}
		}
	}
}

// cookies yields each name=value of the Cookie header without allocating: the
// standard library parses and allocates them all, on every request.
func cookies(r *http.Request) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, line := range r.Header["Cookie"] {
			for line != "" {
				var c string
				c, line, _ = strings.Cut(line, ";")
				// Not Unicode's spaces: a neighbour may set a cookie named U+00A0 __Host-…
				if c = strings.Trim(c, " \t"); c != "" && !yield(c) {
					return
				}
			}
		}
	}
}
