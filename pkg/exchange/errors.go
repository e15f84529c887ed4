package exchange

import (
	"fmt"
	"strings"
	"time"
)

// Kind says what became of a request, for whoever must answer for it. It is an
// error, so that errors.Is(err, exchange.Rejected) works on every error of this
// package.
type Kind string

// The kinds.
const (
	// Invalid: the request cannot be sent. The caller is wrong: 400.
	Invalid Kind = "invalid request"
	// NoToken: the token file is missing, cannot be read, or is no token. Nothing
	// was sent. It works as soon as somebody has set it right, and not by
	// waiting: 400.
	NoToken Kind = "no usable token"
	// Expired: the token in the file has expired, and was not sent. The kubelet
	// will replace it: 503.
	Expired Kind = "expired token"
	// Rejected: Entra answered with a 4xx that stays until somebody changes
	// something: 400, which clients do not retry.
	Rejected Kind = "refused by Entra"
	// Throttled: Entra answered 429: 429, with RetryAfter.
	Throttled Kind = "throttled by Entra"
	// Unavailable: Entra was not reached, was too slow, answered with a 5xx or
	// with what is no answer: 503, with RetryAfter.
	Unavailable Kind = "no answer from Entra"
	// Internal: a panic under a [Cache]: 503.
	Internal Kind = "internal error"
)

// Error implements error.
func (k Kind) Error() string { return string(k) }

// Error is every error of this package. errors.Is matches its Kind. It holds
// nothing of a token but the claims in Hint, and nothing that Entra wrote but
// what is of a fixed form: codes and IDs. It is immutable.
type Error struct {
	// Kind is what became of the request.
	Kind Kind
	// Detail says what was found, and what would be valid.
	Detail string
	// Hint is the probable cause and its cure in words; empty if none is known.
	Hint string
	// Status is Entra's HTTP status; 0 if there was no answer.
	Status int
	// Code is Entra's OAuth error, such as "invalid_client"; empty if it said
	// none that is known.
	Code string
	// AADSTS is the number of Entra's own code; 0 if it said none. Microsoft
	// changes these: they are for people, and no decision rests on them.
	AADSTS int
	// CorrelationID and TraceID are what Microsoft's support asks for; empty if
	// not known.
	CorrelationID, TraceID string
	// RetryAfter is how long to wait before trying again; 0 if not known.
	RetryAfter time.Duration

	cause error
}

func invalid(format string, args ...any) error {
	return &Error{Kind: Invalid, Detail: fmt.Sprintf(format, args...)}
}

func noToken(cause error, format string, args ...any) error {
	return &Error{Kind: NoToken, Detail: fmt.Sprintf(format, args...), cause: cause}
}

// Error implements error: kind, what was found, codes, hint, IDs.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(string(e.Kind))
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Code != "" {
		b.WriteString(", " + e.Code)
	}
	if e.AADSTS != 0 {
		fmt.Fprintf(&b, ", AADSTS%d", e.AADSTS)
	}
	if e.Hint != "" {
		b.WriteString(": " + e.Hint)
	}
	switch {
	case e.TraceID != "":
		fmt.Fprintf(&b, " (correlation ID %s, trace ID %s)", e.CorrelationID, e.TraceID)
	case e.CorrelationID != "":
		fmt.Fprintf(&b, " (correlation ID %s)", e.CorrelationID)
	}
	return b.String()
}

// Unwrap returns the Kind and the cause.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.cause}
}

// retryAfter returns e with another RetryAfter.
func (e *Error) retryAfter(wait time.Duration) *Error {
	changed := *e
	changed.RetryAfter = wait
	return &changed
}
