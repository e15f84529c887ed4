package exchange

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a string that does not print: every way of formatting, encoding or
// logging it says "[redacted]", and only Reveal gives it away. The zero Secret
// is the empty string.
type Secret struct {
	// Package fmt and others walk into the unexported fields of a struct
	// without asking its methods, but not into a function.
	reveal func() string
}

const redacted = "[redacted]"

// NewSecret hides a string.
func NewSecret(value string) Secret {
	return Secret{reveal: func() string { return value }}
}

// Reveal returns the string itself.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// Format implements fmt.Formatter, for every verb.
func (Secret) Format(state fmt.State, _ rune) {
	io.WriteString(state, redacted) //nolint:errcheck // fmt reports errors of its writer itself
}

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, and so covers JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
