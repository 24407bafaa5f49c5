package wecom_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// A testStore is scs's memory store, which counts its calls and may be told to fail.
type testStore struct {
	*memstore.MemStore
	find, commit, del atomic.Int64
	before            atomic.Value // a storeHook: each call meets it
}

// A storeHook runs before a call of Find, Commit or Delete, which its error ends.
type storeHook func(method, key string, row []byte) error

func newTestStore() *testStore {
	return &testStore{MemStore: memstore.NewWithCleanupInterval(0)}
}

func (s *testStore) set(before storeHook) { s.before.Store(before) }

func (s *testStore) meet(calls *atomic.Int64, method, key string, row []byte) error {
	calls.Add(1)
	if before, _ := s.before.Load().(storeHook); before != nil {
		return before(method, key, row)
	}
	return nil
}

// failing is the hook of a store one of whose methods fails.
func failing(method string, err error) storeHook {
	return func(m, _ string, _ []byte) error {
		if m == method {
			return err
		}
		return nil
	}
}

// hanging is the hook of a store that answers when ch is closed.
func hanging(ch <-chan struct{}) storeHook {
	return func(string, string, []byte) error { <-ch; return nil }
}

func (s *testStore) Find(key string) ([]byte, bool, error) {
	if err := s.meet(&s.find, "Find", key, nil); err != nil {
		return nil, false, err
	}
	return s.MemStore.Find(key)
}

func (s *testStore) Commit(key string, row []byte, expires time.Time) error {
	if err := s.meet(&s.commit, "Commit", key, row); err != nil {
		return err
	}
	return s.MemStore.Commit(key, row, expires)
}

func (s *testStore) Delete(key string) error {
	if err := s.meet(&s.del, "Delete", key, nil); err != nil {
		return err
	}
	return s.MemStore.Delete(key)
}

func (s *testStore) rows() map[string][]byte {
	all, _ := s.All()
	return all
}

// carriers are the two ways in which a browser names its row, and how the
// application wraps the middleware in each.
var carriers = map[string]func(o *wecom.Options, store scs.Store){
	"own cookie": func(o *wecom.Options, store scs.Store) { o.SessionStore = store },
	"scs session": func(o *wecom.Options, store scs.Store) {
		o.Sessions = soundManager()
		o.Sessions.Store = store
	},
}

// eachCarrier runs a test with both carriers and, for the scs session, also with the application loading it outside.
func eachCarrier(t *testing.T, test func(t *testing.T, w *world, store *testStore, manager *scs.SessionManager), change ...func(*wecom.Options)) {
	for _, name := range slices.Sorted(maps.Keys(carriers)) {
		for _, outside := range []bool{false, true} {
			if name == "own cookie" && outside {
				continue
			}
			t.Run(fmt.Sprintf("%s, loaded outside %t", name, outside), func(t *testing.T) {
				store := newTestStore()
				var manager *scs.SessionManager
				w := newWorld(t, append(change, func(o *wecom.Options) {
					carriers[name](o, store)
					manager = o.Sessions
				})...)
				if outside {
					w.app = manager.LoadAndSave(w.app)
				}
				test(t, w, store, manager)
			})
		}
	}
}

func TestSessionsOnBothCarriers(t *testing.T) {
	eachCarrier(t, func(t *testing.T, w *world, store *testStore, _ *scs.SessionManager) {
		b := w.browser()
		assert.Equal(t, `hello "zhangsan" true /reports`, b.Get("/reports").Body)
		assert.Equal(t, `hello "zhangsan" true /again`, b.Get("/again").Body)
		assert.Equal(t, "zhangsan", who(b))
		assert.Equal(t, 1, w.exchanges())

		res := b.Post("/wecom/logout")
		assert.Equal(t, 200, res.Status)
		assert.Equal(t, site+"/wecom/signed-out", res.URL)
		assert.Empty(t, who(b))
		assert.Equal(t, `hello "zhangsan" true /later`, b.Get("/later").Body, "an ordinary sign-in, not the loop breaker's page")
	})
}

// What begins like an attempt's cookie and is none is left alone.
func TestLogoutTakesItsOwnCookies(t *testing.T) {
	m := fixed(t)
	cookies := signInFixed(t, m, "zhangsan")
	name := cookies[0].Name
	r := request("POST", "/wecom/logout")
	r.Header.Set("Cookie", cookieHeader(cookies)+"; "+name+"-theme=dark; "+name+"-0123456X=y")
	var dropped []string
	for _, c := range do(m.Routes(), r).Result().Cookies() {
		dropped = append(dropped, c.Name)
	}
	assert.ElementsMatch(t, []string{name, cookies[1].Name}, dropped)
}

func TestT8_SessionFixation(t *testing.T) {
	eachCarrier(t, func(t *testing.T, w *world, store *testStore, manager *scs.SessionManager) {
		name := sessionCookie(w.signedIn("lisi"))
		planted := strings.Repeat("A", 43)
		b := w.browser()
		require.True(t, b.SetCookie("/", name+"="+planted+"; Path=/; Secure; HttpOnly"))
		require.Equal(t, 200, b.Get("/").Status)
		r := request("GET", "/")
		r.AddCookie(&http.Cookie{Name: name, Value: planted})
		assert.NotEqual(t, 200, do(w.app, r).Code, "the planted token did not become the session's")

		before := len(store.rows())
		for i := range 1000 {
			r := request("GET", "/api")
			r.AddCookie(&http.Cookie{Name: name, Value: fmt.Sprintf("%043d", i)})
			r.Header.Set("Accept", "application/json")
			require.Equal(t, 401, do(w.app, r).Code)
		}
		assert.Len(t, store.rows(), before)
	})
}

func TestT9_ChangeOfUserClearsTheApplicationsSession(t *testing.T) {
	for _, logout := range []bool{false, true} {
		t.Run(fmt.Sprintf("after a logout %t", logout), func(t *testing.T) {
			manager := soundManager()
			w := newWorld(t, func(o *wecom.Options) { o.Sessions = manager })
			app := http.NewServeMux()
			app.HandleFunc("/put", func(_ http.ResponseWriter, r *http.Request) { manager.Put(r.Context(), "cart", "3 apples") })
			app.HandleFunc("/get", func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, manager.GetString(r.Context(), "cart"))
			})
			w.app = w.auth.Handler(app)
			b := w.browser()
			b.Get("/put")
			require.Equal(t, "3 apples", b.Get("/get").Body)

			b.Get("/wecom/login?return_to=/get")
			assert.Equal(t, "3 apples", b.Get("/get").Body, "the same person keeps it")
			if logout {
				b.Post("/wecom/logout")
			}
			assert.Empty(t, b.SignInAs("lisi").Get("/wecom/login?return_to=/get").Body, "another does not get it")
		})
	}
}

func TestT10_Cookies(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	res := b.GetNoFollow("/")
	for i := 0; i < 5 && res.Status/100 == 3; i++ {
		for _, line := range res.Header["Set-Cookie"] {
			if strings.Contains(res.URL, "app.example.com") {
				assert.Regexp(t, `^__Host-wecom-[0-9a-f]{8}(-[0-9a-f]{8}|-known)?=[0-9A-Za-z_-]*; Path=/; Max-Age=[0-9]+; HttpOnly; Secure; SameSite=Lax$`, line)
			}
		}
		b.StopAt(func(*http.Request) bool { return true })
		held := b.Follow(res)
		b.StopAt(nil)
		if !held.Held {
			break
		}
		res = b.GetNoFollow(held.URL)
	}
	name := sessionCookie(b)

	t.Run("a neighbour cannot plant one", func(t *testing.T) {
		assert.False(t, b.SetCookie("https://evil.example.com/", name+"=x; Domain=example.com; Path=/; Secure"))
	})
	t.Run("a cookie that comes twice is none", func(t *testing.T) {
		mine, other := w.signedIn("zhangsan"), w.signedIn("lisi")
		for _, order := range [][2]*wecomtest.Browser{{mine, other}, {other, mine}} {
			r := request("GET", "/")
			for _, x := range order {
				for _, c := range x.Cookies("/") {
					if c.Name == name {
						r.AddCookie(c)
					}
				}
			}
			require.Len(t, r.CookiesNamed(name), 2)
			assert.NotEqual(t, 200, do(w.app, r).Code)
		}
	})
	t.Run("https on another port has the prefix", func(t *testing.T) {
		m := fixed(t, func(o *wecom.Options) { o.CallbackURL = site + ":8443/wecom/callback" })
		assert.Regexp(t, `^__Host-wecom-`, codeSession(t, m.Handler(hello()), "zhangsan").Name)
	})
	t.Run("http on loopback has no prefix", func(t *testing.T) {
		w := newWorld(t, func(o *wecom.Options) { o.CallbackURL = "http://127.0.0.1:8080/wecom/callback" })
		b := w.fake.Browser("http://127.0.0.1:8080", w.app).SignInAs("zhangsan")
		assert.Equal(t, 200, b.Get("/").Status)
		for _, c := range b.Cookies("/") {
			assert.Regexp(t, `^wecom-`, c.Name)
			assert.False(t, c.Secure)
		}
	})
}

func TestT11_LogoutIsFinal(t *testing.T) {
	for _, idle := range []time.Duration{0, time.Hour} {
		eachCarrier(t, func(t *testing.T, w *world, store *testStore, manager *scs.SessionManager) {
			entered, release := make(chan struct{}, 200), make(chan struct{})
			handler := w.auth.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					entered <- struct{}{}
					<-release
					if manager != nil && strings.HasSuffix(r.URL.RawQuery, "1") {
						manager.Put(r.Context(), "written", "while the logout happens")
					}
				}
			}))
			w.app = handler
			if manager != nil {
				w.app = manager.LoadAndSave(handler)
			}
			b := w.signedIn("zhangsan")
			stolen := b.Cookies("/")
			var wg sync.WaitGroup
			for i := range 200 {
				wg.Go(func() { b.Tab().Get(fmt.Sprintf("/slow?%d", i%2)) })
			}
			for range 200 {
				<-entered
			}
			require.Equal(t, site+"/wecom/signed-out", b.Tab().Post("/wecom/logout").URL)
			close(release)
			wg.Wait()

			for _, jar := range [][]*http.Cookie{stolen, b.Cookies("/")} {
				r := request("GET", "/api")
				r.Header.Set("Accept", "application/json")
				with(r, jar)
				assert.Equal(t, 401, do(w.app, r).Code, "B8: no resurrection, no replay")
			}
		}, func(o *wecom.Options) {
			o.IdleTimeout = idle
			if o.Sessions != nil {
				o.Sessions.IdleTimeout = idle
			}
		})
	}
}

// A link cannot sign anybody out. Below a prefix, too, it leads to a page whose button does.
func TestLinkToLogout(t *testing.T) {
	w := newWorld(t, func(o *wecom.Options) { o.CallbackURL, o.MountPath = site+"/app/wecom/callback", "/app" })
	link := request("GET", "/wecom/logout")
	link.Header.Set("Accept", "text/html")
	page := do(w.auth.Routes(), link)
	assert.Equal(t, 405, page.Code)
	assert.Equal(t, "POST", page.Header().Get("Allow"))
	assert.Contains(t, page.Body.String(), `<form method="post" action="/app/wecom/logout">`)
	assert.Contains(t, page.Header().Get("Content-Security-Policy"), "form-action 'self'")

	link.Header.Set("Accept", "application/json")
	script := do(w.auth.Routes(), link)
	assert.Equal(t, 405, script.Code)
	assert.NotContains(t, script.Body.String(), "/logout")
}

func TestT12_Logout(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		desc    string
		method  string
		headers map[string]string
		status  int
	}{
		{"a form of ours", "POST", map[string]string{"Sec-Fetch-Site": "same-origin"}, 303},
		{"typed by hand", "POST", map[string]string{"Sec-Fetch-Site": "none"}, 303},
		{"an old browser's form of ours", "POST", map[string]string{"Origin": site}, 303},
		{"a program", "POST", nil, 303},
		{"GET", "GET", nil, 405},
		{"HEAD", "HEAD", nil, 405},
		{"another site", "POST", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"a neighbour", "POST", map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		{"an old browser on another site", "POST", map[string]string{"Origin": "https://evil.example"}, 403},
		{"an old browser, opaque origin", "POST", map[string]string{"Origin": "null"}, 403},
		{"an origin that is the Host's, not CallbackURL's", "POST", map[string]string{"Origin": "https://other.example", "Host": "other.example"}, 403},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			b := w.signedIn("zhangsan")
			stolen := request("GET", "/wecom/session")
			for _, c := range b.Cookies("/") {
				stolen.AddCookie(c)
			}
			r := &http.Request{Method: tt.method, URL: mustParse(t, "/wecom/logout"), Header: http.Header{}}
			for k, v := range tt.headers {
				r.Header.Set(k, v)
			}
			res := b.Do(r)
			assert.Equal(t, tt.status, res.Status, res.Body)
			if tt.status == 303 {
				assert.Equal(t, site+"/wecom/signed-out", res.Location())
				assert.Empty(t, who(b))
				assert.Equal(t, 401, do(w.app, stolen).Code, "the session has ended in the store, too")
				w.fake.ResetCalls()
				assert.Equal(t, 200, b.Follow(res).Status)
				assert.Zero(t, w.pages(), "the landing page is public")
			} else {
				assert.Equal(t, "zhangsan", who(b))
			}
			if tt.status == 405 {
				assert.Equal(t, "POST", res.Header.Get("Allow"))
			}
		})
	}
}

func TestT24_StoreHoldsNoCookie(t *testing.T) {
	eachCarrier(t, func(t *testing.T, w *world, store *testStore, _ *scs.SessionManager) {
		b := w.signedIn("zhangsan")
		w.signedIn("lisi")
		for key, row := range store.rows() {
			assert.Len(t, key, 43, "the narrowest of scs's stores holds 43 characters")
			for _, c := range b.Cookies("/") {
				if len(c.Value) == 43 {
					assert.NotEqual(t, c.Value, key)
					assert.NotContains(t, string(row), c.Value)
				}
			}
		}
	}, func(o *wecom.Options) { o.IdleTimeout = time.Hour })
}

// What the application's session carries stands in clear in that session's row.
func TestT24_ACarriedTokenIsNoCookie(t *testing.T) {
	store, manager := newTestStore(), soundManager()
	manager.Store = store
	w := newWorld(t, func(o *wecom.Options) { o.Sessions = manager })
	var carried string
	w.app = w.auth.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for _, key := range manager.Keys(r.Context()) {
			carried, _, _ = strings.Cut(manager.GetString(r.Context(), key), ".")
		}
	}))
	w.signedIn("zhangsan")
	require.Len(t, carried, 43)

	other := newWorld(t, func(o *wecom.Options) { o.SessionStore = store })
	r := request("GET", "/api")
	r.Header.Set("Accept", "application/json")
	r.AddCookie(&http.Cookie{Name: sessionCookie(other.signedIn("lisi")), Value: carried})
	assert.Equal(t, 401, do(other.app, r).Code)
}

func TestF11_StoreDownAtLoad(t *testing.T) {
	eachCarrier(t, func(t *testing.T, w *world, store *testStore, manager *scs.SessionManager) {
		b := w.signedIn("zhangsan")
		app := w.app
		if manager != nil { // scs outside answers for itself
			app = w.auth.Handler(hello())
		}
		w.fake.ResetCalls()
		store.set(failing("Find", errors.New("the store is down")))
		for _, target := range []string{"/", "/reports", "/wecom/login", "/wecom/callback", "/wecom/session", "/wecom/signed-out"} {
			r := with(request("GET", target), b.Cookies("/"))
			res := do(app, r)
			assert.Equal(t, 503, res.Code, target)
			assert.NotEmpty(t, res.Header().Get("Retry-After"))
			assert.Empty(t, res.Header()["Set-Cookie"])
			assert.Empty(t, res.Header().Get("Location"))
		}
		assert.Zero(t, w.pages())
		store.set(nil)
		assert.Equal(t, 200, b.Get("/").Status, "the same cookie works again")
	})
}

func TestF12_StoreDownAtSave(t *testing.T) {
	eachCarrier(t, func(t *testing.T, w *world, store *testStore, _ *scs.SessionManager) {
		old := w.signedIn("lisi")
		for _, b := range []*wecomtest.Browser{w.browser(), old.SignInAs("zhangsan")} {
			before := who(b)
			callback := w.held(b, "/wecom/login?return_to=/secret")
			store.set(failing("Commit", errors.New("the store is down")))
			res := b.Follow(callback)
			assert.Equal(t, 503, res.Status)
			assert.NotEmpty(t, res.Header.Get("Retry-After"))
			assert.Empty(t, res.Header["Location"])
			assert.Empty(t, res.Header["Set-Cookie"])
			assert.NotContains(t, res.Body, "hello")
			assert.NotContains(t, res.Body, "the store is down")
			store.set(nil)
			assert.Equal(t, before, who(b), "nothing is lost")
		}
	})
}

func TestLogoutFailsWhenTheStoreDoes(t *testing.T) {
	eachCarrier(t, func(t *testing.T, w *world, store *testStore, _ *scs.SessionManager) {
		b := w.signedIn("zhangsan")
		store.set(failing("Delete", errors.New("the store is down")))
		res := b.Post("/wecom/logout")
		assert.Equal(t, 503, res.Status)
		assert.Empty(t, res.Header["Set-Cookie"])
		store.set(nil)
		assert.Equal(t, "zhangsan", who(b), "nobody believes to be signed out who is not")
	})
}

func TestF13_StoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, carrier := range carriers {
			store := newTestStore()
			w := newWorld(t, func(o *wecom.Options) { carrier(o, store) })
			b := w.signedIn("zhangsan")
			hang := make(chan struct{})
			store.set(hanging(hang))
			began := time.Now()
			res := b.Get("/")
			assert.Equal(t, 503, res.Status, name)
			assert.Equal(t, 2*time.Second, time.Since(began), name)
			began = time.Now()
			res = b.Post("/wecom/logout")
			assert.Equal(t, 503, res.Status, name)
			assert.LessOrEqual(t, time.Since(began), 2*time.Second, name)
			store.set(nil)
			close(hang)
			assert.Equal(t, 200, b.Get("/").Status, name)
		}
	})
}

func TestF25_StorePanics(t *testing.T) {
	eachCarrier(t, func(t *testing.T, w *world, store *testStore, manager *scs.SessionManager) {
		b := w.signedIn("zhangsan")
		app := w.auth.Handler(hello())
		store.set(func(string, string, []byte) error { panic("a custom store's own fault") })
		r := with(request("GET", "/"), b.Cookies("/"))
		assert.Equal(t, 503, do(app, r).Code)
		store.set(nil)
		assert.Equal(t, 200, b.Get("/").Status)
	})
}

func TestF25_AuthorizePanics(t *testing.T) {
	var panics atomic.Bool
	panics.Store(true)
	w := newWorld(t, func(o *wecom.Options) {
		o.Authorize = func(context.Context, *wecom.Client, wecom.Identity) (bool, error) {
			if panics.Load() {
				panic("the application's own fault")
			}
			return true, nil
		}
	})
	b := w.browser()
	assert.Equal(t, 503, b.Get("/").Status)
	panics.Store(false)
	assert.Equal(t, 200, b.Get("/").Status)
}

func TestF23_UndecodableRow(t *testing.T) {
	t.Run("short", func(t *testing.T) { undecodableRow(t, false, `"user_id":"zhangsan"`) })
	t.Run("with a profile", func(t *testing.T) { undecodableRow(t, true, `"department_names":["研发部"]`) })
}

func undecodableRow(t *testing.T, profile bool, says string) {
	store := newTestStore()
	w := newWorld(t, func(o *wecom.Options) { o.SessionStore, o.Profile = store, profile })
	b := w.signedIn("zhangsan")
	for key, row := range store.rows() {
		row = slices.Clone(row)
		read := func(row []byte) int {
			require.NoError(t, store.MemStore.Commit(key, row, time.Now().Add(time.Hour)))
			res := b.Fetch("GET", "/wecom/session", "")
			if res.Status == 200 {
				assert.Contains(t, res.Body, says)
			}
			return res.Status
		}
		require.Equal(t, 200, read(row))
		for i := range row {
			for bit := range 8 {
				flipped := slices.Clone(row)
				flipped[i] ^= 1 << bit
				require.Equal(t, 401, read(flipped), "byte %d, bit %d", i, bit)
			}
			require.Equal(t, 401, read(row[:i]), "cut at %d", i)
		}
		trailing := append(slices.Clone(row[:len(row)-4]), 0)
		trailing = binary.BigEndian.AppendUint32(trailing, crc32.Checksum(trailing, crc32.MakeTable(crc32.Castagnoli)))
		for _, other := range [][]byte{nil, {}, []byte("gob"), append(slices.Clone(row), 0), trailing, make([]byte, 4096)} {
			require.Equal(t, 401, read(other))
		}
	}
	assert.Equal(t, 200, b.Click("/wecom/login").Status, "and the person signs in anew")
	assert.Equal(t, "zhangsan", who(b))
}

// Whatever stands in a session's row: it is that session or none, and never a 5xx.
func FuzzSessionRow(f *testing.F) {
	store := newTestStore()
	fake := wecomtest.New()
	o := fake.Options(site + "/wecom/callback")
	o.SessionStore, o.Logger = store, slog.New(slog.DiscardHandler)
	auth, err := wecom.New(o)
	require.NoError(f, err)
	b := fake.Browser(site, auth.Handler(hello())).SignInAs("zhangsan")
	require.Equal(f, 200, b.Get("/").Status)
	var key string
	for k, row := range store.rows() {
		key = k
		f.Add(row)
		f.Add(row[:len(row)-1])
		f.Add(append(slices.Clone(row), 0))
	}
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, row []byte) {
		require.NoError(t, store.MemStore.Commit(key, row, time.Now().Add(time.Hour)))
		res := b.Fetch("GET", "/wecom/session", "")
		if res.Status == 200 {
			assert.Contains(t, res.Body, `"corp_id":"`+fake.CorpID()+`"`)
			return
		}
		assert.Equal(t, 401, res.Status)
	})
}

func TestF23_UndecodableApplicationSession(t *testing.T) {
	store := newTestStore()
	w := newWorld(t, func(o *wecom.Options) { carriers["scs session"](o, store) })
	b := w.signedIn("zhangsan")
	for key := range store.rows() {
		require.NoError(t, store.MemStore.Commit(key, []byte("written by another version"), time.Now().Add(time.Hour)))
	}
	res := b.Fetch("GET", "/wecom/session", "")
	assert.Equal(t, 401, res.Status)
	assert.Equal(t, 200, b.Click("/wecom/login").Status)
	assert.Equal(t, "zhangsan", who(b))
}

func TestSessionsEnd(t *testing.T) {
	t.Run("lifetime", bubble(func(t *testing.T) {
		w := newWorld(t)
		b := w.signedIn("zhangsan")
		time.Sleep(12*time.Hour - time.Minute)
		assert.Equal(t, "zhangsan", who(b))
		jar := b.Cookies("/")
		time.Sleep(2 * time.Minute)
		r := with(request("GET", "/wecom/session"), jar)
		assert.Equal(t, 401, do(w.app, r).Code, "also if the browser keeps its cookie")
	}))
	for name, carrier := range carriers {
		t.Run("idle, "+name, bubble(func(t *testing.T) {
			store := newTestStore()
			w := newWorld(t, func(o *wecom.Options) {
				carrier(o, store)
				o.IdleTimeout = 30 * time.Minute
			})
			b := w.signedIn("zhangsan")
			for range 10 {
				time.Sleep(29 * time.Minute)
				require.Equal(t, "zhangsan", who(b), "used")
			}
			time.Sleep(31 * time.Minute)
			assert.Empty(t, who(b), "not used")
		}))
	}
}

func TestF24_FiftyRequestsWhenTheIdleRowIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTestStore()
		w := newWorld(t, func(o *wecom.Options) { o.SessionStore, o.IdleTimeout = store, 30*time.Minute })
		b := w.signedIn("zhangsan")
		time.Sleep(10 * time.Minute)
		store.commit.Store(0)
		store.set(func(string, string, []byte) error { time.Sleep(time.Millisecond); return nil }) // all of them read before one writes
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { assert.Equal(t, 200, b.Tab().GetNoFollow("/").Status) })
		}
		wg.Wait()
		assert.Equal(t, int64(1), store.commit.Load())
	})
}

func TestSessionsAreWrittenOnce(t *testing.T) {
	store := newTestStore()
	w := newWorld(t, func(o *wecom.Options) { o.SessionStore = store })
	b := w.signedIn("zhangsan")
	assert.Equal(t, int64(1), store.commit.Load())
	for range 100 {
		b.GetNoFollow("/")
	}
	assert.Equal(t, int64(1), store.commit.Load())
	assert.Zero(t, store.del.Load())
}

// Each byte of a token is random.
func TestTokensHave256Bits(t *testing.T) {
	m := fixed(t)
	var seen [32]map[byte]bool
	for n := range 20 {
		for _, c := range signInFixed(t, m, fmt.Sprint("user", n)) {
			token, err := base64.RawURLEncoding.DecodeString(c.Value)
			if err != nil || len(c.Value) != 43 {
				continue // the attempt's
			}
			for i, b := range token {
				if seen[i] == nil {
					seen[i] = map[byte]bool{}
				}
				seen[i][b] = true
			}
		}
	}
	for i := range seen {
		assert.Greater(t, len(seen[i]), 5, "values of byte %d", i)
	}
}

// A contextStore is one that takes contexts. Its caller leaves when a write begins.
type contextStore struct {
	*testStore
	leave func()
}

func (s *contextStore) FindCtx(_ context.Context, key string) ([]byte, bool, error) {
	return s.Find(key)
}

func (s *contextStore) CommitCtx(ctx context.Context, key string, row []byte, expires time.Time) error {
	if s.leave(); ctx.Err() != nil {
		return ctx.Err()
	}
	return s.Commit(key, row, expires)
}

func (s *contextStore) DeleteCtx(ctx context.Context, key string) error {
	if s.leave(); ctx.Err() != nil {
		return ctx.Err()
	}
	return s.Delete(key)
}

// What was begun is written to the end though the browser has left.
func TestF21_WritesOutliveTheRequest(t *testing.T) {
	store := &contextStore{newTestStore(), func() {}}
	m := fixed(t, func(o *wecom.Options) { o.SessionStore = store })
	cookies := cookieHeader(signInFixed(t, m, "zhangsan"))
	require.Len(t, store.rows(), 1)
	var ctx context.Context
	ctx, store.leave = context.WithCancel(t.Context())
	logout := request("POST", "/wecom/logout").WithContext(ctx)
	logout.Header.Set("Cookie", cookies)
	do(m.Routes(), logout)
	assert.Error(t, ctx.Err())
	assert.Empty(t, store.rows(), "a logout")

	assert.NoError(t, m.Revoke(ctx, wecom.Identity{UserID: "zhangsan"}))
	assert.Len(t, store.rows(), 2, "a revocation: the person's row and the one that says that something changed")
}

// Rows, and what is remembered beside them of people who came, were looked up again or were
// revoked, end with time.
func TestMemoryForgets(t *testing.T) {
	const people = 1000
	synctest.Test(t, func(t *testing.T) {
		auth := fixed(t, func(o *wecom.Options) {
			o.SessionLifetime, o.IdleTimeout, o.Recheck = time.Hour, 10*time.Minute, 2*time.Minute
			o.Authorize = func(context.Context, *wecom.Client, wecom.Identity) (bool, error) { return true, nil }
		})
		app := auth.Handler(hello())
		var heap [6]int64
		for year := range heap {
			sessions := make([]*http.Cookie, people)
			for i := range sessions {
				user := fmt.Sprintf("user%d-%d", year, i)
				sessions[i] = sessionOf(do(app, comeBack(t, auth, user)))
				require.NotNil(t, sessions[i])
			}
			time.Sleep(3 * time.Minute)
			for i, session := range sessions {
				require.True(t, isIn(app, session)) // is a use, and time to be looked up
				synctest.Wait()
				require.NoError(t, auth.Revoke(t.Context(), wecom.Identity{UserID: fmt.Sprintf("user%d-%d", year, i)}))
			}
			time.Sleep(500 * 24 * time.Hour)
			clear(sessions)
			var m runtime.MemStats
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&m)
			heap[year] = int64(m.HeapAlloc)
		}
		// The first two years make room. Each entry of a map takes more than that.
		assert.Less(t, (heap[5]-heap[1])/(4*people), int64(40), "bytes for each person that nobody needs any more")
		t.Log(heap)
	})
}

func sessionCookie(b *wecomtest.Browser) string {
	for _, c := range b.Cookies("/") {
		if !strings.Contains(strings.TrimPrefix(c.Name, "__Host-wecom-"), "-") {
			return c.Name
		}
	}
	return ""
}

// A store that fails once during a sign-in: an error's cookies open nothing, and the
// browser still has the session that it had. The next try signs in.
func TestF22_AStoreFailsOnceDuringASecondSignIn(t *testing.T) {
	manager := scs.New() // one is enough: what it keeps is in the store
	manager.HashTokenInStore = true
	manager.Cookie.Name, manager.Cookie.Secure = "__Host-session", true
	for name, change := range map[string]func(*wecom.Options) func(http.Handler) http.Handler{
		"own cookie": func(o *wecom.Options) func(http.Handler) http.Handler {
			o.IdleTimeout = time.Hour
			return func(h http.Handler) http.Handler { return h }
		},
		"scs session": func(o *wecom.Options) func(http.Handler) http.Handler {
			o.Sessions = manager
			return func(h http.Handler) http.Handler { return h }
		},
		"scs session, LoadAndSave outside": func(o *wecom.Options) func(http.Handler) http.Handler {
			o.Sessions = manager
			return o.Sessions.LoadAndSave
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, op := range []string{"Commit", "Delete"} {
				for n := int64(1); ; n++ {
					store := newTestStore()
					var outside func(http.Handler) http.Handler
					m := fixed(t, func(o *wecom.Options) {
						outside = change(o)
						o.SessionStore = store
						if o.Sessions != nil {
							o.Sessions.Store = store
						}
					})
					app := outside(m.Handler(hello()))
					page := func(cookies []*http.Cookie) string {
						return do(app, with(request("GET", "/"), cookies)).Body.String()
					}
					held := do(app, comeFrom(t, app, "/wecom/login", "zhangsan")).Result().Cookies()
					require.Contains(t, page(held), "zhangsan")
					back := with(comeFrom(t, app, "/wecom/login", "lisi"), held)
					var calls atomic.Int64
					store.set(func(method, _ string, _ []byte) error {
						if method == op && calls.Add(1) == n {
							return errors.New("store: down")
						}
						return nil
					})
					done := do(app, back)
					store.set(nil)
					if calls.Load() < n { // there is no such operation
						require.Greater(t, n, int64(1))
						break
					}
					if done.Code < 400 {
						require.Contains(t, page(done.Result().Cookies()), "lisi", "%s %d", op, n)
						continue
					}
					assert.NotContains(t, page(done.Result().Cookies()), "hello", "%s %d: an error's cookie", op, n)
					if done.Header().Get("Retry-After") != "" { // else scs answers: its own write, after ours, failed
						assert.Contains(t, page(held), "zhangsan", "%s %d: the session that there was", op, n)
					}
				}
			}
		})
	}
}
