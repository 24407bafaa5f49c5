package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wecomauth/wecom"
)

// A Desk is a [wecom.Provider] and the other side of it: the platform where its people sign in, or
// a stand-in. Code is needed; what else is nil leaves out the tests that need it.
type Desk struct {
	Provider wecom.Provider
	// Code signs somebody in, always the same person, and returns the code that the browser would
	// bring back: another one each time.
	Code func() string
	// Sent returns how often a code has reached the platform.
	Sent func(code string) int
	// LoseAnswer makes the platform use the next code up and not answer.
	LoseAnswer func()
	// Garble makes the platform answer the next exchange with the bytes of somebody else, such as a
	// proxy's page with status 200.
	Garble func()
	// Hang makes every exchange wait from now on until its context ends.
	Hang func()
}

// Provider tests an implementation of [wecom.Provider]. Each call of open returns a new provider
// with its platform. What needs to be closed, open closes in its t.Cleanup.
//
//	conformance.Provider(t, func(t *testing.T) conformance.Desk {
//		desk := mydesk.New()
//		return conformance.Desk{Provider: myprovider.New(desk.URL), Code: desk.SignIn}
//	})
func Provider(t *testing.T, open func(t *testing.T) Desk) {
	suite(t, "Provider", open, []testCase[Desk]{
		{"the app has a name and keeps it", testProviderApp},
		{"the address carries state and redirect_uri unchanged", testProviderAddress},
		{"the address is that of the attempt alone", testProviderAddressRace},
		{"a code is somebody of this app", testProviderIdentify},
		{"a person keeps their id", testProviderSamePerson},
		{"a code works once", testProviderOnce},
		{"a code works once for those who come together", testProviderOnceTogether},
		{"a code of nobody's means starting over", testProviderUnknown},
		{"a lost answer means starting over", testProviderLost},
		{"somebody else's answer means starting over", testProviderGarbled},
		{"the end of the context ends the exchange", testProviderContext},
	})
}

var providerName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

func testProviderApp(t *testing.T, d Desk) {
	app := d.Provider.App()
	if !providerName.MatchString(app.Provider) {
		t.Errorf("App().Provider is %q, want a short lower-case word", app.Provider)
	}
	if app.CorpID == "" && app.AppID == "" {
		t.Error("App() names neither corp nor app")
	}
	_, _ = d.Provider.Identify(t.Context(), d.Code())
	if again := d.Provider.App(); again != app {
		t.Errorf("App() was %v and is %v", app, again)
	}
}

// attempts are what a middleware may ask for.
func attempts() (list []wecom.AuthorizeRequest) {
	for i, redirect := range []string{
		"https://app.example.com/wecom/callback",
		"https://app.example.com:8443/a/b~c_d-e.f/callback",
		"http://127.0.0.1:8080/authorization",
	} {
		for j, language := range []string{"zh", "en"} {
			for k, agent := range []string{
				"",
				"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
				"Mozilla/5.0 (Linux; Android 15; wv) AppleWebKit/537.36 MicroMessenger/8.0.50 Language/zh_CN",
				"Mozilla/5.0 (Linux; Android 15; wv) AppleWebKit/537.36 wxwork/4.1.36 MicroMessenger/7.0.1 Language/zh",
				"\"><script>&state=1#?\x00",
			} {
				state := strings.Repeat(fmt.Sprintf("%02x%02x%02xff", i, j, k), 10)[:76]
				list = append(list, wecom.AuthorizeRequest{State: state, RedirectURI: redirect, Language: language, UserAgent: agent})
			}
		}
	}
	return list
}

// checkAddress says what is wrong with the address for an attempt.
func checkAddress(address string, a wecom.AuthorizeRequest) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("it is no URL")
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return errors.New("it is no absolute URL of http or https")
	}
	if strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("it holds characters that no URL holds")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("its query is malformed")
	}
	if got := query["state"]; len(got) != 1 || got[0] != a.State {
		return fmt.Errorf("state is %q, want %q once", got, a.State)
	}
	if got := query["redirect_uri"]; len(got) != 1 || got[0] != a.RedirectURI {
		return fmt.Errorf("redirect_uri is %q, want %q once", got, a.RedirectURI)
	}
	return nil
}

func testProviderAddress(t *testing.T, d Desk) {
	for _, a := range attempts() {
		address := d.Provider.AuthorizeURL(a)
		if err := checkAddress(address, a); err != nil {
			t.Errorf("AuthorizeURL(%+v) = %s: %v", a, address, err)
		}
	}
}

func testProviderAddressRace(t *testing.T, d Desk) {
	var group sync.WaitGroup
	for _, a := range attempts() {
		group.Go(func() {
			if err := checkAddress(d.Provider.AuthorizeURL(a), a); err != nil {
				t.Errorf("beside others: %v", err)
			}
			_ = d.Provider.App()
		})
	}
	group.Wait()
}

// checkIdentity reports what is wrong with an identity that came without an error.
func checkIdentity(t *testing.T, d Desk, id wecom.Identity) {
	t.Helper()
	if got := (wecom.App{Provider: id.Provider, CorpID: id.CorpID, AppID: id.AppID}); got != d.Provider.App() {
		t.Errorf("the identity is of %v, want %v", got, d.Provider.App())
	}
	if id.Key() == "" {
		t.Error("the identity names nobody")
	}
	if strings.Contains(id.UserID, "/") {
		t.Errorf("UserID %q holds a slash", id.UserID)
	}
}

func testProviderIdentify(t *testing.T, d Desk) {
	code := d.Code()
	id, err := d.Provider.Identify(t.Context(), code)
	if err != nil {
		t.Fatalf("Identify: %v", err)
	}
	checkIdentity(t, d, id)
	d.sentAtMost(t, code, 1)
}

func (d Desk) sentAtMost(t *testing.T, code string, n int) {
	t.Helper()
	if d.Sent == nil {
		return
	}
	if got := d.Sent(code); got > n {
		t.Errorf("the code was sent %d times, want %d at most", got, n)
	}
}

func testProviderSamePerson(t *testing.T, d Desk) {
	var keys []string
	for range 2 {
		id, err := d.Provider.Identify(t.Context(), d.Code())
		if err != nil {
			t.Fatalf("Identify: %v", err)
		}
		keys = append(keys, id.Key())
	}
	if keys[0] != keys[1] {
		t.Errorf("one person has the keys %q and %q", keys[0], keys[1])
	}
}

// mustStartOver expects no identity and an error by which a fresh sign-in begins.
func mustStartOver(t *testing.T, code string, id wecom.Identity, err error) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("there is no error, but %q", id.Key())
	case !errors.Is(err, wecom.ErrStartOver):
		t.Errorf("the error does not wrap ErrStartOver: %v", err)
	case id.Key() != "":
		t.Errorf("beside the error there is %q", id.Key())
	case len(code) >= 8 && strings.Contains(err.Error(), code):
		t.Error("the error shows the code")
	}
}

func testProviderOnce(t *testing.T, d Desk) {
	code := d.Code()
	if _, err := d.Provider.Identify(t.Context(), code); err != nil {
		t.Fatalf("Identify: %v", err)
	}
	id, err := d.Provider.Identify(t.Context(), code)
	mustStartOver(t, code, id, err)
}

func testProviderOnceTogether(t *testing.T, d Desk) {
	code := d.Code()
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		came  int
	)
	for range 8 {
		group.Go(func() {
			id, err := d.Provider.Identify(t.Context(), code)
			if err != nil {
				mustStartOver(t, code, id, err)
				return
			}
			checkIdentity(t, d, id)
			mu.Lock()
			defer mu.Unlock()
			came++
		})
	}
	group.Wait()
	if came != 1 {
		t.Errorf("one code was %d sign-ins", came)
	}
}

func testProviderUnknown(t *testing.T, d Desk) {
	for _, code := range []string{
		"", "nobodys-code-0123456789", strings.Repeat("a", 100000), "a&secret=b#c?d=e/../f", "\x00\x01\n\r", "\xff\xfe", "代码",
	} {
		id, err := d.Provider.Identify(t.Context(), code)
		mustStartOver(t, code, id, err)
	}
	if id, err := d.Provider.Identify(t.Context(), d.Code()); err != nil {
		t.Errorf("afterwards nobody can sign in: %v", err)
	} else {
		checkIdentity(t, d, id)
	}
}

func testProviderLost(t *testing.T, d Desk) {
	if d.LoseAnswer == nil {
		t.Skip("the desk cannot lose an answer")
	}
	code := d.Code()
	d.LoseAnswer()
	id, err := d.Provider.Identify(t.Context(), code)
	mustStartOver(t, code, id, err)
	d.sentAtMost(t, code, 1)
}

func testProviderGarbled(t *testing.T, d Desk) {
	if d.Garble == nil {
		t.Skip("the desk cannot garble an answer")
	}
	code := d.Code()
	d.Garble()
	id, err := d.Provider.Identify(t.Context(), code)
	mustStartOver(t, code, id, err)
	d.sentAtMost(t, code, 1)
}

func testProviderContext(t *testing.T, d Desk) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if id, err := d.Provider.Identify(ended, d.Code()); err == nil {
		t.Errorf("under a context that has ended there is no error, but %q", id.Key())
	}
	if d.Hang == nil {
		return
	}
	d.Hang()
	ctx, cancel := context.WithTimeout(t.Context(), soon/10)
	defer cancel()
	done := make(chan error, 1)
	code := d.Code()
	go func() {
		_, err := d.Provider.Identify(ctx, code)
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("an exchange that hung had no error")
		}
		d.sentAtMost(t, code, 1)
	case <-time.After(soon):
		t.Error("Identify does not return when its context ends")
	}
}
