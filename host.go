package wecom

import (
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/wecomauth/wecom/internal/attempt"
)

// otherHost finds out why attempts are lost at a site with a second host name: the
// browser leaves from that host, which keeps the cookie, and WeCom sends it to
// CallbackURL's. Host alone proves nothing, since a proxy may rewrite it; so it is only
// logged, when an attempt has lost its cookie.
type otherHost struct {
	callback string // CallbackURL's host
	proxies  []netip.Prefix
	log      *slog.Logger

	last atomic.Pointer[beginning] // one is enough: this happens again and again
	once sync.Once
}

// A beginning is where an attempt began that did not begin at CallbackURL's host.
type beginning struct {
	id   [16]byte
	host string
}

// began remembers the host at which an attempt begins, if it is another one.
func (o *otherHost) began(r *http.Request, a attempt.Attempt) {
	if host := o.hostOf(r); !strings.EqualFold(host, o.callback) {
		o.last.Store(&beginning{a.ID, host})
	}
}

// lostCookie logs, once, that the attempt without a cookie began at the other host.
func (o *otherHost) lostCookie(r *http.Request, a attempt.Attempt) {
	if b := o.last.Load(); b != nil && b.id == a.ID {
		o.once.Do(func() {
			o.log.WarnContext(r.Context(), "wecom: a sign-in has lost its cookie, and began at a host that is not CallbackURL's: "+
				"redirect that host to CallbackURL's, or let the proxy keep Host",
				slog.String("host", b.host), slog.String("callback_host", o.callback))
		})
	}
}

// hostOf returns the host name that the browser knows, as far as the server can tell.
func (o *otherHost) hostOf(r *http.Request) string {
	host := r.Host
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if sent := r.Header["X-Forwarded-Host"]; len(sent) == 1 && err == nil && contains(o.proxies, peer.Addr().Unmap()) {
		host = sent[0]
	}
	u := url.URL{Host: host[:min(len(host), 255)]}
	return u.Hostname()
}
