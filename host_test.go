package wecom_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom"
)

// A second host name does not work, and the log says so once. A Host that is not
// CallbackURL's is no fault by itself: proxies rewrite it.
func TestAttemptsThatBeginAtAnotherHost(t *testing.T) {
	const other = "https://other.example.com"
	cases := []struct {
		name   string
		origin string            // where the browser opens a page
		change map[string]string // what a proxy makes of it
		block  bool              // cookies
		logged string            // the other host, "" for no line
	}{
		{name: "the callback's host", origin: site},
		{name: "the callback's host, cookies blocked", origin: site, block: true},
		{name: "another one", origin: other, logged: "other.example.com"},
		{name: "another one, which a proxy tells", origin: other, change: map[string]string{"Host": "127.0.0.1:8080", "X-Forwarded-Host": "other.example.com:443"}, logged: "other.example.com"},
		{name: "another one, which somebody else claims", origin: other, change: map[string]string{"X-Forwarded-Host": "evil.example", "from": "192.0.2.1:1"}, logged: "other.example.com"},
		{name: "rewritten", origin: site, change: map[string]string{"Host": "127.0.0.1:8080"}},
		{name: "rewritten, and cookies blocked", origin: site, change: map[string]string{"Host": "127.0.0.1:8080", "X-Forwarded-Host": "app.example.com"}, block: true},
		{name: "spelt in another way", origin: site, change: map[string]string{"Host": "APP.example.com:8443"}, block: true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, func(o *wecom.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")} })
			proxy := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				r.RemoteAddr = "10.0.0.1:1"
				for name, value := range tc.change {
					switch name {
					case "Host":
						r.Host = value
					case "from":
						r.RemoteAddr = value
					default:
						r.Header.Set(name, value)
					}
				}
				w.app.ServeHTTP(rw, r)
			})
			b := w.fake.Browser(site, w.app).Serve(tc.origin, proxy).SignInAs("zhangsan").BlockCookies(tc.block)
			for range 3 {
				b.Get(tc.origin + "/page")
			}
			line := "began at a host that is not CallbackURL's"
			if tc.logged == "" {
				assert.NotContains(t, w.logs.String(), line)
				return
			}
			assert.Equal(t, 1, strings.Count(w.logs.String(), line))
			assert.Contains(t, w.logs.String(), "host="+tc.logged+" callback_host=app.example.com")
		})
	}
}
