package routers_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/beego/beego/v2/core/logs"
	"github.com/beego/beego/v2/server/web"
	beecontext "github.com/beego/beego/v2/server/web/context"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/internal/routertest"
	"github.com/wecomauth/wecom/wecomtest"
)

func init() { logs.SetLevel(logs.LevelEmergency) }

// beego makes a filter chain of beego's of a middleware of net/http's.
func beego(middleware func(http.Handler) http.Handler) web.FilterChain {
	return func(next web.FilterFunc) web.FilterFunc {
		return func(c *beecontext.Context) {
			out := c.ResponseWriter
			middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c.Request = r
				if w != http.ResponseWriter(out) { // the application's scs session is saved through it
					c.ResponseWriter = &beecontext.Response{ResponseWriter: w}
				}
				next(c)
			})).ServeHTTP(out, c.Request)
			c.ResponseWriter = out
		}
	}
}

func Example_beego() {
	fake := wecomtest.New()
	auth, _ := wecom.New(fake.Options("https://app.example.com/app/wecom/callback"))

	server := web.NewHttpSever()
	server.Get("/public", func(c *beecontext.Context) { c.WriteString("for everybody") })
	server.InsertFilterChain("/app/*", beego(auth.Handler))
	server.InsertFilterChain("/app/admin/*", beego(auth.Require(allow.Users("zhangsan"))))
	server.Get("/app", func(c *beecontext.Context) {
		id, _ := wecom.FromContext(c.Request.Context())
		c.WriteString(id.UserID)
	})
	server.Get("/app/admin", func(c *beecontext.Context) { c.WriteString("for admins") })

	server.Handlers.Init() // and what serves; instead of server.Run("127.0.0.1:8080")
	show(fake, server.Handlers, "/public", "/app", "/app/admin")
	// Output:
	// zhangsan: 200 for everybody, 200 zhangsan, 200 for admins
	// lisi: 200 for everybody, 200 lisi, 403
}

func TestBeego(t *testing.T) {
	routertest.Run(t, func(_ *testing.T, s routertest.Setup) http.Handler {
		server := web.NewHttpSever()
		server.InsertFilterChain("/*", func(next web.FilterFunc) web.FilterFunc {
			return func(c *beecontext.Context) {
				next(c)
				s.Seen(c.Request.URL.Path, c.ResponseWriter.Status)
			}
		})
		who := func(c *beecontext.Context) {
			id, ok := wecom.FromContext(c.Request.Context())
			if !ok {
				id.UserID = "nobody"
			}
			c.WriteString(id.UserID)
		}
		server.Get("/public", func(c *beecontext.Context) { c.WriteString("public") })
		server.InsertFilterChain("/optional", beego(s.Auth.Optional))
		server.Get("/optional", who)
		for _, path := range []string{"/wecom/*", routertest.Proof, "/who", "/std", "/admin", "/echo", "/teapot", "/panic", "/stream", "/upgrade", "/deep/*", "/count", "/missing"} {
			server.InsertFilterChain(path, beego(s.Auth.Handler))
		}
		server.InsertFilterChain("/admin", beego(s.Auth.Require(s.Admins)))
		server.Get("/who", who)
		server.Get("/std", who)
		server.Get("/admin", func(c *beecontext.Context) { c.WriteString("admin") })
		server.Post("/echo", func(c *beecontext.Context) { _, _ = io.Copy(c.ResponseWriter, c.Request.Body) })
		server.Get("/teapot", func(c *beecontext.Context) {
			c.ResponseWriter.WriteHeader(http.StatusTeapot)
			c.WriteString("short and stout")
		})
		server.Get("/panic", func(*beecontext.Context) { panic("on purpose") })
		server.Handler("/stream", stream(s))
		server.Handler("/upgrade", http.HandlerFunc(routertest.Upgrade))
		server.Get("/deep/*", func(c *beecontext.Context) { c.WriteString(c.Request.RequestURI) })
		server.Get("/count", func(c *beecontext.Context) {
			n := s.Manager.GetInt(c.Request.Context(), "n") + 1
			s.Manager.Put(c.Request.Context(), "n", n)
			c.WriteString(fmt.Sprint(n))
		})
		server.Handlers.Init()
		return server.Handlers
	})
}
