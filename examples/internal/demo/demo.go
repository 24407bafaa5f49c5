// Package demo is what the examples have in common: where they listen, and the fake WeCom or Weixin
// that they bring along.
package demo

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/envoptions"
	"github.com/wecomauth/wecom/wecomtest"
)

// WeCom serves the site that is made from the options in the environment, as package envoptions
// reads them; if they name no app, from those of a fake WeCom. See [Serve].
func WeCom(site func(wecom.Options) (http.Handler, error)) error {
	variables := envoptions.All()
	options, err := variables.Read(os.Getenv)
	if err != nil {
		return err
	}
	var fake *wecomtest.Fake
	if options.CorpID == "" && options.AgentID == "" && options.Secret.Reveal() == "" {
		fake = wecomtest.New()
	}
	return Serve(fake, func(url string, server *wecomtest.Server) (http.Handler, error) {
		options.CallbackURL = cmp.Or(options.CallbackURL, url+"/wecom/callback")
		if server != nil {
			options = server.Options(options.CallbackURL)
		}
		handler, err := site(options)
		return handler, variables.Named(err)
	})
}

// Serve serves a site at ADDR (127.0.0.1:8080), and fake, unless it is nil, at FAKE_ADDR
// (127.0.0.1:8081). It returns when that fails. site makes the site's handler from its URL and the
// fake's server, nil if there is none.
func Serve(fake *wecomtest.Fake, site func(url string, server *wecomtest.Server) (http.Handler, error)) error {
	listener, err := net.Listen("tcp", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8080"))
	if err != nil {
		return err
	}
	defer listener.Close()
	var server *wecomtest.Server
	if fake != nil {
		if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
			return errors.New("the fake lets everybody in: ADDR must be on 127.0.0.1 until the app's id and secret are set")
		}
		if server, err = fake.Start(cmp.Or(os.Getenv("FAKE_ADDR"), "127.0.0.1:8081")); err != nil {
			return err
		}
		defer server.Close()
	}
	url := "http://" + listener.Addr().String()
	handler, err := site(url, server)
	if err != nil {
		return err
	}
	fmt.Printf("Open %[1]s/ in a browser (Ctrl-C ends).\n在浏览器中打开 %[1]s/ （按 Ctrl-C 结束）。\n", url)
	if server != nil {
		fmt.Printf("No credentials are set, so a fake WeCom and Weixin runs at %[1]s\n没有设置凭证，已启动模拟的企业微信和微信：%[1]s\n", server.URL())
	}
	return (&http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}).Serve(listener)
}
