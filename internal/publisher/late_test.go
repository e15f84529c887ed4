package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// late is a source that takes its time.
type late struct {
	origins
	takes   time.Duration // guarded by origins.mu
	signing map[string]string
}

func (l *late) take(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.takes = d
}

func (l *late) Observe(ctx context.Context) []keys.Observation {
	l.mu.Lock()
	takes := l.takes
	l.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
	}
	return l.origins.Observe(ctx)
}

func (l *late) SigningKeys(context.Context) map[string]string { return l.signing }

// rounds are the reports of Run.
type rounds struct {
	mu  sync.Mutex
	all []publisher.Round
}

func (r *rounds) note(round publisher.Round) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, round)
}

// take returns the reports since the last call.
func (r *rounds) take() []publisher.Round {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}

// gaugeOf returns the value of the only series with this label; -1 if there is none.
func gaugeOf(t *testing.T, registry *prometheus.Registry, name, label, value string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, pair := range metric.GetLabel() {
				if pair.GetName() == label && pair.GetValue() == value {
					return metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
				}
			}
		}
	}
	return -1
}

// One API server of three swallows packets, so that the source needs 10 s while
// rounds wait for 2: what the others showed last counts, and nothing flaps.
func TestALateSourceIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry, reports := prometheus.NewRegistry(), new(rounds)
		source := &late{origins: origins{changed: make(chan struct{})}, takes: 10 * time.Second}
		black := inGroup(fails("C", errors.New("timeout")))
		source.set(inGroup(shows(t, "A", 1, 2)), inGroup(shows(t, "B", 1)), black)
		b := newBench(t, func(c *publisher.Config) {
			c.Sources = []publisher.Source{source}
			c.Metrics = publisher.NewMetrics(registry)
			c.Report = reports.note
		})
		b.runs(t)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		reports.take()
		before := b.log.String()
		for range 600 {
			time.Sleep(time.Second)
			if v := gaugeOf(t, registry, "issuer_sync_alarms", "kind", string(keys.AlarmDivergence)); v != 1 {
				t.Fatalf("the gauge of divergence is %v", v)
			}
		}
		synctest.Wait()
		all := reports.take()
		for _, round := range all {
			wantAlarms(t, round, keys.AlarmDivergence)
			if shown := keyOf(t, round, 1).Shown; !slices.Equal(shown, []string{"A", "B"}) {
				t.Fatalf("key 1 is shown by %v", shown)
			}
		}
		if n := len(all); n < 20 || n > 60 {
			t.Errorf("%d rounds in 10 minutes", n)
		}
		if diff := cmp.Diff(before, b.log.String()); diff != "" {
			t.Errorf("log (-before +after):\n%s", diff)
		}
	})
}

// What a late source showed last ends no retention: the key may be back since.
func TestALateSourceRemovesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &late{origins: origins{changed: make(chan struct{})}}
		source.set(shows(t, "A", 1, 2))
		b := newBench(t, func(c *publisher.Config) {
			c.Sources = []publisher.Source{source}
			c.Policy.Retention = 10 * time.Minute
		})
		b.runs(t)
		time.Sleep(time.Minute)
		source.set(shows(t, "A", 1)) // 2 leaves
		source.changed <- struct{}{}
		time.Sleep(10*time.Minute - time.Second)
		source.take(20 * time.Second)
		source.set(shows(t, "A", 1), shows(t, "B", 2)) // and is back
		time.Sleep(time.Hour)
		synctest.Wait()
		wantIDs(t, "served", []string{strings.Join(ids(t, 1, 2), " ")}, b.served)
	})
}

// Nor does it where only the failure of another source kept the key by then: an
// origin of the late one may be back, or may show the key again.
func TestALateSourceLetsNoOtherRemoveAKey(t *testing.T) {
	for name, with := range map[string][]keys.Observation{
		"of an origin that was gone":         {shows(t, "A", 1), shows(t, "B", 2)},
		"that an origin did not show before": {shows(t, "A", 1, 2)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { returnsLate(t, with) })
		})
	}
}

// returnsLate has a source show key 2 no more, and then again while it is late.
func returnsLate(t *testing.T, with []keys.Observation) {
	t.Helper()
	source := &late{origins: origins{changed: make(chan struct{})}}
	source.set(with...)
	b := newBench(t, func(c *publisher.Config) {
		c.Sources = append(c.Sources, source)
		c.Policy.Retention = 10 * time.Minute
	})
	b.source.set(shows(t, "C", 1, 2))
	b.runs(t)
	time.Sleep(time.Minute)
	source.set(shows(t, "A", 1))
	b.source.set(shows(t, "C", 1))
	time.Sleep(time.Minute)
	b.source.set(fails("C", errors.New("connection refused")))
	time.Sleep(20 * time.Minute)
	wantIDs(t, "served while C fails", []string{strings.Join(ids(t, 1, 2), " ")}, b.served)
	source.take(20 * time.Second)
	source.set(with...)
	b.source.set(shows(t, "C", 1))
	b.source.changed <- struct{}{}
	time.Sleep(time.Hour)
	synctest.Wait()
	wantIDs(t, "served", []string{strings.Join(ids(t, 1, 2), " ")}, b.served)
}

// A source that hangs, and says meanwhile that it has changed, is asked again
// once it answers, and not before.
func TestALateSourceThatChangesKeepsNobodyBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := new(rounds)
		source := &late{origins: origins{changed: make(chan struct{})}}
		source.set(shows(t, "A", 1))
		b := newBench(t, func(c *publisher.Config) {
			c.Sources = []publisher.Source{source}
			c.Report = reports.note
		})
		b.runs(t)
		time.Sleep(time.Minute)
		source.take(20 * time.Second)
		source.changed <- struct{}{}
		time.Sleep(5 * time.Second)
		asked := source.times()
		reports.take()
		source.set(shows(t, "A", 1, 2))
		source.changed <- struct{}{}
		time.Sleep(10 * time.Second)
		if n := len(reports.take()); n == 0 || n > 3 {
			t.Errorf("%d rounds in 10 s; want one for the change", n)
		}
		source.take(0)
		time.Sleep(7 * time.Second) // it answers by now, and is asked again at once
		if n := source.times() - asked; n < 2 || n > 3 {
			t.Errorf("asked %d times; want once more after the answer", n-1)
		}
	})
}

// What takes longer to answer at the very beginning may be in use already.
func TestTheFirstPublicationWaitsForLateSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := new(rounds)
		source := &late{origins: origins{changed: make(chan struct{})}, takes: 3 * time.Second, signing: map[string]string{"B": keytest.Key(t, 2).ID}}
		source.set(shows(t, "B", 2))
		b := newBench(t, func(c *publisher.Config) {
			c.Sources = append(c.Sources, source)
			c.Report = reports.note
		})
		b.source.set(shows(t, "A", 1))
		b.runs(t)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		all := reports.take()
		for i, round := range all {
			wantAlarms(t, round)
			for _, key := range round.Keys {
				if key.Phase != keys.Active {
					t.Errorf("round %d: key %s is %s", i+1, key.ID, key.Phase)
				}
			}
		}
		wantIDs(t, "published in the end", ids(t, 1, 2), all[len(all)-1].IDs())

		source.set(shows(t, "B", 2, 3)) // the beginning is over
		source.changed <- struct{}{}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		all = reports.take()
		if phase := keyOf(t, all[len(all)-1], 3).Phase; phase != keys.Waiting {
			t.Errorf("a later key is %s", phase)
		}
	})
}

// One that has answered, and is late when the last of the others does, may have
// more to show.
func TestTheFirstPublicationWaitsForASourceThatIsLateAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := new(rounds)
		again := &late{origins: origins{changed: make(chan struct{})}}
		again.set(shows(t, "B", 2))
		last := &late{origins: origins{changed: make(chan struct{})}, takes: 3 * time.Second}
		last.set(shows(t, "A", 1))
		b := newBench(t, func(c *publisher.Config) {
			c.Sources = []publisher.Source{again, last}
			c.Report = reports.note
		})
		b.runs(t)
		time.Sleep(time.Second)
		again.take(10 * time.Second)
		again.set(shows(t, "B", 2, 3))
		time.Sleep(15 * time.Second)
		synctest.Wait()
		all := reports.take()
		if phase := keyOf(t, all[len(all)-1], 3).Phase; phase != keys.Active {
			t.Errorf("the key that came while it was late is %q", phase)
		}
	})
}

// Nor does the first publication end never, where an origin does not answer.
func TestTheFirstPublicationEnds(t *testing.T) {
	for name, test := range map[string]struct {
		after time.Duration
		want  keys.Phase
	}{
		"within 10 minutes": {10 * time.Minute, keys.Active},
		"after that":        {10*time.Minute + time.Second, keys.Waiting},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuarded(t, nil)
				down := fails("B", errors.New("connection refused"))
				g.round(t, 0, shows(t, "A", 1), down)
				time.Sleep(time.Minute) // what failed is asked again after a while
				if phase := keyOf(t, g.round(t, test.after, shows(t, "A", 1, 2), down), 2).Phase; phase != test.want {
					t.Errorf("a key that comes %s is %s; want %s", name, phase, test.want)
				}
			})
		})
	}
}

// That an answer is on its way is no problem to tell of, at whatever it is late.
func TestWhatIsLateIsNoProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		store := newFaulty()
		source := &late{origins: origins{changed: make(chan struct{})}, takes: 10 * time.Second}
		source.set(shows(t, "B", 2))
		b := newBench(t, func(c *publisher.Config) {
			c.Metrics = publisher.NewMetrics(registry)
			c.Sources = append(c.Sources, source)
			c.Stores = append(c.Stores, publisher.Store{Name: "two", Store: store})
		})
		b.source.set(shows(t, "A", 1))
		b.runs(t)
		store.suffer(func(ctx context.Context, _ string, _ bool) error {
			select {
			case <-time.After(1500 * time.Millisecond): // and then it does what it should
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		for range 120 {
			time.Sleep(time.Second)
			if v := gaugeOf(t, registry, "issuer_sync_problems", "issuer", issuerURL); v > 0 {
				t.Fatalf("%v problems:\n%s", v, b.log)
			}
		}
		synctest.Wait()
		if log := b.log.String(); strings.Contains(log, "problem") {
			t.Errorf("log:\n%s", log)
		}
		wantIDs(t, "published in the slow store", ids(t, 1, 2), published(t, store))
	})
}

// While the only source is late there is nothing to decide on yet, which is no
// problem either.
func TestALateOnlySourceIsNoProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &late{origins: origins{changed: make(chan struct{})}, takes: 10 * time.Second}
		source.set(shows(t, "A", 1))
		reports := new(rounds)
		b := newBench(t, func(c *publisher.Config) {
			c.Sources = []publisher.Source{source}
			c.Report = reports.note
		})
		b.runs(t)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		first := reports.take()
		if want := "sources[0]: no answer yet\nstate: sources[0]: no answer yet"; fmt.Sprint(first[0].Err()) != want {
			t.Errorf("the first round: %v; want %s", first[0].Err(), want)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if log := b.log.String(); strings.Contains(log, "problem") {
			t.Errorf("log:\n%s", log)
		}
		wantIDs(t, "published", ids(t, 1), published(t, b.store))
	})
}
