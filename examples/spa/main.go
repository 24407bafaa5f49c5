// Spa is a single-page application behind WeCom's sign-in: plain JavaScript, routes in the
// fragment, no build step. Without configuration it brings a fake WeCom along.
package main

import (
	"embed"
	"encoding/json"
	"io/fs"
	"log"
	"net/http"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/examples/internal/demo"
)

//go:embed static
var files embed.FS

func main() {
	log.Fatal(demo.WeCom(func(o wecom.Options, _ string) (http.Handler, error) {
		o.LoginPanel = true
		auth, err := wecom.New(o)
		if err != nil {
			return nil, err
		}
		return routes(auth), nil
	}))
}

// routes leaves the page and its script to everybody and the API to people who are signed in. A
// sign-in then starts in the page, which alone knows its fragment.
func routes(auth *wecom.Middleware) http.Handler {
	static, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // only a mistake in this file gets here
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(static))
	mux.Handle("/wecom/", auth.Routes()) // callback, login, wecom.js and so on
	mux.Handle("/api/", auth.Handler(http.NotFoundHandler()))
	mux.Handle("GET /api/me", auth.Handler(http.HandlerFunc(me)))
	return mux
}

func me(w http.ResponseWriter, r *http.Request) {
	id, _ := wecom.FromContext(r.Context())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(id)
}
