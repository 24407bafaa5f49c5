package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
)

// onEachStore runs a test on every store, with both carriers, with and without an idle time-out.
func onEachStore(t *testing.T, test func(t *testing.T, store scs.Store, dump func() []byte, s setup)) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			for _, s := range setups {
				t.Run(s.String(), func(t *testing.T) {
					store, dump := b.open(t)
					test(t, store, dump, s)
				})
			}
		})
	}
}

func TestSignInAndOutOnEachStore(t *testing.T) {
	onEachStore(t, func(t *testing.T, store scs.Store, _ func() []byte, s setup) {
		w := newWorld(t, store, s)
		b := w.browser("zhangsan")
		res := b.Get("/报表/a%2Fb?next=//x.example&q=%zz")
		require.Equal(t, 200, res.Status, res.Body)
		assert.Contains(t, res.Body, "hello zhangsan /%E6%8A%A5%E8%A1%A8/a%2Fb?next=//x.example&q=%zz")
		exchanged := w.fake.Calls("auth/getuserinfo")
		for range 3 {
			assert.Equal(t, "hello zhangsan /put", b.Get("/put").Body)
		}
		assert.Equal(t, exchanged, w.fake.Calls("auth/getuserinfo"))
		old := b.Cookies("/")

		res = b.Post("/wecom/logout")
		assert.Equal(t, site+"/wecom/signed-out", res.URL)
		who, status := whoIs(t, w.app, old)
		assert.Empty(t, who, "the old cookie")
		assert.Equal(t, 401, status)
		assert.Equal(t, "hello lisi /later", b.SignInAs("lisi").Get("/later").Body)
	})
}

// T11 and B8: a logout is final, whatever is in flight.
func TestT11_LogoutIsFinalOnEachStore(t *testing.T) {
	var alive, replayed, races atomic.Int64
	onEachStore(t, func(t *testing.T, store scs.Store, _ func() []byte, s setup) {
		w := newWorld(t, store, s)
		for range often(1, 20) {
			old, after := w.race(200, 50)
			races.Add(1)
			if who, _ := whoIs(t, w.app, old); who != "" {
				replayed.Add(1)
				t.Error("the old cookie signs in")
			}
			for _, cookies := range after {
				if who, _ := whoIs(t, w.app, cookies); who != "" {
					alive.Add(1)
					t.Error("a request that was in flight brought the session back")
				}
			}
		}
	})
	t.Logf("%d logouts with 250 requests in flight each: %d sessions alive, %d replays accepted", races.Load(), alive.Load(), replayed.Load())
}

// race signs in, lets so many requests wait in the handler, half of them writing into the
// application's session, signs out while others arrive, and lets all go on, half of them before the
// logout is answered. It returns the cookies before, and what the browser
// might hold after each of the answers.
func (w *world) race(held, arriving int) (old []*http.Cookie, after [][]*http.Cookie) {
	w.Helper()
	early, late := make(chan struct{}), make(chan struct{})
	w.release = early
	b := w.signedIn("zhangsan")
	b.Get("/put")
	old = b.Cookies("/")

	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		answers []*http.Response
	)
	ask := func(target string) {
		wg.Go(func() {
			res := do(w.app, http.MethodGet, target, old)
			mu.Lock()
			defer mu.Unlock()
			answers = append(answers, res)
		})
	}
	for i := range held {
		if i == held/2 {
			for range held / 2 {
				<-w.entered
			}
			w.release = late
		}
		ask([]string{"/hold", "/hold/put"}[i%2])
	}
	for range held - held/2 {
		<-w.entered
	}
	for range arriving {
		ask("/put")
	}
	close(early)
	logout := do(w.app, http.MethodPost, "/wecom/logout", old)
	close(late)
	wg.Wait()

	require.Equal(w, http.StatusSeeOther, logout.StatusCode)
	ok := 0
	seen := map[string]bool{}
	for _, res := range answers {
		switch res.StatusCode {
		case http.StatusOK:
			ok++
		case http.StatusUnauthorized:
		default:
			w.Errorf("status %d", res.StatusCode)
		}
		cookies := merged(old, res.Cookies())
		if name := fmt.Sprint(cookies); !seen[name] {
			seen[name] = true
			after = append(after, cookies)
		}
	}
	require.GreaterOrEqual(w, ok, held, "what was let in before the logout is answered")
	return old, append(after, merged(old, logout.Cookies()))
}

// merged returns the cookies of a browser that held old and got set.
func merged(old, set []*http.Cookie) []*http.Cookie {
	var out []*http.Cookie
	replaced := map[string]bool{}
	for _, c := range set {
		replaced[c.Name] = true
		if c.MaxAge >= 0 && c.Value != "" {
			out = append(out, &http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
	for _, c := range old {
		if !replaced[c.Name] {
			out = append(out, &http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
	return out
}

var tokenLike = regexp.MustCompile(`[0-9A-Za-z_-]{43}`)

// Whoever reads the database finds nothing to put into a cookie.
func TestT24_DumpHoldsNoUsableCookie(t *testing.T) {
	onEachStore(t, func(t *testing.T, store scs.Store, dump func() []byte, s setup) {
		w := newWorld(t, store, s)
		b := w.signedIn("zhangsan")
		b.Get("/put")
		all := dump()
		require.NotEmpty(t, all)
		found := tokenLike.FindAll(all, -1)
		require.NotEmpty(t, found)
		for _, c := range b.Cookies("/") {
			assert.NotContains(t, string(all), c.Value, c.Name)
			if strings.Contains(strings.TrimPrefix(c.Name, "__Host-wecom-"), "-") {
				continue // an attempt's
			}
			for _, value := range found {
				who, status := whoIs(t, w.app, []*http.Cookie{{Name: c.Name, Value: string(value)}})
				assert.Empty(t, who)
				assert.Equal(t, 401, status)
			}
		}
	})
}

// counted is a store that counts.
type counted struct {
	scs.Store
	finds, commits, deletes atomic.Int64
}

func (c *counted) FindCtx(ctx context.Context, key string) ([]byte, bool, error) {
	c.finds.Add(1)
	if s, ok := c.Store.(scs.CtxStore); ok {
		return s.FindCtx(ctx, key)
	}
	return c.Find(key)
}

func (c *counted) CommitCtx(ctx context.Context, key string, row []byte, expires time.Time) error {
	c.commits.Add(1)
	if s, ok := c.Store.(scs.CtxStore); ok {
		return s.CommitCtx(ctx, key, row, expires)
	}
	return c.Commit(key, row, expires)
}

func (c *counted) DeleteCtx(ctx context.Context, key string) error {
	c.deletes.Add(1)
	if s, ok := c.Store.(scs.CtxStore); ok {
		return s.DeleteCtx(ctx, key)
	}
	return c.Delete(key)
}

// B9: revoking one of many people, and then everybody.
func TestB9_RevokeOnEachStore(t *testing.T) {
	people, each := often(40, 1000), 10
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel() // it waits for what other replicas may miss
			store, _ := b.open(t)
			counting := &counted{Store: store}
			w := newWorld(t, counting, setup{}, withDesk)
			replica := newWorld(t, store, setup{}, withDesk)

			sessions := make(map[string][][]*http.Cookie, people)
			for i := range people {
				who := fmt.Sprintf("user%d", i)
				for range each {
					sessions[who] = append(sessions[who], enter(t, w.app, who))
				}
			}
			const victim = "user7"
			alive := func(app http.Handler, whose func(string) bool) (n int) {
				for who, list := range sessions {
					if whose(who) {
						for _, cookies := range list {
							if got, _ := whoIs(t, app, cookies); got != "" {
								assert.Equal(t, who, got)
								n++
							}
						}
					}
				}
				return n
			}
			theirs := func(who string) bool { return who == victim }
			others := func(who string) bool { return who != victim }
			require.Equal(t, each, alive(replica.app, theirs), "the other replica knows them, and that nobody is revoked")

			counting.commits.Store(0)
			began := time.Now()
			require.NoError(t, w.auth.Revoke(t.Context(), wecom.Identity{UserID: strings.ToUpper(victim)}))
			took := time.Since(began)
			assert.Equal(t, int64(2), counting.commits.Load(), "what is revoked, and that something is")
			assert.Zero(t, counting.deletes.Load())
			assert.Zero(t, alive(w.app, theirs), "at their next request")
			require.Eventually(t, func() bool { return alive(replica.app, theirs) == 0 }, 4*time.Second, 5*time.Millisecond)
			seen := time.Since(began)
			assert.Equal(t, (people-1)*each, alive(w.app, others), "and nobody else's")
			assert.Equal(t, (people-1)*each, alive(replica.app, others))
			t.Logf("%d sessions of %d people: Revoke took %s, another replica heeded it after %s", people*each, people, took, seen.Round(time.Millisecond))

			counting.commits.Store(0)
			began = time.Now()
			require.NoError(t, w.auth.RevokeAll(t.Context()))
			took = time.Since(began)
			assert.Equal(t, int64(2), counting.commits.Load())
			everybody := func(string) bool { return true }
			assert.Zero(t, alive(w.app, everybody))
			t.Logf("RevokeAll took %s", took)

			again, status := whoIs(t, w.app, enter(t, w.app, victim))
			assert.Equal(t, victim, again, status)
		})
	}
}

// trips counts what a client sends to Redis.
type trips struct{ n atomic.Int64 }

func (*trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmd)
	}
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmds)
	}
}

// A signed-in request costs one round trip; an idle time-out costs one more,
// and so does the application's own session as the carrier.
func TestRoundTripsOfASignedInRequest(t *testing.T) {
	rdb := newRedisClient(t, redisURL(t))
	var count trips
	rdb.AddHook(&count)
	store := goredisstore.NewWithPrefix(rdb, newPrefix(t, rdb))
	want := map[setup]int64{setups[0]: 1, setups[1]: 2, setups[2]: 2, setups[3]: 3}
	for _, s := range setups {
		t.Run(s.String(), func(t *testing.T) {
			w := newWorld(t, store, s)
			b := w.signedIn("zhangsan")
			cookies := b.Cookies("/")
			// /wecom/session, because the application's handler has its own session to load.
			const requests = 50
			measure := func() int64 {
				whoIs(t, w.app, cookies) // reads what the next two seconds need not read
				before, began := count.n.Load(), time.Now()
				for range requests {
					who, _ := whoIs(t, w.app, cookies)
					require.Equal(t, "zhangsan", who)
				}
				if time.Since(began) > time.Second {
					return -1 // the machine is too slow to tell
				}
				return count.n.Load() - before
			}
			got := measure()
			for try := 0; try < 5 && got < 0 || got > want[s]*requests; try++ {
				got = measure() // the two seconds ended in between
			}
			assert.Equal(t, want[s]*requests, got)
		})
	}
}
