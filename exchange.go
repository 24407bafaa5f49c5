package wecom

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

const (
	exchangeTimeout = 10 * time.Second // a whole sign-in, from the code to the session's row
	outcomeShared   = 10 * time.Second // how long a callback that comes again gets the same outcome
	exchangeKept    = 10 * time.Minute // how long a used attempt and a used code are remembered

	// WeCom locks the corp's IP after some 2,000 wrong calls in an hour.
	failuresPerClient  = 300
	failuresPerProcess = 1500
	failuresWindow     = time.Hour
)

// errNoResult is for what is not ours and ended its goroutine (runtime.Goexit) instead of returning.
var errNoResult = errors.New("it ended without a result")

// errAttemptUsed says that an attempt was exchanged more than outcomeShared ago.
var errAttemptUsed = errors.New("the attempt was used before")

// exchanges makes one sign-in of many deliveries of one callback: browsers,
// proxies and WeCom's web-views send it twice. The zero value is ready to use.
type exchanges struct {
	mu       sync.Mutex
	attempts map[[16]byte]*exchange
	codes    map[[sha256.Size]byte]time.Time
	failures map[string]*failureCount
	swept    time.Time
}

type exchange struct {
	done  chan struct{} // closed when fresh, err and ended are set
	fresh session
	err   error
	ended time.Time
}

type failureCount struct {
	since time.Time
	n     int
}

// do runs sign for the attempt, once, and returns its outcome to everybody who
// asks within outcomeShared. sign has a deadline of its own: a browser that
// leaves takes nobody with it. The caller must have checked that the browser holds the attempt's cookie.
func (x *exchanges) do(ctx context.Context, attempt [16]byte, code, client string, sign func(context.Context) (session, error)) (session, error) {
	e, first, err := x.join(attempt, sha256.Sum256([]byte(code)), client)
	if err != nil {
		return session{}, err
	}
	if first {
		go x.run(context.WithoutCancel(ctx), e, client, sign)
	}
	select {
	case <-e.done:
		return e.fresh, e.err
	case <-ctx.Done():
		return session{}, ctx.Err()
	case <-time.After(exchangeTimeout + time.Second): // a Provider or an Authorizer that does not heed its context
		return session{}, fmt.Errorf("the sign-in goes on after its deadline: %w", context.DeadlineExceeded)
	}
}

// join returns the attempt's exchange. The first to ask for it has to run it.
func (x *exchanges) join(attempt [16]byte, code [sha256.Size]byte, client string) (e *exchange, first bool, err error) {
	now, fresh := time.Now(), &exchange{done: make(chan struct{})}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sweep(now)
	if e := x.attempts[attempt]; e != nil {
		if !e.ended.IsZero() && now.Sub(e.ended) > outcomeShared {
			return nil, false, errAttemptUsed
		}
		return e, false, nil
	}
	if _, sent := x.codes[code]; sent {
		return nil, false, fmt.Errorf("%w: another attempt sent the same code", ErrStartOver)
	}
	if x.tooMany(client, failuresPerClient, now) || x.tooMany("", failuresPerProcess, now) {
		return nil, false, &Failure{Status: http.StatusTooManyRequests, Code: "too_many_attempts", retryAfter: time.Minute}
	}
	if x.attempts == nil {
		x.attempts = map[[16]byte]*exchange{}
		x.codes = map[[sha256.Size]byte]time.Time{}
		x.failures = map[string]*failureCount{}
	}
	// Wrong until it proves right: many at once would pass a limit that counts afterwards.
	x.count(client, now)
	x.count("", now)
	x.attempts[attempt], x.codes[code] = fresh, now
	return fresh, true, nil
}

func (x *exchanges) run(ctx context.Context, e *exchange, client string, sign func(context.Context) (session, error)) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	var fresh session
	err := errNoResult
	defer func() {
		if p := recover(); p != nil {
			err = panicked("a sign-in", p)
		}
		x.end(e, fresh, err, client)
		close(e.done)
	}()
	fresh, err = sign(ctx)
}

func (x *exchanges) end(e *exchange, fresh session, err error, client string) {
	proven := !errors.Is(err, ErrStartOver)
	x.mu.Lock()
	defer x.mu.Unlock()
	e.fresh, e.err, e.ended = fresh, err, time.Now()
	if proven {
		x.uncount(client)
		x.uncount("")
	}
}

// panicked says where something panicked, for the log. The panic's value may hold
// a secret, such as the URL of a call; those of the runtime do not.
func panicked(in string, p any) error {
	what := fmt.Sprintf("%T", p)
	if e, ok := p.(runtime.Error); ok {
		what = e.Error()
	}
	return fmt.Errorf("panic in %s: %s\n%s", in, what, debug.Stack())
}

// sweep forgets what is old. It looks at all once a minute.
func (x *exchanges) sweep(now time.Time) {
	if now.Sub(x.swept) < time.Minute {
		return
	}
	x.swept = now
	for id, e := range x.attempts {
		if !e.ended.IsZero() && now.Sub(e.ended) > exchangeKept {
			delete(x.attempts, id)
		}
	}
	for code, sent := range x.codes {
		if now.Sub(sent) > exchangeKept {
			delete(x.codes, code)
		}
	}
	for client, c := range x.failures {
		if now.Sub(c.since) > failuresWindow {
			delete(x.failures, client)
		}
	}
}

// The failed exchanges, and those under way, are counted by client, and by "" for the whole process.

func (x *exchanges) count(client string, now time.Time) {
	c := x.failures[client]
	if c == nil || now.Sub(c.since) > failuresWindow {
		c = &failureCount{since: now}
		x.failures[client] = c
	}
	c.n++
}

func (x *exchanges) uncount(client string) {
	if c := x.failures[client]; c != nil && c.n > 0 {
		c.n--
	}
}

func (x *exchanges) tooMany(client string, limit int, now time.Time) bool {
	c := x.failures[client]
	return c != nil && now.Sub(c.since) <= failuresWindow && c.n >= limit
}

// clientOf names the client for the limit on failed sign-ins: the peer, or what
// the nearest trusted proxy says of it. Of IPv6 the /64 counts, which is one customer.
func clientOf(r *http.Request, trusted []netip.Prefix) string {
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

// addrOf reads an address with or without a port: some proxies write one.
func addrOf(s string) (netip.Addr, error) {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr().Unmap(), nil
	}
	addr, err := netip.ParseAddr(s)
	return addr.Unmap(), err
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
