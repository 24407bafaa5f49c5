package wecom

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wecomauth/wecom/internal/directory"
	"github.com/wecomauth/wecom/internal/forget"
)

// A replica asks once a second whether another one wrote a revocation. While one
// request asks, the others go on with what is known for revocationSlack at most.
const (
	revocationSeen  = time.Second
	revocationSlack = 200 * time.Millisecond
)

const (
	revocationKept = 10 * time.Minute // how long it is remembered at most that somebody is not revoked

	// revocationLasts is how long the rows last at least: sessions made under
	// another SessionLifetime, before the last deploy perhaps, must not outlive them.
	revocationLasts = 400 * 24 * time.Hour

	// A revocation further ahead than that is a damaged row: clocks do not differ so much.
	revocationAhead = time.Hour
)

// everybody is the key of the row that revokes all sessions; no person's key is empty.
const everybody = ""

// changeRow is the key of the row that differs after each revocation, of whatever
// person: while it is the same, no other row is looked up again. So a request
// costs one look-up, its session's, and every process one more a second.
const changeRow = "changed"

// directoryRow is the key of the row that differs after each change of
// departments or tags. It is looked up after a change alone, once for the whole process.
const directoryRow = "directory"

// revocations remembers the store's revocation rows for as long as nothing changed.
type revocations struct {
	any atomic.Bool // this process revoked something: the memory store has no other writers

	mu     sync.Mutex
	change string    // what the row of changes holds
	asked  time.Time // when the store said so
	asking bool      // a request is asking
	seen   forget.Map[string, revocation]

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
	s.revoked.remember(person, revocation{until: now, asked: now}, s.lifetime)
	s.revoked.any.Store(true)
	ends := now.Add(max(s.lifetime, revocationLasts) + time.Minute)
	// The revocation first: a process that sees the change must find it.
	err := s.putRevocation(ctx, person, now, ends)
	if err == nil {
		err = s.putMark(ctx, changeRow, rand.Text(), ends)
	}
	if err != nil {
		return fmt.Errorf("wecom: the revocation is not stored: %w", err)
	}
	return nil
}

func (s *sessions) announceDirectory(ctx context.Context) error {
	mark, ends := rand.Text(), time.Now().Add(revocationLasts)
	s.revoked.directoryIs(mark)
	err := s.putMark(ctx, directoryRow, mark, ends)
	if err == nil {
		err = s.putMark(ctx, changeRow, rand.Text(), ends)
	}
	if err != nil {
		return fmt.Errorf("wecom: the change of the directory is not stored: %w", err)
	}
	return nil
}

func (s *sessions) putMark(ctx context.Context, row, mark string, ends time.Time) error {
	return s.store.put(ctx, s.key('r', row), []byte(mark), ends)
}

// directoryIs sets what the row of the directory holds.
func (v *revocations) directoryIs(mark string) {
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

// putRevocation writes the person's revocation, at now or later. A slow write may
// end after that of a later revocation: then the later one is written again.
func (s *sessions) putRevocation(ctx context.Context, person string, now, ends time.Time) error {
	_, err := wait(context.WithoutCancel(ctx), s.store, "store_commit", func(ctx context.Context) (struct{}, error) {
		for {
			until := s.revoked.latest(person, now)
			err := s.store.rows.CommitCtx(ctx, s.key('r', person), binary.BigEndian.AppendUint64(nil, uint64(until.UnixNano())), ends)
			if err != nil || s.revoked.latest(person, now).Equal(until) {
				return struct{}{}, err
			}
			ctx = context.WithoutCancel(ctx) // nobody waits for it any more
		}
	})
	return err
}

// latest returns the time of the person's last known revocation, which is since or later.
func (v *revocations) latest(person string, since time.Time) time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	if known, _ := v.seen.Get(person, time.Now()); known.until.After(since) {
		return known.until
	}
	return since
}

// isRevoked says whether the session began before a revocation of its person or of everybody.
func (s *sessions) isRevoked(ctx context.Context, found session) (bool, error) {
	if s.memory != nil && !s.revoked.any.Load() {
		return false, nil
	}
	now := time.Now()
	change, err := s.lastChange(ctx, now)
	if err != nil {
		return true, err
	}
	for _, who := range [...]string{everybody, found.id.Key()} {
		until, err := s.revokedUntil(ctx, who, change, now)
		if err != nil || !found.id.AuthenticatedAt.After(until) {
			return true, err
		}
	}
	return false, nil
}

// fresh says whether the last change is known.
func (v *revocations) fresh(now time.Time) bool {
	age := now.Sub(v.asked)
	return age < revocationSeen || v.asking && age < revocationSeen+revocationSlack
}

func (r revocation) fresh(change string, now time.Time) bool {
	return r.change == change && now.Sub(r.asked) < revocationKept
}

// lastChange returns the last change by any process, as of revocationSeen ago, or
// revocationSlack more while another request asks.
func (s *sessions) lastChange(ctx context.Context, now time.Time) (string, error) {
	v := &s.revoked
	v.mu.Lock()
	change := v.change
	if v.fresh(now) {
		v.mu.Unlock()
		return change, nil
	}
	v.asking = true
	v.mu.Unlock()
	row, found, err := s.store.get(ctx, s.key('r', changeRow))
	if err == nil && found && change != "row "+string(row) {
		var mark []byte
		if mark, _, err = s.store.get(ctx, s.key('r', directoryRow)); err == nil {
			v.directoryIs(string(mark))
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

func (s *sessions) revokedUntil(ctx context.Context, person, change string, now time.Time) (time.Time, error) {
	s.revoked.mu.Lock()
	known, _ := s.revoked.seen.Get(person, now)
	s.revoked.mu.Unlock()
	if known.fresh(change, now) {
		return known.until, nil
	}
	row, found, err := s.store.get(ctx, s.key('r', person))
	if err != nil {
		return time.Time{}, err
	}
	read := revocation{change: change, asked: now}
	if found && len(row) == 8 {
		if until := time.Unix(0, int64(binary.BigEndian.Uint64(row))); until.Sub(now) < revocationAhead {
			read.until = until
		}
	}
	return s.revoked.remember(person, read, s.lifetime), nil
}

// remember keeps the later of two revocations and returns its time: a store's answer
// may be older than what this process wrote meanwhile, or wanted to write. A
// revocation is kept as long as a session that it ends can last.
func (v *revocations) remember(person string, r revocation, lifetime time.Duration) time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	if old, _ := v.seen.Get(person, r.asked); old.until.After(r.until) {
		r.until = old.until
	}
	life := revocationKept
	if !r.until.IsZero() {
		life = max(life, r.until.Add(max(lifetime, revocationLasts)).Sub(r.asked))
	}
	v.seen.Put(person, r, r.asked, life)
	return r.until
}
