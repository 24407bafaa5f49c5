package wecom

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[REDACTED]"

// A Secret holds a value that must not be printed: the app's secret, a signing
// key, an access token. It shows as [REDACTED] under every verb of package fmt,
// in slog, in JSON and text encodings, and also where those cannot call its
// methods (an unexported field of a struct that is dumped), because the value
// lives behind a function and not in the struct.
//
// The zero value is the empty secret. A Secret is immutable and safe for
// concurrent use; copies share the value.
type Secret struct{ reveal func() string }

// NewSecret boxes value. NewSecret("") is the zero Secret.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{func() string { return value }}
}

// Reveal returns the boxed value, "" for the zero Secret. It is the only way to
// read it, so that every reader can be found by searching for this name.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// String returns [REDACTED], also for the zero Secret.
func (Secret) String() string { return redacted }

// Format prints [REDACTED] whatever the verb and flags.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns [REDACTED].
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns [REDACTED]; encoding/json uses it too. A program that
// must store a secret calls Reveal.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText boxes text, so that a configuration file or an environment
// reader can fill a Secret. It never returns an error.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}
