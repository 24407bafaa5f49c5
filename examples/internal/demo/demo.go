// Package demo is what the examples have in common: where they listen, and the fake WeCom or Weixin
// that they bring along.
package demo

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/envoptions"
	"github.com/wecomauth/wecom/wecomtest"
)

// What the fake's events are signed and encrypted with, for sites that receive them at /wecom/events.
const eventToken, eventKey = "TokenOfTheExamples", "keyOfTheExamples0123456789abcdefghijklmnopq"

// WeCom serves the site that is made from the options in the environment, as package envoptions
// reads them; if they name no app, from those of a fake WeCom. story is the URL of the fake's page that tells
// what happened, "" without a fake. See [Serve].
func WeCom(site func(o wecom.Options, story string) (http.Handler, error)) error {
	variables := envoptions.All()
	options, mistakes := variables.Read(os.LookupEnv)
	var fake *wecomtest.Fake
	if options.CorpID == "" && options.AgentID == "" && options.Secret.Reveal() == "" {
		fake = wecomtest.New()
		os.Setenv("WECOM_EVENT_TOKEN", eventToken)
		os.Setenv("WECOM_EVENT_AES_KEY", eventKey)
	}
	return Serve(fake, func(at string, server *wecomtest.Server) (http.Handler, error) {
		options.CallbackURL = cmp.Or(options.CallbackURL, at+"/wecom/callback")
		story := ""
		if server != nil {
			useFake(&options, server)
			story = server.URL() + "/story"
		}
		handler, err := site(options, story)
		if err := errors.Join(mistakes, variables.Named(err)); err != nil {
			return nil, fmt.Errorf("these variables cannot work; with WECOM_CORP_ID, WECOM_AGENT_ID and WECOM_SECRET unset, a fake WeCom runs:\n%w", err)
		}
		if fake != nil {
			// A site without a receiver hears nothing of those who leave.
			_ = fake.SaveEventReceiver(wecomtest.EventReceiver{
				AgentID: fake.AgentID(), URL: at + "/wecom/events", Handler: handler, Token: eventToken, EncodingAESKey: eventKey,
			})
		}
		return handler, nil
	})
}

// useFake completes options by what the fake accepts.
func useFake(o *wecom.Options, server *wecomtest.Server) {
	f := server.Options(o.CallbackURL)
	o.CorpID, o.AgentID, o.Secret = f.CorpID, f.AgentID, f.Secret
	o.Endpoints.API = cmp.Or(o.Endpoints.API, f.Endpoints.API)
	o.Endpoints.Authorize = cmp.Or(o.Endpoints.Authorize, f.Endpoints.Authorize)
	o.Endpoints.WebLogin = cmp.Or(o.Endpoints.WebLogin, f.Endpoints.WebLogin)
	o.Endpoints.PanelScript = cmp.Or(o.Endpoints.PanelScript, f.Endpoints.PanelScript)
}

// Serve serves a site at ADDR (127.0.0.1:8080), and fake, unless it is nil, at FAKE_ADDR
// (127.0.0.1:8081). It returns when that fails. site makes the site's handler from its URL and the
// fake's server, nil if there is none.
func Serve(fake *wecomtest.Fake, site func(at string, server *wecomtest.Server) (http.Handler, error)) error {
	listener, err := net.Listen("tcp", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8080"))
	if err != nil {
		return fmt.Errorf("ADDR, where the site listens: %w", err)
	}
	defer listener.Close()
	var server *wecomtest.Server
	if fake != nil {
		if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
			return errors.New("the fake lets everybody in: ADDR must be on 127.0.0.1 until the app's id and secret are set")
		}
		if server, err = fake.Start(cmp.Or(os.Getenv("FAKE_ADDR"), "127.0.0.1:8081")); err != nil {
			return fmt.Errorf("FAKE_ADDR, where the fake listens: %w", err)
		}
		defer server.Close()
	}
	at := siteURL(listener.Addr())
	handler, err := site(at, server)
	if err != nil {
		return err
	}
	if server != nil {
		fmt.Printf("No credentials are set, so a fake WeCom and Weixin runs at %[1]s\n没有设置凭证，已启动模拟的企业微信和微信：%[1]s\n"+
			"  corp id  (企业ID)   %[2]s\n  agent id (AgentId)  %[3]s\n  secret   (Secret)   %[4]s\n",
			server.URL(), fake.CorpID(), fake.AgentID(), fake.Secret())
	} else {
		fmt.Println("Credentials are set, so no fake runs: this is WeCom itself, or what the WECOM_…_URL variables name.\n已设置凭证，不启动模拟的企业微信：连接的是真实的企业微信，或 WECOM_…_URL 指定的地址。")
	}
	if callback, err := url.Parse(os.Getenv("WECOM_CALLBACK_URL")); err == nil && callback.Host != "" { // behind a proxy it is not our own address
		at = callback.Scheme + "://" + callback.Host
	}
	fmt.Printf("Open %[1]s/ in a browser (Ctrl-C ends).\n在浏览器中打开 %[1]s/ （按 Ctrl-C 结束）。\n", at)
	return (&http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}).Serve(listener)
}

// siteURL is how this machine's browser reaches addr.
func siteURL(addr net.Addr) string {
	host, port, _ := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
