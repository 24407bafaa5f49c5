package routers_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/internal/routertest"
	"github.com/wecomauth/wecom/wecomtest"
)

func Example_chi() {
	fake := wecomtest.New()
	auth, _ := wecom.New(fake.Options("https://app.example.com/wecom/callback"))

	r := chi.NewRouter()
	r.Get("/public", text("for everybody").ServeHTTP)
	r.Group(func(r chi.Router) {
		r.Use(auth.Handler)
		r.Mount("/wecom", auth.Routes()) // a group's middleware runs for its routes only
		r.Get("/", who)
		r.With(auth.Require(allow.Users("zhangsan"))).Get("/admin", text("for admins").ServeHTTP)
	})

	show(fake, r, "/public", "/", "/admin")
	// Output:
	// zhangsan: 200 for everybody, 200 zhangsan, 200 for admins
	// lisi: 200 for everybody, 200 lisi, 403
}

func TestChi(t *testing.T) {
	routertest.Run(t, func(_ *testing.T, s routertest.Setup) http.Handler {
		r := chi.NewRouter()
		r.Use(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
				next.ServeHTTP(seen, r)
				s.Seen(r.URL.Path, seen.Status())
			})
		}, quietRecoverer)
		r.Get("/public", text("public").ServeHTTP)
		r.With(s.Auth.Optional).Get("/optional", who)
		r.Group(func(r chi.Router) {
			r.Use(s.Auth.Handler)
			r.Mount("/wecom", s.Auth.Routes())
			r.Handle(routertest.Proof, s.Auth.Routes())
			r.Get("/who", who)
			r.Get("/std", who)
			r.With(s.Auth.Require(s.Admins)).Get("/admin", text("admin").ServeHTTP)
			r.Post("/echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
			r.Get("/teapot", func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusTeapot)
				fmt.Fprint(w, "short and stout")
			})
			r.Get("/panic", func(http.ResponseWriter, *http.Request) { panic("on purpose") })
			r.Get("/stream", stream(s))
			r.Get("/upgrade", routertest.Upgrade)
			r.Get("/deep/*", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) })
			r.Get("/count", count(s))
		})
		return r
	})
}
