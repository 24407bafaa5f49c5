// Tokenserver hands out the access tokens of apps to other services, which never
// see the apps' secrets. Without configuration it brings a fake WeCom with two corps and a
// service of its own along:
//
//	go run ./examples/tokenserver
//
// With a corp's own app, which is called "portal":
//
//	go run ./examples/tokenserver -key      # prints a service's key, and its hash for TOKEN_CLIENTS
//	ADDR=:8443 TLS_CERT_FILE=cert.pem TLS_KEY_FILE=key.pem DATA_DIR=/var/lib/tokenserver \
//	WECOM_CORP_ID=… WECOM_AGENT_ID=… WECOM_SECRET=… \
//	TOKEN_CLIENTS=billing=9f86d0…,calendar=60303a… \
//	go run ./examples/tokenserver
//
// Tokens and accounts are kept in SQLite databases in DATA_DIR. Accounts, which are apps of any corp, may be
// added, changed and removed while the server runs:
//
//	DATA_DIR=/var/lib/tokenserver WECOM_SECRET=… go run ./examples/tokenserver account set branch ww… 1000002
//	DATA_DIR=/var/lib/tokenserver go run ./examples/tokenserver account use branch
//
// A service asks for an account by its name. One that asks for "current" gets the token of whichever account is in
// use, and not of which corp it is.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenserver"
	"github.com/wecomauth/wecom/tokenstore/sqlitestore"
	"github.com/wecomauth/wecom/wecomtest"
)

// The name of the account that the environment describes.
const ownName = "portal"

func main() {
	newKey := flag.Bool("key", false, "print a new key for a service, and its hash for TOKEN_CLIENTS")
	flag.Parse()
	if *newKey {
		key, sum := tokenserver.GenerateKey()
		fmt.Printf("key, for the service:    %s\nhash, for TOKEN_CLIENTS: %s\n", key.Reveal(), sum)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := run
	if args := flag.Args(); len(args) > 0 {
		do = func(ctx context.Context) error { return manage(ctx, args) }
	}
	if err := do(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// manage changes the accounts of a server that may be running.
func manage(ctx context.Context, args []string) error {
	dir := os.Getenv("DATA_DIR")
	if args[0] != "account" || dir == "" {
		return errors.New("DATA_DIR says whose accounts\n" + usage)
	}
	return accountsIn(dir).command(ctx, os.Stdout, args[1:])
}

func accountsIn(dir string) *accounts { return &accounts{path: filepath.Join(dir, "accounts.db")} }

func run(ctx context.Context) error {
	own := account{
		Name: ownName, CorpID: os.Getenv("WECOM_CORP_ID"), AgentID: os.Getenv("WECOM_AGENT_ID"), Secret: os.Getenv("WECOM_SECRET"),
	}
	clients, err := parseClients(os.Getenv("TOKEN_CLIENTS"))
	if err != nil {
		return err
	}
	configured := own.CorpID != "" || own.Secret != ""
	dir, api := os.Getenv("DATA_DIR"), os.Getenv("WECOM_API_URL")
	demo := !configured && dir == ""
	var demoKey wecom.Secret
	switch {
	case demo:
		server, err := demoWeCom().Start("")
		if err != nil {
			return err
		}
		defer server.Close()
		if dir, err = os.MkdirTemp("", "tokenserver"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		api = server.URL()
		if err := errors.Join(accountsIn(dir).set(ctx, demoOwn), accountsIn(dir).set(ctx, demoBranch)); err != nil {
			return err
		}
		key, sum := tokenserver.GenerateKey()
		demoKey = key
		clients = append(clients, tokenserver.Client{Name: "demo", KeySHA256: sum})
	case dir == "":
		return errors.New("DATA_DIR: a folder for the tokens and the accounts is needed")
	}
	accounts := accountsIn(dir)
	if configured {
		if err := accounts.set(ctx, own); err != nil {
			return err
		}
		accounts.own = &own
	}
	tokens, err := sqlitestore.Open(filepath.Join(dir, "tokens.db"))
	if err != nil {
		return err
	}
	defer tokens.Close()
	handler := &keeper{
		accounts: accounts, tokens: tokens, api: api, clients: clients, every: time.Second, log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}

	listener, err := net.Listen("tcp", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8082"))
	if err != nil {
		return err
	}
	defer listener.Close()
	served := make(chan error, 1)
	address, server, err := serve(listener, handler, served)
	if err != nil {
		return err
	}
	fmt.Printf("Tokens are handed out at %s (Ctrl-C ends).\n令牌中控服务地址：%s（按 Ctrl-C 结束）。\n", address, address)
	if demo {
		if err := service(ctx, address, demoKey, api); err != nil {
			return err
		}
		fmt.Printf("Switch to the other corp, and ask again / 切换到另一个企业，再取一次：\n"+
			"  DATA_DIR=%s go run ./examples/tokenserver account use %s\n", dir, demoBranch.Name)
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		last, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return server.Shutdown(last)
	}
}

// serve starts the server: with TLS, or without it on loopback only, since whoever
// has a token acts as the app.
func serve(l net.Listener, handler http.Handler, served chan<- error) (address string, server *http.Server, err error) {
	mux := http.NewServeMux()
	mux.Handle("/token", handler)
	server = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	cert, key := os.Getenv("TLS_CERT_FILE"), os.Getenv("TLS_KEY_FILE")
	if cert != "" && key != "" {
		go func() { served <- server.ServeTLS(l, cert, key) }()
		return "https://" + l.Addr().String() + "/token", server, nil
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return "", nil, errors.New("ADDR is not on loopback: TLS_CERT_FILE and TLS_KEY_FILE are needed")
	}
	go func() { served <- server.Serve(l) }()
	return "http://" + l.Addr().String() + "/token", server, nil
}

// The demonstration's accounts.
var (
	demoOwn    = account{Name: ownName, CorpID: "ww0123456789abcdef", AgentID: "1000002", Secret: "secret-of-the-fake-wecom-it-opens-no-door-0"}
	demoBranch = account{Name: "branch", CorpID: "ww1111111111111111", AgentID: "1000005", Secret: "secret-of-the-branch-it-opens-no-door-either"}
)

// demoWeCom is a WeCom with two corps, each with an app.
func demoWeCom() *wecomtest.Fake {
	fake := wecomtest.New()
	for _, a := range []account{demoOwn, demoBranch} {
		fake.AddApp(wecomtest.App{CorpID: a.CorpID, AgentID: a.AgentID, Secret: a.Secret, Name: a.Name})
	}
	return fake
}

// service is what runs elsewhere: it has the corp id, the server's address and
// its own key, and calls WeCom's API. The secret is not among what it gets.
func service(ctx context.Context, address string, key wecom.Secret, api string) error {
	src, err := tokenserver.NewSource(tokenserver.SourceConfig{URL: address, App: demoOwn.Name, Key: key})
	if err != nil {
		return err
	}
	client, err := wecom.NewClient(wecom.Options{CorpID: demoOwn.CorpID, TokenSource: src, Endpoints: wecom.Endpoints{API: api}})
	if err != nil {
		return err
	}
	var member struct{ Name string }
	if err := client.Call(ctx, http.MethodGet, "user/get", url.Values{"userid": {"zhangsan"}}, nil, &member); err != nil {
		return err
	}
	fmt.Printf("A service without the secret asked WeCom's API who zhangsan is: %s\n没有 Secret 的服务用取得的 access_token 查询到 zhangsan 的姓名：%s\n\n"+
		"Ask for the current account's token yourself / 也可以自己取当前账号的 access_token：\n"+
		"  curl -d '{\"app\":\"%s\"}' -H 'Content-Type: application/json' -H 'Authorization: Bearer %s' %s\n",
		member.Name, member.Name, currentName, key.Reveal(), address)
	return nil
}

// parseClients reads name=hash,name=hash.
func parseClients(list string) ([]tokenserver.Client, error) {
	var clients []tokenserver.Client
	for _, item := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' }) {
		name, sum, ok := strings.Cut(item, "=")
		if !ok {
			return nil, errors.New("TOKEN_CLIENTS: want name=hash,name=hash; -key makes a key and its hash")
		}
		clients = append(clients, tokenserver.Client{Name: name, KeySHA256: sum})
	}
	return clients, nil
}
