// Weixin is a site whose visitors sign in with Weixin: /login, /authorization and /. Without
// configuration it brings a fake Weixin along, so that it can be tried offline; with WEIXIN_APP_ID
// and WEIXIN_SECRET set it talks to the real one.
package main

import (
	"cmp"
	"context"
	"html/template"
	"log"
	"net/http"
	"os"
	"sync"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/examples/internal/demo"
	"github.com/wecomauth/wecom/wecomtest"
	"github.com/wecomauth/wecom/weixin"
)

func main() {
	log.Fatal(run())
}

func run() error {
	options := weixin.Options{AppID: os.Getenv("WEIXIN_APP_ID"), Secret: wecom.NewSecret(os.Getenv("WEIXIN_SECRET"))}
	var fake *wecomtest.Fake
	if options.AppID == "" && options.Secret.Reveal() == "" {
		fake = wecomtest.New()
	}
	return demo.Serve(fake, func(url string, server *wecomtest.Server) (http.Handler, error) {
		if fake != nil {
			app := fake.WeixinWebsite()
			options.AppID, options.Secret = app.AppID, wecom.NewSecret(app.Secret)
			options.Endpoints = weixin.Endpoints{API: server.URL(), Pages: server.URL()}
		}
		return newSite(options, cmp.Or(os.Getenv("WEIXIN_CALLBACK_URL"), url+"/authorization"))
	})
}

// A site keeps its visitors' own tokens, which never leave the server.
type site struct {
	weixin *weixin.Website
	tokens sync.Map // weixin.UserToken by Identity.Key
}

// newSite returns the handler: /login, /authorization (the callback) and /logout are the
// middleware's own routes, all else is for people who are signed in.
func newSite(options weixin.Options, callbackURL string) (http.Handler, error) {
	s := &site{}
	options.Profile = true
	options.OnToken = func(_ context.Context, id wecom.Identity, token weixin.UserToken) { s.tokens.Store(id.Key(), token) }
	var err error
	if s.weixin, err = weixin.NewWebsite(options); err != nil {
		return nil, err
	}
	auth, err := wecom.New(wecom.Options{Provider: s.weixin, Secret: options.Secret, CallbackURL: callbackURL})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("POST /refresh", s.refresh)
	return auth.Handler(http.NewCrossOriginProtection().Handler(mux)), nil
}

func (s *site) home(w http.ResponseWriter, r *http.Request) {
	id, _ := wecom.FromContext(r.Context())
	token := s.token(id)
	valid, err := s.weixin.Validate(r.Context(), token)
	user, infoErr := s.weixin.UserInfo(r.Context(), token)
	if err != nil {
		http.Error(w, "Weixin is not answering.", http.StatusBadGateway)
		return
	}
	if infoErr != nil {
		user.Name = id.Name // the token is over: show what the session remembers
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, map[string]any{"ID": id, "User": user, "Valid": valid, "Expires": token.Expires})
}

func (s *site) refresh(w http.ResponseWriter, r *http.Request) {
	id, _ := wecom.FromContext(r.Context())
	fresh, err := s.weixin.Refresh(r.Context(), s.token(id))
	if err != nil {
		http.Error(w, "The token cannot be refreshed: please sign in again.", http.StatusForbidden)
		return
	}
	s.tokens.Store(id.Key(), fresh)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *site) token(id wecom.Identity) weixin.UserToken {
	token, _ := s.tokens.Load(id.Key())
	t, _ := token.(weixin.UserToken)
	return t
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="zh-CN">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.User.Name}} · Weixin</title>
<style>
:root { color-scheme: light dark }
body { max-width: 34rem; margin: 8vh auto; padding: 0 1.25rem; font: 16px/1.7 system-ui, "PingFang SC", "Noto Sans CJK SC", sans-serif; overflow-wrap: anywhere }
dt { opacity: .7 } dd { margin: 0 0 .75rem; font-family: ui-monospace, monospace } form { display: inline-block; margin-right: .75rem }
button { min-height: 44px; padding: 0 1.25rem; font: inherit; cursor: pointer }
</style>
<h1>你好，{{.User.Name}}</h1>
<dl>
<dt>openid</dt><dd>{{.ID.OpenID}}</dd>
<dt>unionid</dt><dd>{{.ID.UnionID}}</dd>
<dt>access_token</dt><dd>{{if .Valid}}有效至 {{.Expires.Format "15:04:05"}}{{else}}已失效{{end}}</dd>
</dl>
<form method="post" action="/refresh"><button>刷新凭证</button></form>
<form method="post" action="/logout"><button>退出登录</button></form>
`))
