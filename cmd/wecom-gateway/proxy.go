package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wecomauth/wecom"
)

func (g *gateway) newProxy(c config) *httputil.ReverseProxy {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(c.upstream)
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as it is: only the upstream reads it
			if !regular(pr.In.URL) {
				pr.Out.URL.Opaque = strings.TrimSuffix(c.upstream.EscapedPath(), "/") + pr.In.URL.RawPath
			}
			// On a connection of its own the body is sent only when the upstream asks for it.
			pr.Out.Close = pr.Out.Header["Expect"] != nil
			pr.Out.Host = pr.In.Host
			g.rewriteHeaders(pr)
		},
		ModifyResponse: func(res *http.Response) error {
			g.keepOwnCookies(res.Header)
			return nil
		},
		// Event streams and answers of unknown length are flushed after each write anyway.
		FlushInterval: 50 * time.Millisecond,
		BufferPool:    &buffers{},
		ErrorHandler:  g.upstreamFailed,
		ErrorLog:      slog.NewLogLogger(g.log.Handler(), slog.LevelWarn),
		Transport: &http.Transport{
			// The upstream is a neighbour: no proxy of the environment stands in between.
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return impatient{conn, c.upstreamTimeout}, nil
			},
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: c.upstreamTimeout,
			ExpectContinueTimeout: time.Second, // for upstreams that never heard of it
			ForceAttemptHTTP2:     true,
			DisableCompression:    true,
			MaxIdleConns:          512,
			MaxIdleConnsPerHost:   512,
			// Shorter than Node's 5 s, the shortest of the common ones: a POST that
			// meets a connection which the upstream just closed is lost.
			IdleConnTimeout: 4 * time.Second,
		},
	}
}

// buffers lends what answers are copied with: to make one for each answer costs
// more than the rest of what a request allocates.
type buffers struct{ pool sync.Pool }

type buffer = [32 << 10]byte

func (b *buffers) Get() []byte {
	if used, ok := b.pool.Get().(*buffer); ok {
		return used[:]
	}
	return make([]byte, len(buffer{}))
}

func (b *buffers) Put(p []byte) { b.pool.Put((*buffer)(p)) }

// regular says whether net/url writes a path as it was sent. It encodes anew
// what holds a byte that a path may not, such as the | of browsers, and makes %2F a slash by that.
func regular(u *url.URL) bool { return u.RawPath == "" || u.EscapedPath() == u.RawPath }

// An impatient connection gives up when the other end reads nothing for limit; 0
// is for ever. It does not tell the other end that no more will come: of a WebSocket, half is of no use.
type impatient struct {
	net.Conn
	limit time.Duration
}

func (c impatient) Write(p []byte) (int, error) {
	if c.limit > 0 {
		_ = c.SetWriteDeadline(time.Now().Add(c.limit))
	}
	return c.Conn.Write(p)
}

// A body is a request's body that remembers that the client did not send it as it should.
type body struct {
	io.ReadCloser
	broken atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF && !errors.Is(err, http.ErrBodyReadAfterClose) {
		b.broken.Store(true)
	}
	return n, err
}

// rewriteHeaders makes the upstream's request say what we know and nothing that
// the client claims. Our own headers come last.
func (g *gateway) rewriteHeaders(pr *httputil.ProxyRequest) {
	in, out := pr.In, pr.Out
	trusted, ruled := g.trusts(in), g.rules.Load() != nil
	for name := range out.Header {
		if isIdentity(name) || isForwarding(name) && (!trusted || name != textproto.CanonicalMIMEHeaderKey(plainName(name))) || ruled && namesPath(name) {
			delete(out.Header, name)
		}
	}
	// A trailer arrives when the headers are gone, perhaps under a name of ours.
	out.Trailer = nil
	// Whoever gets another protocol out of the upstream, such as h2c, goes on without
	// us and says in its headers who they are. A WebSocket has no headers to say it in.
	if !strings.EqualFold(out.Header.Get("Upgrade"), "websocket") {
		for _, name := range [...]string{"Connection", "Upgrade", "Http2-Settings"} {
			delete(out.Header, name)
		}
	}

	if trusted {
		out.Header["X-Forwarded-For"] = in.Header["X-Forwarded-For"]
	}
	pr.SetXForwarded()
	out.Header.Set("X-Forwarded-Proto", g.scheme)
	if trusted {
		for _, name := range [...]string{"X-Forwarded-Host", "X-Forwarded-Proto"} {
			if said := in.Header[name]; len(said) == 1 && said[0] != "" {
				out.Header[name] = said
			}
		}
		if said := in.Header["Forwarded"]; len(said) > 0 {
			out.Header["Forwarded"] = said
		}
	}

	g.dropOwnCookies(out.Header)
	id, _ := wecom.FromContext(in.Context())
	setIdentity(out.Header, id)
	g.setAccount(out.Header, in, id)
	signed, _ := in.Context().Value(assertionKey{}).(string)
	out.Header["X-Wecom-Assertion"] = []string{signed}
}

// plainName is how a program sees a header's name that cannot tell _ or . from -.
func plainName(name string) string {
	plain := []byte(name)
	for i, c := range plain {
		plain[i] = plainByte(c)
	}
	return string(plain)
}

func plainByte(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	}
	return '-'
}

// plainPrefix says whether a header's plain name begins with prefix.
func plainPrefix(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if plainByte(name[i]) != prefix[i] {
			return false
		}
	}
	return true
}

func plainIsOneOf(name string, list []string) bool {
	return slices.ContainsFunc(list, func(one string) bool { return len(one) == len(name) && plainPrefix(name, one) })
}

var (
	identityNames   = []string{"x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username", "x-forwarded-access-token"}
	forwardingNames = []string{"forwarded", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip", "x-rewrite-url"}
)

// isIdentity says whether a header tells who somebody is: to a program behind a
// gateway, only the gateway may.
func isIdentity(name string) bool {
	return plainPrefix(name, "x-wecom-") || plainIsOneOf(name, identityNames)
}

// isForwarding says whether a header tells what a proxy in front saw.
func isForwarding(name string) bool {
	return plainPrefix(name, "x-forwarded") || plainPrefix(name, "x-original-") || plainIsOneOf(name, forwardingNames)
}

// namesPath says whether some programs believe a header instead of the path that a rule saw.
func namesPath(name string) bool {
	return plainPrefix(name, "x-original-") || plainPrefix(name, "x-rewrite-")
}

// dropOwnCookies takes our cookies out of a request: who has them is signed in.
func (g *gateway) dropOwnCookies(h http.Header) {
	lines := h["Cookie"]
	if len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
		var rest []string
		for pair := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(pair, "=")
			if !g.auth.OwnsCookie(strings.TrimSpace(name)) {
				rest = append(rest, strings.TrimSpace(pair))
			}
		}
		if joined := strings.Join(rest, "; "); joined != "" {
			kept = append(kept, joined)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

// keepOwnCookies takes our cookies out of the upstream's answer: it could sign
// people in as somebody else. A browser sends a cookie without a name as its value alone, hence the leading =.
func (g *gateway) keepOwnCookies(h http.Header) {
	lines := h["Set-Cookie"]
	if len(lines) == 0 {
		return
	}
	kept := make([]string, 0, len(lines))
	for _, line := range lines {
		pair, _, _ := strings.Cut(line, ";")
		name, _, _ := strings.Cut(strings.TrimLeft(pair, "= \t"), "=")
		if !g.auth.OwnsCookie(strings.TrimSpace(name)) {
			kept = append(kept, line)
		}
	}
	h["Set-Cookie"] = kept
}

// upstreamFailed answers when there is no answer. It is no fault of the sign-in, and says so.
func (g *gateway) upstreamFailed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil || errors.Is(err, context.Canceled) {
		note(w).gone = true // the client left
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	status, reason := http.StatusBadGateway, "unreachable"
	if note(w).body.broken.Load() {
		(&wecom.Failure{Status: http.StatusBadRequest, Code: "bad_request"}).ServeHTTP(w, r)
		return
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		status, reason = http.StatusGatewayTimeout, "timeout"
	}
	g.counts.upstreamError(reason)
	f := &wecom.Failure{Status: status, Code: "upstream_unavailable"}
	if wantsPage(r) {
		// For the page's button: what was asked for, the home page for a form.
		f.LoginURL = "/"
		if r.Method == http.MethodGet && strings.HasPrefix(r.RequestURI, "/") {
			f.LoginURL = r.RequestURI
		}
	}
	g.fail(w, r, f, "the upstream failed", err)
}

// wantsPage tells a browser that opens a page from a script or a program.
func wantsPage(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	return (mode == "" || mode == "navigate") && strings.Contains(strings.ToLower(strings.Join(r.Header["Accept"], ",")), "text/html")
}
