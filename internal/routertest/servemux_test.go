package routertest_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/routertest"
)

// net/http's ServeMux needs no adapter.
func TestServeMux(t *testing.T) {
	routertest.Run(t, func(_ *testing.T, s routertest.Setup) http.Handler {
		who := func(w http.ResponseWriter, r *http.Request) {
			id, ok := wecom.FromContext(r.Context())
			if !ok {
				id.UserID = "nobody"
			}
			fmt.Fprint(w, id.UserID)
		}
		protected := http.NewServeMux()
		protected.HandleFunc("GET /who", who)
		protected.HandleFunc("GET /std", who)
		protected.Handle("GET /admin", s.Auth.Require(s.Admins)(text("admin")))
		protected.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
		protected.HandleFunc("GET /teapot", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprint(w, "short and stout")
		})
		protected.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("on purpose") })
		protected.HandleFunc("GET /stream", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: one\n\n")
			if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
			<-s.More
			fmt.Fprint(w, "data: two\n\n")
		})
		protected.HandleFunc("GET /upgrade", routertest.Upgrade)
		protected.HandleFunc("GET /deep/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) })
		protected.HandleFunc("GET /count", func(w http.ResponseWriter, r *http.Request) {
			n := s.Manager.GetInt(r.Context(), "n") + 1
			s.Manager.Put(r.Context(), "n", n)
			fmt.Fprint(w, n)
		})

		all := http.NewServeMux()
		all.Handle("GET /public", text("public"))
		all.Handle("GET /optional", s.Auth.Optional(http.HandlerFunc(who)))
		all.Handle("/wecom/", s.Auth.Routes())
		all.Handle(routertest.Proof, s.Auth.Routes())
		all.Handle("/", s.Auth.Handler(protected))
		return logAndRecover(all, s.Seen)
	})
}

func text(body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
}

// logAndRecover is what most programs on net/http have in some form.
func logAndRecover(next http.Handler, seen func(string, int)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			if recover() != nil {
				rec.WriteHeader(http.StatusInternalServerError)
			}
			seen(r.URL.Path, rec.status)
		}()
		next.ServeHTTP(rec, r)
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
