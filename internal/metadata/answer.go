package metadata

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

// refusal is what is wrong with a request.
type refusal struct {
	status int    // of HTTP; 0 means 400
	code   string // OAuth error; "" means invalid_request
	text   string // to the caller; may quote the request
	reason string // short, and fixed, for the log
	closes bool   // the connection, as what follows may not be a request
}

// Error implements error.
func (r refusal) Error() string { return r.text }

// panicked is a panic of the source: where, but not what, which may be secret.
type panicked struct {
	kind  string
	stack []byte
}

func newPanic(value any) error {
	return panicked{kind: fmt.Sprintf("%T", value), stack: debug.Stack()}
}

// Error implements error.
func (p panicked) Error() string { return "panic of type " + p.kind + ": " + string(p.stack) }

// answer is what is answered, but for an access token.
type answer struct {
	status     int
	code, text string        // error and error_description
	retryAfter time.Duration // 0 means that it is not said
	closes     bool
	// For the log; detail has nothing of the request.
	level          slog.Level
	reason, detail string
}

// pause is how long to wait after an outage of unknown length.
const pause = 5 * time.Second

// internalError is all that callers get to know of one.
const internalError = "internal error of the proxy"

// judge is the one place where errors become answers. What will not go away by
// itself is 400: clients try again after 404, 429 and 5xx, some for minutes.
func judge(err error) answer {
	if err == nil {
		return answer{status: http.StatusOK}
	}
	if r, ok := errors.AsType[refusal](err); ok {
		return answer{
			status: cmp.Or(r.status, http.StatusBadRequest), code: cmp.Or(r.code, "invalid_request"), text: r.text,
			closes: r.closes, reason: r.reason,
		}
	}
	a := answer{
		status: http.StatusServiceUnavailable, code: "temporarily_unavailable", text: internalError,
		retryAfter: pause, level: slog.LevelWarn,
	}
	if p, ok := errors.AsType[panicked](err); ok {
		a.level, a.detail = slog.LevelError, p.Error()
		return a
	}
	e, ok := errors.AsType[*exchange.Error](err)
	if !ok {
		// Whose error it is, and what it holds, is not known.
		a.detail = fmt.Sprintf("error of type %T", err)
		return a
	}
	a.text, a.detail = e.Error(), e.Error()
	a.retryAfter = cmp.Or(e.RetryAfter, pause)
	switch e.Kind {
	case exchange.Internal:
		a.level, a.text = slog.LevelError, internalError
	case exchange.Invalid:
		a.status, a.code = http.StatusBadRequest, "invalid_request"
		a.level, a.reason, a.detail = slog.LevelInfo, "invalid", "" // the text quotes the request
	case exchange.Rejected:
		a.status, a.code = http.StatusBadRequest, cmp.Or(e.Code, "invalid_request")
	case exchange.NoToken:
		a.status, a.code = http.StatusBadRequest, "invalid_request"
	case exchange.Throttled:
		a.status = http.StatusTooManyRequests
	}
	if a.status == http.StatusBadRequest {
		a.retryAfter = 0
	}
	return a
}

// write sends the answer with the body, and a header that all have.
func (a answer) write(w http.ResponseWriter, common http.Header, body []byte) {
	header := w.Header()
	maps.Copy(header, common)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if a.status == http.StatusMethodNotAllowed {
		header.Set("Allow", http.MethodGet)
	}
	if a.retryAfter > 0 {
		seconds := (a.retryAfter + time.Second - 1) / time.Second
		header.Set("Retry-After", strconv.Itoa(int(seconds)))
	}
	if a.closes {
		header.Set("Connection", "close")
	}
	w.WriteHeader(a.status)
	w.Write(body) //nolint:errcheck // the client has gone
}

// appendToken writes the answer as IMDS does: numbers are strings of digits,
// times are seconds since 1970.
func appendToken(b []byte, asked question, token exchange.AccessToken, now time.Time) []byte {
	expires := token.ExpiresAt.Unix()
	extended := max(token.ExtendedUntil.Unix(), expires)
	b = append(b, `{"access_token":`...)
	b = appendASCII(b, token.Value.Reveal())
	b = append(b, `,"token_type":"Bearer","expires_in":"`...)
	b = strconv.AppendInt(b, max(expires-now.Unix(), 0), 10)
	b = append(b, `","expires_on":"`...)
	b = strconv.AppendInt(b, expires, 10)
	b = append(b, `","not_before":"`...)
	b = strconv.AppendInt(b, token.IssuedAt.Unix(), 10)
	b = append(b, `","resource":`...)
	b = appendString(b, asked.resource)
	b = append(b, `,"client_id":`...)
	b = appendASCII(b, asked.client)
	b = append(b, `,"ext_expires_in":"`...)
	b = strconv.AppendInt(b, max(extended-now.Unix(), 0), 10)
	return append(b, `"}`...)
}

// appendError writes an error as IMDS does.
func (a answer) appendError(b []byte) []byte {
	b = append(b, `{"error":`...)
	b = appendString(b, a.code)
	b = append(b, `,"error_description":`...)
	b = appendString(b, a.text)
	return append(b, '}')
}

// appendString writes a JSON string: as it is where that can be.
func appendString(b []byte, s string) []byte {
	if strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		return appendQuoted(b, s)
	}
	return appendASCII(b, s)
}

// appendASCII writes what is known to be printable ASCII, without looking at
// each of the two thousand bytes of an access token.
func appendASCII(b []byte, s string) []byte {
	if strings.IndexByte(s, '"') >= 0 || strings.IndexByte(s, '\\') >= 0 {
		return appendQuoted(b, s)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendQuoted(b []byte, s string) []byte {
	quoted, _ := json.Marshal(s) // strings have no errors
	return append(b, quoted...)
}
