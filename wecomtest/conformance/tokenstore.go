package conformance

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wecomauth/wecom"
)

const (
	patience = 30 * time.Second // for what a sound store does in milliseconds
	soon     = 2 * time.Second  // for what must not wait for a lock
)

// TokenStore tests an implementation of [wecom.TokenStore]. Each call of open returns a new handle,
// as another process would have it; all of them share one medium, which may hold tokens of earlier
// runs. What a handle needs to have closed, open closes in its t.Cleanup.
//
// What it cannot test is that the lock of a process that died is free within 15 seconds: an
// implementation tests that by killing one.
func TokenStore(t *testing.T, open func(t *testing.T) wecom.TokenStore) {
	suite(t, "TokenStore", func(t *testing.T) *storeTest {
		return &storeTest{a: open(t), b: open(t), key: uniqueKey()}
	}, []testCase[*storeTest]{
		{"a lock outlives a fetch, and ends once", testLongHold}, // first, since it takes 16 seconds
		{"what one handle stores the other loads", testRoundTrip},
		{"a key without a token", testMissing},
		{"keys are kept apart", testKeys},
		{"large and awkward values", testValues},
		{"an expired token comes back as it was stored", testExpired},
		{"one at a time, each sees its predecessor's token", testContention},
		{"keys do not wait for each other", testIndependence},
		{"Load does not wait for the lock", testLoadWhileLocked},
		{"Load returns whole tokens while others are written", testLoadWhileWritten},
		{"an error of fn stores nothing", testFnError},
		{"no token from fn stores nothing", testFnNothing},
		{"a panic of fn frees the lock", testFnPanic},
		{"a goroutine that ends in fn frees the lock", testFnGoexit},
		{"who waits for the lock leaves with its context", testCancelWaiting},
		{"an ended context takes no lock", testCancelBefore},
		{"fn's context ends with the caller's", testCancelInside},
		{"the lock is held while fn runs, though the caller's context has ended", testCancelHolding},
	})
}

// A storeTest has two handles to one medium and a key that nobody else uses.
type storeTest struct {
	a, b wecom.TokenStore
	key  string
}

var keys atomic.Int64

func uniqueKey() string {
	return fmt.Sprintf("conformance:%d:%d", time.Now().UnixNano(), keys.Add(1))
}

func testRoundTrip(t *testing.T, s *storeTest) {
	for i, expires := range []time.Time{
		time.Now().Add(2 * time.Hour),
		time.Now().Add(time.Second),
		time.Unix(4102444800, 0).In(time.FixedZone("", 8*3600)),
	} {
		want := newToken("token-"+strconv.Itoa(i), expires)
		put(t, s.a, s.key, want)
		equal(t, "loaded by the other handle", load(t, s.b, s.key), want)
		equal(t, "loaded by the same handle", load(t, s.a, s.key), want)
		_, err := s.b.Update(patient(t), s.key, func(_ context.Context, current wecom.Token) (wecom.Token, error) {
			equal(t, "fn's current token", current, want)
			return current, nil
		})
		noError(t, "Update that returns the current token", err)
		equal(t, "loaded after an Update that changed nothing", load(t, s.a, s.key), want)
	}
}

func testMissing(t *testing.T, s *storeTest) {
	equal(t, "loaded", load(t, s.a, s.key), wecom.Token{})
	want := lasting("first")
	_, err := s.a.Update(patient(t), s.key, func(_ context.Context, current wecom.Token) (wecom.Token, error) {
		equal(t, "fn's current token", current, wecom.Token{})
		return want, nil
	})
	noError(t, "Update", err)
	equal(t, "loaded after Update", load(t, s.b, s.key), want)
}

func testKeys(t *testing.T, s *storeTest) {
	long := strings.Repeat("k", 511)
	all := []string{
		"", ":", ".", "..", "/", "//", `\`, "/../", "../../etc/passwd", "a/b", `a\b`, "a//b", "a b", "a b ", " a b", "a+b", "a%20b", "a%2Fb",
		"A/B", "Key", "key", "KEY", "kéy", "ke\u0301y", "企业微信", "企业", "*", "?", "k*", "[a-z]", "'", `"`, "';--", "%", "_", "CON", "nul", "key.json", "key.lock", "~", "$HOME",
		"-", "--", "k\u200b", long + "1", long + "2", strings.Repeat("企", 170) + "k1", strings.Repeat("企", 170) + "k2",
	}
	for i, k := range all {
		put(t, s.a, s.key+k, lasting("token-"+strconv.Itoa(i)))
	}
	for i, k := range all {
		equal(t, fmt.Sprintf("loaded under a key ending in %.20q", k), load(t, s.b, s.key+k), lasting("token-"+strconv.Itoa(i)))
	}
}

func testValues(t *testing.T, s *storeTest) {
	for _, v := range []string{"x", strings.Repeat("t", 512), strings.Repeat("0123456789abcdef", 256), `'"<&\%;` + "\t\n", "令牌", strings.Repeat(" ", 3)} {
		put(t, s.a, s.key, lasting(v))
		equal(t, fmt.Sprintf("value of %d bytes", len(v)), load(t, s.b, s.key), lasting(v))
	}
}

func testExpired(t *testing.T, s *storeTest) {
	for _, ago := range []time.Duration{time.Second, time.Hour, 24 * time.Hour} {
		want := newToken("expired", time.Now().Add(-ago))
		put(t, s.a, s.key, want)
		equal(t, "loaded", load(t, s.b, s.key), want)
	}
}

func testContention(t *testing.T, s *storeTest) {
	const workers, rounds = 8, 4
	var (
		inside, calls atomic.Int64
		group         sync.WaitGroup
	)
	for w := range workers {
		store := s.a
		if w%2 == 1 {
			store = s.b
		}
		group.Go(func() {
			for range rounds {
				_, err := store.Update(patient(t), s.key, func(_ context.Context, current wecom.Token) (wecom.Token, error) {
					if inside.Add(1) != 1 {
						t.Error("two callers hold the lock")
					}
					defer inside.Add(-1)
					calls.Add(1)
					n, _ := strconv.Atoi(current.Value.Reveal())
					runtime.Gosched()
					return lasting(strconv.Itoa(n + 1)), nil
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	group.Wait()
	if n := calls.Load(); n != workers*rounds {
		t.Errorf("fn was called %d times in %d Updates", n, workers*rounds)
	}
	equal(t, "the last of a chain", load(t, s.a, s.key), lasting(strconv.Itoa(workers*rounds)))
}

// Some keys are locked and many others are not, so that a store with fewer locks than keys is found.
func testIndependence(t *testing.T, s *storeTest) {
	const locked, others = 8, 200
	for i := range locked {
		hold(t, s.a, s.key+"locked"+strconv.Itoa(i), lasting("held"))
		if t.Failed() {
			return
		}
	}
	for i := range others {
		store := s.a
		if i%2 == 1 {
			store = s.b
		}
		if lock(t, "while other keys are locked", store, s.key+strconv.Itoa(i)); t.Failed() {
			return
		}
	}
}

func testLoadWhileLocked(t *testing.T, s *storeTest) {
	put(t, s.a, s.key, lasting("old"))
	release := hold(t, s.a, s.key, lasting("new"))
	for _, store := range []wecom.TokenStore{s.a, s.b} {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		got, err := store.Load(ctx, s.key)
		cancel()
		noError(t, "Load while the key is locked", err)
		equal(t, "loaded while the key is locked", got, lasting("old"))
	}
	release()
	equal(t, "loaded after that", load(t, s.b, s.key), lasting("new"))
}

// What two handles read while a third party writes is always one of the tokens that were written.
func testLoadWhileWritten(t *testing.T, s *storeTest) {
	const writes = 100
	tokens := make([]wecom.Token, writes)
	for i := range tokens {
		// Long, with another life each: a token that is half one and half the next equals neither.
		tokens[i] = newToken(strings.Repeat(strconv.Itoa(i)+" ", 1000), tomorrow.Add(time.Duration(i)*time.Minute))
	}
	put(t, s.a, s.key, tokens[0])
	written := make(chan struct{})
	var readers sync.WaitGroup
	for _, store := range []wecom.TokenStore{s.a, s.b} {
		readers.Go(func() {
			for done := false; !done && !t.Failed(); {
				select {
				case <-written:
					done = true // after one more Load
				default:
				}
				got := load(t, store, s.key)
				number, _, _ := strings.Cut(got.Value.Reveal(), " ")
				i, err := strconv.Atoi(number)
				if err != nil || i < 0 || i >= writes {
					t.Errorf("loaded beside a writer: got the token %.40q, which nobody wrote", got.Value.Reveal())
					return
				}
				equal(t, "loaded beside a writer", got, tokens[i])
			}
		})
	}
	for _, token := range tokens[1:] {
		put(t, s.a, s.key, token)
	}
	close(written)
	readers.Wait()
}

func testFnError(t *testing.T, s *storeTest) {
	boom := errors.New("boom")
	fail := func() {
		t.Helper()
		_, err := s.a.Update(patient(t), s.key, func(context.Context, wecom.Token) (wecom.Token, error) {
			return lasting("not to be stored"), boom
		})
		if !errors.Is(err, boom) {
			t.Errorf("Update returned %v, want fn's error", err)
		}
	}
	fail()
	equal(t, "loaded after an error", load(t, s.b, s.key), wecom.Token{})
	put(t, s.b, s.key, lasting("kept"))
	fail()
	equal(t, "loaded after an error", load(t, s.b, s.key), lasting("kept"))
}

func testFnNothing(t *testing.T, s *storeTest) {
	put(t, s.a, s.key, lasting("kept"))
	for _, nothing := range []wecom.Token{{}, {Expires: time.Now().Add(time.Hour)}} {
		if _, err := s.a.Update(patient(t), s.key, func(context.Context, wecom.Token) (wecom.Token, error) {
			return nothing, nil
		}); err == nil {
			t.Error("Update took a token without a value")
		}
		equal(t, "loaded", load(t, s.b, s.key), lasting("kept"))
	}
}

func testFnPanic(t *testing.T, s *storeTest) {
	func() {
		defer func() { _ = recover() }() // a store may pass it on or make an error of it
		_, err := s.a.Update(patient(t), s.key, func(context.Context, wecom.Token) (wecom.Token, error) {
			panic("fn's own")
		})
		if err == nil {
			t.Error("Update hid a panic")
		}
	}()
	free(t, s)
}

func testFnGoexit(t *testing.T, s *storeTest) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = s.a.Update(context.Background(), s.key, func(context.Context, wecom.Token) (wecom.Token, error) {
			runtime.Goexit()
			return wecom.Token{}, nil
		})
	}()
	await(t, "a goroutine that ends in fn", ended)
	free(t, s)
}

// free checks that nothing was stored and nobody holds the lock.
func free(t *testing.T, s *storeTest) {
	t.Helper()
	for _, store := range []wecom.TokenStore{s.b, s.a} {
		equal(t, "fn's current token", lock(t, "after that", store, s.key), wecom.Token{})
	}
}

// lock expects to get key's lock soon, and returns the current token. It stores nothing.
func lock(t *testing.T, when string, store wecom.TokenStore, key string) (current wecom.Token) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	_, err := store.Update(ctx, key, func(_ context.Context, c wecom.Token) (wecom.Token, error) {
		current = c
		return wecom.Token{}, errors.ErrUnsupported
	})
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Update %s: %v, want to get the lock", when, err)
	}
	return current
}

func testCancelWaiting(t *testing.T, s *storeTest) {
	release := hold(t, s.a, s.key, lasting("held"))
	for _, store := range []wecom.TokenStore{s.a, s.b} {
		canceled, cancel := context.WithCancel(context.Background())
		time.AfterFunc(50*time.Millisecond, cancel)
		if err := notCalled(t, store, canceled, s.key); !errors.Is(err, context.Canceled) {
			t.Errorf("Update returned %v, want %v", err, context.Canceled)
		}
		stillHeld(t, store, s.key)
	}
	release()
	equal(t, "loaded", load(t, s.b, s.key), lasting("held"))
}

func testCancelBefore(t *testing.T, s *storeTest) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 20 { // who chooses between the lock and the end of the context does so at random
		if err := notCalled(t, s.a, ctx, s.key); !errors.Is(err, context.Canceled) {
			t.Fatalf("Update returned %v, want %v", err, context.Canceled)
		}
	}
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		_, _ = s.a.Load(ctx, s.key) // may still return a token
	}()
	await(t, "Load with an ended context", loaded)
	free(t, s)
}

func testCancelInside(t *testing.T, s *storeTest) {
	type contextKey struct{}
	ctx, cancel := context.WithCancel(context.WithValue(patient(t), contextKey{}, "value"))
	defer cancel()
	want := lasting("fetched")
	got, err := s.a.Update(ctx, s.key, func(fnCtx context.Context, _ wecom.Token) (wecom.Token, error) {
		if d, ok := fnCtx.Deadline(); !ok {
			t.Error("fn's context lacks the caller's deadline")
		} else if time.Until(d) < 9*time.Second {
			t.Errorf("fn's context leaves %v for a fetch of 10s", time.Until(d))
		}
		if fnCtx.Value(contextKey{}) != "value" {
			t.Error("fn's context lacks the caller's values")
		}
		cancel()
		await(t, "fn's context after the caller's has ended", fnCtx.Done())
		return want, nil
	})
	// The token was fetched, and must not be lost with the caller.
	equal(t, "returned after the caller's context has ended", got, want)
	if err == nil {
		equal(t, "loaded after an Update without an error", load(t, s.b, s.key), want)
	}
	put(t, s.b, s.key, lasting("next"))
}

func testCancelHolding(t *testing.T, s *storeTest) {
	ctx, cancel := context.WithCancel(patient(t))
	defer cancel()
	h := take(t, ctx, s.a, s.key, lasting("fetched"))
	await(t, "fn", h.inside)
	cancel()
	for _, store := range []wecom.TokenStore{s.a, s.b} {
		stillHeld(t, store, s.key)
	}
	h.leave()
	await(t, "the holder", h.ended)
	put(t, s.b, s.key, lasting("next"))
}

// A lock lasts for a fetch. After that it may end by itself, or last as long as its holder lives.
// In the first case the holder that comes back must not give back the next one's lock.
func testLongHold(t *testing.T, s *storeTest) {
	if testing.Short() {
		t.Skip("holds a lock for 16 seconds")
	}
	const fetch, dead = 11 * time.Second, 16 * time.Second // 10 and 15, and one for what is around them
	first := take(t, patient(t), s.a, s.key, lasting("first"))
	await(t, "fn", first.inside)
	second := take(t, patient(t), s.b, s.key, lasting("second"))
	select {
	case <-second.inside:
		t.Error("two callers hold the lock")
		return
	case <-first.ctx.Done():
		t.Error("fn's context ended too early")
		return
	case <-time.After(fetch):
	}
	select {
	case <-second.inside:
		first.leave()
		await(t, "the holder whose lock has ended", first.ended)
		if first.err == nil {
			t.Error("Update stored a token after its lock had ended")
		}
		stillHeld(t, s.a, s.key)
	case <-time.After(dead - fetch):
		first.leave()
		await(t, "the next holder", second.inside)
		await(t, "the holder", first.ended)
		noError(t, "Update that takes 16 seconds", first.err)
		equal(t, "fn's current token", second.current, lasting("first"))
	}
	second.leave()
	await(t, "the next holder", second.ended)
	noError(t, "Update after that", second.err)
	equal(t, "loaded after that", load(t, s.a, s.key), lasting("second"))
}

// stillHeld checks that somebody holds key's lock.
func stillHeld(t *testing.T, store wecom.TokenStore, key string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if err := notCalled(t, store, ctx, key); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Update of a key that is locked returned %v, want %v", err, context.DeadlineExceeded)
	}
}

// notCalled runs an Update that does not get the lock, and returns its error.
func notCalled(t *testing.T, store wecom.TokenStore, ctx context.Context, key string) error {
	t.Helper()
	type result struct {
		called bool
		err    error
	}
	results := make(chan result, 1) // a store that returns too late must not report to a test that is over
	go func() {
		var r result
		_, r.err = store.Update(ctx, key, func(context.Context, wecom.Token) (wecom.Token, error) {
			r.called = true
			return wecom.Token{}, errors.ErrUnsupported
		})
		results <- r
	}()
	select {
	case r := <-results:
		if r.called {
			t.Error("fn was called without the lock, or after its context had ended")
		}
		return r.err
	case <-time.After(soon + 50*time.Millisecond):
		t.Error("Update did not return soon after its context had ended")
		return ctx.Err()
	}
}

// A holder is an Update whose fn stays until it is told to leave, whatever its context says.
type holder struct {
	inside, ended chan struct{}
	leave         func()
	ctx           context.Context // fn's; it and current may be read after inside is closed
	current       wecom.Token
	err           error // Update's, after ended is closed
}

// take starts an Update that stores token.
func take(t *testing.T, ctx context.Context, store wecom.TokenStore, key string, token wecom.Token) *holder {
	ctx, cancel := context.WithCancel(ctx) // in the end, if it still waits for the lock
	left := make(chan struct{})
	h := &holder{inside: make(chan struct{}), ended: make(chan struct{}), leave: sync.OnceFunc(func() { close(left) })}
	go func() {
		defer close(h.ended)
		_, h.err = store.Update(ctx, key, func(ctx context.Context, current wecom.Token) (wecom.Token, error) {
			h.ctx, h.current = ctx, current
			close(h.inside)
			<-left
			return token, nil
		})
	}()
	t.Cleanup(func() { h.leave(); cancel(); <-h.ended })
	return h
}

// hold takes key's lock and returns when it has it. The function that it returns stores token and
// returns when that is done.
func hold(t *testing.T, store wecom.TokenStore, key string, token wecom.Token) (release func()) {
	t.Helper()
	h := take(t, patient(t), store, key, token)
	await(t, "the lock of a key of our own", h.inside)
	return func() {
		h.leave()
		<-h.ended
		noError(t, "Update of the lock's holder", h.err)
	}
}

func put(t *testing.T, store wecom.TokenStore, key string, token wecom.Token) {
	t.Helper()
	got, err := store.Update(patient(t), key, func(context.Context, wecom.Token) (wecom.Token, error) { return token, nil })
	noError(t, "Update", err)
	equal(t, "returned by Update", got, token)
}

func load(t *testing.T, store wecom.TokenStore, key string) wecom.Token {
	t.Helper()
	token, err := store.Load(patient(t), key)
	noError(t, "Load", err)
	return token
}

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func await(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(soon):
		t.Errorf("%s: nothing within %v", what, soon)
	}
}

func newToken(value string, expires time.Time) wecom.Token {
	return wecom.Token{Value: wecom.NewSecret(value), Expires: expires}
}

var tomorrow = time.Now().Add(24 * time.Hour)

func lasting(value string) wecom.Token { return newToken(value, tomorrow) }

// equal compares to the second, which is what WeCom counts in.
func equal(t *testing.T, what string, got, want wecom.Token) {
	t.Helper()
	if got.Value.Reveal() != want.Value.Reveal() {
		t.Errorf("%s: got the token %.40q, want %.40q", what, got.Value.Reveal(), want.Value.Reveal())
	}
	if got.Expires.Sub(want.Expires).Abs() >= time.Second {
		t.Errorf("%s: got a token that expires at %v, want %v", what, got.Expires, want.Expires)
	}
}

func noError(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}
