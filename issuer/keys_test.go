package issuer_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/issuer"
	"github.com/wecomauth/wecom/wecomtest"
)

// A shared is a store of scs that replicas share.
type shared struct {
	mu   sync.Mutex
	rows map[string][]byte
	away atomic.Bool

	slow    time.Duration // each call takes that long
	slower  time.Duration // each write takes that much longer than the last
	writing atomic.Int64
}

var errAway = errors.New("the store is away")

func (s *shared) Find(token string) ([]byte, bool, error) {
	time.Sleep(s.slow)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away.Load() {
		return nil, false, errAway
	}
	data, ok := s.rows[token]
	return data, ok, nil
}

func (s *shared) Commit(token string, data []byte, _ time.Time) error {
	_, err := s.write(token, data, true)
	return err
}

func (s *shared) AddCtx(_ context.Context, token string, data []byte, _ time.Time) (bool, error) {
	return s.write(token, data, false)
}

func (s *shared) write(token string, data []byte, over bool) (bool, error) {
	time.Sleep(s.slow + time.Duration(s.writing.Add(1)-1)*s.slower)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away.Load() {
		return false, errAway
	}
	if s.rows[token] != nil && !over {
		return false, nil
	}
	if s.rows == nil {
		s.rows = map[string][]byte{}
	}
	s.rows[token] = data
	return true, nil
}

func (s *shared) Delete(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rows, token)
	return nil
}

func (s *shared) dump() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all strings.Builder
	for _, row := range s.rows {
		all.Write(row)
	}
	return all.String()
}

// kept makes a world whose keys are in store.
func kept(store *shared) func(*options) {
	return func(o *options) {
		o.wecom.SessionStore, o.issuer.Store = store, store
		o.issuer.SigningKeys, o.issuer.Key = nil, wecom.NewSecret(strings.Repeat("k", 32))
		o.issuer.Clients[0].Algorithm = "ES256"
	}
}

func (w *world) idToken() string {
	w.Helper()
	got := w.token(form(w.code(w.signedIn("zhangsan"))))
	require.Equal(w, 200, got.Status, got)
	return got.IDToken
}

func (w *world) keyIDs() (ids []string) {
	w.Helper()
	rec := httptest.NewRecorder()
	w.site.ServeHTTP(rec, httptest.NewRequest("GET", iss+"/keys", nil))
	require.Equal(w, 200, rec.Code, rec.Body)
	var set jose.JSONWebKeySet
	require.NoError(w, json.Unmarshal(rec.Body.Bytes(), &set))
	for _, k := range set.Keys {
		require.True(w, k.IsPublic())
		ids = append(ids, k.KeyID)
	}
	return ids
}

// Half a year of two replicas: whatever one signs, the other's keys verify, and so do keys that
// a client fetched an hour ago.
func TestT41_KeyRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, fake := &shared{}, wecomtest.New()
		a, b := newReplica(t, fake, kept(store)), newReplica(t, fake, kept(store))
		first := a.keyIDs()
		assert.Len(t, first, 2, "RS256 and ES256")
		seen := map[string]bool{}
		var yesterday []string
		for day := range 190 {
			cached, err := oidc.NewProvider(b.context(), iss) // go-oidc fetches keys that it does not know
			require.NoError(t, err)
			today := b.keyIDs()
			time.Sleep(time.Hour)
			if day%7 == 0 || day > 85 && day < 95 {
				raw := a.idToken()
				_, err = b.verify("grafana", raw)
				require.NoError(t, err, "day %d", day)
				_, err = cached.VerifierContext(b.context(), &oidc.Config{ClientID: "grafana"}).Verify(b.context(), raw)
				require.NoError(t, err)
				token, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256})
				require.NoError(t, err)
				id := token.Signatures[0].Protected.KeyID
				if day > 0 {
					assert.Contains(t, yesterday, id, "published a day before it signs")
				}
				seen[id] = true
				time.Sleep(59 * time.Minute)
				_, err = b.verify("grafana", raw)
				require.NoError(t, err, "day %d", day)
			}
			time.Sleep(23 * time.Hour)
			yesterday = today
			assert.LessOrEqual(t, len(a.keyIDs()), 4)
		}
		assert.Len(t, seen, 3, "one each 90 days")
		assert.NotContains(t, a.keyIDs(), first[0])
	})
}

// Replicas that all start for the first time, in one moment, sign with the same key,
// however long their writes take.
func TestT41_FirstStartOfManyReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, fake := &shared{slower: 600 * time.Millisecond}, wecomtest.New()
		var all sync.WaitGroup
		ids := make([][]string, 4)
		for i := range ids {
			w := newReplica(t, fake, kept(store))
			all.Go(func() { ids[i] = w.keyIDs() })
		}
		all.Wait()
		for _, one := range ids {
			assert.Equal(t, ids[0], one)
		}
	})
}

// Two that did not see each other, because one was stopped for seconds in between: a
// minute later both know all keys.
func TestT41_ReplicasThatDidNotSeeEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, fake := &shared{}, wecomtest.New()
		a, b := newReplica(t, fake, kept(store)), newReplica(t, fake, kept(store))
		mine := a.keyIDs()
		old := store.rows
		store.rows = nil
		theirs := b.keyIDs()
		assert.NotEqual(t, mine, theirs)
		store.rows = old // a's write came last
		raw := b.idToken()
		time.Sleep(61 * time.Second)
		b.keyIDs()
		time.Sleep(61 * time.Second)
		assert.Len(t, a.keyIDs(), 4)
		_, err := a.verify("grafana", raw)
		assert.NoError(t, err)
	})
}

// A reader of the store has no keys; one with another Key has keys of its own.
func TestT41_KeysInTheStore(t *testing.T) {
	store, fake := &shared{}, wecomtest.New()
	a := newReplica(t, fake, kept(store))
	ids := a.keyIDs()
	dump := store.dump()
	for _, part := range append(ids, "PRIVATE", `"der"`, `"d"`) {
		assert.NotContains(t, dump, part)
	}
	other := newReplica(t, fake, kept(store), func(o *options) { o.issuer.Key = wecom.NewSecret(strings.Repeat("x", 32)) })
	assert.NotEqual(t, ids, other.keyIDs())
	assert.Equal(t, ids, newReplica(t, fake, kept(store)).keyIDs())
	assert.Equal(t, ids, a.keyIDs())
	assert.NotContains(t, a.logs.String(), strings.Repeat("k", 32))
}

// What was not started cannot sign; what was goes on.
func TestF11_StoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, fake := &shared{}, wecomtest.New()
		a, late := newReplica(t, fake, kept(store)), newReplica(t, fake, kept(store))
		ids := a.keyIDs()
		code := a.code(a.signedIn("zhangsan"))
		store.away.Store(true)
		time.Sleep(2 * time.Minute)
		assert.Equal(t, ids, a.keyIDs())
		rec := httptest.NewRecorder()
		late.site.ServeHTTP(rec, httptest.NewRequest("GET", iss+"/keys", nil))
		assert.Equal(t, 503, rec.Code)
		assert.NotEmpty(t, rec.Header().Get("Retry-After"))
		got := a.token(form(code))
		assert.Equal(t, 503, got.Status)
		assert.Equal(t, "temporarily_unavailable", got.Error)
		status, _ := a.userinfo(strings.Repeat("x", 43) + "." + strings.Repeat("x", 43))
		assert.Equal(t, 503, status)
		store.away.Store(false)
		assert.Equal(t, ids, late.keyIDs())
	})
}

// Damaged rows count as none.
func TestF23_DamagedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, fake := &shared{}, wecomtest.New()
		a := newReplica(t, fake, kept(store))
		ids := a.keyIDs()
		for name := range store.rows {
			store.rows[name] = []byte(`"AAAA"`)
		}
		assert.NotEqual(t, ids, newReplica(t, fake, kept(store)).keyIDs())
		time.Sleep(61 * time.Second)
		assert.Len(t, a.keyIDs(), 4, "a's are still valid")
	})
}

func TestSigningKeys(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	auth := newWorld(t).auth
	for _, key := range []crypto.Signer{weak, p384} {
		_, err := issuer.New(issuer.Options{URL: iss, Middleware: auth, SigningKeys: []crypto.Signer{key}})
		assert.ErrorContains(t, err, "SigningKeys[0]")
	}
	_, err = issuer.New(issuer.Options{URL: iss, Middleware: auth, SigningKeys: []crypto.Signer{ecKey()}, Clients: clients()})
	assert.ErrorContains(t, err, "no key for RS256")

	// The first signs, the others are published.
	w := newWorld(t, func(o *options) { o.issuer.SigningKeys = []crypto.Signer{ecKey2(), rsaKey(), ecKey()} })
	assert.Len(t, w.keyIDs(), 3)
	raw := newWorld(t).idToken()
	_, err = w.verify("grafana", raw)
	assert.NoError(t, err, "signed with the key that is the second now")
}

// Keys shows what is published and what signs.
func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, kept(&shared{}))
		began := time.Now()
		time.Sleep(90*24*time.Hour + time.Minute)
		signs := func() (list []bool) {
			keys, err := w.iss.Keys(t.Context())
			require.NoError(t, err)
			for i, k := range keys {
				assert.Equal(t, w.keyIDs()[i], k.ID)
				list = append(list, k.Signs)
			}
			return list
		}
		assert.Equal(t, []bool{true, true}, signs())
		keys, _ := w.iss.Keys(t.Context())
		assert.True(t, keys[0].Made.After(began))
		time.Sleep(90*24*time.Hour + time.Minute)
		assert.Equal(t, []bool{true, true, false, false}, signs())
		time.Sleep(24 * time.Hour)
		assert.Equal(t, []bool{false, false, true, true}, signs())
	})
	keys, err := newWorld(t).iss.Keys(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "ES256", keys[1].Algorithm)
	assert.True(t, keys[1].Signs)
	assert.Zero(t, keys[1].Made)
}
