// Fake-wecom is the fake WeCom (企业微信) of package wecomtest as a program, for applications in
// any language: the sign-in pages, the server API with its errcodes, and a page of its own that
// shows who is signed in where, which calls came in, and has buttons for faults and for people
// who leave.
//
//	go run github.com/wecomauth/wecom/cmd/fake-wecom
//	go run github.com/wecomauth/wecom/cmd/fake-wecom -directory people.json -keep
//
// It lets everybody in, and so it listens on loopback only. A program in a container cannot reach
// that, unless it has the host's network; -also listens where the container can:
//
//	go run github.com/wecomauth/wecom/cmd/fake-wecom -also 172.17.0.1:8081
//
// The container's WECOM_API_URL is then http://172.17.0.1:8081 and its other variables are as
// printed, since the browser is on this machine.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/wecomauth/wecom/wecomtest"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("fake-wecom: ")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	if err := run(os.Args[1:], os.Stdout, stop); err != nil {
		log.Fatal(err)
	}
}

// run serves the fake until stop has something.
func run(args []string, out io.Writer, stop <-chan os.Signal) error {
	flags := flag.NewFlagSet("fake-wecom", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:8081", "where it listens, on loopback")
	directory := flags.String("directory", "", "a JSON `file` of departments, members and tags, as WeCom's API spells them")
	keep := flags.Bool("keep", false, "write what changes, and the receiver of events, back to -directory, and make that file if it is not there")
	also := flags.String("also", "", "a second `address`, for programs in containers; who reaches it can be anybody")
	domain := flags.String("trust", "", "the only `host` to which a code may be sent (可信域名), with its port unless that is 80 or 443; by default any,\nand agent/get names none: then wecom-gateway -check wants this flag, except on loopback")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("there are no arguments beside the flags: %q", flags.Args())
	}
	if strings.ContainsAny(*domain, ",/ ") {
		return fmt.Errorf("-trust %q: want one host, such as app.example.com or sso.localhost:8090", *domain)
	}
	fake := wecomtest.New()
	if *domain != "" {
		fake.TrustDomain(*domain)
	}
	if *keep && *directory == "" {
		return errors.New("-keep needs -directory: where to keep it")
	}
	if *directory != "" {
		if err := read(fake, *directory, *keep); err != nil {
			return err
		}
	}
	if *keep {
		fake.OnChange(func() {
			if err := write(fake, *directory); err != nil {
				log.Print(err)
			}
		})
	}
	server, err := fake.Start(*addr)
	if err != nil {
		return err
	}
	defer server.Close()
	if *also != "" {
		listener, err := net.Listen("tcp", *also)
		if err != nil {
			return err
		}
		defer listener.Close()
		log.Printf("it also listens on %s: whoever reaches that can sign in as anybody", listener.Addr())
		go func() { _ = (&http.Server{Handler: fake, ReadHeaderTimeout: 10 * time.Second}).Serve(listener) }()
	}
	at := server.Endpoints()
	fmt.Fprintf(out, `# The fake WeCom runs at %s/ (Ctrl-C ends).
# 模拟的企业微信已启动，用浏览器打开上面的地址可以查看调用、制造故障（按 Ctrl-C 结束）。
export WECOM_CORP_ID=%s
export WECOM_AGENT_ID=%s
export WECOM_SECRET=%s
export WECOM_API_URL=%s
export WECOM_AUTHORIZE_URL=%s
export WECOM_WEB_LOGIN_URL=%s
`, server.URL(), fake.CorpID(), fake.AgentID(), fake.Secret(), at.API, at.Authorize, at.WebLogin)
	log.Printf("ready: %s/ is its console, standard output has the variables", server.URL())
	<-stop
	return nil
}

const maxDirectory = 64 << 20

func read(fake *wecomtest.Fake, name string, mayBeMissing bool) error {
	file, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) && mayBeMissing {
		return write(fake, name)
	}
	if err != nil {
		return err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxDirectory+1))
	if err != nil {
		return err
	}
	if len(data) > maxDirectory {
		return fmt.Errorf("%s is larger than %d MiB", name, maxDirectory>>20)
	}
	if err := fake.SetContacts(data); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var more settings
	if err := json.Unmarshal(data, &more); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, r := range more.Receivers {
		err := fake.SaveEventReceiver(wecomtest.EventReceiver{
			AgentID: r.AgentID, URL: r.URL, Token: r.Token, EncodingAESKey: r.EncodingAESKey, Verified: true,
		})
		if err != nil {
			return fmt.Errorf("%s: receiver: %w", name, err)
		}
	}
	return nil
}

// settings stand in the file beside the contacts.
type settings struct {
	Receivers []receiver `json:"receiver,omitempty"`
}

// A receiver is what was saved under 接收事件的应用 on the fake's page.
type receiver struct {
	AgentID        string `json:"agentid"`
	URL            string `json:"url"`
	Token          string `json:"token"`
	EncodingAESKey string `json:"encodingaeskey"`
}

// contents is what the file holds.
func contents(fake *wecomtest.Fake) ([]byte, error) {
	var more settings
	for _, r := range fake.EventReceivers() {
		more.Receivers = append(more.Receivers, receiver{r.AgentID, r.URL, r.Token, r.EncodingAESKey})
	}
	all := map[string]json.RawMessage{}
	data, err := json.Marshal(more)
	if err := errors.Join(err, json.Unmarshal(data, &all), json.Unmarshal(fake.Contacts(), &all)); err != nil {
		return nil, err
	}
	return json.MarshalIndent(all, "", "  ")
}

// write replaces the file whole: a program that ends halfway leaves the old one.
func write(fake *wecomtest.Fake, name string) error {
	data, err := contents(fake)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(append(data, '\n')); err != nil {
		file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}
