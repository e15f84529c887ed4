package exchange

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
)

// How long a failure is the answer to the same request.
const (
	// A refusal stays until somebody changes something in Azure, or the token
	// file, which is noticed at once.
	holdRejected  = 10 * time.Second
	holdThrottled = 10 * time.Second // unless Entra says how long
	// An outage may end at any moment; the exchange before took its time.
	holdUnavailable = 2 * time.Second
)

// failure is an exchange that did not succeed, and how long that is known.
type failure struct {
	err          error
	since, until time.Time
	// ofToken says that it is about the token with this fingerprint and no other.
	ofToken     bool
	fingerprint [sha256.Size]byte
}

func newFailure(err error, fingerprint [sha256.Size]byte, now time.Time) failure {
	f := failure{err: err, since: now, until: now}
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok, e.Kind == Internal:
		f.until = now.Add(holdUnavailable)
	case e.Kind == Rejected:
		f.until, f.ofToken, f.fingerprint = now.Add(holdRejected), true, fingerprint
	case e.Kind == Throttled:
		f.hold(e, holdThrottled)
	case e.Kind == Unavailable:
		f.hold(e, holdUnavailable)
	}
	return f
}

// hold keeps to Entra's Retry-After, or sets one.
func (f *failure) hold(e *Error, unsaid time.Duration) {
	if e.RetryAfter == 0 {
		e = e.retryAfter(unsaid)
	}
	f.err, f.until = e, f.since.Add(e.RetryAfter)
}

// answer is the error for a caller who comes later: its RetryAfter is what is
// left.
func (f failure) answer(now time.Time) error {
	if e, ok := errors.AsType[*Error](f.err); ok && e.RetryAfter > 0 {
		return e.retryAfter(f.until.Sub(now))
	}
	return f.err
}

// remembered returns the failure that still is the answer.
func (c *Cache) remembered(ctx context.Context, request Request, now time.Time) error {
	c.mu.Lock()
	var last failure
	if e := c.entries[request]; e != nil {
		last = e.failure
	}
	if throttled := c.throttled(request, now); throttled.err != nil {
		last = throttled
	}
	c.mu.Unlock()
	if !now.Before(last.until) || last.ofToken && !c.current(ctx, last.fingerprint) {
		return nil
	}
	return last.answer(now)
}

// current reports whether the token still is the one with the fingerprint.
func (c *Cache) current(ctx context.Context, fingerprint [sha256.Size]byte) bool {
	assertion, err := c.assertions.Assertion(ctx)
	return err == nil && assertion.Fingerprint == fingerprint
}

// throttled returns the failure by which Entra asked the client to wait, for
// whatever scope, or the zero one. The caller holds c.mu.
func (c *Cache) throttled(request Request, now time.Time) (longest failure) {
	for other, e := range c.entries {
		if other.Tenant == request.Tenant && other.Client == request.Client &&
			errors.Is(e.failure.err, Throttled) && e.failure.until.After(now) && e.failure.until.After(longest.until) {
			longest = e.failure
		}
	}
	return longest
}

func (e *entry) usable(now time.Time) bool { return now.Before(e.token.ExpiresAt.Add(-margin)) }
