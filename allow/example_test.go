package allow_test

import (
	"fmt"
	"net/http"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/wecomtest"
)

// The whole site is for active members in the app's visible range; one page of
// it for the sales department (3) with all below it, and for one more colleague.
func Example() {
	fake := wecomtest.New() // in a program: the options of a real app
	o := fake.Options("https://app.example.com/wecom/callback")
	o.Authorize = allow.Active()
	auth, err := wecom.New(o)
	if err != nil {
		panic(err)
	}
	forSales := auth.Require(allow.Any(allow.Departments(3), allow.Users("wangwu")))

	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})
	mux := http.NewServeMux()
	mux.Handle("/", hello)
	mux.Handle("/sales/", forSales(hello))
	site := auth.Handler(mux)

	for _, who := range []string{"zhangsan", "lisi", "wangwu", "zhaoliu", "sunqi"} {
		browser := fake.Browser("https://app.example.com", site).SignInAs(who)
		fmt.Println(who, browser.Get("/").Status, browser.Get("/sales/").Status)
	}
	// Output:
	// zhangsan 200 403
	// lisi 200 200
	// wangwu 200 200
	// zhaoliu 403 403
	// sunqi 403 403
}
