package issuer

import (
	"cmp"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// The life of a key that the issuer made. It is published from the start, signs from
// keyAhead on, when everybody has fetched it, until the next one does, and is published until
// the last token that it signed has ended.
const (
	keyAhead   = 24 * time.Hour
	keyLife    = 90 * 24 * time.Hour // of signing
	keyOverlap = 8 * 24 * time.Hour

	keysStay  = 2 * keyLife
	keysKnown = time.Minute // how long they are used before the store is asked again
)

// A signingKey is one key pair.
type signingKey struct {
	Alg  string    `json:"alg"`
	Made time.Time `json:"made"`
	DER  []byte    `json:"der"` // PKCS #8

	id      string // RFC 7638
	private crypto.Signer
	public  jose.JSONWebKey
}

// keys are what signs. They are safe for concurrent use.
type keys struct {
	algorithms []string
	rows       *rows // nil: fixed
	sealed     cipher.AEAD
	row        string // its name: another Key has another row

	lock chan struct{} // held while the store is asked

	mu    sync.Mutex
	known []*signingKey
	asked time.Time
}

func fixedKeys(signers []crypto.Signer) (*keys, error) {
	k := &keys{}
	for i, s := range signers {
		key := &signingKey{}
		switch private := s.(type) {
		case *rsa.PrivateKey:
			if private.N.BitLen() < 2048 {
				return nil, fmt.Errorf("SigningKeys[%d]: an RSA key of %d bits: want at least 2048", i, private.N.BitLen())
			}
			key.Alg = "RS256"
		case *ecdsa.PrivateKey:
			if private.Curve != elliptic.P256() {
				return nil, fmt.Errorf("SigningKeys[%d]: an ECDSA key on %s: want P-256", i, private.Params().Name)
			}
			key.Alg = "ES256"
		default:
			return nil, fmt.Errorf("SigningKeys[%d]: %T: want *rsa.PrivateKey or *ecdsa.PrivateKey", i, s)
		}
		if err := key.use(s); err != nil {
			return nil, fmt.Errorf("SigningKeys[%d]: %w", i, err)
		}
		k.known = append(k.known, key)
		if !slices.Contains(k.algorithms, key.Alg) {
			k.algorithms = append(k.algorithms, key.Alg)
		}
	}
	return k, nil
}

func keptKeys(r *rows, secret string, shared bool) (*keys, error) {
	if !shared {
		secret = rand.Text() + rand.Text() // nothing else reads the memory
	}
	sealing, err := hkdf.Key(sha256.New, []byte(secret), nil, "wecom issuer: signing keys", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(sealing)
	if err != nil {
		return nil, err
	}
	sealed, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	name := sha256.Sum256(append([]byte("name"), sealing...))
	return &keys{
		algorithms: []string{"RS256", "ES256"},
		rows:       r, sealed: sealed, row: base64.RawURLEncoding.EncodeToString(name[:]),
		lock: make(chan struct{}, 1),
	}, nil
}

// use makes the key ready to sign.
func (k *signingKey) use(private crypto.Signer) error {
	k.public = jose.JSONWebKey{Key: private.Public(), Algorithm: k.Alg, Use: "sig"}
	sum, err := k.public.Thumbprint(crypto.SHA256)
	if err != nil {
		return err
	}
	k.id, k.private = base64.RawURLEncoding.EncodeToString(sum), private
	k.public.KeyID = k.id
	return nil
}

func makeKey(alg string, now time.Time) (*signingKey, error) {
	var private crypto.Signer
	var err error
	if alg == "RS256" {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return nil, err
	}
	k := &signingKey{Alg: alg, Made: now}
	if k.DER, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
		return nil, err
	}
	return k, k.use(private)
}

// sign returns the claims as a JWT of that type.
func (k *keys) sign(ctx context.Context, alg, kind string, claims any) (string, error) {
	all, err := k.current(ctx)
	if err != nil {
		return "", err
	}
	key := k.signs(all, alg, time.Now())
	if key == nil {
		return "", errors.New("issuer: there is no key for " + alg)
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(alg), Key: jose.JSONWebKey{Key: key.private, KeyID: key.id},
	}, (&jose.SignerOptions{}).WithType(jose.ContentType(kind)))
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}

// signs picks the key that every replica picks that knows the same keys.
func (k *keys) signs(all []*signingKey, alg string, now time.Time) *signingKey {
	var best *signingKey
	for _, key := range all { // the oldest first
		if key.Alg != alg || k.rows == nil && best != nil {
			continue
		}
		if best == nil || now.Sub(key.Made) >= keyAhead {
			best = key
		}
	}
	return best
}

// A Key is a key of the issuer's, without its secret.
type Key struct {
	ID, Algorithm string
	Made          time.Time // zero for one of Options.SigningKeys
	Signs         bool      // others are only published
}

// Keys returns the keys that are published, and makes them if there are none yet.
func (s *Issuer) Keys(ctx context.Context) ([]Key, error) {
	all, err := s.keys.current(ctx)
	var list []Key
	for _, key := range all {
		list = append(list, Key{key.id, key.Alg, key.Made, s.keys.signs(all, key.Alg, time.Now()) == key})
	}
	return list, err
}

// published returns what …/keys shows.
func (k *keys) published(ctx context.Context) (jose.JSONWebKeySet, error) {
	all, err := k.current(ctx)
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, key := range all {
		set.Keys = append(set.Keys, key.public)
	}
	return set, err
}

// current returns the keys that are valid now, the oldest first.
func (k *keys) current(ctx context.Context) ([]*signingKey, error) {
	if k.rows == nil {
		return k.known, nil
	}
	k.mu.Lock()
	known, fresh := k.known, time.Since(k.asked) < keysKnown
	k.mu.Unlock()
	if fresh {
		return known, nil
	}
	if known != nil {
		select {
		case k.lock <- struct{}{}:
		default:
			return known, nil // another request asks
		}
	} else {
		select {
		case k.lock <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer func() { <-k.lock }()
	k.mu.Lock()
	known, fresh = k.known, time.Since(k.asked) < keysKnown
	k.mu.Unlock()
	if fresh {
		return known, nil
	}
	now := time.Now()
	next, err := k.update(context.WithoutCancel(ctx), known, now)
	if err != nil {
		if known == nil {
			return nil, err
		}
		next = alive(known, now) // the store is away: what is known still signs
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known, k.asked = next, now
	return next, nil
}

// update reads the row, adds what is missing and writes it if that changes it. A store
// has no way to change a row in one step, so two replicas may each write theirs: keys are
// only ever added, each replica adds those that it knows again if they are missing, and
// none signs before all know it. The first keys sign at once: of these there is one row.
func (k *keys) update(ctx context.Context, known []*signingKey, now time.Time) ([]*signingKey, error) {
	stored, err := k.load(ctx, now)
	if err != nil {
		return nil, err
	}
	all := merge(stored, alive(known, now))
	first := len(all) == 0
	for _, alg := range k.algorithms {
		if due(all, alg, now) {
			key, err := makeKey(alg, now)
			if err != nil {
				return nil, err
			}
			all = merge(all, []*signingKey{key})
		}
	}
	if len(all) == len(stored) {
		return all, nil
	}
	if !first {
		return all, k.save(ctx, all)
	}
	box, err := k.seal(all)
	if err != nil {
		return nil, err
	}
	added, err := k.rows.add(ctx, keysRow, k.row, box, keysStay)
	if err != nil || added {
		return all, err
	}
	if stored, err = k.load(ctx, now); err != nil || len(stored) > 0 {
		return stored, err
	}
	return all, k.save(ctx, all) // the row is damaged
}

// due says whether a new key must be made: keyAhead before the last one has signed for keyLife.
func due(all []*signingKey, alg string, now time.Time) bool {
	return !slices.ContainsFunc(all, func(k *signingKey) bool {
		return k.Alg == alg && now.Sub(k.Made) < keyLife
	})
}

func alive(all []*signingKey, now time.Time) []*signingKey {
	return slices.DeleteFunc(slices.Clone(all), func(k *signingKey) bool { return now.Sub(k.Made) >= keyAhead+keyLife+keyOverlap })
}

// merge returns all keys of a and b, the oldest first.
func merge(a, b []*signingKey) []*signingKey {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(a, b *signingKey) int { return cmp.Or(a.Made.Compare(b.Made), cmp.Compare(a.id, b.id)) })
	return slices.CompactFunc(all, func(a, b *signingKey) bool { return a.id == b.id })
}

func (k *keys) load(ctx context.Context, now time.Time) ([]*signingKey, error) {
	var box []byte
	found, err := k.rows.get(ctx, keysRow, k.row, &box)
	if err != nil || !found {
		return nil, err
	}
	plain, err := k.sealed.Open(nil, nil, box, []byte(k.row))
	if err != nil {
		return nil, nil // damaged: as if there were none
	}
	var all []*signingKey
	if err := json.Unmarshal(plain, &all); err != nil {
		return nil, nil
	}
	for _, key := range all {
		private, err := x509.ParsePKCS8PrivateKey(key.DER)
		if err != nil {
			return nil, nil
		}
		signer, ok := private.(crypto.Signer)
		if !ok || key.use(signer) != nil {
			return nil, nil
		}
	}
	return alive(merge(nil, all), now), nil
}

func (k *keys) save(ctx context.Context, all []*signingKey) error {
	box, err := k.seal(all)
	if err != nil {
		return err
	}
	return k.rows.put(ctx, keysRow, k.row, box, keysStay)
}

func (k *keys) seal(all []*signingKey) ([]byte, error) {
	plain, err := json.Marshal(all)
	return k.sealed.Seal(nil, nil, plain, []byte(k.row)), err
}
