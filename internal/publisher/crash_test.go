package publisher_test

import (
	"cmp"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// publication is one that can be interrupted: what the store holds before, what
// the source shows, and what the documents should have in the end.
type publication struct {
	before func(t *testing.T, m *medium, clock *wallClock, source *origins)
	shows  []int
	live   []int // that no reader may miss at any time; none: there are no documents yet
	want   []int
	maxAge time.Duration
	writes int // of an undisturbed round
}

func (p publication) configure(c *publisher.Config) { c.MaxAge = cmp.Or(p.maxAge, oidc.DefaultMaxAge) }

func publications() map[string]publication {
	published := func(shown ...[]int) func(*testing.T, *medium, *wallClock, *origins) {
		return func(t *testing.T, m *medium, clock *wallClock, source *origins) {
			t.Helper()
			for _, numbers := range shown {
				source.set(shows(t, "A", numbers...))
				m.must(t, newWriter(t, m, clock, source))
			}
		}
	}
	return map[string]publication{
		"the first": {
			before: published(),
			shows:  []int{1, 2}, want: []int{1, 2}, writes: 4,
		},
		"a new key": {
			before: published([]int{1, 2}),
			shows:  []int{1, 2, 3}, live: []int{1, 2}, want: []int{1, 2, 3}, writes: 3,
		},
		"a removal": {
			before: func(t *testing.T, m *medium, clock *wallClock, source *origins) {
				published([]int{1, 2, 3}, []int{1, 2})(t, m, clock, source)
				clock.pass(48*time.Hour + time.Second)
			},
			shows: []int{1, 2}, live: []int{1, 2}, want: []int{1, 2}, writes: 2,
		},
		"a removal that was begun, and the key's return": {
			before: func(t *testing.T, m *medium, clock *wallClock, source *origins) {
				published([]int{1, 2, 3}, []int{1, 2})(t, m, clock, source)
				clock.pass(48*time.Hour + time.Second)
				newWriter(t, &door{Store: m, at: crashAfterWrites(1)}, clock, source).Round(t.Context())
			},
			shows: []int{1, 2, 3}, live: []int{1, 2, 3}, want: []int{1, 2, 3}, writes: 3,
		},
		"another Cache-Control": {
			before: published([]int{1, 2}),
			shows:  []int{1, 2}, live: []int{1, 2}, want: []int{1, 2}, maxAge: time.Minute, writes: 2,
		},
	}
}

// A process dies before or after each of its writes, which is all of it that
// others can notice. Nobody who reads then or later finds anything amiss, and
// the next process sets everything right, from the state alone if no source
// answers.
func TestACrashIsSurvived(t *testing.T) {
	t.Parallel()
	for name, test := range publications() {
		t.Run(name, func(t *testing.T) {
			media(t, func(t *testing.T, oneVersion bool) {
				before, clock, source := newMedium(t, oneVersion), newWallClock(), new(origins)
				test.before(t, before, clock, source)
				for writes := range test.writes + 1 {
					m := before.clone(t)
					m.during = fmt.Sprintf("crashed after %d writes", writes)
					m.protect(test.live...)
					source.set(shows(t, "A", test.shows...))
					dying := newWriter(t, &door{Store: m, at: crashAfterWrites(writes)}, clock, source, test.configure)
					dying.Round(t.Context())
					if m.count() != writes {
						t.Fatalf("%s: made %d", m.during, m.count())
					}
					test.restart(t, m, clock)
				}
			})
		})
	}
}

// restart starts another process, whose source does not answer at first: it
// knows what the dead one wrote to the state, and no more.
func (p publication) restart(t *testing.T, m *medium, clock *wallClock) {
	t.Helper()
	source := new(origins)
	source.set(fails("A", errors.New("connection refused")))
	next := newWriter(t, m, clock, source, p.configure)
	if remembered, _, err := state.Read(t.Context(), m); err == nil {
		m.live = remembered.Published()
		next.Round(t.Context())
		wantIDs(t, m.during+": published from the state", m.live.IDs(), published(t, m))
	}
	m.protect(p.live...)
	source.set(shows(t, "A", p.shows...))
	next = newWriter(t, m, clock, source, p.configure)
	m.must(t, next)
	m.settled(t, next, p.want...)
}

// A write fails once, before it had its effect or after. The process lives, and
// its next round makes up for it.
func TestAFailedWriteIsMadeGood(t *testing.T) {
	t.Parallel()
	for name, test := range publications() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // the backoff passes at once
				before, clock, source := newMedium(t, false), newWallClock(), new(origins)
				test.before(t, before, clock, source)
				for write := range test.writes {
					test.failOnce(t, before.clone(t), clock, source, step{write: write + 1})
					test.failOnce(t, before.clone(t), clock, source, step{write: write + 1, done: true})
				}
			})
		})
	}
}

func (p publication) failOnce(t *testing.T, m *medium, clock *wallClock, source *origins, at step) {
	t.Helper()
	m.during = fmt.Sprintf("write %d failed (done %v)", at.write, at.done)
	m.protect(p.live...)
	source.set(shows(t, "A", p.shows...))
	failed := false
	writer := newWriter(t, &door{Store: m, at: func(s step) error {
		if !failed && s.write == at.write && s.done == at.done {
			failed = true
			return errors.New("503 Service Unavailable")
		}
		return nil
	}}, clock, source, p.configure)
	writer.Round(t.Context())
	if !failed {
		t.Fatalf("%s: it was never made", m.during)
	}
	time.Sleep(time.Second)
	m.must(t, writer)
	m.settled(t, writer, p.want...)
}
