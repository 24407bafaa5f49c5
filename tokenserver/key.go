package tokenserver

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"

	"github.com/wecomauth/wecom"
)

// A key is at least as long as one of 32 random bytes, and short enough for a header.
const (
	minKey = 32
	maxKey = 512
)

// GenerateKey returns a new key of 32 random bytes, as 64 hex digits for [SourceConfig], and its
// SHA-256 for [Client]. Neither shows which client it belongs to.
//
// A key from elsewhere must be random, too: a hash does not protect a password. Its SHA-256 is
// what printf %s "$KEY" | sha256sum prints.
func GenerateKey() (key wecom.Secret, keySHA256 string) {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	text := hex.EncodeToString(b)
	return wecom.NewSecret(text), hexSHA256(text)
}

func hexSHA256(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
