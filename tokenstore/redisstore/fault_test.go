package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenstore/redisstore"
)

// An issuer stands for gettoken.
type issuer struct {
	calls atomic.Int64
	fail  atomic.Bool
}

func (i *issuer) fetch(context.Context, wecom.Token) (wecom.Token, error) {
	n := i.calls.Add(1)
	if i.fail.Load() {
		return wecom.Token{}, errors.New("upstream down")
	}
	return token("token-"+strconv.FormatInt(n, 10), time.Now().Add(2*time.Hour)), nil
}

// warnings counts what slog's default logger is told from now on.
func warnings(t *testing.T) *atomic.Int64 {
	h := &countingHandler{}
	before, flags, out := slog.Default(), log.Flags(), log.Writer()
	slog.SetDefault(slog.New(h))
	t.Cleanup(func() {
		slog.SetDefault(before)
		log.SetFlags(flags)
		log.SetOutput(out)
	})
	return &h.n
}

type countingHandler struct{ n atomic.Int64 }

func (*countingHandler) Enabled(context.Context, slog.Level) bool        { return true }
func (h *countingHandler) Handle(_ context.Context, r slog.Record) error { h.n.Add(1); return nil }
func (h *countingHandler) WithAttrs([]slog.Attr) slog.Handler            { return h }
func (h *countingHandler) WithGroup(string) slog.Handler                 { return h }

// within fails the test if f takes longer than limit.
func within(t *testing.T, limit time.Duration, what string, f func()) {
	t.Helper()
	start := time.Now()
	f()
	assert.Less(t, time.Since(start), limit, what)
}

// A client without any time-out of its own is the worst that a caller can bring.
func patientClient(o *redis.Options) {
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.MaxRetries = time.Hour, -1, -1, 10
}

func TestF14_RedisDown(t *testing.T) {
	hanging := startServer(t)
	t.Cleanup(hanging.resume)
	refusing := startServer(t)
	refusing.kill()
	unanswered, err := net.Listen("tcp", "127.0.0.1:0") // accepts by its backlog and never says a word
	require.NoError(t, err)
	t.Cleanup(func() { _ = unanswered.Close() })

	hung := newClient(t, hanging.url(), patientClient)
	require.NoError(t, hung.Ping(t.Context()).Err())
	hanging.hang()
	for name, rdb := range map[string]*redis.Client{
		"hangs":           hung,
		"refuses":         newClient(t, refusing.url()),
		"answers nothing": newClient(t, "redis://"+unanswered.Addr().String(), patientClient),
	} {
		t.Run(name, func(t *testing.T) {
			s := redisstore.New(rdb, "")
			noCall := func(context.Context, wecom.Token) (wecom.Token, error) {
				assert.Fail(t, "fn was called without the lock")
				return wecom.Token{}, errors.New("no")
			}
			within(t, 3*time.Second, "Load", func() {
				_, err := s.Load(t.Context(), "app")
				assert.Error(t, err)
			})
			within(t, 3*time.Second, "Update", func() {
				_, err := s.Update(t.Context(), "app", noCall)
				assert.Error(t, err)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			within(t, time.Second, "Load and Update of a caller who leaves", func() {
				_, err := s.Load(ctx, "app")
				assert.Error(t, err)
				_, err = s.Update(ctx, "app", noCall)
				assert.Error(t, err)
			})
		})
	}
}

// Without Redis a process serves and refreshes on its own, with one warning and no storm.
func TestF14_SourceGoesOnWithoutRedis(t *testing.T) {
	warned := warnings(t)
	own := startServer(t)
	store := redisstore.New(newClient(t, own.url()), "")
	var up issuer
	src := wecom.NewTokenSource("app", store, up.fetch)
	tok, err := src.Token(t.Context())
	require.NoError(t, err)

	own.kill()
	for range 3 { // killed tokens, as many as a source acts upon in a minute
		src.Invalidate(tok)
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				_, err := src.Token(t.Context())
				assert.NoError(t, err)
			})
		}
		group.Wait()
		tok, err = src.Token(t.Context())
		require.NoError(t, err)
	}
	assert.Equal(t, int64(4), up.calls.Load(), "one fetch for each token")
	assert.Equal(t, int64(1), warned.Load(), "one warning for the episode")

	// A process that starts during the outage, and while WeCom is down too.
	up.fail.Store(true)
	other := wecom.NewTokenSource("app", store, up.fetch)
	for range 200 {
		_, err := other.Token(t.Context())
		assert.Error(t, err)
	}
	assert.LessOrEqual(t, up.calls.Load(), int64(4+12), "B14")
	up.fail.Store(false)

	// Redis comes back, empty.
	own.start()
	fresh := wecom.NewTokenSource("app", store, up.fetch)
	want, err := fresh.Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, want.Value.Reveal(), load(t, store, "app"))
}

// The failover of a server that forgets what its replica had not heard of.
func TestF26_Failover(t *testing.T) {
	own := startServer(t)
	rdb := newClient(t, own.url())
	s := redisstore.New(rdb, "")
	got, err := s.Update(t.Context(), "app", func(context.Context, wecom.Token) (wecom.Token, error) {
		own.kill()
		own.start()
		put(t, s, "app", inAnHour("of the next holder"))
		return inAnHour("mine"), nil
	})
	require.ErrorIs(t, err, redisstore.ErrLockLost)
	assert.Equal(t, "mine", got.Value.Reveal())
	assert.Equal(t, "of the next holder", load(t, s, "app"))
	assert.Len(t, keysOf(t, rdb, "wecom:"), 1, "no lock is left")
}

// A holder that lost its lock must not overwrite a newer token, nor give back the lock of the next one.
func TestF18_OwnerChecked(t *testing.T) {
	rdb := newClient(t, sharedURL(t))
	prefix := newPrefix(t, rdb)
	s := redisstore.New(rdb, prefix)
	lock := prefix + "{app}:lock"
	for _, fnErr := range []error{nil, errors.New("fetch failed")} {
		_, err := s.Update(t.Context(), "app", func(context.Context, wecom.Token) (wecom.Token, error) {
			require.NoError(t, rdb.Del(t.Context(), lock).Err())
			put(t, s, "app", inAnHour("newer"))
			require.NoError(t, rdb.Set(t.Context(), lock, "somebody else", time.Minute).Err())
			return inAnHour("older"), fnErr
		})
		require.Error(t, err)
		assert.Equal(t, fnErr == nil, errors.Is(err, redisstore.ErrLockLost))
		assert.Equal(t, "newer", load(t, s, "app"))
		holder, err := rdb.Get(t.Context(), lock).Result()
		require.NoError(t, err)
		assert.Equal(t, "somebody else", holder)
		require.NoError(t, rdb.Del(t.Context(), lock).Err())
	}
}

func TestF18_LockOutlivesAFetch(t *testing.T) {
	rdb := newClient(t, sharedURL(t))
	prefix := newPrefix(t, rdb)
	s := redisstore.New(rdb, prefix)
	_, err := s.Update(t.Context(), "app", func(ctx context.Context, _ wecom.Token) (wecom.Token, error) {
		left, err := rdb.PTTL(t.Context(), prefix+"{app}:lock").Result()
		require.NoError(t, err)
		assert.Greater(t, left, 12*time.Second, "a fetch's 10 s and a write's 2 s")
		assert.LessOrEqual(t, left, 15*time.Second, "F19")
		end, ok := ctx.Deadline()
		assert.True(t, ok)
		assert.LessOrEqual(t, time.Until(end), left+time.Second)
		return inAnHour("value"), nil
	})
	require.NoError(t, err)
}

// A waiter that leaves while its request for the lock is under way must not leave the lock behind.
func TestF21_LeavingWaiterFreesTheLock(t *testing.T) {
	p := startProxy(t, sharedURL(t))
	rdb := newClient(t, sharedURL(t))
	prefix := newPrefix(t, rdb)
	slow := newClient(t, p.url)
	require.NoError(t, slow.Ping(t.Context()).Err())
	p.latency.Store(int64(300 * time.Millisecond))
	for i := range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+1)*30*time.Millisecond)
		_, err := redisstore.New(slow, prefix).Update(ctx, "app", func(context.Context, wecom.Token) (wecom.Token, error) {
			return inAnHour("value"), nil
		})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		cancel()
	}
	within(t, 5*time.Second, "the next Update", func() { put(t, redisstore.New(rdb, prefix), "app", inAnHour("value")) })
}

// Redis gives the lock and the caller does not hear of it.
func TestF26_LostAnswerToTheLock(t *testing.T) {
	address := sharedURL(t)
	plain := newClient(t, address)
	prefix := newPrefix(t, plain)
	for name, retries := range map[string]int{"a client that repeats": 3, "a client that does not": -1} {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, address)
			rdb := newClient(t, p.url, func(o *redis.Options) { o.MaxRetries = retries })
			require.NoError(t, rdb.Ping(t.Context()).Err())
			p.dropNow.Store(true)
			within(t, 5*time.Second, "Update", func() {
				_, err := redisstore.New(rdb, prefix).Update(t.Context(), "app", func(context.Context, wecom.Token) (wecom.Token, error) {
					return inAnHour("value"), nil
				})
				assert.Equal(t, retries > 0, err == nil, "%v", err)
			})
			assert.Equal(t, int64(1), p.dropped.Load())
			within(t, 5*time.Second, "the next Update", func() { put(t, redisstore.New(plain, prefix), "app", inAnHour("value")) })
		})
	}
}

// Redis stores the token and the caller does not hear of it.
func TestF26_LostAnswerToTheCommit(t *testing.T) {
	address := sharedURL(t)
	plain := newClient(t, address)
	prefix := newPrefix(t, plain)
	p := startProxy(t, address)
	s := redisstore.New(newClient(t, p.url), prefix)
	_, err := s.Update(t.Context(), "app", func(context.Context, wecom.Token) (wecom.Token, error) {
		p.dropNow.Store(true)
		return inAnHour("value"), nil
	})
	require.NoError(t, err)
	assert.Equal(t, int64(1), p.dropped.Load())
	assert.Equal(t, "value", load(t, s, "app"))
}

func TestF26_SlowAndLossyRedis(t *testing.T) {
	address := sharedURL(t)
	prefix := newPrefix(t, newClient(t, address))

	t.Run("answers take 500 ms", func(t *testing.T) {
		p := startProxy(t, address)
		p.latency.Store(int64(500 * time.Millisecond))
		warned := warnings(t)
		var up issuer
		for range 2 { // two processes, the second finds the token
			rdb := newClient(t, p.url)
			require.NoError(t, rdb.Ping(t.Context()).Err()) // connecting alone takes several answers
			src := wecom.NewTokenSource("slow", redisstore.New(rdb, prefix), up.fetch)
			_, err := src.Token(t.Context())
			require.NoError(t, err)
		}
		assert.Equal(t, int64(1), up.calls.Load())
		assert.Zero(t, warned.Load())
	})

	t.Run("1 % of the answers are lost", func(t *testing.T) {
		p := startProxy(t, address)
		p.dropNth.Store(100)
		const workers, rounds = 4, 100
		var inside, calls, failed atomic.Int64
		var group sync.WaitGroup
		for range workers {
			s := redisstore.New(newClient(t, p.url), prefix)
			group.Go(func() {
				for range rounds {
					_, err := s.Update(context.Background(), "lossy", func(_ context.Context, current wecom.Token) (wecom.Token, error) {
						assert.Equal(t, int64(1), inside.Add(1), "two hold the lock")
						defer inside.Add(-1)
						calls.Add(1)
						n, _ := strconv.Atoi(current.Value.Reveal())
						return inAnHour(strconv.Itoa(n + 1)), nil
					})
					if err != nil {
						assert.ErrorIs(t, err, redisstore.ErrLockLost)
						failed.Add(1)
					}
				}
			})
		}
		group.Wait()
		assert.Positive(t, p.dropped.Load())
		// The client sends again what was lost. By then the next holder may have
		// replaced what had been stored, and its sender cannot tell.
		assert.LessOrEqual(t, failed.Load(), p.dropped.Load())
		assert.Equal(t, strconv.FormatInt(calls.Load(), 10), load(t, redisstore.New(newClient(t, address), prefix), "lossy"), "no update was lost")
		t.Logf("%d Updates, %d answers lost, %d Updates failed", workers*rounds, p.dropped.Load(), failed.Load())
	})
}

// Another process's clock is seen only in what it stores.
func TestF20_SkewedClocks(t *testing.T) {
	rdb := newClient(t, sharedURL(t))
	prefix := newPrefix(t, rdb)
	store := redisstore.New(rdb, prefix)
	for _, skew := range []time.Duration{-time.Hour, -5 * time.Minute, -time.Minute, 0, time.Minute, 5 * time.Minute, time.Hour, 1000 * time.Hour} {
		for _, life := range []time.Duration{time.Second, 10 * time.Minute, 2 * time.Hour} {
			t.Run(fmt.Sprintf("%v off, %v to live", skew, life), func(t *testing.T) {
				key := fmt.Sprint(skew, life)
				put(t, store, key, token("stored", time.Now().Add(skew+life)))
				var up issuer
				src := wecom.NewTokenSource(key, store, up.fetch)
				for range 3 {
					tok, err := src.Token(t.Context())
					require.NoError(t, err)
					assert.Positive(t, time.Until(tok.Expires))
					assert.LessOrEqual(t, time.Until(tok.Expires), 2*time.Hour)
				}
				assert.LessOrEqual(t, up.calls.Load(), int64(1))
				wantFetch := skew+life <= time.Minute
				assert.Equal(t, wantFetch, up.calls.Load() == 1)
			})
		}
	}
}
