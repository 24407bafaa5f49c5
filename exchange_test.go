package wecom_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
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
	"github.com/wecomauth/wecom/wecomtest"
)

// What one client, or one browser that was here before, or everybody may get wrong at once.
const (
	perClient  = 120
	perBrowser = 12
	unmarked   = 240
	inAll      = 360
)

// A visitor comes back from WeCom with a code, from an address, and with the mark of an earlier visit or none.
type visitor struct{ address, mark string }

func (v visitor) comeBack(t *testing.T, m *wecom.Middleware, code string) *http.Request {
	r := comeBack(t, m, code)
	if v.address != "" {
		r.RemoteAddr = v.address + ":1"
	}
	if v.mark != "" {
		r.Header.Set("Cookie", r.Header.Get("Cookie")+"; "+v.mark)
	}
	return r
}

// markOf signs somebody in and returns the browser's mark.
func markOf(t *testing.T, m *wecom.Middleware, code string) string {
	t.Helper()
	for _, c := range signInFixed(t, m, code) {
		if strings.HasSuffix(c.Name, "-known") {
			assert.True(t, c.HttpOnly && c.Secure && strings.HasPrefix(c.Name, "__Host-"))
			assert.Less(t, len(c.String()), 200)
			return c.Name + "=" + c.Value
		}
	}
	require.Fail(t, "no mark")
	return ""
}

// exact runs test in a bubble: in it nothing is forgiven while the test counts.
func exact(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func TestEveryFailureCounts(t *testing.T) {
	faults := map[string]wecomtest.Fault{"502": {Status: 502}, "no answer": {Drop: wecomtest.DropAfter}, "another's answer": {Body: []byte("<html>")}}
	for _, code := range []int{40029, 60020, 50001, 48002, 40058, 40035, 40063, 40003, 40014, 60011, 99999, -7} {
		faults[fmt.Sprint(code)] = wecomtest.Fault{ErrCode: code}
	}
	for name, fault := range faults {
		exact(t, name, func(t *testing.T) {
			w := newWorld(t, func(o *wecom.Options) { o.Logger = slog.New(slog.DiscardHandler) })
			w.fake.Always("auth/getuserinfo", fault)
			refused := 0
			for i := range perClient + 50 {
				if do(w.app, comeBack(t, w.auth, fmt.Sprint("made", i))).Code == 429 {
					refused++
				}
			}
			assert.Equal(t, 50, refused)
			assert.LessOrEqual(t, w.exchanges(), 2*perClient, "40014 sends a code twice")
		})
	}
}

// 45009 and 45033 ask for a pause: for the process as a whole, and then one at a time.
func TestAPauseIsKept(t *testing.T) {
	for code, pause := range map[int]time.Duration{45009: time.Minute, 45033: time.Second} {
		exact(t, fmt.Sprint(code), func(t *testing.T) {
			w := newWorld(t, func(o *wecom.Options) { o.Logger = slog.New(slog.DiscardHandler) })
			w.fake.Always("auth/getuserinfo", wecomtest.Fault{ErrCode: code})
			n := 0
			var waits sync.Map // what Retry-After said
			burst := func() {
				for range 300 {
					n++
					r := visitor{address: fmt.Sprintf("198.51.100.%d", n%250)}.comeBack(t, w.auth, fmt.Sprint("code", n))
					go func() {
						res := do(w.app, r)
						assert.Equal(t, 503, res.Code)
						waits.Store(res.Header().Get("Retry-After"), true)
					}()
				}
				synctest.Wait()
			}
			require.Equal(t, 503, do(w.app, comeBack(t, w.auth, "first")).Code)
			for i := range 5 {
				burst()
				assert.Equal(t, 1+i, w.exchanges())
				_, told := waits.Load(fmt.Sprint(pause.Seconds()))
				assert.True(t, told, "who asks during the pause learns how long it is")
				time.Sleep(pause)
			}
			w.fake.ClearFaults()
			assert.Equal(t, 200, w.browser().Get("/").Status)
			assert.Equal(t, 200, w.browser().Get("/").Status)
		})
	}
}

// What proves that nobody guesses codes is not counted, and neither is what was not sent.
func TestWhatDoesNotCount(t *testing.T) {
	const n = inAll + 40
	for name, change := range map[string]func(o *wecom.Options){
		"success": func(*wecom.Options) {},
		"an Authorizer that says no": func(o *wecom.Options) {
			o.Authorize = func(context.Context, *wecom.Client, wecom.Identity) (bool, error) { return false, nil }
		},
		"an Authorizer that cannot tell": func(o *wecom.Options) {
			o.Authorize = func(context.Context, *wecom.Client, wecom.Identity) (bool, error) { return true, errors.New("down") }
		},
		"a store that is down": func(o *wecom.Options) {
			store := newTestStore()
			store.set(failing("Commit", errors.New("disk full")))
			o.SessionStore = store
		},
	} {
		exact(t, name, func(t *testing.T) {
			w := newWorld(t, func(o *wecom.Options) { o.Logger = slog.New(slog.DiscardHandler); change(o) })
			for range n {
				require.NotEqual(t, 429, do(w.app, comeBack(t, w.auth, w.code("zhangsan"))).Code)
			}
			assert.Equal(t, n, w.exchanges())
		})
	}
	for name, who := range map[string]string{"an outsider": outsider, "a linked corp's member": linkedMember} {
		exact(t, name, func(t *testing.T) {
			w := newWorld(t, func(o *wecom.Options) { o.Logger = slog.New(slog.DiscardHandler) })
			for range n {
				require.Equal(t, 403, do(w.app, comeBack(t, w.auth, w.code(who))).Code)
			}
		})
	}
	for name, op := range map[string]string{"no token": "gettoken", "no connection": "auth/getuserinfo"} {
		exact(t, name, func(t *testing.T) {
			var down atomic.Bool
			down.Store(true)
			refused := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }}
			w := newWorld(t, func(o *wecom.Options) {
				o.Logger = slog.New(slog.DiscardHandler)
				fake := o.Transport
				o.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
					if down.Load() && strings.HasSuffix(r.URL.Path, op) {
						return refused.RoundTrip(r)
					}
					return fake.RoundTrip(r)
				})
			})
			r := comeBack(t, w.auth, w.code("zhangsan"))
			for range n {
				require.Equal(t, 503, do(w.app, r.Clone(t.Context())).Code)
			}
			down.Store(false)
			time.Sleep(time.Minute)
			assert.Equal(t, 303, do(w.app, r).Code, "the code was not sent: it serves still")
		})
	}
}

type brokenTokens struct{ fixedToken }

func (brokenTokens) Token(context.Context) (wecom.Token, error) {
	return wecom.Token{}, errors.New("down")
}

// sparseTokens have a token for the first call of each sign-in, and none to replace it.
type sparseTokens struct {
	fixedToken
	n atomic.Int64
}

func (s *sparseTokens) Token(context.Context) (wecom.Token, error) {
	if s.n.Add(1)%2 == 0 {
		return wecom.Token{}, errors.New("down")
	}
	return wecom.Token{Value: wecom.NewSecret("t"), Expires: time.Now().Add(time.Hour)}, nil
}

// A code that was sent with a refused token was sent.
func TestARefusedTokenCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *wecom.Options) { o.TokenSource = &sparseTokens{} })
		w.fake.Always("auth/getuserinfo", wecomtest.Fault{ErrCode: 40014})
		refused := 0
		for i := range perClient + 50 {
			if do(w.app, comeBack(t, w.auth, fmt.Sprint("made", i))).Code == 429 {
				refused++
			}
		}
		assert.Equal(t, 50, refused)
	})
}

// While WeCom gives no token, a callback leaves nothing behind.
func TestF28_WhatWasNotSentIsForgotten(t *testing.T) {
	const n = 10_000
	m := fixed(t, func(o *wecom.Options) {
		o.Provider, o.CorpID, o.AgentID, o.TokenSource = nil, "ww1", "1", brokenTokens{}
	})
	r := comeBack(t, m, "code")
	h := m.Routes()
	try := func() { h.ServeHTTP(&nowhere{h: http.Header{}}, r) }
	try()
	before := heap()
	for i := range n {
		r = comeBack(t, m, fmt.Sprint("code", i))
		try()
	}
	assert.Less(t, heap()-before, int64(1<<20), "bytes of heap")
	runtime.KeepAlive(m)
}

// 400 people behind one address, in the same second.
func TestGoodSignInsAreNotLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fixed(t, func(o *wecom.Options) {
			o.Provider = fixedProvider{identify: func(ctx context.Context, code string) (wecom.Identity, error) {
				time.Sleep(500 * time.Millisecond)
				return fixedProvider{}.Identify(ctx, code)
			}}
		})
		var done atomic.Int64
		for i := range 400 {
			r := comeBack(t, m, fmt.Sprint("u", i))
			go func() {
				if assert.Equal(t, 303, do(m.Routes(), r).Code) {
					done.Add(1)
				}
			}()
		}
		time.Sleep(3 * time.Second)
		assert.EqualValues(t, 400, done.Load())
	})
}

// Waiting ends.
func TestWaitingForASlotIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int64
		m := fixed(t, func(o *wecom.Options) {
			o.Provider = fixedProvider{identify: func(ctx context.Context, _ string) (wecom.Identity, error) {
				sent.Add(1)
				<-ctx.Done()
				return wecom.Identity{}, ctx.Err()
			}}
		})
		for i := range perClient {
			go do(m.Routes(), comeBack(t, m, fmt.Sprint("held", i)))
		}
		synctest.Wait()
		var codes [600]atomic.Int64
		asked := 0
		ask := func(ctx context.Context, n int) {
			for range n {
				asked++
				r := comeBack(t, m, fmt.Sprint("waits", asked))
				go func() { codes[do(m.Routes(), r.WithContext(ctx)).Code].Add(1) }()
			}
			synctest.Wait()
		}
		left, leave := context.WithCancel(t.Context())
		ask(left, 1000)
		ask(t.Context(), 7)
		assert.EqualValues(t, 7, codes[503].Load(), "as many wait as may")
		leave()
		synctest.Wait()
		ask(t.Context(), 50)
		time.Sleep(6 * time.Second)
		assert.EqualValues(t, 1007+50, codes[503].Load(), "nobody waits for long, and who left makes room")
		assert.EqualValues(t, perClient, sent.Load())
		time.Sleep(time.Minute)
	})
}

// T25: while somebody makes up codes, those who signed in last week still can.
func TestT25_MarkedBrowsersSignInDuringAnAttack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fixed(t, func(o *wecom.Options) {
			o.Provider = fixedProvider{identify: func(ctx context.Context, code string) (wecom.Identity, error) {
				if strings.HasPrefix(code, "made") {
					return rejectEveryCode(ctx, code)
				}
				return fixedProvider{}.Identify(ctx, code)
			}}
		})
		var marks []string
		for i := range 60 {
			marks = append(marks, markOf(t, m, fmt.Sprint("u", i)))
		}
		time.Sleep(7 * 24 * time.Hour)
		n := 0
		ask := func(v visitor, code string) int {
			n++
			return do(m.Routes(), v.comeBack(t, m, fmt.Sprint(code, n))).Code
		}
		accepted := 0
		for i := range 1500 {
			if ask(visitor{address: fmt.Sprintf("[2001:db8:0:%d::1]", i%5)}, "made") != 429 {
				accepted++
			}
		}
		assert.Equal(t, unmarked, accepted)
		assert.Equal(t, 429, ask(visitor{address: "198.51.100.1"}, "newcomer"))
		assert.Equal(t, 303, ask(visitor{address: "[2001:db8:0:1::1]", mark: marks[0]}, "u"), "from whatever address")

		name, value, _ := strings.Cut(marks[0], "=")
		pending := comeBack(t, m, "x").Header.Get("Cookie")
		for what, forged := range map[string]string{
			"invented": name + "=" + strings.Repeat("A", len(value)), "changed": name + "=" + forge(value), "an attempt": name + "=" + pending[strings.Index(pending, "=")+1:],
			"another name": "x" + marks[0], "twice": marks[0] + "; " + marks[1],
		} {
			assert.Equal(t, 429, ask(visitor{mark: forged}, "u"), what)
		}

		for i := range 2 * perBrowser { // somebody with a mark makes up codes
			assert.Equal(t, i >= perBrowser, ask(visitor{mark: marks[1]}, "made") == 429, i)
		}
		for _, mark := range marks[2:] {
			for range perBrowser {
				if ask(visitor{mark: mark}, "made") != 429 {
					accepted++
				}
			}
		}
		assert.Equal(t, inAll, accepted+perBrowser)
		assert.Equal(t, 429, ask(visitor{mark: marks[0]}, "u"))

		time.Sleep(13 * time.Second) // one is forgiven
		assert.Equal(t, 303, ask(visitor{mark: marks[0]}, "u"))
		assert.Equal(t, 429, ask(visitor{address: "198.51.100.1"}, "newcomer"))
		time.Sleep(90 * 24 * time.Hour)
		for i := range unmarked {
			ask(visitor{address: fmt.Sprint("198.51.100.", i)}, "made")
		}
		assert.Equal(t, 429, ask(visitor{mark: marks[0]}, "u"), "a mark ends")
	})
}

// After an outage people sign in again at once, at the pace at which failures are forgiven and faster.
func TestTheLimitLetsGoAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *wecom.Options) { o.Logger = slog.New(slog.DiscardHandler) })
		w.fake.Always("auth/getuserinfo", wecomtest.Fault{Status: 502})
		for i := range 500 {
			do(w.app, visitor{address: fmt.Sprint("198.51.100.", i%250)}.comeBack(t, w.auth, w.code("zhangsan")))
		}
		assert.Equal(t, unmarked, w.exchanges())
		w.fake.ClearFaults()
		time.Sleep(13 * time.Second)
		for range 50 {
			require.Equal(t, 303, do(w.app, comeBack(t, w.auth, w.code("zhangsan"))).Code)
		}
	})
}
