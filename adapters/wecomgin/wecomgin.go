// Package wecomgin puts the WeCom sign-in of package wecom into a gin engine.
//
//	auth, err := wecom.New(wecom.Options{…})
//	…
//	r := gin.New()
//	r.Use(gin.Logger(), gin.Recovery(), wecomgin.Handler(auth))
//	r.GET("/reports", func(c *gin.Context) {
//		id, _ := wecomgin.Identity(c)
//		c.String(http.StatusOK, "Hello, %s!", id.UserID)
//	})
//
// The engine answers 404 for paths without a route after its own middleware has
// run, so that the own routes (/wecom/callback and so on) are served by
// Handler without being registered, as long as it stands in Use of the engine.
// In a group, register them, and the files of Options.DomainProof:
//
//	r.Any("/wecom/*rest", gin.WrapH(auth.Routes()))
//	r.GET("/WW_verify_AbCd1234.txt", gin.WrapH(auth.Routes()))
//
// With gin's own context, wecom.FromContext(c) compiles and finds nobody, unless
// the engine's ContextWithFallback is set: write [Identity](c), or
// wecom.FromContext(c.Request.Context()).
package wecomgin

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/wecomauth/wecom"
)

// Handler is [wecom.Middleware.Handler] for gin: the handlers behind it run for people
// who are signed in only; for everybody else the chain is aborted and answered.
func Handler(m *wecom.Middleware) gin.HandlerFunc { return adapt(m.Handler) }

// Optional is [wecom.Middleware.Optional] for gin: the handlers behind it run in
// either case, and [Identity] tells whether somebody is signed in.
func Optional(m *wecom.Middleware) gin.HandlerFunc { return adapt(m.Optional) }

// Require is [wecom.Middleware.Require] for gin: a guard for single routes and groups.
func Require(m *wecom.Middleware, authorize wecom.Authorizer) gin.HandlerFunc {
	return adapt(m.Require(authorize))
}

// Identity returns who is signed in. ok is false if nobody is, or if none of this
// package's handlers stands before.
func Identity(c *gin.Context) (id wecom.Identity, ok bool) {
	if c.Request == nil {
		return wecom.Identity{}, false
	}
	return wecom.FromContext(c.Request.Context())
}

// A passage is one request on its way through the middleware and back into gin.
type passage struct {
	c      *gin.Context
	passed bool
}

type passageKey struct{}

// adapt makes a gin handler of a middleware, which is built once and finds its
// way back to gin through the request's context.
func adapt(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	h := middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.Context().Value(passageKey{}).(*passage)
		p.passed = true
		p.c.Request = r
		if inner, ok := w.(gin.ResponseWriter); ok {
			p.c.Writer = inner // the very one that came in
		} else {
			defer func(outer gin.ResponseWriter) { p.c.Writer = outer }(p.c.Writer)
			p.c.Writer = &writer{p.c.Writer, w}
		}
		p.c.Next()
	}))
	return func(c *gin.Context) {
		p := &passage{c: c}
		h.ServeHTTP(c.Writer, c.Request.WithContext(context.WithValue(c.Request.Context(), passageKey{}, p)))
		if !p.passed {
			c.Abort()
		}
	}
}

// A writer stands in while the application's scs session was loaded by the
// middleware: what is written goes through scs's writer, which saves the
// session first. Everything else is gin's own.
type writer struct {
	gin.ResponseWriter
	through http.ResponseWriter
}

func (w *writer) Write(p []byte) (int, error) { return w.through.Write(p) }

func (w *writer) WriteString(s string) (int, error) { return w.through.Write([]byte(s)) }

func (w *writer) WriteHeaderNow() {
	if !w.Written() {
		w.through.WriteHeader(w.Status())
	}
	w.ResponseWriter.WriteHeaderNow()
}

func (w *writer) Flush() {
	w.WriteHeaderNow()
	w.ResponseWriter.Flush()
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
