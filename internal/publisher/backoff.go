package publisher

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Bounds of the time after which what failed is tried again. The upper one is
// the interval if that is shorter: what was down is used again within one.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
	// maxPause bounds how long a store is left alone, whatever it asked for.
	maxPause = 5 * time.Minute
)

// backoff says when to try again something that failed: after times that
// double, each shortened by up to half at random, so that many publishers do
// not come back in step. The zero value has not failed.
type backoff struct {
	wait  time.Duration // the last time without the random part
	until time.Time     // zero after a success
	err   error         // of the last try
	// asked says that it is the other side that wants to be left alone.
	asked bool
}

// note takes the outcome of a try.
func (b *backoff) note(err error, interval time.Duration) {
	if err == nil {
		*b = backoff{}
		return
	}
	b.err = err
	b.wait = min(max(2*b.wait, firstRetry), lastRetry, max(interval, firstRetry))
	wait := b.wait - time.Duration(rand.Int64N(int64(b.wait)/2+1))
	wanted, asked := errors.AsType[*oidc.RetryAfterError](err)
	if b.asked = asked; asked {
		wait = max(wait, min(wanted.After, maxPause))
	}
	b.until = time.Now().Add(wait)
}

// answered notes that the other side answers again. That is no success yet: a
// store may be readable and refuse every write.
func (b *backoff) answered() { b.until, b.asked = time.Time{}, false }

// due reports whether it is time to try.
func (b *backoff) due() bool { return !time.Now().Before(b.until) }
