package wecom

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wecomauth/wecom/internal/directory"
	"github.com/wecomauth/wecom/internal/errcode"
)

// A replica asks once a second whether another one wrote a revocation. While one
// request asks, the others go on with what is known for revocationSlack at most.
const (
	revocationSeen  = time.Second
	revocationSlack = 200 * time.Millisecond
)

const (
	revocationSweep = time.Minute
	revocationKept  = 10 * time.Minute // how long it is remembered at most that somebody is not revoked

	// revocationLasts is how long the rows last at least: sessions made under
	// another SessionLifetime, before the last deploy perhaps, must not outlive them.
	revocationLasts = 400 * 24 * time.Hour

	// A revocation further ahead than that is a damaged row: clocks do not differ so much.
	revocationAhead = time.Hour
)

// Revoke ends all sessions of one person that began until now, whatever their
// number: it writes a row that holds the time, and one that tells other
// processes to look. Of id only the field that names the person counts, for
// example Identity{UserID: "zhangsan"}; who has several ids is named by the
// first in the order of [Identity]. The person may sign in anew, if
// Options.Authorize lets them.
//
// It works at once in this process and within a second in others that share
// the session store. The clocks of replicas should agree: a session is compared
// by the clock of the replica that made it. An error says that a row could not
// be written; this process heeds the revocation all the same. If two processes
// revoke one person at the same moment, either's time may stay.
func (m *Middleware) Revoke(ctx context.Context, id Identity) error {
	if m.sessions == nil {
		return errZeroMiddleware
	}
	if !id.names() {
		return errors.New("wecom: Revoke: the identity names nobody")
	}
	return m.sessions.revoke(ctx, m.sessions.personKey(id))
}

// RevokeAll ends everybody's sessions that began until now, as [Middleware.Revoke] does one person's.
func (m *Middleware) RevokeAll(ctx context.Context) error {
	if m.sessions == nil {
		return errZeroMiddleware
	}
	return m.sessions.revoke(ctx, everybody)
}

// DirectoryChanged makes the authorizers of package allow fetch departments and
// tags anew: at once in this process, and within a second in others that share
// the session store and have sessions in use. An error says that the others were
// not told; what they know counts for five minutes at most. Package events calls
// it when WeCom says that a department or a tag changed.
func (m *Middleware) DirectoryChanged(ctx context.Context) error {
	if m.sessions == nil {
		return errZeroMiddleware
	}
	return m.sessions.announceDirectory(ctx)
}

var errZeroMiddleware = errors.New("wecom: this Middleware was not made by New")

// everybody is the key of the row that revokes all sessions; no person's key is empty.
const everybody = ""

// changed is the key of the row that says that something was revoked, whoever
// it was: while it is the same, no other row is looked up again. So a request
// costs one look-up, its session's, and every process one more a second.
const changed = "changed"

// directoryRow is the key of the row that differs when departments or tags
// changed. It is looked up after a change alone, once for the whole process.
const directoryRow = "directory"

// revocations remembers the store's revocation rows for as long as nothing changed.
type revocations struct {
	any atomic.Bool // this process revoked something: the memory store has no other writers

	mu     sync.Mutex
	change string    // what the row of changes holds
	asked  time.Time // when the store said so
	asking bool      // a request is at it
	seen   map[string]revocation
	swept  time.Time

	directory   string    // what the row of the directory holds
	directoryAt time.Time // when this process learnt of it
}

type revocation struct {
	until  time.Time // sessions that began until then are none; zero for no revocation
	change string    // as of which the store said so; "" if this process did
	asked  time.Time
}

func (s *sessions) personKey(id Identity) string {
	id.Provider, id.CorpID, id.AppID = s.app.Provider, s.app.CorpID, s.app.AppID
	return id.Key()
}

func (s *sessions) revoke(ctx context.Context, person string) error {
	now := time.Now()
	s.revoked.note(person, revocation{until: now, asked: now}, s.lifetime)
	s.revoked.any.Store(true)
	ends := now.Add(max(s.lifetime, revocationLasts) + time.Minute)
	// First what is revoked and then that something is: who sees the second finds the first.
	err := s.putRevocation(ctx, person, ends)
	if err == nil {
		err = s.put(ctx, s.key('r', changed), []byte(rand.Text()), ends)
	}
	if err != nil {
		return fmt.Errorf("wecom: the revocation is not stored: %w", err)
	}
	return nil
}

func (s *sessions) announceDirectory(ctx context.Context) error {
	mark := rand.Text()
	s.revoked.noteDirectory(mark)
	ends := time.Now().Add(revocationLasts)
	err := s.put(ctx, s.key('r', directoryRow), []byte(mark), ends)
	if err == nil {
		err = s.put(ctx, s.key('r', changed), []byte(rand.Text()), ends)
	}
	if err != nil {
		return fmt.Errorf("wecom: the change of the directory is not stored: %w", err)
	}
	return nil
}

func (v *revocations) noteDirectory(mark string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.directory != mark {
		v.directory, v.directoryAt = mark, time.Now()
	}
}

// withDirectory tells authorizers when departments or tags changed last.
func (s *sessions) withDirectory(ctx context.Context) context.Context {
	s.revoked.mu.Lock()
	defer s.revoked.mu.Unlock()
	return directory.WithChange(ctx, s.revoked.directoryAt)
}

// putRevocation writes the person's latest revocation. A write that the store
// was slow with may end after a later one's: then it is written again.
func (s *sessions) putRevocation(ctx context.Context, person string, ends time.Time) error {
	_, err := waitFor(context.WithoutCancel(ctx), s, "store_commit", s.direct, func(ctx context.Context) (struct{}, error) {
		for {
			until := s.revoked.latest(person)
			err := s.commit(ctx, s.key('r', person), binary.BigEndian.AppendUint64(nil, uint64(until.UnixNano())), ends)
			if err != nil || s.revoked.latest(person).Equal(until) {
				return struct{}{}, err
			}
			ctx = context.WithoutCancel(ctx) // nobody waits for it any more
		}
	})
	return err
}

func (v *revocations) latest(person string) time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen[person].until
}

// isRevoked says whether the session began before a revocation of its person or of everybody.
func (s *sessions) isRevoked(ctx context.Context, found session) (bool, error) {
	if s.memory != nil && !s.revoked.any.Load() {
		return false, nil
	}
	person := found.id.Key()
	if until, ok := s.revoked.known(person); ok {
		return !found.id.AuthenticatedAt.After(until), nil
	}
	change, err := s.lastChange(ctx)
	if err != nil {
		return true, err
	}
	for _, who := range [...]string{everybody, person} {
		until, err := s.revokedUntil(ctx, who, change)
		if err != nil || !found.id.AuthenticatedAt.After(until) {
			return true, err
		}
	}
	return false, nil
}

// known tells when the person or everybody was revoked last, if the store need not be asked.
func (v *revocations) known(person string) (until time.Time, ok bool) {
	now := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	all, one := v.seen[everybody], v.seen[person]
	fresh := v.fresh(now) && all.fresh(v.change, now) && one.fresh(v.change, now)
	if all.until.After(one.until) {
		return all.until, fresh
	}
	return one.until, fresh
}

// fresh says whether the last change is known.
func (v *revocations) fresh(now time.Time) bool {
	age := now.Sub(v.asked)
	return age < revocationSeen || v.asking && age < revocationSeen+revocationSlack
}

func (r revocation) fresh(change string, now time.Time) bool {
	return r.change == change && now.Sub(r.asked) < revocationKept
}

// lastChange tells the last change by any process, as of a second ago at most (see fresh).
func (s *sessions) lastChange(ctx context.Context) (string, error) {
	v, now := &s.revoked, time.Now()
	v.mu.Lock()
	change := v.change
	if v.fresh(now) {
		v.mu.Unlock()
		return change, nil
	}
	v.asking = true
	v.mu.Unlock()
	row, found, err := s.get(ctx, s.key('r', changed))
	if err == nil && found && change != "row "+string(row) {
		var mark []byte
		if mark, _, err = s.get(ctx, s.key('r', directoryRow)); err == nil {
			v.noteDirectory(string(mark))
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asking = false
	switch {
	case err != nil:
		return "", err
	case found:
		change = "row " + string(row)
	case strings.HasPrefix(v.change, "none "):
		change = v.change
	default: // not the same as before a row that was there and is lost
		change = "none " + rand.Text()
	}
	if now.After(v.asked) { // another request's answer may be a younger one
		v.change, v.asked = change, now
	}
	return change, nil
}

func (s *sessions) revokedUntil(ctx context.Context, person, change string) (time.Time, error) {
	now := time.Now()
	s.revoked.mu.Lock()
	known := s.revoked.seen[person]
	s.revoked.mu.Unlock()
	if known.fresh(change, now) {
		return known.until, nil
	}
	row, found, err := s.get(ctx, s.key('r', person))
	if err != nil {
		return time.Time{}, err
	}
	read := revocation{change: change, asked: now}
	if found && len(row) == 8 {
		if until := time.Unix(0, int64(binary.BigEndian.Uint64(row))); until.Sub(now) < revocationAhead {
			read.until = until
		}
	}
	return s.revoked.note(person, read, s.lifetime), nil
}

// note keeps the later of two revocations and returns its time: a store's answer may be older
// than what this process wrote meanwhile, or wanted to write. A revocation is
// kept as long as a session that it ends can last.
func (v *revocations) note(person string, r revocation, lifetime time.Duration) time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	if old := v.seen[person]; old.until.After(r.until) {
		r.until = old.until
	}
	if r.asked.Sub(v.swept) > revocationSweep {
		v.swept = r.asked
		for p, old := range v.seen {
			if r.asked.Sub(old.asked) > revocationKept && r.asked.Sub(old.until) > max(lifetime, revocationLasts) {
				delete(v.seen, p)
			}
		}
	}
	v.seen[person] = r
	return r.until
}

// A rechecker can tell whether somebody who signed in is still welcome. It is an optional part of a Provider.
type rechecker interface {
	Recheck(ctx context.Context, id Identity) (bool, error)
}

// rechecks looks people up again, in the background of their own requests.
type rechecks struct {
	every time.Duration
	slots chan struct{} // bounds how many look-ups run at once
	mu    sync.Mutex
	last  map[string]time.Time // when a look-up of the person began
	swept time.Time
}

const (
	rechecksAtOnce = 8
	recheckTimeout = 10 * time.Second
)

// recheck starts a look-up of the session's person if one is due. Whoever is
// found to be gone is revoked and out at the next request; if it cannot be
// told, nobody is logged out.
func (m *Middleware) recheck(r *http.Request, s session) {
	person := s.id.Key()
	if !m.rechecks.due(person, s.id.AuthenticatedAt) {
		return
	}
	ctx := context.WithoutCancel(r.Context())
	go func() {
		defer func() { <-m.rechecks.slots }()
		defer m.survive(ctx) // nobody else would: a panic here ends the program
		ctx, cancel := context.WithTimeout(ctx, recheckTimeout)
		defer cancel()
		welcome, err := m.stillWelcome(ctx, *s.id)
		if err == nil && !welcome {
			if err = m.sessions.revoke(ctx, person); err == nil {
				m.observe(ctx, Event{Name: "recheck", Outcome: "revoked"})
			}
			m.log.LogAttrs(ctx, slog.LevelInfo, "wecom: a member is no longer welcome; their sessions are revoked")
		}
		if err != nil {
			m.log.LogAttrs(ctx, slog.LevelWarn, "wecom: a member could not be looked up again; they stay signed in",
				slog.Int("errcode", errCode(err)), slog.String("cause", err.Error()))
		}
	}()
}

// survive is deferred where Observe or the logger, which are the application's, may panic.
func (m *Middleware) survive(ctx context.Context) {
	p := recover()
	if p == nil {
		return
	}
	defer func() { _ = recover() }()
	m.log.LogAttrs(ctx, slog.LevelError, "wecom: a recheck failed", slog.String("cause", panicked("a recheck", p).Error()))
}

func (m *Middleware) stillWelcome(ctx context.Context, id Identity) (welcome bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked("a recheck", p)
		}
	}()
	if p, ok := m.provider.(rechecker); ok {
		if welcome, err := p.Recheck(ctx, id); err != nil || !welcome {
			return welcome, err
		}
	}
	if m.authorize == nil {
		return true, nil
	}
	return m.authorize(m.sessions.withDirectory(ctx), m.client, id)
}

func (c *rechecks) due(person string, signedIn time.Time) bool {
	now := time.Now()
	if age := now.Sub(signedIn); 0 <= age && age < c.every { // less than 0 by another clock
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.last[person]) < c.every {
		return false
	}
	select {
	case c.slots <- struct{}{}:
	default:
		return false // the next request tries again
	}
	if now.Sub(c.swept) >= c.every {
		c.swept = now
		for p, t := range c.last {
			if now.Sub(t) >= c.every {
				delete(c.last, p)
			}
		}
	}
	c.last[person] = now
	return true
}

// Recheck looks the member up: one who left (60111, status 5), was disabled
// (status 2) or fell out of the app's visible range (60011) is not welcome.
// Others than members cannot be looked up, and stay.
func (p *corpApp) Recheck(ctx context.Context, id Identity) (bool, error) {
	if id.UserID == "" {
		return true, nil
	}
	member, err := p.client.User(ctx, id.UserID)
	if classOf(err) == errcode.Denied {
		return false, nil
	}
	return member.Status != memberDisabled && member.Status != memberLeft, err
}

const (
	memberDisabled = 2
	memberLeft     = 5
)
