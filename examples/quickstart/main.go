// Quickstart is a small site behind WeCom's sign-in. Without configuration it brings a fake
// WeCom along, so that the whole sign-in can be tried offline; with WECOM_CORP_ID,
// WECOM_AGENT_ID and WECOM_SECRET set it talks to the real one.
//
//	go run ./examples/quickstart
//
// Other variables:
//
//	ADDR               where the site listens (127.0.0.1:8080)
//	FAKE_ADDR          where the fake listens (127.0.0.1:8081); both on loopback
//	WECOM_CALLBACK_URL the callback with a real app (/wecom/callback at ADDR)
//	WECOM_EVENT_TOKEN, WECOM_EVENT_AES_KEY
//	                   what the console's page 接收消息 shows, for events at /wecom/events
//
// and those of package envoptions, such as WECOM_SCOPE.
package main

import (
	_ "embed"
	"encoding/json"
	"html/template"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/events"
	"github.com/wecomauth/wecom/examples/internal/demo"
)

func main() { log.Fatal(demo.WeCom(newSite)) }

// A site is what runs for people who are signed in.
type site struct {
	story string // the fake WeCom's page that tells what happened, for a frame beside ours
}

// newSite puts the sign-in in front of a site and, if the console's values are there, a
// receiver beside it, which ends the sessions of people who leave.
func newSite(o wecom.Options, story string) (http.Handler, error) {
	o.Profile = true // a name for the greeting
	auth, err := wecom.New(o)
	if err != nil {
		return nil, err
	}
	pages := auth.Handler(&site{story})
	if os.Getenv("WECOM_EVENT_TOKEN") == "" {
		return pages, nil
	}
	receiver, err := events.New(events.Options{
		Token:          wecom.NewSecret(os.Getenv("WECOM_EVENT_TOKEN")),
		EncodingAESKey: wecom.NewSecret(os.Getenv("WECOM_EVENT_AES_KEY")),
		Middlewares:    []*wecom.Middleware{auth},
	})
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wecom/events" { // beside the sign-in: WeCom has no session
			receiver.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	}), nil
}

// ServeHTTP is no http.ServeMux, because that redirects paths such as /a//b to a
// tidier one, and a path should come back from the sign-in as it went.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, _ := wecom.FromContext(r.Context())
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "405 method not allowed", http.StatusMethodNotAllowed)
	case r.URL.Path == "/api/me":
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(id)
	default:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = page.Execute(w, map[string]any{
			"ID": id, "Path": r.RequestURI, "Story": s.story,
			"Chinese": !strings.HasPrefix(r.Header.Get("Accept-Language"), "en"),
		})
	}
}

//go:embed page.html
var pageHTML string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"initial": func(name string) string {
		for _, letter := range name {
			return string(letter)
		}
		return "?"
	},
}).Parse(pageHTML))
