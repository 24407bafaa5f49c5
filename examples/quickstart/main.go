// Quickstart is a small site behind WeCom's sign-in. Without configuration it
// brings a fake WeCom along, so that the whole sign-in can be tried offline; with
// WECOM_CORP_ID, WECOM_AGENT_ID and WECOM_SECRET set it talks to the real one.
//
//	go run ./examples/quickstart
//
// Other variables:
//
//	ADDR               where the site listens (127.0.0.1:8080)
//	FAKE_ADDR          where the fake listens (127.0.0.1:8081); both on loopback
//	WECOM_CALLBACK_URL the callback with a real app (/wecom/callback at ADDR)
//
// and those of package envoptions, such as WECOM_PROFILE and WECOM_SCOPE.
package main

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
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
	"github.com/wecomauth/wecom/envoptions"
	"github.com/wecomauth/wecom/events"
	"github.com/wecomauth/wecom/wecomtest"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	listener, err := net.Listen("tcp", env("ADDR", "127.0.0.1:8080"))
	if err != nil {
		return fmt.Errorf("ADDR, where the site listens: %w", err)
	}
	defer listener.Close()
	site := siteURL(listener.Addr())

	variables := envoptions.All()
	options, mistakes := variables.Read(os.Getenv)
	options.CallbackURL = cmp.Or(options.CallbackURL, site+"/wecom/callback")
	var fake *wecomtest.Fake
	if options.CorpID == "" && options.AgentID == "" && options.Secret.Reveal() == "" {
		fake = wecomtest.New()
		server, err := startFake(fake, listener.Addr(), &options)
		if err != nil {
			return err
		}
		defer server.Close()
	} else {
		fmt.Println("Credentials are set, so no fake runs: this is WeCom itself, or what the WECOM_…_URL variables name.\n已设置凭证，不启动模拟的企业微信：连接的是真实的企业微信，或 WECOM_…_URL 指定的地址。")
	}

	auth, err := wecom.New(options)
	if err := errors.Join(mistakes, variables.Named(err)); err != nil {
		return fmt.Errorf("these variables cannot work; with WECOM_CORP_ID, WECOM_AGENT_ID and WECOM_SECRET unset, a fake WeCom runs:\n%w", err)
	}
	if fake != nil {
		if err := receiveEvents(fake, auth, site); err != nil {
			return err
		}
	}
	if callback, err := url.Parse(options.CallbackURL); err == nil { // behind a proxy it is not our own address
		site = callback.Scheme + "://" + callback.Host
	}
	fmt.Printf("Open %s/ in a browser (Ctrl-C ends).\n在浏览器中打开 %s/ （按 Ctrl-C 结束）。\n", site, site)
	return serve(ctx, listener, auth.Handler(http.HandlerFunc(pages)))
}

// pages is the site itself: it runs for people who are signed in only. It is no
// http.ServeMux, because that redirects paths such as /a//b to a tidier one,
// and a path should come back from the sign-in as it went.
func pages(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "405 method not allowed", http.StatusMethodNotAllowed)
		return
	}
	id, _ := wecom.FromContext(r.Context())
	w.Header().Set("Cache-Control", "no-store")
	if r.URL.Path == "/api/me" {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(id)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, map[string]any{"ID": id, "Path": r.RequestURI})
}

//go:embed page.html
var pageHTML string

var page = template.Must(template.New("page").Parse(pageHTML))

// startFake starts a fake WeCom and points the options at it. Since the fake lets
// everybody in, it and the site stay on this machine.
func startFake(fake *wecomtest.Fake, site net.Addr, options *wecom.Options) (*wecomtest.Server, error) {
	if tcp, ok := site.(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.New("the fake WeCom lets everybody in: ADDR must be on loopback, such as 127.0.0.1:8080, " +
			"until WECOM_CORP_ID, WECOM_AGENT_ID and WECOM_SECRET are set")
	}
	server, err := fake.Start(env("FAKE_ADDR", "127.0.0.1:8081"))
	if err != nil {
		return nil, fmt.Errorf("FAKE_ADDR, where the fake WeCom listens: %w", err)
	}
	options.CorpID, options.AgentID, options.Secret = fake.CorpID(), fake.AgentID(), wecom.NewSecret(fake.Secret())
	fakes := server.Endpoints()
	options.Endpoints.API = cmp.Or(options.Endpoints.API, fakes.API)
	options.Endpoints.Authorize = cmp.Or(options.Endpoints.Authorize, fakes.Authorize)
	options.Endpoints.WebLogin = cmp.Or(options.Endpoints.WebLogin, fakes.WebLogin)
	options.Endpoints.PanelScript = cmp.Or(options.Endpoints.PanelScript, fakes.PanelScript)
	fmt.Printf("No credentials are set, so a fake WeCom runs at %s, where whoever signed in can leave the company\n没有设置凭证，已启动模拟的企业微信：%s ，已登录的成员可以在那里离职\n"+
		"  corp id  (企业ID)   %s\n  agent id (AgentId)  %s\n  secret   (Secret)   %s\n",
		server.URL(), server.URL(), fake.CorpID(), fake.AgentID(), fake.Secret())
	return server, nil
}

// receiveEvents lets the fake tell who left the company, which ends their sessions.
// With WeCom itself the receiver would stand at /wecom/events, beside auth.Handler.
func receiveEvents(fake *wecomtest.Fake, auth *wecom.Middleware, site string) error {
	const token, key = "TokenOfTheQuickstart", "keyOfTheQuickstart0123456789abcdefghijklmno"
	receiver, err := events.New(events.Options{
		Token: wecom.NewSecret(token), EncodingAESKey: wecom.NewSecret(key), Middlewares: []*wecom.Middleware{auth},
	})
	if err != nil {
		return err
	}
	return fake.SaveEventReceiver(wecomtest.EventReceiver{
		AgentID: fake.AgentID(), URL: site + "/wecom/events", Handler: receiver, Token: token, EncodingAESKey: key,
	})
}

// siteURL is how this machine's browser reaches addr.
func siteURL(addr net.Addr) string {
	host, port, _ := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return server.Shutdown(ctx)
	}
}

func env(name, otherwise string) string {
	if value := strings.TrimSpace(os.Getenv(name)); value != "" {
		return value
	}
	return otherwise
}
