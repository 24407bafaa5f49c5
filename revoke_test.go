package wecom_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
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
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/wecomtest"
)

// everywhere=1 ends all sessions of the person who signs out, and nobody else's.
func TestSignOutEverywhere(t *testing.T) {
	for name, how := range map[string]struct {
		method, target string
		status         int
	}{
		"the page":    {"POST", "/wecom/logout?everywhere=1", http.StatusSeeOther},
		"the scripts": {"DELETE", "/wecom/session?everywhere=1", http.StatusNoContent},
	} {
		t.Run(name, func(t *testing.T) {
			store := newTestStore()
			app, other := replica(t, store).Handler(hello()), replica(t, store).Handler(hello())
			here, there, lisi := codeSession(t, app, "zhangsan.1"), codeSession(t, app, "ZhangSan.2"), codeSession(t, app, "lisi.1")
			signOut := func(header ...string) int {
				r := request(how.method, how.target)
				r.AddCookie(here)
				for i := 0; i < len(header); i += 2 {
					r.Header.Set(header[i], header[i+1])
				}
				return do(app, r).Code
			}
			assert.Equal(t, http.StatusForbidden, signOut("Sec-Fetch-Site", "cross-site"))
			store.set(func(method, _ string, _ []byte) error {
				if method == "Commit" {
					return errors.New("full")
				}
				return nil
			})
			assert.Equal(t, http.StatusServiceUnavailable, signOut())
			store.set(nil)
			assert.True(t, isIn(other, there), "nothing was stored")
			here = codeSession(t, app, "zhangsan.3") // this process has heard of it

			assert.Equal(t, how.status, signOut())
			for _, replica := range []http.Handler{app, other} {
				assert.False(t, isIn(replica, here))
				assert.True(t, isIn(replica, lisi))
			}
			assert.False(t, isIn(app, there))
			assert.Equal(t, http.StatusUnauthorized, signOut(), "nobody knows whose sessions to end")
		})
	}
}

// Another process hears of a revocation a second later. A sign-out that comes before is
// final there too, and so is a sign-in that takes the session's place.
func TestSignOutOfARevokedSession(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, app http.Handler, here *http.Cookie){
		"sign-out": func(t *testing.T, app http.Handler, here *http.Cookie) {
			assert.Equal(t, http.StatusSeeOther, do(app, with(request("POST", "/wecom/logout"), []*http.Cookie{here})).Code)
		},
		"sign-in": func(t *testing.T, app http.Handler, here *http.Cookie) {
			assert.Equal(t, http.StatusSeeOther, do(app, with(comeFrom(t, app, "/", "zhangsan.2"), []*http.Cookie{here})).Code)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newTestStore()
				auth := replica(t, store)
				app, other := auth.Handler(hello()), replica(t, store).Handler(hello())
				here := codeSession(t, app, "zhangsan.1")
				assert.True(t, isIn(other, here))
				require.NoError(t, auth.RevokeAll(t.Context()))
				assert.True(t, isIn(other, here), "it has not heard of it")
				leave(t, app, here)
				assert.False(t, isIn(other, here))
			})
		})
	}
}

// 3,000 sessions of 1,000 people. One is revoked, by two writes; then everybody.
func TestT26_B9_Revoke(t *testing.T) {
	const people, each = 1000, 3
	for name, store := range map[string]*testStore{"our memory": nil, "a store": newTestStore()} {
		t.Run(name, func(t *testing.T) {
			auth := replica(t, nil)
			if store != nil {
				auth = replica(t, store)
			}
			app := auth.Handler(hello())
			var sessions [people][each]*http.Cookie
			for p := range people {
				for s := range each {
					sessions[p][s] = codeSession(t, app, fmt.Sprintf("User%d.%d", p, s))
				}
			}
			writes := func() int64 {
				if store == nil {
					return 0
				}
				return store.commit.Load() + store.del.Load()
			}
			check := func(revoked func(person int) bool) {
				t.Helper()
				for p := range people {
					for s := range each {
						if isIn(app, sessions[p][s]) == revoked(p) {
							t.Fatalf("session %d of person %d: revoked should be %t", s, p, revoked(p))
						}
					}
				}
			}
			check(func(int) bool { return false })

			before := writes()
			require.NoError(t, auth.Revoke(t.Context(), wecom.Identity{UserID: "uSER7"}))
			if store != nil {
				assert.EqualValues(t, 2, writes()-before)
			}
			check(func(p int) bool { return p == 7 })
			assert.True(t, isIn(app, codeSession(t, app, "user7.again")), "who signs in anew is in")

			before = writes()
			require.NoError(t, auth.RevokeAll(t.Context()))
			if store != nil {
				assert.EqualValues(t, 2, writes()-before)
			}
			check(func(int) bool { return true })
			assert.True(t, isIn(app, codeSession(t, app, "user8.again")))
		})
	}
}

func BenchmarkRevoke(b *testing.B) {
	auth := replica(b, nil)
	app := auth.Handler(hello())
	for i := range 10_000 {
		codeSession(b, app, fmt.Sprintf("user%d.%d", i%1000, i))
	}
	for b.Loop() {
		if err := auth.Revoke(b.Context(), wecom.Identity{UserID: "user7"}); err != nil {
			b.Fatal(err)
		}
	}
}

// Likewise if WeCom has not answered yet when the revocation comes.
func TestT26_RevokeDuringAnExchange(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	callback := w.held(b, "/")
	sent, release := make(chan struct{}), make(chan struct{})
	w.fake.Script("auth/getuserinfo", wecomtest.Fault{OnCall: func(*http.Request) { close(sent) }, Processed: true, Until: release})
	arrived := make(chan *wecomtest.Response)
	go func() { arrived <- b.Follow(callback) }()
	<-sent
	require.NoError(t, w.auth.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
	close(release)
	<-arrived
	assert.Empty(t, who(b))
}

// Replicas share the store. The others follow within a second.
func TestT26_RevokeOnAnotherReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTestStore()
		here, there := replica(t, store), replica(t, store)
		app := there.Handler(hello())
		sessions := map[string]*http.Cookie{}
		for _, user := range []string{"zhangsan", "lisi"} {
			sessions[user] = codeSession(t, app, user+".1")
			require.True(t, isIn(app, sessions[user]))
		}
		require.True(t, isIn(here.Handler(hello()), sessions["zhangsan"]), "one session, all replicas")

		time.Sleep(time.Second)
		require.NoError(t, here.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		assert.False(t, isIn(here.Handler(hello()), sessions["zhangsan"]), "at once where it was called")
		time.Sleep(time.Second)
		assert.False(t, isIn(app, sessions["zhangsan"]))
		assert.True(t, isIn(app, sessions["lisi"]))

		require.NoError(t, here.RevokeAll(t.Context()))
		time.Sleep(time.Second)
		assert.False(t, isIn(app, sessions["lisi"]))
		fresh := codeSession(t, app, "lisi.2")
		for range 10 {
			assert.True(t, isIn(app, fresh))
			assert.False(t, isIn(app, sessions["lisi"]))
			time.Sleep(time.Second)
		}
	})
}

// However rarely somebody comes, a request asks the store once, for its session:
// that nobody was revoked, one look-up a second tells of everybody.
func TestT26_OneLookUpARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTestStore()
		auth := replica(t, store)
		app := auth.Handler(hello())
		var people []*http.Cookie
		for i := range 100 {
			people = append(people, codeSession(t, app, fmt.Sprintf("user%d.1", i)))
		}
		round := func() int64 {
			time.Sleep(30 * time.Second)
			before := store.find.Load()
			for _, session := range people {
				require.True(t, isIn(app, session))
			}
			return store.find.Load() - before
		}
		round() // learns that nobody is revoked
		for range 10 {
			assert.EqualValues(t, 101, round())
		}
		require.NoError(t, auth.Revoke(t.Context(), wecom.Identity{UserID: "somebody else"}))
		assert.EqualValues(t, 203, round(), "something changed: everybody is looked up again, once, and whether it was the directory")
		assert.EqualValues(t, 101, round())
	})
}

// A replica that knows somebody as not revoked, for long, learns of it all the same.
func TestT26_RevokedAfterALongTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTestStore()
		here, there := replica(t, store), replica(t, store)
		app := there.Handler(hello())
		zhangsan, lisi := codeSession(t, app, "zhangsan.1"), codeSession(t, app, "lisi.1")
		for range 10 {
			time.Sleep(20 * time.Minute)
			require.True(t, isIn(app, zhangsan))
		}
		// Two at once: of the rows that say that something changed, one replaces the other.
		require.NoError(t, here.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		require.NoError(t, here.Revoke(t.Context(), wecom.Identity{UserID: "lisi"}))
		time.Sleep(time.Second)
		assert.False(t, isIn(app, zhangsan))
		assert.False(t, isIn(app, lisi))
	})
}

// What a program made from a session ends with it: here, on another replica, and when a
// recheck finds that the person left, though no browser of theirs comes any more.
func TestT26_Revoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 10 * time.Minute
		store := newTestStore()
		w := newWorld(t, recheckEvery(every), func(o *wecom.Options) { o.SessionStore = store })
		there := newWorld(t, func(o *wecom.Options) { *o = w.fake.Options(site + "/wecom/callback"); o.SessionStore = store })
		of := func(user string) (id wecom.Identity) {
			res := w.signedIn(user).Fetch("GET", "/wecom/session", "")
			require.NoError(t, res.JSON(&id))
			return id
		}
		zhangsan, lisi := of("zhangsan"), of("lisi")
		revoked := func(m *wecom.Middleware, id wecom.Identity) bool {
			t.Helper()
			gone, err := m.Revoked(t.Context(), id)
			require.NoError(t, err)
			return gone
		}
		assert.False(t, revoked(w.auth, zhangsan))
		assert.False(t, revoked(there.auth, zhangsan))
		require.NoError(t, w.auth.Revoke(t.Context(), zhangsan))
		assert.True(t, revoked(w.auth, zhangsan))
		time.Sleep(1100 * time.Millisecond)
		assert.True(t, revoked(there.auth, zhangsan))
		assert.False(t, revoked(there.auth, lisi))
		assert.False(t, revoked(w.auth, of("zhangsan")), "who signed in since")

		w.fake.RemoveMember("lisi")
		time.Sleep(every)
		assert.False(t, revoked(w.auth, lisi))
		synctest.Wait()
		assert.True(t, revoked(w.auth, lisi))

		other := zhangsan
		other.AppID = "1000099"
		assert.True(t, revoked(w.auth, other), "another app's")
		assert.True(t, revoked(w.auth, wecom.Identity{}))
		var zero wecom.Middleware
		_, err := zero.Revoked(t.Context(), lisi)
		assert.Error(t, err)
	})
}

func TestRevokeNobody(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn("zhangsan")
	assert.Error(t, w.auth.Revoke(t.Context(), wecom.Identity{}))
	assert.Error(t, w.auth.Revoke(t.Context(), wecom.Identity{Name: "张三"}))
	require.NoError(t, w.auth.Revoke(t.Context(), wecom.Identity{OpenID: "zhangsan"}), "somebody else: an openid is no user id")
	require.NoError(t, w.auth.Revoke(t.Context(), wecom.Identity{LinkedUserID: "ww1/zhangsan"}))
	assert.Equal(t, "zhangsan", who(b))

	var zero wecom.Middleware
	assert.Error(t, zero.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
	assert.Error(t, zero.RevokeAll(t.Context()))
}

func TestRevokeSaysWhenTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTestStore()
		auth := replica(t, store)
		app := auth.Handler(hello())
		session := codeSession(t, app, "zhangsan.1")
		cause := errors.New("disk full")
		store.set(failing("Commit", cause))
		assert.ErrorIs(t, auth.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}), cause)
		for range 10 {
			assert.False(t, isIn(app, session), "this process heeds it all the same")
			time.Sleep(time.Second)
		}
	})
}

// Whichever of the look-ups fails, and be it one alone: the session, whether something
// changed, whether everybody was revoked, and whether this person was.
func TestT26_ALookUpThatFailsLetsNobodyIn(t *testing.T) {
	store := newTestStore()
	session := codeSession(t, replica(t, store).Handler(hello()), "zhangsan.1")
	for fails := range int64(5) {
		first := store.find.Load()
		store.set(func(string, string, []byte) error {
			if store.find.Load()-first == fails+1 {
				return errors.New("down")
			}
			return nil
		})
		r := request("GET", "/")
		r.AddCookie(session)
		status := do(replica(t, store).Handler(hello()), r).Code
		if fails == 4 {
			assert.Equal(t, http.StatusOK, status, "there are four")
		} else {
			assert.Equal(t, http.StatusServiceUnavailable, status, fails)
		}
	}
}

// Who sees that something was revoked finds what it was: of the two rows, that one is written first.
func TestT26_AnotherReplicaLooksBetweenTheTwoRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTestStore()
		auth, other := replica(t, store), replica(t, store).Handler(hello())
		session := codeSession(t, other, "zhangsan.1")
		require.True(t, isIn(other, session))
		time.Sleep(3 * time.Second)
		var commits atomic.Int64
		store.set(func(method, _ string, _ []byte) error {
			if method == "Commit" && commits.Add(1) == 2 {
				isIn(other, session)
			}
			return nil
		})
		require.NoError(t, auth.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		require.Equal(t, int64(2), commits.Load())
		time.Sleep(3 * time.Second)
		assert.False(t, isIn(other, session))
	})
}

func lasting(t testing.TB, store scs.Store, lifetime time.Duration) *wecom.Middleware {
	t.Helper()
	return fixed(t, func(o *wecom.Options) { o.SessionStore, o.SessionLifetime = store, lifetime })
}

// SessionLifetime was a month and is an hour since the last deploy. Who revokes
// now ends the sessions of a month too, and not for an hour only.
func TestT26_RevocationOutlastsSessionsOfALongerLifetime(t *testing.T) {
	const month = 30 * 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		store := newTestStore()
		session := codeSession(t, lasting(t, store, month).Handler(hello()), "zhangsan.1")
		now := lasting(t, store, time.Hour)
		require.True(t, isIn(now.Handler(hello()), session))
		require.NoError(t, now.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		for range 29 {
			require.False(t, isIn(now.Handler(hello()), session), "in the process that revoked")
			require.False(t, isIn(lasting(t, store, month).Handler(hello()), session), "in one that starts later")
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
		here, there := lasting(t, store, month), lasting(t, store, month)
		brief := lasting(t, store, time.Hour)
		app := there.Handler(hello())
		session := codeSession(t, app, "zhangsan.1")
		require.True(t, isIn(app, session))

		require.NoError(t, here.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		require.NoError(t, brief.Revoke(t.Context(), wecom.Identity{UserID: "lisi"}))
		time.Sleep(2 * time.Hour)
		assert.False(t, isIn(lasting(t, store, month).Handler(hello()), session), "the row is still there")
		assert.False(t, isIn(app, session), "also for who knew him before, and did not see him since")
	})
}

// A store may lose the row that says that something changed: Redis evicts rows
// when it is full. Who knew nobody to be revoked must not take that for "nothing changed".
func TestT26_TheRowOfChangesIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTestStore()
		here, there := replica(t, store), replica(t, store)
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

// However many requests are under way, a process looks for changes once a second.
func TestT26_OneLookUpForManyRequestsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTestStore()
		app := replica(t, store).Handler(hello())
		session := codeSession(t, app, "zhangsan.1")
		require.True(t, isIn(app, session))
		store.set(func(string, string, []byte) error { time.Sleep(time.Millisecond); return nil })
		const workers, each = 20, 1500 // a closed loop of more than a second, a look-up each millisecond
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

// An older revocation that lands after a younger one must not undo it.
func TestT26_AnOlderRevocationLandsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTestStore()
		auth := replica(t, store)
		app := auth.Handler(hello())
		var late atomic.Bool // the first write of a revocation hangs, and lands long after everybody gave up on it
		store.set(func(_, _ string, row []byte) error {
			if len(row) == 8 && late.CompareAndSwap(false, true) {
				time.Sleep(30 * time.Second)
			}
			return nil
		})
		require.Error(t, auth.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		time.Sleep(10 * time.Second)
		session := codeSession(t, app, "zhangsan.2")
		require.True(t, isIn(app, session))
		time.Sleep(time.Second)
		require.NoError(t, auth.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
		require.False(t, isIn(replica(t, store).Handler(hello()), session))
		time.Sleep(time.Minute)
		assert.False(t, isIn(app, session))
		assert.False(t, isIn(replica(t, store).Handler(hello()), session), "a replica that starts later")
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
			here := replica(t, store)
			require.NoError(t, here.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
			require.NoError(t, here.RevokeAll(t.Context()))
			time.Sleep(time.Second)
			for key := range store.rows() {
				require.NoError(t, store.MemStore.Commit(key, row, time.Now().Add(time.Hour)))
			}
			for _, auth := range []*wecom.Middleware{here, replica(t, store)} {
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
		auth := replica(t, store)
		require.NoError(t, auth.RevokeAll(t.Context()))
		for key, row := range store.rows() {
			if len(row) == 8 {
				row[0] ^= 1 << 6
				require.NoError(t, store.MemStore.Commit(key, row, time.Now().Add(time.Hour)))
			}
		}
		app := replica(t, store).Handler(hello())
		time.Sleep(time.Second)
		assert.True(t, isIn(app, codeSession(t, app, "zhangsan.1")))
		time.Sleep(2 * time.Hour) // the row is gone
		assert.True(t, isIn(app, codeSession(t, app, "zhangsan.2")))
	})
}

// A logout or a revocation that meets the very first requests of a session ends it for all of
// them: who answered it never sees the session again.
func TestT11_T26_EndsRaceWithTheFirstRequests(t *testing.T) {
	logout := func(t *testing.T, _ *wecom.Middleware, app http.Handler, session *http.Cookie) {
		assert.Less(t, do(app, with(request("POST", "/wecom/logout"), []*http.Cookie{session})).Code, 500)
	}
	revoke := func(t *testing.T, auth *wecom.Middleware, _ http.Handler, _ *http.Cookie) {
		assert.NoError(t, auth.Revoke(t.Context(), wecom.Identity{UserID: "zhangsan"}))
	}
	store := newTestStore()
	for name, tt := range map[string]struct {
		store scs.Store // nil: our memory
		end   func(*testing.T, *wecom.Middleware, http.Handler, *http.Cookie)
	}{
		"a logout": {nil, logout}, "a revocation": {nil, revoke}, "a revocation in a store": {store, revoke},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 100 { // each in a process that never ended anybody's
				auth := replica(t, tt.store)
				app := auth.Handler(hello())
				session := codeSession(t, app, fmt.Sprintf("zhangsan.%d", i))
				var wg sync.WaitGroup
				var out atomic.Bool
				for range 5 {
					wg.Go(func() {
						for range 20 {
							ended := out.Load()
							if isIn(app, session) && ended {
								t.Error("a session lives after its end")
							}
						}
					})
				}
				wg.Go(func() {
					tt.end(t, auth, app, session)
					out.Store(true)
				})
				wg.Wait()
				require.False(t, isIn(app, session))
			}
		})
	}
}

// --- looking members up again

func recheckEvery(d time.Duration) func(*wecom.Options) {
	return func(o *wecom.Options) { o.Recheck = d }
}

// away is everything by which a member stops being one whom the app may admit.
var away = map[string]func(*wecomtest.Fake){
	"disabled": func(f *wecomtest.Fake) { f.DisableMember("zhangsan") },
	"removed":  func(f *wecomtest.Fake) { f.RemoveMember("zhangsan") },
	"left": func(f *wecomtest.Fake) {
		m, _ := f.Member("zhangsan")
		m.Status = wecomtest.Resigned
		f.AddMember(m)
	},
	"out of the visible range": func(f *wecomtest.Fake) {
		m, _ := f.Member("zhangsan")
		m.Departments, m.MainDepartment = []int64{5}, 5
		f.AddMember(m)
	},
}

// A member who leaves is out within one interval, on every session, and nobody else is.
func TestT26_RecheckFindsWhoLeft(t *testing.T) {
	for name, leave := range away {
		t.Run(name, bubble(func(t *testing.T) {
			const every = 10 * time.Minute
			w := newWorld(t, recheckEvery(every))
			var theirs []*wecomtest.Browser
			for range 3 {
				theirs = append(theirs, w.signedIn("zhangsan"))
			}
			other := w.signedIn("lisi")
			browse := func(d time.Duration) {
				for range d / time.Minute {
					for _, b := range append(theirs, other) {
						b.Fetch("GET", "/api", "")
					}
					time.Sleep(time.Minute)
					synctest.Wait()
				}
			}
			browse(25 * time.Minute)
			for _, b := range theirs {
				assert.Equal(t, "zhangsan", who(b))
			}
			assert.LessOrEqual(t, w.fake.Calls("user/get"), 2*3, "one look-up a person and interval, whatever the number of sessions")

			leave(w.fake)
			browse(every)
			for _, b := range theirs {
				assert.Empty(t, who(b))
			}
			assert.Equal(t, "lisi", who(other))
			assert.NotContains(t, w.logs.String(), "zhangsan", "logs name nobody")
			assert.Contains(t, w.logs.String(), "may no longer sign in")
		}))
	}
}

// WeCom being down logs nobody out, however long; and whoever left meanwhile goes when it is back.
func TestT26_RecheckWhileWeComIsDown(t *testing.T) {
	for name, fault := range map[string]wecomtest.Fault{
		"refused":           {Drop: wecomtest.DropDial},
		"lost":              {Drop: wecomtest.DropAfter},
		"HTTP 500":          {Status: 500},
		"HTTP 403, a proxy": {Status: 403, Body: []byte("<html>forbidden</html>")},
		"hangs":             {Until: make(chan struct{})},
		"busy":              {ErrCode: -1},
		"too many calls":    {ErrCode: 45009},
		"address untrusted": {ErrCode: 60020},
		"no right":          {ErrCode: 48002},
		"secret reset":      {ErrCode: 40001},
		"token refused":     {ErrCode: 40014},
		"malformed id":      {ErrCode: 40003},
		"unheard of":        {ErrCode: 987654},
		"another member":    {Body: []byte(`{"errcode":0,"userid":"lisi","status":2}`)},
		"status of words":   {Body: []byte(`{"errcode":0,"userid":"zhangsan","status":"gone"}`)},
		"no status":         {Body: []byte(`{"errcode":0,"userid":"zhangsan"}`)},
		"not activated":     {Body: []byte(`{"errcode":0,"userid":"zhangsan","status":4}`)},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			const every = 10 * time.Minute
			if fault.Until != nil {
				fault.Until = make(chan struct{}) // of this bubble
			}
			w := newWorld(t, recheckEvery(every))
			b := w.signedIn("zhangsan")
			w.fake.Always("*", fault)
			for range 10 * every / time.Minute {
				require.Equal(t, "zhangsan", who(b))
				require.Equal(t, 200, b.Fetch("GET", "/api", "").Status)
				time.Sleep(time.Minute)
			}
			assert.GreaterOrEqual(t, w.fake.Calls("user/get")+w.fake.Calls("gettoken"), 5, "it was asked")
			w.fake.ClearFaults()
			w.fake.DisableMember("zhangsan")
			for range 2 * every / time.Minute {
				b.Fetch("GET", "/api", "")
				time.Sleep(time.Minute)
			}
			assert.Empty(t, who(b))
		}))
	}
}

// Whose turn comes while all look-ups are under way is looked up as soon as one is over.
func TestT26_RecheckWaitsForAFreeSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every, slots = time.Minute, 8
		release := make(chan struct{})
		w := newWorld(t, recheckEvery(every))
		var busy []*wecomtest.Browser
		for i := range slots {
			w.fake.AddMember(wecomtest.Member{UserID: fmt.Sprint("busy", i), Departments: []int64{2}})
			busy = append(busy, w.signedIn(fmt.Sprint("busy", i)))
		}
		b := w.signedIn("zhangsan")
		w.fake.DisableMember("zhangsan")
		time.Sleep(every)
		w.fake.Always("user/get", wecomtest.Fault{Until: release})
		began := time.Now()
		for _, one := range busy {
			require.Equal(t, 200, one.Fetch("GET", "/api", "").Status)
		}
		require.Zero(t, time.Since(began), "no request waits for a look-up")
		synctest.Wait()
		require.Equal(t, slots, w.fake.Calls("user/get"))
		require.Equal(t, "zhangsan", who(b))
		require.Equal(t, 200, b.Fetch("GET", "/api", "").Status)
		synctest.Wait()
		require.Equal(t, slots, w.fake.Calls("user/get"), "no more at once")

		close(release)
		w.fake.ClearFaults()
		synctest.Wait()
		b.Fetch("GET", "/api", "")
		synctest.Wait()
		assert.Empty(t, who(b))
	})
}

// Authorize is asked again too.
func TestRecheckAsksAuthorize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer atomic.Value
		type said struct {
			ok    bool
			err   error
			panic bool
		}
		answer.Store(said{ok: true})
		w := newWorld(t, recheckEvery(time.Minute), func(o *wecom.Options) {
			o.Authorize = func(context.Context, *wecom.Client, wecom.Identity) (bool, error) {
				a := answer.Load().(said)
				if a.panic {
					panic("an authorizer's own fault")
				}
				return a.ok, a.err
			}
		})
		b := w.signedIn("zhangsan")
		browse := func() {
			time.Sleep(2 * time.Minute)
			b.Fetch("GET", "/api", "")
			synctest.Wait()
		}
		for _, a := range []said{{ok: true}, {err: errors.New("could not tell")}, {panic: true}} {
			answer.Store(a)
			browse()
			assert.Equal(t, "zhangsan", who(b), "%+v", a)
		}
		answer.Store(said{})
		browse()
		assert.Empty(t, who(b))
	})
}

// A member who is moved to another department loses what a department's guard admitted.
func TestRecheckWithDepartments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, recheckEvery(10*time.Minute), func(o *wecom.Options) { o.Profile, o.Authorize = true, allow.Departments(2) })
		b := w.signedIn("zhangsan")
		m, _ := w.fake.Member("zhangsan")
		m.Departments = []int64{3}
		w.fake.AddMember(m)
		for range 11 {
			b.Fetch("GET", "/api", "")
			time.Sleep(time.Minute)
		}
		assert.Empty(t, who(b))
	})
}

// What package allow knows of departments counts for five minutes, or until a replica says
// that they changed.
func TestDirectoryChanged(t *testing.T) {
	for name, elsewhere := range map[string]bool{"here": false, "on another replica": true} {
		t.Run(name, bubble(func(t *testing.T) {
			store := newTestStore()
			w := newWorld(t, func(o *wecom.Options) { o.SessionStore = store })
			says := w.auth
			if elsewhere {
				o := w.fake.Options(site + "/wecom/callback")
				o.SessionStore = store
				says = must(wecom.New(o))
			}
			w.app = w.auth.Handler(w.auth.Require(allow.Departments(2))(hello()))
			b := w.signedIn("zhangsan")
			m, _ := w.fake.Member("zhangsan")
			m.Departments = []int64{3}
			w.fake.AddMember(m)
			time.Sleep(time.Minute)
			require.Equal(t, 200, b.Get("/").Status, "remembered")
			require.NoError(t, says.DirectoryChanged(t.Context()))
			if elsewhere {
				time.Sleep(time.Second)
			}
			assert.Equal(t, 403, b.Get("/").Status)
		}))
	}
}

// A session may come from a replica whose clock is ahead, or from before the clock was set back.
func TestF20_RecheckWhateverTheClock(t *testing.T) {
	store := newTestStore()
	fake := wecomtest.New()
	options := fake.Options(site + "/wecom/callback")
	options.SessionStore, options.Recheck, options.Logger = store, time.Minute, slog.New(slog.DiscardHandler)
	var session *http.Cookie
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		auth, err := wecom.New(options)
		require.NoError(t, err)
		session = codeSession(t, auth.Handler(hello()), fake.IssueCode(wecomtest.Grant{Who: "zhangsan"}))
	})
	fake.DisableMember("zhangsan")
	synctest.Test(t, func(t *testing.T) { // an hour earlier
		auth, err := wecom.New(options)
		require.NoError(t, err)
		app := auth.Handler(hello())
		require.True(t, isIn(app, session))
		synctest.Wait()
		assert.Equal(t, 1, fake.Calls("user/get"))
	})
}

func TestRecheckIsOffByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.signedIn("zhangsan")
		w.fake.RemoveMember("zhangsan")
		for range 11 {
			time.Sleep(time.Hour)
			assert.Equal(t, "zhangsan", who(b))
		}
		assert.Zero(t, w.fake.Calls("user/get"))
	})
}

// Others than members cannot be looked up, and stay.
func TestRecheckOfOutsiders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, recheckEvery(time.Minute), func(o *wecom.Options) { o.AllowOutsiders = true })
		b := w.signedIn("oFakeOutsider0000000000000001")
		for range 5 {
			time.Sleep(2 * time.Minute)
			assert.Equal(t, 200, b.Fetch("GET", "/api", "").Status)
		}
		assert.Zero(t, w.fake.Calls("user/get"))
	})
}
