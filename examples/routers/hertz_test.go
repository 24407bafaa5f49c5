package routers_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/app/middlewares/server/recovery"
	"github.com/cloudwego/hertz/pkg/app/server"
	"github.com/cloudwego/hertz/pkg/common/hlog"
	"github.com/cloudwego/hertz/pkg/network"
	"github.com/cloudwego/hertz/pkg/network/standard"
	"github.com/cloudwego/hertz/pkg/protocol/http1/resp"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/internal/routertest"
	"github.com/wecomauth/wecom/wecomtest"
)

func init() { hlog.SetOutput(io.Discard) }

func Example_hertz() {
	fake := wecomtest.New()
	auth, _ := wecom.New(fake.Options("https://app.example.com/wecom/callback"))

	inMemory := fasthttputil.NewInmemoryListener()
	h := server.New(server.WithListener(inMemory), server.WithTransport(standard.NewTransporter))
	h.GET("/public", func(_ context.Context, c *app.RequestContext) { c.String(200, "for everybody") })
	h.GET("/", func(_ context.Context, c *app.RequestContext) { c.String(200, c.Request.Header.Get("X-Wecom-User-Id")) })
	h.GET("/admin", func(_ context.Context, c *app.RequestContext) { c.String(200, "for admins") })
	go h.Run()
	defer h.Close()

	behind := front(inMemory)
	mux := http.NewServeMux()
	mux.Handle("/public", behind)
	mux.Handle("/admin", auth.Require(allow.Users("zhangsan"))(behind))
	mux.Handle("/", auth.Handler(behind))

	show(fake, mux, "/public", "/", "/admin")
	// Output:
	// zhangsan: 200 for everybody, 200 zhangsan, 200 for admins
	// lisi: 200 for everybody, 200 lisi, 403
}

func TestHertz(t *testing.T) {
	routertest.Run(t, func(t *testing.T, s routertest.Setup) http.Handler {
		inMemory := fasthttputil.NewInmemoryListener()
		h := server.New(server.WithListener(inMemory), server.WithTransport(standard.NewTransporter))
		h.Use(recovery.Recovery())
		text := func(status int, body string) app.HandlerFunc {
			return func(_ context.Context, c *app.RequestContext) { c.String(status, "%s", body) }
		}
		who := func(_ context.Context, c *app.RequestContext) {
			c.String(200, "%s", cmp.Or(c.Request.Header.Get("X-Wecom-User-Id"), "nobody"))
		}
		h.GET("/public", text(200, "public"))
		h.GET("/optional", who)
		h.GET("/who", who)
		h.GET("/std", who)
		h.GET("/admin", text(200, "admin"))
		h.POST("/echo", func(_ context.Context, c *app.RequestContext) { c.Data(200, "text/plain", c.Request.Body()) })
		h.GET("/teapot", text(http.StatusTeapot, "short and stout"))
		h.GET("/panic", func(context.Context, *app.RequestContext) { panic("on purpose") })
		h.GET("/deep/*rest", func(_ context.Context, c *app.RequestContext) {
			c.String(200, "%s", c.Request.Header.RequestURI())
		})
		h.GET("/stream", func(_ context.Context, c *app.RequestContext) {
			c.Response.Header.Set("Content-Type", "text/event-stream")
			c.Response.HijackWriter(resp.NewChunkedBodyWriter(&c.Response, c.GetWriter()))
			fmt.Fprint(c, "data: one\n\n")
			_ = c.Flush()
			<-s.More
			fmt.Fprint(c, "data: two\n\n")
		})
		h.GET("/upgrade", func(_ context.Context, c *app.RequestContext) {
			c.Response.Header.Set("Connection", "Upgrade")
			c.Response.Header.Set("Upgrade", "websocket")
			c.SetStatusCode(http.StatusSwitchingProtocols)
			c.Hijack(func(conn network.Conn) { routertest.Talk(conn, conn) })
		})
		go h.Spin()
		t.Cleanup(func() { _ = h.Close() })
		return site(t, s, inMemory)
	})
}
