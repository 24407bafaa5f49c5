package wecom_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// Every page of ours says whose it is, whatever the name is made of, and its policy allows its style.
func TestAppNameAndContact(t *testing.T) {
	branded := func(o *wecom.Options) { o.AppName, o.Contact = `R&D <script>x()</script>`, "IT <b>desk</b>" }
	look := func(t *testing.T, res *wecomtest.Response) {
		t.Helper()
		require.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
		assert.Contains(t, res.Body, "R&amp;D &lt;script&gt;x()&lt;/script&gt;")
		assert.Contains(t, res.Body, "IT &lt;b&gt;desk&lt;/b&gt;")
		assert.NotContains(t, res.Body, "<script>x")
		assert.NotContains(t, res.Body, "<b>")
		style := regexp.MustCompile(`<style>(.*?)</style>`).FindStringSubmatch(res.Body)
		require.NotNil(t, style)
		sum := sha256.Sum256([]byte(style[1]))
		require.Len(t, res.Header["Content-Security-Policy"], 1)
		assert.Contains(t, res.Header.Get("Content-Security-Policy"), "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
	for _, tt := range failureCases() {
		if tt.json {
			continue
		}
		for _, hook := range []func(http.ResponseWriter, *http.Request, *wecom.Failure){
			nil, func(w http.ResponseWriter, r *http.Request, f *wecom.Failure) { f.ServeHTTP(w, r) },
		} {
			t.Run(tt.code, func(t *testing.T) {
				w := newWorld(t, func(o *wecom.Options) {
					branded(o)
					o.OnFailure = hook
					if tt.option != nil {
						tt.option(o)
					}
				})
				look(t, tt.happen(w))
			})
		}
	}
	t.Run("signed out", func(t *testing.T) {
		look(t, newWorld(t, branded).browser().Get("/wecom/signed-out"))
	})
	t.Run("panel", func(t *testing.T) {
		look(t, newWorld(t, branded, withLoginPanel).browser().Get("/x"))
	})
	t.Run("choice", func(t *testing.T) {
		w := newWorld(t, branded)
		look(t, w.fake.Browser(site, wecom.AnyOf(w.auth, w.auth)(hello())).Get("/x"))
	})
	t.Run("a handler's own Failure", func(t *testing.T) {
		w := newWorld(t, branded)
		app := w.auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			(&wecom.Failure{Status: 502, Code: "upstream_unavailable"}).ServeHTTP(w, r)
		}))
		res := w.fake.Browser(site, app).SignInAs("zhangsan").Get("/x")
		assert.Equal(t, 502, res.Status)
		look(t, res)
	})
	t.Run("JSON", func(t *testing.T) {
		assert.False(t, strings.Contains(newWorld(t, branded).browser().Fetch("GET", "/api", "").Body, "desk"))
	})
}
