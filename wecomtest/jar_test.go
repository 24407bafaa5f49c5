package wecomtest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/wecomauth/wecom/wecomtest"
)

// echo answers with the Cookie header that it got.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	for _, line := range r.URL.Query()["set"] {
		w.Header().Add("Set-Cookie", line)
	}
	_, _ = w.Write([]byte(r.Header.Get("Cookie")))
})

func TestJarAccepts(t *testing.T) {
	long := strings.Repeat("x", 4095)
	tests := []struct {
		from string
		line string
		want bool
	}{
		{"https://app.example.com/", "a=1", true},
		{"https://app.example.com/", "a=1; Secure", true},
		{"https://app.example.com/", `a="b, c d"; HttpOnly`, true},
		{"https://app.example.com/", "novalue", true},
		{"https://app.example.com/", "", false},
		{"https://app.example.com/", "=", false},
		{"https://app.example.com/", "a=1\x00", false},
		{"https://app.example.com/", "a" + "=" + long, true},
		{"https://app.example.com/", "aa" + "=" + long, false},
		{"http://app.example.com/", "a=1; Secure", false},
		{"http://127.0.0.1:8080/", "a=1; Secure", false},
		{"http://127.0.0.1:8080/", "a=1", true},

		{"https://app.example.com/", "a=1; Domain=app.example.com", true},
		{"https://app.example.com/", "a=1; Domain=.example.com", true},
		{"https://app.example.com/", "a=1; Domain=EXAMPLE.com", true},
		{"https://app.example.com/", "a=1; Domain=com", false},
		{"https://app.example.com/", "a=1; Domain=other.example.com", false},
		{"https://app.example.com/", "a=1; Domain=x.app.example.com", false},
		{"https://app.example.com/", "a=1; Domain=le.com", false},
		{"https://www.example.com.cn/", "a=1; Domain=com.cn", false},
		{"https://www.example.com.cn/", "a=1; Domain=example.com.cn", true},
		{"http://localhost:8080/", "a=1; Domain=localhost", true},
		{"http://127.0.0.1/", "a=1; Domain=0.0.1", false},

		{"https://app.example.com/", "__Host-a=1; Secure; Path=/", true},
		{"https://app.example.com/", "__Host-a=1; Path=/", false},
		{"https://app.example.com/", "__Host-a=1; Secure", false},
		{"https://app.example.com/", "__Host-a=1; Secure; Path=/x", false},
		{"https://app.example.com/", "__Host-a=1; Secure; Path=/; Domain=app.example.com", false},
		{"https://app.example.com/", "__hOST-a=1; Path=/", false},
		{"http://app.example.com/", "__Host-a=1; Secure; Path=/", false},
		{"https://app.example.com/", "__Secure-a=1; Secure; Domain=example.com", true},
		{"https://app.example.com/", "__Secure-a=1", false},
		{"https://app.example.com/", "=__Host-a=1; Secure; Path=/", false},
		{"https://app.example.com/", "__Secure-a", false},

		{"https://app.example.com/", "a=1; SameSite=None", false},
		{"https://app.example.com/", "a=1; SameSite=None; Secure", true},
		{"https://app.example.com/", "a=1; SameSite=Strict", true},
		{"https://app.example.com/", "a=1; SameSite=odd", true},
	}
	for _, tt := range tests {
		b := wecomtest.New().Browser(origin, echo)
		assert.Equal(t, tt.want, b.SetCookie(tt.from, tt.line), "%s: %.60s", tt.from, tt.line)
		n := 0
		if tt.want {
			n = 1
		}
		assert.Len(t, b.Cookies(tt.from), n, "%s: %.60s", tt.from, tt.line)
	}
}

func TestJarSends(t *testing.T) {
	const app = "https://app.example.com"
	tests := []struct {
		name string
		set  [][2]string // from, line
		to   string
		want string
	}{
		{"host only", [][2]string{{app, "a=1"}}, "https://x.app.example.com/", ""},
		{"domain", [][2]string{{app, "a=1; Domain=example.com"}}, "https://other.example.com/", "a=1"},
		{"port does not matter", [][2]string{{app, "a=1"}}, app + ":8443/", "a=1"},
		{"secure", [][2]string{{app, "a=1; Secure"}, {app, "b=2"}}, "http://app.example.com/", "b=2"},
		{"path", [][2]string{{app, "a=1; Path=/x"}}, app + "/x/y?z", "a=1"},
		{"path of another name", [][2]string{{app, "a=1; Path=/x"}}, app + "/xy", ""},
		{"path with a slash", [][2]string{{app, "a=1; Path=/x/"}}, app + "/x", ""},
		{"default path", [][2]string{{app + "/x/y", "a=1"}}, app + "/x/z", "a=1"},
		{"default path, elsewhere", [][2]string{{app + "/x/y", "a=1"}}, app + "/z", ""},
		{"path that is none", [][2]string{{app + "/x/y", "a=1; Path=z"}}, app + "/x/", "a=1"},
		{"longer paths first, then older ones", [][2]string{{app, "a=1; Path=/"}, {app, "b=2; Path=/x"}, {app, "c=3; Path=/"}, {app, "a=4; Path=/"}}, app + "/x", "b=2; a=4; c=3"},
		{"same name by two domains", [][2]string{{app, "a=1"}, {"https://x.example.com", "a=2; Domain=example.com"}}, app + "/", "a=1; a=2"},
		{"quotes stay", [][2]string{{app, `a="1 2"`}}, app + "/", `a="1 2"`},
		{"nameless", [][2]string{{app, "x"}, {app, "=y"}}, app + "/", "y"},
		{"deleted", [][2]string{{app, "a=1"}, {app, "a=; Max-Age=0"}}, app + "/", ""},
		{"deleted by date", [][2]string{{app, "a=1"}, {app, "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}}, app + "/", ""},
		{"old form of date", [][2]string{{app, "a=1; Expires=Thu, 01-Jan-1970 00:00:00 GMT"}}, app + "/", ""},
		{"age before date", [][2]string{{app, "a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}}, app + "/", "a=1"},
		{"bad age", [][2]string{{app, "a=1; Max-Age=x; Expires=x"}}, app + "/", "a=1"},
		{"not from http over a secure one", [][2]string{{app, "a=1; Secure"}, {"http://app.example.com", "a=2"}}, app + "/", "a=1"},
		{"attribute too long", [][2]string{{app, "a=1; Path=/" + strings.Repeat("x", 1024)}}, app + "/", "a=1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := wecomtest.New().Browser(app, echo).
				Serve("https://x.app.example.com", echo).Serve("https://other.example.com", echo).
				Serve("https://app.example.com:8443", echo).Serve("http://app.example.com", echo)
			for _, s := range tt.set {
				b.SetCookie(s[0], s[1])
			}
			res := b.Get(tt.to)
			assert.NoError(t, res.Err)
			assert.Equal(t, tt.want, res.Body)
		})
	}
}

func TestJarSameSite(t *testing.T) {
	all := func(b *wecomtest.Browser) *wecomtest.Browser {
		for _, line := range []string{"s=1; SameSite=Strict", "l=1; SameSite=Lax", "d=1", "n=1; SameSite=None; Secure"} {
			b.SetCookie(origin, line)
		}
		return b.Serve("https://evil.test", http.RedirectHandler(origin+"/from-evil", http.StatusFound)).
			Serve("https://www.example.com", http.RedirectHandler(origin+"/from-sibling", http.StatusTemporaryRedirect))
	}
	now := time.Now()
	fake := wecomtest.New()
	fake.SetClock(func() time.Time { return now })
	tests := []struct {
		name string
		do   func(*wecomtest.Browser) *wecomtest.Response
		want string
	}{
		{"typed", func(b *wecomtest.Browser) *wecomtest.Response { return b.Get("/") }, "s=1; l=1; d=1; n=1"},
		{"own link", func(b *wecomtest.Browser) *wecomtest.Response { return b.From(origin).Click("/") }, "s=1; l=1; d=1; n=1"},
		{"own form", func(b *wecomtest.Browser) *wecomtest.Response { return b.Post("/") }, "s=1; l=1; d=1; n=1"},
		{"own script", func(b *wecomtest.Browser) *wecomtest.Response { return b.Fetch("POST", "/", "") }, "s=1; l=1; d=1; n=1"},
		{"sibling's form", func(b *wecomtest.Browser) *wecomtest.Response {
			return b.From("https://www.example.com").Post(origin + "/")
		}, "s=1; l=1; d=1; n=1"},
		{"sibling's redirect of a form", func(b *wecomtest.Browser) *wecomtest.Response {
			return b.From(origin).Post("https://www.example.com/")
		}, "s=1; l=1; d=1; n=1"},
		{"stranger's link", func(b *wecomtest.Browser) *wecomtest.Response {
			return b.From("https://evil.test").Click(origin + "/")
		}, "l=1; d=1; n=1"},
		{"stranger's form, fresh default cookie", func(b *wecomtest.Browser) *wecomtest.Response {
			return b.From("https://evil.test").Post(origin + "/")
		}, "d=1; n=1"},
		{"stranger's form", func(b *wecomtest.Browser) *wecomtest.Response {
			now = now.Add(3 * time.Minute)
			return b.From("https://evil.test").Post(origin + "/")
		}, "n=1"},
		{"same name under http is another site", func(b *wecomtest.Browser) *wecomtest.Response {
			return b.From("http://app.example.com").Post(origin + "/")
		}, "d=1; n=1"},
		{"redirected by a stranger", func(b *wecomtest.Browser) *wecomtest.Response { return b.Get("https://evil.test/") }, "l=1; d=1; n=1"},
		{"own link by way of a stranger", func(b *wecomtest.Browser) *wecomtest.Response {
			return b.From(origin).Click("https://evil.test/")
		}, "l=1; d=1; n=1"},
		{"blocked", func(b *wecomtest.Browser) *wecomtest.Response { return b.BlockCookies(true).Get("/") }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := tt.do(all(fake.Browser(origin, echo)))
			assert.NoError(t, res.Err)
			assert.Equal(t, tt.want, res.Body)
		})
	}
}

func TestJarThirdParty(t *testing.T) {
	b := wecomtest.New().Browser(origin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Add("Set-Cookie", "a=1; SameSite=None; Secure")
		_, _ = w.Write([]byte("[" + r.Header.Get("Cookie") + "]"))
	}))
	b.SetCookie(origin, "n=1; SameSite=None; Secure")
	res := b.From("https://evil.test").Fetch("GET", origin+"/", "")
	assert.Equal(t, "[]", res.Body, "a plain fetch sends no cookies elsewhere")
	assert.Len(t, b.Cookies(""), 1, "nor takes them")
	assert.Equal(t, "[n=1]", b.BlockCookies(false).Get("/").Body)
}

func TestJarLimitsAndTime(t *testing.T) {
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	fake := wecomtest.New()
	fake.SetClock(func() time.Time { return now })
	b := fake.Browser(origin, echo)
	b.Get("/?set=a%3D1%3B+Max-Age%3D60&set=b%3D2&set=c%3D3%3B+Max-Age%3D99999999999&set=d%3D4%3B+Expires%3DFri,+01+Jan+2100+00:00:00+GMT")
	names := func() (s string) {
		for _, c := range b.Cookies("") {
			s += c.Name
		}
		return s
	}
	assert.Equal(t, "abcd", names())
	now = now.Add(time.Minute)
	assert.Equal(t, "bcd", names())
	now = now.Add(400 * 24 * time.Hour)
	assert.Equal(t, "b", names(), "no cookie lives longer than 400 days")
	b.DropCookies()
	assert.Empty(t, names())

	for i := range 200 {
		b.SetCookie(origin, strings.Repeat("x", i+1)+"=1")
	}
	kept := b.Cookies("")
	assert.Len(t, kept, 180)
	assert.Len(t, kept[0].Name, 21, "the oldest are gone")

	b.DropCookies()
	b.SetCookie(origin, "full=v; Domain=example.com; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60")
	assert.Equal(t, "full=v; Path=/; Domain=example.com; Expires="+now.Add(time.Minute).UTC().Format(http.TimeFormat)+"; HttpOnly; Secure; SameSite=Lax", b.Cookies("")[0].String())
}
