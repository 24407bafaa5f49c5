// Callbackpage is an application whose page, and not the server, reads WeCom's code from its
// address: the page stands at the callback's path, and sends code and state to POST /wecom/session.
// Without configuration it brings a fake WeCom along.
//
//	go run ./examples/callbackpage
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
		auth, err := wecom.New(o)
		if err != nil {
			return nil, err
		}
		return routes(auth), nil
	}))
}

// routes puts the page at the callback's path, beside Routes: ServeMux prefers the longer pattern,
// so WeCom leads the browser to the page, and everything else in the folder stays the middleware's.
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

// page keeps the code in its address out of caches, and out of the Referer of what the page loads.
// The policy is not no-referrer, which WeCom's sign-in page may refuse.
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
