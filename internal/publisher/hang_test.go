package publisher_test

import (
	"context"
	"crypto/elliptic"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// A store that hangs delays the others of its issuer by no more than 2 s,
// whenever a key appears, and those of another issuer not at all.
func TestAHangingStoreDelaysNoOther(t *testing.T) {
	t.Parallel()
	for name, hangs := range map[string]func(write bool) bool{
		"in Read":  func(write bool) bool { return !write },
		"in Write": func(write bool) bool { return write },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				two := newFaulty()
				b := newBench(t, withTwo(two))
				other := newBench(t, func(c *publisher.Config) { c.Issuer = mustIssuer(t, "https://y.test") })
				b.runs(t)
				other.runs(t)
				two.suffer(func(ctx context.Context, _ string, write bool) error {
					if !hangs(write) {
						return nil
					}
					<-ctx.Done()
					return ctx.Err()
				})
				var all keys.Set
				for n := range 20 {
					time.Sleep(20*time.Second + time.Duration(n)*430*time.Millisecond)
					all = oneMore(t, all)
					other.show(all)
					time.Sleep(200 * time.Millisecond) // no process does rounds alone
					wantIDs(t, "published for the other issuer", all.IDs(), published(t, other.store))
					b.show(all)
					time.Sleep(2 * time.Second)
					synctest.Wait()
					wantIDs(t, fmt.Sprintf("%d keys, published after 2 s", n+1), all.IDs(), published(t, b.store))
				}
				two.suffer(nil)
				time.Sleep(time.Minute)
				wantIDs(t, "published after two intervals in the store that hung", all.IDs(), published(t, two))
			})
		})
	}
}

// A store that fails for long, or in a part of its calls, is tried again after a
// second at first, then less and less often, and so are the calls before the one
// that fails. Two intervals after its end all is well.
func TestAFailingStoreIsLeftInPeace(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]outage{
		"in everything, the first":                             {time.Hour, first, func(int, string, bool) bool { return true }},
		"in everything, another":                               {time.Hour, second, func(int, string, bool) bool { return true }},
		"when the state is read":                               {quarter, first, func(_ int, path string, write bool) bool { return path == state.Path && !write }},
		"in everything from the moment when the state is read": {quarter, first, func(struck int, path string, _ bool) bool { return path == state.Path || struck > 0 }},
		"when the state is written":                            {quarter, first, func(_ int, path string, write bool) bool { return path == state.Path && write }},
		"when documents are written, the first":                {quarter, first, func(_ int, path string, write bool) bool { return path != state.Path && write }},
		"when documents are written, another":                  {quarter, second, func(_ int, path string, write bool) bool { return path != state.Path && write }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, test.run)
		})
	}
}

const (
	quarter = 15 * time.Minute
	first   = 0
	second  = 1
)

// outage is one of two stores that fails for some time.
type outage struct {
	lasts    time.Duration
	position int // the state is in the first
	// strikes says which calls fail, also by how many have failed.
	strikes func(struck int, path string, write bool) bool
}

func (o outage) run(t *testing.T) {
	broken := newFaulty()
	stores := []publisher.Store{{Name: "one", Store: newFaulty()}, {Name: "two", Store: newFaulty()}}
	stores[o.position].Store = broken
	b := newBench(t, func(c *publisher.Config) { c.Stores = stores })
	b.source.set(shows(t, "A", 1))
	b.runs(t)
	time.Sleep(time.Minute)
	broken.suffer(func(_ context.Context, path string, write bool) error {
		if o.strikes(broken.times(), path, write) {
			return errors.New("503 Service Unavailable")
		}
		return nil
	})
	asked := b.source.times()
	b.show(keytest.Set(t, 1, 2))
	time.Sleep(o.lasts)
	wantBackoff(t, o.lasts, broken.gaps())
	most := int(o.lasts/(15*time.Second)) + 8 // tries: at first more often
	if n := broken.count(); n > most || n > 0 && o.lasts == time.Hour {
		t.Errorf("%d writes; want no more than %d, and none if it cannot be read", n, most)
	}
	if n := b.source.times() - asked; n > most+int(o.lasts/(27*time.Second))+2 {
		t.Errorf("the source was asked %d times in %s", n, o.lasts)
	}
	broken.suffer(nil)
	time.Sleep(2 * 30 * time.Second)
	for _, store := range stores {
		wantIDs(t, store.Name+" after two intervals", ids(t, 1, 2), published(t, store))
	}
}

// wantBackoff checks the times between tries with an interval of 30 s.
func wantBackoff(t *testing.T, lasts time.Duration, gaps []time.Duration) {
	t.Helper()
	if least, most := int(lasts/(31*time.Second)), int(lasts/(15*time.Second))+8; len(gaps) < least || len(gaps) > most {
		t.Fatalf("tried %d times in %s; want %d to %d", len(gaps)+1, lasts, least, most)
	}
	if gaps[0] < 500*time.Millisecond || gaps[0] > time.Second {
		t.Errorf("tried again after %s at first; want 0.5 s to 1 s", gaps[0])
	}
	later := gaps[8:]
	if least, most := slices.Min(later), slices.Max(later); least < 15*time.Second || most > 31*time.Second || most-least < 3*time.Second {
		t.Errorf("tried again after %s to %s later; want 15 s to 30 s, at random", least, most)
	}
}

// oneMore returns the set with another key.
func oneMore(t *testing.T, set keys.Set) keys.Set {
	t.Helper()
	key, err := keys.New(keytest.EC(t, elliptic.P256()).Public())
	if err == nil {
		set, err = keys.NewSet(append(slices.Collect(set.All()), key)...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return set
}
