package chi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/routertest"
	"github.com/wecomauth/wecom/wecomtest"
)

func Example() {
	fake := wecomtest.New()
	auth, _ := wecom.New(fake.Options("https://app.example.com/wecom/callback"))
	admins := auth.Require(func(_ context.Context, _ *wecom.Client, id wecom.Identity) (bool, error) {
		return id.UserID == "zhangsan", nil
	})

	r := chi.NewRouter()
	r.Get("/public", text("for everybody").ServeHTTP)
	r.Group(func(r chi.Router) {
		r.Use(auth.Handler)
		r.Mount("/wecom", auth.Routes()) // a group's middleware runs for its routes only
		r.Get("/", who)
		r.With(admins).Get("/admin", text("for admins").ServeHTTP)
		r.Route("/teams/{team}", func(r chi.Router) {
			r.Get("/", func(w http.ResponseWriter, r *http.Request) {
				id, _ := wecom.FromContext(r.Context())
				fmt.Fprintf(w, "%s looks at %s", id.UserID, chi.URLParam(r, "team"))
			})
		})
	})

	b := fake.Browser("https://app.example.com", r).SignInAs("zhangsan")
	for _, path := range []string{"/public", "/", "/admin", "/teams/blue/"} {
		fmt.Println(b.Get(path).Body)
	}
	fmt.Println(b.SignInAs("lisi").Get("/wecom/login?return_to=/admin").Status)
	// Output:
	// for everybody
	// zhangsan
	// for admins
	// zhangsan looks at blue
	// 403
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
			r.Get("/stream", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprint(w, "data: one\n\n")
				if err := http.NewResponseController(w).Flush(); err != nil {
					panic(err)
				}
				<-s.More
				fmt.Fprint(w, "data: two\n\n")
			})
			r.Get("/deep/*", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) })
			r.Get("/count", func(w http.ResponseWriter, r *http.Request) {
				n := s.Manager.GetInt(r.Context(), "n") + 1
				s.Manager.Put(r.Context(), "n", n)
				fmt.Fprint(w, n)
			})
		})
		return r
	})
}

// quietRecoverer is middleware.Recoverer without the stack in the test's output.
func quietRecoverer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func who(w http.ResponseWriter, r *http.Request) {
	id, ok := wecom.FromContext(r.Context())
	if !ok {
		id.UserID = "nobody"
	}
	fmt.Fprint(w, id.UserID)
}

func text(body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
}
