package routers_test

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/routertest"
	"github.com/wecomauth/wecom/wecomtest"
)

// show prints what two people get at each path.
func show(fake *wecomtest.Fake, app http.Handler, paths ...string) {
	for _, user := range []string{"zhangsan", "lisi"} {
		b := fake.Browser("https://app.example.com", app).SignInAs(user)
		var pages []string
		for _, path := range paths {
			res := b.Get(path)
			page := fmt.Sprint(res.Status)
			if res.Status == http.StatusOK {
				page += " " + res.Body
			}
			pages = append(pages, page)
		}
		fmt.Printf("%s: %s\n", user, strings.Join(pages, ", "))
	}
}

func who(w http.ResponseWriter, r *http.Request) {
	id, ok := wecom.FromContext(r.Context())
	if !ok {
		id.UserID = "nobody"
	}
	fmt.Fprint(w, id.UserID)
}

func text(body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
}

func stream(s routertest.Setup) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: one\n\n")
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(err)
		}
		<-s.More
		fmt.Fprint(w, "data: two\n\n")
	}
}

func count(s routertest.Setup) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n := s.Manager.GetInt(r.Context(), "n") + 1
		s.Manager.Put(r.Context(), "n", n)
		fmt.Fprint(w, n)
	}
}

// quietRecoverer recovers without a stack in the test's output.
func quietRecoverer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}
