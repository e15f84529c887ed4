package publisher_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Without limits on its parts one that hangs would hang the round.
func TestRoundIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *publisher.Config) {
			c.Sources = append(c.Sources, hanging{})
			c.Stores = append(c.Stores, publisher.Store{Name: "two", Store: hangingStore{}})
			c.Outside = func(ctx context.Context) oidc.Report {
				<-ctx.Done()
				return oidc.Report{}
			}
		})
		b.source.set(shows(t, "A", 1))
		start := time.Now()
		round := b.Round(t.Context())
		if took := time.Since(start); took > 90*time.Second {
			t.Errorf("the round took %s", took)
		}
		wantIDs(t, "published", ids(t, 1), published(t, b.store))
		if round.Sources[1].Error != "context deadline exceeded" && round.Sources[1].Error != "no answer yet" || round.Stores[1].Error == "" {
			t.Errorf("the hanging parts are not told: %+v", round)
		}
	})
}

// Two sources that are always late, each when the other answers, are asked once
// in an interval, and a key of both leaves.
func TestTwoSlowSourcesTakeNoTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := &late{takes: 3 * time.Second}
		two := &late{takes: 3050 * time.Millisecond}
		one.set(shows(t, "A", 1, 2))
		two.set(shows(t, "B", 1, 2))
		b := newBench(t, func(c *publisher.Config) {
			c.Sources = []publisher.Source{one, two}
			c.Policy.Retention = 10 * time.Minute
		})
		b.runs(t)
		time.Sleep(time.Minute)
		one.set(shows(t, "A", 1))
		two.set(shows(t, "B", 1))
		time.Sleep(29 * time.Minute)
		synctest.Wait()
		if n := one.times() + two.times(); n < 100 || n > 140 {
			t.Errorf("asked %d times in 60 intervals of two sources", n)
		}
		wantIDs(t, "published in the end", ids(t, 1), published(t, b.store))
	})
}

// Stores that take turns at being late keep no slow source from being asked.
func TestSlowStoresKeepNoSlowSourceWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &late{takes: 3 * time.Second}
		source.set(shows(t, "A", 1))
		stores := map[string]*faulty{"two": newFaulty(), "three": newFaulty()}
		b := newBench(t, func(c *publisher.Config) {
			c.Sources = []publisher.Source{source}
			for name, store := range stores {
				c.Stores = append(c.Stores, publisher.Store{Name: name, Store: store})
			}
		})
		for name, takes := range map[string]time.Duration{"two": 1500 * time.Millisecond, "three": 1550 * time.Millisecond} {
			stores[name].suffer(func(context.Context, string, bool) error {
				time.Sleep(takes)
				return nil
			})
		}
		b.runs(t)
		time.Sleep(time.Minute)
		source.set(shows(t, "A", 1, 2))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		wantIDs(t, "published", ids(t, 1, 2), published(t, b.store))
	})
}

type hanging struct{}

func (hanging) Observe(ctx context.Context) []keys.Observation {
	<-ctx.Done()
	return []keys.Observation{{Origin: "hanging", Err: ctx.Err()}}
}

type hangingStore struct{ oidc.Store }

func (hangingStore) Read(ctx context.Context, _ string) (oidc.Object, oidc.Version, error) {
	<-ctx.Done()
	return oidc.Object{}, "", ctx.Err()
}

// In Run nothing that hangs keeps a changed file from being published within 5 seconds.
func TestRunPublishesBesideWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *publisher.Config) {
			c.Sources = append(c.Sources, hanging{})
			c.Outside = func(ctx context.Context) oidc.Report {
				<-ctx.Done()
				return oidc.Report{}
			}
		})
		b.source.set(shows(t, "A", 1))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		time.Sleep(5 * time.Second)
		wantIDs(t, "published 5 s after the start", ids(t, 1), published(t, b.store))
		b.source.set(shows(t, "A", 1, 2))
		b.source.changed <- struct{}{}
		time.Sleep(5 * time.Second)
		wantIDs(t, "published 5 s after a change", ids(t, 1, 2), published(t, b.store))
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A source that is slower than the others wait is heard all the same.
func TestRunHearsSlowSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *publisher.Config) { c.Sources = append(c.Sources, slow{shows(t, "S", 2)}) })
		b.source.set(shows(t, "A", 1))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		time.Sleep(11 * time.Second)
		wantIDs(t, "published", ids(t, 1, 2), published(t, b.store))
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

type slow struct{ observation keys.Observation }

func (s slow) Observe(context.Context) []keys.Observation {
	time.Sleep(10 * time.Second)
	return []keys.Observation{s.observation}
}
