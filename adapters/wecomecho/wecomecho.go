// Package wecomecho puts the WeCom sign-in of package wecom into an echo server.
//
//	auth, err := wecom.New(wecom.Options{…})
//	…
//	e := echo.New()
//	e.Use(middleware.Logger(), middleware.Recover(), wecomecho.Handler(auth))
//	e.GET("/reports", func(c echo.Context) error {
//		id, _ := wecomecho.Identity(c)
//		return c.String(http.StatusOK, "Hello, "+id.UserID+"!")
//	})
//
// What stands in Use of the server runs for paths without a route too, so that
// the own routes (/wecom/callback and so on) are served without being registered. In a
// group, register them, and the files of Options.DomainProof:
//
//	e.Any("/wecom/*", echo.WrapHandler(auth.Routes()))
//	e.GET("/WW_verify_AbCd1234.txt", echo.WrapHandler(auth.Routes()))
package wecomecho

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/wecomauth/wecom"
)

// Handler is [wecom.Middleware.Handler] for echo: the handlers behind it run for people
// who are signed in only; everybody else is answered.
func Handler(m *wecom.Middleware) echo.MiddlewareFunc { return adapt(m.Handler) }

// Optional is [wecom.Middleware.Optional] for echo: the handlers behind it run in
// either case, and [Identity] tells whether somebody is signed in.
func Optional(m *wecom.Middleware) echo.MiddlewareFunc { return adapt(m.Optional) }

// Require is [wecom.Middleware.Require] for echo: a guard for single routes and groups.
func Require(m *wecom.Middleware, authorize wecom.Authorizer) echo.MiddlewareFunc {
	return adapt(m.Require(authorize))
}

// Identity returns who is signed in. ok is false if nobody is, or if none of this
// package's middlewares stands before.
func Identity(c echo.Context) (id wecom.Identity, ok bool) {
	return wecom.FromContext(c.Request().Context())
}

// A passage is one request on its way through the middleware and back into echo.
type passage struct {
	c    echo.Context
	next echo.HandlerFunc
	err  error
}

type passageKey struct{}

// adapt makes an echo middleware of an ordinary one, which is built once and
// finds its way back to echo through the request's context.
func adapt(middleware func(http.Handler) http.Handler) echo.MiddlewareFunc {
	h := middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.Context().Value(passageKey{}).(*passage)
		p.c.SetRequest(r)
		// Another writer stands here while the application's scs session was loaded
		// by the middleware: what is written has to go through it.
		if w != http.ResponseWriter(p.c.Response()) {
			p.c.SetResponse(echo.NewResponse(w, p.c.Echo()))
		}
		p.err = p.next(p.c)
	}))
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			p := &passage{c: c, next: next}
			ctx := context.WithValue(c.Request().Context(), passageKey{}, p)
			h.ServeHTTP(c.Response(), c.Request().WithContext(ctx))
			return p.err
		}
	}
}
