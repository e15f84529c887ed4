package exchange

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// answer is what came back for one request. Entra, or whoever answers in its
// place, may have written anything into it, the assertion too: only what is of
// a fixed form is passed on.
type answer struct {
	status   int
	header   http.Header
	body     []byte // cut off one byte after the limit
	received time.Time
}

// accessToken reads the answer 200 (RFC 6749 section 5.1).
func (a answer) accessToken(sent time.Time, correlation string) (AccessToken, *Error) {
	var body struct {
		AccessToken string  `json:"access_token"`
		TokenType   string  `json:"token_type"`
		Expires     seconds `json:"expires_in"`
		Extended    seconds `json:"ext_expires_in"`
	}
	unusable := func(what string) (AccessToken, *Error) {
		return AccessToken{}, &Error{
			Kind: Unavailable, Status: a.status, CorrelationID: correlation,
			Detail: "answered 200 OK with " + what,
		}
	}
	switch {
	case len(a.body) > maxAnswer:
		return unusable(fmt.Sprintf("more than %d bytes", maxAnswer))
	case json.Unmarshal(a.body, &body) != nil:
		return unusable("what is no token answer")
	case body.AccessToken == "" || strings.ContainsFunc(body.AccessToken, func(c rune) bool { return c <= ' ' || c > '~' }):
		return unusable("no access token")
	case !strings.EqualFold(body.TokenType, "Bearer"):
		return unusable("an access token that is not of type Bearer")
	case body.Expires <= 0:
		return unusable("an access token without a lifetime")
	}
	sent = sent.Round(0) // by the wall clock, as the caller reckons, and over a suspension
	return AccessToken{
		Value:         NewSecret(body.AccessToken),
		IssuedAt:      sent,
		ExpiresAt:     sent.Add(body.Expires.duration()),
		ExtendedUntil: sent.Add(max(body.Extended, body.Expires).duration()),
	}, nil
}

// seconds is a JSON integer or a string of digits, as the endpoints of
// different clouds and times have written expires_in.
type seconds int64

// UnmarshalJSON implements json.Unmarshaler.
func (s *seconds) UnmarshalJSON(data []byte) error {
	n, err := strconv.ParseInt(string(bytes.Trim(data, `"`)), 10, 64)
	if err != nil {
		return errors.New("not a number of seconds")
	}
	*s = seconds(min(n, 1<<31)) // no time beyond all calendars
	return nil
}

func (s seconds) duration() time.Duration { return time.Duration(s) * time.Second }

// fault reads any other answer (RFC 6749 section 5.2, with Entra's additions).
func (a answer) fault(sent Assertion, correlation string) *Error {
	var body struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
		Codes       []int  `json:"error_codes"`
		TraceID     string `json:"trace_id"`
	}
	// What is no JSON, a proxy's page perhaps, leaves the status alone to go by.
	_ = json.Unmarshal(a.body, &body)
	e := &Error{
		Kind:          Rejected,
		Detail:        fmt.Sprintf("answered %d %s", a.status, http.StatusText(a.status)),
		Status:        a.status,
		Code:          knownCode(body.Code),
		AADSTS:        aadsts(body.Codes, body.Description),
		CorrelationID: correlation,
		RetryAfter:    a.retryAfter(),
	}
	if isGUID(body.TraceID) {
		e.TraceID = body.TraceID
	}
	switch {
	case a.status == http.StatusTooManyRequests:
		e.Kind = Throttled
	case a.status < 400:
		e.Kind = Unavailable
		e.Hint = "something between here and Entra answers in its place; redirects are not followed"
		return e
	case a.status >= 500, a.status == http.StatusRequestTimeout,
		e.Code == "temporarily_unavailable", e.Code == "server_error":
		e.Kind = Unavailable
	}
	e.Hint = hint(e.AADSTS, sent)
	return e
}

// knownCode is the OAuth error if it is one (RFC 6749 sections 4.1.2.1 and
// 5.2, and Entra's own).
func knownCode(code string) string {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
		"access_denied", "server_error", "temporarily_unavailable", "invalid_resource", "interaction_required":
		return code
	default:
		return ""
	}
}

// aadsts is the number of Entra's code, from the list or from the beginning of
// the description; 0 if there is none.
func aadsts(codes []int, description string) int {
	const most = 99_999_999
	if len(codes) > 0 && codes[0] > 0 && codes[0] <= most {
		return codes[0]
	}
	rest, found := strings.CutPrefix(description, "AADSTS")
	if !found {
		return 0
	}
	digits, _, _ := strings.Cut(rest, ":")
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || n > most {
		return 0
	}
	return n
}

// longestRetryAfter bounds what is believed of Retry-After.
const longestRetryAfter = 10 * time.Minute

// retryAfter reads Retry-After: seconds or a date (RFC 9110 section 10.2.3).
func (a answer) retryAfter() time.Duration {
	value := a.header.Get("Retry-After")
	wait := time.Duration(0)
	if n, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(n) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		wait = date.Sub(a.received)
	}
	return min(max(wait, 0), longestRetryAfter)
}

// unreached is the error for a request without a whole answer. ctx is the
// exchange's context and bounded the attempt's.
func unreached(ctx, bounded context.Context, err error, correlation string) *Error {
	e := &Error{Kind: Unavailable, CorrelationID: correlation}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		e.Detail, e.cause = "the caller has gone", ctx.Err()
	case ctx.Err() != nil:
		e.Detail, e.cause = "no complete answer in time", ctx.Err()
	case bounded.Err() != nil:
		e.Detail, e.cause = fmt.Sprintf("no complete answer within %v", attemptTimeout), bounded.Err()
	default:
		e.Detail, e.cause = connection(err)
	}
	return e
}

// connection tells what went wrong below HTTP. Errors of HTTP itself quote what
// was received, and are passed on in neither form.
func connection(err error) (string, error) {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if refused, ok := errors.AsType[proxyAnswer](err); ok {
		return fmt.Sprintf("the HTTP proxy answered %d to CONNECT", int(refused)), refused
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok {
		return dial.Error(), dial
	}
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		return lookup.Error(), lookup
	}
	if untrusted, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return untrusted.Error(), untrusted
	}
	if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
		return "connecting took too long", context.DeadlineExceeded
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the connection was closed before the end of the answer", io.ErrUnexpectedEOF
	}
	return "what came back is not HTTP over TLS as it should be", nil
}

// newGUID returns a random UUID (RFC 9562 section 5.4).
func newGUID() string {
	var b [16]byte
	rand.Read(b[:]) // never returns an error
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
