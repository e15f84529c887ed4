package publisher

import (
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// Clock tells the wall clock's time and how much time has passed since some
// fixed moment of the process, by a clock that nobody sets.
type Clock func() (wall time.Time, elapsed time.Duration)

// systemClock is the Clock that begins now.
func systemClock() Clock {
	start := time.Now()
	return func() (time.Time, time.Duration) {
		now := time.Now()
		return now.Round(0), now.Sub(start)
	}
}

// watch compares both clocks: where they differ, the wall clock was set since
// the start, and nobody knows which of the two times is right.
type watch struct {
	clock Clock
	start time.Time // the time at which elapsed was zero
}

func newWatch(clock Clock) watch {
	wall, elapsed := clock()
	return watch{clock, wall.Add(-elapsed)}
}

func (w watch) now() keys.Moment {
	wall, elapsed := w.clock()
	steady := w.start.Add(elapsed)
	if steady.Before(wall) {
		return keys.Moment{Earliest: steady.UTC(), Latest: wall.UTC()}
	}
	return keys.Moment{Earliest: wall.UTC(), Latest: steady.UTC()}
}
