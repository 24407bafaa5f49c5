// Fake-wecom is the fake WeCom (企业微信) of package wecomtest as a program, for applications in
// any language: the sign-in pages, the server API with its errcodes, and a page of its own that
// shows who is signed in where, which calls came in, and has buttons for faults and for people
// who leave.
//
//	go run github.com/wecomauth/wecom/cmd/fake-wecom
//	go run github.com/wecomauth/wecom/cmd/fake-wecom -directory people.json -keep
//
// It lets everybody in, and so it listens on loopback only.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

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
	keep := flags.Bool("keep", false, "write what changes back to -directory, and make that file if it is not there")
	domain := flags.String("trust", "", "the only `host` to which a code may be sent (可信域名); by default any")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("there are no arguments beside the flags: %q", flags.Args())
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
	return nil
}

// write replaces the file whole: a program that ends halfway leaves the old one.
func write(fake *wecomtest.Fake, name string) error {
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(fake.Contacts()); err != nil {
		file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}
