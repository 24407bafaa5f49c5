package wecom_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// People in the application's own table are matched by the mailbox that the
// corp gives. Where WeCom does not give it, and for whoever is not in the table by mail, the user id counts.
// Email is no key: a member may write somebody else's there.
func ExampleIdentity_bizMail() {
	fake := wecomtest.New() // in a program: the options of a real app
	app := fake.App()
	app.LegacyFields = true // created before June 2022: user/get gives the mailbox
	fake.AddApp(app)

	accounts := map[string]int{ // the application's own table
		"zhangsan@corp.example.com": 17,
		wecom.Identity{Provider: "wecom", CorpID: fake.CorpID(), UserID: "lisi"}.Key(): 23,
	}
	account := func(id wecom.Identity) (int, bool) {
		if n, ok := accounts[id.BizMail]; ok && id.BizMail != "" {
			return n, true
		}
		n, ok := accounts[id.Key()]
		return n, ok
	}

	o := fake.Options("https://app.example.com/wecom/callback")
	o.Profile = true
	o.Authorize = func(_ context.Context, _ *wecom.Client, id wecom.Identity) (bool, error) {
		_, known := account(id)
		return known, nil
	}
	auth, err := wecom.New(o)
	if err != nil {
		panic(err)
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		n, _ := account(id)
		fmt.Fprintf(w, "account %d of %s", n, id.Name)
	})

	for _, who := range []string{"zhangsan", "lisi", "wangwu"} {
		browser := fake.Browser("https://app.example.com", auth.Handler(page)).SignInAs(who)
		if res := browser.Get("/"); res.Status == http.StatusOK {
			fmt.Println(who, "has", res.Body)
		} else {
			fmt.Println(who, "gets", res.Status)
		}
	}
	// Output:
	// zhangsan has account 17 of 张三
	// lisi has account 23 of 李四
	// wangwu gets 403
}

// A job without a web page lists everybody's id. user/list_id takes the secret
// of the contact-sync assistant (管理工具 → 通讯录同步), which has no AgentID.
func ExampleNewClient() {
	fake := wecomtest.New() // in a program: nothing of this
	fake.AddApp(wecomtest.App{Secret: "secret-of-contact-sync", ContactSync: true})

	client, err := wecom.NewClient(wecom.Options{
		CorpID:    fake.CorpID(),
		Secret:    wecom.NewSecret("secret-of-contact-sync"), // from the environment
		Transport: fake.Transport(),                          // in a program: left out
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	for cursor := ""; ; {
		var page struct {
			NextCursor string `json:"next_cursor"`
			DeptUser   []struct {
				UserID     string `json:"userid"`
				Department int64  `json:"department"`
			} `json:"dept_user"`
		}
		in := map[string]any{"limit": 3, "cursor": cursor} // up to 10000
		if err := client.Call(ctx, "POST", "/cgi-bin/user/list_id", nil, in, &page); err != nil {
			panic(err) // an *APIError says which screen of the admin console mends it
		}
		for _, m := range page.DeptUser {
			fmt.Println(m.UserID, m.Department)
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	// Output:
	// zhangsan 2
	// lisi 3
	// wangwu 4
	// zhaoliu 3
	// sunqi 5
}

// An upload is multipart: the body is a [bytes.Buffer], which can be sent again if WeCom refuses
// the access token.
func ExampleClient_HTTP_upload() {
	fake := wecomtest.New() // in a program: the options of a real app
	fake.Handle("media/upload", func(r *http.Request) any {
		_, file, err := r.FormFile("media")
		if err != nil {
			return map[string]any{"errcode": 40004}
		}
		return map[string]any{"errcode": 0, "media_id": "id-of-" + file.Filename}
	})
	client, err := wecom.NewClient(fake.Options("https://app.example.com/wecom/callback"))
	if err != nil {
		panic(err)
	}

	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("media", "report.txt")
	if err != nil {
		panic(err)
	}
	_, _ = part.Write([]byte("everything is fine")) // a form in memory takes it
	_ = w.Close()
	resp, err := client.HTTP().Post("/cgi-bin/media/upload?type=file", w.FormDataContentType(), &form)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	var answer struct {
		ErrCode int    `json:"errcode"`
		MediaID string `json:"media_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		panic(err)
	}
	fmt.Println(answer.ErrCode, answer.MediaID)
	// Output: 0 id-of-report.txt
}

// A download may be large, and take longer than a minute where the client's Timeout says so. If
// WeCom refuses it, the answer is JSON.
func ExampleClient_HTTP_download() {
	fake := wecomtest.New() // in a program: the options of a real app
	fake.Handle("media/get", func(*http.Request) any { return nil })
	fake.Always("media/get", wecomtest.Fault{
		Header: http.Header{"Content-Disposition": {`attachment; filename="report.txt"`}},
		Body:   []byte("everything is fine"),
	})
	client, err := wecom.NewClient(fake.Options("https://app.example.com/wecom/callback"))
	if err != nil {
		panic(err)
	}

	media := client.HTTP()
	media.Timeout = 10 * time.Minute
	resp, err := media.Get("/cgi-bin/media/get?" + url.Values{"media_id": {"id-of-report.txt"}}.Encode())
	if err != nil {
		panic(err) // without the access token
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Disposition") == "" {
		panic("no file") // {"errcode":40007,…}
	}
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		panic(err)
	}
	// Output: everything is fine
}

// At start-up: whether the app is set up, as far as WeCom shows it.
func ExampleMiddleware_Check() {
	fake := wecomtest.New()
	fake.TrustDomain("www.example.com")
	fake.TrustIP("192.0.2.1")
	auth, err := wecom.New(fake.Options("https://app.example.com/wecom/callback"))
	if err != nil {
		panic(err)
	}
	fmt.Println(auth.Check(context.Background()))

	fake.TrustIP("203.0.113.0/24")
	fmt.Println(auth.Check(context.Background()))
	// Output:
	// wecom: agent/get: errcode 60020 (this server's IP address is not trusted): enter the address from which the calls leave (the hint names it) under 应用管理 → 应用 → (the app) → 企业可信IP; it takes about a minute to work
	// wecom: the trusted domain is "www.example.com" and CallbackURL's "app.example.com": enter the latter, exactly, under 应用管理 → 应用 → (the app) → 网页授权及JS-SDK → 可信域名
}
