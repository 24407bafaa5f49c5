package wecom_test

import (
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/wecomauth/wecom"
)

// A company's own page for failures, with its style sheet and logo, which are served to
// everybody. Programs go on getting JSON.
func ExampleFailure_ownPage() {
	page := template.Must(template.New("failure").Parse(`<!doctype html>
<link rel="stylesheet" href="/static/company.css">
<img src="/static/logo.svg" alt="Example Ltd">
<p>{{.Message}}</p>
{{with .LoginURL}}<a href="{{.}}">Sign in</a>{{end}}
`))
	auth, err := wecom.New(wecom.Options{
		CorpID:      "ww0123456789abcdef",
		AgentID:     "1000002",
		Secret:      wecom.NewSecret("the app's secret"),
		CallbackURL: "https://app.example.com/wecom/callback",
		Language:    "en",
		OnFailure: func(w http.ResponseWriter, r *http.Request, f *wecom.Failure) {
			if !strings.Contains(r.Header.Get("Accept"), "text/html") {
				f.ServeHTTP(w, r)
				return
			}
			// The policy that stands there is the built-in page's: it allows no files.
			w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'self'")
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_ = page.Execute(w, f) // with f.Status
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/static/", http.FileServer(http.Dir("."))) // beside Handler: anonymous people see the page
	mux.Handle("/", auth.Handler(http.NotFoundHandler()))

	r := httptest.NewRequest("POST", "/approve", nil)
	r.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Code)
	fmt.Println(strings.Contains(w.Body.String(), `<a href="/wecom/login">Sign in</a>`))
	// Output:
	// 401
	// true
}
