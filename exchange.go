package wecom

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/foreign"
	"github.com/wecomauth/wecom/internal/forget"
	"github.com/wecomauth/wecom/internal/upstream"
)

const (
	outcomeShared = 10 * time.Second // how long a repeated callback gets the same outcome
	exchangeKept  = 10 * time.Minute // how long a used attempt and a used code are remembered

	maxWaiting = 1000
)

// WeCom locks a corp's IP address for an hour after some 2,000 wrong calls in an hour. A
// process may send failuresInAll at once, and then one each failurePace: 660 in the worst hour,
// so that three replicas stay below that number. Failures are not counted across a fleet:
// a session store of scs has no counter, and it would have to be asked at each sign-in.
// See docs/deployment.md.
const (
	failurePace = 12 * time.Second

	failuresPerClient  = 120
	failuresPerBrowser = 12 // for each browser that has a mark

	// The difference is reserved for browsers that have a mark, so that people who signed in
	// before still can while somebody sends made-up codes.
	failuresUnmarked = 240
	failuresInAll    = 360
)

// errAttemptUsed says that an attempt was exchanged more than outcomeShared ago.
var errAttemptUsed = errors.New("the attempt was used before")

// exchanges turns several deliveries of one callback into one sign-in: browsers, proxies and
// WeCom's web-views send it twice. It does so for one process; to another replica's
// second delivery WeCom says that the code is used. It limits exchanges that fail. Only timeout
// must be set: the other fields' zero values are ready to use.
type exchanges struct {
	timeout  time.Duration // of a whole sign-in, half of which may pass before the code is sent
	mu       sync.Mutex
	attempts forget.Map[[16]byte, *exchange]
	codes    forget.Map[[sha256.Size]byte, struct{}]
	callers  forget.Map[string, *counter]
	total    counter

	freed   chan struct{} // closed when an exchange ends; nil if nobody waits for that
	waiting int

	// Set when the platform asked for a pause. After the pause, exchanges run one at a time
	// until one is answered in another way.
	pause       error
	pausedUntil time.Time
}

type exchange struct {
	attempt [16]byte
	code    [sha256.Size]byte
	by      caller
	counter *counter // of by

	done chan struct{} // closed when outcome, err and at are set
	outcome
	err error
	at  time.Time // when it ended
}

// An outcome is what a code led to.
type outcome struct {
	fresh session
	named bool // the code named somebody, whatever came of the sign-in
}

// A caller is the browser or client that a failed exchange is counted against.
type caller struct {
	name   string
	marked bool
}

// A counter counts one caller's exchanges. Those in progress count as failed until they name
// somebody: otherwise many at once would slip past the limit.
type counter struct {
	running int
	until   time.Time // when the last failure is forgiven, one each failurePace
}

func (c *counter) failed(now time.Time) int {
	return int((max(c.until.Sub(now), 0) + failurePace - 1) / failurePace)
}

func (c *counter) fail(now time.Time) {
	if c.until.Before(now) {
		c.until = now
	}
	c.until = c.until.Add(failurePace)
}

// do runs sign for the attempt, once, and returns its outcome to every caller within
// outcomeShared. sign has a deadline of its own, so a browser that leaves does not end it for
// the others. The caller must have checked that the browser holds the attempt's cookie.
func (x *exchanges) do(ctx context.Context, attempt [16]byte, code string, by caller, sign func(context.Context) (outcome, error)) (session, error) {
	began := time.Now()
	timeout := time.NewTimer(x.timeout / 2)
	defer timeout.Stop()
	e := &exchange{attempt: attempt, code: sha256.Sum256([]byte(code)), by: by, done: make(chan struct{})}
	for {
		known, freed, err := x.join(e)
		if err != nil {
			return session{}, err
		}
		if known == e {
			go x.run(context.WithoutCancel(ctx), e, began.Add(x.timeout), sign)
		}
		if known != nil {
			e = known
			break
		}
		select {
		case <-freed:
		case <-ctx.Done():
		case <-timeout.C:
			err = errBusy()
		}
		x.mu.Lock()
		x.waiting--
		x.mu.Unlock()
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return session{}, err
		}
	}
	timeout.Reset(x.timeout + time.Second)
	select {
	case <-e.done:
		return e.fresh, e.err
	case <-ctx.Done():
		return session{}, ctx.Err()
	case <-timeout.C: // a Provider or an Authorizer ignores its context, or the store is slow as well
		return session{}, fmt.Errorf("the sign-in ignores its deadline: %w", context.DeadlineExceeded)
	}
}

// join returns the attempt's exchange. If that is e, the caller must run it. If there is no
// room now, it returns a channel to wait for instead, and the caller counts as waiting.
func (x *exchanges) join(e *exchange) (known *exchange, freed <-chan struct{}, err error) {
	now := time.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	if known, ok := x.attempts.Get(e.attempt, now); ok {
		if !known.at.IsZero() && now.Sub(known.at) > outcomeShared {
			return nil, nil, errAttemptUsed
		}
		return known, nil, nil
	}
	if _, sent := x.codes.Get(e.code, now); sent {
		return nil, nil, fmt.Errorf("%w: another attempt sent the same code", ErrStartOver)
	}
	c, ok := x.callers.Get(e.by.name, now)
	if !ok {
		c = &counter{}
	}
	wait, err := x.limit(c, e.by.marked, now)
	switch {
	case err != nil:
		return nil, nil, err
	case wait && x.waiting == maxWaiting:
		return nil, nil, errBusy()
	case wait:
		if x.freed == nil {
			x.freed = make(chan struct{})
		}
		x.waiting++
		return nil, x.freed, nil
	}
	e.counter = c
	c.running++
	x.total.running++
	x.callers.Put(e.by.name, c, now, forget.Never) // until the exchange ends, like the others
	x.attempts.Put(e.attempt, e, now, forget.Never)
	x.codes.Put(e.code, struct{}{}, now, forget.Never)
	return e, nil, nil
}

// limit says whether one more exchange has to wait for others to end, or is refused.
func (x *exchanges) limit(c *counter, marked bool, now time.Time) (wait bool, err error) {
	if now.Before(x.pausedUntil) {
		f := asFailure(x.pause)
		f.retryAfter = x.pausedUntil.Sub(now)
		return false, f
	}
	wait = x.pause != nil && x.total.running > 0
	callerLimit, totalLimit := failuresPerClient, failuresUnmarked
	if marked {
		callerLimit, totalLimit = failuresPerBrowser, failuresInAll
	}
	if c.failed(now) >= callerLimit || x.total.failed(now) >= totalLimit {
		f := newFailure("too_many_attempts", nil)
		f.retryAfter = time.Minute
		return false, f
	}
	return wait || c.failed(now)+c.running >= callerLimit || x.total.failed(now)+x.total.running >= totalLimit, nil
}

// errBusy says that too many people are signing in.
func errBusy() error {
	return newFailure("busy", errors.New("too many sign-ins at the same time"))
}

func (x *exchanges) run(ctx context.Context, e *exchange, deadline time.Time, sign func(context.Context) (outcome, error)) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	foreign.Run("a sign-in", func() (outcome, error) { return sign(ctx) }, func(o outcome, err error) {
		x.end(e, o, err)
		close(e.done)
	})
}

// end counts as failed every exchange that did not name somebody. It forgets a code that was
// not sent.
func (x *exchanges) end(e *exchange, o outcome, err error) {
	now := time.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	e.outcome, e.err, e.at = o, err, now
	e.counter.running--
	x.total.running--
	if !o.named && unsent(err) {
		x.attempts.Delete(e.attempt)
		x.codes.Delete(e.code)
	} else {
		x.attempts.Put(e.attempt, e, now, exchangeKept)
		x.codes.Put(e.code, struct{}{}, now, exchangeKept)
		if !o.named {
			e.counter.fail(now)
			x.total.fail(now)
		}
		x.pauseFor(o.named, err, now)
	}
	if e.counter.running == 0 {
		x.callers.Put(e.by.name, e.counter, now, max(e.counter.until.Sub(now), 0))
	}
	if x.freed != nil {
		close(x.freed)
		x.freed = nil
	}
}

// pauseFor sets or ends the pause that the platform asks for: 45009, 45033.
func (x *exchanges) pauseFor(named bool, err error, now time.Time) {
	pause := time.Duration(0)
	if !named && errcode.ClassOf(err) == errcode.Limited {
		pause = pauseOf(err)
	}
	switch {
	case pause > 0:
		x.pause, x.pausedUntil = err, now.Add(pause)
	case !now.Before(x.pausedUntil):
		x.pause = nil
	}
}

// unsent reports whether the code was certainly not sent.
func unsent(err error) bool {
	var noToken *tokenError
	if errors.As(err, &noToken) {
		return !noToken.sent
	}
	var failed *upstream.Error
	return errors.As(err, &failed) && !failed.Sent()
}

// clientAddress names the client for the limit on failed sign-ins: the peer's address, or the one
// that the nearest trusted proxy forwards. An IPv6 address counts as its /64, which is
// one customer's.
func clientAddress(r *http.Request, trusted []netip.Prefix) string {
	addr, err := addrOf(r.RemoteAddr)
	if err != nil {
		return "unknown" // a Unix socket's, for example
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && contains(trusted, addr); i-- {
		next, err := addrOf(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = next
	}
	addr = addr.WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}

// addrOf parses an address with or without a port: some proxies append one.
func addrOf(s string) (netip.Addr, error) {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr().Unmap(), nil
	}
	addr, err := netip.ParseAddr(s)
	return addr.Unmap(), err
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
