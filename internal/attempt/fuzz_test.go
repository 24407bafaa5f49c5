package attempt_test

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/wecomauth/wecom/internal/attempt"
)

// Mutation alone never finds a signature, so the fuzzers also make attempts
// from the input, and cut and change what these become.

func FuzzParseState(f *testing.F) {
	k := newKeys(f, info, "secret")
	f.Add(k.State(attempt.New(0, now, "")), uint8(0), uint32(0), []byte(nil), uint16(0), uint8(1))
	f.Add(strings.Repeat("0", 76), uint8(255), uint32(1<<32-1), []byte("0123456789abcdef"), uint16(75), uint8('A'))
	f.Add("", uint8(1), uint32(1), []byte("x"), uint16(20), uint8(0))
	f.Fuzz(func(t *testing.T, s string, number uint8, at uint32, id []byte, position uint16, change uint8) {
		if a, ok := k.ParseState(s); ok && k.State(a) != s {
			t.Errorf("%q parses and is spelled %q", s, k.State(a))
		}
		a := attempt.Attempt{Number: int(number), Started: time.Unix(int64(at), 0).UTC()}
		copy(a.ID[:], id)
		state := k.State(a)
		if got, ok := k.ParseState(state); !ok || got != a {
			t.Errorf("%+v comes back as %+v, %v", a, got, ok)
		}
		changed := []byte(state)
		changed[int(position)%len(changed)] ^= change
		if _, ok := k.ParseState(string(changed)); ok != (change == 0) {
			t.Errorf("%q for %q: accepted %v", changed, state, ok)
		}
	})
}

func FuzzParseCookie(f *testing.F) {
	k := newKeys(f, info, "secret")
	f.Add(k.Cookie(attempt.New(0, now, "/x")), uint8(0), uint32(0), []byte(nil), false, "/x", uint16(0), uint8(1))
	f.Add(strings.Repeat("A", 52), uint8(255), uint32(1<<32-1), []byte("0123456789abcdef"), true, strings.Repeat("/", attempt.MaxReturnTo), uint16(75), uint8('A'))
	f.Add("\n", uint8(1), uint32(1), []byte("x"), false, "", uint16(51), uint8(3))
	state, _ := hex.DecodeString(k.State(attempt.New(0, now, "")))
	f.Add(string(state), uint8(1), uint32(1), state, true, string(state), uint16(51), uint8(3))
	f.Fuzz(func(t *testing.T, s string, number uint8, at uint32, id []byte, spent bool, returnTo string, position uint16, change uint8) {
		if a, ok := k.ParseCookie(s); ok && k.Cookie(a) != s {
			t.Errorf("%q parses and is spelled %q", s, k.Cookie(a))
		}
		a := attempt.Attempt{Number: int(number), Started: time.Unix(int64(at), 0).UTC(), Spent: spent, SignedIn: number%2 == 1, ReturnTo: returnTo}
		copy(a.ID[:], id)
		cookie := k.Cookie(a)
		if len(returnTo) > attempt.MaxReturnTo {
			a.ReturnTo = ""
		}
		if got, ok := k.ParseCookie(cookie); !ok || got != a {
			t.Errorf("%+v comes back as %+v, %v", a, got, ok)
		}
		changed := []byte(cookie)
		changed[int(position)%len(changed)] ^= change
		if _, ok := k.ParseCookie(string(changed)); ok != (change == 0) {
			t.Errorf("%q for %q: accepted %v", changed, cookie, ok)
		}
		have := []attempt.Cookie{{Name: prefix + "-" + a.Suffix(), Value: s}, {Name: s, Value: cookie}, {Name: a.Name(prefix), Value: string(changed)}}
		for _, name := range k.Prune(prefix, have, cookieOf(k, attempt.New(0, now, strings.Repeat("x", attempt.MaxReturnTo)))) {
			if !attempt.IsName(prefix, name) {
				t.Errorf("drops %q", name)
			}
		}
	})
}
