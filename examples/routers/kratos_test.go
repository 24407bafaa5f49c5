package routers_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	khttp "github.com/go-kratos/kratos/v2/transport/http"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/internal/routertest"
	"github.com/wecomauth/wecom/wecomtest"
)

func Example_kratos() {
	fake := wecomtest.New()
	auth, _ := wecom.New(fake.Options("https://app.example.com/wecom/callback"))

	srv := khttp.NewServer(khttp.Timeout(15 * time.Second)) // the default of 1 s may end a sign-in
	srv.HandlePrefix("/wecom/", auth.Routes())
	srv.Handle("/public", text("for everybody"))
	pages := srv.Route("/", auth.Handler)
	pages.GET("/", func(c khttp.Context) error {
		id, _ := wecom.FromContext(c)
		return c.String(200, id.UserID)
	})
	pages.GET("/admin", func(c khttp.Context) error { return c.String(200, "for admins") }, auth.Require(allow.Users("zhangsan")))

	show(fake, srv, "/public", "/", "/admin")
	// Output:
	// zhangsan: 200 for everybody, 200 zhangsan, 200 for admins
	// lisi: 200 for everybody, 200 lisi, 403
}

func TestKratos(t *testing.T) {
	routertest.Run(t, func(_ *testing.T, s routertest.Setup) http.Handler {
		srv := khttp.NewServer(
			khttp.Timeout(15*time.Second),
			khttp.NotFoundHandler(http.NotFoundHandler()),
			khttp.Filter(func(next http.Handler) http.Handler { return logged(quietRecoverer(next), s.Seen) }),
		)
		who := func(c khttp.Context) error {
			id, ok := wecom.FromContext(c)
			if !ok {
				id.UserID = "nobody"
			}
			return c.String(200, id.UserID)
		}
		srv.Handle("/public", text("public"))
		srv.Route("/", s.Auth.Optional).GET("/optional", who)
		srv.HandlePrefix("/wecom/", s.Auth.Routes())
		srv.Handle(routertest.Proof, s.Auth.Routes())
		g := srv.Route("/", s.Auth.Handler)
		g.GET("/who", who)
		g.GET("/std", func(c khttp.Context) error {
			id, _ := wecom.FromContext(c.Request().Context())
			return c.String(200, id.UserID)
		})
		g.GET("/admin", func(c khttp.Context) error { return c.String(200, "admin") }, s.Auth.Require(s.Admins))
		g.POST("/echo", func(c khttp.Context) error {
			body, _ := io.ReadAll(c.Request().Body)
			return c.Blob(200, "text/plain", body)
		})
		g.GET("/teapot", func(c khttp.Context) error { return c.String(http.StatusTeapot, "short and stout") })
		g.GET("/panic", func(khttp.Context) error { panic("on purpose") })
		g.GET("/stream", func(c khttp.Context) error {
			stream(s)(c.Response(), c.Request())
			return nil
		})
		g.GET("/upgrade", func(c khttp.Context) error {
			routertest.Upgrade(c.Response(), c.Request())
			return nil
		})
		g.GET("/deep/{rest:.*}", func(c khttp.Context) error { return c.String(200, c.Request().RequestURI) })
		g.GET("/count", func(c khttp.Context) error {
			n := s.Manager.GetInt(c, "n") + 1
			s.Manager.Put(c, "n", n)
			return c.String(200, fmt.Sprint(n))
		})
		return srv
	})
}
