package wecomtest

import (
	"net/netip"
	"strings"

	"github.com/wecomauth/wecom/internal/whatwg"
)

// An address is an http or https URL as a browser understands it. What a test wants to know about a
// redirect is where a browser would go.
type address = whatwg.URL

// resolve reads ref as a browser does that shows base, or none if that is zero. ok is false for
// what is no http or https URL.
func resolve(base address, ref string) (a address, ok bool) {
	a, ok = base.Resolve(ref)
	return a, ok && (a.Scheme == "http" || a.Scheme == "https")
}

func isIP(host string) (ip netip.Addr, ok bool) {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return ip, err == nil
}

// trustworthy reports whether a browser trusts the origin like https.
func trustworthy(a address) bool {
	host := a.Hostname()
	ip, _ := isIP(host)
	return a.Scheme == "https" || host == "localhost" || strings.HasSuffix(host, ".localhost") || ip.IsLoopback()
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

// twoPart are public suffixes of two labels that tests are likely to meet. The whole list of them
// would be a dependency; an origin below another one counts as one site too many.
var twoPart = map[string]bool{
	"com.cn": true, "net.cn": true, "org.cn": true, "gov.cn": true, "edu.cn": true, "ac.cn": true,
	"com.hk": true, "com.tw": true, "com.sg": true, "com.au": true, "com.br": true,
	"co.uk": true, "org.uk": true, "ac.uk": true, "co.jp": true, "co.kr": true, "github.io": true,
}

// siteOf returns the registrable domain of host, which has no port: example.com for app.example.com.
func siteOf(host string) string {
	if _, ok := isIP(host); ok {
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
	case a.Origin() == b.Origin():
		return "same-origin"
	case a.Scheme == b.Scheme && siteOf(a.Hostname()) == siteOf(b.Hostname()):
		return "same-site"
	}
	return "cross-site"
}
