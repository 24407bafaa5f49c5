package wecom_test

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
)

func newLastingCodeAuth(t testing.TB, store scs.Store, lifetime time.Duration) *wecom.Middleware {
	t.Helper()
	auth, err := wecom.New(wecom.Options{
		CallbackURL: site + "/wecom/callback", Provider: codeProvider{}, SessionStore: store, SessionLifetime: lifetime,
		StateKey: wecom.NewSecret(strings.Repeat("k", 32)), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	return auth
}

// SessionLifetime was a month and is an hour since the last deploy. Who revokes
// now ends the sessions of a month too, and not for an hour only.
func TestT26_RevocationOutlastsSessionsOfALongerLifetime(t *testing.T) {
	const month = 30 * 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		store := newTestStore()
		session := codeSession(t, newLastingCodeAuth(t, store, month).Handler(hello()), "zhangsan.1")
		now := newLastingCodeAuth(t, store, time.Hour)
		require.True(t, isIn(now.Handler(hello()), session))
		require.NoError(t, now.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		for range 29 {
			require.False(t, isIn(now.Handler(hello()), session), "in the process that revoked")
			require.False(t, isIn(newLastingCodeAuth(t, store, month).Handler(hello()), session), "in one that starts later")
			time.Sleep(24 * time.Hour)
		}
	})
}

// Somebody else is revoked by a middleware with a shorter lifetime: the row that
// says that something changed ends sooner than what changed before it.
func TestT26_WhatChangedIsNotForgottenSoonerThanWhoWasRevoked(t *testing.T) {
	const month = 30 * 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		store := newTestStore()
		here, there := newLastingCodeAuth(t, store, month), newLastingCodeAuth(t, store, month)
		brief := newLastingCodeAuth(t, store, time.Hour)
		app := there.Handler(hello())
		session := codeSession(t, app, "zhangsan.1")
		require.True(t, isIn(app, session))

		require.NoError(t, here.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		require.NoError(t, brief.Revoke(t.Context(), wecom.Identity{UserID: "lisi"}))
		time.Sleep(2 * time.Hour)
		assert.False(t, isIn(newLastingCodeAuth(t, store, month).Handler(hello()), session), "the row is still there")
		assert.False(t, isIn(app, session), "also for who knew him before, and did not see him since")
	})
}

// A store may lose the row that says that something changed: Redis evicts rows
// when it is full. Who knew nobody to be revoked must not take that for "nothing changed".
func TestT26_TheRowOfChangesIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTestStore()
		here, there := newCodeAuth(t, store), newCodeAuth(t, store)
		app := there.Handler(hello())
		zhangsan, lisi := codeSession(t, app, "zhangsan.1"), codeSession(t, app, "lisi.1")
		require.True(t, isIn(app, zhangsan))
		require.True(t, isIn(app, lisi))
		require.NoError(t, here.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		time.Sleep(3 * time.Second)
		require.True(t, isIn(app, lisi), "the replica has seen that something changed")
		for key, row := range store.rows() {
			if len(row) == 26 {
				require.NoError(t, store.MemStore.Delete(key))
			}
		}
		time.Sleep(3 * time.Second)
		assert.False(t, isIn(app, zhangsan))
	})
}

// A slowStore's calls take a while.
type slowStore struct {
	*testStore
	takes time.Duration
}

func (s *slowStore) Find(key string) ([]byte, bool, error) {
	time.Sleep(s.takes)
	return s.testStore.Find(key)
}

// However many requests are under way, a process looks for changes once a second.
func TestT26_OneLookUpForManyRequestsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowStore{testStore: newTestStore()}
		app := newCodeAuth(t, store).Handler(hello())
		session := codeSession(t, app, "zhangsan.1")
		require.True(t, isIn(app, session))
		store.takes = time.Millisecond
		const workers, each = 20, 2500 // a closed loop of some seconds, a look-up each millisecond
		before := store.find.Load()
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range each {
					isIn(app, session)
				}
			})
		}
		wg.Wait()
		assert.LessOrEqual(t, store.find.Load()-before, int64(workers*each+10), "one round trip each, and one a second")
	})
}

// A lateStore's first write of a revocation hangs and lands long after everybody gave up on it.
type lateStore struct {
	*testStore
	late atomic.Bool
}

func (s *lateStore) Commit(key string, row []byte, expires time.Time) error {
	if len(row) == 8 && s.late.CompareAndSwap(true, false) {
		time.Sleep(30 * time.Second)
	}
	return s.testStore.Commit(key, row, expires)
}

// An older revocation that lands after a younger one must not undo it.
func TestT26_AnOlderRevocationLandsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lateStore{testStore: newTestStore()}
		auth := newCodeAuth(t, store)
		app := auth.Handler(hello())
		store.late.Store(true)
		require.Error(t, auth.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		time.Sleep(10 * time.Second)
		session := codeSession(t, app, "zhangsan.2")
		require.True(t, isIn(app, session))
		time.Sleep(time.Second)
		require.NoError(t, auth.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		require.False(t, isIn(newCodeAuth(t, store).Handler(hello()), session))
		time.Sleep(time.Minute)
		assert.False(t, isIn(app, session))
		assert.False(t, isIn(newCodeAuth(t, store).Handler(hello()), session), "a replica that starts later")
	})
}

// What others left in the place of our rows is read or treated as none: no 500,
// no 503, and nobody is shut out who signs in anew.
func TestF23_ForeignRevocationRows(t *testing.T) {
	garbage := map[string][]byte{"empty": {}, "nil": nil, "one byte": {1}, "seven": make([]byte, 7), "nine": make([]byte, 9),
		"zero": make([]byte, 8), "huge": []byte(strings.Repeat("x", 1<<20)), "the past": binary.BigEndian.AppendUint64(nil, 1<<63),
		"text": []byte("none")}
	for name, row := range garbage {
		t.Run(name, bubble(func(t *testing.T) {
			store := newTestStore()
			here := newCodeAuth(t, store)
			require.NoError(t, here.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
			require.NoError(t, here.RevokeAll(t.Context()))
			time.Sleep(time.Second)
			for key := range store.rows() {
				require.NoError(t, store.MemStore.Commit(key, row, time.Now().Add(time.Hour)))
			}
			for _, auth := range []*wecom.Middleware{here, newCodeAuth(t, store)} {
				app := auth.Handler(hello())
				for _, user := range []string{"zhangsan", "lisi"} {
					session := codeSession(t, app, user+"."+fmt.Sprintf("%p", auth))
					for range 3 {
						assert.True(t, isIn(app, session), user)
						time.Sleep(3 * time.Second)
					}
					require.NoError(t, auth.Revoke(t.Context(), wecom.Identity{UserID: user}))
					assert.False(t, isIn(app, session))
				}
			}
		}))
	}
}

// A flipped bit in a revocation's time, or a clock of a century to come, must
// not shut people out for good: a revocation ends what began until now, no more.
func TestF23_ARevocationInTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTestStore()
		auth := newCodeAuth(t, store)
		require.NoError(t, auth.RevokeAll(t.Context()))
		for key, row := range store.rows() {
			if len(row) == 8 {
				row[0] ^= 1 << 6
				require.NoError(t, store.MemStore.Commit(key, row, time.Now().Add(time.Hour)))
			}
		}
		app := newCodeAuth(t, store).Handler(hello())
		time.Sleep(time.Second)
		assert.True(t, isIn(app, codeSession(t, app, "zhangsan.1")))
		time.Sleep(2 * time.Hour) // the row is gone
		assert.True(t, isIn(app, codeSession(t, app, "zhangsan.2")))
	})
}

// A logout that meets the very first requests of its session ends it for all of
// them: who answered the logout never sees the session again.
func TestT11_LogoutRacesWithTheFirstRequests(t *testing.T) {
	auth := newCodeAuth(t, nil)
	app := auth.Handler(hello())
	for i := range 300 {
		session := codeSession(t, app, fmt.Sprintf("user%d.%d", i%7, i))
		var wg sync.WaitGroup
		start := make(chan struct{})
		var out atomic.Bool
		for range 6 {
			wg.Go(func() {
				<-start
				for range 20 {
					ended := out.Load()
					if isIn(app, session) && ended {
						t.Error("a session lives after its logout")
					}
				}
			})
		}
		wg.Go(func() {
			<-start
			r := request("POST", "/wecom/logout")
			r.Header.Set("Origin", site)
			r.AddCookie(session)
			if do(app, r).Code/100 == 5 {
				t.Error("logout failed")
			}
			out.Store(true)
		})
		close(start)
		wg.Wait()
		require.False(t, isIn(app, session))
	}
}

// Likewise with a revocation, which is remembered elsewhere.
func TestT26_RevokeRacesWithRequests(t *testing.T) {
	for name, store := range map[string]scs.Store{"our memory": nil, "a store": newTestStore()} {
		t.Run(name, func(t *testing.T) {
			for i := range 100 {
				var auth *wecom.Middleware // each from a process that never revoked anybody
				if auth = newCodeAuth(t, nil); store != nil {
					auth = newCodeAuth(t, store)
				}
				app := auth.Handler(hello())
				session := codeSession(t, app, fmt.Sprintf("user%d.%d", i, i))
				var wg sync.WaitGroup
				var out atomic.Bool
				for range 4 {
					wg.Go(func() {
						for range 20 {
							ended := out.Load()
							if isIn(app, session) && ended {
								t.Error("a session lives after its revocation")
							}
						}
					})
				}
				wg.Go(func() {
					if err := auth.Revoke(t.Context(), wecom.Identity{UserID: fmt.Sprintf("user%d", i)}); err != nil {
						t.Error(err)
					}
					out.Store(true)
				})
				wg.Wait()
				require.False(t, isIn(app, session))
			}
		})
	}
}
