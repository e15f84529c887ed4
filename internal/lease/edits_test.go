package lease_test

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestForeignEdits(t *testing.T) {
	const kept = 0
	other := func(seconds *int32) func(*coordinationv1.Lease) *coordinationv1.Lease {
		return func(l *coordinationv1.Lease) *coordinationv1.Lease {
			l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.LeaseTransitions = new("other"), seconds, new(int32(7))
			return l
		}
	}
	for _, test := range []struct {
		name string
		edit func(*coordinationv1.Lease) *coordinationv1.Lease
		// How long after the edit the leader leads again, at the latest, and not
		// earlier than retryPeriod before that; kept if nobody is told that it did not.
		lost        time.Duration
		transitions int32
	}{
		{"another holder, who never renews", other(new(int32(15))), leaseDuration + retryPeriod, 8},
		{"another holder, for long", other(new(int32(60))), 60*time.Second + retryPeriod, 8},
		{"another holder, for no given time", other(nil), leaseDuration + retryPeriod, 8},
		{"no holder", func(l *coordinationv1.Lease) *coordinationv1.Lease {
			l.Spec.HolderIdentity = new("")
			return l
		}, kept, 1},
		{"an empty spec", func(l *coordinationv1.Lease) *coordinationv1.Lease {
			l.Spec = coordinationv1.LeaseSpec{}
			return l
		}, kept, 0},
		{"deleted", func(*coordinationv1.Lease) *coordinationv1.Lease { return nil }, kept, 0},
		{"no holder, after the last transition that fits", func(l *coordinationv1.Lease) *coordinationv1.Lease {
			l.Spec.HolderIdentity, l.Spec.LeaseTransitions = nil, new(int32(math.MaxInt32))
			return l
		}, kept, 0},
		{"labels, and a field that is not ours", func(l *coordinationv1.Lease) *coordinationv1.Lease {
			l.Labels = map[string]string{"theirs": "label"}
			l.Spec.Strategy = new(coordinationv1.OldestEmulationVersion)
			return l
		}, kept, 0},
		{"no time of acquisition", func(l *coordinationv1.Lease) *coordinationv1.Lease {
			l.Spec.AcquireTime = nil
			return l
		}, kept, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &fake{t: t}
				a := stand(t, api, "a")
				until(t, slack, a.Leads)
				time.Sleep(time.Minute)
				var after *coordinationv1.Lease
				api.edit(func(l *coordinationv1.Lease) *coordinationv1.Lease {
					after = test.edit(l)
					return after.DeepCopy()
				})
				edited := time.Now()
				time.Sleep(2 * time.Minute)
				told := a.told()
				if !a.Leads() || test.lost == kept && len(told) != 1 {
					t.Fatalf("leads: %v; told %v", a.Leads(), told)
				}
				if again := told[len(told)-1].at.Sub(edited); test.lost != kept && (again > test.lost+slack || again < test.lost-retryPeriod) {
					t.Errorf("leads again after %v, want at most %v", again, test.lost)
				}
				checkSpec(t, api, after, test.transitions)
			})
		})
	}
}

// checkSpec checks that the Lease is a's, and else as after the edit.
func checkSpec(t *testing.T, api *fake, after *coordinationv1.Lease, transitions int32) {
	t.Helper()
	got := api.stored()
	if after == nil {
		after = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "writer"}}
	}
	want := after.DeepCopy()
	want.TypeMeta, want.ResourceVersion = got.TypeMeta, got.ResourceVersion
	want.Spec.HolderIdentity, want.Spec.LeaseDurationSeconds, want.Spec.LeaseTransitions = new("a"), new(int32(15)), &transitions
	want.Spec.RenewTime, want.Spec.AcquireTime = got.Spec.RenewTime, got.Spec.AcquireTime
	if diff := cmp.Diff(want, got); diff != "" || got.Spec.AcquireTime == nil || time.Since(got.Spec.RenewTime.Time) > retryPeriod+slack {
		t.Errorf("the Lease (-want +got):\n%s", diff)
	}
}

func TestEditsThatChangeNoSpecProlongNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fake{t: t}
		a, b := leaderAndFollower(t, api)
		a.set(hang)
		start := time.Now()
		for i := 0; !b.Leads(); i++ {
			if time.Since(start) > leaseDuration+2*retryPeriod+slack { // an edit may be faster than b, once
				t.Fatal("no handover in time")
			}
			api.edit(func(l *coordinationv1.Lease) *coordinationv1.Lease {
				l.Labels = map[string]string{"count": fmt.Sprint(i)}
				return l
			})
			time.Sleep(300 * time.Millisecond)
		}
	})
}
