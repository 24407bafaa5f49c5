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

// elsewhere finds out why attempts are lost at a site with a second host name: the
// browser leaves from there, its cookie stays there, and WeCom sends it to CallbackURL's
// host. Host alone proves nothing, since a proxy may rewrite it, and is no error.
type elsewhere struct {
	last atomic.Pointer[begun] // one is enough: this happens again and again
	say  sync.Once
}

// begun is an attempt that began at another host than CallbackURL's.
type begun struct {
	id   [16]byte
	host string
}

// began notes where an attempt begins.
func (m *Middleware) began(r *http.Request, a attempt.Attempt) {
	if host := m.hostOf(r); !strings.EqualFold(host, m.host) {
		m.elsewhere.last.Store(&begun{a.ID, host})
	}
}

// explain names the cause in the log, once, if what came back has no cookie and began elsewhere.
func (m *Middleware) explain(r *http.Request, in returned) {
	if b := m.elsewhere.last.Load(); b != nil && in.ours && !in.holding && b.id == in.state.ID {
		m.elsewhere.say.Do(func() {
			m.log.WarnContext(r.Context(), "wecom: a sign-in has lost its cookie, and began at a host that is not CallbackURL's: "+
				"redirect that host to CallbackURL's, or let the proxy keep Host",
				slog.String("host", b.host), slog.String("callback_host", m.host))
		})
	}
}

// hostOf is the host name that the browser knows, as far as anybody can tell.
func (m *Middleware) hostOf(r *http.Request) string {
	host := r.Host
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if said := r.Header["X-Forwarded-Host"]; len(said) == 1 && err == nil && contains(m.proxies, peer.Addr().Unmap()) {
		host = said[0]
	}
	u := url.URL{Host: host[:min(len(host), 255)]}
	return u.Hostname()
}
