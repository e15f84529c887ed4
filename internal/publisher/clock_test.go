package publisher_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// jump is a setting of the wall clock, after so much true time.
type jump struct{ after, by time.Duration }

// jumps returns every single jump of an hour, and every one that is undone
// later: before, in the middle and near the end of a waiting of 24 h and a
// retention of 48 h.
func jumps() (all [][]jump) {
	moments := []time.Duration{
		-30 * time.Minute, 12 * time.Hour, 23*time.Hour + 30*time.Minute, 47*time.Hour + 30*time.Minute,
	}
	for i, moment := range moments {
		for _, by := range []time.Duration{time.Hour, -time.Hour} {
			all = append(all, []jump{{moment, by}})
			for _, later := range moments[i+1:] {
				all = append(all, []jump{{moment, by}, {later, -by}})
			}
		}
	}
	return all
}

// A key waits for 24 h, and another is retained for 48 h, of true time, whatever
// happens to the wall clock; and no longer than the jumps explain.
func TestClockJumpsShortenNothing(t *testing.T) {
	t.Parallel()
	before := newMedium(t, false)
	source := new(origins)
	source.set(shows(t, "A", 1, 3))
	before.must(t, newWriter(t, before, newWallClock(), source))
	for _, set := range jumps() {
		l := &lifeByClock{medium: before.clone(t), clock: newWallClock(), now: -time.Hour, jumps: set}
		l.during = fmt.Sprint("jumps ", set)
		source.set(shows(t, "A", 1, 3))
		l.writer = newWriter(t, l.medium, l.clock, source)
		l.until(t, -time.Minute)
		source.set(shows(t, "A", 1, 2))
		l.until(t, 0)
		l.until(t, 24*time.Hour-time.Second)
		l.want(t, 2, keys.Waiting, 24*time.Hour)
		l.until(t, 26*time.Hour)
		l.want(t, 2, keys.Active, 0)
		l.until(t, 48*time.Hour-time.Second)
		l.want(t, 3, keys.Retiring, 48*time.Hour)
		wantIDs(t, l.during+": published", ids(t, 1, 2, 3), published(t, l.medium))
		l.until(t, 50*time.Hour)
		wantIDs(t, l.during+": published", ids(t, 1, 2), published(t, l.medium))
	}
}

// lifeByClock is a publisher in true time, in which at 0 key 2 appears and key 3
// vanishes.
type lifeByClock struct {
	*medium
	clock  *wallClock
	writer *bench
	now    time.Duration
	jumps  []jump
	last   publisher.Round
}

// until does a round then, and one at each jump on the way.
func (l *lifeByClock) until(t *testing.T, then time.Duration) {
	t.Helper()
	for len(l.jumps) > 0 && l.jumps[0].after <= then {
		l.clock.pass(l.jumps[0].after - l.now)
		l.clock.set(l.jumps[0].by)
		l.now, l.jumps = l.jumps[0].after, l.jumps[1:]
		l.round(t)
	}
	l.clock.pass(then - l.now)
	l.now = then
	l.round(t)
}

// round checks that no phase's end is past, or is not what the next change says.
func (l *lifeByClock) round(t *testing.T) {
	t.Helper()
	l.last = l.must(t, l.writer)
	earliest, elapsed := l.clock.read()
	if steady := newWallClock().wall.Add(elapsed); steady.Before(earliest) {
		earliest = steady
	}
	var next time.Time
	for _, key := range l.last.Keys {
		if key.Until.IsZero() {
			continue
		}
		if left := key.Until.Sub(earliest); left <= 0 {
			t.Errorf("%s: at %s key %s is %s for another %s", l.during, l.now, key.ID, key.Phase, left)
		}
		if next.IsZero() || key.Until.Before(next) {
			next = key.Until
		}
	}
	if !next.Equal(l.last.NextChange) {
		t.Errorf("%s: at %s the next change is at %s; want %s", l.during, l.now, l.last.NextChange, next)
	}
}

// want checks a key's phase, and that it ends no earlier than in true time.
func (l *lifeByClock) want(t *testing.T, number int, phase keys.Phase, end time.Duration) {
	t.Helper()
	key := keyOf(t, l.last, number)
	if key.Phase != phase {
		t.Errorf("%s: at %s key %d is %q; want %q", l.during, l.now, number, key.Phase, phase)
	}
	least := newWallClock().wall.Add(time.Hour).Add(end)
	if end > 0 && key.Until.Before(least) {
		t.Errorf("%s: key %d is %s until %s; want no less than %s", l.during, number, key.Phase, key.Until, least)
	}
}
