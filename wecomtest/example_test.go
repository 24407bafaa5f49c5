package wecomtest_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

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

// A browser of one's own per person; pages for people, JSON for scripts.
func ExampleFake_Browser() {
	const site = "https://app.example.com"
	fake := wecomtest.New()
	app := newApp(fake.Options(site + "/wecom/callback"))

	phone := fake.Browser(site, app).SignInAs("zhangsan").InApp()
	fmt.Println(phone.Get("/").Body)

	laptop := fake.Browser(site, app)
	res := laptop.Get("/reports")
	fmt.Println(res.Status, "at", strings.Split(res.URL, "?")[0])
	fmt.Println(laptop.From(site).Fetch("GET", "/api/reports", "").Status)

	// Output:
	// zhangsan looks at /
	// 200 at https://login.work.weixin.qq.com/wwlogin/sso/login
	// 401
}

// Who is no member of the corp, or refuses, gets no further than WeCom.
func ExampleBrowser_Refuse() {
	const site = "https://app.example.com"
	fake := wecomtest.New()
	app := newApp(fake.Options(site + "/wecom/callback"))

	fmt.Println(fake.Browser(site, app).SignInAs("oFakeOutsider0000000000000001").Get("/").Status)
	fmt.Println(fake.Browser(site, app).SignInAs("wwfedcba9876543210/zhouba").Get("/").Status)
	fmt.Println(fake.Browser(site, app).Refuse().Get("/").Status)

	// Output:
	// 403
	// 403
	// 403
}

// Somebody who is sent another person's callback must not end up signed in as
// that person.
func ExampleBrowser_StopAt() {
	const site = "https://app.example.com"
	fake := wecomtest.New()
	app := newApp(fake.Options(site + "/wecom/callback"))

	mallory := fake.Browser(site, app).SignInAs("lisi")
	mallory.StopAt(func(r *http.Request) bool { return r.URL.Path == "/wecom/callback" })
	held := mallory.Get("/")

	victim := fake.Browser(site, app).SignInAs("zhangsan")
	victim.Follow(held)
	fmt.Println(victim.Get("/").Body)
	fmt.Println(fake.Sent(fake.Codes()[0].Value), "transmissions of Mallory's code")

	// Output:
	// zhangsan looks at /
	// 0 transmissions of Mallory's code
}

// The connection dies when WeCom has used the code up and not answered yet:
// the application must not send that code again, but sign in anew.
func ExampleFake_Script() {
	const site = "https://app.example.com"
	fake := wecomtest.New()
	app := newApp(fake.Options(site + "/wecom/callback"))

	fake.Script("auth/getuserinfo", wecomtest.Fault{Drop: wecomtest.DropAfter})
	fmt.Println(fake.Browser(site, app).SignInAs("zhangsan").Get("/").Body)
	for _, code := range fake.Codes() {
		fmt.Println("sent", code.Sent)
	}

	// Output:
	// zhangsan looks at /
	// sent 1
	// sent 1
}

// A client of the API needs no configuration to be tested.
func ExampleFake_Client() {
	fake := wecomtest.New()
	client := fake.Client()
	res, err := client.Get("https://qyapi.weixin.qq.com/cgi-bin/gettoken?corpid=" + fake.CorpID() + "&corpsecret=" + fake.Secret())
	if err != nil {
		panic(err)
	}
	defer res.Body.Close()
	var token struct {
		ErrCode   int `json:"errcode"`
		ExpiresIn int `json:"expires_in"`
	}
	err = json.NewDecoder(res.Body).Decode(&token)
	fmt.Println(token.ErrCode, token.ExpiresIn, err)
	fmt.Println(fake.Calls("gettoken"))
	// Output:
	// 0 7200 <nil>
	// 1
}
