// Tokenserver hands out an app's access token to other services, which never
// see the app's secret. Without configuration it brings a fake WeCom and a
// service of its own along:
//
//	go run ./examples/tokenserver
//
// With a corp's own app:
//
//	go run ./examples/tokenserver -key      # prints a service's key, and its hash for TOKEN_CLIENTS
//	ADDR=:8443 TLS_CERT_FILE=cert.pem TLS_KEY_FILE=key.pem \
//	WECOM_CORP_ID=… WECOM_AGENT_ID=… WECOM_SECRET=… \
//	TOKEN_CLIENTS=billing=9f86d0…,calendar=60303a… \
//	go run ./examples/tokenserver
package main

import (
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
	"strings"
	"syscall"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenserver"
	"github.com/wecomauth/wecom/wecomtest"
)

// The name under which the services ask for the app's token.
const appName = "portal"

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
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	options := wecom.Options{
		CorpID:    os.Getenv("WECOM_CORP_ID"),
		AgentID:   os.Getenv("WECOM_AGENT_ID"),
		Secret:    wecom.NewSecret(os.Getenv("WECOM_SECRET")),
		Endpoints: wecom.Endpoints{API: os.Getenv("WECOM_API_URL")},
		// A TokenStore belongs here in earnest: without one, each restart fetches.
	}
	clients, err := parseClients(os.Getenv("TOKEN_CLIENTS"))
	if err != nil {
		return err
	}
	demo := options.CorpID == "" && options.Secret.Reveal() == ""
	var demoKey wecom.Secret
	if demo {
		fake := wecomtest.New()
		server, err := fake.Start("")
		if err != nil {
			return err
		}
		defer server.Close()
		options.CorpID, options.AgentID, options.Secret = fake.CorpID(), fake.AgentID(), wecom.NewSecret(fake.Secret())
		options.Endpoints = server.Endpoints()

		key, sum := tokenserver.GenerateKey()
		demoKey = key
		clients = append(clients, tokenserver.Client{Name: "demo", KeySHA256: sum, Apps: []string{appName}})
	}
	keeper, err := wecom.NewClient(options)
	if err != nil {
		return err
	}
	handler, err := tokenserver.New(tokenserver.Config{
		Apps:    map[string]wecom.TokenSource{appName: keeper},
		Clients: clients,
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}

	listener, err := net.Listen("tcp", env("ADDR", "127.0.0.1:8082"))
	if err != nil {
		return err
	}
	defer listener.Close()
	served := make(chan error, 1)
	address, server, err := serve(listener, handler, served)
	if err != nil {
		return err
	}
	fmt.Printf("Tokens are handed out at %s (Ctrl-C ends).\n令牌服务地址：%s（按 Ctrl-C 结束）。\n", address, address)
	if demo {
		if err := service(ctx, address, demoKey, options); err != nil {
			return err
		}
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

// service is what runs elsewhere: it has the corp id, the server's address and
// its own key, and calls WeCom's API. The secret is not among what it gets.
func service(ctx context.Context, address string, key wecom.Secret, options wecom.Options) error {
	src, err := tokenserver.NewSource(tokenserver.SourceConfig{URL: address, App: appName, Key: key})
	if err != nil {
		return err
	}
	client, err := wecom.NewClient(wecom.Options{CorpID: options.CorpID, TokenSource: src, Endpoints: options.Endpoints})
	if err != nil {
		return err
	}
	var member struct{ Name string }
	if err := client.Call(ctx, http.MethodGet, "user/get", url.Values{"userid": {"zhangsan"}}, nil, &member); err != nil {
		return err
	}
	fmt.Printf("A service without the secret asked WeCom's API who zhangsan is: %s\n没有 Secret 的服务用取得的令牌查询到 zhangsan 的姓名：%s\n\n"+
		"Ask for the token yourself / 也可以自己取令牌：\n"+
		"  curl -d '{\"app\":\"%s\"}' -H 'Content-Type: application/json' -H 'Authorization: Bearer %s' %s\n",
		member.Name, member.Name, appName, key.Reveal(), address)
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
		clients = append(clients, tokenserver.Client{Name: name, KeySHA256: sum, Apps: []string{appName}})
	}
	return clients, nil
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
