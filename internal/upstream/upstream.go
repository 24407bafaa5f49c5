// Package upstream sends one request to a platform's API and reads one JSON
// answer, so that a single-use code and a secret in the query come to no harm:
// nothing is sent twice, no redirect is followed, no answer is read beyond a
// bound, and no error shows the URL.
package upstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

const (
	// Timeout is a Request's default.
	Timeout = 5 * time.Second
	// MaxAnswer is a Request's default.
	MaxAnswer = 1 << 20

	maxErrorText = 300 // bytes
)

// A Request is one request to send. The zero Request is of no use.
type Request struct {
	Method string
	// URL is absolute and may hold secrets in its query.
	URL string
	// Body is sent as JSON; nil sends no body.
	Body []byte
	// Hide lists what must not show in an error.
	Hide Hidden
	// Timeout bounds the exchange: from the dial to the answer's last byte.
	Timeout time.Duration
	// MaxAnswer is how many bytes of the answer are read at most, after decompression.
	MaxAnswer int64
}

// Do sends r by rt and returns the answer's body if the status is 200. The
// request reaches the server at most once; if certainly nothing of it was
// written, because no connection could be made, Do tries a second time. Every
// error is an *[Error].
func Do(ctx context.Context, rt http.RoundTripper, r Request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.Timeout, Timeout))
	defer cancel()
	body, sent, err := once(ctx, rt, r)
	if err != nil && !sent && ctx.Err() == nil {
		body, sent, err = once(ctx, rt, r)
	}
	if err != nil {
		return nil, newError(r.Hide, sent, err)
	}
	return body, nil
}

// once reports as sent everything that may have reached the server.
func once(ctx context.Context, rt http.RoundTripper, r Request) (body []byte, sent bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	// A connection that was asked for and not got proves that nothing was
	// written. A RoundTripper that reports neither proves nothing.
	var asked, got atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { got.Store(true) },
	})
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, nil)
	if err != nil {
		return nil, false, err
	}
	// net/http sends a request again by itself when a kept-alive connection
	// dies, unless it has a body that cannot be rewound. An empty one will do,
	// and leaves no trace on the wire.
	req.Body = io.NopCloser(bytes.NewReader(r.Body))
	if r.Body != nil {
		req.ContentLength = int64(len(r.Body))
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")

	// RoundTrip and not a Client's Do: it follows no redirect.
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, got.Load() || !asked.Load(), err
	}
	if resp == nil || resp.Body == nil {
		return nil, true, errors.New("the transport returned neither an answer nor an error")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, true, foreign{fmt.Errorf("HTTP status %d", resp.StatusCode)}
	}
	most := cmp.Or(r.MaxAnswer, MaxAnswer)
	body, err = io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return nil, true, fmt.Errorf("the answer was cut off: %w", err)
	}
	if int64(len(body)) > most {
		return nil, true, foreign{fmt.Errorf("the answer is larger than %d bytes", most)}
	}
	return body, true, nil
}

// NewTransport returns a transport for one platform's API. It starts no
// goroutine before its first use.
func NewTransport() *http.Transport {
	// HTTP/1.1 alone: HTTP/2 has further rules for sending a request again,
	// which depend on what the server claims not to have processed.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:               proxy,
		DialContext:         (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 3 * time.Second,
		// Some hundred sign-ins at once are one company's morning.
		MaxIdleConns:        256,
		MaxIdleConnsPerHost: 256,
		// Shorter than servers keep a connection, since a request on one that
		// the server is just closing has an unknown fate.
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 32 << 10,
		DisableCompression:     true,
		Protocols:              protocols,
	}
}

// proxy is the environment's, for https alone. Plain http goes to loopback, and there directly: a proxy
// would see the secrets, and http.ProxyFromEnvironment takes LOCALHOST for another host.
func proxy(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// An Error is a failed exchange. Its text holds nothing of what was to be
// hidden, and no URL. [errors.Is] and [errors.As] see the cause, but nothing
// prints or unwraps it, since its text may hold anything.
type Error struct {
	text  string
	sent  bool
	cause func() error // behind a function, where %#v does not look
}

// foreign marks an answer that is none of the platform's.
type foreign struct{ error }

// Hide returns an error for a request that may have reached the server, as [Do] would.
func Hide(err error, hide Hidden) *Error { return newError(hide, true, err) }

func newError(hide Hidden, sent bool, err error) *Error {
	// The text of a *url.Error starts with the URL.
	var u *url.Error
	for errors.As(err, &u) && u.Err != nil {
		err = u.Err
	}
	return &Error{text: hide.Clean(err.Error(), maxErrorText), sent: sent, cause: func() error { return err }}
}

// Error returns the cause's text, cleaned by [Hidden.Clean].
func (e *Error) Error() string { return e.text }

// Sent reports whether the request may have reached the server. If it is
// false, certainly nothing was written.
func (e *Error) Sent() bool { return e.sent }

// Lost reports whether err says that nobody knows what became of a request: it may
// have reached the server, and no answer of the platform's arrived.
func Lost(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.sent
}

// Answered reports whether err says that an answer arrived which was none of the
// platform's: it is a proxy's, say, and the next one is likely the same.
func Answered(err error) bool {
	var f foreign
	return errors.As(err, &f)
}

// Timeout reports whether a deadline ended the exchange.
func (e *Error) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.cause(), &t) && t.Timeout()
}

// Is reports whether the cause is target.
func (e *Error) Is(target error) bool { return errors.Is(e.cause(), target) }

// As finds target in the cause.
func (e *Error) As(target any) bool {
	return errors.As(e.cause(), target)
}
