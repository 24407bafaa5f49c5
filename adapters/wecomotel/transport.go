package wecomotel

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Transport returns a transport for [wecom.Options].Transport (and for those of
// package weixin) that makes a span of each call and measures it. next carries
// the calls; nil stands for one like that which package wecom uses by itself.
func (t *Telemetry) Transport(next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = newTransport()
	}
	return &transport{t, next}
}

// newTransport repeats package wecom's, which says why: an old release of this module
// must build with any newer one of that.
func newTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			if r.URL.Scheme != "https" {
				return nil, nil
			}
			return http.ProxyFromEnvironment(r)
		},
		DialContext:            (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    3 * time.Second,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 32 << 10,
		DisableCompression:     true,
		Protocols:              protocols,
	}
}

type transport struct {
	*Telemetry
	next http.RoundTripper
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	op := operation(r.URL.Path)
	ctx, span := t.tracer.Start(r.Context(), "wecom "+op, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		operationKey.String(op),
		attribute.String("http.request.method", method(r.Method)),
		attribute.String("server.address", r.URL.Hostname()),
	))
	began := time.Now()
	res, err := t.next.RoundTrip(r.WithContext(ctx))

	result := []attribute.KeyValue{operationKey.String(op)}
	if res != nil {
		result = append(result, attribute.Int("http.response.status_code", res.StatusCode))
	}
	var once sync.Once
	end := func(err error) {
		once.Do(func() {
			if err != nil {
				// Never its text: that may hold the URL.
				result = append(result, attribute.String("error.type", fmt.Sprintf("%T", err)))
			}
			if err != nil || res != nil && res.StatusCode != http.StatusOK {
				span.SetStatus(codes.Error, "")
			}
			span.SetAttributes(result...)
			t.callTime.Record(ctx, time.Since(began).Seconds(), metric.WithAttributes(result...))
			span.End()
		})
	}
	if err != nil || res == nil || res.Body == nil {
		end(err)
		return res, err
	}
	res.Body = &body{res.Body, end}
	return res, nil
}

// A body ends its call when it was read, failed or was closed.
type body struct {
	io.ReadCloser
	end func(error)
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch err {
	case nil:
	case io.EOF:
		b.end(nil)
	default:
		b.end(err)
	}
	return n, err
}

func (b *body) Close() error {
	defer b.end(nil)
	return b.ReadCloser.Close()
}

var anOperation = regexp.MustCompile(`^[0-9A-Za-z_-]{1,40}(/[0-9A-Za-z_-]{1,40}){0,4}$`)

// operation is a path as WeCom's documentation names what is called.
func operation(path string) string {
	op := strings.TrimPrefix(strings.TrimPrefix(path, "/"), "cgi-bin/")
	if anOperation.MatchString(op) {
		return op
	}
	return "other"
}

func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodPost:
		return m
	}
	return "_OTHER"
}
