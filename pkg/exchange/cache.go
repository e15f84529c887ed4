package exchange

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// margin is how long before its end an access token is no longer served:
	// clocks differ, and the caller needs it for a while.
	margin = 60 * time.Second
	// refreshPause is the least time between two refreshes in the background.
	refreshPause = 30 * time.Second
	// maxEntries bounds what callers can make the cache hold, at some 2 KiB each:
	// far above the scopes and identities that one pod uses.
	maxEntries = 256
	// With less than short of life left, callers wait for a refresh, but for no
	// longer than patience after its begin.
	shortLife = 5 * time.Minute
	patience  = 2 * time.Second
)

// Cache keeps access tokens of a [Source], by tenant, client and scope. It is
// safe for concurrent use. [Cache.Close] ends it.
type Cache struct {
	source     Source
	assertions Assertions
	log        *slog.Logger

	running sync.WaitGroup // flights

	mu      sync.Mutex // guards what follows
	entries map[Request]*entry
	closed  bool
}

var _ Source = (*Cache)(nil)

// entry is what is known of one request.
type entry struct {
	token     AccessToken // zero if there is none
	refreshAt time.Time   // from when a refresh is due
	used      time.Time
	flight    *flight // the exchange under way, or nil
	failure   failure // zero after a success
}

// flight is one exchange that any number of callers wait for. Nobody owns it:
// callers come and go, and it ends by itself.
type flight struct {
	began  time.Time
	cancel context.CancelFunc
	done   chan struct{} // closed when token and err are set
	token  AccessToken
	err    error
}

// Cached returns a cache around a source. The assertions are those that the
// source exchanges; they tell when a refusal is out of date.
//
// An access token is refreshed in the background by the first request after
// half of its life, and served until a minute before its end, whatever Entra
// does meanwhile; in its last minutes callers wait a moment for the new one.
// Callers that find none wait for one exchange together. A failed exchange is
// answered again, without another, for some seconds: for as long as Entra said,
// or for a refusal, while the token file is unchanged. Throttling is the answer
// to all requests of the same tenant and client. A panic of source or
// assertions is an error of kind [Internal], and logged by its type alone.
func Cached(source Source, assertions Assertions, log *slog.Logger) *Cache {
	return &Cache{source: source, assertions: assertions, log: log, entries: make(map[Request]*entry)}
}

// AccessToken returns an access token with at least a minute of life, from the
// cache or by an exchange. The exchange goes on for later callers if the
// context ends first. Errors are *[Error], unless the source's are not.
func (c *Cache) AccessToken(ctx context.Context, request Request) (AccessToken, error) {
	came := time.Now()
	if token, newer, ok := c.held(ctx, request, came); ok {
		return newer.or(ctx, token, came), nil
	}
	if err := request.check(); err != nil {
		return AccessToken{}, err
	}
	if err := c.remembered(ctx, request, came); err != nil {
		return AccessToken{}, err
	}
	f, err := c.join(ctx, request, came)
	if err != nil {
		return AccessToken{}, err
	}
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return AccessToken{}, &Error{Kind: Unavailable, Detail: "no complete answer in the caller's time", cause: context.Cause(ctx)}
	}
}

// held returns the access token that the cache has, and begins to refresh it
// if that is due. The flight is not nil if it is worth to wait for.
func (c *Cache) held(ctx context.Context, request Request, now time.Time) (token AccessToken, newer *flight, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[request]
	if e == nil || !e.usable(now) {
		return AccessToken{}, nil, false
	}
	e.used = now
	if e.flight == nil && !c.closed && !now.Before(e.refreshAt) {
		if throttled := c.throttled(request, now); throttled.err != nil {
			e.refreshAt = throttled.until
		} else {
			c.start(ctx, request, e)
		}
	}
	// After a failure, Entra may be down for long: then nobody waits.
	if e.failure.err == nil && !now.Before(e.token.ExpiresAt.Add(-shortLife)) {
		newer = e.flight
	}
	return e.token, newer, true
}

// or waits a moment for the flight, if there is one, and returns its access
// token, or else the one that there is.
func (f *flight) or(ctx context.Context, token AccessToken, now time.Time) AccessToken {
	if f == nil {
		return token
	}
	ctx, cancel := context.WithTimeout(ctx, f.began.Add(patience).Sub(now))
	defer cancel()
	select {
	case <-f.done:
		if f.err == nil {
			return f.token
		}
	case <-ctx.Done():
	}
	return token
}

// join returns the exchange under way, or starts one. What became known after
// the caller came is the caller's answer too.
func (c *Cache) join(ctx context.Context, request Request, came time.Time) (*flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, &Error{Kind: Unavailable, Detail: "shutting down"}
	}
	e := c.entries[request]
	switch {
	case e == nil:
		if len(c.entries) >= maxEntries && !c.evict(came) {
			return nil, &Error{Kind: Unavailable, Detail: "too many different access tokens are asked for at once", RetryAfter: holdUnavailable}
		}
		e = new(entry)
		c.entries[request] = e
	case e.flight != nil:
		return e.flight, nil
	case e.usable(came):
		return landed(e.token), nil
	case e.failure.err != nil && !e.failure.since.Before(came):
		return nil, e.failure.err
	}
	e.used = came
	return c.start(ctx, request, e), nil
}

// landed is a flight that is over.
func landed(token AccessToken) *flight {
	done := make(chan struct{})
	close(done)
	return &flight{done: done, token: token}
}

// evict makes room for an entry: of those without a usable access token, or
// else of all, the one whose last use is the longest ago. It reports whether
// there is room: an exchange under way keeps its entry. The caller holds c.mu.
func (c *Cache) evict(now time.Time) bool {
	var (
		victim Request
		worst  *entry
	)
	for request, e := range c.entries {
		if e.flight != nil {
			continue
		}
		useless, least := !e.usable(now), worst != nil && !worst.usable(now)
		if worst == nil || useless && !least || useless == least && e.used.Before(worst.used) {
			victim, worst = request, e
		}
	}
	delete(c.entries, victim)
	return worst != nil
}

// start begins an exchange, which Close waits for. The caller holds c.mu.
func (c *Cache) start(ctx context.Context, request Request, e *entry) *flight {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Timeout)
	f := &flight{began: time.Now(), cancel: cancel, done: make(chan struct{})}
	e.flight = f
	c.running.Go(func() {
		defer cancel()
		c.fly(ctx, request, e, f)
	})
	return f
}

func (c *Cache) fly(ctx context.Context, request Request, e *entry, f *flight) {
	token, fingerprint, err := c.exchange(ctx, request)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if err == nil {
		e.token, e.failure = token, failure{}
		e.refreshAt = token.IssuedAt.Add(token.ExpiresAt.Sub(token.IssuedAt) / 2)
	} else {
		e.failure = newFailure(err, fingerprint, now)
		err = e.failure.err
		e.refreshAt = later(now.Add(refreshPause), e.failure.until)
		if e.usable(now) {
			c.log.Warn("kept the access token, refreshing it did not succeed", "tenant", request.Tenant,
				"client_id", request.Client, "scope", loggable(request.Scope), "expires", e.token.ExpiresAt, "err", err)
		}
	}
	e.flight, f.token, f.err = nil, token, err
	close(f.done)
}

// exchange asks the source, also for what the assertion's fingerprint is. What a
// panic says may be secret, and is not shown.
func (c *Cache) exchange(ctx context.Context, request Request) (token AccessToken, fingerprint [sha256.Size]byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			kind := fmt.Sprintf("%T", v)
			c.log.Error("panic in an exchange", "type", kind, "stack", string(debug.Stack()))
			err = &Error{Kind: Internal, Detail: "panic of type " + kind}
		}
	}()
	assertion, err := c.assertions.Assertion(ctx)
	if err == nil {
		token, err = c.source.AccessToken(ctx, request)
	}
	return token, assertion.Fingerprint, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Close cancels the exchanges under way and waits for them to end. Access
// tokens that the cache has are served on.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	for _, e := range c.entries {
		if e.flight != nil {
			e.flight.cancel()
		}
	}
	c.mu.Unlock()
	c.running.Wait()
}
