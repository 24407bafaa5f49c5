package wecom

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wecomauth/wecom/internal/foreign"
	"github.com/wecomauth/wecom/internal/upstream"
)

// A Token is an app's access token and the time from which it must not be used. The zero
// Token is no token.
type Token struct {
	Value   Secret
	Expires time.Time
}

// A TokenSource supplies the access token of one app. What it returns must not depend on
// values in ctx, since tokens are cached and shared.
//
// Both methods must be safe for concurrent use.
type TokenSource interface {
	// Token returns a token that is not known to be expired or rejected, or an
	// error and the zero Token. It may fetch one; when ctx ends, the call
	// returns ctx's error, while a fetch that others wait for goes on.
	Token(ctx context.Context) (Token, error)

	// Invalidate reports that WeCom refused rejected (errcode 40014 or 42001).
	// It does no I/O. The next call of Token returns another token, or fetches
	// one, but only if rejected is the token that the source would have
	// returned: a report about an older one changes nothing. A source may ignore
	// reports that come faster than it is willing to fetch.
	Invalidate(rejected Token)
}

// A TokenStore lets several processes share access tokens, so that a fleet fetches each once.
// Keys are printable and hold no secret; a store may hash them. Both methods must be safe for
// concurrent use, across processes too, and return soon after ctx ends.
//
// A source works without its store: if the store fails, the source logs a warning, keeps its
// token in memory and fetches by itself. An error must not contain a token: it is logged.
type TokenStore interface {
	// Load returns the token under key as it was stored, expired or not, and the
	// zero Token if there is none or it cannot be read as one. An error means
	// that the medium failed.
	Load(ctx context.Context, key string) (Token, error)

	// Update calls fn with the token under key while it holds the key's lock, stores what fn
	// returns and returns that. current is the zero Token if there is none or it cannot be
	// read. If fn returns an error, nothing is stored and that error is returned, wrapped or as
	// it is. fn is called at most once. One caller in all processes holds the lock; it outlives
	// a fetch (fn may take 10 seconds), and the lock of a process that died is free again
	// within 15 seconds. A token without a value is an error and is not stored. If fn's token
	// could not be stored, Update returns it with an error.
	Update(ctx context.Context, key string, fn func(ctx context.Context, current Token) (Token, error)) (Token, error)
}

const (
	fetchTimeout = 10 * time.Second
	storeTimeout = 2 * time.Second // for a read, and for a write once the lock is held
	// lockTimeout leaves room for one more fetch after the 15 seconds in which a dead holder's
	// lock becomes free; otherwise every waiting process would fetch.
	lockTimeout = 20 * time.Second

	minTokenLife = time.Minute
	maxTokenLife = 2 * time.Hour

	minBackoff = 200 * time.Millisecond
	maxBackoff = 30 * time.Second
	maxPause   = time.Hour // as long as WeCom locks an IP address out

	maxReports   = 3 // that have an effect within a reportWindow
	reportWindow = time.Minute
)

// NewTokenSource returns a source that caches what fetch returns: an access token of WeCom or
// Weixin, a ticket, or anything else with a value and a lifetime.
//
// A cached token is returned at once. Otherwise fetch runs once for all callers, in no caller's
// context and for at most 10 seconds; each caller stops waiting when its own context ends. When
// 90 to 95 percent of the token's lifetime have passed, the next call starts a refresh in the
// background; until a refresh succeeds, the token is used until it expires.
//
// fetch must return soon after ctx ends. rejected is the token that was reported to Invalidate
// since the last successful refresh, for sources that must pass the report on; otherwise it is
// the zero Token. A token without a value is an error. The lifetime counts from the start of the
// fetch, by the monotonic clock if Expires was computed from time.Now; less than a minute (also
// a zero Expires) counts as a minute, more than two hours as two hours. A panic is an error.
//
// After an error, fetch is not called for 0.2 seconds, doubling up to 30, give or take a
// quarter. If the error or one that it wraps has a method RetryAfter() time.Duration, the pause
// is at least that, up to an hour. During the pause, a call for which there is no token returns
// the same error at once.
//
// At most three reports to Invalidate a minute have an effect. After that, the source keeps
// returning the token that it has, and the caller sees WeCom's refusal. So neither one misused
// token nor a server that refuses all of them can make it fetch endlessly.
//
// With a store, which may be nil, the source takes the store's token if that has more than a
// minute left and was not reported; otherwise fetch runs under the store's lock for key, and the
// token is stored. If the store fails, panics, or takes longer than 2 seconds (20 for the
// lock), the source goes on without it, and logs a warning through slog's default logger when
// it begins to fail. A stored token's lifetime counts by the wall clock, up to two hours.
//
// The source is safe for concurrent use. It starts no goroutine before the first call of Token,
// and has none while no fetch is in progress.
func NewTokenSource(key string, store TokenStore, fetch func(ctx context.Context, rejected Token) (Token, error)) TokenSource {
	return &tokenSource{key: key, store: store, fetch: fetch, warn: slog.Warn}
}

type tokenSource struct {
	key   string
	store TokenStore
	fetch func(ctx context.Context, rejected Token) (Token, error)
	warn  func(msg string, args ...any)

	cached atomic.Pointer[cachedToken] // written under mu

	mu       sync.Mutex // held for no I/O
	flight   *tokenFlight
	rejected Token         // reported since the last successful refresh
	reports  []tokenReport // oldest first
	failures int           // since the last successful refresh
	lastErr  error
	retryAt  time.Time

	storeDown bool // used by the flight alone: there is one at a time
}

// A cachedToken's times are of the monotonic clock: setting the host's clock does not move
// them.
type cachedToken struct {
	Token
	early time.Time // when to refresh
}

func newCachedToken(value Secret, since time.Time, life time.Duration) *cachedToken {
	life = min(max(life, minTokenLife), maxTokenLife)
	return &cachedToken{
		Token: Token{Value: value, Expires: since.Add(life)},
		early: since.Add(jitter(life, 0.90, 0.95)),
	}
}

// left returns how long the token is still valid; it is not positive if there is no token.
func (c *cachedToken) left() time.Duration {
	if c == nil {
		return 0
	}
	return time.Until(c.Expires)
}

func (t Token) equal(u Token) bool { return t.Value.Reveal() == u.Value.Reveal() }

// A tokenFlight is one refresh. Its result may be read when done is closed.
type tokenFlight struct {
	done  chan struct{}
	token Token
	err   error
}

type tokenReport struct {
	token Token
	at    time.Time
}

func (s *tokenSource) Token(ctx context.Context) (Token, error) {
	if c := s.cached.Load(); c != nil && time.Now().Before(c.early) {
		return c.Token, nil
	}
	c, f, err := s.join()
	if c != nil {
		return c.Token, nil
	}
	if f == nil {
		return Token{}, err
	}
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
}

// join starts a flight if one is due and returns what the caller gets: the cached token while
// it is valid, otherwise the flight to wait for, otherwise the error of the last one.
func (s *tokenSource) join() (*cachedToken, *tokenFlight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cached.Load()
	due := c == nil || !time.Now().Before(c.early)
	if due && s.flight == nil && !time.Now().Before(s.retryAt) {
		s.flight = &tokenFlight{done: make(chan struct{})}
		go s.fly(s.flight, c, s.rejected)
	}
	if c.left() > 0 {
		return c, nil, nil
	}
	return nil, s.flight, s.lastErr
}

func (s *tokenSource) Invalidate(rejected Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cached.Load()
	if c == nil || !c.equal(rejected) {
		return
	}
	// A reported token is remembered for as long as a store may hold it.
	s.reports = slices.DeleteFunc(s.reports, func(r tokenReport) bool { return time.Since(r.at) > maxTokenLife })
	if n := len(s.reports); n >= maxReports && time.Since(s.reports[n-maxReports].at) < reportWindow {
		return
	}
	s.reports = append(s.reports, tokenReport{c.Token, time.Now()})
	s.rejected = c.Token
	s.cached.Store(nil)
}

func (s *tokenSource) fly(f *tokenFlight, cached *cachedToken, rejected Token) {
	c, err := s.refresh(cached, rejected)
	pause := pauseOf(err)

	s.mu.Lock()
	s.flight = nil
	if err == nil {
		f.token = c.Token
		s.cached.Store(c)
		s.rejected, s.failures, s.lastErr, s.retryAt = Token{}, 0, nil, time.Time{}
	} else {
		f.err = err
		backoff := min(minBackoff<<min(s.failures, 10), maxBackoff)
		s.failures++
		s.lastErr, s.retryAt = err, time.Now().Add(max(jitter(backoff, 0.75, 1.25), pause))
	}
	stale := s.failures == 1 && s.cached.Load().left() > 0
	s.mu.Unlock()
	close(f.done)

	if stale { // else the callers have the error
		s.log("wecom: refreshing a token failed; the current one stays in use", err)
	}
}

// refresh takes a token from the store, or fetches one under its lock, or without a store. The
// read shows within two seconds whether the store works at all, and is all that most processes
// of a fleet need.
func (s *tokenSource) refresh(cached *cachedToken, rejected Token) (*cachedToken, error) {
	if s.store == nil {
		return s.renew(rejected)
	}
	current, err := s.guard("token store", storeTimeout, func(ctx context.Context) (Token, error) {
		return s.store.Load(ctx, s.key)
	})
	if err != nil {
		s.storeResult(err)
		return s.renew(rejected)
	}
	if c := s.adopt(current, cached); c != nil {
		s.storeResult(nil)
		return c, nil
	}
	return s.update(cached, rejected)
}

// update refreshes under the store's lock. The result is what fn got inside the lock; what
// Update returns only tells whether it was stored.
func (s *tokenSource) update(cached *cachedToken, rejected Token) (*cachedToken, error) {
	var (
		claimed atomic.Bool // by Update's fn, or by us once we stop waiting for it
		fetched = make(chan struct{})
		c       *cachedToken // c and err are set before fetched is closed
		err     error
		stored  = make(chan error, 1)
	)
	go func() {
		_, storeErr := s.guard("token store", lockTimeout+fetchTimeout+storeTimeout, func(ctx context.Context) (Token, error) {
			return s.store.Update(ctx, s.key, func(_ context.Context, current Token) (Token, error) {
				if claimed.Swap(true) {
					return Token{}, errors.New("wecom: token store called back late or twice")
				}
				defer close(fetched)
				if c = s.adopt(current, cached); c != nil {
					return current, nil
				}
				if c, err = s.renew(rejected); err != nil {
					return Token{}, err
				}
				return c.Token, nil
			})
		})
		stored <- storeErr
	}()

	storeErr := errors.New("wecom: token store: no lock in time")
	select {
	case <-fetched:
	case storeErr = <-stored:
		stored <- storeErr
	case <-time.After(lockTimeout):
	}
	if !claimed.Swap(true) {
		s.storeResult(cmp.Or(storeErr, errors.New("wecom: token store did not call back")))
		return s.renew(rejected)
	}
	<-fetched
	if err != nil {
		return nil, err
	}
	select {
	case storeErr = <-stored:
	case <-time.After(storeTimeout):
		storeErr = errors.New("wecom: token store: not written in time")
	}
	s.storeResult(withoutToken(storeErr, c.Token))
	return c, nil
}

// withoutToken removes the token from a store's error: some stores quote the command that
// failed.
func withoutToken(err error, t Token) error {
	if err == nil || !strings.Contains(err.Error(), t.Value.Reveal()) {
		return err
	}
	return errors.New(upstream.Hidden{t.Value.Reveal()}.Clean(err.Error(), 300))
}

// adopt returns a stored token if it is better than the cached one: another, not reported, and with
// more time left.
func (s *tokenSource) adopt(current Token, cached *cachedToken) *cachedToken {
	life := time.Until(current.Expires) // by the wall clock, if it was read from a medium
	if current.Value.Reveal() == "" || life <= max(minTokenLife, cached.left()) || cached != nil && cached.equal(current) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.reports, func(r tokenReport) bool { return r.token.equal(current) }) {
		return nil
	}
	return newCachedToken(current.Value, time.Now(), life)
}

func (s *tokenSource) renew(rejected Token) (*cachedToken, error) {
	start := time.Now()
	t, err := s.guard("token fetch", fetchTimeout, func(ctx context.Context) (Token, error) {
		return s.fetch(ctx, rejected)
	})
	if err != nil {
		return nil, err
	}
	if t.Value.Reveal() == "" {
		return nil, errors.New("wecom: token fetch returned no token")
	}
	return newCachedToken(t.Value, start, t.Expires.Sub(start)), nil
}

// storeResult logs a warning when a store that worked before fails.
func (s *tokenSource) storeResult(err error) {
	if err != nil && !s.storeDown {
		s.log("wecom: the token store failed; continuing without it", err)
	}
	s.storeDown = err != nil
}

// guard runs f, which is the program's, for at most limit. A panic becomes an error without a
// stack, since callers see it; the stack is logged.
func (s *tokenSource) guard(what string, limit time.Duration, f func(context.Context) (Token, error)) (Token, error) {
	t, err := foreign.Within(context.Background(), limit, "wecom: "+what, f)
	var p *foreign.Panic
	if errors.As(err, &p) {
		s.log(p.Stack, p.Cause)
		err = p.Cause
	}
	return t, err
}

// log logs a warning. A logger that panics must not leave the callers of a flight waiting.
func (s *tokenSource) log(msg string, err error) {
	defer func() { _ = recover() }()
	s.warn(msg, "token", s.key, "error", err)
}

// pauseOf returns the pause that err asks for. The method is not ours and may panic.
func pauseOf(err error) (pause time.Duration) {
	defer func() { _ = recover() }()
	var e interface{ RetryAfter() time.Duration }
	if errors.As(err, &e) {
		return min(e.RetryAfter(), maxPause)
	}
	return 0
}

// jitter returns d times a random number from lo to hi, so that a fleet's processes drift apart.
func jitter(d time.Duration, lo, hi float64) time.Duration {
	var b [8]byte
	_, _ = rand.Read(b[:])
	random := float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53) // 0 to 1
	return time.Duration(float64(d) * (lo + (hi-lo)*random))
}
