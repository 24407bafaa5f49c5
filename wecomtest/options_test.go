package wecomtest_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// Outside of the process there are only sockets: a sign-in by them must work with either options.
func TestOptionsForARealBrowser(t *testing.T) {
	for name, options := range map[string]func(*wecomtest.Fake, *wecomtest.Server, string) wecom.Options{
		"server's": func(_ *wecomtest.Fake, s *wecomtest.Server, callback string) wecom.Options {
			return s.Options(callback)
		},
		"fake's with endpoints": func(f *wecomtest.Fake, s *wecomtest.Server, callback string) wecom.Options {
			o := f.Options(callback)
			o.Endpoints = s.Endpoints()
			return o
		},
	} {
		t.Run(name, func(t *testing.T) {
			fake := wecomtest.New()
			server, err := fake.Start("")
			require.NoError(t, err)
			defer server.Close()
			fake.SignInAs("zhangsan")
			var app http.Handler
			site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { app.ServeHTTP(w, r) }))
			defer site.Close()
			app = newApp(options(fake, server, site.URL+"/wecom/callback"))

			jar, _ := cookiejar.New(nil)
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Jar: jar}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL+"/reports", nil)
			require.NoError(t, err)
			r.Header.Set("Accept", "text/html")
			res, err := client.Do(r)
			require.NoError(t, err)
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			assert.Equal(t, "zhangsan looks at /reports", string(body))
		})
	}
}
