// Package msgcrypt signs, opens and seals the messages that WeCom posts to an
// app (接收消息): AES-256-CBC under the app's EncodingAESKey and SHA-1 over the
// ciphertext. The scheme is WeCom's own (path/90968); nothing in it may be changed.
package msgcrypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

const (
	keyLen    = 43 // of an EncodingAESKey
	blockLen  = 32 // what WeCom pads to, although AES has blocks of 16
	prefixLen = 16 // random bytes before a message
	headerLen = prefixLen + 4
)

// The reasons why a ciphertext does not open.
var (
	errKey     = errors.New("an EncodingAESKey has 43 letters and digits")
	errBase64  = errors.New("the ciphertext is not base64")
	errLength  = errors.New("the ciphertext is not a whole number of blocks")
	errPadding = errors.New("the padding is wrong: another EncodingAESKey?")
	errMessage = errors.New("the message is longer than what holds it")
)

// A Key is a decoded EncodingAESKey. It is immutable and safe for concurrent use.
type Key struct {
	block cipher.Block
	iv    []byte
}

// ParseKey decodes an EncodingAESKey as it stands in the admin console. The two
// unused bits of its last character may be set: they are even in WeCom's own examples.
func ParseKey(encoded string) (Key, error) {
	if len(encoded) != keyLen {
		return Key{}, errKey
	}
	raw, err := base64.StdEncoding.DecodeString(encoded + "=")
	if err != nil || len(raw) != 32 { // a line break counts as a character and decodes to nothing
		return Key{}, errKey
	}
	block, err := aes.NewCipher(raw)
	return Key{block, raw[:aes.BlockSize]}, err
}

// Sign returns the signature of an encrypted message: 40 lower-case hexadecimal digits.
func Sign(token, timestamp, nonce, encrypted string) string {
	parts := []string{token, timestamp, nonce, encrypted}
	slices.Sort(parts)
	sum := sha1.Sum([]byte(strings.Join(parts, "")))
	return hex.EncodeToString(sum[:])
}

// Verify reports in constant time whether signature is Sign's of the rest.
func Verify(signature, token, timestamp, nonce, encrypted string) bool {
	return subtle.ConstantTimeCompare([]byte(signature), []byte(Sign(token, timestamp, nonce, encrypted))) == 1
}

// Open decrypts what Seal returned. It trusts nothing in the ciphertext: a
// signature does not prove that the sender encrypts as WeCom does.
func (k Key) Open(encrypted string) (message []byte, receiveID string, err error) {
	text, err := base64.StdEncoding.DecodeString(encrypted)
	if err != nil {
		return nil, "", errBase64
	}
	if len(text) == 0 || len(text)%aes.BlockSize != 0 {
		return nil, "", errLength
	}
	cipher.NewCBCDecrypter(k.block, k.iv).CryptBlocks(text, text)
	if text, err = unpad(text); err != nil {
		return nil, "", err
	}
	if len(text) < headerLen {
		return nil, "", errMessage
	}
	n, rest := binary.BigEndian.Uint32(text[prefixLen:]), text[headerLen:]
	if uint64(n) > uint64(len(rest)) {
		return nil, "", errMessage
	}
	return rest[:n], string(rest[n:]), nil
}

func unpad(text []byte) ([]byte, error) {
	pad := int(text[len(text)-1])
	if pad < 1 || pad > blockLen || pad > len(text) {
		return nil, errPadding
	}
	text, padding := text[:len(text)-pad], text[len(text)-pad:]
	for _, b := range padding {
		if int(b) != pad {
			return nil, errPadding
		}
	}
	return text, nil
}

// Seal encrypts message for receiveID, the id of the corp or suite that it is for.
func (k Key) Seal(message []byte, receiveID string) string {
	var prefix [prefixLen]byte
	_, _ = rand.Read(prefix[:]) // never fails
	return k.SealWith(prefix, message, receiveID)
}

// SealWith is Seal with 16 given bytes for the random ones.
func (k Key) SealWith(prefix [prefixLen]byte, message []byte, receiveID string) string {
	text := append([]byte(nil), prefix[:]...)
	text = binary.BigEndian.AppendUint32(text, uint32(len(message)))
	text = append(text, message...)
	text = append(text, receiveID...)
	return k.Encrypt(padded(text, blockLen-len(text)%blockLen))
}

// Encrypt encrypts whole blocks, whatever is in them.
func (k Key) Encrypt(text []byte) string {
	sealed := make([]byte, len(text))
	cipher.NewCBCEncrypter(k.block, k.iv).CryptBlocks(sealed, text)
	return base64.StdEncoding.EncodeToString(sealed)
}

// Malformed returns texts that encrypt as they are and must not open, by what is wrong with them.
func Malformed(message []byte, receiveID string) map[string][]byte {
	text := func(size uint32, rest ...byte) []byte {
		return append(binary.BigEndian.AppendUint32(make([]byte, prefixLen), size), rest...)
	}
	whole := text(uint32(len(message)), append(append([]byte(nil), message...), receiveID...)...)
	n := blockLen - len(whole)%blockLen
	uneven := padded(whole, n)
	uneven[len(uneven)-1] = blockLen // and what stands before it is no padding, or another one
	uneven[len(uneven)-2] = 0
	zero, beyond := padded(whole, n), padded(whole, n)
	zero[len(zero)-1] = 0
	beyond[len(beyond)-1] = blockLen + 1
	short := make([]byte, 16)
	short[15] = 17 // more than there is
	return map[string][]byte{
		"padding of 0":                  zero,
		"padding of 33":                 beyond,
		"uneven padding":                uneven,
		"padding longer than the text":  short,
		"a length of 0xffffffff":        padded(text(0xffffffff), 12),
		"a length that overflows":       padded(text(0xfffffff0), 12),
		"a length beyond the end":       padded(text(5, 'a', 'b', 'c', 'd'), 8),
		"shorter than what comes first": padded(make([]byte, 4), 28),
	}
}

func padded(text []byte, n int) []byte {
	text = append([]byte(nil), text...)
	for range n {
		text = append(text, byte(n))
	}
	return text
}
