package publisher_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// wantFence checks that the round wrote the JWK set, and only then found the key
// published: until then a paused writer could have taken it out again.
func wantFence(t *testing.T, round publisher.Round, number int) {
	t.Helper()
	if err := round.Err(); err != nil {
		t.Error(err)
	}
	if !slices.Contains(round.Stores[0].Written, oidc.JWKSPath) {
		t.Errorf("written %v; want the JWK set, although it held all keys", round.Stores[0].Written)
	}
	if keyOf(t, round, number).Published.IsZero() {
		t.Errorf("key %d was not found published", number)
	}
}

// A process died before it noted that the key was published. The next one moves
// the state for a reason of its own, which changes no document.
func TestAMoveOfAnotherStateIsNoFence(t *testing.T) {
	m, clock, source := newMedium(t, false), newWallClock(), new(origins)
	source.set(shows(t, "A", 1, 2))
	m.must(t, newWriter(t, m, clock, source))
	source.set(shows(t, "A", 1, 2, 3))
	newWriter(t, &door{Store: m, at: crashAfterWrites(2)}, clock, source).Round(t.Context())
	wantIDs(t, "published by the one that died", ids(t, 1, 2, 3), published(t, m))
	source.set(shows(t, "A", 1, 2, 3), shows(t, "B", 1))
	wantFence(t, m.must(t, newWriter(t, m, clock, source)), 3)
}

// The store holds the key already when the source shows it.
func TestAnotherKeyIsAFenceAlways(t *testing.T) {
	b := newBench(t, nil)
	b.source.set(shows(t, "A", 1, 2))
	b.Round(t.Context())
	b.edit(t, jwks(t, 1, 2, 3))
	b.source.set(shows(t, "A", 1, 2, 3))
	round := b.Round(t.Context())
	wantAlarms(t, round, publisher.AlarmForeignEdit)
	wantFence(t, round, 3)
}

// R is about to put right what a removal left over. Then somebody brings the key
// back, and dies before writing the documents. R finds them as they should be.
func TestWhatNeededNoWriteIsNoFence(t *testing.T) {
	before := beforeRemoval(t, false)
	r := newRemoval(t, before, false)
	newWriter(t, &door{Store: r.medium, at: crashAfterWrites(1)}, r.clock, r.source).Round(t.Context())
	source, reads := new(origins), 0
	source.set(shows(t, "A", 1, 2))
	gate := &door{Store: r.medium}
	late := newWriter(t, gate, r.clock, source)
	gate.open(func(s step) error {
		if s.path != state.Path || s.done || s.write > 0 {
			return nil
		}
		if reads++; reads == 2 { // the first was for its decision
			r.source.set(shows(t, "A", 1, 2, 3))
			newWriter(t, &door{Store: r.medium, at: crashAfterWrites(1)}, r.clock, r.source).Round(t.Context())
		}
		return nil
	})
	if round := late.Round(t.Context()); reads < 2 || len(round.Stores[0].Written) > 0 {
		t.Fatalf("%d reads of the state, written %v", reads, round.Stores[0].Written)
	}
	source.set(shows(t, "A", 1, 2, 3))
	wantFence(t, late.Round(t.Context()), 3)
}

// What one source showed long ago ends no wait, though another was asked just now.
func TestTheOldestAnswerCounts(t *testing.T) {
	for name, order := range map[string][2]int{"the first is older": {0, 1}, "the last is older": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				old, fresh := new(origins), new(origins)
				old.set(shows(t, "old", 4))
				fresh.set(shows(t, "fresh", 1, 2, 3))
				sources := make([]publisher.Source, 2)
				sources[order[0]], sources[order[1]] = old, fresh
				clock := newWallClock()
				b := newBench(t, func(c *publisher.Config) { c.Sources, c.Clock = sources, clock.read })
				b.Round(t.Context())
				fresh.set(shows(t, "fresh", 1, 2))
				b.Round(t.Context())
				clock.pass(48*time.Hour - time.Second)
				old.set(fails("old", errDown{})) // and is left alone for a while
				b.Round(t.Context())
				asked := old.times()
				clock.pass(2 * time.Second)
				b.Round(t.Context())
				if old.times() != asked {
					t.Fatal("the source that failed was asked again at once")
				}
				wantIDs(t, "published", ids(t, 1, 2, 3, 4), published(t, b.store))
				time.Sleep(time.Second)
				b.Round(t.Context())
				wantIDs(t, "published once both were asked", ids(t, 1, 2, 4), published(t, b.store))
			})
		})
	}
}
