package wecomtest_test

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// newApp is the application under test: it greets whoever is signed in.
func newApp(options wecom.Options) http.Handler {
	options.Logger = slog.New(slog.DiscardHandler)
	auth, err := wecom.New(options)
	if err != nil {
		panic(err)
	}
	return auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		fmt.Fprintf(w, "%s looks at %s", id.UserID, r.URL)
	}))
}

// Three lines sign somebody in to an application and look at a page.
func Example() {
	fake := wecomtest.New()
	app := newApp(fake.Options("https://app.example.com/wecom/callback"))
	res := fake.Browser("https://app.example.com", app).SignInAs("zhangsan").Get("/reports?year=2026")
	fmt.Println(res.Status, res.Body)
	// Output: 200 zhangsan looks at /reports?year=2026
}
