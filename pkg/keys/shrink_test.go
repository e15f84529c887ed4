package keys_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// Of three keys two are due and one is accepted: once that one is gone, the other
// would be but one of two. It stays all the same, whatever time passes, until it
// is accepted itself.
func TestWhatWasNotAcceptedStays(t *testing.T) {
	l := newLife(t).round(0, "A:1,2,3").round(hour, "A:3")
	l.policy.AcceptShrink = []string{keytest.Key(t, 1).ID}
	l.round(48*hour, "A:3").want("2:retiring 3:active", keys.AlarmShrink) // in the round that notices
	for range 3 {
		l.round(100*hour, "A:3").want("2:retiring 3:active", keys.AlarmShrink)
		if diff := cmp.Diff([]string{keytest.Key(t, 2).ID}, l.last.Alarms[0].KeyIDs); diff != "" {
			t.Errorf("keys of the alarm (-want +got):\n%s", diff)
		}
	}
	l.policy.AcceptShrink = nil
	l.round(hour, "A:3").want("2:retiring 3:active", keys.AlarmShrink)
	l.round(hour, "A:3,4,5").want("2:retiring 3:active 4:waiting 5:waiting", keys.AlarmShrink) // now one of four
	l.policy.AcceptShrink = []string{keytest.Key(t, 2).ID}
	l.round(hour, "A:3,4,5").want("3:active 4:waiting 5:waiting")
}

// With every key accepted one of them is left, so that the set is never empty.
func TestOneKeyIsLeftWhateverWasAccepted(t *testing.T) {
	l := newLife(t).round(0, "A:1,2,3").round(hour, "")
	l.policy.AcceptShrink = keytest.Set(t, 1, 2, 3).IDs()
	for range 2 {
		l.round(48*hour, "")
		if n := l.last.Publish.Len(); n != 1 {
			t.Errorf("%d keys are left; want 1", n)
		}
		if len(l.last.Alarms) != 1 || l.last.Alarms[0].Kind != keys.AlarmShrink {
			t.Errorf("alarms %+v", l.last.Alarms)
		}
	}
}
