package routers_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/zeromicro/go-zero/core/conf"
	"github.com/zeromicro/go-zero/rest"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/internal/routertest"
	"github.com/wecomauth/wecom/wecomtest"
)

func Example_goZero() {
	fake := wecomtest.New()
	auth, _ := wecom.New(fake.Options("https://app.example.com/wecom/callback"))
	signedIn := rest.ToMiddleware(auth.Handler)
	admins := rest.ToMiddleware(auth.Require(allow.Users("zhangsan")))

	server := newServer()
	server.AddRoutes([]rest.Route{ // the default timeout of 3 s may end a sign-in
		{Method: "GET", Path: "/wecom/:route", Handler: auth.Routes().ServeHTTP},
		{Method: "POST", Path: "/wecom/:route", Handler: auth.Routes().ServeHTTP},
		{Method: "DELETE", Path: "/wecom/:route", Handler: auth.Routes().ServeHTTP},
	}, rest.WithTimeout(15*time.Second))
	server.AddRoute(rest.Route{Method: "GET", Path: "/public", Handler: text("for everybody").ServeHTTP})
	server.AddRoutes(rest.WithMiddleware(signedIn, []rest.Route{
		{Method: "GET", Path: "/", Handler: who},
		{Method: "GET", Path: "/admin", Handler: admins(text("for admins").ServeHTTP)},
	}...))

	show(fake, handlerOf(server), "/public", "/", "/admin") // instead of server.Start()
	// Output:
	// zhangsan: 200 for everybody, 200 zhangsan, 200 for admins
	// lisi: 200 for everybody, 200 lisi, 403
}

func TestGoZero(t *testing.T) {
	routertest.Run(t, func(_ *testing.T, s routertest.Setup) http.Handler {
		server := newServer()
		server.Use(rest.ToMiddleware(func(next http.Handler) http.Handler { return logged(next, s.Seen) }))
		get := func(path string, h http.HandlerFunc) rest.Route {
			return rest.Route{Method: "GET", Path: path, Handler: h}
		}
		server.AddRoute(get("/public", text("public").ServeHTTP))
		server.AddRoute(get("/optional", rest.ToMiddleware(s.Auth.Optional)(who)))
		server.AddRoutes([]rest.Route{
			get("/wecom/:route", s.Auth.Routes().ServeHTTP),
			{Method: "POST", Path: "/wecom/:route", Handler: s.Auth.Routes().ServeHTTP},
			{Method: "DELETE", Path: "/wecom/:route", Handler: s.Auth.Routes().ServeHTTP},
			get(routertest.Proof, s.Auth.Routes().ServeHTTP),
		}, rest.WithTimeout(15*time.Second))
		target := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) }
		server.AddRoutes(rest.WithMiddleware(rest.ToMiddleware(s.Auth.Handler), []rest.Route{
			get("/who", who),
			get("/std", who),
			get("/admin", rest.ToMiddleware(s.Auth.Require(s.Admins))(text("admin").ServeHTTP)),
			{Method: "POST", Path: "/echo", Handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }},
			get("/teapot", func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusTeapot)
				fmt.Fprint(w, "short and stout")
			}),
			get("/panic", func(http.ResponseWriter, *http.Request) { panic("on purpose") }),
			get("/stream", stream(s)),
			get("/upgrade", routertest.Upgrade),
			get("/deep/:a", target),
			get("/deep/:a/:b", target), // an escaped slash separates too
			get("/count", count(s)),
		}...))
		return handlerOf(server)
	})
}

func newServer() *rest.Server {
	var c rest.RestConf
	if err := conf.FillDefault(&c); err != nil {
		panic(err)
	}
	c.CpuThreshold = 0 // sheds no load when the machine of the tests is busy
	c.Log.Level, c.Log.Stat = "severe", false
	return rest.MustNewServer(c)
}

func handlerOf(server *rest.Server) http.Handler {
	s, err := rest.NewServerless(server)
	if err != nil {
		panic(err)
	}
	return http.HandlerFunc(s.Serve)
}
