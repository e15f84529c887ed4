package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// A store may ask to be left alone for as long as it likes, but not for an hour.
func TestAPauseThatWasAskedForIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.source.set(shows(t, "A", 1))
		b.store.fail(&oidc.RetryAfterError{After: time.Hour, Err: errors.New("503 Service Unavailable")})
		b.Round(t.Context())
		b.store.fail(nil)
		time.Sleep(5*time.Minute - time.Second)
		if err := b.Round(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "left alone for a while") {
			t.Errorf("after 4:59: %v", err)
		}
		time.Sleep(time.Second)
		if err := b.Round(t.Context()).Err(); err != nil {
			t.Errorf("after 5 minutes: %v", err)
		}
	})
}

// A shorter interval makes no storm of what fails.
func TestWhatFailsIsNotTriedMoreOftenThanEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := newFaulty()
		b := newBench(t, func(c *publisher.Config) {
			c.Interval = 200 * time.Millisecond
			c.Stores[0].Store = broken
		})
		b.source.set(shows(t, "A", 1))
		b.runs(t)
		time.Sleep(time.Minute)
		broken.suffer(func(context.Context, string, bool) error { return errDown{} })
		time.Sleep(time.Minute)
		gaps := broken.gaps()
		if n := len(gaps); n < 50 || n > 130 {
			t.Errorf("tried %d times in a minute", n)
		}
		for _, gap := range gaps {
			if gap < 500*time.Millisecond || gap > 1300*time.Millisecond {
				t.Fatalf("tried again after %s; want 0.5 s to 1 s, and no more than a round later", gap)
			}
		}
	})
}

// Nor does a longer one leave it alone for long.
func TestWhatFailsIsTriedEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := newFaulty()
		b := newBench(t, func(c *publisher.Config) {
			c.Interval = time.Hour
			c.Stores[0].Store = broken
		})
		b.source.set(shows(t, "A", 1))
		broken.suffer(func(context.Context, string, bool) error { return errDown{} })
		b.runs(t)
		time.Sleep(2 * time.Hour)
		gaps := broken.gaps()
		if n := len(gaps); n < 120 || n > 260 {
			t.Errorf("tried %d times in two hours", n)
		}
		for _, gap := range gaps {
			if gap > 61*time.Second {
				t.Fatalf("tried again after %s; want a minute at the most", gap)
			}
		}
	})
}

// A follower, too, leaves a store that fails in peace.
func TestAFollowerBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := newBench(t, nil)
		leader.source.set(shows(t, "A", 1))
		leader.Round(t.Context())
		store := newFaulty()
		store.Store = leader.store
		follower := newBench(t, func(c *publisher.Config) {
			c.Stores[0].Store = store
			c.Leads = func() bool { return false }
		})
		follower.runs(t)
		time.Sleep(time.Minute)
		store.suffer(func(context.Context, string, bool) error { return errDown{} })
		follower.Notify()
		time.Sleep(15 * time.Minute)
		wantBackoff(t, 15*time.Minute, store.gaps())
		store.suffer(nil)
		leader.source.set(shows(t, "A", 1, 2))
		leader.Round(t.Context())
		time.Sleep(time.Minute)
		store.suffer(func(context.Context, string, bool) error {
			return &oidc.RetryAfterError{After: 150 * time.Second, Err: errors.New("429 Too Many Requests")}
		})
		follower.Notify()
		time.Sleep(10 * time.Minute)
		for _, gap := range store.gaps() {
			if gap < 150*time.Second {
				t.Errorf("asked again after %s of 150 s", gap)
			}
		}
		wantIDs(t, "served", []string{ids(t, 1)[0], strings.Join(ids(t, 1, 2), " ")}, follower.served)
	})
}

// What fails is told once and not as over before it is, also in rounds that
// leave it in peace.
func TestAFollowerTellsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFaulty()
		store.suffer(func(context.Context, string, bool) error { return errDown{} })
		follower := newBench(t, func(c *publisher.Config) {
			c.Stores[0].Store = store
			c.Leads = func() bool { return false }
		})
		follower.runs(t)
		for range 100 {
			follower.Notify()
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if got := strings.Count(follower.log.String(), "subject=state"); got != 1 {
			t.Errorf("told %d times; want once:\n%s", got, follower.log)
		}
	})
}

// A state without keys is nobody's wish: what was served goes on.
func TestNothingIsServedForNoKeys(t *testing.T) {
	leader := newMedium(t, false)
	source := new(origins)
	source.set(shows(t, "A", 1))
	leader.must(t, newWriter(t, leader, nil, source))
	follower := newWriter(t, leader, nil, source, func(c *publisher.Config) { c.Leads = func() bool { return false } })
	leader.must(t, follower)
	leader.overwrite(state.Path, fmt.Sprintf(`{"version": 1, "issuer": %q, "keys": []}`, issuerURL))
	leader.must(t, follower)
	wantIDs(t, "served", ids(t, 1), follower.served)
}

// An API server that switched its signing key is asked at once what it signs with
// now, and the old key is in use no more.
func TestASwitchOfTheSigningKeyIsSeenAtOnce(t *testing.T) {
	g := newGuarded(t, nil)
	g.cluster.signing = map[string]string{"A": keytest.Key(t, 1).ID}
	g.round(t, 0, shows(t, "A", 1, 2))
	g.cluster.signing = map[string]string{"A": keytest.Key(t, 2).ID}
	round := g.round(t, 0, shows(t, "A", 1, 2)) // both are shown: there is time until the next look
	wantIDs(t, "key 1 is signed with by", []string{"A"}, keyOf(t, round, 1).Signing)
	round = g.round(t, 0, shows(t, "A", 2))
	wantAlarms(t, round)
	one, two := keyOf(t, round, 1), keyOf(t, round, 2)
	if one.Phase != keys.Retiring || len(one.Signing) > 0 || len(two.Signing) != 1 {
		t.Errorf("after the switch key 1 is %+v, key 2 %+v", one, two)
	}
}

// The kinds of a store's errors are stable: alerts name them.
func TestReasons(t *testing.T) {
	for want, fault := range map[string]error{
		"throttled": &oidc.RetryAfterError{After: time.Second, Err: errors.New("429 Too Many Requests")},
		"conflict":  oidc.ErrConflict,
		"timeout":   context.DeadlineExceeded,
		"error":     errDown{},
	} {
		t.Run(want, func(t *testing.T) {
			two := newFaulty()
			two.suffer(func(_ context.Context, _ string, write bool) error {
				if write {
					return fmt.Errorf("writing: %w", fault)
				}
				return nil
			})
			b := newBench(t, withTwo(two))
			b.source.set(shows(t, "A", 1))
			round := b.Round(t.Context())
			if got := round.Stores[1]; got.Reason != want || got.Error == "" {
				t.Errorf("reason %q of %q; want %q", got.Reason, got.Error, want)
			}
			if got := round.Stores[0]; got.Reason != "" || got.Error != "" {
				t.Errorf("reason %q of %q; want none", got.Reason, got.Error)
			}
		})
	}
}
