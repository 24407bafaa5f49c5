package wecom

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/wecomauth/wecom/internal/attempt"
	"github.com/wecomauth/wecom/internal/pages"
	"github.com/wecomauth/wecom/internal/reqkind"
	"github.com/wecomauth/wecom/internal/returnto"
)

// A site is where the middleware stands and which pages a sign-in may return to,
// as CallbackURL, MountPath and HomePath say, and whose it is.
type site struct {
	callback string            // CallbackURL
	origin   string            // of CallbackURL
	host     string            // of CallbackURL, without a port
	mount    string            // what stands before the paths that the handler sees
	folder   string            // of the built-in routes, as the handler sees them: "/wecom"
	home     string            // where a sign-in without a return path ends, as the browser sees it
	brand    pages.Brand       // AppName and Contact
	routes   map[string]string // the names of the built-in routes by path, as the handler sees them
}

// route returns the name of the built-in route that r asks for. Only the exact, undecoded
// path counts: every server in front of us compares paths in its own way.
func (s *site) route(r *http.Request) (name string, ok bool) {
	if r.URL.RawPath != "" || !strings.HasPrefix(r.URL.Path, s.folder) {
		return "", false
	}
	name, ok = s.routes[r.URL.Path]
	return name, ok
}

// path returns the path of a built-in route as the browser sees it.
func (s *site) path(route string) string { return s.mount + s.folder + "/" + route }

// loginURL returns the path that starts a sign-in, with returnTo if it is valid.
func (s *site) loginURL(returnTo string) string {
	login := s.path("login")
	if returnTo, ok := s.returnPath(returnTo); ok {
		login += "?return_to=" + url.QueryEscape(returnTo)
	}
	return login
}

// maxEscaped bounds an escaped return path, which enters Location and Refresh.
const maxEscaped = 2300

// returnPath accepts a path on this site to return to. It refuses built-in routes,
// which would start all over again, and paths that would make our headers too large.
func (s *site) returnPath(target string) (string, bool) {
	target, ok := returnto.Parse(target)
	if !ok || len(target) > attempt.MaxReturnTo || len(url.QueryEscape(target)) > maxEscaped {
		return "", false
	}
	if rest, ok := strings.CutPrefix(returnto.Path(target), s.mount); ok && s.routes[rest] != "" {
		return "", false
	}
	return target, true
}

// landing returns where a sign-in ends.
func (s *site) landing(returnTo string) string {
	if returnTo == "" {
		return s.home
	}
	return returnTo
}

// page returns the page that the person looks at: the one that a navigation asks
// for, or the one that holds the form, the frame or the script, if Referer tells.
func (s *site) page(r *http.Request) string {
	target := s.target(r)
	if !reqkind.Navigates(r) {
		target = strings.TrimPrefix(r.Referer(), s.origin) // another site's is no path
		if target == "/" {                                 // a page with Referrer-Policy origin sends no more
			return ""
		}
	}
	target, _ = s.returnPath(target)
	return target
}

// target returns what r asks for, as the browser spells it.
func (s *site) target(r *http.Request) string {
	target := r.RequestURI
	if !strings.HasPrefix(target, "/") { // in absolute form, or not from a server: a test's request
		target = r.URL.RequestURI()
	}
	if s.mount == "" {
		return target
	}
	// http.StripPrefix leaves RequestURI alone, a proxy that strips the prefix does
	// not. Spellings differ, so the decoded paths are compared.
	if u, err := url.ParseRequestURI(target); err != nil || u.Path != s.mount+r.URL.Path {
		target = s.mount + target
	}
	return target
}
