package routers_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/gogf/gf/v2/net/ghttp"
	"github.com/gogf/gf/v2/os/gsession"
	"github.com/gogf/gf/v2/util/guid"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/internal/routertest"
	"github.com/wecomauth/wecom/wecomtest"
)

// goframe makes a middleware of GoFrame's of one of net/http's. What the latter
// answers goes through GoFrame's buffer, so that GoFrame knows the status.
func goframe(middleware func(http.Handler) http.Handler) ghttp.HandlerFunc {
	return func(r *ghttp.Request) {
		middleware(http.HandlerFunc(func(_ http.ResponseWriter, in *http.Request) {
			r.SetCtx(in.Context())
			r.Middleware.Next()
		})).ServeHTTP(r.Response.BufferWriter, r.Request)
	}
}

func Example_goFrame() {
	fake := wecomtest.New()
	auth, _ := wecom.New(fake.Options("https://app.example.com/wecom/callback"))

	s := ghttp.GetServer(guid.S())
	s.BindHandler("/public", func(r *ghttp.Request) { r.Response.Write("for everybody") })
	s.Group("/", func(group *ghttp.RouterGroup) {
		group.Middleware(goframe(auth.Handler))
		group.ALL("/wecom/*", ghttp.WrapH(auth.Routes()))
		group.GET("/", func(r *ghttp.Request) {
			id, _ := wecom.FromContext(r.Context())
			r.Response.Write(id.UserID)
		})
		group.Group("/admin", func(group *ghttp.RouterGroup) {
			group.Middleware(goframe(auth.Require(allow.Users("zhangsan"))))
			group.GET("/", func(r *ghttp.Request) { r.Response.Write("for admins") })
		})
	})

	show(fake, started(s), "/public", "/", "/admin") // instead of s.Run()
	// Output:
	// zhangsan: 200 for everybody, 200 zhangsan, 200 for admins
	// lisi: 200 for everybody, 200 lisi, 403
}

func TestGoFrame(t *testing.T) {
	routertest.Run(t, func(t *testing.T, setup routertest.Setup) http.Handler {
		s := ghttp.GetServer(guid.S())
		s.Use(func(r *ghttp.Request) {
			r.Middleware.Next()
			setup.Seen(r.URL.Path, r.Response.Status)
		})
		who := func(r *ghttp.Request) {
			id, ok := wecom.FromContext(r.Context())
			if !ok {
				id.UserID = "nobody"
			}
			r.Response.Write(id.UserID)
		}
		s.BindHandler("/public", func(r *ghttp.Request) { r.Response.Write("public") })
		s.Group("/optional", func(group *ghttp.RouterGroup) {
			group.Middleware(goframe(setup.Auth.Optional))
			group.GET("/", who)
		})
		s.Group("/", func(group *ghttp.RouterGroup) {
			group.Middleware(goframe(setup.Auth.Handler))
			group.ALL("/wecom/*", ghttp.WrapH(setup.Auth.Routes()))
			group.ALL(routertest.Proof, ghttp.WrapH(setup.Auth.Routes()))
			group.GET("/who", who)
			group.GET("/std", func(r *ghttp.Request) {
				id, _ := wecom.FromContext(r.Request.Context())
				r.Response.Write(id.UserID)
			})
			group.Group("/admin", func(group *ghttp.RouterGroup) {
				group.Middleware(goframe(setup.Auth.Require(setup.Admins)))
				group.GET("/", func(r *ghttp.Request) { r.Response.Write("admin") })
			})
			group.POST("/echo", func(r *ghttp.Request) {
				body, _ := io.ReadAll(r.Body)
				r.Response.Write(body)
			})
			group.GET("/teapot", func(r *ghttp.Request) { r.Response.WriteStatus(http.StatusTeapot, "short and stout") })
			group.GET("/panic", func(*ghttp.Request) { panic("on purpose") })
			group.GET("/stream", ghttp.WrapF(stream(setup)))
			group.GET("/upgrade", ghttp.WrapF(routertest.Upgrade))
			group.GET("/deep/*rest", func(r *ghttp.Request) { r.Response.Write(r.RequestURI) })
			group.GET("/count", func(r *ghttp.Request) {
				n := setup.Manager.GetInt(r.Context(), "n") + 1
				setup.Manager.Put(r.Context(), "n", n)
				r.Response.Write(n)
			})
		})
		t.Cleanup(func() { _ = s.Shutdown() })
		return started(s)
	})
}

// started returns a server's handler. GoFrame builds its routes at the start.
func started(s *ghttp.Server) http.Handler {
	s.SetDumpRouterMap(false)
	s.SetErrorLogEnabled(false)
	s.Logger().SetStdoutPrint(false)
	s.SetAddr("127.0.0.1:0")
	s.SetSessionStorage(gsession.NewStorageMemory())
	if err := s.Start(); err != nil {
		panic(err)
	}
	return s
}
