package admission

import (
	"context"
	"errors"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

// Memory that all reviews under way may take, in bytes: whoever may create pods
// must not be able to make the process run out of it. Ordinary reviews have some
// of their own, and never wait for large ones.
const (
	smallBodies  = 4 << 20
	largeBodies  = 10 << 20
	smallPatches = 4 << 20
	largePatches = 8 << 20

	// ordinary is what an ordinary review stays below: pods have some kilobytes,
	// and a few containers.
	ordinary = 128 << 10
	// patchCost is what a byte of a patch takes in all: as values, as JSON in a
	// buffer that has doubled, and in base64.
	patchCost = 4
)

// maxWait is how long a review may wait for memory. API servers wait for an
// answer for some seconds only, and memory is in use for milliseconds.
const maxWait = 3 * time.Second

// pool is memory to be handed out. It is safe for concurrent use.
type pool struct{ small, large share }

type share struct {
	size int64
	free *semaphore.Weighted
}

func newPool(small, large int64) pool {
	return pool{share{small, semaphore.NewWeighted(small)}, share{large, semaphore.NewWeighted(large)}}
}

// hold is memory that a review has.
type hold struct {
	from *semaphore.Weighted
	size int64
}

// take gets memory for x, until x.giveBack. The error is a *fault: too many
// reviews need it, or ctx has ended.
func (x *exchange) take(ctx context.Context, p pool, size int64) error {
	from := p.small
	if size > ordinary {
		from = p.large
	}
	size = min(size, from.size) // what is larger has all of it
	if !from.free.TryAcquire(size) {
		ctx, cancel := context.WithTimeout(ctx, maxWait)
		defer cancel()
		if from.free.Acquire(ctx, size) != nil {
			return &fault{http.StatusServiceUnavailable, "busy", errors.New("too many reviews are under way; try again")}
		}
	}
	x.held = append(x.held, hold{from.free, size})
	return nil
}

// giveBack gives all memory back.
func (x *exchange) giveBack() {
	for _, h := range x.held {
		h.from.Release(h.size)
	}
	x.held = x.held[:0]
}
