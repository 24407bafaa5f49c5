package wecom_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/vectors"
	"github.com/wecomauth/wecom/internal/whatwg"
)

// A door is an application on a real port of loopback, spoken to byte by byte.
type door struct {
	socket
	origin string
	codes  atomic.Int64
	idle   chan line
}

func newDoor(t testing.TB) *door {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	d := &door{socket: socket{srv.Listener.Addr().String()}, origin: "http://" + srv.Listener.Addr().String(), idle: make(chan line, 16)}
	m := fixed(t, func(o *wecom.Options) { o.CallbackURL = d.origin + "/wecom/callback" })
	srv.Config.Handler = m.Handler(hello())
	srv.Start()
	t.Cleanup(srv.Close)
	return d
}

// send uses a connection again unless what was sent on it may have been two requests.
func (d *door) send(t testing.TB, raw string) rawResponse {
	t.Helper()
	var l line
	select {
	case l = <-d.idle:
	default:
		l = d.line(t)
	}
	res := l.send(t, raw)
	if res.Close || strings.Count(raw, "\n") != strings.Count(raw, "\r\n") || strings.Count(raw, "\r\n\r\n") > 1 {
		l.Close()
		return res
	}
	select {
	case d.idle <- l:
	default:
		l.Close()
	}
	return res
}

// through sends a request that may start a sign-in and, if it does, signs in. It
// returns the bytes of the Location that the sign-in ends with, and whether it came
// to that. Whatever else was answered must not lead away either.
func (d *door) through(t testing.TB, raw string) (location string, signedIn bool) {
	start := d.send(t, raw)
	assert.Empty(t, start.Header["X-Injected"], "%q", raw)
	to, ok := start.location()
	if !ok {
		return "", false
	}
	if !strings.HasPrefix(to, "https://idp.example/?state=") {
		assert.True(t, whatwg.SameOrigin(d.origin+"/", to), "%q leads to %q", raw, to)
		return "", false
	}
	done := d.send(t, fmt.Sprintf("GET /wecom/callback?code=c%d&state=%s HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n\r\n",
		d.codes.Add(1), stateIn(to), d.addr, cookieHeader(start.Cookies())))
	require.Equal(t, 303, done.StatusCode, "%q: %s", raw, done.body)
	location, ok = done.location()
	require.True(t, ok, "%q", raw)
	return location, true
}

func stateIn(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return ""
	}
	return u.Query().Get("state")
}

// each runs f for every vector, some at a time, and returns how many it accepted.
func each(list []string, f func(vector string) bool) int {
	var wg sync.WaitGroup
	var accepted atomic.Int64
	slots := make(chan struct{}, 8)
	for _, v := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if f(v) {
				accepted.Add(1)
			}
		})
	}
	wg.Wait()
	return int(accepted.Load())
}

func (d *door) stays(t *testing.T, vector, location string) {
	if !whatwg.SameOrigin(d.origin+"/wecom/callback?code=1&state=2", location) {
		assert.Fail(t, "leaves the origin", "%q became Location %q", vector, location)
	}
}

func TestT1_B1_RedirectsByReturnTo(t *testing.T) {
	list := vectors.Redirects()
	require.GreaterOrEqual(t, len(list), 2000)
	d := newDoor(t)
	n := each(list, func(v string) bool {
		location, ok := d.through(t, "GET /wecom/login?return_to="+url.QueryEscape(v)+" HTTP/1.1\r\nHost: "+d.addr+"\r\n\r\n")
		d.stays(t, v, location)
		return ok
	})
	assert.Equal(t, len(list), n, "each of them signs in, somewhere on this site")
}

func TestT2_B1_RedirectsByRequestTarget(t *testing.T) {
	d := newDoor(t)
	n := each(vectors.Redirects(), func(v string) bool {
		location, ok := d.through(t, "GET "+v+" HTTP/1.1\r\nHost: "+d.addr+"\r\nAccept: text/html\r\n\r\n")
		if ok {
			d.stays(t, v, location)
		}
		return ok
	})
	assert.Greater(t, n, 500, "the server lets many of them through")
	for _, v := range []string{"http://evil.example/x", "HTTPS://evil.example//x", "//evil.example/%2e%2e", "http://evil.example//evil.example"} {
		location, ok := d.through(t, "GET "+v+" HTTP/1.1\r\nHost: "+d.addr+"\r\nAccept: text/html\r\n\r\n")
		assert.True(t, ok, v)
		d.stays(t, v, location)
	}
}

// The other ways in which a target comes in and goes out: JSON, HEAD, Refresh, a page's button.
func TestT1_RedirectsByScriptsAndPages(t *testing.T) {
	m := fixed(t)
	h := m.Handler(hello())
	for i, v := range vectors.Redirects() {
		body, err := json.Marshal(map[string]string{"return_to": v})
		require.NoError(t, err)
		r := httptest.NewRequest("POST", site+"/wecom/attempt", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		start := do(h, r)
		if len(body) > 4096 {
			require.Equal(t, 413, start.Code)
			continue
		}
		require.Equal(t, 200, start.Code)
		var minted struct{ State string }
		require.NoError(t, json.Unmarshal(start.Body.Bytes(), &minted))
		r = request("GET", fmt.Sprintf("/wecom/callback?code=s%d&state=%s", i, minted.State))
		with(r, start.Result().Cookies())
		done := do(h, r)
		require.Equal(t, 303, done.Code)
		assert.True(t, whatwg.SameOrigin(site+"/", done.Header().Get("Location")), "%q", v)

		r = request("HEAD", "/")
		r.RequestURI = v
		head := do(h, r).Header().Get("Location")
		assert.True(t, head == "/wecom/login" || strings.HasPrefix(head, "/wecom/login?return_to=%2F") && !strings.ContainsAny(head, "<>\"' \r\n\\"), "%q: %q", v, head)

		r = request("GET", "/")
		r.RequestURI = v
		r.Header.Set("Accept", "*/*")
		refresh := do(h, r).Header().Get("Refresh")
		assert.True(t, refresh == "0; url=/wecom/login" || strings.HasPrefix(refresh, "0; url=/wecom/login?return_to=%2F") && !strings.ContainsAny(refresh[len("0; url="):], "<>\"' \r\n\\,;"), "%q: %q", v, refresh)
	}
}

func TestT4_B2_DeepLinksSurvive(t *testing.T) {
	d := newDoor(t)
	links := vectors.DeepLinks()
	require.GreaterOrEqual(t, len(links), 12)
	asTarget := 0
	for _, link := range links {
		location, ok := d.through(t, "GET /wecom/login?return_to="+url.QueryEscape(link)+" HTTP/1.1\r\nHost: "+d.addr+"\r\n\r\n")
		assert.True(t, ok, link)
		assert.Equal(t, link, location, "by return_to")

		if strings.Contains(link, "#") {
			continue // no browser sends a fragment
		}
		asTarget++
		location, ok = d.through(t, "GET "+link+" HTTP/1.1\r\nHost: "+d.addr+"\r\nAccept: text/html\r\n\r\n")
		assert.True(t, ok, link)
		assert.Equal(t, link, location, "as the page that was asked for")
	}
	assert.Greater(t, asTarget, 50)

	t.Run("in a browser, through WeCom", func(t *testing.T) {
		w := newWorld(t)
		for _, link := range links {
			b := w.browser()
			asked := b.Get(link)
			require.Equal(t, 200, asked.Status, "%s: %v", link, asked.Err)
			first, last := asked.Hops[0].URL, asked.Hops[len(asked.Hops)-1].URL
			assert.Equal(t, strings.SplitN(first, "#", 2)[0], strings.SplitN(last, "#", 2)[0], link)

			b.DropCookies()
			b.StopAt(isCallback)
			callback := b.Get(w.auth.LoginURL(link))
			b.StopAt(nil)
			done := b.GetNoFollow(callback.URL)
			assert.Equal(t, link, done.Header.Get("Location"))
		}
	})
	t.Run("too long for a cookie", func(t *testing.T) {
		for n, want := range map[int]bool{1000: true, 1001: false, 8000: false} {
			link := "/" + strings.Repeat("x", n-1)
			location, ok := d.through(t, "GET "+link+" HTTP/1.1\r\nHost: "+d.addr+"\r\nAccept: text/html\r\n\r\n")
			assert.True(t, ok)
			assert.Equal(t, want, location == link)
			if !want {
				assert.Equal(t, "/", location)
			}
		}
	})
}

// A target in absolute form, as proxies send it, names the same page.
func TestReturnToATargetInAbsoluteForm(t *testing.T) {
	for _, mount := range []string{"", "/app"} {
		m := fixed(t, func(o *wecom.Options) { o.CallbackURL, o.MountPath = site+mount+"/wecom/callback", mount })
		for code, prefix := range []string{"", mount} { // a proxy takes it off, or http.StripPrefix does
			r := request("GET", "/deep/%2Fx?y=1")
			r.RequestURI = site + prefix + r.RequestURI
			start := do(m.Handler(hello()), r)
			back := request("GET", fmt.Sprintf("/wecom/callback?code=%d&state=%s", code, stateOf(t, start.Header().Get("Location"))))
			back.Header.Set("Cookie", cookieHeader(start.Result().Cookies()))
			assert.Equal(t, mount+"/deep/%2Fx?y=1", do(m.Routes(), back).Header().Get("Location"))
		}
	}
}

// An own route is no page to return to: the sign-in would begin again, or end.
func TestReturnToAnOwnRoute(t *testing.T) {
	m := fixed(t)
	mounted := fixed(t, func(o *wecom.Options) { o.CallbackURL, o.MountPath = site+"/app/wecom/callback", "/app" })
	for _, route := range []string{"login", "logout", "callback", "signed-out", "attempt", "session"} {
		for _, suffix := range []string{"", "?x=1", "#x", "/", "/.", "/x/..?x=1"} {
			// As browsers and proxies read them, all are the route.
			for _, folder := range []string{"/wecom/", "/./wecom/", "/wecom/./", "/wecom//", "/wecom/x/../", "/x/../wecom/", "/wecom/%2e/", "/wecom/x/%2E%2e/", "/%77ecom/", "/wecom%2f", "/wecom%5C", "/x%2Fy/../wecom/", "/x%5cy/%2e%2e/wecom/"} {
				assert.Equal(t, "/wecom/login", m.LoginURL(folder+route+suffix), folder+route+suffix)
				assert.Equal(t, "/app/wecom/login", mounted.LoginURL("/app"+folder+route+suffix), folder+route+suffix)
			}
		}
	}
	for _, page := range []string{"/wecom/", "/other/login", "/wecom/login/x", "/x?/wecom/login", "/wecom/%256cogin"} {
		assert.NotEqual(t, "/wecom/login", m.LoginURL(page), page)
	}
	assert.NotEqual(t, "/app/wecom/login", mounted.LoginURL("/wecom/login"), "another application's")
}

func TestHomePath(t *testing.T) {
	for home, want := range map[string]string{"": "/", "/start?x=1": "/start?x=1", "/开始": "/开始"} {
		m := fixed(t, func(o *wecom.Options) { o.HomePath = home })
		r := comeFrom(t, m.Routes(), "/wecom/login?return_to=//evil.example", "zhangsan")
		done := do(m.Routes(), r)
		assert.Equal(t, []string{want}, done.Header()["Location"])
	}
}

// Two return_to parameters are none, as everywhere where somebody may have appended one.
func TestT19_ReturnToTwice(t *testing.T) {
	m := fixed(t)
	r := comeFrom(t, m.Routes(), "/wecom/login?return_to=/a&return_to=/b", "zhangsan")
	assert.Equal(t, "/", do(m.Routes(), r).Header().Get("Location"))
}
