package events_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2/memstore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/events"
	"github.com/wecomauth/wecom/wecomtest"
)

const unsubscribe = `<xml><AgentID>1000002</AgentID><Event>unsubscribe</Event><FromUserName>zhangsan</FromUserName><MsgType>event</MsgType></xml>`

// T38: the signature of an event holds for a GET as well. It must not decrypt the event for somebody who saw it.
func TestT38_VerificationDecryptsNoEvent(t *testing.T) {
	w := newWorld(t)
	for _, message := range []string{unsubscribe, `{"Event":"unsubscribe","MsgType":"event"}`} {
		r := wecomtest.EventRequest(w.at, message, time.Now())
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		_, rest, _ := strings.Cut(string(body), "<Encrypt><![CDATA[")
		encrypted, _, _ := strings.Cut(rest, "]]>")
		q := r.URL.Query()
		q.Set("echostr", encrypted)
		res := w.do(httptest.NewRequest("GET", "/wecom/events?"+q.Encode(), nil))
		assert.Equal(t, 403, res.Code)
		assert.Empty(t, res.Body.String())
	}
}

// T38: WeCom's clock may be ahead of ours. Such an event is fresh for longer, and still counts once.
func TestT38_ReplayFromAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		at := time.Now().Add(9 * time.Minute)
		post := func() int { return w.do(wecomtest.EventRequest(w.at, unsubscribe, at)).Code }
		require.Equal(t, 200, post())
		time.Sleep(time.Second)
		zhangsan := w.signIn("zhangsan")
		for range 25 {
			time.Sleep(time.Minute)
			assert.Contains(t, []int{200, 403}, post())
			require.True(t, in(zhangsan), "replayed at %s", time.Now())
		}
	})
}

// F34: what anybody may post costs next to nothing before its signature is known to be wrong.
func TestT38_UnsignedBodiesAreNotParsed(t *testing.T) {
	w := newWorld(t)
	var elements, members strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&elements, "<a%d/>", i)
		fmt.Fprintf(&members, `"a%d":0,`, i)
	}
	for desc, body := range map[string]string{
		"many elements": "<xml>" + elements.String() + "</xml>",
		"deep elements": strings.Repeat("<a>", 60_000),
		"attributes":    "<xml " + strings.Repeat(`a="" `, 40_000) + "/>",
		"members":       "{" + members.String() + `"a":0}`,
	} {
		allocs := testing.AllocsPerRun(1, func() {
			res := w.do(httptest.NewRequest("POST", "/wecom/events?msg_signature=x&timestamp=1&nonce=1", strings.NewReader(body)))
			assert.Equal(t, 403, res.Code, desc)
		})
		assert.Less(t, allocs, 1000.0, desc)
	}
}

// A slowStore holds commits until it is released.
type slowStore struct {
	*memstore.MemStore
	slow    atomic.Bool
	held    chan struct{} // one for each commit that waits
	release chan struct{}
}

func (s *slowStore) Commit(key string, row []byte, expires time.Time) error {
	if s.slow.Load() {
		s.held <- struct{}{}
		<-s.release
	}
	return s.MemStore.Commit(key, row, expires)
}

// F33: WeCom repeats an event while the store is still at the first post. The program hears of it once.
func TestF33_RepeatWhileTheFirstIsHandled(t *testing.T) {
	store := &slowStore{MemStore: memstore.NewWithCleanupInterval(0), held: make(chan struct{}), release: make(chan struct{})}
	got := make(chan events.Event, 10)
	w := newWorld(t, func(o *wecom.Options, eo *events.Options) {
		o.SessionStore = store
		eo.OnEvent = func(_ context.Context, ev events.Event) { got <- ev }
	})
	zhangsan := w.signIn("zhangsan")
	store.slow.Store(true)
	answers := make(chan int)
	for range 2 {
		go func() { answers <- w.do(wecomtest.EventRequest(w.at, unsubscribe, time.Now())).Code }()
		<-store.held
	}
	store.slow.Store(false)
	close(store.release)
	assert.Equal(t, 200, <-answers)
	assert.Equal(t, 200, <-answers)
	require.Equal(t, 200, w.do(wecomtest.EventRequest(w.at, `<xml><MsgType>event</MsgType><Event>last</Event></xml>`, time.Now())).Code)
	assert.Equal(t, "unsubscribe", (<-got).Name)
	assert.Equal(t, "last", (<-got).Name)
	assert.False(t, in(zhangsan))
}

// A broken is a logger and a transport that panic when told to.
type broken struct {
	slog.Handler
	http.RoundTripper
	log, calls atomic.Bool
}

func (b *broken) Handle(ctx context.Context, r slog.Record) error {
	if b.log.Load() {
		panic(errors.New("logger"))
	}
	return b.Handler.Handle(ctx, r)
}

func (b *broken) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.calls.Load() {
		panic(errors.New("transport"))
	}
	return b.RoundTripper.RoundTrip(r)
}

// F33: a panic of the program's own parts ends neither the program nor the work on later events.
func TestF33_Panics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broken{Handler: slog.NewTextHandler(io.Discard, nil)}
		var heard atomic.Int64
		w := newWorld(t, func(o *wecom.Options, eo *events.Options) {
			b.RoundTripper = o.Transport
			o.Transport, o.Authorize = b, allow.Active()
			eo.Logger = slog.New(b)
			eo.OnEvent = func(context.Context, events.Event) {
				heard.Add(1)
				panic("hook")
			}
		})
		update := func(user string) string {
			return fmt.Sprintf(`<xml><Event>change_contact</Event><ChangeType>update_user</ChangeType><UserID>%s</UserID><Time>%d</Time><MsgType>event</MsgType></xml>`, user, time.Now().UnixNano())
		}
		zhangsan, lisi := w.signIn("zhangsan"), w.signIn("lisi")
		b.log.Store(true)
		b.calls.Store(true)
		assert.Equal(t, 200, w.do(wecomtest.EventRequest(w.at, update("lisi"), time.Now())).Code)
		func() {
			defer func() { _ = recover() }() // as net/http does: it is the request's own goroutine
			w.do(wecomtest.EventRequest(w.at, unsubscribe, time.Now()))
		}()
		time.Sleep(time.Minute)
		assert.False(t, in(zhangsan))
		b.log.Store(false)
		b.calls.Store(false)
		w.fake.DisableMember("lisi")
		assert.Equal(t, 200, w.do(wecomtest.EventRequest(w.at, update("lisi"), time.Now())).Code)
		time.Sleep(time.Minute)
		assert.False(t, in(lisi))
		assert.EqualValues(t, 2, heard.Load())
	})
}

// F33: while WeCom's API hangs, events are answered at once, and what changed is looked up afterwards.
func TestF33_LookUpsHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.save(w.contactSync())
		lisi, wangwu := w.signIn("lisi"), w.signIn("wangwu")
		w.fake.Script("user/get", wecomtest.Fault{Delay: time.Hour, Times: 5})
		began := time.Now()
		for i := range 20 {
			w.fake.PostEvent("", map[string]string{"Event": "change_contact", "ChangeType": "update_user", "UserID": fmt.Sprintf("u%d", i), "Department": "1"})
		}
		m, _ := w.fake.Member("lisi")
		m.Departments, m.MainDepartment, m.Status = []int64{2}, 2, wecomtest.Disabled
		w.fake.AddMember(m)
		w.await()
		assert.Zero(t, time.Since(began))
		assert.True(t, in(lisi))
		time.Sleep(2 * time.Minute)
		assert.False(t, in(lisi))
		assert.True(t, in(wangwu))
		assert.Regexp(t, "level=WARN .*could not be looked up", w.logs.String())
	})
}

// F33: what waits for a look-up is bounded, and nobody waits twice.
func TestF33_LookUpsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		update := func(i int) {
			message := fmt.Sprintf(`<xml><Event>change_contact</Event><ChangeType>update_user</ChangeType><UserID>u%d</UserID><Time>%d</Time><MsgType>event</MsgType></xml>`, i%10_100, i)
			require.Equal(t, 200, w.do(wecomtest.EventRequest(w.at, message, time.Now())).Code)
		}
		for i := range 500 {
			update(0)
			update(10_100 * (i + 1))
		}
		time.Sleep(time.Minute)
		assert.LessOrEqual(t, w.fake.Calls("user/get"), 2, "one under way, and one that waits")
		w.fake.ResetCalls()
		for i := range 10_099 {
			update(i + 1)
		}
		time.Sleep(time.Hour)
		assert.LessOrEqual(t, w.fake.Calls("user/get"), 10_001)
		assert.Contains(t, w.logs.String(), "some were not looked up")
	})
}

// A countingStore counts commits.
type countingStore struct {
	*memstore.MemStore
	n atomic.Int64
}

func (s *countingStore) Commit(key string, row []byte, expires time.Time) error {
	s.n.Add(1)
	return s.MemStore.Commit(key, row, expires)
}

// F33: a logger that panics when an announcement fails does not end the program either.
func TestF33_PanicsWhileAnnouncing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brokenStore{MemStore: memstore.NewWithCleanupInterval(0)}
		store.down.Store(true)
		b := &broken{Handler: slog.NewTextHandler(io.Discard, nil)}
		w := newWorld(t, func(o *wecom.Options, eo *events.Options) { o.SessionStore, eo.Logger = store, slog.New(b) })
		b.log.Store(true)
		require.Equal(t, 200, w.do(wecomtest.EventRequest(w.at, `<xml><Event>change_contact</Event><ChangeType>update_party</ChangeType><Id>1</Id><MsgType>event</MsgType></xml>`, time.Now())).Code)
		time.Sleep(time.Minute)
	})
}

// A deadlineRecorder remembers the deadline for reading, as a server's ResponseWriter does.
type deadlineRecorder struct {
	*httptest.ResponseRecorder
	read time.Time
}

func (w *deadlineRecorder) SetReadDeadline(t time.Time) error { w.read = t; return nil }

// F33: a body that never arrives holds a connection for less than the 5 seconds that WeCom waits.
func TestF33_BodiesHaveADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		res := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
		w.app.ServeHTTP(res, wecomtest.EventRequest(w.at, unsubscribe, time.Now()))
		assert.Equal(t, 200, res.Code)
		assert.Equal(t, 4*time.Second, time.Until(res.read))
	})
}

// F33: a reorganisation is announced to the other replicas once a second at most.
func TestF33_AnnouncementsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &countingStore{MemStore: memstore.NewWithCleanupInterval(0)}
		w := newWorld(t, func(o *wecom.Options, _ *events.Options) { o.SessionStore = store })
		for i := range 100 {
			message := fmt.Sprintf(`<xml><Event>change_contact</Event><ChangeType>update_party</ChangeType><Id>%d</Id><MsgType>event</MsgType></xml>`, i)
			require.Equal(t, 200, w.do(wecomtest.EventRequest(w.at, message, time.Now())).Code)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		assert.LessOrEqual(t, store.n.Load(), int64(2*11), "two rows each")
		assert.GreaterOrEqual(t, store.n.Load(), int64(2*9))
	})
}
