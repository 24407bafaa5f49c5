package wecom

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"time"

	"github.com/wecomauth/wecom/internal/forget"
)

// sessions keeps who is signed in. Each sign-in is one row in an scs store,
// written once and deleted at logout, so that no request in flight can bring a
// session back by saving it. The row is named by the hash of a random token, which
// the carrier gives to the browser.
type sessions struct {
	store    store
	memory   *memoryStore // the store, if it is our own: nobody else writes to it
	carrier  carrier
	kind     byte // of the rows' names; see key
	app      App
	space    string // from a hash of app and CallbackURL: sessions of two middlewares in one store have different names
	appSpace string // from a hash of app: what revokes them has the same
	lifetime time.Duration
	idle     time.Duration
	revoked  revocations
	touched  forget.Set[string] // keys of idle rows that this process wrote a moment ago
}

// A carrier keeps a session's token with the browser. Requests use it concurrently.
type carrier interface {
	// token returns the request's token, "" for none, and the
	// context for the rest of the request; the other methods get a request with that one.
	token(r *http.Request) (token string, ctx context.Context, err error)

	// attach makes the browser keep fresh's token, and calls endOld to delete the
	// row of the session that this replaces, if there is one. If attach returns an error, it
	// has set no cookie, and the browser still has what it had.
	attach(w http.ResponseWriter, r *http.Request, fresh session, endOld func() error) error

	// detach takes the token from the browser.
	detach(w http.ResponseWriter, r *http.Request) error

	// wrap wraps next. The handler that it returns is called with token's context.
	wrap(next http.Handler) http.Handler
}

// find returns the request's session. It is not live if there is none, or if it has ended.
// An error says that the store could not tell. The context is for the rest of the request.
func (s *sessions) find(r *http.Request) (found session, ctx context.Context, err error) {
	token, ctx, err := s.carrier.token(r)
	if err != nil || len(token) != tokenLen {
		return session{}, ctx, err
	}
	found, ok, err := s.read(ctx, token)
	if err != nil || !ok {
		return session{ended: true}, ctx, err
	}
	if gone, err := s.isRevoked(ctx, found); err != nil || gone {
		return session{token: token, ended: true}, ctx, err
	}
	if s.idle > 0 {
		if ok, err = s.touch(ctx, token); err != nil || !ok {
			return session{token: token, ended: true}, ctx, err
		}
	}
	found.token = token
	return found, ctx, nil
}

// read finds a session's row. It ignores rows that another app or version wrote.
func (s *sessions) read(ctx context.Context, token string) (found session, ok bool, err error) {
	if s.memory != nil {
		found.id, ok = s.memory.session(token)
		return found, ok, nil
	}
	row, ok, err := s.store.get(ctx, s.key(s.kind, token))
	if err != nil || !ok {
		return session{}, false, err
	}
	found, ok = decodeRow(row)
	return found, ok && found.id.app() == s.app && time.Now().Before(found.expires), nil
}

// create writes a new row for id and returns the session.
func (s *sessions) create(ctx context.Context, id Identity) (session, error) {
	b := make([]byte, sha256.Size)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	created := session{
		id:      &id,
		token:   base64.RawURLEncoding.EncodeToString(b),
		expires: id.AuthenticatedAt.Add(s.lifetime),
	}
	if s.idle > 0 {
		if err := s.writeIdle(ctx, s.key('i', created.token)); err != nil {
			return session{}, err
		}
	}
	return created, s.store.put(ctx, s.key(s.kind, created.token), encodeRow(created), created.expires)
}

// attach makes the browser carry the new session in place of old, the session that
// the request came with. If it returns an error, the browser still has old.
func (s *sessions) attach(w http.ResponseWriter, r *http.Request, fresh, old session) error {
	return s.carrier.attach(w, r, fresh, func() error {
		if old.token == "" || old.token == fresh.token {
			return nil
		}
		return s.delete(r.Context(), old.token)
	})
}

// end deletes the session's row for good and takes the token from the browser. It does so with one
// that was revoked, too: other processes hear of that up to a second later.
func (s *sessions) end(w http.ResponseWriter, r *http.Request, old session) error {
	if old.token != "" {
		if err := s.delete(r.Context(), old.token); err != nil {
			return err
		}
	}
	return s.carrier.detach(w, r)
}

func (s *sessions) delete(ctx context.Context, token string) error {
	if err := s.store.del(ctx, s.key(s.kind, token)); err != nil {
		return err
	}
	if s.idle > 0 {
		_ = s.store.del(ctx, s.key('i', token)) // it grants nothing alone
	}
	return nil
}

// touch reports whether the session was used within the idle timeout, and
// records that it is used now, in a row of its own. That row grants nothing
// without the session's, so writing it cannot undo a logout.
func (s *sessions) touch(ctx context.Context, token string) (bool, error) {
	key := s.key('i', token)
	row, ok, err := s.store.get(ctx, key)
	if err != nil || !ok || len(row) != 8 {
		return false, err
	}
	used := time.Unix(0, int64(binary.BigEndian.Uint64(row)))
	if time.Since(used) > s.idle/10 && s.touched.Add(key, s.idle/10) { // one of many parallel requests writes
		return true, s.writeIdle(ctx, key)
	}
	return true, nil
}

func (s *sessions) writeIdle(ctx context.Context, key string) error {
	now := time.Now()
	return s.store.put(ctx, key, binary.BigEndian.AppendUint64(nil, uint64(now.UnixNano())), now.Add(s.idle))
}

// key is a row's name in the store: 43 characters, which is what the narrowest
// of scs's stores hold, and nothing that a reader of the store could use as a
// cookie. The memory store has no readers and hashes names itself.
//
// The kinds are 'i' for idle rows, 'r' for revocations, and for sessions 's' or 'c',
// by the carrier: a token that the application's session carries stands in that
// session's row, and must not serve as a cookie of ours.
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
