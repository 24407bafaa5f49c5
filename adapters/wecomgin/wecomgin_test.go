package wecomgin_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/adapters/wecomgin"
	"github.com/wecomauth/wecom/internal/routertest"
	"github.com/wecomauth/wecom/wecomtest"
)

func init() { gin.SetMode(gin.TestMode) }

func TestGin(t *testing.T) {
	routertest.Run(t, func(_ *testing.T, s routertest.Setup) http.Handler {
		r := gin.New()
		r.Use(func(c *gin.Context) {
			c.Next()
			s.Seen(c.Request.URL.Path, c.Writer.Status())
		})
		r.Use(gin.RecoveryWithWriter(io.Discard))
		r.GET("/public", func(c *gin.Context) { c.String(200, "public") })
		r.GET("/optional", wecomgin.Optional(s.Auth), who)
		g := r.Group("", wecomgin.Handler(s.Auth))
		g.Any("/wecom/*rest", gin.WrapH(s.Auth.Routes()))
		g.GET(routertest.Proof, gin.WrapH(s.Auth.Routes()))
		g.GET("/who", who)
		g.GET("/std", func(c *gin.Context) {
			id, _ := wecom.FromContext(c.Request.Context())
			c.String(200, id.UserID)
		})
		g.GET("/admin", wecomgin.Require(s.Auth, s.Admins), func(c *gin.Context) { c.String(200, "admin") })
		g.POST("/echo", func(c *gin.Context) {
			body, _ := io.ReadAll(c.Request.Body)
			c.Data(200, "text/plain", body)
		})
		g.GET("/teapot", func(c *gin.Context) { c.String(http.StatusTeapot, "short and stout") })
		g.GET("/panic", func(*gin.Context) { panic("on purpose") })
		g.GET("/stream", func(c *gin.Context) {
			c.Header("Content-Type", "text/event-stream")
			fmt.Fprint(c.Writer, "data: one\n\n")
			c.Writer.Flush()
			<-s.More
			fmt.Fprint(c.Writer, "data: two\n\n")
		})
		g.GET("/upgrade", gin.WrapF(routertest.Upgrade))
		g.GET("/deep/*rest", func(c *gin.Context) { c.String(200, "%s", c.Request.RequestURI) })
		g.GET("/count", func(c *gin.Context) {
			n := s.Manager.GetInt(c.Request.Context(), "n") + 1
			s.Manager.Put(c.Request.Context(), "n", n)
			c.String(200, "%d", n)
		})
		return r
	})
}

func who(c *gin.Context) {
	id, ok := wecomgin.Identity(c)
	if !ok {
		id.UserID = "nobody"
	}
	c.String(200, id.UserID)
}

// Gin's own context compiles where a context is wanted, and is silently empty.
func TestFromContextWithGinsOwnContext(t *testing.T) {
	for _, fallback := range []bool{false, true} {
		fake := wecomtest.New()
		auth, err := wecom.New(fake.Options("https://app.example.com/wecom/callback"))
		assert.NoError(t, err)
		r := gin.New()
		r.ContextWithFallback = fallback
		r.Use(wecomgin.Handler(auth))
		r.GET("/", func(c *gin.Context) {
			_, ok := wecom.FromContext(c)
			assert.Equal(t, fallback, ok)
			_, ok = wecomgin.Identity(c)
			assert.True(t, ok)
			c.Status(204)
		})
		res := fake.Browser("https://app.example.com", r).SignInAs("zhangsan").Get("/")
		assert.Equal(t, 204, res.Status)
	}
}

func TestTheWriterIsGins(t *testing.T) {
	fake := wecomtest.New()
	auth, err := wecom.New(fake.Options("https://app.example.com/wecom/callback"))
	assert.NoError(t, err)
	r := gin.New()
	var outside, inside gin.ResponseWriter
	r.Use(func(c *gin.Context) { outside = c.Writer }, wecomgin.Handler(auth))
	r.GET("/", func(c *gin.Context) {
		inside = c.Writer
		c.String(200, "x")
	})
	assert.Equal(t, 200, fake.Browser("https://app.example.com", r).SignInAs("zhangsan").Get("/").Status)
	assert.Same(t, outside, inside)
	assert.Equal(t, 1, outside.Size())
}

func TestIdentityWithoutARequest(t *testing.T) {
	_, ok := wecomgin.Identity(&gin.Context{})
	assert.False(t, ok)
}

func TestAnAbortedChainStaysAborted(t *testing.T) {
	fake := wecomtest.New()
	auth, err := wecom.New(fake.Options("https://app.example.com/wecom/callback"))
	assert.NoError(t, err)
	r := gin.New()
	ran := false
	r.Use(wecomgin.Handler(auth))
	r.GET("/", func(*gin.Context) { ran = true })
	res := fake.Browser("https://app.example.com", r).GetNoFollow("/")
	assert.Equal(t, 302, res.Status)
	assert.False(t, ran)
}

func Example() {
	fake := wecomtest.New()
	auth, _ := wecom.New(fake.Options("https://app.example.com/wecom/callback"))

	r := gin.New()
	r.Use(gin.Recovery(), wecomgin.Handler(auth))
	r.GET("/", func(c *gin.Context) {
		id, _ := wecomgin.Identity(c)
		c.String(http.StatusOK, "Hello, %s!", id.UserID)
	})

	res := fake.Browser("https://app.example.com", r).SignInAs("zhangsan").Get("/")
	fmt.Println(res.Body)
	// Output: Hello, zhangsan!
}
