package wecomtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// Transport returns a transport that answers at Tencent's own addresses,
// https://qyapi.weixin.qq.com, https://open.weixin.qq.com, https://login.work.weixin.qq.com and
// https://api.weixin.qq.com, and at those of the servers that [Fake.Start] started, in this process
// and without a socket. It follows the requests' contexts and obeys scripted faults. Other hosts do
// not exist for it.
//
// Like the transport of package net/http it sends a GET again by itself when a connection that was
// used before dies without a byte of the answer, unless the request has a body: a client that must
// send a code only once has to prevent that.
func (f *Fake) Transport() http.RoundTripper { return &transport{fake: f, idle: map[string]int{}} }

// Client returns a client on [Fake.Transport]. It follows redirects and keeps no cookies; see
// [Fake.Browser] for more.
func (f *Fake) Client() *http.Client { return &http.Client{Transport: f.Transport()} }

// stands reports whether the fake is what answers at this origin.
func (f *Fake) stands(scheme, host string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return scheme == "https" && isProduction(host) || scheme == "http" && f.servers[host]
}

func isProduction(host string) bool {
	return host == apiHost || host == inAppHost || host == webHost || host == wxHost
}

type transport struct {
	fake *Fake
	mu   sync.Mutex
	idle map[string]int // connections per host that were used before and wait
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	host := canonicalHost(r.URL.Scheme, r.URL.Host)
	if !t.fake.stands(r.URL.Scheme, host) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: r.URL.Host, IsNotFound: true}}
	}
	if r.Context().Err() != nil {
		return nil, context.Cause(r.Context())
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	again := r.Method == "" || r.Method == http.MethodGet || r.Method == http.MethodHead
	again = again && (r.Body == nil || r.Body == http.NoBody || r.GetBody != nil)
	for {
		used := t.use(host)
		res, err := t.once(r, host, body)
		switch {
		case err == nil:
			t.keep(host)
			return res, nil
		case errors.Is(err, errDropped) && used && again:
			continue
		case errors.Is(err, errDropped):
			return nil, io.EOF
		case errors.Is(err, errRefused):
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		}
		return nil, err
	}
}

func (t *transport) once(r *http.Request, host string, body []byte) (*http.Response, error) {
	in := serverRequest(r.Context(), r.Method, host, r.URL.RequestURI(), r.Header.Clone(), body)
	if in == nil {
		return nil, errors.New("wecomtest: malformed request target")
	}
	t.fake.mu.Lock()
	ip := t.fake.settings.CallerIP
	t.fake.mu.Unlock()
	in.RemoteAddr = net.JoinHostPort(ip, "40000")
	a, err := t.fake.respond(in)
	if err != nil {
		return nil, err
	}
	res := &http.Response{
		Status: strconv.Itoa(a.status) + " " + http.StatusText(a.status), StatusCode: a.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header.Clone(), ContentLength: a.size(), Request: r,
	}
	if res.Body = a.reader(r.Context()); r.Method == http.MethodHead {
		res.Body = http.NoBody
	}
	return res, nil
}

// use takes a waiting connection to host, if there is one.
func (t *transport) use(host string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting := t.idle[host] > 0
	t.idle[host] = max(t.idle[host]-1, 0)
	return waiting
}

func (t *transport) keep(host string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle[host] = min(t.idle[host]+1, http.DefaultMaxIdleConnsPerHost)
}

// serverRequest builds a request as a server's handler sees it, or nil if net/http would refuse the
// target.
func serverRequest(ctx context.Context, method, host, target string, header http.Header, body []byte) *http.Request {
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, method, "/", bytes.NewReader(body))
	if err != nil {
		return nil
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil
	}
	if header == nil {
		header = http.Header{}
	}
	r.URL, r.Host, r.RequestURI, r.Header, r.GetBody = u, host, target, header, nil
	return r
}

// tlsState is what a handler sees of a connection that exists only in name.
func tlsState(host string) *tls.ConnectionState {
	return &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: host}
}
