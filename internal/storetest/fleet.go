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

const (
	appVar = "WECOM_STORETEST_APP"

	members, usersEach = 8, 50

	gatewayHost = "gateway.example.com"
)

// FleetKey is the key of the token that a fleet shares.
var FleetKey = func() string {
	fake := wecomtest.New()
	return tokenkey.Of(errcode.WeCom, fake.CorpID(), fake.AgentID(), fake.Secret())
}()

// Fleet signs 50 people in at each of 8 gateways, processes of their own: first without a token
// and then with one that WeCom has killed. Each time the fleet fetches one token, and everyone is
// signed in. With wait, the gateways wait for the first token before that: the lock of a killed
// holder may last longer than a sign-in.
func Fleet(t *testing.T, medium string, wait bool) {
	fake := wecomtest.New()
	fake.SignInAs("zhangsan")
	fake.Always("/cgi-bin/gettoken", wecomtest.Fault{Delay: 100 * time.Millisecond}) // as slow as WeCom, so that others come meanwhile
	server, err := fake.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	app, err := json.Marshal(appOfFleet{fake.CorpID(), fake.AgentID(), fake.Secret(), server.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}

	fleet := make([]*Process, members)
	for i := range fleet {
		fleet[i] = Start(t, "gateway", medium, appVar+"="+string(app))
	}
	tell := func(when, what, want string) {
		for _, p := range fleet {
			p.Say(what)
		}
		for _, p := range fleet {
			if got := p.Hear(); got != want {
				t.Errorf("%s, a gateway said %q", when, got)
			}
		}
	}
	for _, p := range fleet {
		if got := p.Hear(); got != "ready" {
			t.Fatalf("a gateway said %q", got)
		}
	}
	if wait {
		tell("without a holder", "token", fmt.Sprintf("%d done", usersEach))
	}
	for round, when := range []string{"on a cold token", "on a killed token", "on another killed token"} {
		start := time.Now()
		tell(when, "sign in", fmt.Sprintf("%d done", usersEach))
		n := fake.Calls("/cgi-bin/gettoken")
		t.Logf("%s: %d sign-ins in %v, %d fetches so far", when, members*usersEach, time.Since(start).Round(time.Millisecond), n)
		if n != round+1 {
			t.Fatalf("%s, the fleet has fetched %d tokens, want %d", when, n, round+1)
		}
		fake.KillTokens()
	}
}

// An appOfFleet is what a gateway is told through the environment.
type appOfFleet struct {
	CorpID, AgentID, Secret string
	Endpoints               wecom.Endpoints
}

// gateway is a process of the fleet: at each line its people do what the line says, all at once.
func gateway(store wecom.TokenStore, stdin *bufio.Reader) error {
	var app appOfFleet
	if err := json.Unmarshal([]byte(os.Getenv(appVar)), &app); err != nil {
		return err
	}
	auth, err := wecom.New(wecom.Options{
		CorpID: app.CorpID, AgentID: app.AgentID, Secret: wecom.NewSecret(app.Secret), Endpoints: app.Endpoints,
		CallbackURL: "https://" + gatewayHost + "/wecom/callback", TokenStore: store,
	})
	if err != nil {
		return err
	}
	site := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		_, _ = io.WriteString(w, "hello "+id.UserID)
	}))
	fmt.Println("ready")
	for {
		line, err := stdin.ReadString('\n')
		if err != nil {
			return err
		}
		errs := make([]error, usersEach)
		var group sync.WaitGroup
		for i := range errs {
			group.Go(func() {
				if line == "token\n" {
					errs[i] = waitForToken(auth.Client())
					return
				}
				errs[i] = signIn(site)
			})
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			fmt.Println(strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		fmt.Println(usersEach, "done")
	}
}

func waitForToken(source wecom.TokenSource) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := source.Token(ctx)
	return err
}

// signIn opens a page as a browser inside WeCom does, which signs in on the way.
func signIn(site http.Handler) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	browser := http.Client{Jar: jar, Transport: gatewayInProcess{site}, Timeout: 30 * time.Second}
	r, err := http.NewRequest(http.MethodGet, "https://"+gatewayHost+"/reports", nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", wecomtest.UserAgentWeComAndroid)
	r.Header.Set("Accept", "text/html")
	resp, err := browser.Do(r)
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

// gatewayInProcess sends what is for the gateway's host to its handler, everything else to the network.
type gatewayInProcess struct{ site http.Handler }

func (g gatewayInProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != gatewayHost {
		return http.DefaultTransport.RoundTrip(r)
	}
	in := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.RequestURI(), nil)
	in.Header = r.Header
	out := httptest.NewRecorder()
	g.site.ServeHTTP(out, in)
	resp := out.Result()
	resp.Request = r
	return resp, nil
}
