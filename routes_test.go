package wecom_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
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
	} {
		for _, cookies := range [][]*http.Cookie{nil, in} {
			t.Run(fmt.Sprintf("%s %s, signed in %t", tt.method, tt.target, cookies != nil), func(t *testing.T) {
				r := request(tt.method, tt.target)
				for _, c := range cookies {
					r.AddCookie(c)
				}
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
					for _, c := range cookies {
						r.AddCookie(c)
					}
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

// T14: failed sign-ins are counted by client, and X-Forwarded-For says who that is
// only if the peer is a trusted proxy.
func TestT14_WhoseFailuresCount(t *testing.T) {
	tests := []struct {
		desc         string
		peer, xff    string // of those who fail
		peer2, xff2  string // of somebody after them
		sameCustomer bool
	}{
		{"the same peer", "203.0.113.9:1", "", "203.0.113.9:2", "", true},
		{"another peer", "203.0.113.9:1", "", "203.0.113.10:1", "", false},
		{"an untrusted peer's header changes nothing", "203.0.113.9:1", "198.51.100.1", "203.0.113.9:1", "198.51.100.2", true},
		{"an untrusted peer cannot blame another", "203.0.113.9:1", "198.51.100.1", "198.51.100.1:1", "", false},
		{"behind a proxy", "10.0.0.1:1", "198.51.100.1", "10.0.0.2:1", "198.51.100.1", true},
		{"behind a proxy, another client", "10.0.0.1:1", "198.51.100.1", "10.0.0.1:1", "198.51.100.2", false},
		{"behind two proxies", "10.0.0.1:1", "198.51.100.1, 10.9.9.9", "10.0.0.1:1", "198.51.100.1", true},
		{"what a client puts in front is not believed", "10.0.0.1:1", "1.1.1.1, 198.51.100.1", "10.0.0.1:1", "2.2.2.2, 198.51.100.1", true},
		{"what cannot be read ends the chain", "10.0.0.1:1", "198.51.100.1, unknown", "10.0.0.1:1", "198.51.100.2, unknown", true},
		{"no header from a proxy", "10.0.0.1:1", "", "10.0.0.1:1", "", true},
		{"IPv6: a customer has a /64", "[2001:db8::1]:1", "", "[2001:db8::ffff]:1", "", true},
		{"IPv6: another /64", "[2001:db8::1]:1", "", "[2001:db8:0:1::1]:1", "", false},
		{"IPv6 with a zone", "[fe80::1%eth0]:1", "", "[fe80::2%eth1]:1", "", true},
		{"IPv4 in IPv6", "[::ffff:203.0.113.9]:1", "", "203.0.113.9:1", "", true},
		{"a proxy, IPv4 in IPv6", "[::ffff:10.0.0.1]:1", "::ffff:198.51.100.1", "10.0.0.1:1", "198.51.100.1", true},
		{"a Unix socket", "@", "", "@", "", true},
	}
	for _, tt := range tests {
		exact(t, tt.desc, func(t *testing.T) {
			m := fixed(t, func(o *wecom.Options) {
				o.Provider = &rejecting{}
				o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			})
			h := m.Routes()
			n := 0
			fail := func(peer, xff string) int {
				start := do(h, request("GET", "/wecom/login"))
				n++
				r := request("GET", fmt.Sprintf("/wecom/callback?code=%d&state=%s", n, stateIn(start.Header().Get("Location"))))
				r.RemoteAddr = peer
				if xff != "" {
					for hop := range strings.SplitSeq(xff, ", ") { // one line each: they are one list
						r.Header.Add("X-Forwarded-For", hop)
					}
				}
				for _, c := range start.Result().Cookies() {
					r.AddCookie(c)
				}
				return do(h, r).Code
			}
			for range perClient {
				require.Equal(t, 302, fail(tt.peer, tt.xff))
			}
			require.Equal(t, 429, fail(tt.peer, tt.xff))
			want := 302
			if tt.sameCustomer {
				want = 429
			}
			assert.Equal(t, want, fail(tt.peer2, tt.xff2))
		})
	}
	exact(t, "and so does the whole process", func(t *testing.T) {
		p := &rejecting{}
		m := fixed(t, func(o *wecom.Options) { o.Provider = p })
		h := m.Routes()
		refused := 0
		for i := range unmarked + 100 {
			start := do(h, request("GET", "/wecom/login"))
			r := request("GET", fmt.Sprintf("/wecom/callback?code=%d&state=%s", i, stateIn(start.Header().Get("Location"))))
			r.RemoteAddr = fmt.Sprintf("198.51.%d.%d:1", i>>8, i&255)
			for _, c := range start.Result().Cookies() {
				r.AddCookie(c)
			}
			if do(h, r).Code == 429 {
				refused++
			}
		}
		assert.Equal(t, 100, refused, "WeCom locks an address after some 2,000")
	})
}

// rejecting is a provider at which no code is any good.
type rejecting struct{}

func (*rejecting) App() wecom.App                      { return fixedProvider{}.App() }
func (*rejecting) AuthorizeURL(a wecom.Attempt) string { return fixedProvider{}.AuthorizeURL(a) }
func (*rejecting) Identify(context.Context, string) (wecom.Identity, error) {
	return wecom.Identity{}, wecom.ErrStartOver
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
