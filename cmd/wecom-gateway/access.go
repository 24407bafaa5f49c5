package main

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"
)

// A response is the ResponseWriter of one request, with what the access log
// says of it. Everything that it does not do itself is found by Unwrap.
type response struct {
	http.ResponseWriter
	request  *http.Request
	body     body // of the request, if it is proxied
	status   int
	size     int64
	user     string
	query    string // of another proxy that asks: who may pass
	proxied  bool
	gone     bool // the client left before there was an answer
	bodiless bool // the answer is for a HEAD that another proxy asks about by a GET
}

func note(w http.ResponseWriter) *response { return w.(*response) }

func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		if status == http.StatusContinue {
			return // the body is read now, and net/http says so to the client
		}
		w.Header().Del("Set-Cookie") // of the upstream's early hints
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.status == 0 {
		w.status = status
		if w.bodiless {
			w.Header().Del("Content-Length")
		}
		// After early hints the proxy starts with empty headers.
		if h := w.Header(); w.proxied && !slices.Contains(h["Vary"], "Cookie") {
			h.Add("Vary", "Cookie")
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.size += int64(n)
	return n, err
}

func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.status = http.StatusSwitchingProtocols
	// ReverseProxy closes the upstream's end alone, and waits for both.
	context.AfterFunc(w.request.Context(), func() { _ = conn.Close() })
	return impatient{conn, time.Minute}, buffered, nil
}

// limitBody bounds the wait for the request's body. net/http wants the rest of it
// before it sends an answer, also an answer of ours that does not need it.
func (w *response) limitBody() {
	if w.request.ContentLength != 0 {
		_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(time.Now().Add(15 * time.Second))
	}
}

// done counts and logs a request. The path, the query and the cookies are left
// out: they may hold secrets.
func (g *gateway) done(w *response, r *http.Request, v *visit, began time.Time) {
	took := time.Since(began)
	if w.status == 0 && !w.gone {
		w.status = http.StatusOK
	}
	g.counts.request(v.route, w.status, took)
	if d := v.denied.Load(); d != nil {
		w.user = d.user
	}
	level := slog.LevelInfo
	if v.route == "healthz" || v.route == "readyz" {
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{
		slog.String("route", v.route),
		slog.String("method", r.Method[:min(len(r.Method), 20)]), // the client's own, up to a megabyte
		slog.Int("status", w.status),
		slog.Int64("size", w.size),
		slog.Float64("seconds", took.Seconds()),
		slog.String("user", w.user),
		slog.String("client", v.client),
	}
	if v.host != "" {
		attrs = append(attrs, slog.String("host", v.host))
	}
	g.log.LogAttrs(r.Context(), level, "request", attrs...)
}
