package storetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
	"github.com/wecomauth/wecom/weixin"
)

const accountVar = "WECOM_STORETEST_ACCOUNT" // server, app id, secret, openid

// Accounts lets 8 processes call Weixin's API as one official account, with the
// classic token: each fetch kills the token before, at once. Whichever
// process fetches, no call of another one fails.
func Accounts(t *testing.T, medium string) {
	fake := wecomtest.New()
	fake.Configure(func(s *wecomtest.Settings) { s.ClassicOverlap = 0 })
	server, err := fake.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	app := fake.WeixinAccount()
	described := strings.Join([]string{server.URL(), app.AppID, app.Secret, fake.OpenID(app.AppID, "xiaoming")}, " ")

	fleet := make([]*Process, members)
	for i := range fleet {
		fleet[i] = Start(t, "account", medium, accountVar+"="+described)
	}
	for _, p := range fleet {
		if got := p.Hear(); got != "ready" {
			t.Fatalf("a process said %q", got)
		}
	}
	call := func(when string) {
		for _, p := range fleet {
			p.Say("call")
		}
		for _, p := range fleet {
			if got, want := p.Hear(), fmt.Sprintf("%d answered", usersEach); got != want {
				t.Errorf("%s, a process said %q", when, got)
			}
		}
	}
	call("on a cold token")
	for i, one := range fleet[:3] { // a source acts upon three refusals a minute
		when := fmt.Sprintf("while process %d fetches", i)
		one.Say("fetch")
		call(when)
		call("after that") // so that all have the token that is killed next
		if n := fake.Calls("token"); n != i+2 {
			t.Fatalf("%s, the fleet has fetched %d tokens, want %d", when, n, i+2)
		}
	}
	calls, wanted := fake.Calls("user/info"), 7*members*usersEach
	t.Logf("%d calls, %d of them again, since their token had just been killed", wanted, calls-wanted)
}

// account is a process of that fleet. It obeys line by line.
func account(store wecom.TokenStore, stdin *bufio.Reader) error {
	described := strings.Fields(os.Getenv(accountVar))
	if len(described) != 4 {
		return errors.New(accountVar + " is not set")
	}
	client, err := weixin.NewClient(weixin.Options{
		AppID: described[1], Secret: wecom.NewSecret(described[2]), ClassicToken: true, TokenStore: store,
		Endpoints: weixin.Endpoints{API: described[0]},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	fmt.Println("ready")
	for {
		line, err := stdin.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "fetch\n" {
			if err := fetchAnew(ctx, client); err != nil {
				return err
			}
			continue
		}
		fmt.Println(callAll(ctx, client, described[3]))
	}
}

func fetchAnew(ctx context.Context, client *wecom.Client) error {
	token, err := client.Token(ctx)
	if err != nil {
		return err
	}
	client.Invalidate(token)
	_, err = client.Token(ctx)
	return err
}

func info(ctx context.Context, client *wecom.Client, openID string) error {
	return client.Call(ctx, "GET", "/cgi-bin/user/info", url.Values{"openid": {openID}}, nil, nil)
}

func callAll(ctx context.Context, client *wecom.Client, openID string) any {
	var group sync.WaitGroup
	failed := make(chan error, usersEach)
	for range usersEach {
		group.Go(func() {
			if err := info(ctx, client, openID); err != nil {
				failed <- err
			}
		})
	}
	group.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return fmt.Sprintf("%d answered", usersEach)
	}
}
