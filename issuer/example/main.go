// Example is a wiki whose readers sign in by OpenID Connect, the issuer that it asks, and a fake
// WeCom that the issuer asks, all in one process and offline.
//
//	go run ./issuer/example
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"html"
	"log"
	"net"
	"net/http"

	"github.com/alexedwards/scs/v2"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/issuer"
	"github.com/wecomauth/wecom/wecomtest"
)

func main() {
	wiki, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		log.Fatal(err)
	}
	sso, err := net.Listen("tcp", "127.0.0.1:8082")
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(run(wiki, sso, "127.0.0.1:8081"))
}

// run serves the wiki, the issuer at sso, and the fake WeCom.
func run(wiki, sso net.Listener, fakeAddr string) error {
	fake, err := wecomtest.New().Start(fakeAddr)
	if err != nil {
		return err
	}
	defer fake.Close()
	url, wikiURL, secret := "http://"+sso.Addr().String()+"/wecom", "http://"+wiki.Addr().String(), rand.Text()
	auth, err := wecom.New(fake.Options(url + "/callback"))
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(secret))
	iss, err := issuer.New(issuer.Options{Middleware: auth, URL: url, Clients: []issuer.Client{{
		ID: "wiki", SecretSHA256: hex.EncodeToString(sum[:]), RedirectURIs: []string{wikiURL + "/callback"},
		Authorize: allow.Departments(2), // 研发部, and those below it
	}}})
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- http.Serve(sso, iss.Handler(auth.Routes())) }()
	handler, err := newWiki(url, "wiki", secret, wikiURL)
	if err != nil {
		return err
	}
	go func() { failed <- http.Serve(wiki, handler) }()
	fmt.Printf("Open %[1]s/ in a browser (Ctrl-C ends).\n在浏览器中打开 %[1]s/ （按 Ctrl-C 结束）。\n", wikiURL)
	return <-failed
}

// A wiki knows nothing of WeCom: it would ask any other issuer in the same way.
type wiki struct {
	oauth2.Config
	url, issuer string
	verifier    *oidc.IDTokenVerifier
	sessions    *scs.SessionManager
}

func newWiki(issuer, id, secret, url string) (http.Handler, error) {
	provider, err := oidc.NewProvider(context.Background(), issuer)
	if err != nil {
		return nil, err
	}
	c := oauth2.Config{ClientID: id, ClientSecret: secret, Endpoint: provider.Endpoint(), RedirectURL: url + "/callback", Scopes: []string{"openid"}}
	k := &wiki{c, url, issuer, provider.Verifier(&oidc.Config{ClientID: id}), scs.New()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", k.page)
	mux.HandleFunc("GET /callback", k.callback)
	mux.HandleFunc("POST /sign-out", k.signOut)
	return http.NewCrossOriginProtection().Handler(k.sessions.LoadAndSave(mux)), nil
}

func (k *wiki) page(w http.ResponseWriter, r *http.Request) {
	path := r.URL.RequestURI()
	if reader := k.sessions.GetString(r.Context(), "reader"); reader != "" {
		fmt.Fprintf(w, `<p>%s reads %s</p><form method="post" action="/sign-out"><button>退出登录 · Sign out</button></form>`,
			html.EscapeString(reader), html.EscapeString(path))
		return
	}
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	k.sessions.Put(r.Context(), "attempt", []string{state, nonce, verifier, path})
	http.Redirect(w, r, k.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), http.StatusFound)
}

func (k *wiki) callback(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	attempt, _ := k.sessions.Pop(ctx, "attempt").([]string)
	if attempt == nil || r.FormValue("state") != attempt[0] || r.FormValue("error") != "" {
		http.Error(w, "You may not read the wiki, or did not come here from it.", http.StatusForbidden)
		return
	}
	token, err := k.Exchange(ctx, r.FormValue("code"), oauth2.VerifierOption(attempt[2]))
	if err != nil {
		k.fail(w, err)
		return
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := k.verifier.Verify(ctx, raw)
	if err == nil && id.Nonce != attempt[1] {
		err = errors.New("the ID token is of another attempt")
	}
	if err := errors.Join(err, k.sessions.RenewToken(ctx)); err != nil {
		k.fail(w, err)
		return
	}
	k.sessions.Put(ctx, "reader", id.Subject)
	k.sessions.Put(ctx, "id_token", raw)
	http.Redirect(w, r, k.url+attempt[3], http.StatusSeeOther)
}

// signOut ends the wiki's session, and lets the issuer end its own.
func (k *wiki) signOut(w http.ResponseWriter, r *http.Request) {
	hint := k.sessions.GetString(r.Context(), "id_token")
	if err := k.sessions.Destroy(r.Context()); err != nil {
		k.fail(w, err)
		return
	}
	http.Redirect(w, r, k.issuer+"/end-session?id_token_hint="+hint, http.StatusSeeOther)
}

func (k *wiki) fail(w http.ResponseWriter, err error) {
	log.Print(err)
	http.Error(w, "That did not work: please try again.", http.StatusBadGateway)
}
