// Spa is a single-page application behind WeCom's sign-in: plain JavaScript, routes in
// the fragment, no build step. Without configuration it brings a fake WeCom along.
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
	o, fake, err := options(listener.Addr().(*net.TCPAddr))
	if err != nil {
		return err
	}
	o.LoginPanel = true
	auth, err := wecom.New(o)
	if err != nil {
		return err
	}
	fmt.Printf("Open http://%[1]s/ in a browser (Ctrl-C ends).\n在浏览器中打开 http://%[1]s/ （按 Ctrl-C 结束）。\n", listener.Addr())
	if fake != nil {
		defer fake.Close()
		fmt.Printf("No credentials are set, so a fake WeCom runs at %[1]s\n没有设置凭证，已启动模拟的企业微信：%[1]s\n", fake.URL())
	}
	server := &http.Server{Handler: routes(auth), ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}

// routes leaves the page and its script to everybody and the API to people who are signed
// in. A sign-in then starts in the page, which alone knows its fragment.
func routes(auth *wecom.Middleware) http.Handler {
	static, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // only a mistake in this file gets here
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(static))
	mux.Handle("/wecom/", auth.Routes()) // callback, login, wecom.js and so on
	mux.Handle("/api/", auth.Handler(http.HandlerFunc(me)))
	return mux
}

func me(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/me" {
		http.NotFound(w, r)
		return
	}
	id, _ := wecom.FromContext(r.Context())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(id)
}

// options are from the environment. If that says nothing, they are those of a fake WeCom that
// runs from then on.
func options(addr *net.TCPAddr) (wecom.Options, *wecomtest.Server, error) {
	o := wecom.Options{
		CorpID:      os.Getenv("WECOM_CORP_ID"),
		AgentID:     os.Getenv("WECOM_AGENT_ID"),
		Secret:      wecom.NewSecret(os.Getenv("WECOM_SECRET")),
		CallbackURL: env("WECOM_CALLBACK_URL", "http://"+addr.String()+"/wecom/callback"),
	}
	if o.CorpID != "" || o.AgentID != "" || o.Secret.Reveal() != "" {
		return o, nil, nil
	}
	if !addr.IP.IsLoopback() {
		return o, nil, errors.New("the fake WeCom lets everybody in: ADDR must be on 127.0.0.1 until WECOM_CORP_ID, WECOM_AGENT_ID and WECOM_SECRET are set")
	}
	server, err := wecomtest.New().Start(env("FAKE_ADDR", "127.0.0.1:8081"))
	if err != nil {
		return o, nil, err
	}
	return server.Options(o.CallbackURL), server, nil
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
