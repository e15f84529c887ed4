package publisher_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// A replica that does not lead asks no source, writes nothing, and serves what
// the state says. It leads as soon as it may.
func TestAFollowerServesTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := newBench(t, nil)
		leader.source.set(shows(t, "A", 1))
		leader.Round(t.Context())
		var leads atomic.Bool
		rounds := make(chan publisher.Round, 1000)
		follower := newBench(t, func(c *publisher.Config) {
			c.Stores[0].Store = leader.store
			c.Leads = leads.Load
			c.Report = func(round publisher.Round) { rounds <- round }
		})
		follower.source.set(shows(t, "A", 1, 3))
		writes := leader.store.writes
		follower.runs(t)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		leader.source.set(shows(t, "A", 1, 2))
		leader.Round(t.Context())
		if _, err := leader.Revoke(t.Context(), publisher.Revocation{ID: keytest.Key(t, 1).ID}); err != nil {
			t.Fatal(err)
		}
		led := leader.store.writes
		time.Sleep(time.Minute)
		synctest.Wait()
		wantIDs(t, "served", []string{ids(t, 1)[0], ids(t, 2)[0]}, follower.served)
		if n := follower.source.times(); n > 0 || leader.store.writes != led || led == writes {
			t.Errorf("a follower asked the source %d times, and wrote %d times", n, leader.store.writes-led)
		}
		for len(rounds) > 1 {
			<-rounds
		}
		if round := <-rounds; !round.Following || keyOf(t, round, 1).Phase != keys.Revoked || keyOf(t, round, 2).Phase != keys.Waiting || round.NextChange.IsZero() {
			t.Errorf("a follower reports %+v", round)
		}

		leads.Store(true)
		follower.Notify()
		synctest.Wait()
		if round := <-rounds; round.Following || follower.source.times() != 1 {
			t.Errorf("a new leader reports %+v", round)
		}
		wantIDs(t, "published by the new leader", ids(t, 2, 3), published(t, leader.store))

		leads.Store(false)
		led = leader.store.writes
		follower.source.set(shows(t, "A", 2, 3, 4))
		time.Sleep(time.Minute)
		synctest.Wait()
		if leader.store.writes != led {
			t.Errorf("%d writes after the lead was lost", leader.store.writes-led)
		}
	})
}

// A key that is revoked while another publisher does its rounds is gone, and
// stays away for as long as the cluster shows it.
func TestRevokeBesideAPublisher(t *testing.T) {
	media(t, func(t *testing.T, oneVersion bool) {
		m, clock, source := newMedium(t, oneVersion), newWallClock(), new(origins)
		source.set(shows(t, "A", 1, 2, 3))
		running := newWriter(t, m, clock, source)
		m.must(t, running)
		var rounds sync.WaitGroup
		rounds.Go(func() {
			for n := range 10 {
				source.set(shows(t, "A", 1, 2, 3, 4+n%2)) // there is always something to write
				running.Round(t.Context())
			}
		})
		revoked, err := newWriter(t, m, clock, source).Revoke(t.Context(), publisher.Revocation{ID: keytest.Key(t, 3).ID})
		m.ban(3)
		if err != nil || keyOf(t, revoked, 3).Phase != keys.Revoked {
			t.Errorf("revoking: %v, %+v", err, revoked.Keys)
		}
		rounds.Wait()
		for range 3 {
			clock.pass(49 * time.Hour)
			wantAlarms(t, running.Round(t.Context()), keys.AlarmRevoked)
		}
		m.agrees(t)
		source.set(shows(t, "A", 1, 2, 5))
		m.must(t, running)
		clock.pass(49 * time.Hour)
		if key := keyOf(t, m.must(t, running), 3); key.ID != "" {
			t.Errorf("the revoked key is still remembered: %+v", key)
		}
	})
}

// The events of a key's life, and of a problem on the way.
func TestEventsOfALife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []string
		b := newBench(t, func(c *publisher.Config) {
			c.Interval = 10 * time.Minute
			c.Policy.MinimumWait, c.Policy.Retention = time.Hour, 2*time.Hour
			c.Event = func(reason, note string, warning bool) {
				note = strings.ReplaceAll(note, keytest.Key(t, 2).ID, "two")
				events = append(events, fmt.Sprint(reason, " ", warning, " ", note))
			}
		})
		b.source.set(shows(t, "A", 1))
		b.runs(t)
		time.Sleep(time.Minute)
		b.show(keytest.Set(t, 1, 2))
		time.Sleep(2 * time.Hour)
		b.source.set(fails("A", errDown{}))
		b.source.changed <- struct{}{}
		time.Sleep(time.Minute)
		b.show(keytest.Set(t, 1))
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		want := []string{
			"KeyWaiting false issuer https://x.test: key two is waiting, until 2000-01-01T01:01:00Z",
			"KeyActive false issuer https://x.test: key two is active, was waiting",
			"Problem true issuer https://x.test: A: down",
			"KeyRetiring false issuer https://x.test: key two is retiring, was active, until 2000-01-01T04:02:00Z",
			"ProblemOver false issuer https://x.test: A",
			"KeyRemoved false issuer https://x.test: key two was retiring and has left",
		}
		if diff := cmp.Diff(want, events); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

type errDown struct{}

func (errDown) Error() string { return "down" }
