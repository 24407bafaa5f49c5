package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
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
	restriction := "restriction (WECOM_MEMBERS, WECOM_ALLOW_…)"
	if c.Authorize == nil {
		restriction += ": every member of the corp may sign in"
	}
	checks := []step{
		{"WeCom (" + c.CorpID + ", app " + c.AgentID + ")", auth.Check},
		{"session store (" + withoutPassword(c.sessionStore) + ")", s.answers},
		{"token store (" + withoutPassword(c.tokenStore) + ")", s.checkTokens},
		{"groups (department/list, tag/list)", newGroups(c, auth.Client(), s.tokens, slog.Default()).check},
		{"upstream", checkUpstream(c.upstream)},
		{restriction, noneUnless(c.Authorize != nil)},
		{"departments and tags (department/simplelist, tag/list)", c.checkIDs(auth.Client())},
		{"rules (" + c.rulesFile + ")", noneUnless(c.rules != nil)},
		{"clients (" + c.clientsFile + ")", noneUnless(c.clientsFile != "")},
		{"audit (" + c.audit + ")", noneUnless(c.audit != "")},
		{"events (form of Token and EncodingAESKey)", noneUnless(c.hasEvents())},
	}
	if iss != nil {
		keys, err := c.checkKeys(ctx, iss)
		checks = append(checks, step{"signing keys" + keys, func(context.Context) error { return err }})
	}
	for _, h := range c.hosts {
		checks = append(checks, step{"upstream of " + h.name, checkUpstream(h.upstream)})
	}
	// Last, since it may take the rest of the time.
	checks = append(checks, step{"users (user/get)", func(ctx context.Context) error { return c.checkUsers(ctx, auth.Client()) }})
	status := 0
	for _, one := range checks {
		err := one.run(ctx)
		switch {
		case errors.Is(err, errNone):
			fmt.Fprintf(out, "none    %s\n", strings.TrimSuffix(one.name, " ()"))
		case err != nil:
			status = 1
			fmt.Fprintf(out, "failed  %s: %s\n", one.name, all.Named(err))
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

// noneUnless is for settings that end the program before if they cannot work.
func noneUnless(there bool) func(context.Context) error {
	return func(context.Context) error {
		if !there {
			return errNone
		}
		return nil
	}
}

// checkIDs looks for the departments and tags that the settings name.
func (c *config) checkIDs(client *wecom.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		var names []string
		for _, one := range c.conditions {
			names = append(names, one.named()...)
		}
		if names == nil {
			return errNone
		}
		named, seen := strings.Join(names, ","), map[string]bool{}
		if strings.Contains(named, "department") {
			departments, err := client.DepartmentIDs(ctx, 0)
			if err != nil {
				return err
			}
			for _, d := range departments {
				seen[fmt.Sprint("department ", d.ID)] = true
				seen[fmt.Sprint("department ", d.ParentID)] = true // the app need not see it for those below to count
			}
		}
		if strings.Contains(named, "tag") {
			tags, err := listTags(ctx, client)
			if err != nil {
				return err
			}
			for _, t := range tags {
				seen[fmt.Sprint("tag ", t.ID)] = true
			}
		}
		var unseen string
		for _, one := range c.conditions {
			for _, name := range one.named() {
				if !seen[name] {
					unseen += fmt.Sprintf("\n        %s: there is no %s, or the app does not see it", one.place, name)
				}
			}
		}
		if unseen == "" {
			return nil
		}
		return errors.New(unseen + "\n        wecom-gateway departments lists those that it sees; 应用管理 → 应用 → (the app) → 可见范围 says which these are")
	}
}

const maxUsers = 50

// checkUsers looks for the members that the settings name, the first maxUsers. One whom WeCom does
// not show is no failure: members outside the visible range, too, sign in. So they are warnings.
func (c *config) checkUsers(ctx context.Context, client *wecom.Client) error {
	known := map[string]bool{}
	for _, one := range c.conditions {
		for _, id := range list(strings.Join(one.Users, ",")) {
			if _, asked := known[id]; !asked {
				if len(known) == maxUsers {
					c.warnings = append(c.warnings, fmt.Sprintf("users: only the first %d were looked up", maxUsers))
					return nil
				}
				_, err := client.User(ctx, id)
				var answer *wecom.APIError
				if err != nil && !(errors.As(err, &answer) && answer.Denied()) {
					return err
				}
				known[id] = err == nil
			}
			if !known[id] {
				c.warnings = append(c.warnings, fmt.Sprintf("%s: there is no member %q, or the app does not see them: a typo?", one.place, id))
			}
		}
	}
	if len(known) == 0 {
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
