package lease_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
)

// The times that operators may rely on, as client-go's elector has them.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
	// slack is for requests on their way and the steps of the tests.
	slack = 50 * time.Millisecond
)

func TestOneOfThreeLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, start := &fake{t: t}, time.Now()
		all := []*candidate{stand(t, api, "a"), stand(t, api, "b"), stand(t, api, "c")}
		time.Sleep(slack)
		leader := *api.spec().HolderIdentity
		for range 18_000 {
			if holder := *api.spec().HolderIdentity; holder != leader {
				t.Fatalf("after %v %q leads, not %q", time.Since(start), holder, leader)
			}
			for i, c := range all {
				if name := string(rune('a' + i)); c.Leads() != (name == leader) {
					t.Fatalf("after %v %q leads: %v; the Lease is that of %q", time.Since(start), name, c.Leads(), leader)
				}
			}
			time.Sleep(200 * time.Millisecond)
		}
		for i, c := range all {
			name := string(rune('a' + i))
			c.checkLog(t, fmt.Sprintf("INFO leadership changed lease=team/writer leader=%s leads=%v", leader, name == leader))
			if got, want := len(c.told()), map[bool]int{true: 1}[name == leader]; got != want {
				t.Errorf("%s: Changed was called %d times, want %d", name, got, want)
			}
		}
		if spec := api.spec(); *spec.LeaseTransitions != 0 || spec.AcquireTime.Sub(start) > slack || time.Since(spec.RenewTime.Time) > retryPeriod+slack {
			t.Errorf("the Lease: %v; it was taken at %v and never left", spec, start)
		}
		// One request for each, every 1.5 to 2 s.
		if got := api.asked(); got < 3*1800 || got > 3*2400+10 {
			t.Errorf("%d requests in an hour", got)
		}
	})
}

func TestRandomIdentities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fake{t: t}
		a, b := stand(t, api, ""), stand(t, api, "")
		until(t, slack, func() bool { return a.Leads() != b.Leads() })
		time.Sleep(time.Minute)
		if a.Leads() == b.Leads() || a.Leader() != b.Leader() || a.Leader() == "" {
			t.Errorf("leads: %v and %v; leader: %q and %q", a.Leads(), b.Leads(), a.Leader(), b.Leader())
		}
	})
}

// leaderAndFollower returns two candidates after a minute.
func leaderAndFollower(t *testing.T, api *fake) (leader, follower *candidate) {
	t.Helper()
	leader = stand(t, api, "a")
	until(t, slack, leader.Leads)
	follower = stand(t, api, "b")
	time.Sleep(time.Minute)
	return leader, follower
}

func TestHandoverAfterACrash(t *testing.T) {
	for offset := time.Duration(0); offset < retryPeriod; offset += 100 * time.Millisecond {
		t.Run(fmt.Sprintf("%v after a round minute", offset), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &fake{t: t}
				a, b := leaderAndFollower(t, api)
				time.Sleep(offset)
				checkCrash(t, a, b)
			})
		})
	}
}

// checkCrash cuts a off, and checks that b follows in time, after a has stopped.
func checkCrash(t *testing.T, a, b *candidate) {
	t.Helper()
	renewed := a.api.spec().RenewTime.Add(-a.skew)
	a.set(hang)
	took := until(t, time.Minute, func() bool {
		if a.Leads() && b.Leads() {
			t.Fatal("both lead")
		}
		return b.Leads()
	})
	if took > leaseDuration+retryPeriod+slack {
		t.Errorf("handover after %v, want at most %v", took, leaseDuration+retryPeriod)
	}
	if silence := time.Since(renewed); silence < leaseDuration {
		t.Errorf("handover %v after the last renewal, want at least %v", silence, leaseDuration)
	}
	if got := *a.api.spec().LeaseTransitions; got != 1 {
		t.Errorf("%d transitions, want 1", got)
	}
	if a.Leader() != "a" {
		t.Errorf("who is cut off sees leader %q, want what it saw last", a.Leader())
	}
	a.set(nil)
	time.Sleep(time.Minute)
	if a.Leads() || !b.Leads() || a.Leader() != "b" || b.Leader() != "b" {
		t.Errorf("after the cut: leads %v and %v, leader %q and %q", a.Leads(), b.Leads(), a.Leader(), b.Leader())
	}
}

// What machines write by their clocks is for people.
func TestClocksOfOtherMachines(t *testing.T) {
	for _, test := range []struct{ a, b time.Duration }{
		{5 * time.Hour, 0}, {-5 * time.Hour, 0}, {-5 * time.Hour, 7 * time.Hour}, {20 * time.Second, -20 * time.Second},
	} {
		t.Run(fmt.Sprintf("%v and %v off", test.a, test.b), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &fake{t: t}
				a, b := prepare(t, api, "a"), prepare(t, api, "b")
				a.skew, b.skew = test.a, test.b
				a.run(t)
				until(t, slack, a.Leads)
				b.run(t)
				for range 600 {
					time.Sleep(time.Second)
					if !a.Leads() || b.Leads() {
						t.Fatalf("leads: %v and %v, want the first alone", a.Leads(), b.Leads())
					}
				}
				checkCrash(t, a, b)
			})
		})
	}
}

func TestGracefulEnd(t *testing.T) {
	for _, test := range []struct {
		name string
		// before has a's line do something before its context ends.
		before func(t *testing.T, a *candidate)
	}{
		{"between two renewals", func(*testing.T, *candidate) {}},
		{"while the answer to a renewal is under way", func(t *testing.T, a *candidate) {
			under := make(chan struct{})
			a.set(func(req *http.Request) (*http.Response, error) {
				if _, err := a.api.RoundTrip(req); err != nil {
					t.Error(err)
				}
				a.set(nil)
				close(under)
				return hang(req)
			})
			<-under
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &fake{t: t}
				a, b := leaderAndFollower(t, api)
				test.before(t, a)
				a.end()
				<-a.done
				spec, renewed := api.spec(), time.Now()
				if *spec.HolderIdentity != "" || *spec.LeaseDurationSeconds != 1 || *spec.LeaseTransitions != 0 {
					t.Errorf("the Lease after the end: %v", spec)
				}
				if told := a.told(); a.Leads() || len(told) != 2 || told[1].leads || told[1].at.After(spec.RenewTime.Time) {
					t.Errorf("leads: %v; Changed was told %v, and the lease was left at %v", a.Leads(), told, spec.RenewTime)
				}
				until(t, retryPeriod+slack, b.Leads)
				spec = api.spec()
				want := coordinationv1.LeaseSpec{
					HolderIdentity: new("b"), LeaseDurationSeconds: new(int32(15)), LeaseTransitions: new(int32(1)),
					AcquireTime: spec.RenewTime, RenewTime: spec.RenewTime,
				}
				if diff := cmp.Diff(want, spec); diff != "" || spec.RenewTime.Time.Before(renewed.Truncate(time.Microsecond)) {
					t.Errorf("the Lease after the handover (-want +got):\n%s", diff)
				}
				a.checkLog(t, "INFO leadership changed lease=team/writer leader=a leads=true",
					"INFO leadership changed lease=team/writer leader=a leads=false")
			})
		})
	}
}

func TestEndOfTheFirstAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fake{t: t}
		a := prepare(t, api, "a")
		a.set(func(req *http.Request) (*http.Response, error) {
			res, err := api.RoundTrip(req)
			if req.Method == http.MethodPost {
				a.set(nil)
				a.end()
				return hang(req)
			}
			return res, err
		})
		a.run(t)
		<-a.done
		if holder := *api.spec().HolderIdentity; holder != "" {
			t.Errorf("the lease is left to %q", holder)
		}
		if told := a.told(); len(told) != 0 {
			t.Errorf("Changed was told %v, want nothing", told)
		}
		a.checkLog(t)
	})
}

func TestEndOfAFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fake{t: t}
		a, b := leaderAndFollower(t, api)
		b.set(func(req *http.Request) (*http.Response, error) {
			t.Errorf("a follower ends with a %s", req.Method)
			return nil, nil
		})
		b.end()
		<-b.done
		if !a.Leads() || b.Leader() != "a" {
			t.Errorf("leads: %v, leader: %q; want those of before", a.Leads(), b.Leader())
		}
	})
}

func TestEndWhileNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fake{t: t}
		a, b := leaderAndFollower(t, api)
		a.set(hang)
		a.end()
		start := time.Now()
		<-a.done
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("the end took %v", took)
		}
		a.checkLog(t, "INFO leadership changed lease=team/writer leader=a leads=true",
			"INFO leadership changed lease=team/writer leader=a leads=false",
			`WARN left the lease to expire lease=team/writer err=reading Lease team/writer: Get "https://api.test`+item+`?timeout=10s": context deadline exceeded`)
		until(t, leaseDuration+retryPeriod, b.Leads)
	})
}
