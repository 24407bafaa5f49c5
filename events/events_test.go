package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
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
	"github.com/wecomauth/wecom/internal/logtest"
	"github.com/wecomauth/wecom/wecomtest"
)

const (
	site   = "https://app.example.com"
	token  = "Tok3nForTests"
	aesKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
)

// A world is a fake WeCom, an application with a middleware, and a receiver of its events.
type world struct {
	*testing.T
	fake *wecomtest.Fake
	auth *wecom.Middleware
	app  http.Handler
	logs *logtest.Buffer
	at   wecomtest.EventReceiver
}

func newWorld(t *testing.T, change ...func(*wecom.Options, *events.Options)) *world {
	t.Helper()
	w := &world{T: t, fake: wecomtest.New(), logs: &logtest.Buffer{}}
	o := w.fake.Options(site + "/wecom/callback")
	o.Logger = slog.New(slog.NewTextHandler(w.logs, nil))
	eo := events.Options{Token: wecom.NewSecret(token), EncodingAESKey: wecom.NewSecret(aesKey), Logger: o.Logger}
	for _, f := range change {
		f(&o, &eo)
	}
	auth, err := wecom.New(o)
	require.NoError(t, err)
	eo.Middlewares = append(eo.Middlewares, auth)
	receiver, err := events.New(eo)
	require.NoError(t, err)
	clear(eo.Middlewares) // New has copied them
	clear(eo.ReceiveIDs)
	mux := http.NewServeMux()
	mux.Handle("/wecom/events", receiver)
	mux.Handle("/", auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		fmt.Fprint(w, id.UserID)
	})))
	w.auth, w.app = auth, mux
	w.at = wecomtest.EventReceiver{
		CorpID: w.fake.CorpID(), AgentID: w.fake.AgentID(), URL: site + "/wecom/events", Handler: w.app, Token: token, EncodingAESKey: aesKey,
	}
	return w
}

// contactSync is the receiver of the same program for contact sync.
func (w *world) contactSync() wecomtest.EventReceiver {
	r := w.at
	r.AgentID = ""
	return r
}

func (w *world) save(receivers ...wecomtest.EventReceiver) {
	w.Helper()
	for _, r := range receivers {
		require.NoError(w, w.fake.SaveEventReceiver(r))
	}
}

func (w *world) await() {
	w.Helper()
	require.NoError(w, w.fake.AwaitEvents(w.Context()))
}

func (w *world) signIn(user string) *wecomtest.Browser {
	w.Helper()
	b := w.fake.Browser(site, w.app).SignInAs(user)
	require.Equal(w, user, b.Get("/").Body)
	return b
}

// in says whether the browser is still signed in, without signing in again.
func in(b *wecomtest.Browser) bool { return b.GetNoFollow("/").Status == 200 }

func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	res := httptest.NewRecorder()
	w.app.ServeHTTP(res, r)
	return res
}

// until lets a bubble's clock run to that time.
func until(t time.Time) { time.Sleep(time.Until(t)) }

func TestVectors(t *testing.T) {
	var vectors []struct {
		Name, Token, EncodingAESKey, ReceiveID, Timestamp, Nonce, Plain, Encrypt, MsgSignature, Refuse string
	}
	file, err := os.ReadFile("../internal/msgcrypt/testdata/vectors.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(file, &vectors))
	require.Len(t, vectors, 40)
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seconds int64
				_, err := fmt.Sscan(v.Timestamp, &seconds)
				require.NoError(t, err)
				until(time.Unix(seconds, 0))
				got := make(chan events.Event, 1)
				receiver, err := events.New(events.Options{
					Token: wecom.NewSecret(v.Token), EncodingAESKey: wecom.NewSecret(v.EncodingAESKey), ReceiveIDs: []string{v.ReceiveID},
					OnEvent: func(_ context.Context, ev events.Event) { got <- ev },
				})
				require.NoError(t, err)
				q := url.Values{"msg_signature": {v.MsgSignature}, "timestamp": {v.Timestamp}, "nonce": {v.Nonce}}
				res := httptest.NewRecorder()
				verification := !strings.HasPrefix(v.Plain, "<") && !strings.HasPrefix(v.Plain, "{") && v.Refuse == ""
				if verification {
					q.Set("echostr", v.Encrypt)
					receiver.ServeHTTP(res, httptest.NewRequest("GET", "/?"+q.Encode(), nil))
					assert.Equal(t, 200, res.Code)
					assert.Equal(t, v.Plain, res.Body.String())
					return
				}
				receiver.ServeHTTP(res, httptest.NewRequest("POST", "/?"+q.Encode(), strings.NewReader("<xml><Encrypt>"+v.Encrypt+"</Encrypt></xml>")))
				if v.Refuse != "" {
					assert.Equal(t, 403, res.Code)
					assert.Empty(t, res.Body.String())
					return
				}
				assert.Equal(t, 200, res.Code)
				ev := <-got
				assert.Equal(t, v.Plain, string(ev.Raw))
				assert.Equal(t, v.ReceiveID, ev.ReceiveID)
				time.Sleep(time.Second) // goroutines end
			})
		})
	}
}

func TestEvents(t *testing.T) {
	corp := wecomtest.New().CorpID()
	for _, tt := range []struct {
		desc    string
		message string
		want    events.Event
	}{
		{"an app's", `<xml><AgentID>7</AgentID><Event> <![CDATA[unsubscribe]]></Event><FromUserName>lisi</FromUserName><MsgType>event</MsgType><CreateTime>1760000000</CreateTime></xml>`,
			events.Event{Kind: events.Unsubscribe, Name: "unsubscribe", AgentID: "7", UserID: "lisi"}},
		{"JSON", `{"AgentID":7,"Event":"subscribe","FromUserName":"lisi","MsgType":"event","CreateTime":1760000000}`,
			events.Event{Kind: events.Subscribe, Name: "subscribe", AgentID: "7", UserID: "lisi"}},
		{"a rename", `<xml><Event>change_contact</Event><ChangeType>update_user</ChangeType><UserID>a</UserID><NewUserID>b</NewUserID><FromUserName>sys</FromUserName><MsgType>event</MsgType><CreateTime>1760000000</CreateTime></xml>`,
			events.Event{Kind: events.MemberUpdated, Name: "change_contact", UserID: "a", NewUserID: "b"}},
		{"a department", `<xml><Event>change_contact</Event><ChangeType>delete_party</ChangeType><Id>4</Id><FromUserName>sys</FromUserName><MsgType>event</MsgType><CreateTime>1760000000</CreateTime></xml>`,
			events.Event{Kind: events.DepartmentDeleted, Name: "change_contact"}},
		{"a suite's", `<xml><SuiteId>ww1</SuiteId><AuthCorpId>wpABC</AuthCorpId><InfoType>change_contact</InfoType><TimeStamp>1760000000</TimeStamp><ChangeType>delete_user</ChangeType><UserID>a</UserID></xml>`,
			events.Event{Kind: events.MemberDeleted, Name: "change_contact", CorpID: "wpABC", UserID: "a"}},
		{"WeCom's own addresses", `<xml><Event>security</Event><ChangeType>change_domain_ip</ChangeType><FromUserName>sys</FromUserName><MsgType>event</MsgType><CreateTime>1760000000</CreateTime></xml>`,
			events.Event{Kind: events.AddressesChanged, Name: "security"}},
		{"what somebody wrote to the app", `<xml><MsgType>text</MsgType><Content>unsubscribe</Content><FromUserName>lisi</FromUserName><AgentID>7</AgentID><CreateTime>1760000000</CreateTime></xml>`,
			events.Event{Name: "text", AgentID: "7", UserID: "lisi"}},
		{"a message that calls itself an event", `<xml><MsgType>text</MsgType><Event>unsubscribe</Event><FromUserName>lisi</FromUserName><CreateTime>1760000000</CreateTime></xml>`,
			events.Event{Name: "unsubscribe", UserID: "lisi"}},
		{"an element in one of the same name", `<xml><MsgType>event</MsgType><Event>x</Event><FromUserName><FromUserName>lisi</FromUserName></FromUserName><CreateTime>1760000000</CreateTime></xml>`,
			events.Event{Name: "x"}},
		{"an unknown one, with elements in elements", `<xml><MsgType>event</MsgType><Event>new_thing</Event><List><UserID>x</UserID></List><List><UserID>y</UserID></List><FromUserName>lisi</FromUserName><CreateTime>1760000000</CreateTime></xml>`,
			events.Event{Name: "new_thing", UserID: "lisi"}},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			got := make(chan events.Event, 1)
			w := newWorld(t, func(_ *wecom.Options, o *events.Options) {
				o.OnEvent = func(_ context.Context, ev events.Event) { got <- ev }
			})
			res := w.do(wecomtest.EventRequest(w.at, tt.message, time.Now()))
			require.Equal(t, 200, res.Code)
			if strings.Contains(tt.message, "<InfoType>") {
				assert.Equal(t, "success", res.Body.String())
			} else {
				assert.Empty(t, res.Body.String())
			}
			ev := <-got
			assert.Equal(t, tt.message, string(ev.Raw))
			assert.NotEmpty(t, ev.Fields)
			ev.Raw, ev.Fields = nil, nil
			if tt.want.CorpID == "" {
				tt.want.CorpID = corp
			}
			tt.want.ReceiveID, tt.want.Time = corp, time.Unix(1760000000, 0)
			assert.Equal(t, tt.want, ev)
		})
	}
}

// What happens to a member in the admin console ends their sessions, and nobody else's.
func TestSessionsEnd(t *testing.T) {
	active := func(o *wecom.Options, _ *events.Options) { o.Authorize = allow.Active() }
	for _, tt := range []struct {
		desc    string
		contact bool // events come from contact sync alone
		do      func(*wecomtest.Fake)
		stays   bool
	}{
		{"disabled", false, func(f *wecomtest.Fake) { f.DisableMember("wangwu") }, false},
		{"left", false, func(f *wecomtest.Fake) { f.RemoveMember("wangwu") }, false},
		{"taken out of the visible range", false, func(f *wecomtest.Fake) { f.SetVisible(nil, []int64{3}, nil) }, false},
		{"department deleted", false, func(f *wecomtest.Fake) { f.RemoveDepartment(4) }, false},
		{"left, told by contact sync", true, func(f *wecomtest.Fake) { f.RemoveMember("WangWu") }, false},
		{"renamed, told by contact sync", true, func(f *wecomtest.Fake) { f.RenameMember("wangwu", "wang.wu") }, false},
		{"moved out of sight, told by contact sync", true, func(f *wecomtest.Fake) {
			m, _ := f.Member("wangwu")
			m.Departments, m.MainDepartment = []int64{5}, 5
			f.AddMember(m)
		}, false},
		{"moved within sight, told by contact sync", true, func(f *wecomtest.Fake) {
			m, _ := f.Member("wangwu")
			m.Departments, m.MainDepartment = []int64{2}, 2
			f.AddMember(m)
		}, true},
		{"resigned, told by contact sync", true, func(f *wecomtest.Fake) {
			f.Always("user/get", wecomtest.Fault{Body: []byte(`{"errcode":0,"userid":"wangwu","status":5}`)})
			m, _ := f.Member("wangwu")
			m.Departments, m.MainDepartment = []int64{2}, 2
			f.AddMember(m)
		}, false},
		{"changed while WeCom refuses to look them up", true, func(f *wecomtest.Fake) {
			f.Always("user/get", wecomtest.Fault{ErrCode: 48002})
			m, _ := f.Member("wangwu")
			m.Departments, m.MainDepartment = []int64{2}, 2
			f.AddMember(m)
		}, true},
		{"somebody else left", false, func(f *wecomtest.Fake) { f.RemoveMember("zhangsan") }, true},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, active)
				if tt.contact {
					w.save(w.contactSync())
				} else {
					w.save(w.at)
				}
				wangwu, lisi := w.signIn("wangwu"), w.signIn("lisi")
				tt.do(w.fake)
				w.await()
				synctest.Wait()
				assert.Equal(t, tt.stays, in(wangwu))
				assert.True(t, in(lisi), "somebody else")
				time.Sleep(time.Minute) // goroutines end
			})
		})
	}
}

// An event of one app says nothing about another, and one of another corp nothing at all.
func TestOtherApps(t *testing.T) {
	const known = "wweeeeeeeeeeeeeeee" // may speak, and is another corp
	w := newWorld(t, func(_ *wecom.Options, o *events.Options) { o.ReceiveIDs = append(make([]string, 0, 8), known) })
	zhangsan := w.signIn("zhangsan")
	unsubscribe := func(r wecomtest.EventReceiver, agent string) int {
		message := fmt.Sprintf(`<xml><AgentID>%s</AgentID><Event>unsubscribe</Event><FromUserName>zhangsan</FromUserName><MsgType>event</MsgType></xml>`, agent)
		return w.do(wecomtest.EventRequest(r, message, time.Now())).Code
	}
	assert.Equal(t, 200, unsubscribe(w.at, "1000003"))
	assert.True(t, in(zhangsan))
	other := w.at
	other.CorpID = "wwffffffffffffffff"
	assert.Equal(t, 403, unsubscribe(other, w.at.AgentID))
	other.CorpID = known
	assert.Equal(t, 200, unsubscribe(other, w.at.AgentID))
	assert.True(t, in(zhangsan))
	assert.Equal(t, 200, unsubscribe(w.at, w.at.AgentID))
	assert.False(t, in(zhangsan))
}

// A member of a linked corp is named with that corp's id.
func TestLinkedCorp(t *testing.T) {
	w := newWorld(t, func(o *wecom.Options, _ *events.Options) { o.AllowLinkedCorps = true })
	const zhouba = "wwfedcba9876543210/zhouba"
	b := w.fake.Browser(site, w.app).SignInAs(zhouba)
	require.Equal(t, 200, b.Get("/").Status)
	require.Equal(t, 200, w.do(wecomtest.EventRequest(w.at, strings.Replace(unsubscribe, "zhangsan", zhouba, 1), time.Now())).Code)
	assert.False(t, in(b))
}

// T38: what WeCom did not send changes nothing, says nothing, and is one line in the log.
func TestT38_HostileRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		zhangsan := w.signIn("zhangsan")
		hostile := wecomtest.HostileEventRequests(w.at, time.Now())
		require.Len(t, hostile, 18)
		good := func() *http.Request {
			return wecomtest.EventRequest(w.at, `<xml><AgentID>1000002</AgentID><Event>unsubscribe</Event><FromUserName>zhangsan</FromUserName><MsgType>event</MsgType></xml>`, time.Now())
		}
		query := func(change func(url.Values)) *http.Request {
			r := good()
			q := r.URL.Query()
			change(q)
			r.URL.RawQuery = q.Encode()
			return r
		}
		hostile["no signature"] = query(func(q url.Values) { q.Del("msg_signature") })
		hostile["two signatures"] = query(func(q url.Values) { q.Add("msg_signature", q.Get("msg_signature")) })
		hostile["two timestamps"] = query(func(q url.Values) { q.Add("timestamp", "1") })
		hostile["two nonces"] = query(func(q url.Values) { q.Add("nonce", "1") })
		hostile["another nonce"] = query(func(q url.Values) { q.Set("nonce", "1") })
		hostile["a long query"] = query(func(q url.Values) { q.Set("x", strings.Repeat("x", 10_000)) })
		hostile["a malformed query"] = good()
		hostile["a malformed query"].URL.RawQuery += "&%zz"
		hostile["no body"] = good()
		hostile["no body"].Body = http.NoBody
		hostile["a long body"] = good()
		hostile["a long body"].Body = io.NopCloser(io.MultiReader(hostile["a long body"].Body, strings.NewReader(strings.Repeat(" ", 256<<10))))
		hostile["a verification with an event's ciphertext and no echostr"] = func() *http.Request {
			r := good()
			r.Method = "GET"
			return r
		}()
		before := strings.Count(w.logs.String(), "\n")
		for name, r := range hostile {
			res := w.do(r)
			assert.Contains(t, []int{400, 403}, res.Code, name)
			assert.Empty(t, res.Body.String(), name)
			assert.True(t, in(zhangsan), name)
		}
		lines := strings.Split(strings.TrimSpace(w.logs.String()), "\n")[before:]
		assert.Len(t, lines, 1, "one line a minute")
		time.Sleep(time.Minute)
		w.do(hostile["no signature"])
		assert.Contains(t, w.logs.String(), fmt.Sprintf("since_last_line=%d", len(hostile)))
		for _, secret := range []string{token, aesKey, "zhangsan"} {
			assert.NotContains(t, strings.Join(strings.Split(w.logs.String(), "\n")[before:], "\n"), secret)
		}
		assert.Equal(t, 200, w.do(good()).Code)
		assert.False(t, in(zhangsan))
	})
}

// A receiver behind the sign-in is never reached: the log says so, since WeCom's console does not.
func TestBehindTheSignIn(t *testing.T) {
	w := newWorld(t)
	w.at.Handler = w.auth.Handler(w.app)
	assert.ErrorContains(t, w.fake.SaveEventReceiver(w.at), "401")
	assert.Contains(t, w.logs.String(), "mount it beside Handler")
}

func TestMethods(t *testing.T) {
	w := newWorld(t)
	for _, method := range []string{"HEAD", "PUT", "DELETE", "OPTIONS"} {
		res := w.do(httptest.NewRequest(method, "/wecom/events", nil))
		assert.Equal(t, 405, res.Code, method)
		assert.Equal(t, "GET, POST", res.Header().Get("Allow"))
		assert.Equal(t, "no-store", res.Header().Get("Cache-Control"))
		assert.Equal(t, "nosniff", res.Header().Get("X-Content-Type-Options"), "a verification's answer is what was sent")
	}
}

// A captured event ends no later session: not while it is fresh, and not afterwards.
func TestT38_Replay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn("zhangsan")
		message := `<xml><AgentID>1000002</AgentID><Event>unsubscribe</Event><FromUserName>zhangsan</FromUserName><MsgType>event</MsgType></xml>`
		began := time.Now()
		post := func(at time.Time) int { return w.do(wecomtest.EventRequest(w.at, message, at)).Code }
		require.Equal(t, 200, post(began))
		time.Sleep(time.Second)
		again := w.signIn("zhangsan")
		assert.Equal(t, 200, post(began), "a repeat of WeCom's is answered like the first")
		assert.Equal(t, 200, post(time.Now()), "encrypted again, too")
		assert.True(t, in(again))
		time.Sleep(11 * time.Minute)
		assert.Equal(t, 403, post(began))
		assert.True(t, in(again))
		time.Sleep(time.Hour)
		assert.Equal(t, 403, post(began))
		assert.True(t, in(again))
	})
}

// While the console's values change, both pairs are accepted, and mixtures of them.
func TestRotation(t *testing.T) {
	const newToken, newKey = "AnotherToken", "ABCDEFGhijklmnopqrstuvwxyz0123456789abcdefg"
	w := newWorld(t, func(_ *wecom.Options, o *events.Options) {
		o.EarlierToken, o.EarlierEncodingAESKey = o.Token, o.EncodingAESKey
		o.Token, o.EncodingAESKey = wecom.NewSecret(newToken), wecom.NewSecret(newKey)
	})
	for _, at := range [][2]string{{token, aesKey}, {newToken, newKey}, {token, newKey}, {newToken, aesKey}} {
		r := w.at
		r.Token, r.EncodingAESKey = at[0], at[1]
		assert.NoError(t, w.fake.SaveEventReceiver(r), at)
		assert.Contains(t, w.logs.String(), "WeCom verified the URL")
		assert.Equal(t, 200, w.do(wecomtest.EventRequest(r, `<xml><Event>x</Event></xml>`, time.Now())).Code, at)
	}
	r := w.at
	r.Token = "a third"
	assert.Error(t, w.fake.SaveEventReceiver(r))
}

// A brokenStore refuses writes while it is down.
type brokenStore struct {
	*memstore.MemStore
	down atomic.Bool
}

func (s *brokenStore) Commit(key string, row []byte, expires time.Time) error {
	if s.down.Load() {
		return errors.New("store is down")
	}
	return s.MemStore.Commit(key, row, expires)
}

// A revocation that could not be stored is asked for again, and then other replicas learn of it.
func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brokenStore{MemStore: memstore.NewWithCleanupInterval(0)}
		w := newWorld(t, func(o *wecom.Options, _ *events.Options) { o.SessionStore = store })
		o := w.fake.Options(site + "/wecom/callback")
		o.SessionStore = store
		replica, err := wecom.New(o)
		require.NoError(t, err)
		app := replica.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
		w.save(w.at)
		zhangsan := w.fake.Browser(site, app).SignInAs("zhangsan")
		require.Equal(t, 200, zhangsan.Get("/").Status)

		message := `<xml><AgentID>1000002</AgentID><Event>unsubscribe</Event><FromUserName>zhangsan</FromUserName><MsgType>event</MsgType></xml>`
		store.down.Store(true)
		assert.Equal(t, 500, w.do(wecomtest.EventRequest(w.at, message, time.Now())).Code)
		assert.Equal(t, 200, w.do(wecomtest.EventRequest(w.at, `<xml><Event>change_contact</Event><ChangeType>update_party</ChangeType><Id>1</Id></xml>`, time.Now())).Code)
		assert.Equal(t, 200, w.do(wecomtest.EventRequest(w.at, `<xml><Event>change_contact</Event><ChangeType>update_user</ChangeType><UserID>gone</UserID></xml>`, time.Now())).Code)
		time.Sleep(2 * time.Second)
		assert.True(t, in(zhangsan))
		assert.Regexp(t, "level=WARN .*their sessions not ended", w.logs.String())
		assert.Regexp(t, "level=ERROR .*the session store did not take a revocation", w.logs.String())
		assert.Regexp(t, "level=WARN .*other processes do not learn", w.logs.String())
		store.down.Store(false)
		assert.Equal(t, 200, w.do(wecomtest.EventRequest(w.at, message, time.Now())).Code, "the repeat")
		time.Sleep(2 * time.Second)
		assert.False(t, in(zhangsan))
	})
}

// A nowhere is a provider of the corp that has no client.
type nowhere struct{ app wecom.App }

func (n nowhere) App() wecom.App                           { return n.app }
func (nowhere) AuthorizeURL(wecom.AuthorizeRequest) string { return "" }
func (nowhere) Identify(context.Context, string) (wecom.Identity, error) {
	return wecom.Identity{}, wecom.ErrStartOver
}

// An event that names nobody, or the new id of somebody, leads to no look-up.
func TestNobodyToLookUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, message := range []string{
			`<xml><Event>unsubscribe</Event><MsgType>event</MsgType></xml>`,
			`<xml><Event>change_contact</Event><ChangeType>update_user</ChangeType></xml>`,
			`<xml><Event>change_contact</Event><ChangeType>update_user</ChangeType><UserID>lisi</UserID><NewUserID>li.si</NewUserID></xml>`,
		} {
			assert.Equal(t, 200, w.do(wecomtest.EventRequest(w.at, message, time.Now())).Code, message)
		}
		time.Sleep(time.Minute)
		assert.Zero(t, w.fake.Calls("user/get"))
		assert.NotContains(t, w.logs.String(), "level=WARN")
	})
}

// A middleware without a client looks nobody up, and that is no fault.
func TestWithoutAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *wecom.Options, eo *events.Options) {
			m, err := wecom.New(wecom.Options{CallbackURL: site + "/other/callback", StateKey: wecom.NewSecret(strings.Repeat("k", 32)),
				Provider: nowhere{wecom.App{Provider: "wecom", CorpID: o.CorpID, AppID: o.AgentID}}})
			require.NoError(t, err)
			eo.Middlewares = append(eo.Middlewares, m)
		})
		message := `<xml><AgentID>1000002</AgentID><Event>change_contact</Event><ChangeType>update_user</ChangeType><UserID>lisi</UserID></xml>`
		require.Equal(t, 200, w.do(wecomtest.EventRequest(w.at, message, time.Now())).Code)
		time.Sleep(time.Minute)
		assert.Equal(t, 1, w.fake.Calls("user/get"))
		assert.NotContains(t, w.logs.String(), "level=WARN")
	})
}

// F33: whatever happens to events on the way, nobody is wrongly out or in.
func TestF33_Faults(t *testing.T) {
	for _, tt := range []struct {
		desc   string
		faults wecomtest.EventFaults
		lost   bool
	}{
		{"none", wecomtest.EventFaults{}, false},
		{"lost", wecomtest.EventFaults{Lose: true}, true},
		{"doubled", wecomtest.EventFaults{Duplicate: true}, false},
		{"reordered", wecomtest.EventFaults{Reorder: true, Delay: time.Millisecond}, false},
		{"late", wecomtest.EventFaults{Delay: time.Hour}, false},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(o *wecom.Options, _ *events.Options) {
					o.Authorize, o.Recheck, o.SessionLifetime = allow.Active(), 3*time.Hour, 48*time.Hour
				})
				w.save(w.at, w.contactSync())
				w.fake.ConfigureEvents(func(f *wecomtest.EventFaults) { *f = tt.faults })
				wangwu, lisi := w.signIn("wangwu"), w.signIn("lisi")
				w.fake.DisableMember("wangwu")
				w.fake.EnableMember("wangwu")
				w.fake.RemoveMember("wangwu")
				w.await()
				synctest.Wait()
				assert.Equal(t, tt.lost, in(wangwu))
				assert.True(t, in(lisi))
				time.Sleep(4 * time.Hour)
				in(wangwu) // is looked up again behind this request
				synctest.Wait()
				assert.False(t, in(wangwu), "Recheck stays on beside the events")
				assert.True(t, in(lisi))
			})
		})
	}
}

// A tag or a department that changed counts at the next request, also on other replicas.
func TestDirectoryChanges(t *testing.T) {
	for _, tt := range []struct {
		desc      string
		authorize wecom.Authorizer
		out, back func(*wecomtest.Fake)
	}{
		{"a tag", allow.Tags(1),
			func(f *wecomtest.Fake) { f.AddTag(wecomtest.Tag{ID: 1, Name: "值班"}) },
			func(f *wecomtest.Fake) { f.AddTag(wecomtest.Tag{ID: 1, Name: "值班", Users: []string{"wangwu"}}) }},
		{"a department that moved", allow.Departments(2),
			func(f *wecomtest.Fake) { f.AddDepartment(wecomtest.Department{ID: 4, Name: "平台组", ParentID: 3}) },
			func(f *wecomtest.Fake) { f.AddDepartment(wecomtest.Department{ID: 4, Name: "平台组", ParentID: 2}) }},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memstore.NewWithCleanupInterval(0)
				shared := func(o *wecom.Options, _ *events.Options) { o.SessionStore = store }
				w := newWorld(t, shared)
				o := w.fake.Options(site + "/wecom/callback")
				o.SessionStore = store
				replica, err := wecom.New(o)
				require.NoError(t, err)
				page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})
				apps := []http.Handler{w.auth.Require(tt.authorize)(page), replica.Require(tt.authorize)(page)}
				w.save(w.contactSync())
				w.signIn("wangwu")
				status := func() []int {
					var list []int
					for _, app := range apps {
						b := w.fake.Browser(site, app).SignInAs("wangwu")
						list = append(list, b.Get("/").Status)
					}
					return list
				}
				require.Equal(t, []int{200, 200}, status())
				time.Sleep(time.Minute)
				tt.out(w.fake)
				w.await()
				time.Sleep(2 * time.Second)
				assert.Equal(t, []int{403, 403}, status())
				time.Sleep(11 * time.Second) // a no counts for ten
				tt.back(w.fake)
				w.await()
				time.Sleep(2 * time.Second)
				assert.Equal(t, []int{200, 200}, status())
			})
		})
	}
}

// The program's hook sees each event once, in order, and delays no answer, however slow or broken it is.
func TestHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		w := newWorld(t, func(_ *wecom.Options, o *events.Options) {
			o.OnEvent = func(_ context.Context, ev events.Event) {
				time.Sleep(time.Minute)
				mu.Lock()
				got = append(got, ev.Name)
				mu.Unlock()
				switch ev.Name {
				case "a":
					panic("a secret")
				case "b":
					runtime.Goexit()
				}
			}
		})
		began := time.Now()
		for _, name := range []string{"a", "a", "b", "c"} {
			require.Equal(t, 200, w.do(wecomtest.EventRequest(w.at, "<xml><MsgType>event</MsgType><Event>"+name+"</Event></xml>", time.Now())).Code)
		}
		assert.Zero(t, time.Since(began))
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Equal(t, []string{"a", "b", "c"}, got)
		assert.Contains(t, w.logs.String(), "OnEvent panicked")
		assert.NotContains(t, w.logs.String(), "a secret")

		for i := range 1500 {
			w.do(wecomtest.EventRequest(w.at, fmt.Sprintf("<xml><MsgType>event</MsgType><Event>e%d</Event></xml>", i), time.Now()))
		}
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		assert.Len(t, got, 3+1001, "one under way and 1,000 that wait")
		assert.Contains(t, w.logs.String(), "events were dropped")
	})
}

// F33: a reorganisation updates a thousand members and moves a thousand departments.
func TestF33_ThousandAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.save(w.contactSync())
		zhangsan := w.signIn("zhangsan")
		w.fake.ResetCalls()
		began := time.Now()
		for i := range 1000 {
			w.fake.PostEvent("", map[string]string{"Event": "change_contact", "ChangeType": "update_party", "Id": fmt.Sprint(i), "ParentId": "1"})
			w.fake.PostEvent("", map[string]string{"Event": "change_contact", "ChangeType": "update_user", "UserID": fmt.Sprintf("u%d", i), "Department": "1"})
		}
		w.await()
		assert.Zero(t, time.Since(began), "no answer waits for what the event leads to")
		assert.Less(t, w.fake.TotalCalls(), 3)
		time.Sleep(time.Second)
		assert.LessOrEqual(t, w.fake.TotalCalls(), 22, "20 look-ups a second")
		assert.True(t, in(zhangsan))
		time.Sleep(time.Minute)
		assert.LessOrEqual(t, w.fake.TotalCalls(), 1001)
		for _, d := range w.fake.Deliveries() {
			require.Equal(t, 200, d.Status)
			require.Equal(t, 1, d.Tries)
		}
	})
}

func TestNew(t *testing.T) {
	secret := wecom.NewSecret
	for _, tt := range []struct {
		desc string
		o    events.Options
		want []string
	}{
		{"nothing", events.Options{}, []string{"Token: want the letters", "EncodingAESKey: want the 43", "whose events"}},
		{"half of an earlier pair", events.Options{Token: secret(token), EncodingAESKey: secret(aesKey), ReceiveIDs: []string{"ww1"}, EarlierToken: secret("x")}, []string{"EarlierEncodingAESKey"}},
		{"a token with a blank", events.Options{Token: secret("a token"), EncodingAESKey: secret(aesKey), ReceiveIDs: []string{"ww1"}}, []string{"Token: want"}},
		{"a token of 33", events.Options{Token: secret(strings.Repeat("t", 33)), EncodingAESKey: secret(aesKey), ReceiveIDs: []string{"ww1"}}, []string{"Token: want"}},
		{"a key of 42", events.Options{Token: secret(token), EncodingAESKey: secret(aesKey[1:]), ReceiveIDs: []string{"ww1"}}, []string{"EncodingAESKey"}},
		{"a middleware that is none", events.Options{Token: secret(token), EncodingAESKey: secret(aesKey), Middlewares: []*wecom.Middleware{nil, {}}}, []string{"Middlewares[0]", "Middlewares[1]"}},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			receiver, err := events.New(tt.o)
			assert.Nil(t, receiver)
			for _, want := range tt.want {
				assert.ErrorContains(t, err, want)
			}
			assert.NotContains(t, err.Error(), token)
			assert.NotContains(t, err.Error(), aesKey[1:])
		})
	}
	_, err := events.New(events.Options{Token: secret(token), EncodingAESKey: secret(aesKey), ReceiveIDs: []string{""}})
	assert.NoError(t, err, "an empty receiveid is what third-party apps of a person have")

	res := httptest.NewRecorder()
	new(events.Receiver).ServeHTTP(res, wecomtest.EventRequest(wecomtest.EventReceiver{CorpID: "ww1", URL: "/", Token: token, EncodingAESKey: aesKey}, "<xml></xml>", time.Now()))
	assert.Equal(t, 403, res.Code, "the zero Receiver refuses")
}

func FuzzReceiver(f *testing.F) {
	receiver, err := events.New(events.Options{
		Token: wecom.NewSecret(token), EncodingAESKey: wecom.NewSecret(aesKey), ReceiveIDs: []string{"ww1"}, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(f, err)
	at := wecomtest.EventReceiver{CorpID: "ww1", URL: "/", Token: token, EncodingAESKey: aesKey}
	for _, message := range []string{"<xml><Event>unsubscribe</Event><MsgType>event</MsgType></xml>", `{"Event":"x"}`, "<xml", "{", "<a><b><c/></b></a>"} {
		f.Add(message, false)
		f.Add(message, true)
	}
	f.Fuzz(func(t *testing.T, message string, envelope bool) {
		r := wecomtest.EventRequest(at, message, time.Now())
		if envelope { // the text stands outside the encryption
			r = httptest.NewRequest("POST", r.URL.String(), strings.NewReader(message))
		}
		res := httptest.NewRecorder()
		receiver.ServeHTTP(res, r)
		if envelope {
			assert.Contains(t, []int{400, 403}, res.Code)
		} else {
			assert.Contains(t, []int{200, 403}, res.Code)
		}
		assert.Contains(t, []string{"", "success"}, res.Body.String())
	})
}
