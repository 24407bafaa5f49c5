package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest/conformance"
)

// A counter is a platform and a provider in one. It is right except in one thing.
type counter struct {
	fault string

	mu      sync.Mutex
	issued  int
	pending map[string]bool
	sent    map[string]int
	next    string // what befalls the next exchange
	hang    bool
	apps    int
}

func (c *counter) App() wecom.App {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apps++
	app := wecom.App{Provider: "counter", AppID: "1"}
	switch c.fault {
	case "no name":
		app.Provider = ""
	case "a name that no cookie holds":
		app.Provider = "My Counter"
	case "no app":
		app.AppID = ""
	case "another app each time":
		app.AppID = strconv.Itoa(c.apps)
	}
	return app
}

func (c *counter) AuthorizeURL(a wecom.AuthorizeRequest) string {
	q := url.Values{"state": {a.State}, "redirect_uri": {a.RedirectURI}}
	base := "https://counter.example.com/in?"
	switch c.fault {
	case "state in capitals":
		q.Set("state", strings.ToUpper(a.State))
	case "state cut":
		q.Set("state", a.State[:64])
	case "state twice":
		q.Add("state", a.State)
	case "redirect_uri of the provider's own":
		q.Set("redirect_uri", "https://app.example.com/callback")
	case "redirect_uri not encoded":
		return base + "state=" + a.State + "&redirect_uri=" + a.RedirectURI + "&ua=" + a.UserAgent
	case "a relative address":
		base = "/in?"
	}
	return base + q.Encode()
}

func (c *counter) Identify(ctx context.Context, code string) (wecom.Identity, error) {
	id := wecom.Identity{Provider: "counter", AppID: "1", OpenID: "somebody"}
	switch c.fault {
	case "an identity of another provider":
		id.Provider = "wecom"
	case "nobody":
		id.OpenID = ""
	case "a slash in the user id":
		id.UserID = "corp/somebody"
	}
	c.mu.Lock()
	if c.fault == "another id each time" {
		id.OpenID = "somebody" + strconv.Itoa(len(c.sent))
	}
	c.sent[code]++
	if c.fault == "the code twice" {
		c.sent[code]++
	}
	hang, next, good := c.hang, c.next, c.pending[code]
	c.next = ""
	if c.fault != "a code for ever" {
		delete(c.pending, code)
	}
	c.mu.Unlock()
	if hang && c.fault != "deaf to its context" {
		<-ctx.Done()
	} else if hang {
		<-context.WithoutCancel(ctx).Done()
	}
	switch {
	case c.fault == "welcome, everybody":
		return id, nil
	case ctx.Err() != nil && c.fault != "a context is ignored":
		return wecom.Identity{}, ctx.Err()
	case next != "" && c.fault == "a lost answer is an outage":
		return wecom.Identity{}, errors.New("no answer")
	case next != "":
		return wecom.Identity{}, fmt.Errorf("%w: no answer", wecom.ErrStartOver)
	case !good && c.fault == "a bad code is an outage":
		return wecom.Identity{}, errors.New("refused")
	case !good && c.fault == "an identity beside an error":
		return id, wecom.ErrStartOver
	case !good && c.fault == "the code in the error":
		return wecom.Identity{}, fmt.Errorf("%w: %s was refused", wecom.ErrStartOver, code)
	case !good:
		return wecom.Identity{}, fmt.Errorf("%w: refused", wecom.ErrStartOver)
	}
	return id, nil
}

func (c *counter) desk() conformance.Desk {
	c.pending, c.sent = map[string]bool{}, map[string]int{}
	befall := func(what string) func() {
		return func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.next = what
		}
	}
	return conformance.Desk{
		Provider: c,
		Code: func() string {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.issued++
			code := "the-code-number-" + strconv.Itoa(c.issued)
			c.pending[code] = true
			return code
		},
		Sent: func(code string) int {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.sent[code]
		},
		LoseAnswer: befall("lost"),
		Garble:     befall("garbled"),
		Hang: func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.hang = true
		},
	}
}

func TestProvider(t *testing.T) {
	conformance.Provider(t, func(*testing.T) conformance.Desk { return (&counter{}).desk() })
}

const providerFaultVariable = "CONFORMANCE_TEST_PROVIDER_FAULT"

func TestProviderFindsFaults(t *testing.T) {
	if fault := os.Getenv(providerFaultVariable); fault != "" { // in a process of its own
		conformance.Provider(t, func(*testing.T) conformance.Desk { return (&counter{fault: fault}).desk() })
		return
	}
	for _, fault := range []string{
		"none", "no name", "a name that no cookie holds", "no app", "another app each time", "state in capitals", "state cut",
		"state twice", "redirect_uri of the provider's own", "redirect_uri not encoded", "a relative address",
		"an identity of another provider", "nobody", "a slash in the user id", "another id each time", "the code twice",
		"a code for ever", "deaf to its context", "welcome, everybody", "a context is ignored", "a lost answer is an outage",
		"a bad code is an outage", "an identity beside an error", "the code in the error",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestProviderFindsFaults$", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), providerFaultVariable+"="+fault)
			out, err := cmd.CombinedOutput()
			if fault == "none" {
				assert.NoError(t, err, "%s", out)
				return
			}
			assert.Error(t, err, "the suite does not find it")
		})
	}
}
