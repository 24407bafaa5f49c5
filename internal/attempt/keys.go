package attempt

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"
	"time"
)

// What is signed, in this order:
//
//	state:  version, number, time (4, big-endian), ID (16)
//	cookie: version, spent, number, time (4, big-endian), ID (16), return path
//
// and then 16 bytes of HMAC-SHA256. Half of the hash is what RFC 2104 asks for at
// least and leaves a forger one chance in 2^128 per try, for the cookie as for
// the state; a whole one would cost a browser five of its attempts.
const (
	version = 1
	macLen  = 16
	idLen   = len(Attempt{}.ID)

	stateLen  = 2 + 4 + idLen
	cookieLen = 3 + 4 + idLen // without the return path
)

// StateLen is the length of every state.
const StateLen = 2 * (stateLen + macLen)

var (
	minCookie = encoding.EncodedLen(cookieLen + macLen)
	maxCookie = encoding.EncodedLen(cookieLen + MaxReturnTo + macLen)
)

// Strict, so that a cookie has one spelling only.
var encoding = base64.RawURLEncoding.Strict()

// Keys signs and verifies attempts. Make one with [NewKeys]: the zero Keys
// panics when it signs and verifies nothing. It is immutable and safe for
// concurrent use.
type Keys struct {
	state, cookie []*macKey // the first signs, all verify
}

// NewKeys derives the signing keys from current, and verifying keys from
// current and earlier, by HKDF-SHA256. Keys that are derived with different info never
// accept each other's attempts, and neither do the key for states and the one for
// cookies. info names the application that signs; the caller joins its parts so
// that no two applications give the same string. It returns an error if one of the secrets is empty.
func NewKeys(current []byte, earlier [][]byte, info string) (*Keys, error) {
	k := &Keys{}
	for _, secret := range append([][]byte{current}, earlier...) {
		if len(secret) == 0 {
			return nil, errors.New("attempt: empty key")
		}
		state, err := newMACKey(secret, "wecom attempt state\x00"+info)
		if err != nil {
			return nil, err
		}
		cookie, err := newMACKey(secret, "wecom attempt cookie\x00"+info)
		if err != nil {
			return nil, err
		}
		k.state = append(k.state, state)
		k.cookie = append(k.cookie, cookie)
	}
	return k, nil
}

// State returns a's state: StateLen lower-case hexadecimal digits. It does not
// hold the return path, nor whether the attempt is spent.
func (k *Keys) State(a Attempt) string {
	b := make([]byte, 0, stateLen+macLen)
	b = appendHead(append(b, version), a)
	return hex.EncodeToString(k.state[0].sign(b))
}

// ParseState returns the attempt that s was made from, without the return path
// and never spent. ok is false unless s is a state as [Keys.State] returns it,
// signed with any of the keys.
func (k *Keys) ParseState(s string) (a Attempt, ok bool) {
	if len(s) != StateLen || !lowerHex(s) {
		return Attempt{}, false
	}
	var b [stateLen + macLen]byte
	if _, err := hex.Decode(b[:], []byte(s)); err != nil {
		return Attempt{}, false
	}
	if b[0] != version || !verify(k.state, b[:]) {
		return Attempt{}, false
	}
	return parseHead(b[1:]), true
}

// Cookie returns the value of a's cookie, at most 1400 bytes of the base64url alphabet.
// A return path longer than MaxReturnTo is left out.
func (k *Keys) Cookie(a Attempt) string {
	if len(a.ReturnTo) > MaxReturnTo {
		a.ReturnTo = ""
	}
	var flags byte
	if a.Spent {
		flags |= flagSpent
	}
	if a.SignedIn {
		flags |= flagSignedIn
	}
	b := make([]byte, 0, cookieLen+len(a.ReturnTo)+macLen)
	b = appendHead(append(b, version, flags), a)
	b = append(b, a.ReturnTo...)
	return encoding.EncodeToString(k.cookie[0].sign(b))
}

// ParseCookie returns the attempt that s was made from. ok is false unless s is
// a value as [Keys.Cookie] returns it, signed with any of the keys.
func (k *Keys) ParseCookie(s string) (a Attempt, ok bool) {
	// The decoder, although strict, skips line breaks.
	if len(s) < minCookie || len(s) > maxCookie || strings.ContainsAny(s, "\r\n") {
		return Attempt{}, false
	}
	b, err := encoding.DecodeString(s)
	if err != nil {
		return Attempt{}, false
	}
	if b[0] != version || b[1] > flagSpent|flagSignedIn || !verify(k.cookie, b) {
		return Attempt{}, false
	}
	a = parseHead(b[2:])
	a.Spent, a.SignedIn = b[1]&flagSpent != 0, b[1]&flagSignedIn != 0
	a.ReturnTo = string(b[cookieLen : len(b)-macLen])
	return a, true
}

// What the cookie's second byte holds.
const (
	flagSpent = 1 << iota
	flagSignedIn
)

// appendHead appends what state and cookie have in common. The time fits into 32 bits until 2106.
func appendHead(b []byte, a Attempt) []byte {
	b = append(b, byte(min(max(a.Number, 0), MaxNumber)))
	b = binary.BigEndian.AppendUint32(b, uint32(a.Started.Unix()))
	return append(b, a.ID[:]...)
}

func parseHead(b []byte) (a Attempt) {
	a.Number = int(b[0])
	a.Started = time.Unix(int64(binary.BigEndian.Uint32(b[1:])), 0).UTC()
	copy(a.ID[:], b[5:])
	return a
}

// A macKey computes HMAC-SHA256 under one key. Its pool keeps hashes that have
// digested the key already: that is half of the work for such short messages.
type macKey struct{ pool sync.Pool }

func newMACKey(secret []byte, info string) (*macKey, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, info, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("attempt: deriving a key: %w", err)
	}
	return &macKey{sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}, nil
}

// sum appends the truncated HMAC of message to dst.
func (m *macKey) sum(dst, message []byte) []byte {
	h := m.pool.Get().(hash.Hash)
	h.Reset()
	h.Write(message)
	var full [sha256.Size]byte
	dst = append(dst, h.Sum(full[:0])[:macLen]...)
	m.pool.Put(h)
	return dst
}

func (m *macKey) sign(b []byte) []byte { return m.sum(b, b) }

// verify reports whether b ends in the HMAC that one of the keys gives to the
// rest of it.
func verify(keys []*macKey, b []byte) bool {
	message, got := b[:len(b)-macLen], b[len(b)-macLen:]
	for _, k := range keys {
		var want [macLen]byte
		if hmac.Equal(k.sum(want[:0], message), got) {
			return true
		}
	}
	return false
}
