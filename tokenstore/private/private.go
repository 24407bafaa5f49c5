// Package private tells whether a file or folder is this user's alone, as one
// that holds access tokens must be. The stores of this repository use it; so can others.
package private

import (
	"fmt"
	"io/fs"
)

// Check returns an [*Error] if users other than the program's own may read or write
// the file or folder at path, which info describes, or if it belongs to another user,
// who could let them. On a system whose access rights are not in info (Windows), it
// returns nil: there, a folder below the user's profile is private by default.
func Check(path string, info fs.FileInfo) error { return check(path, info) }

// An Error says why a file may not be used, and what to run so that it may. Only a
// person can do that: a program should not start.
type Error struct{ text string }

func (e *Error) Error() string { return e.text }

func refuse(format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...)}
}
