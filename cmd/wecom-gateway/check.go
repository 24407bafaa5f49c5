package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/issuer"
	"github.com/wecomauth/wecom/tokenstore/redisstore"
)

// check asks everything that the gateway needs whether it is there, and says so
// line by line. It returns the exit status.
func check(ctx context.Context, c config, auth *wecom.Middleware, iss *issuer.Issuer, s *stores, out io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	type step struct {
		name string
		run  func(context.Context) error
	}
	checks := []step{
		{"WeCom (" + c.CorpID + ", app " + c.AgentID + ")", auth.Check},
		{"session store (" + withoutPassword(c.sessionStore) + ")", s.answers},
		{"token store (" + withoutPassword(c.tokenStore) + ")", s.checkTokens},
		{"groups (department/list, tag/list)", newGroups(c, auth.Client(), s.tokens, slog.Default()).check},
		{"upstream", checkUpstream(c.upstream)},
		{"events (form of Token and EncodingAESKey)", c.checkEvents},
	}
	if iss != nil {
		keys, err := c.checkKeys(ctx, iss)
		checks = append(checks, step{"signing keys" + keys, func(context.Context) error { return err }})
	}
	for _, h := range c.hosts {
		checks = append(checks, step{"upstream of " + h.name, checkUpstream(h.upstream)})
	}
	status := 0
	for _, one := range checks {
		err := one.run(ctx)
		switch {
		case errors.Is(err, errNone):
			fmt.Fprintf(out, "none    %s\n", one.name)
		case err != nil:
			status = 1
			fmt.Fprintf(out, "failed  %s: %s\n", one.name, explain(err))
		default:
			fmt.Fprintf(out, "ok      %s\n", one.name)
		}
	}
	for _, warning := range c.warnings {
		fmt.Fprintf(out, "warning %s\n", warning)
	}
	return status
}

var errNone = errors.New("none")

func (s *stores) checkTokens(ctx context.Context) error {
	if s.problem != nil || s.tokens == nil {
		return s.problem
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for n := range probes {
		key := fmt.Sprint("check-", n)
		if _, ok := s.tokens.(*redisstore.Store); !ok {
			key = "check" // one file is as good as another
		}
		// Taking the key's lock writes. There is no token to store.
		_, err := s.tokens.Update(ctx, key, func(context.Context, wecom.Token) (wecom.Token, error) { return wecom.Token{}, errNone })
		if !errors.Is(err, errNone) {
			return hint(err)
		}
	}
	return nil
}

// checkEvents has nothing to look at: a pair that cannot work ends the program before.
func (c *config) checkEvents(context.Context) error {
	if !c.hasEvents() {
		return errNone
	}
	return nil
}

// checkKeys lists the signing keys.
func (c *config) checkKeys(ctx context.Context, iss *issuer.Issuer) (list string, err error) {
	if c.sessionStore == "memory" && c.signingKeys == nil {
		return " (in memory: each start makes new ones)", errNone
	}
	keys, err := iss.Keys(ctx)
	for _, k := range keys {
		list += "\n        " + k.Algorithm + " " + k.ID
		if !k.Made.IsZero() {
			list += fmt.Sprintf(" made %s, %d days ago", k.Made.Format(time.DateOnly), int(time.Since(k.Made).Hours()/24))
		}
		if k.Signs {
			list += ", signs"
		}
	}
	return list, err
}

// checkUpstream takes any answer of HTTP for a sign of life.
func checkUpstream(u *url.URL) func(context.Context) error {
	return func(ctx context.Context) error {
		if u == nil {
			return errNone
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodHead, u.String(), nil)
		if err != nil {
			return err
		}
		transport := &http.Transport{DisableKeepAlives: true}
		res, err := transport.RoundTrip(r)
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
}

// explain adds the screen of the admin console where what WeCom refuses can be fixed.
func explain(err error) string {
	var api *wecom.APIError
	if errors.As(err, &api) && api.Remedy() != "" {
		err = fmt.Errorf("%w: %s", err, api.Remedy())
	}
	return all.Named(err).Error()
}
