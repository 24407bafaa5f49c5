package wecom

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
)

// sessionTimeout bounds each call of a session store. Clients have time-outs of
// their own, mostly longer: go-redis waits 5 seconds, and not for the context.
const sessionTimeout = 2 * time.Second

// tokenLen is the length of a session token as it stands in the cookie: 256 bits in base64url.
const tokenLen = 43

// sessions keeps who is signed in. Each sign-in is one row in an scs store,
// written once and deleted at logout, so that no request in flight can bring a
// session back by saving it. The row is named by the hash of a random token; the
// browser carries the token in a cookie of ours or, with a manager, inside the
// application's own scs session.
type sessions struct {
	store    scs.Store
	memory   *memoryStore // the store, if it is our own: nobody else writes to it
	direct   bool         // the store is in this process's memory: it cannot hang, and is called directly
	manager  *scs.SessionManager
	app      App
	space    string // from a hash of app and CallbackURL: sessions of two middlewares in one store have different names
	appSpace string // from a hash of app: what revokes them has the same
	lifetime time.Duration
	idle     time.Duration
	cookie   cookieKind
	carried  string // the manager's key that holds our token
	revoked  revocations
	observe  func(context.Context, Event) // may be nil

	touchMu sync.Mutex
	touched map[string]time.Time // idle rows written by this process, by key
	swept   time.Time
}

// A session is a row that was found or just written. The zero session is nobody's.
type session struct {
	id      *Identity // never modified: requests share it
	token   string
	expires time.Time
	ended   bool // the browser named a session, but that is over or unknown
}

func (s session) live() bool { return s.token != "" }

// find returns the request's session, one that is not live if there is none, or an
// error if the store could not tell. The context is the request's; with a
// manager, it holds the application's session.
func (s *sessions) find(r *http.Request) (found session, ctx context.Context, err error) {
	ctx = r.Context()
	var token string
	if s.manager == nil {
		token = s.cookie.value(r, "")
	} else if ctx, err = s.load(r); err == nil && !s.tossed(r) {
		token, _, _ = strings.Cut(s.manager.GetString(ctx, s.carried), ".")
	}
	if err != nil || len(token) != tokenLen {
		return session{}, ctx, err
	}
	found, ok, err := s.read(ctx, token)
	if err != nil || !ok {
		return session{ended: true}, ctx, err
	}
	if gone, err := s.isRevoked(ctx, found); err != nil || gone {
		return session{ended: true}, ctx, err
	}
	if s.idle > 0 {
		if ok, err = s.touch(ctx, token); err != nil || !ok {
			return session{ended: true}, ctx, err
		}
	}
	found.token = token
	return found, ctx, nil
}

// read finds a session's row. What another app or another version wrote is none.
func (s *sessions) read(ctx context.Context, token string) (found session, ok bool, err error) {
	if s.memory != nil {
		found, ok = s.memory.session(token)
		return found, ok, nil
	}
	row, ok, err := s.get(ctx, s.key(s.kind(), token))
	if err != nil || !ok {
		return session{}, false, err
	}
	found, ok = decodeRow(row)
	return found, ok && found.id.app() == s.app && time.Now().Before(found.expires), nil
}

// tossed says that the application's cookie came twice, which scs does not mind:
// only a neighbour could have planted one of them, and they look alike.
func (s *sessions) tossed(r *http.Request) bool {
	_, n := cookieNamed(r, s.manager.Cookie.Name)
	return n > 1
}

// create writes a new row for id and returns the session.
func (s *sessions) create(ctx context.Context, id Identity) (session, error) {
	b := make([]byte, sha256.Size)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	created := session{
		id:      &id,
		token:   base64.RawURLEncoding.EncodeToString(b),
		expires: time.Now().Add(s.lifetime),
	}
	if s.idle > 0 {
		if err := s.writeIdle(ctx, s.key('i', created.token)); err != nil {
			return session{}, err
		}
	}
	return created, s.put(ctx, s.key(s.kind(), created.token), encodeRow(created), created.expires)
}

// attach makes the browser carry the new session. old is the session that the request came with:
// if attach fails, the browser still has that one. So what it replaces is deleted last.
func (s *sessions) attach(w http.ResponseWriter, r *http.Request, fresh, old session) error {
	if s.manager != nil {
		if err := s.attachCarried(w, r, fresh); err != nil {
			return err
		}
	}
	if old.live() && old.token != fresh.token {
		// What carried it is gone: a row that stays is within nobody's reach.
		if err := s.delete(r.Context(), old.token); err != nil && s.manager == nil {
			return err
		}
	}
	if s.manager == nil {
		s.cookie.set(w, "", fresh.token, time.Until(fresh.expires))
	}
	return nil
}

// end deletes the session's row for good and takes the browser's reference to it.
func (s *sessions) end(w http.ResponseWriter, r *http.Request, old session) error {
	if old.live() {
		if err := s.delete(r.Context(), old.token); err != nil {
			return err
		}
	}
	if s.manager == nil {
		if s.cookie.present(r, "") {
			s.cookie.drop(w, "")
		}
		return nil
	}
	ctx := r.Context()
	if !s.manager.Exists(ctx, s.carried) {
		return nil
	}
	_, err := waitFor(ctx, s, "store_delete", false, func(context.Context) (struct{}, error) {
		return struct{}{}, s.manager.Destroy(ctx)
	})
	if err == nil && loadedHere(ctx) {
		s.manager.WriteSessionCookie(ctx, w, "", time.Time{})
	}
	return err
}

func (s *sessions) delete(ctx context.Context, token string) error {
	if err := s.del(ctx, s.store, s.key(s.kind(), token)); err != nil {
		return err
	}
	if s.idle > 0 {
		_ = s.del(ctx, s.store, s.key('i', token)) // it grants nothing alone
	}
	return nil
}

// touch reports whether the session was used within the idle time-out, and
// notes that it is used now. The note is a row of its own that grants nothing
// without the session's: writing it cannot undo a logout.
func (s *sessions) touch(ctx context.Context, token string) (bool, error) {
	key := s.key('i', token)
	row, ok, err := s.get(ctx, key)
	if err != nil || !ok || len(row) != 8 {
		return false, err
	}
	used := time.Unix(0, int64(binary.BigEndian.Uint64(row)))
	if now := time.Now(); now.Sub(used) > s.idle/10 && s.claimTouch(key, now) {
		return true, s.writeIdle(ctx, key)
	}
	return true, nil
}

// claimTouch lets one of many parallel requests write the idle row.
func (s *sessions) claimTouch(key string, now time.Time) bool {
	s.touchMu.Lock()
	defer s.touchMu.Unlock()
	if now.Sub(s.touched[key]) <= s.idle/10 {
		return false
	}
	if now.Sub(s.swept) > s.idle/10 {
		s.swept = now
		for k, t := range s.touched {
			if now.Sub(t) > s.idle/10 {
				delete(s.touched, k)
			}
		}
	}
	s.touched[key] = now
	return true
}

func (s *sessions) writeIdle(ctx context.Context, key string) error {
	now := time.Now()
	return s.put(ctx, key, binary.BigEndian.AppendUint64(nil, uint64(now.UnixNano())), now.Add(s.idle))
}

// kind keeps the carriers' rows apart: a token that the application's session
// carries stands in that session's row, and must not serve as a cookie of ours.
func (s *sessions) kind() byte {
	if s.manager != nil {
		return 'c'
	}
	return 's'
}

// key is a row's name in the store: 43 characters, which is what the narrowest
// of scs's stores hold, and nothing that a reader of the store could use as a
// cookie. The memory store has no readers and hashes names itself.
func (s *sessions) key(kind byte, token string) string {
	if s.memory != nil && kind == 's' {
		return token
	}
	space := s.space
	if kind == 'r' {
		space = s.appSpace
	}
	var in [55]byte // 8 + 1 + 43 fit into one block of SHA-256
	b := append(in[:0], space...)
	b = append(b, kind)
	b = append(b, token...)
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// The store's calls. Writes go on when the browser has left: half a logout is none.

func (s *sessions) get(ctx context.Context, key string) ([]byte, bool, error) {
	type answer struct {
		row   []byte
		found bool
	}
	if s.direct {
		return s.store.Find(key)
	}
	a, err := waitFor(ctx, s, "store_find", false, func(ctx context.Context) (a answer, err error) {
		a.row, a.found, err = findRow(ctx, s.store, key)
		return a, err
	})
	return a.row, a.found, err
}

// findRow asks a store in the way that it knows: some of scs's panic in Find.
func findRow(ctx context.Context, store scs.Store, key string) ([]byte, bool, error) {
	if c, ok := store.(interface {
		FindCtx(context.Context, string) ([]byte, bool, error)
	}); ok {
		return c.FindCtx(ctx, key)
	}
	return store.Find(key)
}

func (s *sessions) put(ctx context.Context, key string, row []byte, expires time.Time) error {
	_, err := waitFor(context.WithoutCancel(ctx), s, "store_commit", s.direct, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.commit(ctx, key, row, expires)
	})
	return err
}

func (s *sessions) commit(ctx context.Context, key string, row []byte, expires time.Time) error {
	if c, ok := s.store.(interface {
		CommitCtx(context.Context, string, []byte, time.Time) error
	}); ok {
		return c.CommitCtx(ctx, key, row, expires)
	}
	return s.store.Commit(key, row, expires)
}

func (s *sessions) del(ctx context.Context, store scs.Store, key string) error {
	_, err := waitFor(context.WithoutCancel(ctx), s, "store_delete", s.direct, func(ctx context.Context) (struct{}, error) {
		if c, ok := store.(interface {
			DeleteCtx(context.Context, string) error
		}); ok {
			return struct{}{}, c.DeleteCtx(ctx, key)
		}
		return struct{}{}, store.Delete(key)
	})
	return err
}

// waitFor is bounded, and tells the observer of what it waited for.
func waitFor[T any](ctx context.Context, s *sessions, event string, direct bool, fn func(context.Context) (T, error)) (T, error) {
	if s.observe == nil || s.direct {
		return bounded(ctx, direct, fn)
	}
	began := time.Now()
	value, err := bounded(ctx, direct, fn)
	s.observe(ctx, storeEvent(event, err, time.Since(began)))
	return value, err
}

// bounded calls fn and waits for it for sessionTimeout at most, whether or not fn
// heeds its context. A panic in fn is an error.
func bounded[T any](ctx context.Context, direct bool, fn func(context.Context) (T, error)) (value T, err error) {
	if direct {
		defer func() {
			if p := recover(); p != nil {
				err = panicked("the session store", p)
			}
		}()
		return fn(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		res := result{err: errNoResult}
		defer func() {
			if p := recover(); p != nil {
				res.err = panicked("the session store", p)
			}
			done <- res // before the context ends, which the caller waits for too
			cancel()
		}()
		res.value, res.err = fn(ctx)
	}()
	select {
	case res := <-done:
		return res.value, res.err
	case <-ctx.Done():
	}
	select {
	case res := <-done: // both were ready: it answered in time
		return res.value, res.err
	default:
		var none T
		return none, fmt.Errorf("session store: %w", ctx.Err())
	}
}

// The application's own scs session as the carrier.

type loadedKey struct{}

// A loading is in the context of a request whose session we load.
type loading struct{ unsaved bool }

// loadedHere says that the application's session was loaded by us and is ours to save.
func loadedHere(ctx context.Context) bool {
	l, ok := ctx.Value(loadedKey{}).(*loading)
	return ok && l.unsaved
}

// load returns a context that holds the application's session. If the
// application did not load it, we do, and then it is ours to save.
func (s *sessions) load(r *http.Request) (context.Context, error) {
	// Load returns the very context that it is given if that holds this manager's session.
	probe := context.WithValue(r.Context(), loadedKey{}, &loading{unsaved: true})
	empty, err := s.manager.Load(probe, "")
	if err != nil || empty == probe {
		return r.Context(), err
	}
	token, _ := cookieNamed(r, s.manager.Cookie.Name)
	if token == "" {
		return empty, nil // nothing to ask the store for
	}
	ctx, err := waitFor(probe, s, "store_find", s.direct, func(context.Context) (context.Context, error) {
		ctx, err := s.manager.Load(probe, token)
		if err != nil && s.undecodable(probe, token) {
			return s.manager.Load(probe, "")
		}
		return ctx, err
	})
	if err != nil {
		return r.Context(), err
	}
	return ctx, nil
}

// undecodable says that Load failed for what the session holds, after an upgrade
// perhaps, and not for the store: that is no session, or the browser would be shut out for ever.
func (s *sessions) undecodable(ctx context.Context, token string) bool {
	row, found, err := findRow(ctx, s.manager.Store, managersKey(token))
	if err != nil || !found {
		return false
	}
	_, _, err = s.manager.Codec.Decode(row)
	return err != nil
}

// managersKey is how the manager names its row: checkManager insists on HashTokenInStore.
func managersKey(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// saving wraps next so that the application's session is saved if it was loaded here.
func (s *sessions) saving(next http.Handler) http.Handler {
	if s.manager == nil {
		return next
	}
	save := s.manager.LoadAndSave(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l, ok := r.Context().Value(loadedKey{}).(*loading); ok && l.unsaved {
			l.unsaved = false // from here on scs sees to it
			save.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// attachCarried puts the token into an application's session with a new name. What
// another person's session held is left behind: the owner's hash stays beside the
// token so that this works after a logout too. Until the new row is written, the old one and what
// the request's context holds stay as they are: LoadAndSave, if it stands outside, saves that whatever we answer.
func (s *sessions) attachCarried(w http.ResponseWriter, r *http.Request, fresh session) error {
	ctx := r.Context()
	sum := sha256.Sum256([]byte(fresh.id.Key()))
	owner := base64.RawURLEncoding.EncodeToString(sum[:12])
	_, before, known := strings.Cut(s.manager.GetString(ctx, s.carried), ".")
	values := map[string]any{}
	if !known || before == owner {
		for _, key := range s.manager.Keys(ctx) {
			values[key] = s.manager.Get(ctx, key)
		}
	}
	values[s.carried] = fresh.token + "." + owner

	type written struct {
		ctx     context.Context
		token   string
		expires time.Time
	}
	next, err := waitFor(ctx, s, "store_commit", false, func(ctx context.Context) (n written, err error) {
		if n.ctx, err = s.manager.Load(valueless{ctx}, ""); err != nil {
			return n, err
		}
		for key, value := range values {
			s.manager.Put(n.ctx, key, value)
		}
		n.token, n.expires, err = s.manager.Commit(n.ctx)
		return n, err
	})
	if err != nil {
		return err
	}
	if old := s.manager.Token(ctx); old != "" {
		if err := s.del(ctx, s.manager.Store, managersKey(old)); err != nil {
			_ = s.del(ctx, s.manager.Store, managersKey(next.token))
			return err
		}
	}
	if loadedHere(ctx) {
		s.manager.WriteSessionCookie(next.ctx, w, next.token, next.expires)
		return nil
	}
	// LoadAndSave writes what the context holds, and its cookie: ours has shown that the store takes it.
	_ = s.del(ctx, s.manager.Store, managersKey(next.token))
	renamed := *s.manager
	renamed.Store = noRows{} // the old row is gone
	if err := renamed.Clear(ctx); err != nil {
		return err
	}
	for key, value := range values {
		s.manager.Put(ctx, key, value)
	}
	return renamed.RenewToken(ctx)
}

// valueless hides the application's session from its manager.
type valueless struct{ context.Context }

func (valueless) Value(any) any { return nil }

// noRows is a store without rows.
type noRows struct{}

func (noRows) Find(string) ([]byte, bool, error)      { return nil, false, nil }
func (noRows) Commit(string, []byte, time.Time) error { return nil }
func (noRows) Delete(string) error                    { return nil }

// checkManager says why an application's session manager cannot carry a sign-in.
func checkManager(m *scs.SessionManager, https bool, callbackPath string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("Sessions: "+format, args...)) }
	if m.Store == nil || m.Codec == nil || m.Lifetime <= 0 {
		bad("make the manager with scs.New: it has no store, no codec or no lifetime")
	}
	if !m.HashTokenInStore {
		bad("set HashTokenInStore: without it whoever reads the store can take over its sessions")
	}
	c := m.Cookie
	if !c.HttpOnly {
		bad("set Cookie.HttpOnly: a script must not read the session")
	}
	switch {
	case c.SameSite == http.SameSiteStrictMode:
		bad("Cookie.SameSite must be Lax: with Strict the browser returns from WeCom without its session, and the sign-in never ends")
	case c.SameSite == http.SameSiteNoneMode && !c.Secure:
		bad("Cookie.SameSite None needs Cookie.Secure: browsers drop the cookie otherwise")
	case c.SameSite != http.SameSiteLaxMode && c.SameSite != http.SameSiteNoneMode:
		bad("set Cookie.SameSite to Lax")
	}
	if https && !c.Secure {
		bad("set Cookie.Secure: CallbackURL is https")
	}
	if https && !strings.HasPrefix(c.Name, "__Host-") {
		bad("set Cookie.Name to __Host-session, or another with this prefix: a neighbouring subdomain can plant a session of its own under any other name")
	} else if c.Name == "" {
		bad("set Cookie.Name")
	}
	if strings.HasPrefix(c.Name, "__Host-") && (!c.Secure || c.Domain != "" || c.Path != "/") {
		bad("a cookie named __Host-… needs Secure, Path / and no Domain: browsers drop it otherwise")
	}
	if strings.HasPrefix(c.Name, "__Secure-") && !c.Secure {
		bad("a cookie named __Secure-… needs Secure: browsers drop it otherwise")
	}
	if c.Path != "/" && (c.Path == "" || !strings.HasPrefix(callbackPath, strings.TrimSuffix(c.Path, "/")+"/")) {
		bad("Cookie.Path %q does not cover the callback %q", c.Path, callbackPath)
	}
	return errors.Join(errs...)
}

// inMemory says whether a store is scs's own memory store.
func inMemory(store scs.Store) bool {
	_, ok := store.(*memstore.MemStore)
	return ok
}
