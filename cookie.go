package wecom

import (
	"net/http"
	"strings"
	"time"
)

// A cookieKind writes and reads the cookies of one middleware. The session's is
// named by the prefix alone; those of attempts, and the mark, by the prefix and a
// suffix. Under https the prefix begins with __Host-, so that no other host and no
// plain-http page can set them.
type cookieKind struct {
	prefix string
	secure bool
}

// maxSetCookie bounds the Set-Cookie lines of an answer to which a deletion is
// added. It keeps all our headers under 3 KiB: past 4 KiB, nginx answers 502.
const maxSetCookie = 1900

func (k cookieKind) name(suffix string) string {
	if suffix == "" {
		return k.prefix
	}
	return k.prefix + "-" + suffix
}

func (k cookieKind) set(w http.ResponseWriter, suffix, value string, life time.Duration) {
	k.write(w, suffix, value, max(1, int(life/time.Second)))
}

// drop deletes a cookie and reports whether the answer had room for that. A browser
// that made up many cookies loses them over several answers.
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

// value returns the cookie's value, or "" if the cookie is missing or was sent
// twice: only a neighbouring host could have set the second one.
func (k cookieKind) value(r *http.Request, suffix string) string {
	value, n := cookieNamed(r, k.name(suffix))
	if n != 1 {
		return ""
	}
	return value
}

// cookieNamed returns the value of the first of the n cookies of that name.
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

// suffixed yields the suffix and value of each cookie that has a suffix.
func (k cookieKind) suffixed(r *http.Request) func(yield func(suffix, value string) bool) {
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

// cookies yields each name=value of the Cookie header without allocating. The
// standard library would allocate all of them on every request.
func cookies(r *http.Request) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, line := range r.Header["Cookie"] {
			for line != "" {
				var c string
				c, line, _ = strings.Cut(line, ";")
				// Not Unicode's spaces: a neighbouring host may set a cookie named U+00A0 __Host-…
				if c = strings.Trim(c, " \t"); c != "" && !yield(c) {
					return
				}
			}
		}
	}
}

// owns reports whether a cookie of that name is one of k's.
func (k cookieKind) owns(name string) bool {
	rest, ok := strings.CutPrefix(name, k.prefix)
	return ok && (rest == "" || rest[0] == '-')
}
