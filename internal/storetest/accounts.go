package storetest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"testing"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
	"github.com/wecomauth/wecom/weixin"
)

// Accounts lets 8 processes call Weixin's API as one official account, with the classic token: each
// fetch kills the token before, at once. Whichever process fetches, no call of another one fails.
func Accounts(t *testing.T, medium string) {
	fake := wecomtest.New()
	fake.Configure(func(s *wecomtest.Settings) { s.ClassicOverlap = 0 })
	account := fake.WeixinAccount()
	all := startFleet(t, "account", medium, app{
		AppID: account.AppID, Secret: account.Secret, OpenID: fake.OpenID(account.AppID, "xiaoming"), Endpoints: start(t, fake).Endpoints(),
	})
	all.tell(t, "on a cold token", "call")
	for i, one := range all[:3] { // a source acts upon three refusals a minute
		when := fmt.Sprintf("while process %d fetches", i)
		one.Say("fetch")
		all.tell(t, when, "call")
		if got := one.Hear(); got != "done" { // it has answered twice
			t.Errorf("%s, it said %q", when, got)
		}
		all.tell(t, "after that", "call") // so that all have the token that is killed next
		if n := fake.Calls("token"); n != i+2 {
			t.Fatalf("%s, the fleet has fetched %d tokens, want %d", when, n, i+2)
		}
	}
	calls, wanted := fake.Calls("user/info"), 7*members*usersEach
	t.Logf("%d calls, %d of them again, since their token had just been killed", wanted, calls-wanted)
}

// account is a process of that fleet.
func account(store wecom.TokenStore, stdin *bufio.Reader) error {
	var a app
	if err := json.Unmarshal([]byte(os.Getenv(appVar)), &a); err != nil {
		return err
	}
	client, err := weixin.NewClient(weixin.Options{
		AppID: a.AppID, Secret: wecom.NewSecret(a.Secret), ClassicToken: true, TokenStore: store,
		Endpoints: weixin.Endpoints{API: a.Endpoints.API},
	})
	if err != nil {
		return err
	}
	return obey(stdin, func(ctx context.Context, line string) error {
		if line == "fetch" {
			token, err := client.Token(ctx)
			if err != nil {
				return err
			}
			client.Invalidate(token)
			_, err = client.Token(ctx)
			return err
		}
		return together(func() error {
			return client.Call(ctx, "GET", "/cgi-bin/user/info", url.Values{"openid": {a.OpenID}}, nil, nil)
		})
	})
}
