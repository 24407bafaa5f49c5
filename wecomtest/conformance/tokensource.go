package conformance

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/wecomauth/wecom"
)

// TokenSource tests an implementation of [wecom.TokenSource]. Each call of open returns a new
// source without a token. It gets its tokens by fetch, directly or from a server between the two,
// which stands for a platform's API: each call returns a new token with two hours to live, or an
// error, or takes until its context ends. A token that the source had is never valid again once
// another was fetched. What a source needs to have closed, open closes in its t.Cleanup.
//
//	conformance.TokenSource(t, func(t *testing.T, fetch func(context.Context) (wecom.Token, error)) wecom.TokenSource {
//		return mysource.New(fetch)
//	})
func TokenSource(t *testing.T, open func(t *testing.T, fetch func(context.Context) (wecom.Token, error)) wecom.TokenSource) {
	suite(t, "TokenSource", func(t *testing.T) *sourceTest {
		p := &platform{}
		s := &sourceTest{p: p, src: open(t, p.fetch)}
		if n := p.count(); n != 0 {
			t.Errorf("a new source fetched %d times before it was asked", n)
		}
		return s
	}, []testCase[*sourceTest]{
		{"a token and its end", testSourceToken},
		{"one fetch for all callers", testSourceOneFetch},
		{"a caller who leaves takes nobody along", testSourceLeader},
		{"an error comes without a token and passes", testSourceError},
		{"a rejected token is replaced", testSourceInvalidate},
		{"a rejected token is replaced once", testSourceInvalidateOnce},
		{"a report about another token changes nothing", testSourceInvalidateOther},
		{"a report to a source without a token changes nothing", testSourceInvalidateNone},
		{"a report waits for nothing", testSourceInvalidateNoIO},
		{"reports and callers at the same time", testSourceRace},
	})
}

type sourceTest struct {
	p   *platform
	src wecom.TokenSource
}

// A platform hands out token-1, token-2 and so on.
type platform struct {
	mu      sync.Mutex
	calls   int
	err     error
	hold    <-chan struct{} // a fetch waits until it is closed
	arrived chan<- struct{} // gets a value from each fetch; may be nil
}

func (p *platform) fetch(ctx context.Context) (wecom.Token, error) {
	start := time.Now()
	p.mu.Lock()
	p.calls++
	n, err, hold, arrived := p.calls, p.err, p.hold, p.arrived
	p.mu.Unlock()
	if arrived != nil {
		select {
		case arrived <- struct{}{}:
		default:
		}
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return wecom.Token{}, ctx.Err()
		}
	}
	if err != nil {
		return wecom.Token{}, err
	}
	return newToken("token-"+strconv.Itoa(n), start.Add(2*time.Hour)), nil
}

func (p *platform) set(change func(*platform)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *platform) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

// token calls Token and expects the token of the nth fetch, and no more fetches than that.
func (s *sourceTest) token(t *testing.T, nth int) wecom.Token {
	t.Helper()
	tok, err := s.src.Token(patient(t))
	if err != nil {
		t.Errorf("Token: %v", err)
		return wecom.Token{}
	}
	if want := "token-" + strconv.Itoa(nth); tok.Value.Reveal() != want {
		t.Errorf("Token returned %.40q, want %q", tok.Value.Reveal(), want)
	}
	if n := s.p.count(); n != nth {
		t.Errorf("there were %d fetches, want %d", n, nth)
	}
	return tok
}

func testSourceToken(t *testing.T, s *sourceTest) {
	tok := s.token(t, 1)
	if left := time.Until(tok.Expires); left < 2*time.Hour-time.Minute || left > 2*time.Hour {
		t.Errorf("a token of two hours ends in %v", left)
	}
	for range 100 {
		s.token(t, 1)
	}
}

// all calls Token n times at once and returns how often each outcome came.
func (s *sourceTest) all(t *testing.T, n int, first func()) map[string]int {
	t.Helper()
	outcomes := make(chan string, n)
	for range n {
		go func() {
			if first != nil {
				first()
			}
			tok, err := s.src.Token(patient(t))
			outcomes <- outcome(tok, err)
		}()
	}
	count := map[string]int{}
	for range n {
		select {
		case o := <-outcomes:
			count[o]++
		case <-time.After(patience):
			t.Error("a caller did not return")
			return count
		}
	}
	return count
}

func outcome(tok wecom.Token, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return tok.Value.Reveal()
}

func (s *sourceTest) allGet(t *testing.T, n, nth int, first func()) {
	t.Helper()
	want := "token-" + strconv.Itoa(nth)
	if got := s.all(t, n, first); got[want] != n {
		t.Errorf("%d callers got %v, want all of them %s", n, got, want)
	}
	if calls := s.p.count(); calls != nth {
		t.Errorf("%d callers made %d fetches, want %d", n, calls, nth)
	}
}

func testSourceOneFetch(t *testing.T, s *sourceTest) { s.allGet(t, 200, 1, nil) }

func testSourceLeader(t *testing.T, s *sourceTest) {
	hold, arrived := make(chan struct{}), make(chan struct{}, 1)
	s.p.set(func(p *platform) { p.hold, p.arrived = hold, arrived })

	leader, leave := context.WithCancel(context.Background())
	asLeader := func() <-chan error {
		left := make(chan error, 1)
		go func() {
			tok, err := s.src.Token(leader)
			if err == nil && tok.Value.Reveal() == "" {
				err = errors.New("neither a token nor an error")
			}
			left <- err
		}()
		return left
	}
	left := asLeader()
	await(t, "the leader's fetch", arrived)
	follower := make(chan map[string]int, 1)
	go func() { follower <- s.all(t, 20, nil) }()

	leave()
	for range 2 {
		select {
		case err := <-left:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("who left got %v, want %v", err, context.Canceled)
			}
		case <-time.After(soon):
			t.Error("who left had to wait for the fetch")
		}
		left = asLeader() // once more, with a context that has ended before
	}
	close(hold)
	<-left
	select {
	case got := <-follower:
		if got["token-1"] != 20 {
			t.Errorf("the others got %v", got)
		}
	case <-time.After(patience):
		t.Error("the others wait for ever")
	}
	s.token(t, 1)
}

func testSourceError(t *testing.T, s *sourceTest) {
	s.p.set(func(p *platform) { p.err = errors.New("the platform is down") })
	for range 3 {
		tok, err := s.src.Token(patient(t))
		if err == nil {
			t.Error("Token hid a failure")
		}
		if tok.Value.Reveal() != "" || !tok.Expires.IsZero() {
			t.Error("Token returned a token beside an error")
		}
	}
	s.p.set(func(p *platform) { p.err = nil })
	// A source may pause after a failure, but after three it is soon back.
	deadline, again := time.After(10*time.Second), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	for {
		tok, err := s.src.Token(patient(t))
		if err == nil && tok.Value.Reveal() != "" {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("the platform is up again, but Token returns %v", err)
		}
	}
}

func testSourceInvalidate(t *testing.T, s *sourceTest) {
	first := s.token(t, 1)
	s.src.Invalidate(first)
	s.token(t, 2)
	s.src.Invalidate(first)
	s.token(t, 2)
}

func testSourceInvalidateOnce(t *testing.T, s *sourceTest) {
	first := s.token(t, 1)
	s.allGet(t, 200, 2, func() { s.src.Invalidate(first) })
}

func testSourceInvalidateOther(t *testing.T, s *sourceTest) {
	s.token(t, 1)
	for _, other := range []wecom.Token{{}, lasting("token-0"), lasting(""), lasting("token-1 ")} {
		s.src.Invalidate(other)
		s.token(t, 1)
	}
}

func testSourceInvalidateNone(t *testing.T, s *sourceTest) {
	for _, other := range []wecom.Token{{}, lasting("token-0")} {
		s.src.Invalidate(other)
	}
	s.token(t, 1)
}

func testSourceInvalidateNoIO(t *testing.T, s *sourceTest) {
	first := s.token(t, 1)
	hold, arrived := make(chan struct{}), make(chan struct{}, 1)
	s.p.set(func(p *platform) { p.hold, p.arrived = hold, arrived })
	report := func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.src.Invalidate(first)
		}()
		await(t, "Invalidate while the platform does not answer", done)
	}
	report()
	next := make(chan map[string]int, 1)
	go func() { next <- s.all(t, 1, nil) }()
	await(t, "the next fetch", arrived)
	report()
	close(hold)
	if got := <-next; got["token-2"] != 1 {
		t.Errorf("after the report: %v", got)
	}
}

// For the race detector, mostly.
func testSourceRace(t *testing.T, s *sourceTest) {
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				tok, err := s.src.Token(patient(t))
				if err != nil || tok.Value.Reveal() == "" {
					t.Errorf("Token: %v", err)
					return
				}
				s.src.Invalidate(tok)
			}
		})
	}
	group.Wait()
}
