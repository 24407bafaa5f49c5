// Callbackpage is an application whose page, and not the server, reads WeCom's code from its address:
// the page stands at the callback's path, and sends code and state to POST /wecom/session.
// Without configuration it brings a fake WeCom along.
//
//	go run ./examples/callbackpage
package main

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

//go:embed static
var files embed.FS

func main() {
	log.Fatal(run(env("ADDR", "127.0.0.1:8080")))
}

func run(addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	o := wecom.Options{
		CorpID:      os.Getenv("WECOM_CORP_ID"),
		AgentID:     os.Getenv("WECOM_AGENT_ID"),
		Secret:      wecom.NewSecret(os.Getenv("WECOM_SECRET")),
		CallbackURL: env("WECOM_CALLBACK_URL", "http://"+listener.Addr().String()+"/wecom/callback"),
	}
	site := fmt.Sprintf("Open http://%[1]s/ in a browser (Ctrl-C ends).\n在浏览器中打开 http://%[1]s/ （按 Ctrl-C 结束）。\n", listener.Addr())
	if o.CorpID == "" && o.AgentID == "" && o.Secret.Reveal() == "" {
		if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
			return errors.New("the fake WeCom lets everybody in: ADDR must be on 127.0.0.1 until WECOM_CORP_ID, WECOM_AGENT_ID and WECOM_SECRET are set")
		}
		fake, err := wecomtest.New().Start(env("FAKE_ADDR", "127.0.0.1:8081"))
		if err != nil {
			return err
		}
		defer fake.Close()
		o = fake.Options(o.CallbackURL)
		site += fmt.Sprintf("No credentials are set, so a fake WeCom runs at %[1]s\n没有设置凭证，已启动模拟的企业微信：%[1]s\n", fake.URL())
	}
	auth, err := wecom.New(o)
	if err != nil {
		return err
	}
	fmt.Print(site)
	server := &http.Server{Handler: routes(auth), ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}

// routes puts the page at the callback's path, beside Routes: ServeMux prefers the longer pattern, so WeCom
// leads the browser to the page, and everything else in the folder stays the middleware's.
func routes(auth *wecom.Middleware) http.Handler {
	static, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // only a mistake in this file gets here
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", page)
	mux.HandleFunc("GET /wecom/callback", page)
	mux.Handle("/wecom/", auth.Routes())
	mux.Handle("GET /app.js", http.FileServerFS(static))
	mux.Handle("GET /api/me", auth.Handler(http.HandlerFunc(me)))
	return mux
}

// page keeps the code in its address out of caches, and out of the Referer of what the page loads. The policy is not
// no-referrer, which WeCom's sign-in page may refuse.
func page(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "origin")
	http.ServeFileFS(w, r, files, "static/page.html")
}

func me(w http.ResponseWriter, r *http.Request) {
	id, _ := wecom.FromContext(r.Context())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(id)
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
