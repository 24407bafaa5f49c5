package wecom_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// observed collects events.
type observed struct {
	mu     sync.Mutex
	events []wecom.Event
	still  bool // in a bubble, where only waiting takes time
}

func (o *observed) observe(_ context.Context, e wecom.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, e)
}

// take returns what was observed since it was last called: name, outcome, errcode.
func (o *observed) take(t *testing.T) (list []string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.events {
		list = append(list, fmt.Sprint(e.Name, " ", e.Outcome, " ", e.ErrCode))
		switch e.Name {
		case "start", "signout", "revoke", "recheck", "refused":
			assert.Zero(t, e.Duration, "%+v", e)
		default:
			assert.True(t, e.Duration > 0 || o.still, "%+v", e)
		}
		assert.NotContains(t, string(must(json.Marshal(e))), "zhangsan")
	}
	o.events = nil
	return list
}

// Observe hears of everything that is worth counting, and of nobody.
func TestObserve(t *testing.T) {
	var seen observed
	w := newWorld(t, func(o *wecom.Options) {
		o.Observe = func(ctx context.Context, e wecom.Event) {
			assert.NotNil(t, ctx)
			seen.observe(ctx, e)
		}
	})
	b := w.browser()
	b.Get("/reports")
	assert.Equal(t, []string{"start first 0", "token ok 0", "signin ok 0"}, seen.take(t))
	b.Get("/reports")
	assert.Empty(t, seen.take(t), "a signed-in request is no event")
	b.Post("/wecom/logout")
	assert.Equal(t, []string{"signout ok 0"}, seen.take(t))
	b.Fetch("GET", "/api", "")
	assert.Equal(t, []string{"refused login_required 0"}, seen.take(t))

	w.fake.Script("auth/getuserinfo", wecomtest.Fault{ErrCode: 40029})
	b.Get("/reports")
	assert.Equal(t, []string{"start first 0", "signin start_over 40029", "start restart 0", "signin ok 0"}, seen.take(t))

	w.fake.Script("auth/getuserinfo", wecomtest.Fault{ErrCode: 50001})
	w.browser().Get("/")
	assert.Equal(t, []string{"start first 0", "signin setup_fault 50001", "refused setup_fault 50001"}, seen.take(t))

	w.browser().SignInAs(outsider).Get("/")
	assert.Equal(t, []string{"start first 0", "signin outsider 0", "refused outsider 0"}, seen.take(t))

	w.fake.KillTokens()
	w.browser().Get("/")
	assert.Equal(t, []string{"start first 0", "token ok 0", "signin ok 0"}, seen.take(t), "a token that was refused is replaced within the sign-in")

	w.fake.KillTokens()
	w.fake.Always("gettoken", wecomtest.Fault{ErrCode: 40001})
	w.browser().Get("/")
	assert.Equal(t, []string{"start first 0", "token failed 40001", "signin setup_fault 40001", "refused setup_fault 40001"}, seen.take(t))
}

// The context tells whom an event is about, which the event does not.
func TestObserveTellsWhom(t *testing.T) {
	var whom []string
	w := newWorld(t, func(o *wecom.Options) {
		o.Observe = func(ctx context.Context, e wecom.Event) {
			id, ok := wecom.FromContext(ctx)
			whom = append(whom, fmt.Sprint(e.Name, " ", id.UserID, " ", ok))
		}
	})
	b := w.browser()
	b.Get("/")
	b.Post("/wecom/logout?everywhere=1")
	require.NoError(t, w.auth.RevokeAll(t.Context()))
	assert.Equal(t, []string{"start  false", "token  false", "signin zhangsan true", "revoke zhangsan true", "signout zhangsan true", "revoke  true"}, whom)
}

// A client without a web page reports its tokens too.
func TestObserveClient(t *testing.T) {
	var seen observed
	fake := wecomtest.New()
	o := fake.Options("")
	o.Observe = seen.observe
	c, err := wecom.NewClient(o)
	require.NoError(t, err)
	for range 3 {
		_, err = c.Token(t.Context())
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"token ok 0"}, seen.take(t))
}

// A store that can hang is timed, with either carrier; what is not asked is not.
func TestObserveStore(t *testing.T) {
	t.Run("own cookie", func(t *testing.T) {
		var seen observed
		store := newTestStore()
		w := newWorld(t, func(o *wecom.Options) { o.SessionStore, o.Observe = store, seen.observe })
		b := w.browser()
		b.Get("/")
		assert.Equal(t, []string{"start first 0", "token ok 0", "store_commit ok 0", "signin ok 0",
			"store_find ok 0", "store_find ok 0", "store_find ok 0", "store_find ok 0"}, seen.take(t), "the session, and three about revocations that are remembered")
		b.Get("/")
		assert.Equal(t, []string{"store_find ok 0"}, seen.take(t))

		w.fake.Browser(site, w.app).Fetch("GET", "/api", "")
		assert.Equal(t, []string{"refused login_required 0"}, seen.take(t), "without a cookie there is nothing to look for")

		store.set(failing("Find", errors.New("down")))
		b.Get("/")
		assert.Equal(t, []string{"store_find failed 0", "refused session_store 0"}, seen.take(t))
		store.set(nil)
		store.set(failing("Find", slowError{}))
		b.Get("/")
		assert.Equal(t, []string{"store_find timeout 0", "refused session_store 0"}, seen.take(t))
		store.set(nil)

		b.Post("/wecom/logout")
		assert.Equal(t, []string{"store_find ok 0", "store_delete ok 0", "signout ok 0"}, seen.take(t))
	})
	t.Run("scs session", func(t *testing.T) {
		var seen observed
		manager := soundManager()
		manager.Store = newTestStore()
		w := newWorld(t, func(o *wecom.Options) { o.Sessions, o.Observe = manager, seen.observe })
		b := w.browser()
		b.Get("/")
		assert.Equal(t, []string{"start first 0", "token ok 0", "store_commit ok 0", "signin ok 0", "store_commit ok 0",
			"store_find ok 0", "store_find ok 0", "store_find ok 0", "store_find ok 0", "store_find ok 0"}, seen.take(t))
		b.Get("/")
		assert.Equal(t, []string{"store_find ok 0", "store_find ok 0"}, seen.take(t), "the application's session, and ours")
		w.fake.Browser(site, w.app).Fetch("GET", "/api", "")
		assert.Equal(t, []string{"refused login_required 0"}, seen.take(t))
		b.Post("/wecom/logout")
		assert.Equal(t, []string{"store_find ok 0", "store_find ok 0", "store_delete ok 0", "store_delete ok 0", "signout ok 0"}, seen.take(t))
	})
}

// slowError is what a client of a database returns after a time-out of its own.
type slowError struct{}

func (slowError) Error() string { return "i/o timeout" }
func (slowError) Timeout() bool { return true }

func TestObserveStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := observed{still: true}
		store := newTestStore()
		w := newWorld(t, func(o *wecom.Options) { o.SessionStore, o.Observe = store, seen.observe })
		b := w.browser()
		b.Get("/")
		seen.take(t)

		hang := make(chan struct{})
		store.set(hanging(hang))
		require.Equal(t, 503, b.Get("/").Status)
		assert.Equal(t, []string{"store_find timeout 0", "refused session_store 0"}, seen.take(t))

		ctx, leave := context.WithCancel(t.Context())
		r := with(httptest.NewRequestWithContext(ctx, http.MethodGet, site+"/", nil), b.Cookies("/"))
		go leave()
		w.app.ServeHTTP(httptest.NewRecorder(), r)
		assert.Equal(t, []string{"store_find canceled 0", "refused session_store 0"}, seen.take(t), "the browser left")
		close(hang)
		synctest.Wait()
	})
}
