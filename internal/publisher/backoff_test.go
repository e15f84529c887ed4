package publisher_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/internal/store/memory"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// A store that asks to be left alone is, whatever it was asked for. What goes on
// around it makes no difference.
func TestRetryAfterIsHeededByEveryCall(t *testing.T) {
	for name, test := range map[string]struct {
		strikes func(path string, write bool) bool
		keep    func(c *publisher.Config, store oidc.Store) // where the state is
	}{
		"of a read":                         {func(path string, _ bool) bool { return path == oidc.JWKSPath }, nil},
		"of a write":                        {func(path string, write bool) bool { return path == oidc.JWKSPath && write }, nil},
		"of the state's read":               {func(path string, write bool) bool { return path == state.Path && !write }, nil},
		"of the state's write":              {func(path string, write bool) bool { return path == state.Path && write }, nil},
		"of the read in the state's store":  {func(path string, write bool) bool { return path == state.Path && !write }, inItsOwnStore},
		"of the write in the state's store": {func(path string, write bool) bool { return path == state.Path && write }, inItsOwnStore},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newFaulty()
				b := newBench(t, func(c *publisher.Config) {
					c.Stores[0].Store = store
					if test.keep != nil {
						test.keep(c, store)
					}
				})
				b.source.set(shows(t, "A", 1))
				b.runs(t)
				time.Sleep(time.Minute)
				var asked time.Time
				store.suffer(func(_ context.Context, path string, write bool) error {
					switch {
					case !asked.IsZero():
						// Whether a write took effect after all is read at once.
						if since := time.Since(asked); since > 0 && since < 150*time.Second {
							t.Errorf("called for %s after %s of 150 s", path, since)
						}
					case test.strikes(path, write):
						asked = time.Now()
						return &oidc.RetryAfterError{After: 150 * time.Second, Err: errors.New("429 Too Many Requests")}
					}
					return nil
				})
				b.show(keytest.Set(t, 1, 2))
				for range 14 {
					time.Sleep(10 * time.Second)
					b.show(keytest.Set(t, 1, 2))
				}
				time.Sleep(2 * time.Minute)
				remembered, _, err := state.Read(t.Context(), store)
				if err != nil || asked.IsZero() {
					t.Fatal(asked, err)
				}
				wantIDs(t, "state", ids(t, 1, 2), remembered.Published().IDs())
			})
		})
	}
}

// inItsOwnStore keeps the state in the store, and the documents elsewhere.
func inItsOwnStore(c *publisher.Config, store oidc.Store) {
	c.State = store
	c.Stores[0].Store = memory.New()
}

// A source that fails keeps no other from being heard at once, and is heard at
// once itself when it says that it has changed.
func TestAFailingSourceKeepsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := &origins{changed: make(chan struct{})}
		broken.set(fails("B", errors.New("connection refused")))
		b := newBench(t, func(c *publisher.Config) { c.Sources = append(c.Sources, broken) })
		b.source.set(shows(t, "A", 1))
		b.runs(t)
		time.Sleep(time.Hour)
		if n := broken.times(); n < 100 || n > 250 {
			t.Errorf("the failing source was asked %d times in an hour", n)
		}
		b.show(keytest.Set(t, 1, 2))
		synctest.Wait()
		wantIDs(t, "published at once", ids(t, 1, 2), published(t, b.store))
		broken.set(shows(t, "B", 3))
		broken.changed <- struct{}{}
		time.Sleep(200 * time.Millisecond) // no process does rounds alone
		wantIDs(t, "published at once after the repair", ids(t, 1, 2, 3), published(t, b.store))
	})
}

// An hour in which nothing happens.
func TestASteadyHourWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newFaulty(), newFaulty()
		b := newBench(t, func(c *publisher.Config) {
			c.Stores = []publisher.Store{{Name: "one", Store: one}, {Name: "two", Store: two}}
		})
		b.source.set(shows(t, "A", 1, 2), shows(t, "B", 1))
		b.runs(t)
		time.Sleep(time.Minute)
		one.suffer(nil)
		two.suffer(nil)
		before := b.source.times()
		time.Sleep(time.Hour)
		if one.count() > 0 || two.count() > 0 {
			t.Errorf("%d and %d writes", one.count(), two.count())
		}
		if n := b.source.times() - before; n < 119 || n > 135 {
			t.Errorf("%d rounds with an interval of 30 s", n)
		}
	})
}
