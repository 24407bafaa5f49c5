package attempt_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wecomauth/wecom/internal/attempt"
)

const info = "wecom\x00ww1234\x001000002\x00https://app.example.com/wecom/callback"

var now = time.Date(2026, 3, 1, 12, 30, 15, 999, time.FixedZone("CST", 8*3600))

func newKeys(t testing.TB, info, current string, earlier ...string) *attempt.Keys {
	t.Helper()
	var old [][]byte
	for _, e := range earlier {
		old = append(old, []byte(e))
	}
	k, err := attempt.NewKeys([]byte(current), old, info)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestNew(t *testing.T) {
	a := attempt.New(1, now, "/x?y")
	if a.Number != 1 || a.Spent || a.ReturnTo != "/x?y" || a.ID == [16]byte{} {
		t.Errorf("%+v", a)
	}
	if want := now.Truncate(time.Second).UTC(); a.Started != want {
		t.Errorf("started %v, want %v", a.Started, want)
	}
	for number, want := range map[int]int{-1: 0, 0: 0, 255: 255, 256: 255} {
		if got := attempt.New(number, now, "").Number; got != want {
			t.Errorf("number %d becomes %d, want %d", number, got, want)
		}
	}
	for length, want := range map[int]int{attempt.MaxReturnTo: attempt.MaxReturnTo, attempt.MaxReturnTo + 1: 0} {
		if got := len(attempt.New(0, now, strings.Repeat("/", length)).ReturnTo); got != want {
			t.Errorf("a return path of %d bytes becomes one of %d, want %d", length, got, want)
		}
	}
}

func TestT6_StatesAreUnique(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 10_000
	}
	k := newKeys(t, info, "secret")
	shape := regexp.MustCompile(`^[0-9a-f]{76}$`)
	ids := make(map[[16]byte]struct{}, n)
	for i := range n {
		a := attempt.New(0, now, "")
		s := k.State(a)
		if i < 10_000 && !shape.MatchString(s) || len(s) != attempt.StateLen {
			t.Fatalf("%q is no state", s)
		}
		ids[a.ID] = struct{}{}
	}
	if len(ids) != n {
		t.Errorf("%d different IDs in %d attempts", len(ids), n)
	}
}

func TestRoundTrip(t *testing.T) {
	k := newKeys(t, info, "secret")
	for _, number := range []int{0, 1, 255} {
		for _, at := range []time.Time{now, time.Unix(0, 0), time.Unix(1<<32-1, 0)} {
			for _, spent := range []bool{false, true} {
				for _, returnTo := range []string{"", "/", "/报表?x=\x00\xff", strings.Repeat("x", attempt.MaxReturnTo)} {
					a := attempt.New(number, at, returnTo)
					a.Spent, a.SignedIn = spent, !spent
					c := k.Cookie(a)
					if len(c) > 1400 {
						t.Errorf("a cookie of %d bytes", len(c))
					}
					if got, ok := k.ParseCookie(c); !ok || got != a {
						t.Errorf("cookie: %+v, %v, want %+v", got, ok, a)
					}
					want := a
					want.Spent, want.SignedIn, want.ReturnTo = false, false, ""
					got, ok := k.ParseState(k.State(a))
					if !ok || got != want {
						t.Errorf("state: %+v, %v, want %+v", got, ok, want)
					}
					if !got.Same(a) || !a.Same(got) || !got.Started.Equal(a.Started) {
						t.Error("state and cookie are not the same attempt")
					}
				}
			}
		}
	}

	// An attempt that New did not make is signed all the same.
	odd := attempt.Attempt{Number: 300, Started: now, ReturnTo: strings.Repeat("x", attempt.MaxReturnTo+1)}
	if got, ok := k.ParseCookie(k.Cookie(odd)); !ok || got.ReturnTo != "" || got.Number != 255 {
		t.Errorf("%+v, %v", got, ok)
	}
}

func TestT5_SameTellsAttemptsApart(t *testing.T) {
	a := attempt.New(0, now, "/")
	for i := range a.ID {
		b := a
		b.ID[i] ^= 1
		if a.Same(b) {
			t.Errorf("byte %d of the ID does not count", i)
		}
	}
	b := a
	b.Number = 1
	if a.Same(b) {
		t.Error("the number does not count")
	}
	b = a
	b.Started = a.Started.Add(time.Second)
	if !a.Same(b) {
		t.Error("the time counts: a spent attempt is another")
	}
}

func TestName(t *testing.T) {
	a := attempt.Attempt{ID: [16]byte{0x01, 0xab, 0xcd, 0xef, 0x99}}
	if got := a.Suffix(); got != "01abcdef" {
		t.Errorf("Suffix() = %q", got)
	}
	if got := a.Name("__Host-wecom-x"); got != "__Host-wecom-x-01abcdef" {
		t.Errorf("Name() = %q", got)
	}
	tests := map[string]bool{
		"p-01abcdef":  true,
		"p-00000000":  true,
		"p-01ABCDEF":  false,
		"p-01abcde":   false,
		"p-01abcdef0": false,
		"p-01abcdeg":  false,
		"p-01abcde\n": false,
		"p_01abcdef":  false,
		"P-01abcdef":  false,
		"q-01abcdef":  false,
		"p-":          false,
		"p":           false,
		"":            false,
	}
	for name, want := range tests {
		if got := attempt.IsName("p", name); got != want {
			t.Errorf("IsName(p, %q) = %v", name, got)
		}
	}
}

func TestNewKeys_RefusesEmptySecrets(t *testing.T) {
	if k, err := attempt.NewKeys(nil, nil, info); k != nil || err == nil {
		t.Error("no secret is accepted")
	}
	if k, err := attempt.NewKeys([]byte("a"), [][]byte{[]byte("b"), nil}, info); k != nil || err == nil {
		t.Error("an empty earlier secret is accepted")
	}
}

func TestT6_ChangedStatesAreRefused(t *testing.T) {
	k := newKeys(t, info, "secret", "earlier")
	s := k.State(attempt.New(0, now, ""))
	checkSpellings(t, s, hex.DecodeString, hex.EncodeToString, func(s string) bool { _, ok := k.ParseState(s); return ok })
	for _, other := range []string{strings.ToUpper(s), "0" + s, s + "00", s[2:], s[:74], " " + s[1:], "0X" + s[2:], strings.Repeat("0", 76), strings.Repeat("f", 76), s + s} {
		if _, ok := k.ParseState(other); ok {
			t.Errorf("%q is accepted", other)
		}
	}
}

func TestT6_ChangedCookiesAreRefused(t *testing.T) {
	k := newKeys(t, info, "secret", "earlier")
	encoding := base64.RawURLEncoding
	// Three lengths, so that the last digit has four, two and no spare bits.
	for _, returnTo := range []string{"", "/", "/x", "/a/long/path?with=query"} {
		c := k.Cookie(attempt.New(0, now, returnTo))
		parse := func(s string) bool { _, ok := k.ParseCookie(s); return ok }
		checkSpellings(t, c, encoding.DecodeString, encoding.EncodeToString, parse)
		for i := range len(c) + 1 {
			for _, b := range []string{"\n", "\r", "\r\n", " ", "="} {
				if parse(c[:i] + b + c[i:]) {
					t.Errorf("%q put in at %d is accepted", b, i)
				}
			}
		}
		for _, other := range []string{c + "==", c + "A", c + "AAAA", "A" + c, strings.NewReplacer("-", "+", "_", "/").Replace(c) + "+", strings.Repeat("A", 1<<20), strings.Repeat("\n", len(c))} {
			if parse(other) {
				t.Errorf("%.80q is accepted", other)
			}
		}
	}
}

// checkSpellings fails the test if parse accepts any string that differs from
// valid in one byte, one bit of what it encodes, or in length.
func checkSpellings(t *testing.T, valid string, decode func(string) ([]byte, error), encode func([]byte) string, parse func(string) bool) {
	t.Helper()
	if !parse(valid) {
		t.Fatalf("%q is refused", valid)
	}
	for i := range len(valid) {
		if parse(valid[:i]) {
			t.Errorf("cut to %d bytes it is accepted", i)
		}
		if parse(valid[i+1:]) {
			t.Errorf("without its first %d bytes it is accepted", i+1)
		}
		for b := range 256 {
			if byte(b) == valid[i] {
				continue
			}
			if other := valid[:i] + string([]byte{byte(b)}) + valid[i+1:]; parse(other) {
				t.Errorf("with byte %d as %q it is accepted", i, b)
			}
		}
	}
	raw, err := decode(valid)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(raw) {
		raw[bit/8] ^= 1 << (bit % 8)
		if parse(encode(raw)) {
			t.Errorf("with bit %d flipped it is accepted", bit)
		}
		raw[bit/8] ^= 1 << (bit % 8)
	}
}

func TestT18_OtherKeysAndLabelsAreRefused(t *testing.T) {
	a := attempt.New(0, now, "/x")
	k := newKeys(t, info, "secret")
	for name, other := range map[string]*attempt.Keys{
		"other secret":    newKeys(t, info, "secret2"),
		"other agent":     newKeys(t, strings.Replace(info, "1000002", "1000003", 1), "secret"),
		"no info":         newKeys(t, "", "secret"),
		"only earlier":    newKeys(t, info, "new", "newer"),
		"info in secret":  newKeys(t, "", "secret"+info),
		"the zero Keys":   {},
		"a longer secret": newKeys(t, info, "secret\x00\x00"),
	} {
		if _, ok := other.ParseState(k.State(a)); ok {
			t.Errorf("%s: the state is accepted", name)
		}
		if _, ok := other.ParseCookie(k.Cookie(a)); ok {
			t.Errorf("%s: the cookie is accepted", name)
		}
	}
}

func TestEarlierKeysVerify(t *testing.T) {
	a := attempt.New(0, now, "/x")
	old, older := newKeys(t, info, "old"), newKeys(t, info, "older")
	k := newKeys(t, info, "new", "old", "older")
	for _, signer := range []*attempt.Keys{k, old, older} {
		if got, ok := k.ParseState(signer.State(a)); !ok || !got.Same(a) {
			t.Error("a state is refused")
		}
		if got, ok := k.ParseCookie(signer.Cookie(a)); !ok || got != a {
			t.Error("a cookie is refused")
		}
	}
	current := newKeys(t, info, "new")
	if _, ok := current.ParseState(k.State(a)); !ok {
		t.Error("the current key does not sign states")
	}
	if _, ok := current.ParseCookie(k.Cookie(a)); !ok {
		t.Error("the current key does not sign cookies")
	}
}

// The two have keys of their own, derived under labels of their own: the key of
// one gives the other's message another signature. Both are derived here again, as the package's contract says.
func TestT6_StateIsNoCookie(t *testing.T) {
	k := newKeys(t, info, "secret")
	a := attempt.New(0, now, "")
	state, err := hex.DecodeString(k.State(a))
	if err != nil {
		t.Fatal(err)
	}
	cookie, err := base64.RawURLEncoding.DecodeString(k.Cookie(a))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(label string, message []byte) []byte {
		key, err := hkdf.Key(sha256.New, []byte("secret"), nil, label+"\x00"+info, 32)
		if err != nil {
			t.Fatal(err)
		}
		h := hmac.New(sha256.New, key)
		h.Write(message)
		return append(bytes.Clone(message), h.Sum(nil)[:16]...)
	}
	const stateLabel, cookieLabel = "wecom attempt state", "wecom attempt cookie"
	accepts := func(b []byte) (asState, asCookie bool) {
		_, asState = k.ParseState(hex.EncodeToString(b))
		_, asCookie = k.ParseCookie(base64.RawURLEncoding.EncodeToString(b))
		return
	}
	tests := []struct {
		name              string
		b                 []byte
		asState, asCookie bool
	}{
		{"the state", state, true, false},
		{"the cookie", cookie, false, true},
		{"the state's message, signed again", sign(stateLabel, state[:22]), true, false},
		{"the cookie's message, signed again", sign(cookieLabel, cookie[:23]), false, true},
		{"the state's message under the cookie's key", sign(cookieLabel, state[:22]), false, false},
		{"the cookie's message under the state's key", sign(stateLabel, cookie[:23]), false, false},
		{"another version of the state", sign(stateLabel, append([]byte{2}, state[1:22]...)), false, false},
		{"another version of the cookie", sign(cookieLabel, append([]byte{2}, cookie[1:23]...)), false, false},
		{"the longest return path", sign(cookieLabel, append(cookie[:23:23], bytes.Repeat([]byte("x"), attempt.MaxReturnTo)...)), false, true},
		{"a longer return path", sign(cookieLabel, append(cookie[:23:23], bytes.Repeat([]byte("x"), attempt.MaxReturnTo+1)...)), false, false},
		{"a cookie with an unknown flag", sign(cookieLabel, append([]byte{1, 4}, cookie[2:23]...)), false, false},
	}
	for _, test := range tests {
		if asState, asCookie := accepts(test.b); asState != test.asState || asCookie != test.asCookie {
			t.Errorf("%s: accepted as state %v, as cookie %v", test.name, asState, asCookie)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	k := newKeys(t, info, "secret", "earlier")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				a := attempt.New(i, now, fmt.Sprint("/", j))
				if got, ok := k.ParseCookie(k.Cookie(a)); !ok || got != a {
					t.Error("cookie")
				}
				if got, ok := k.ParseState(k.State(a)); !ok || !got.Same(a) {
					t.Error("state")
				}
			}
		})
	}
	wg.Wait()
}
