package routers_test

import (
	"net/http"
	"testing"

	"github.com/beego/beego/v2/server/web"
	beecontext "github.com/beego/beego/v2/server/web/context"
	khttp "github.com/go-kratos/kratos/v2/transport/http"
	"github.com/gogf/gf/v2/frame/g"
	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/util/guid"
	"github.com/zeromicro/go-zero/rest"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// Around the whole router, the built-in routes need no line of their own; go-zero's
// middleware runs for routes that are registered.
func TestAroundEverything(t *testing.T) {
	for name, app := range map[string]func(*wecom.Middleware) http.Handler{
		"Kratos": func(auth *wecom.Middleware) http.Handler {
			srv := khttp.NewServer(khttp.Filter(auth.Handler))
			srv.HandleFunc("/", who)
			return srv
		},
		"GoFrame": func(auth *wecom.Middleware) http.Handler {
			s := g.Server(guid.S())
			t.Cleanup(func() { _ = s.Shutdown() })
			s.BindHandler("/", ghttp.WrapF(who))
			s.SetHandler(auth.Handler(http.HandlerFunc(s.ServeHTTP)).ServeHTTP)
			started(s)
			return http.HandlerFunc(s.GetHandler())
		},
		"beego": func(auth *wecom.Middleware) http.Handler {
			server := web.NewHttpSever()
			server.Get("/", func(c *beecontext.Context) { who(c.ResponseWriter, c.Request) })
			server.Handlers.Init()
			return auth.Handler(server.Handlers) // as server.Run does with its middlewares
		},
		"go-zero": func(auth *wecom.Middleware) http.Handler {
			server := newServer()
			server.Use(rest.ToMiddleware(auth.Handler))
			server.AddRoute(rest.Route{Method: "GET", Path: "/", Handler: who})
			server.AddRoute(rest.Route{Method: "GET", Path: "/wecom/:route", Handler: http.NotFound})
			return handlerOf(server)
		},
	} {
		t.Run(name, func(t *testing.T) {
			fake := wecomtest.New()
			auth, err := wecom.New(fake.Options("https://app.example.com/wecom/callback"))
			if err != nil {
				t.Fatal(err)
			}
			res := fake.Browser("https://app.example.com", app(auth)).SignInAs("zhangsan").Get("/")
			if res.Status != 200 || res.Body != "zhangsan" {
				t.Fatalf("got %d %q", res.Status, res.Body)
			}
		})
	}
}
