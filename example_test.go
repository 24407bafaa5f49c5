package wecom_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/envoptions"
	"github.com/wecomauth/wecom/wecomtest"
)

// The program of the README, with the fake WeCom in the place of the real one
// and a scripted browser in the place of people.
func Example() {
	fake := wecomtest.New()
	variables := func(name string) (string, bool) {
		value, set := map[string]string{
			"WECOM_CORP_ID": fake.CorpID(), "WECOM_AGENT_ID": fake.AgentID(), "WECOM_SECRET": fake.Secret(),
			"WECOM_CALLBACK_URL": "https://app.example.com/wecom/callback",
		}[name]
		return value, set
	}
	options, err := envoptions.All().Read(variables)
	if err != nil {
		log.Fatal(err)
	}
	options.Transport = fake.Transport()
	auth, err := wecom.New(options)
	if err != nil {
		log.Fatal(err) // everything that is wrong, at once
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		fmt.Fprintf(w, "Hello, %s!", id.UserID)
	})
	browser := fake.Browser("https://app.example.com", auth.Handler(mux)).SignInAs("zhangsan")
	fmt.Println(browser.Get("/").Body)
	// Output: Hello, zhangsan!
}

// newExample returns a middleware on a fake WeCom, and a browser on the site that pages makes of it.
func newExample(pages func(*wecom.Middleware) http.Handler) *wecomtest.Browser {
	return newExampleWith(pages, func(*wecom.Options) {})
}

func newExampleWith(pages func(*wecom.Middleware) http.Handler, change func(*wecom.Options)) *wecomtest.Browser {
	fake := wecomtest.New()
	options := fake.Options("https://app.example.com/wecom/callback")
	options.Logger = slog.New(slog.DiscardHandler)
	change(&options)
	auth, err := wecom.New(options)
	if err != nil {
		log.Fatal(err)
	}
	return fake.Browser("https://app.example.com", pages(auth))
}

// Everybody may see the reports; the administration is for some.
func ExampleMiddleware_Require() {
	admins := map[string]bool{"zhangsan": true}
	isAdmin := func(_ context.Context, _ *wecom.Client, id wecom.Identity) (bool, error) {
		return admins[id.UserID], nil
	}
	browser := newExample(func(auth *wecom.Middleware) http.Handler {
		page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, _ := wecom.FromContext(r.Context())
			fmt.Fprintf(w, "%s at %s", id.UserID, r.URL.Path)
		})
		mux := http.NewServeMux()
		mux.Handle("/reports", page)
		mux.Handle("/admin", auth.Require(isAdmin)(page))
		return auth.Handler(mux)
	})
	for _, who := range []string{"zhangsan", "lisi"} {
		browser.DropCookies()
		browser.SignInAs(who)
		fmt.Println(browser.Get("/reports").Body)
		fmt.Println(browser.Get("/admin").Status)
	}
	// Output:
	// zhangsan at /reports
	// 200
	// lisi at /reports
	// 403
}

// A page that anybody may see, and that greets those whom it knows.
func ExampleMiddleware_Optional() {
	browser := newExample(func(auth *wecom.Middleware) http.Handler {
		return auth.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if id, ok := wecom.FromContext(r.Context()); ok {
				fmt.Fprintf(w, "Hello, %s!", id.UserID)
				return
			}
			fmt.Fprintf(w, "Hello! Sign in: %s", auth.LoginURL(r.URL.Path))
		}))
	}).SignInAs("lisi")
	fmt.Println(browser.Get("/news").Body)
	fmt.Println(browser.Click("/wecom/login?return_to=%2Fnews").Body)
	// Output:
	// Hello! Sign in: /wecom/login?return_to=%2Fnews
	// Hello, lisi!
}

// A handler's test needs no sign-in: it says who is looking.
func ExampleNewContext() {
	greet := func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		fmt.Fprintf(w, "Hello, %s!", id.Name)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r = r.WithContext(wecom.NewContext(r.Context(), wecom.Identity{UserID: "zhangsan", Name: "张三"}))
	w := httptest.NewRecorder()
	greet(w, r)
	fmt.Println(w.Body)
	// Output: Hello, 张三!
}

// OnFailure changes one case, and passes the others on.
func ExampleFailure() {
	browser := newExampleWith(func(auth *wecom.Middleware) http.Handler {
		return auth.Handler(http.NotFoundHandler())
	}, func(o *wecom.Options) {
		o.OnFailure = func(w http.ResponseWriter, r *http.Request, f *wecom.Failure) {
			if f.Code == "outsider" {
				http.Error(w, "Customers sign in at shop.example.com.", f.Status)
				return
			}
			f.ServeHTTP(w, r)
		}
	})
	res := browser.SignInAs("oFakeOutsider0000000000000001").Get("/")
	fmt.Print(res.Status, " ", res.Body)
	res = browser.Refuse().Get("/")
	fmt.Println(res.Status, res.Header.Get("Content-Type"))
	// Output:
	// 403 Customers sign in at shop.example.com.
	// 403 text/html; charset=utf-8
}

// Do not do this. The handler believes a header, which whoever sends the
// request writes: the middleware makes sure that somebody is signed in, but not
// that they are the one whom the header names. [wecom.FromContext] is the only source.
func Example_incorrect() {
	browser := newExample(func(auth *wecom.Middleware) http.Handler {
		return auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, _ := wecom.FromContext(r.Context())
			fmt.Fprintf(w, "the header says %s, but it is %s", r.Header.Get("X-User"), id.UserID)
		}))
	}).SignInAs("lisi")
	browser.Get("/")
	fmt.Println(browser.Fetch("GET", "/", "", "X-User: director").Body)
	// Output: the header says director, but it is lisi
}
