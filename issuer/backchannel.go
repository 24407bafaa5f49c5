package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wecomauth/wecom"
)

// OpenID Connect Back-Channel Logout 1.0. A row for each person and client lists the sessions
// whose tokens the client got. The process that ends sessions tells the clients that it finds by
// these rows, so nothing has to watch for revocations and each is told once. Telling all clients of
// each person, without sessions, would need no rows, but would sign people out in their other browsers
// too, and mod_auth_openidc does not find by sub what it knows by sid.

const (
	sessionsKept = 30 * 24 * time.Hour // a client's own session often outlasts ours
	sessionsMost = 20                  // of a person at a client: the latest

	// revokedEverywhere is how long after a revocation another replica may still give tokens.
	revokedEverywhere = 1500 * time.Millisecond

	endingsAtOnce = 4096 // sign-outs and revocations of which clients are being told
	callsAtOnce   = 8    // to one client: one that hangs delays no other
	callTimeout   = 5 * time.Second
	logoutLife    = 2 * time.Minute
)

// repeats are the pauses before a call that failed is repeated.
var repeats = [...]time.Duration{time.Second, 4 * time.Second}

// sid names the session of an identity: a person signs in once at a time.
func (s *Issuer) sid(id wecom.Identity) string {
	return hash(s.url + "\x00" + id.Key() + "\x00" + strconv.FormatInt(id.AuthenticatedAt.UnixNano(), 10))
}

// remember notes that the client gets tokens from the session of id. Two replicas that do so in the
// same moment, for one person and client, may lose a session.
func (s *Issuer) remember(ctx context.Context, client *Client, id wecom.Identity) error {
	if client.BackChannelLogoutURI == "" {
		return nil
	}
	name, sid := id.Key()+"\x00"+client.ID, s.sid(id)
	unlock, err := s.lists.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	var known []string
	if _, err := s.rows.get(ctx, sessionsRow, name, &known); err != nil {
		return err
	}
	known = append(slices.DeleteFunc(known, func(one string) bool { return one == sid }), sid)
	return s.rows.put(ctx, sessionsRow, name, known[max(0, len(known)-sessionsMost):], sessionsKept)
}

// forget returns those of the person's sessions that the client has to be told of, which are all if sid
// is "", and takes them off the list.
func (s *Issuer) forget(ctx context.Context, client *Client, person, sid string) (ended []string, err error) {
	name := person + "\x00" + client.ID
	unlock, err := s.lists.lock(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if sid == "" { // in one step: what another replica adds meanwhile is there at the next look
		_, err = s.rows.take(ctx, sessionsRow, name, &ended)
		return ended, err
	}
	var known []string
	if _, err = s.rows.get(ctx, sessionsRow, name, &known); err != nil || !slices.Contains(known, sid) {
		return nil, err
	}
	left := slices.DeleteFunc(known, func(one string) bool { return one == sid })
	return []string{sid}, s.rows.put(ctx, sessionsRow, name, left, sessionsKept)
}

// Observe tells the clients with a BackChannelLogoutURI that sessions have ended. Every process that ends
// sessions calls it from the middleware's Options.Observe:
//
//	var iss *issuer.Issuer // made after the middleware
//	o.Observe = func(ctx context.Context, e wecom.Event) { iss.Observe(ctx, e) }
//
// It does not wait for the clients; see [Issuer.Shutdown]. They are told of a sign-out and of
// [wecom.Middleware.Revoke], not of [wecom.Middleware.RevokeAll]. A nil Issuer tells nobody.
func (s *Issuer) Observe(ctx context.Context, e wecom.Event) {
	if e.Outcome != "ok" || e.Name != "signout" && e.Name != "revoke" || len(s.listeners()) == 0 {
		return
	}
	if e.Name == "signout" && ctx.Value(hostKey{}) != nil {
		return // of that host's session alone
	}
	id, _ := wecom.FromContext(ctx)
	if id.Key() == "" {
		if e.Name == "revoke" {
			s.log.LogAttrs(ctx, slog.LevelWarn, "issuer: everybody's sessions were ended; clients are not told")
		}
		return
	}
	select {
	case s.endings <- struct{}{}:
	default:
		s.log.LogAttrs(ctx, slog.LevelError, "issuer: sessions were ended; clients are not told", slog.String("cause", "they are being told of too many"))
		return
	}
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer func() { <-s.endings }()
		if e.Name == "signout" {
			s.tellClients(ctx, id.Key(), s.sid(id))
			return
		}
		app := s.auth.App() // Revoke is given the person's id alone
		id.Provider, id.CorpID, id.AppID = app.Provider, app.CorpID, app.AppID
		s.tellClients(ctx, id.Key(), "")
		time.Sleep(revokedEverywhere)
		s.tellClients(ctx, id.Key(), "")
	}()
}

// listeners returns the clients that want to be told.
func (s *Issuer) listeners() (list []*Client) {
	if s == nil || s.auth == nil {
		return nil
	}
	for _, client := range *s.clients.Load() {
		if client.BackChannelLogoutURI != "" {
			list = append(list, client)
		}
	}
	return list
}

// Shutdown waits until the clients have been told of what Observe saw, or ctx ends. After
// that they are told of nothing.
func (s *Issuer) Shutdown(ctx context.Context) error {
	if s == nil {
		return nil
	}
	for range cap(s.endings) {
		select {
		case s.endings <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// tellClients tells all clients that know of the person's session, or of any if sid is "".
func (s *Issuer) tellClients(ctx context.Context, person, sid string) {
	var all sync.WaitGroup
	for _, client := range s.listeners() {
		all.Go(func() {
			ended, err := s.forget(ctx, client, person, sid)
			for _, one := range ended {
				err = first(s.tell(ctx, client, person, one), err)
			}
			if err != nil {
				s.log.LogAttrs(ctx, slog.LevelError, "issuer: a client was not told that a session has ended",
					slog.String("client", client.ID), slog.String("cause", err.Error()))
			}
		})
	}
	all.Wait()
}

func (s *Issuer) tell(ctx context.Context, client *Client, person, sid string) error {
	now := time.Now()
	token, err := s.keys.sign(ctx, client.Algorithm, "logout+jwt", map[string]any{
		"iss": s.url, "aud": client.ID, "sub": person, "sid": sid, "iat": now.Unix(), "exp": now.Add(logoutLife).Unix(), "jti": rand.Text(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": struct{}{}},
	})
	if err != nil {
		return err
	}
	body := url.Values{"logout_token": {token}}.Encode()
	for _, pause := range repeats {
		err := s.post(ctx, client, body)
		if err == nil || errors.As(err, new(errRefused)) {
			return err
		}
		time.Sleep(pause)
	}
	return s.post(ctx, client, body)
}

// errRefused is a status that will be the same when the call is repeated.
type errRefused int

func (e errRefused) Error() string { return "it answers " + strconv.Itoa(int(e)) }

// post makes one call. It follows no redirect: the token is for this address.
func (s *Issuer) post(ctx context.Context, client *Client, body string) error {
	select {
	case client.calls <- struct{}{}:
		defer func() { <-client.calls }()
	case <-time.After(logoutLife / 4):
		return errors.New("all calls to it are waiting")
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, client.BackChannelLogoutURI, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := s.transport.RoundTrip(r)
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, res.Body, maxBody)
	_ = res.Body.Close()
	switch {
	case res.StatusCode >= 500:
		return fmt.Errorf("it answers %d", res.StatusCode)
	case res.StatusCode >= 300:
		return errRefused(res.StatusCode)
	}
	return nil
}
