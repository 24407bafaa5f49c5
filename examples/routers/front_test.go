package routers_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"testing"

	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/routertest"
)

// front is net/http's side of a program whose server is of another kind: a reverse
// proxy to a listener in memory, which nobody else can reach. The header says who is
// signed in; one that a browser sends is dropped.
func front(app *fasthttputil.InmemoryListener) http.Handler {
	return &httputil.ReverseProxy{
		Transport:     &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return app.Dial() }},
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "app", r.In.Host
			r.Out.Header.Del("X-Wecom-User-Id")
			if id, ok := wecom.FromContext(r.In.Context()); ok {
				r.Out.Header.Set("X-Wecom-User-Id", id.UserID)
			}
		},
	}
}

// site is what routertest asks for, with the program behind net/http.
func site(t *testing.T, s routertest.Setup, app *fasthttputil.InmemoryListener) http.Handler {
	behind := front(app)
	t.Cleanup(func() { _ = app.Close() })
	mux := http.NewServeMux()
	mux.Handle("GET /public", behind)
	mux.Handle("GET /optional", s.Auth.Optional(behind))
	mux.Handle("GET /admin", s.Auth.Require(s.Admins)(behind))
	mux.Handle("GET /count", s.Auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := s.Manager.GetInt(r.Context(), "n") + 1 // the application's session is net/http's too
		s.Manager.Put(r.Context(), "n", n)
		fmt.Fprint(w, n)
	})))
	mux.Handle("/", s.Auth.Handler(behind))
	return logged(mux, s.Seen)
}

func logged(next http.Handler, seen func(string, int)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &statusWriter{w, http.StatusOK}
		next.ServeHTTP(rec, r)
		seen(r.URL.Path, rec.status)
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
