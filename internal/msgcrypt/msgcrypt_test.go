package msgcrypt_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/msgcrypt"
)

// A vector was computed by two other implementations, or captured. Refuse says
// what is wrong with the ciphertext, under a signature that is right.
type vector struct {
	Name, Token, EncodingAESKey, ReceiveID, Timestamp, Nonce, Random, Plain, Encrypt, MsgSignature, Refuse string
}

func vectors(t testing.TB) []vector {
	file, err := os.ReadFile("testdata/vectors.json")
	require.NoError(t, err)
	var list []vector
	require.NoError(t, json.Unmarshal(file, &list))
	require.Len(t, list, 40)
	return list
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			key, err := msgcrypt.ParseKey(v.EncodingAESKey)
			require.NoError(t, err)
			assert.Equal(t, v.MsgSignature, msgcrypt.Sign(v.Token, v.Timestamp, v.Nonce, v.Encrypt))
			message, receiveID, err := key.Open(v.Encrypt)
			if v.Refuse != "" {
				assert.Error(t, err)
				assert.Empty(t, message)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, v.Plain, string(message))
			assert.Equal(t, v.ReceiveID, receiveID)
			assert.Equal(t, v.Encrypt, key.SealWith([16]byte([]byte(v.Random)), message, receiveID))
		})
	}
}

func TestVerify(t *testing.T) {
	const token, timestamp, nonce, encrypted = "Tok3n", "1760000000", "77", "abc="
	good := msgcrypt.Sign(token, timestamp, nonce, encrypted)
	assert.True(t, msgcrypt.Verify(good, token, timestamp, nonce, encrypted))
	for desc, ok := range map[string]bool{
		"another token":      msgcrypt.Verify(good, "Tok4n", timestamp, nonce, encrypted),
		"another timestamp":  msgcrypt.Verify(good, token, "1760000001", nonce, encrypted),
		"another nonce":      msgcrypt.Verify(good, token, timestamp, "78", encrypted),
		"another ciphertext": msgcrypt.Verify(good, token, timestamp, nonce, "abd="),
		"capitals":           msgcrypt.Verify(strings.ToUpper(good), token, timestamp, nonce, encrypted),
		"cut":                msgcrypt.Verify(good[:39], token, timestamp, nonce, encrypted),
		"none":               msgcrypt.Verify("", token, timestamp, nonce, encrypted),
	} {
		assert.False(t, ok, desc)
	}
}

func TestKeys(t *testing.T) {
	const good = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	for desc, key := range map[string]string{
		"none":         "",
		"short":        good[1:],
		"long":         good + "H",
		"not base64":   good[:42] + "!",
		"a line break": good[:42] + "\n",
	} {
		_, err := msgcrypt.ParseKey(key)
		assert.Error(t, err, desc)
	}
	key, err := msgcrypt.ParseKey(good)
	require.NoError(t, err)
	assert.NotEqual(t, key.Seal([]byte("m"), "ww1"), key.Seal([]byte("m"), "ww1"), "the prefix is random")
	for _, size := range []int{0, 1, 11, 12, 13, 4096} { // around a whole block with what is added
		message := []byte(strings.Repeat("m", size))
		got, receiveID, err := key.Open(key.Seal(message, ""))
		require.NoError(t, err)
		assert.Equal(t, message, append([]byte{}, got...))
		assert.Empty(t, receiveID)
	}
}

func TestMalformed(t *testing.T) {
	key, err := msgcrypt.ParseKey("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")
	require.NoError(t, err)
	list := msgcrypt.Malformed([]byte("hello"), "ww1")
	assert.Len(t, list, 8)
	for name, text := range list {
		_, _, err := key.Open(key.Encrypt(text))
		assert.Error(t, err, name)
	}
}

// Whatever opens, seals to itself again but for the prefix, and nothing panics.
func FuzzOpen(f *testing.F) {
	key, err := msgcrypt.ParseKey("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")
	require.NoError(f, err)
	for _, v := range vectors(f) {
		f.Add(v.Encrypt)
	}
	f.Fuzz(func(t *testing.T, encrypted string) {
		message, receiveID, err := key.Open(encrypted)
		if err != nil {
			return
		}
		again, id, err := key.Open(key.Seal(message, receiveID))
		require.NoError(t, err)
		assert.Equal(t, message, again)
		assert.Equal(t, receiveID, id)
	})
}
