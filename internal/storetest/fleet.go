package storetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wecomauth/wecom"
)

const (
	serverVar = "WECOM_STORETEST_SERVER"

	members, usersEach = 8, 50

	// FleetKey is the key of the token that a fleet shares.
	FleetKey = "storetest:fleet"
)

// Fleet signs in 50 users in each of 8 processes, first without a token and then with
// one that WeCom refuses. Each time the fleet fetches one token, and everyone signs in.
func Fleet(t *testing.T, medium string) {
	s := newTokenServer(t)
	fleet := make([]*Process, members)
	for i := range fleet {
		fleet[i] = Start(t, "member", medium, serverVar+"="+s.url)
	}
	for _, p := range fleet {
		if got := p.Hear(); got != "ready" {
			t.Fatalf("a process said %q", got)
		}
	}
	for round, when := range []string{"on a cold token", "on a killed token", "on another killed token"} {
		s.current.Store(nil)
		start := time.Now()
		for _, p := range fleet {
			p.Say("go")
		}
		for _, p := range fleet {
			if got, want := p.Hear(), fmt.Sprintf("%d signed in", usersEach); got != want {
				t.Errorf("%s, a process said %q", when, got)
			}
		}
		t.Logf("%s: %d sign-ins in %v, %d fetches so far", when, members*usersEach, time.Since(start).Round(time.Millisecond), s.fetches.Load())
		if n := s.fetches.Load(); n != int64(round+1) {
			t.Fatalf("%s, the fleet has fetched %d tokens, want %d", when, n, round+1)
		}
	}
}

// member is a process of the fleet: at each line it signs its users in, all at once.
func member(store wecom.TokenStore, stdin *bufio.Reader) error {
	server := os.Getenv(serverVar)
	source := wecom.NewTokenSource(FleetKey, store, func(ctx context.Context, _ wecom.Token) (wecom.Token, error) {
		return fetchToken(ctx, server)
	})
	fmt.Println("ready")
	for {
		if _, err := stdin.ReadString('\n'); err != nil {
			return err
		}
		var (
			group    sync.WaitGroup
			signedIn atomic.Int64
			last     atomic.Value
		)
		for range usersEach {
			group.Go(func() {
				if err := signIn(source, server); err != nil {
					last.Store(err.Error())
					return
				}
				signedIn.Add(1)
			})
		}
		group.Wait()
		if err := last.Load(); err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(signedIn.Load(), "signed in")
	}
}

func signIn(source wecom.TokenSource, server string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for range 2 { // as a Client does: once more after a refusal
		t, err := source.Token(ctx)
		if err != nil {
			return err
		}
		status, _, err := call(ctx, server+"/use", t.Value.Reveal())
		if err != nil {
			return err
		}
		if status == http.StatusOK {
			return nil
		}
		source.Invalidate(t)
	}
	return errors.New("refused twice")
}

func fetchToken(ctx context.Context, server string) (wecom.Token, error) {
	_, value, err := call(ctx, server+"/gettoken", "")
	return wecom.Token{Value: wecom.NewSecret(value), Expires: time.Now().Add(2 * time.Hour)}, err
}

func call(ctx context.Context, url, token string) (status int, value string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Token", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	return resp.StatusCode, resp.Header.Get("Token"), resp.Body.Close()
}

// A tokenServer is as much of WeCom as a token needs: one at a time, and none counts
// but the current one.
type tokenServer struct {
	url     string
	fetches atomic.Int64
	current atomic.Pointer[string]
}

func newTokenServer(t *testing.T) *tokenServer {
	s := &tokenServer{}
	mux := http.NewServeMux()
	mux.HandleFunc("/gettoken", func(w http.ResponseWriter, r *http.Request) {
		value := fmt.Sprintf("token-%d", s.fetches.Add(1))
		select {
		case <-time.After(100 * time.Millisecond): // as slow as WeCom, so that others come meanwhile
		case <-r.Context().Done():
		}
		s.current.Store(&value)
		w.Header().Set("Token", value)
	})
	mux.HandleFunc("/use", func(w http.ResponseWriter, r *http.Request) {
		if c := s.current.Load(); c == nil || *c != r.Header.Get("Token") {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}
