package publisher_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// P is stopped for two hours when the retention of a key has one left. The key
// returns meanwhile, and nobody else is there to see it: what P knows of its
// source is of the time before.
func TestWhatWasSeenBeforeAPauseRemovesNothing(t *testing.T) {
	media(t, func(t *testing.T, oneVersion bool) {
		before := beforeRemoval(t, oneVersion)
		everyCall(t, 3, func(call int) (reached bool) {
			r := newRemoval(t, before, false)
			r.clock.pass(-time.Hour)
			r.protect(1, 2, 3)
			r.during = fmt.Sprintf("P stopped before call %d", call)
			r.gate.open(func(s step) error {
				if s.call == call && !s.done {
					reached = true
					r.source.set(shows(t, "A", 1, 2, 3))
					r.clock.pass(2 * time.Hour)
				}
				return nil
			})
			r.p.Round(t.Context())
			if reached {
				r.must(t, r.p)
				r.holds(t, 1, 2, 3)
			}
			return reached
		})
	})
}

// P is stopped in a round that publishes another key. Meanwhile an operator
// revokes key 3: it never comes back.
func TestAPausedWriterIsOvertakenByARevocation(t *testing.T) {
	t.Parallel()
	media(t, func(t *testing.T, oneVersion bool) {
		before := beforeRemoval(t, oneVersion)
		everyCall(t, 10, func(call int) (reached bool) {
			r := newRemoval(t, before, false)
			r.source.set(shows(t, "A", 1, 2, 3, 4))
			r.during = fmt.Sprintf("P stopped before call %d", call)
			r.gate.open(func(s step) error {
				if s.call == call && !s.done {
					reached = true
					if round, err := r.q.Revoke(t.Context(), publisher.Revocation{ID: keytest.Key(t, 3).ID}); err != nil || round.Stores[0].Error != "" {
						t.Errorf("%s: revoking: %v, %+v", r.during, err, round.Stores)
					}
					r.ban(3)
				}
				return nil
			})
			r.p.Round(t.Context())
			if reached {
				wantAlarms(t, r.q.Round(t.Context()), keys.AlarmRevoked)
				r.holds(t, 1, 2, 4)
			}
			return reached
		})
	})
}

// P is stopped for three hours before it notes that key 3 is not shown any more.
// Q sees the key return and leave again: the retention begins then. A round in
// which nothing changes leaves no trace, so that it is the limit on a decision's
// time that sees to this.
func TestALongPauseShortensNoRetention(t *testing.T) {
	media(t, func(t *testing.T, oneVersion bool) {
		r := &removal{medium: newMedium(t, oneVersion), source: new(origins)}
		r.gate = &door{Store: r.medium}
		r.p = newWriter(t, r.gate, nil, r.source)
		r.q = newWriter(t, r.medium, nil, r.source)
		r.source.set(shows(t, "A", 1, 2, 3))
		r.must(t, r.q)
		r.source.set(shows(t, "A", 1, 2))
		stopped := false
		r.gate.open(func(s step) error {
			if !stopped && s.write > 0 {
				stopped = true
				time.Sleep(3 * time.Hour)
				r.returns(t, r.q)
				r.source.set(shows(t, "A", 1, 2))
			}
			return nil
		})
		r.p.Round(t.Context())
		if !stopped {
			t.Fatal("P wrote nothing")
		}
		time.Sleep(time.Minute)
		r.must(t, r.p)
		time.Sleep(48*time.Hour - 2*time.Minute)
		r.must(t, r.p)
		wantIDs(t, "published", ids(t, 1, 2, 3), published(t, r.medium))
	})
}
