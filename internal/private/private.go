// Package private tells whether a file or folder is this user's alone, as one
// that holds access tokens must be.
package private

import "fmt"

// An Error says why a file may not be used and how to mend that. Only a person can.
type Error struct{ text string }

func (e *Error) Error() string { return e.text }

func refuse(format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...)}
}
