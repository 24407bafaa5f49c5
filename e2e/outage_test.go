package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/pgxstore"
	"github.com/alexedwards/scs/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/wecomtest"
)

// unavailable asserts that an answer is a 503 that changes nothing in the browser.
func unavailable(t *testing.T, res *http.Response, about string) {
	t.Helper()
	assert.Equal(t, http.StatusServiceUnavailable, res.StatusCode, about)
	assert.NotEmpty(t, res.Header.Get("Retry-After"), about)
	assert.Empty(t, res.Header["Location"], about)
	assert.Empty(t, res.Header["Set-Cookie"], about)
	assert.NotContains(t, bodyOf(res), "hello", about)
}

// everything is one request of each kind with these cookies.
func everything(app http.Handler, cookies []*http.Cookie) map[string]func() *http.Response {
	all := map[string]func() *http.Response{
		"logout": func() *http.Response { return do(app, http.MethodPost, "/wecom/logout", cookies) },
		"script": func() *http.Response { return do(app, http.MethodGet, "/api", cookies) },
		"delete": func() *http.Response { return do(app, http.MethodDelete, "/wecom/session", cookies) },
	}
	for _, target := range []string{"/", "/reports?x=1", "/wecom/login", "/wecom/callback?code=1&state=2", "/wecom/session", "/wecom/signed-out"} {
		all[target] = func() *http.Response { return navigate(app, target, cookies) }
	}
	return all
}

func TestF11_RedisStopsAndReturns(t *testing.T) {
	for _, s := range []setup{{false, 0}, {true, time.Hour}} {
		t.Run(s.String(), func(t *testing.T) {
			server := startRedis(t)
			w := newWorld(t, goredisstore.New(newRedisClient(t, server.url())), s)
			b := w.signedIn("zhangsan")
			cookies := b.Cookies("/")
			callback := held(b)
			visited := w.pages()

			server.kill()
			var refused atomic.Int64
			var wg sync.WaitGroup
			refuse := func() {
				for name, ask := range everything(w.app, cookies) {
					wg.Go(func() {
						unavailable(t, ask(), name)
						refused.Add(1)
					})
				}
			}
			refuse()
			if full { // half a minute, 50 requests a second (B16)
				tick := time.NewTicker(180 * time.Millisecond)
				defer tick.Stop()
				for end := time.After(30 * time.Second); ; {
					select {
					case <-tick.C:
						refuse()
						continue
					case <-end:
					}
					break
				}
			}
			wg.Wait()
			assert.Equal(t, visited, w.pages())
			unavailable(t, navigate(w.app, callback, b.Cookies("/wecom/callback")), "a callback, which writes")

			server.start()
			began := time.Now()
			require.Eventually(t, func() bool { return navigate(w.app, "/", cookies).StatusCode == http.StatusOK }, 5*time.Second, 5*time.Millisecond)
			took := time.Since(began)
			who, _ := whoIs(t, w.app, cookies)
			assert.Equal(t, "zhangsan", who, "with the same cookie")
			t.Logf("%d requests refused, none redirected; back %s after the server", refused.Load(), took.Round(time.Millisecond))
		})
	}
}

// held begins another sign-in and returns the target of the callback that ends it.
func held(b *wecomtest.Browser) string {
	b.StopAt(func(r *http.Request) bool { return r.URL.Path == "/wecom/callback" })
	defer b.StopAt(nil)
	return strings.TrimPrefix(b.Get("/wecom/login").URL, site)
}

// F13: the server is there and does not answer, and the client's own time-outs are the default ones.
func TestF13_StoreHangs(t *testing.T) {
	type service struct {
		name string
		open func(t *testing.T) (scs.Store, *proxy)
	}
	services := []service{
		{"redis", func(t *testing.T) (scs.Store, *proxy) {
			o, err := redis.ParseURL(redisURL(t))
			require.NoError(t, err)
			p := startProxy(t, o.Addr)
			o.Addr = p.addr()
			rdb := redis.NewClient(o)
			t.Cleanup(func() { _ = rdb.Close() })
			return goredisstore.NewWithPrefix(rdb, newPrefix(t, newRedisClient(t, redisURL(t)))), p
		}},
		{"postgres", func(t *testing.T) (scs.Store, *proxy) {
			address := postgresURL(t)
			config, err := pgxpool.ParseConfig(address)
			require.NoError(t, err)
			p := startProxy(t, fmt.Sprintf("%s:%d", config.ConnConfig.Host, config.ConnConfig.Port))
			pool := newPool(t, address)
			through := pool.Config()
			host, port, _ := strings.Cut(p.addr(), ":")
			through.ConnConfig.Host = host
			_, err = fmt.Sscan(port, &through.ConnConfig.Port)
			require.NoError(t, err)
			proxied, err := pgxpool.NewWithConfig(context.Background(), through)
			require.NoError(t, err)
			t.Cleanup(func() {
				p.cut()
				proxied.Close()
			})
			return pgxstore.NewWithCleanupInterval(proxied, 0), p
		}},
	}
	for _, service := range services {
		for _, s := range []setup{{false, 0}, {true, time.Hour}} {
			t.Run(service.name+", "+s.String(), func(t *testing.T) {
				t.Parallel() // it waits
				store, p := service.open(t)
				w := newWorld(t, store, s)
				cookies := w.signedIn("zhangsan").Cookies("/")
				visited := w.pages()

				p.swallow.Store(true)
				var wg sync.WaitGroup
				var slowest atomic.Int64
				for range often(2, 10) {
					for name, ask := range everything(w.app, cookies) {
						wg.Go(func() {
							began := time.Now()
							res := ask()
							took := int64(time.Since(began))
							for {
								most := slowest.Load()
								if took <= most || slowest.CompareAndSwap(most, took) {
									break
								}
							}
							unavailable(t, res, name)
						})
					}
				}
				wg.Wait()
				// Two seconds, and as much again for a busy machine.
				assert.Less(t, time.Duration(slowest.Load()), 4*time.Second)
				assert.Equal(t, visited, w.pages())

				p.swallow.Store(false)
				p.cut()
				began := time.Now()
				require.Eventually(t, func() bool { return navigate(w.app, "/", cookies).StatusCode == http.StatusOK }, 10*time.Second, 10*time.Millisecond)
				t.Logf("the slowest 503 took %s; back %s after the network", time.Duration(slowest.Load()).Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
			})
		}
	}
}

// F26: replies are late, and one in a hundred does not come. Nobody is taken for
// somebody else, nobody is sent in circles, nobody loses a session.
func TestF26_BadNetwork(t *testing.T) {
	for _, s := range []setup{{false, time.Hour}, {true, 0}} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			o, err := redis.ParseURL(redisURL(t))
			require.NoError(t, err)
			p := startProxy(t, o.Addr)
			o.Addr = p.addr()
			rdb := redis.NewClient(o)
			t.Cleanup(func() { _ = rdb.Close() })
			w := newWorld(t, goredisstore.NewWithPrefix(rdb, newPrefix(t, newRedisClient(t, redisURL(t)))), s)

			people := []string{"zhangsan", "lisi", "wangwu", "sunqi"}
			p.delay.Store(int64(often(20, 500)) * int64(time.Millisecond))
			p.perMille.Store(10)
			var wg sync.WaitGroup
			var fine, failed atomic.Int64
			for i := range often(8, 40) {
				wg.Go(func() {
					who := people[i%len(people)]
					b := w.browser(who)
					judge := func(body string, status int) {
						switch {
						case status == http.StatusOK && strings.HasPrefix(body, "hello "+who+" "):
							fine.Add(1)
						case status == http.StatusServiceUnavailable:
							failed.Add(1)
						default:
							t.Errorf("%s got %d %.200s", who, status, body)
						}
					}
					signedIn := false
					for try := 0; !signedIn && try < 20; try++ {
						res := b.Get("/start")
						if !assert.NoError(t, res.Err) || !assert.LessOrEqual(t, len(res.Hops), 8, "%v", res.Hops) {
							return
						}
						judge(res.Body, res.Status)
						signedIn = res.Status == http.StatusOK
					}
					for n := range often(20, 25) {
						res := b.GetNoFollow(fmt.Sprintf("/page/%d", n))
						judge(res.Body, res.Status)
					}
				})
			}
			wg.Wait()
			t.Logf("%d pages, %d answers of 503, %d replies lost", fine.Load(), failed.Load(), p.dropped.Load())
		})
	}
}

// F23: whatever becomes of the stored bytes, the answer is the same person or nobody.
func TestF23_FlippedBytesInRedis(t *testing.T) {
	for _, s := range setups {
		t.Run(s.String(), func(t *testing.T) {
			rdb := newRedisClient(t, redisURL(t))
			prefix := newPrefix(t, rdb)
			w := newWorld(t, goredisstore.NewWithPrefix(rdb, prefix), s)
			b := w.signedIn("zhangsan")
			cookies := b.Cookies("/")
			ctx := t.Context()
			counts := map[string]int{}
			for _, key := range keysOf(t, rdb, prefix) {
				row, err := rdb.Get(ctx, key).Bytes()
				require.NoError(t, err)
				try := func(changed []byte, about string) {
					require.NoError(t, rdb.Set(ctx, key, changed, time.Hour).Err())
					who, status := whoIs(t, w.app, cookies)
					switch {
					case status == http.StatusOK && who == "zhangsan":
						counts["the same person"]++
					case status == http.StatusUnauthorized:
						counts["nobody"]++
					default:
						t.Errorf("%s: %d %q", about, status, who)
					}
				}
				for i := range row {
					changed := bytes.Clone(row)
					changed[i] ^= 1 << rand.N(8)
					try(changed, fmt.Sprintf("byte %d of %d", i, len(row)))
				}
				try(nil, "empty")
				try(row[:len(row)/2], "half")
				try(append(bytes.Clone(row), row...), "twice")
				require.NoError(t, rdb.Set(ctx, key, row, time.Hour).Err())
			}
			assert.NotZero(t, counts["nobody"])
			who, _ := whoIs(t, w.app, cookies)
			assert.Equal(t, "zhangsan", who)
			t.Log(counts)

			// Somebody whose row is unreadable signs in anew.
			for _, key := range keysOf(t, rdb, prefix) {
				require.NoError(t, rdb.Set(ctx, key, "unreadable", time.Hour).Err())
			}
			b.DropCookies()
			for _, c := range cookies {
				if isSessionCookie(c.Name) || !strings.Contains(c.Name, "wecom") {
					require.True(t, b.SetCookie("/", c.Name+"="+c.Value+"; Path=/; Secure; HttpOnly"))
				}
			}
			assert.Equal(t, "hello zhangsan /anew", b.Get("/anew").Body)
		})
	}
}
