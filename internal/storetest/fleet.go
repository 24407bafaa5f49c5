package storetest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/tokenkey"
	"github.com/wecomauth/wecom/wecomtest"
)

const members, usersEach = 8, 50

// A fleet is processes that play the same role and share a store.
type fleet []*Process

const appVar = "WECOM_STORETEST_APP"

// An app is what a process is told about WeCom or Weixin.
type app struct {
	CorpID, AgentID, AppID, Secret string
	OpenID                         string // of somebody who follows the official account
	Endpoints                      wecom.Endpoints
}

// startFleet starts a fleet that obeys. See obey.
func startFleet(t *testing.T, role, medium string, a app) fleet {
	t.Helper()
	told, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	all := make(fleet, members)
	for i := range all {
		all[i] = Start(t, role, medium, appVar+"="+string(told))
	}
	for _, p := range all {
		if got := p.Hear(); got != "ready" {
			t.Fatalf("a process said %q", got)
		}
	}
	return all
}

// tell says a line to all processes at once and expects that each has done it.
func (all fleet) tell(t *testing.T, when, line string) {
	t.Helper()
	for _, p := range all {
		p.Say(line)
	}
	for _, p := range all {
		if got := p.Hear(); got != "done" {
			t.Errorf("%s, a process said %q", when, got)
		}
	}
}

// obey is a process of a fleet: it does what each line says, and answers "done" or what went wrong.
func obey(stdin *bufio.Reader, do func(ctx context.Context, line string) error) error {
	fmt.Println("ready")
	for {
		line, err := stdin.ReadString('\n')
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err = do(ctx, strings.TrimSpace(line))
		cancel()
		answer := "done"
		if err != nil {
			answer = strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		fmt.Println(answer)
	}
}

// together runs do for a process's people, all at once.
func together(do func() error) error {
	var group sync.WaitGroup
	errs := make([]error, usersEach)
	for i := range errs {
		group.Go(func() { errs[i] = do() })
	}
	group.Wait()
	return errors.Join(errs...)
}

func start(t *testing.T, fake *wecomtest.Fake) *wecomtest.Server {
	t.Helper()
	server, err := fake.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return server
}

// FleetKey is the key of the token that a fleet shares.
var FleetKey = func() string {
	fake := wecomtest.New()
	return tokenkey.Of(errcode.WeCom, fake.CorpID(), fake.AgentID(), fake.Secret())
}()

// Fleet signs 50 people in at each of 8 gateways, processes of their own: first without a token and
// then with one that WeCom has killed. Each time the fleet fetches one token, and everyone is
// signed in. With wait, the gateways wait for the first token before that: the lock of a killed
// holder may last longer than a sign-in.
func Fleet(t *testing.T, medium string, wait bool) {
	fake := wecomtest.New()
	fake.SignInAs("zhangsan")
	fake.Always("/cgi-bin/gettoken", wecomtest.Fault{Delay: 100 * time.Millisecond}) // as slow as WeCom, so that others come meanwhile
	server := start(t, fake)
	all := startFleet(t, "gateway", medium, app{
		CorpID: fake.CorpID(), AgentID: fake.AgentID(), Secret: fake.Secret(), Endpoints: server.Endpoints(),
	})
	if wait {
		all.tell(t, "without a holder", "token")
	}
	for round, when := range []string{"on a cold token", "on a killed token", "on another killed token"} {
		start := time.Now()
		all.tell(t, when, "sign in")
		n := fake.Calls("/cgi-bin/gettoken")
		t.Logf("%s: %d sign-ins in %v, %d fetches so far", when, members*usersEach, time.Since(start).Round(time.Millisecond), n)
		if n != round+1 {
			t.Fatalf("%s, the fleet has fetched %d tokens, want %d", when, n, round+1)
		}
		fake.KillTokens()
	}
}

// gateway is a process of that fleet.
func gateway(store wecom.TokenStore, stdin *bufio.Reader) error {
	var a app
	if err := json.Unmarshal([]byte(os.Getenv(appVar)), &a); err != nil {
		return err
	}
	server := httptest.NewUnstartedServer(nil)
	defer server.Close()
	site := "http://" + server.Listener.Addr().String()
	auth, err := wecom.New(wecom.Options{
		CorpID: a.CorpID, AgentID: a.AgentID, Secret: wecom.NewSecret(a.Secret), Endpoints: a.Endpoints,
		CallbackURL: site + "/wecom/callback", TokenStore: store,
	})
	if err != nil {
		return err
	}
	server.Config.Handler = auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		_, _ = io.WriteString(w, "hello "+id.UserID)
	}))
	server.Start()
	return obey(stdin, func(ctx context.Context, line string) error {
		if line == "token" {
			_, err := auth.Client().Token(ctx)
			return err
		}
		return together(func() error { return signIn(ctx, site) })
	})
}

// signIn opens a page as a browser inside WeCom does, which signs in on the way.
func signIn(ctx context.Context, site string) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, site+"/reports", nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", wecomtest.UserAgentWeComAndroid)
	r.Header.Set("Accept", "text/html")
	resp, err := (&http.Client{Jar: jar}).Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && string(body) != "hello zhangsan" {
		err = fmt.Errorf("status %d at %s", resp.StatusCode, resp.Request.URL.Path)
	}
	return err
}
