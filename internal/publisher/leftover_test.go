package publisher_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// What a process that died had taken out of the state, and not out of the store
// yet, nobody else put there.
func TestLeftoversOfACrashAreNoForeignEdit(t *testing.T) {
	for name, test := range map[string]struct {
		// take has the process take key 3 out of the state, and die.
		take   func(t *testing.T, m *medium, clock *wallClock, source *origins)
		alarms []keys.AlarmKind
	}{
		"a removal": {
			take: func(t *testing.T, m *medium, clock *wallClock, source *origins) {
				t.Helper()
				source.set(shows(t, "A", 1, 2))
				m.must(t, newWriter(t, m, clock, source))
				clock.pass(48*time.Hour + time.Second)
				newWriter(t, &door{Store: m, at: crashAfterWrites(1)}, clock, source).Round(t.Context())
			},
		},
		"a revocation": {
			take: func(t *testing.T, m *medium, clock *wallClock, source *origins) {
				t.Helper()
				dying := newWriter(t, &door{Store: m, at: crashAfterWrites(1)}, clock, source)
				if _, err := dying.Revoke(t.Context(), publisher.Revocation{ID: keytest.Key(t, 3).ID}); !errors.Is(err, errCrashed) {
					t.Fatal(err)
				}
			},
			alarms: []keys.AlarmKind{keys.AlarmRevoked},
		},
	} {
		t.Run(name, func(t *testing.T) {
			media(t, func(t *testing.T, oneVersion bool) {
				m, clock, source := newMedium(t, oneVersion), newWallClock(), new(origins)
				source.set(shows(t, "A", 1, 2, 3))
				m.must(t, newWriter(t, m, clock, source))
				test.take(t, m, clock, source)
				wantIDs(t, "left over", ids(t, 1, 2, 3), published(t, m))
				foreign := m.clone(t)

				round := newWriter(t, m, clock, source).Round(t.Context())
				wantAlarms(t, round, test.alarms...)
				wantIDs(t, "published by the next process", ids(t, 1, 2), published(t, m))
				if repaired := round.Stores[0].Repaired; repaired != "" {
					t.Errorf("repaired %q", repaired)
				}

				foreign.overwrite("openid/v1/jwks", string(jwks(t, 1, 2, 3, 4)))
				round = newWriter(t, foreign, clock, source).Round(t.Context())
				wantAlarms(t, round, append([]keys.AlarmKind{publisher.AlarmForeignEdit}, test.alarms...)...)
				if want, got := "unknown keys "+keytest.Key(t, 4).ID, round.Stores[0].Repaired; got != want {
					t.Errorf("repaired %q; want %q", got, want)
				}
				wantIDs(t, "published after a foreign edit", ids(t, 1, 2), published(t, foreign))
			})
		})
	}
}

// A process that has published before knows that a key which left is not its own
// leftover.
func TestAKeyThatLeftIsForeignOnceItIsGone(t *testing.T) {
	b := newBench(t, nil)
	b.source.set(shows(t, "A", 1, 2, 3))
	b.Round(t.Context())
	if _, err := b.Revoke(t.Context(), publisher.Revocation{ID: keytest.Key(t, 3).ID}); err != nil {
		t.Fatal(err)
	}
	b.source.set(shows(t, "A", 1, 2))
	wantAlarms(t, b.Round(t.Context()))
	b.edit(t, jwks(t, 1, 2, 3))
	round := b.Round(t.Context())
	wantAlarms(t, round, publisher.AlarmForeignEdit)
	if want, got := "unknown keys "+keytest.Key(t, 3).ID, round.Stores[0].Repaired; got != want {
		t.Errorf("repaired %q; want %q", got, want)
	}
	wantIDs(t, "published", ids(t, 1, 2), published(t, b.store))
}

// What is over before anybody scrapes is counted.
func TestEventsAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	b := newBench(t, func(c *publisher.Config) { c.Metrics = publisher.NewMetrics(registry) })
	count := func() [2]float64 {
		t.Helper()
		const name = "issuer_sync_alarm_events_total"
		return [2]float64{
			gaugeOf(t, registry, name, "kind", string(publisher.AlarmForeignEdit)),
			gaugeOf(t, registry, name, "kind", string(publisher.AlarmAdopted)),
		}
	}
	for i, step := range []struct {
		name  string
		begin func()
		want  [2]float64
	}{
		{"at first", func() {}, [2]float64{0, 0}},
		{"a foreign key", func() { b.edit(t, jwks(t, 1, 2)) }, [2]float64{1, 0}},
		{"nothing", func() {}, [2]float64{1, 0}},
		{"a deletion", func() { b.edit(t, nil) }, [2]float64{2, 0}},
		{"the state is lost", func() { b.loseState(t, nil) }, [2]float64{2, 1}},
		{"nothing again", func() {}, [2]float64{2, 1}},
	} {
		b.source.set(shows(t, "A", 1))
		step.begin()
		b.Round(t.Context())
		if diff := cmp.Diff(step.want, count()); diff != "" {
			t.Errorf("step %d, %s: foreign edits and adoptions (-want +got):\n%s", i, step.name, diff)
		}
	}
}

// What never worked has an age since the start of the process; what fails keeps
// the time at which it worked last.
func TestAgesOfWhatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		start := float64(time.Now().Unix())
		two := &counting{Store: newFaulty()}
		b := newBench(t, func(c *publisher.Config) {
			c.Metrics = publisher.NewMetrics(registry)
			c.Stores = append(c.Stores, publisher.Store{Name: "two", Store: two})
		})
		ages := func(when string, origin, one, second float64) {
			t.Helper()
			time.Sleep(time.Hour)
			b.Round(t.Context())
			want := [3]float64{start + origin, start + one, start + second}
			got := [3]float64{
				gaugeOf(t, registry, "issuer_sync_source_last_success_timestamp_seconds", "origin", "A"),
				gaugeOf(t, registry, "issuer_sync_store_last_success_timestamp_seconds", "store", "one"),
				gaugeOf(t, registry, "issuer_sync_store_last_success_timestamp_seconds", "store", "two"),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: source and stores (-want +got):\n%s", when, diff)
			}
		}
		b.source.set(fails("A", errDown{}))
		two.fail(errDown{})
		ages("nothing can be published yet", 0, 0, 0)
		b.source.set(shows(t, "A", 1))
		ages("one of two stores works", 7200, 7200, 0)
		two.fail(nil)
		ages("all is well", 10800, 10800, 10800)
		b.source.set(fails("A", errDown{}))
		two.fail(errDown{})
		ages("the source and a store fail", 10800, 14400, 10800)
		two.fail(nil)
		b.store.fail(errDown{})
		ages("the store with the state fails", 10800, 14400, 10800)
	})
}
