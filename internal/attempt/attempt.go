// Package attempt holds pending sign-ins: what is remembered between the moment
// a browser leaves for the sign-in page and the moment it comes back.
//
// Nothing is stored on the server. An [Attempt] travels twice, once in the state
// that the sign-in page hands back, once in a cookie of the browser that asked,
// each signed with a key of its own. Both carry the same random ID: only the
// browser that holds the cookie can finish what the state started.
package attempt

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"time"
)

// MaxReturnTo is the length in bytes up to which an attempt remembers a return
// path. A longer one would crowd out the other attempts of the browser.
const MaxReturnTo = 1000

// MaxNumber is the highest number that an attempt can have.
const MaxNumber = 255

// An Attempt is one pending sign-in. Its parts that go into the state are ID,
// Number and Started. The zero Attempt is none.
type Attempt struct {
	// ID is random, and what makes the attempt itself.
	ID [16]byte
	// Number counts automatic restarts: 0 was asked for by the user.
	Number int
	// Started is when the attempt was made, in whole seconds, UTC.
	Started time.Time
	// Spent says that the attempt has ended in a sign-in.
	Spent bool
	// SignedIn says that the browser had a session when the attempt was made.
	SignedIn bool
	// ReturnTo is where the sign-in ends, "" for the default page.
	ReturnTo string
}

// New makes an attempt with a fresh random ID. A number outside 0 to MaxNumber
// becomes the nearest inside; a returnTo that is longer than MaxReturnTo
// becomes "".
func New(number int, now time.Time, returnTo string) Attempt {
	a := Attempt{
		Number:   min(max(number, 0), MaxNumber),
		Started:  time.Unix(now.Unix(), 0).UTC(),
		ReturnTo: returnTo,
	}
	if len(returnTo) > MaxReturnTo {
		a.ReturnTo = ""
	}
	rand.Read(a.ID[:]) // never fails: it ends the program instead
	return a
}

// Same reports in constant time whether a and b are the same attempt, one of
// them read from a state perhaps: their IDs and numbers are equal. Started does
// not count: the cookie of a spent attempt says when it was spent.
func (a Attempt) Same(b Attempt) bool {
	id := subtle.ConstantTimeCompare(a.ID[:], b.ID[:])
	return id == 1 && a.Number == b.Number
}

// suffixLen is the length of what tells the names of attempt cookies apart.
const suffixLen = 8

// Suffix returns the first 8 hexadecimal digits of the ID.
func (a Attempt) Suffix() string { return hex.EncodeToString(a.ID[:suffixLen/2]) }

// Name returns the name of the attempt's cookie: the prefix, a hyphen, the suffix.
func (a Attempt) Name(prefix string) string { return prefix + "-" + a.Suffix() }

// IsName reports whether name has the form that [Attempt.Name] gives. A cookie of
// any other name is not an attempt and must be left alone.
func IsName(prefix, name string) bool {
	return len(name) == len(prefix)+1+suffixLen && name[:len(prefix)] == prefix &&
		name[len(prefix)] == '-' && lowerHex(name[len(prefix)+1:])
}

// lowerHex reports whether s holds nothing but 0 to 9 and a to f.
func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
