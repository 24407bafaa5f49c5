package wecomecho_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/adapters/wecomecho"
	"github.com/wecomauth/wecom/internal/routertest"
	"github.com/wecomauth/wecom/wecomtest"
)

func TestEcho(t *testing.T) {
	routertest.Run(t, func(_ *testing.T, s routertest.Setup) http.Handler {
		e := echo.New()
		e.Logger.SetOutput(io.Discard)
		e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c echo.Context) error {
				if err := next(c); err != nil {
					c.Error(err)
				}
				s.Seen(c.Request().URL.Path, c.Response().Status)
				return nil
			}
		})
		e.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{DisablePrintStack: true, LogErrorFunc: func(_ echo.Context, err error, _ []byte) error { return err }}))
		e.GET("/public", func(c echo.Context) error { return c.String(200, "public") })
		e.GET("/optional", who, wecomecho.Optional(s.Auth))

		g := e.Group("", wecomecho.Handler(s.Auth))
		g.Any("/wecom/*", echo.WrapHandler(s.Auth.Routes()))
		g.GET(routertest.Proof, echo.WrapHandler(s.Auth.Routes()))
		g.GET("/who", who)
		g.GET("/std", func(c echo.Context) error {
			id, _ := wecom.FromContext(c.Request().Context())
			return c.String(200, id.UserID)
		})
		g.GET("/admin", func(c echo.Context) error { return c.String(200, "admin") }, wecomecho.Require(s.Auth, s.Admins))
		g.POST("/echo", func(c echo.Context) error { return c.Stream(200, "text/plain", c.Request().Body) })
		g.GET("/teapot", func(c echo.Context) error { return c.String(http.StatusTeapot, "short and stout") })
		g.GET("/panic", func(echo.Context) error { panic("on purpose") })
		g.GET("/stream", func(c echo.Context) error {
			w := c.Response()
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: one\n\n")
			w.Flush()
			<-s.More
			fmt.Fprint(w, "data: two\n\n")
			return nil
		})
		g.GET("/upgrade", echo.WrapHandler(http.HandlerFunc(routertest.Upgrade)))
		g.GET("/deep/*", func(c echo.Context) error { return c.String(200, c.Request().RequestURI) })
		g.GET("/count", func(c echo.Context) error {
			ctx := c.Request().Context()
			n := s.Manager.GetInt(ctx, "n") + 1
			s.Manager.Put(ctx, "n", n)
			return c.String(200, fmt.Sprint(n))
		})
		return e
	})
}

func who(c echo.Context) error {
	id, ok := wecomecho.Identity(c)
	if !ok {
		id.UserID = "nobody"
	}
	return c.String(200, id.UserID)
}

func newAuth(t *testing.T) (*wecomtest.Fake, *wecom.Middleware) {
	fake := wecomtest.New()
	o := fake.Options("https://app.example.com/wecom/callback")
	o.Logger = slog.New(slog.DiscardHandler)
	auth, err := wecom.New(o)
	assert.NoError(t, err)
	return fake, auth
}

func TestErrorsReachEcho(t *testing.T) {
	fake, auth := newAuth(t)
	e := echo.New()
	cause := errors.New("the handler's own")
	var got error
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		got = err
		_ = c.NoContent(http.StatusBadGateway)
	}
	e.Use(wecomecho.Handler(auth))
	e.GET("/", func(echo.Context) error { return cause })
	res := fake.Browser("https://app.example.com", e).SignInAs("zhangsan").Get("/")
	assert.Equal(t, http.StatusBadGateway, res.Status)
	assert.Equal(t, cause, got)
}

func TestTheResponseIsEchos(t *testing.T) {
	fake, auth := newAuth(t)
	e := echo.New()
	var outside, inside *echo.Response
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			outside = c.Response()
			return next(c)
		}
	}, wecomecho.Handler(auth))
	e.GET("/", func(c echo.Context) error {
		inside = c.Response()
		return c.String(200, "x")
	})
	assert.Equal(t, 200, fake.Browser("https://app.example.com", e).SignInAs("zhangsan").Get("/").Status)
	assert.Same(t, outside, inside)
	assert.Equal(t, int64(1), outside.Size)
}

func Example() {
	fake := wecomtest.New()
	auth, _ := wecom.New(fake.Options("https://app.example.com/wecom/callback"))

	e := echo.New()
	e.Use(middleware.Recover(), wecomecho.Handler(auth))
	e.GET("/", func(c echo.Context) error {
		id, _ := wecomecho.Identity(c)
		return c.String(http.StatusOK, "Hello, "+id.UserID+"!")
	})

	res := fake.Browser("https://app.example.com", e).SignInAs("zhangsan").Get("/")
	fmt.Println(res.Body)
	// Output: Hello, zhangsan!
}
