package wecom_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What the own routes for browsers answer to each method.
func TestOwnRoutes(t *testing.T) {
	w := newWorld(t)
	in := w.signedIn("zhangsan").Cookies("/")
	for _, tt := range []struct {
		method, target string
		status         int
		allow          string
		location       string
	}{
		{"GET", "/wecom/login", 302, "", webPage},
		{"HEAD", "/wecom/login", 204, "", ""},
		{"POST", "/wecom/login", 405, "GET, HEAD", ""},
		{"DELETE", "/wecom/login", 405, "GET, HEAD", ""},
		{"GET", "/wecom/logout", 405, "POST", ""},
		{"HEAD", "/wecom/logout", 405, "POST", ""},
		{"DELETE", "/wecom/logout", 405, "POST", ""},
		{"GET", "/wecom/signed-out", 200, "", ""},
		{"HEAD", "/wecom/signed-out", 200, "", ""},
		{"POST", "/wecom/signed-out", 405, "GET, HEAD", ""},
		{"GET", "/wecom/attempt", 405, "POST", ""},
		{"OPTIONS", "/wecom/attempt", 405, "POST", ""},
		{"OPTIONS", "/wecom/session", 405, "GET, HEAD, POST, DELETE", ""},
		{"PUT", "/wecom/session", 405, "GET, HEAD, POST, DELETE", ""},
	} {
		for _, cookies := range [][]*http.Cookie{nil, in} {
			t.Run(fmt.Sprintf("%s %s, signed in %t", tt.method, tt.target, cookies != nil), func(t *testing.T) {
				r := with(request(tt.method, tt.target), cookies)
				res := do(w.app, r)
				assert.Equal(t, tt.status, res.Code)
				assert.Equal(t, tt.allow, res.Header().Get("Allow"))
				assert.Equal(t, tt.location, mustParse(t, res.Header().Get("Location")).Path)
				assert.Equal(t, tt.location != "", res.Header()["Set-Cookie"] != nil)
				assert.Equal(t, "no-store", res.Header().Get("Cache-Control"))
				if tt.method == "HEAD" {
					assert.Empty(t, res.Body.String())
				}
				if cookies != nil {
					r = request("GET", "/")
					with(r, cookies)
					assert.Equal(t, 200, do(w.app, r).Code, "still signed in")
				}
			})
		}
	}
	t.Run("somebody who is signed in may sign in again, as somebody else", func(t *testing.T) {
		b := w.signedIn("zhangsan")
		assert.Equal(t, `hello "lisi" true /x`, b.SignInAs("lisi").Get("/wecom/login?return_to=/x").Body)
	})
}

// A page of another site's must not sign its visitors in anew by an image.
func TestLoginOnlyAsAPage(t *testing.T) {
	m := fixed(t)
	for dest, status := range map[string]int{"": 302, "document": 302, "iframe": 302, "frame": 302, "image": 403, "script": 403, "object": 403, "empty": 403} {
		r := request("GET", "/wecom/login")
		if dest != "" {
			r.Header.Set("Sec-Fetch-Dest", dest)
		}
		res := do(m.Routes(), r)
		assert.Equal(t, status, res.Code, dest)
		assert.Equal(t, status == 302, res.Header().Get("Set-Cookie") != "", dest)
	}
}
