package routers_test

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"
	"github.com/gofiber/fiber/v3/middleware/recover"
	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/internal/routertest"
	"github.com/wecomauth/wecom/wecomtest"
)

func Example_fiber() {
	fake := wecomtest.New()
	auth, _ := wecom.New(fake.Options("https://app.example.com/wecom/callback"))

	app := fiber.New()
	app.Get("/public", func(c fiber.Ctx) error { return c.SendString("for everybody") })
	app.Get("/", func(c fiber.Ctx) error { return c.SendString(c.Get("X-Wecom-User-Id")) })
	app.Get("/admin", func(c fiber.Ctx) error { return c.SendString("for admins") })

	inMemory := fasthttputil.NewInmemoryListener()
	defer inMemory.Close()
	go app.Listener(inMemory, fiber.ListenConfig{DisableStartupMessage: true})

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

func TestFiber(t *testing.T) {
	routertest.Run(t, func(t *testing.T, s routertest.Setup) http.Handler {
		app := fiber.New()
		app.Use(recover.New())
		text := func(body string) fiber.Handler { return func(c fiber.Ctx) error { return c.SendString(body) } }
		who := func(c fiber.Ctx) error { return c.SendString(cmp.Or(c.Get("X-Wecom-User-Id"), "nobody")) }
		app.Get("/public", text("public"))
		app.Get("/optional", who)
		app.Get("/who", who)
		app.Get("/std", who)
		app.Get("/admin", text("admin"))
		app.Post("/echo", func(c fiber.Ctx) error { return c.Send(c.Body()) })
		app.Get("/teapot", func(c fiber.Ctx) error { return c.Status(http.StatusTeapot).SendString("short and stout") })
		app.Get("/panic", func(fiber.Ctx) error { panic("on purpose") })
		app.Get("/deep/*", func(c fiber.Ctx) error { return c.SendString(string(c.RequestCtx().RequestURI())) })
		app.Get("/stream", func(c fiber.Ctx) error {
			c.Set("Content-Type", "text/event-stream")
			return c.SendStreamWriter(func(w *bufio.Writer) {
				fmt.Fprint(w, "data: one\n\n")
				_ = w.Flush()
				<-s.More
				fmt.Fprint(w, "data: two\n\n")
			})
		})
		app.Get("/upgrade", func(c fiber.Ctx) error {
			c.Set("Connection", "Upgrade")
			c.Set("Upgrade", "websocket")
			c.RequestCtx().Hijack(func(conn net.Conn) { routertest.Talk(conn, conn) })
			return c.SendStatus(http.StatusSwitchingProtocols)
		})
		inMemory := fasthttputil.NewInmemoryListener()
		go func() { _ = app.Listener(inMemory, fiber.ListenConfig{DisableStartupMessage: true}) }()
		return site(t, s, inMemory)
	})
}

// Fiber's own adaptor takes a middleware of net/http's, but not one whose work may
// outlive the request, as a sign-in's does: the strings are overwritten by the
// next request. And of several headers of one name it keeps the last.
func TestFibersAdaptorIsNotEnough(t *testing.T) {
	var kept []string
	app := fiber.New()
	app.Use(adaptor.HTTPMiddleware(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			kept = append(kept, r.RequestURI)
			if n := len(r.Header["X-Many"]); n != 1 {
				t.Errorf("got %d headers of one name: the documentation says one", n)
			}
			next.ServeHTTP(w, r)
		})
	}))
	app.Get("/*", func(c fiber.Ctx) error { return c.SendString("x") })
	inMemory := fasthttputil.NewInmemoryListener()
	defer inMemory.Close()
	go func() { _ = app.Listener(inMemory, fiber.ListenConfig{DisableStartupMessage: true}) }()

	conn, err := inMemory.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for _, path := range []string{"/first", "/other"} {
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: app.example.com\r\nX-Many: 1\r\nX-Many: 2\r\n\r\n", path)
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
	if kept[0] == "/first" {
		t.Errorf("a string outlived its request: the documentation says that it does not")
	}
}
