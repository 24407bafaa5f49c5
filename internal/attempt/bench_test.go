package attempt_test

import (
	"fmt"
	"testing"

	"github.com/wecomauth/wecom/internal/attempt"
)

// What an anonymous request costs here: an attempt, its state and its cookie.
func BenchmarkMint(b *testing.B) {
	k := newKeys(b, info, "secret")
	b.ReportAllocs()
	for b.Loop() {
		a := attempt.New(0, now, "/reports/2026?page=3")
		k.State(a)
		k.Cookie(a)
	}
}

func BenchmarkParseState(b *testing.B) {
	k := newKeys(b, info, "secret")
	s := k.State(attempt.New(0, now, ""))
	b.ReportAllocs()
	for b.Loop() {
		k.ParseState(s)
	}
}

func BenchmarkParseCookie(b *testing.B) {
	k := newKeys(b, info, "secret")
	s := k.Cookie(attempt.New(0, now, "/reports/2026?page=3"))
	b.ReportAllocs()
	for b.Loop() {
		k.ParseCookie(s)
	}
}

// The cookies of a header of 64 KiB, each of which must be verified under two keys.
func BenchmarkPruneHostile(b *testing.B) {
	k := newKeys(b, info, "secret", "earlier")
	value := newKeys(b, info, "foreign").Cookie(attempt.New(0, now, ""))
	var have []attempt.Cookie
	for i := range 64 << 10 / 88 {
		have = append(have, attempt.Cookie{Name: fmt.Sprintf("%s-%08x", prefix, i), Value: value})
	}
	incoming := cookieOf(k, attempt.New(0, now, "/"))
	b.ReportAllocs()
	for b.Loop() {
		k.Prune(prefix, have, incoming)
	}
}
