package wecom_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
)

var errDown = errors.New("upstream down")

// An issuer stands for gettoken: it hands out token-1, token-2 and so on.
type issuer struct {
	takes time.Duration           // how long a fetch takes, its deadline permitting
	life  time.Duration           // default: 7200 s
	fail  func(call int) error    // may be nil
	calls atomic.Int64            // fetches begun
	told  chan<- string           // gets each fetch's rejected token; may be nil
	value func(call int64) string // default: token-<call>
}

func (i *issuer) fetch(ctx context.Context, rejected wecom.Token) (wecom.Token, error) {
	start := time.Now()
	call := i.calls.Add(1)
	if i.told != nil {
		i.told <- rejected.Value.Reveal()
	}
	if i.takes > 0 {
		select {
		case <-time.After(i.takes):
		case <-ctx.Done():
			return wecom.Token{}, ctx.Err()
		}
	}
	if i.fail != nil {
		if err := i.fail(int(call)); err != nil {
			return wecom.Token{}, err
		}
	}
	value := fmt.Sprintf("token-%d", call)
	if i.value != nil {
		value = i.value(call)
	}
	life := i.life
	if life == 0 {
		life = 2 * time.Hour
	}
	return token(value, start.Add(life)), nil
}

func token(value string, expires time.Time) wecom.Token {
	return wecom.Token{Value: wecom.NewSecret(value), Expires: expires}
}

// callToken returns the value, or the error's text after "error: ".
func callToken(src wecom.TokenSource) string {
	tok, err := src.Token(context.Background())
	if err != nil {
		return "error: " + err.Error()
	}
	return tok.Value.Reveal()
}

// callAll calls Token of the sources n times each, all at once, and counts the outcomes.
func callAll(n int, sources ...wecom.TokenSource) map[string]int {
	outcomes := make(chan string)
	for _, src := range sources {
		for range n {
			go func() { outcomes <- callToken(src) }()
		}
	}
	count := map[string]int{}
	for range n * len(sources) {
		count[<-outcomes]++
	}
	return count
}

// warnings counts what reaches slog's default logger until the test ends.
func warnings(t *testing.T) *atomic.Int64 {
	t.Helper()
	before, flags := slog.Default(), log.Flags()
	h := &countingHandler{t: t}
	slog.SetDefault(slog.New(h))
	t.Cleanup(func() {
		slog.SetDefault(before)
		log.SetOutput(os.Stderr)
		log.SetFlags(flags)
	})
	return &h.n
}

type countingHandler struct {
	slog.Handler
	t *testing.T
	n atomic.Int64
}

func (h *countingHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *countingHandler) Handle(_ context.Context, r slog.Record) error {
	h.n.Add(1)
	r.Attrs(func(a slog.Attr) bool {
		assert.NotContains(h.t, a.Value.String(), "token-")
		return true
	})
	return nil
}

// A sharedStore is a TokenStore in memory whose lock honours ctx, as that of a
// store between processes does.
type sharedStore struct {
	lock chan struct{} // holds one value while free
	mu   sync.Mutex
	kept map[string]wecom.Token
}

func newSharedStore() *sharedStore {
	s := &sharedStore{lock: make(chan struct{}, 1), kept: map[string]wecom.Token{}}
	s.lock <- struct{}{}
	return s
}

func (s *sharedStore) get(key string) wecom.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[key]
}

func (s *sharedStore) put(key string, tok wecom.Token) {
	tok.Expires = tok.Expires.Truncate(time.Second) // wall clock only, as in a file
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[key] = tok
}

func (s *sharedStore) Load(_ context.Context, key string) (wecom.Token, error) {
	return s.get(key), nil
}

func (s *sharedStore) Update(ctx context.Context, key string, fn func(context.Context, wecom.Token) (wecom.Token, error)) (wecom.Token, error) {
	select {
	case <-s.lock:
	case <-ctx.Done():
		return wecom.Token{}, ctx.Err()
	}
	defer func() { s.lock <- struct{}{} }()
	tok, err := fn(ctx, s.get(key))
	if err != nil {
		return wecom.Token{}, fmt.Errorf("store: %w", err)
	}
	s.put(key, tok)
	return tok, nil
}

// A faultyStore replaces one or both methods of a sharedStore.
type faultyStore struct {
	*sharedStore
	load   func(ctx context.Context, key string) (wecom.Token, error)
	update func(ctx context.Context, key string, fn func(context.Context, wecom.Token) (wecom.Token, error)) (wecom.Token, error)
}

func (s *faultyStore) Load(ctx context.Context, key string) (wecom.Token, error) {
	if s.load != nil {
		return s.load(ctx, key)
	}
	return s.sharedStore.Load(ctx, key)
}

func (s *faultyStore) Update(ctx context.Context, key string, fn func(context.Context, wecom.Token) (wecom.Token, error)) (wecom.Token, error) {
	if s.update != nil {
		return s.update(ctx, key, fn)
	}
	return s.sharedStore.Update(ctx, key, fn)
}

// Channels of a synctest bubble must be made inside it, hence the functions.
var withAndWithoutStore = map[string]func() wecom.TokenStore{
	"alone":        func() wecom.TokenStore { return nil },
	"with a store": func() wecom.TokenStore { return newSharedStore() },
}

func TestF1_OneFlight(t *testing.T) {
	for name, store := range withAndWithoutStore {
		t.Run(name, bubble(func(t *testing.T) {
			up := &issuer{takes: 3 * time.Second}
			src := wecom.NewTokenSource("k", store(), up.fetch)
			require.Zero(t, up.calls.Load(), "nothing is fetched before the first use")
			assert.Equal(t, map[string]int{"token-1": 200}, callAll(200, src), "cold")
			assert.EqualValues(t, 1, up.calls.Load())

			time.Sleep(2 * time.Hour)
			assert.Equal(t, map[string]int{"token-2": 200}, callAll(200, src), "expired")
			assert.EqualValues(t, 2, up.calls.Load())
		}))
	}
}

func TestF2_LeaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &issuer{takes: 3 * time.Second}
		src := wecom.NewTokenSource("k", nil, up.fetch)
		ctx, leave := context.WithCancel(context.Background())
		left := make(chan error, 1)
		go func() {
			_, err := src.Token(ctx)
			left <- err
		}()
		synctest.Wait() // the leader is in the fetch
		followers := make(chan map[string]int, 1)
		go func() { followers <- callAll(199, src) }()
		synctest.Wait()

		start := time.Now()
		leave()
		assert.ErrorIs(t, <-left, context.Canceled)
		assert.Zero(t, time.Since(start), "the leader leaves at once")
		assert.Equal(t, map[string]int{"token-1": 199}, <-followers)
		assert.EqualValues(t, 1, up.calls.Load())
	})
}

func TestF2_FollowerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &issuer{takes: 3 * time.Second}
		src := wecom.NewTokenSource("k", nil, up.fetch)
		leader := make(chan string, 1)
		go func() { leader <- callToken(src) }()
		synctest.Wait()

		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		tok, err := src.Token(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Zero(t, tok)
		assert.Equal(t, time.Second, time.Since(start))
		assert.Equal(t, "token-1", <-leader)
	})
}

func TestF3_SharedFailure(t *testing.T) {
	for name, tc := range map[string]struct {
		fetch func(context.Context) error
		took  time.Duration
	}{
		"refused":                 {func(context.Context) error { return errDown }, 0},
		"timeout":                 {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 10 * time.Second},
		"timeout that is ignored": {func(context.Context) error { time.Sleep(time.Minute); return errDown }, 10 * time.Second},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			var calls atomic.Int64
			src := wecom.NewTokenSource("k", nil, func(ctx context.Context, _ wecom.Token) (wecom.Token, error) {
				calls.Add(1)
				return wecom.Token{}, tc.fetch(ctx)
			})
			start := time.Now()
			failed := make(chan error)
			for range 200 {
				go func() {
					tok, err := src.Token(context.Background())
					assert.Zero(t, tok)
					failed <- err
				}()
			}
			first := <-failed
			require.Error(t, first)
			for range 199 {
				assert.Equal(t, first, <-failed)
			}
			assert.Equal(t, tc.took, time.Since(start))
			assert.EqualValues(t, 1, calls.Load())

			_, err := src.Token(context.Background())
			assert.Equal(t, first, err, "the same failure, without a call")
			assert.EqualValues(t, 1, calls.Load())
			time.Sleep(time.Minute) // let a fetch that ignores its context end
		}))
	}
}

func TestF3_Outage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &issuer{fail: func(int) error { return errDown }}
		src := wecom.NewTokenSource("k", nil, up.fetch)
		for range 60 * 100 { // 100 calls a second for a minute
			require.Equal(t, "error: upstream down", callToken(src))
			time.Sleep(10 * time.Millisecond)
		}
		assert.LessOrEqual(t, up.calls.Load(), int64(12))
		assert.GreaterOrEqual(t, up.calls.Load(), int64(7), "it does try again")

		time.Sleep(38 * time.Second) // the longest pause: 30 s and a quarter
		up.fail = nil
		require.Contains(t, callToken(src), "token-", "the end of the outage is noticed")

		// A success starts the ladder anew: the first pause is a quarter second at most.
		time.Sleep(2 * time.Hour)
		down := true
		up.fail = func(int) error {
			if down {
				return errDown
			}
			return nil
		}
		require.Contains(t, callToken(src), "error")
		down = false
		time.Sleep(250 * time.Millisecond)
		assert.Contains(t, callToken(src), "token-")
	})
}

type lockedOut struct{ pause time.Duration }

func (*lockedOut) Error() string               { return "locked out" }
func (e *lockedOut) RetryAfter() time.Duration { return e.pause } // panics on nil

func TestF3_ErrorSetsThePause(t *testing.T) {
	for name, tc := range map[string]struct {
		err         error
		quiet, then time.Duration // no call until quiet; a call after then
	}{
		"five minutes":   {&lockedOut{5 * time.Minute}, 5*time.Minute - 1, 5 * time.Minute},
		"wrapped":        {fmt.Errorf("gettoken: %w", &lockedOut{time.Minute}), time.Minute - 1, time.Minute},
		"absurd":         {&lockedOut{1000 * time.Hour}, time.Hour - 1, time.Hour},
		"negative":       {&lockedOut{-time.Hour}, 149 * time.Millisecond, 250 * time.Millisecond},
		"nil in a chain": {fmt.Errorf("gettoken: %w", (*silent)(nil)), 149 * time.Millisecond, 250 * time.Millisecond},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			up := &issuer{fail: func(call int) error {
				if call == 1 {
					return tc.err
				}
				return nil
			}}
			src := wecom.NewTokenSource("k", nil, up.fetch)
			_, err := src.Token(context.Background())
			require.ErrorIs(t, err, tc.err)
			time.Sleep(tc.quiet)
			assert.Contains(t, callToken(src), "error")
			assert.EqualValues(t, 1, up.calls.Load())
			time.Sleep(tc.then - tc.quiet)
			assert.Equal(t, "token-2", callToken(src))
		}))
	}
}

// A silent error is well on its own, but its RetryAfter panics on nil.
type silent struct{ pause time.Duration }

func (*silent) Error() string               { return "silent" }
func (e *silent) RetryAfter() time.Duration { return e.pause }

func TestF4_EarlyRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[time.Duration]bool{}
		for range 10 {
			up := &issuer{life: 1000 * time.Second, takes: 2 * time.Second}
			src := wecom.NewTokenSource("k", nil, up.fetch)
			start := time.Now()
			require.Equal(t, "token-1", callToken(src))
			time.Sleep(890 * time.Second)
			for up.calls.Load() == 1 {
				time.Sleep(time.Second)
				before := time.Now()
				require.Equal(t, map[string]int{"token-1": 20}, callAll(20, src))
				require.Zero(t, time.Since(before), "nobody waits for a background refresh")
				synctest.Wait()
			}
			at := time.Since(start)
			seen[at] = true
			assert.GreaterOrEqual(t, at, 900*time.Second)
			assert.LessOrEqual(t, at, 951*time.Second)

			time.Sleep(time.Second)
			assert.Equal(t, "token-1", callToken(src), "until the new one is there")
			time.Sleep(time.Second)
			synctest.Wait()
			assert.Equal(t, map[string]int{"token-2": 50}, callAll(50, src))
			assert.EqualValues(t, 2, up.calls.Load())
		}
		assert.Greater(t, len(seen), 3, "the moment is jittered")
	})
}

func TestF4_StaleWhileError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warned := warnings(t)
		up := &issuer{fail: func(call int) error {
			if call > 1 {
				return errDown
			}
			return nil
		}}
		src := wecom.NewTokenSource("k", nil, up.fetch)
		start := time.Now()
		for time.Since(start) < 2*time.Hour {
			require.Equal(t, "token-1", callToken(src))
			time.Sleep(time.Second)
		}
		assert.LessOrEqual(t, up.calls.Load(), int64(1+8+720/22), "refreshes back off as well")
		assert.EqualValues(t, 1, warned.Load(), "one warning per episode")

		assert.Equal(t, "error: upstream down", callToken(src), "an expired token is never served")
		up.fail = nil
		time.Sleep(38 * time.Second)
		assert.Contains(t, callToken(src), "token-")
	})
}

func TestF5_CompareAndSwap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan string, 10)
		up := &issuer{told: told}
		src := wecom.NewTokenSource("k", nil, up.fetch)
		src.Invalidate(wecom.Token{}) // nothing is cached, and this is no token
		first, err := src.Token(context.Background())
		require.NoError(t, err)
		assert.Equal(t, "", <-told)

		src.Invalidate(wecom.Token{})
		src.Invalidate(token("another", first.Expires))
		assert.Equal(t, "token-1", callToken(src), "a report about another token changes nothing")

		src.Invalidate(token("token-1", time.Time{})) // the value decides
		assert.EqualValues(t, 1, up.calls.Load(), "Invalidate does no I/O")
		assert.Equal(t, "token-2", callToken(src))
		assert.Equal(t, "token-1", <-told, "the report travels into the fetch")

		src.Invalidate(first) // late
		assert.Equal(t, "token-2", callToken(src))
		time.Sleep(2 * time.Hour)
		assert.Equal(t, "token-3", callToken(src))
		assert.Equal(t, "", <-told, "and only into the one that answers it")
	})
}

func TestF5_ReportSurvivesAFailedFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan string, 10)
		up := &issuer{told: told, fail: func(call int) error {
			if call == 2 {
				return errDown
			}
			return nil
		}}
		src := wecom.NewTokenSource("k", nil, up.fetch)
		first, _ := src.Token(context.Background())
		src.Invalidate(first)
		assert.Equal(t, "error: upstream down", callToken(src), "a rejected token is not served in need either")
		time.Sleep(time.Second)
		assert.Equal(t, "token-3", callToken(src))
		assert.Equal(t, []string{"", "token-1", "token-1"}, []string{<-told, <-told, <-told})
	})
}

func TestF5_KilledToken(t *testing.T) {
	for name, store := range withAndWithoutStore {
		t.Run(name, bubble(func(t *testing.T) {
			var up issuer
			src := wecom.NewTokenSource("k", store(), up.fetch)
			require.Equal(t, "token-1", callToken(src))
			time.Sleep(time.Hour)
			// 200 callbacks use token-1, are refused and try once more.
			up.takes = time.Second
			outcomes := make(chan string)
			for range 200 {
				go func() {
					tok, err := src.Token(context.Background())
					if err == nil && tok.Value.Reveal() == "token-1" {
						src.Invalidate(tok)
						tok, err = src.Token(context.Background())
					}
					outcomes <- fmt.Sprint(tok.Value.Reveal(), err)
				}()
			}
			for range 200 {
				assert.Equal(t, "token-2<nil>", <-outcomes)
			}
			assert.EqualValues(t, 2, up.calls.Load(), "one extra fetch")
		}))
	}
}

func TestF5_InvalidatedDuringRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &issuer{takes: 3 * time.Second}
		src := wecom.NewTokenSource("k", nil, up.fetch)
		old, _ := src.Token(context.Background())
		time.Sleep(6840 * time.Second)
		require.Equal(t, "token-1", callToken(src)) // starts the refresh
		synctest.Wait()
		require.EqualValues(t, 2, up.calls.Load())
		src.Invalidate(old)
		assert.Equal(t, map[string]int{"token-2": 50}, callAll(50, src), "callers join the flight that is under way")
		assert.EqualValues(t, 2, up.calls.Load())
	})
}

func TestF5_NoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A server that refuses whatever it issues, and 10 sign-ins a second for ten minutes.
		var up issuer
		src := wecom.NewTokenSource("k", nil, up.fetch)
		for range 10 * 60 * 10 {
			for range 2 {
				tok, err := src.Token(context.Background())
				require.NoError(t, err, "the caller sees WeCom's refusal, not an error of ours")
				src.Invalidate(tok)
			}
			time.Sleep(100 * time.Millisecond)
		}
		assert.LessOrEqual(t, up.calls.Load(), int64(1+3*10))
		assert.GreaterOrEqual(t, up.calls.Load(), int64(3*9))

		time.Sleep(time.Minute)
		tok, _ := src.Token(context.Background())
		src.Invalidate(tok)
		assert.NotEqual(t, tok.Value.Reveal(), callToken(src), "after a quiet minute a report counts at once")
	})
}

func TestF5_UpstreamInsists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &issuer{value: func(int64) string { return "token-same" }}
		src := wecom.NewTokenSource("k", newSharedStore(), up.fetch)
		tok, _ := src.Token(context.Background())
		src.Invalidate(tok)
		assert.Equal(t, "token-same", callToken(src), "a repeated gettoken may return the same token: it is what there is")
		assert.EqualValues(t, 2, up.calls.Load())
	})
}

func TestF14_StoreFails(t *testing.T) {
	type updateFn = func(context.Context, wecom.Token) (wecom.Token, error)
	errMedium := errors.New("medium failed")
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, tc := range map[string]struct {
		store  faultyStore
		atMost time.Duration
		warned int64
	}{
		"well": {store: faultyStore{}, warned: 0},
		"load fails": {store: faultyStore{load: func(context.Context, string) (wecom.Token, error) {
			return wecom.Token{}, errMedium
		}}, warned: 1},
		"load fails and returns a token": {store: faultyStore{load: func(context.Context, string) (wecom.Token, error) {
			return token("wrong", time.Now().Add(time.Hour)), errMedium
		}}, warned: 1},
		"load hangs": {store: faultyStore{load: func(ctx context.Context, _ string) (wecom.Token, error) {
			return wecom.Token{}, hang(ctx)
		}}, atMost: 2 * time.Second, warned: 1},
		"load ignores its context": {store: faultyStore{load: func(context.Context, string) (wecom.Token, error) {
			time.Sleep(time.Minute)
			return token("late", time.Now().Add(time.Hour)), nil
		}}, atMost: 2 * time.Second, warned: 1},
		"load panics": {store: faultyStore{load: func(context.Context, string) (wecom.Token, error) {
			panic("token-0")
		}}, warned: 2}, // the second holds the stack
		"load ends its goroutine": {store: faultyStore{load: func(context.Context, string) (wecom.Token, error) {
			runtime.Goexit()
			return wecom.Token{}, nil
		}}, warned: 1},
		"load returns an expired token": {store: faultyStore{load: func(context.Context, string) (wecom.Token, error) {
			return token("old", time.Now().Add(-time.Second)), nil
		}}},
		"load returns no value": {store: faultyStore{load: func(context.Context, string) (wecom.Token, error) {
			return token("", time.Now().Add(time.Hour)), nil
		}}},
		"load returns no expiry": {store: faultyStore{load: func(context.Context, string) (wecom.Token, error) {
			return token("undated", time.Time{}), nil
		}}},
		"update fails": {store: faultyStore{update: func(context.Context, string, updateFn) (wecom.Token, error) {
			return wecom.Token{}, errMedium
		}}, warned: 1},
		"update does not call back": {store: faultyStore{update: func(context.Context, string, updateFn) (wecom.Token, error) {
			return token("wrong", time.Now().Add(time.Hour)), nil
		}}, warned: 1},
		"update calls back twice": {store: faultyStore{update: func(ctx context.Context, _ string, fn updateFn) (wecom.Token, error) {
			_, err := fn(ctx, wecom.Token{})
			_, err2 := fn(ctx, wecom.Token{})
			return wecom.Token{}, errors.Join(err, err2)
		}}, warned: 1},
		"update returns another token": {store: faultyStore{update: func(ctx context.Context, _ string, fn updateFn) (wecom.Token, error) {
			_, _ = fn(ctx, wecom.Token{})
			return token("wrong", time.Now().Add(time.Hour)), nil
		}}},
		"update hangs": {store: faultyStore{update: func(ctx context.Context, _ string, _ updateFn) (wecom.Token, error) {
			return wecom.Token{}, hang(ctx)
		}}, atMost: 20 * time.Second, warned: 1},
		"update calls back late": {store: faultyStore{update: func(ctx context.Context, _ string, fn updateFn) (wecom.Token, error) {
			time.Sleep(40 * time.Second)
			return fn(ctx, wecom.Token{})
		}}, atMost: 20 * time.Second, warned: 1},
		"update calls back in another goroutine": {store: faultyStore{update: func(ctx context.Context, _ string, fn updateFn) (wecom.Token, error) {
			go func() { _, _ = fn(ctx, wecom.Token{}) }()
			return wecom.Token{}, hang(ctx)
		}}, atMost: 2 * time.Second, warned: 1},
		"update panics before": {store: faultyStore{update: func(context.Context, string, updateFn) (wecom.Token, error) {
			panic("token-0")
		}}, warned: 2},
		"update panics after": {store: faultyStore{update: func(ctx context.Context, _ string, fn updateFn) (wecom.Token, error) {
			_, _ = fn(ctx, wecom.Token{})
			panic("token-0")
		}}, warned: 2},
		"write fails": {store: faultyStore{update: func(ctx context.Context, _ string, fn updateFn) (wecom.Token, error) {
			tok, _ := fn(ctx, wecom.Token{})
			return tok, errMedium
		}}, warned: 1},
		"write hangs": {store: faultyStore{update: func(ctx context.Context, _ string, fn updateFn) (wecom.Token, error) {
			_, _ = fn(ctx, wecom.Token{})
			return wecom.Token{}, hang(ctx)
		}}, atMost: 2 * time.Second, warned: 1},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			warned := warnings(t)
			tc.store.sharedStore = newSharedStore()
			var up issuer
			src := wecom.NewTokenSource("k", &tc.store, up.fetch)
			start := time.Now()
			assert.Equal(t, map[string]int{"token-1": 200}, callAll(200, src), "no caller fails")
			assert.LessOrEqual(t, time.Since(start), tc.atMost)
			assert.EqualValues(t, 1, up.calls.Load())
			time.Sleep(time.Minute) // let a late store end

			// The same after the token's life: still one fetch, no second warning.
			stacks := max(0, tc.warned-1)
			time.Sleep(2 * time.Hour)
			assert.Equal(t, map[string]int{"token-2": 200}, callAll(200, src))
			assert.EqualValues(t, 2, up.calls.Load())
			assert.Equal(t, tc.warned+stacks, warned.Load())
			time.Sleep(time.Minute)
		}))
	}
}

func TestF14_OneWarningPerEpisode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warned := warnings(t)
		var down atomic.Bool
		store := &faultyStore{sharedStore: newSharedStore()}
		store.load = func(ctx context.Context, key string) (wecom.Token, error) {
			if down.Load() {
				return wecom.Token{}, errDown
			}
			return store.sharedStore.Load(ctx, key)
		}
		var up issuer
		src := wecom.NewTokenSource("k", store, up.fetch)
		for episode := range int64(3) {
			down.Store(false)
			callToken(src)
			time.Sleep(2 * time.Hour)
			assert.Equal(t, episode, warned.Load())
			down.Store(true)
			for range 3 {
				assert.Contains(t, callToken(src), "token-")
				time.Sleep(2 * time.Hour)
			}
			assert.Equal(t, episode+1, warned.Load())
		}
	})
}

func TestF14_FetchFailureIsNotTheStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warned := warnings(t)
		up := &issuer{fail: func(int) error { return errDown }}
		store := newSharedStore()
		src := wecom.NewTokenSource("k", store, up.fetch)
		_, err := src.Token(context.Background())
		assert.Equal(t, errDown, err)
		assert.EqualValues(t, 1, up.calls.Load(), "a failed fetch under the lock is not repeated without it")
		assert.Zero(t, warned.Load())
		assert.Zero(t, store.get("k"))
	})
}

func TestF14_HangingStoreDisturbsNobodyWithAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warnings(t)
		store := &faultyStore{sharedStore: newSharedStore()}
		var up issuer
		src := wecom.NewTokenSource("k", store, up.fetch)
		require.Equal(t, "token-1", callToken(src))
		store.load = func(ctx context.Context, _ string) (wecom.Token, error) {
			<-ctx.Done()
			return wecom.Token{}, ctx.Err()
		}
		time.Sleep(6840 * time.Second)
		start := time.Now()
		assert.Equal(t, map[string]int{"token-1": 200}, callAll(200, src))
		synctest.Wait()
		assert.Equal(t, map[string]int{"token-1": 200}, callAll(200, src))
		assert.Zero(t, time.Since(start))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, "token-2", callToken(src))
	})
}

// A store that cannot be written keeps what it has; what was reported once must not come
// back from it, not even after another token was reported.
func TestF14_ReadOnlyStoreHoldsAKilledToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warnings(t)
		store := &faultyStore{sharedStore: newSharedStore()}
		store.put("k", token("killed", time.Now().Add(2*time.Hour)))
		store.update = func(ctx context.Context, key string, fn func(context.Context, wecom.Token) (wecom.Token, error)) (wecom.Token, error) {
			tok, _ := fn(ctx, store.get(key))
			return tok, errors.New("read-only")
		}
		var up issuer
		src := wecom.NewTokenSource("k", store, up.fetch)
		for _, want := range []string{"killed", "token-1", "token-2", "token-3"} {
			tok, err := src.Token(context.Background())
			require.NoError(t, err)
			require.Equal(t, want, tok.Value.Reveal())
			src.Invalidate(tok)
			time.Sleep(time.Minute)
		}
	})
}

func TestF18_OneFetchPerFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		up := &issuer{takes: 3 * time.Second}
		fleet := make([]wecom.TokenSource, 8)
		for i := range fleet {
			fleet[i] = wecom.NewTokenSource("k", store, up.fetch)
		}
		assert.Equal(t, map[string]int{"token-1": 400}, callAll(50, fleet...), "cold")
		assert.EqualValues(t, 1, up.calls.Load())

		late := wecom.NewTokenSource("k", store, up.fetch)
		assert.Equal(t, "token-1", callToken(late), "a late comer loads it")
		other := wecom.NewTokenSource("another app", store, up.fetch)
		assert.Equal(t, "token-2", callToken(other), "under its own key only")
		up.calls.Store(1)

		// Killed right away: all are refused and report it.
		for _, src := range fleet {
			src.Invalidate(token("token-1", time.Time{}))
		}
		assert.Equal(t, map[string]int{"token-2": 400}, callAll(50, fleet...), "killed")
		assert.EqualValues(t, 2, up.calls.Load())

		// The early refresh: whoever is due first fetches, the others take it from the store.
		for range 7200 / 5 {
			time.Sleep(5 * time.Second)
			for outcome := range callAll(1, fleet...) {
				require.Contains(t, []string{"token-2", "token-3"}, outcome)
			}
		}
		assert.EqualValues(t, 3, up.calls.Load())
		assert.Equal(t, map[string]int{"token-3": 8}, callAll(1, fleet...))

		time.Sleep(3 * time.Hour)
		assert.Equal(t, map[string]int{"token-4": 400}, callAll(50, fleet...), "expired")
		assert.EqualValues(t, 4, up.calls.Load())
	})
}

func TestF19_LockHolderDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warned := warnings(t)
		store := newSharedStore()
		<-store.lock // by a process that dies with it
		time.AfterFunc(15*time.Second, func() { store.lock <- struct{}{} })
		up := &issuer{takes: 3 * time.Second}
		fleet := make([]wecom.TokenSource, 8)
		for i := range fleet {
			fleet[i] = wecom.NewTokenSource("k", store, up.fetch)
		}
		start := time.Now()
		assert.Equal(t, map[string]int{"token-1": 400}, callAll(50, fleet...))
		assert.Equal(t, 18*time.Second, time.Since(start))
		assert.EqualValues(t, 1, up.calls.Load())
		assert.Zero(t, warned.Load())
	})
}

func TestF19_ValidTokenNeedsNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warnings(t)
		store := newSharedStore()
		<-store.lock // for good
		store.put("k", token("stored", time.Now().Add(2*time.Hour)))
		var up issuer
		start := time.Now()
		src := wecom.NewTokenSource("k", store, up.fetch)
		assert.Equal(t, "stored", callToken(src), "a cold start")
		assert.Zero(t, time.Since(start))

		time.Sleep(6840 * time.Second)
		start = time.Now()
		for range 10 {
			assert.Equal(t, map[string]int{"stored": 50}, callAll(50, src), "while the refresh waits for the lock")
			synctest.Wait()
		}
		assert.Zero(t, time.Since(start))
		time.Sleep(21 * time.Second)
		synctest.Wait()
		assert.Equal(t, "token-1", callToken(src))
		time.Sleep(20 * time.Second) // let the store end
	})
}

func TestF18_RefreshTakesNoShorterLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		var up issuer
		src := wecom.NewTokenSource("k", store, up.fetch)
		require.Equal(t, "token-1", callToken(src))
		time.Sleep(6840 * time.Second)
		store.put("k", token("shorter", time.Now().Add(2*time.Minute)))
		require.Equal(t, "token-1", callToken(src))
		synctest.Wait()
		assert.Equal(t, "token-2", callToken(src))
	})
}

func TestF20_LifeOfAFetchedToken(t *testing.T) {
	const takes = 5 * time.Second
	for name, tc := range map[string]struct {
		expires func(start time.Time) time.Time
		life    time.Duration // from the start of the fetch
	}{
		"none":          {func(time.Time) time.Time { return time.Time{} }, time.Minute},
		"zero seconds":  {func(start time.Time) time.Time { return start }, time.Minute},
		"-1":            {func(start time.Time) time.Time { return start.Add(-time.Second) }, time.Minute},
		"short":         {func(start time.Time) time.Time { return start.Add(time.Second) }, time.Minute},
		"usual":         {func(start time.Time) time.Time { return start.Add(2 * time.Hour) }, 2 * time.Hour},
		"remaining":     {func(start time.Time) time.Time { return start.Add(1234 * time.Second) }, 1234 * time.Second},
		"huge":          {func(start time.Time) time.Time { return start.AddDate(100, 0, 0) }, 2 * time.Hour},
		"beyond int64":  {func(time.Time) time.Time { return time.Unix(1<<60, 0) }, 2 * time.Hour},
		"no monotonic":  {func(start time.Time) time.Time { return start.Add(time.Hour).Round(0) }, time.Hour},
		"another place": {func(start time.Time) time.Time { return start.Add(time.Hour).UTC() }, time.Hour},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			start := time.Now()
			var down atomic.Bool
			src := wecom.NewTokenSource("k", nil, func(context.Context, wecom.Token) (wecom.Token, error) {
				if down.Load() {
					return wecom.Token{}, errDown
				}
				time.Sleep(takes)
				return token("token", tc.expires(start)), nil
			})
			tok, err := src.Token(context.Background())
			require.NoError(t, err)
			assert.True(t, tok.Expires.Equal(start.Add(tc.life)), "%v", tok.Expires)

			down.Store(true)
			time.Sleep(tc.life - takes - time.Nanosecond)
			assert.Equal(t, "token", callToken(src), "to the end of its life")
			synctest.Wait()
			time.Sleep(time.Nanosecond)
			assert.Equal(t, "error: upstream down", callToken(src), "and no longer")
		}))
	}
}

func TestF20_LifeOfAStoredToken(t *testing.T) {
	for name, tc := range map[string]struct {
		remaining time.Duration
		life      time.Duration // 0: it is not used
	}{
		"fresh":                     {2 * time.Hour, 2 * time.Hour},
		"half":                      {time.Hour, time.Hour},
		"near its end":              {61 * time.Second, 61 * time.Second},
		"as good as over":           {time.Minute, 0},
		"over":                      {-time.Second, 0},
		"writer's clock is ahead":   {3 * time.Hour, 2 * time.Hour},
		"garbage that looks a date": {90000 * time.Hour, 2 * time.Hour},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			store := newSharedStore()
			expires := time.Now().Add(tc.remaining)
			store.put("k", token("stored", expires))
			var up issuer
			src := wecom.NewTokenSource("k", store, up.fetch)
			start := time.Now()
			tok, err := src.Token(context.Background())
			require.NoError(t, err)
			if tc.life == 0 {
				assert.Equal(t, "token-1", tok.Value.Reveal())
				assert.Equal(t, "token-1", store.get("k").Value.Reveal(), "the new one is stored")
				return
			}
			assert.Equal(t, "stored", tok.Value.Reveal())
			assert.True(t, tok.Expires.Equal(start.Add(tc.life)), "%v", tok.Expires)
			time.Sleep(tc.life - time.Nanosecond)
			assert.Equal(t, "stored", callToken(src))
			synctest.Wait()
			assert.Equal(t, "token-1", callToken(src), "the same token with the same bad date is not taken again")
		}))
	}
}

// A step of the host's clock neither ends a token nor prolongs it.
func TestF20_LivesAreCountedByTheMonotonicClock(t *testing.T) {
	store := newSharedStore()
	store.put("stored", token("stored", time.Now().Add(time.Hour).Round(0)))
	for _, key := range []string{"fetched", "stored"} {
		var up issuer
		tok, err := wecom.NewTokenSource(key, store, up.fetch).Token(t.Context())
		require.NoError(t, err)
		assert.NotEqual(t, tok.Expires.Round(0), tok.Expires, key)
	}
}

// A report counts for as long as a store may hold the token: two hours.
func TestReportsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		var up issuer
		src := wecom.NewTokenSource("k", store, up.fetch)
		report := func() {
			tok, err := src.Token(t.Context())
			require.NoError(t, err)
			src.Invalidate(tok)
		}
		report()
		reported := token("token-1", time.Now().Add(4*time.Hour))
		store.put("k", reported)
		assert.Equal(t, "token-2", callToken(src), "not the one that was reported")
		time.Sleep(2*time.Hour + time.Minute)
		report()
		store.put("k", reported)
		assert.Equal(t, "token-1", callToken(src))
	})
}

func TestF25_PanicInFetch(t *testing.T) {
	var nothing map[string]string
	for name, fail := range map[string]func(){
		"text":           func() { panic("token-0 in a panic") },
		"error":          func() { panic(errors.New("token-0 in a panic")) },
		"runtime error":  func() { nothing["token-0"] = "" },
		"nil":            func() { panic(nil) },
		"ends goroutine": runtime.Goexit,
	} {
		t.Run(name, bubble(func(t *testing.T) {
			warnings(t)
			up := &issuer{}
			up.fail = func(call int) error {
				if call == 1 {
					fail()
				}
				return nil
			}
			store := newSharedStore()
			src := wecom.NewTokenSource("k", store, up.fetch)
			outcomes := callAll(200, src)
			require.Len(t, outcomes, 1)
			for text := range outcomes {
				assert.True(t, strings.HasPrefix(text, "error: wecom: "), text)
				assert.NotContains(t, text, "token-0")
			}
			assert.EqualValues(t, 1, up.calls.Load())
			synctest.Wait()
			assert.Len(t, store.lock, 1, "the store's lock is released")
			time.Sleep(time.Second)
			assert.Equal(t, "token-2", callToken(src))
		}))
	}
}

func TestF25_PanicInLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warnings(t)
		slog.SetDefault(slog.New(panickingHandler{})) // put back by warnings
		store := &faultyStore{load: func(context.Context, string) (wecom.Token, error) { panic("load") }}
		var up issuer
		assert.Equal(t, "token-1", callToken(wecom.NewTokenSource("k", store, up.fetch)))
	})
}

type panickingHandler struct{ slog.Handler }

func (panickingHandler) Enabled(context.Context, slog.Level) bool { panic("logger") }

func TestTokenSourceRefusesEmptyToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := wecom.NewTokenSource("k", nil, func(context.Context, wecom.Token) (wecom.Token, error) {
			return token("", time.Now().Add(time.Hour)), nil
		})
		tok, err := src.Token(context.Background())
		assert.EqualError(t, err, "wecom: token fetch returned no token")
		assert.Zero(t, tok)
	})
}

// Everything at once, for the race detector.
func TestTokenSourceUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warnings(t)
		store := newSharedStore()
		up := &issuer{takes: time.Second, fail: func(call int) error {
			if call%3 == 0 {
				return errDown
			}
			return nil
		}}
		var wg sync.WaitGroup
		for range 4 {
			src := wecom.NewTokenSource("k", store, up.fetch)
			for i := range 25 {
				wg.Go(func() {
					for range 100 {
						ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*100*time.Millisecond)
						tok, err := src.Token(ctx)
						cancel()
						if (err == nil) == (tok.Value.Reveal() == "") {
							t.Errorf("token %v with error %v", tok.Expires, err)
						}
						if err == nil && i == 0 {
							src.Invalidate(tok)
						}
						time.Sleep(time.Duration(10+i) * time.Second)
					}
				})
			}
		}
		wg.Wait()
	})
}

func TestB21_CachedTokenAllocatesNothing(t *testing.T) {
	var up issuer
	src := wecom.NewTokenSource("k", nil, up.fetch)
	ctx := context.Background()
	_, _ = src.Token(ctx)
	assert.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = src.Token(ctx) }))
}

func BenchmarkToken(b *testing.B) {
	var up issuer
	ctx := context.Background()
	expires := time.Now().Add(time.Hour)
	var mu sync.Mutex
	for name, get := range map[string]func() wecom.Token{
		"source=cached": func() func() wecom.Token {
			src := wecom.NewTokenSource("k", nil, up.fetch)
			return func() wecom.Token {
				tok, _ := src.Token(ctx)
				return tok
			}
		}(),
		// For scale: a lock and a look at the clock, the least that a cache without atomics does.
		"source=mutex": func() wecom.Token {
			mu.Lock()
			defer mu.Unlock()
			if !time.Now().Before(expires) {
				return wecom.Token{}
			}
			return wecom.Token{Expires: expires}
		},
	} {
		get()
		b.Run(name+"/one", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				get()
			}
		})
		b.Run(name+"/200", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism((200 + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					get()
				}
			})
		})
	}
}

// The key under which an app's token is shared: two apps never meet, a new secret
// means a new token, all replicas of one app agree, and the secret cannot be read off it.
func TestTokenKey(t *testing.T) {
	const secret = "s3cr3t-of-the-app-0123456789abcdefghijklmno"
	key := func(corp, agent, secret string) string {
		var asked string
		store := &faultyStore{load: func(_ context.Context, key string) (wecom.Token, error) {
			asked = key
			return token("token-0", time.Now().Add(time.Hour)), nil
		}}
		c, err := wecom.NewClient(wecom.Options{CorpID: corp, AgentID: agent, Secret: wecom.NewSecret(secret), TokenStore: store})
		require.NoError(t, err)
		require.Equal(t, "token-0", callToken(c))
		return asked
	}
	this := key("ww1", "1000002", secret)
	assert.Equal(t, this, key("ww1", "1000002", secret))
	assert.Regexp(t, `^wecom:ww1:1000002:[0-9a-f]{16}$`, this)
	for _, other := range []string{
		key("ww2", "1000002", secret),
		key("ww1", "1000003", secret),
		key("ww11", "000002", secret),
		key("ww1", "1000002", secret+"x"),
	} {
		assert.NotEqual(t, this, other)
	}
	// Not even the fingerprints are equal where two apps use one secret.
	fingerprint := func(key string) string { return key[strings.LastIndex(key, ":"):] }
	assert.NotEqual(t, fingerprint(this), fingerprint(key("ww2", "1000002", secret)))
}
