package keys_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

func TestALateOriginRemovesNothing(t *testing.T) {
	newLife(t).
		round(0, "A:1,2 C:1,2").
		round(hour, "A:1 C:1").want("1:active 2:retiring").
		round(49*hour, "A:1 C:down").want("1:active 2:retiring").
		round(time.Minute, "A:1? C:1").want("1:active 2:retiring"). // A may show 2 again by now
		round(time.Minute, "A:1 C:1").want("1:active")
}

func TestALateOriginBeginsNoRetention(t *testing.T) {
	newLife(t).
		round(0, "A:1,2 C:1,2").
		round(hour, "A:1 C:1,2").want("1:active 2:active", keys.AlarmDivergence).
		round(hour, "A:1? C:1").want("1:active 2:active").
		round(hour, "A:1 C:1").want("1:active 2:retiring").next(48 * hour)
}

func TestWhatALateOriginShowedLastIsKept(t *testing.T) {
	newLife(t).
		round(0, "A:1,2 C:1").
		round(1000*hour, "A:1,2? C:1").want("1:active 2:active", keys.AlarmDivergence)
}

func TestALateOriginMayStillShowARevokedKey(t *testing.T) {
	l := newLife(t).round(0, "A:1,2 C:1,2")
	for i := range l.records {
		if l.names[l.records[i].Key.ID] == 2 {
			l.records[i].Revoked = l.now
		}
	}
	l.round(hour, "A:1 C:1").want("1:active 2:revoked").
		round(49*hour, "A:1? C:1").want("1:active 2:revoked").
		round(time.Minute, "A:1 C:1").want("1:active")
}

// Alarms are about what was seen last: none ends because an origin is late.
func TestALateOriginEndsNoAlarm(t *testing.T) {
	t.Run("too many keys were due to leave", func(t *testing.T) {
		l := newLife(t).round(0, "A:1,2,3").round(hour, "A:3")
		for range 2 {
			l.round(49*hour, "A:3").want("1:retiring 2:retiring 3:active", keys.AlarmShrink)
			l.round(hour, "A:3?").want("1:retiring 2:retiring 3:active", keys.AlarmShrink)
		}
		l.policy.AcceptShrink = keytest.Set(t, 1, 2).IDs()
		l.round(hour, "A:3?").want("1:retiring 2:retiring 3:active") // nothing is refused any more
		l.round(hour, "A:3").want("3:active")
	})
	t.Run("a key signs that no origin shows", func(t *testing.T) {
		l := newLife(t).round(0, "A:1,2 B:1,2")
		for _, answers := range []string{"A:1 B:1", "A:1? B:1?", "A:1? B:1", "A:1?"} {
			l.last = keys.Decide(keys.Situation{
				Now: keys.At(l.now), Records: l.records, Held: l.held, Policy: l.policy,
				Observations: l.observations(answers), Signing: map[string]string{"A": keytest.Key(t, 2).ID},
			})
			l.want("1:active 2:active", keys.AlarmSigner)
		}
	})
}

// Keys that are due together count together, whoever is late.
func TestALateOriginLetsNotTooManyLeave(t *testing.T) {
	l := newLife(t).
		round(0, "A:1,3 B:2,3").
		round(hour, "A:3 B:3").
		round(47*hour, "A:down B:down").
		round(2*hour, "A:3? B:3").want("1:retiring 2:retiring 3:active", keys.AlarmShrink)
	if diff := cmp.Diff(keytest.Set(t, 1, 2).IDs(), l.last.Alarms[0].KeyIDs); diff != "" {
		t.Errorf("keys of the alarm (-want +got):\n%s", diff)
	}
}
