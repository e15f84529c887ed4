package publisher_test

import (
	"context"
	"crypto/elliptic"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

const retention = 48 * time.Hour

// world is a cluster whose keys come and go at random, and what its publishers
// have said of them.
type world struct {
	t     *testing.T
	clock *wallClock
	pool  []keys.Key // all there ever are

	mu     sync.Mutex // guards all below
	turn   *sync.Cond // what is below rounds changed
	random *rand.Rand
	shown  map[string]keys.Key
	// said is when a key was last shown to a publisher whose round has ended
	// with the key published.
	said   map[string]time.Time
	held   keys.Set // the JWK set
	rounds map[string]int
	active int  // rounds under way
	still  bool // one of them is paused
	ended  bool // one of the writers

	removed, returned, paused, failed int
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{
		t: t, clock: newWallClock(), random: rand.New(rand.NewPCG(seed, seed)),
		shown: make(map[string]keys.Key), said: make(map[string]time.Time), rounds: make(map[string]int),
	}
	for range 6 {
		key, err := keys.New(keytest.EC(t, elliptic.P256()).Public()) // which take less time to read and write than RSA keys
		if err != nil {
			t.Fatal(err)
		}
		w.pool = append(w.pool, key)
		w.shown[key.ID] = key
	}
	w.turn = sync.NewCond(&w.mu)
	return w
}

// live lets some time pass, and a key come or go, before a round. Hours pass
// between rounds and seconds within one: no call outlasts the seconds that its
// context has.
func (w *world) live() {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.active++ }()
	if w.random.IntN(3) == 0 {
		for w.active > 0 && !w.still {
			w.turn.Wait()
		}
		if w.active == 0 {
			w.clock.pass(time.Duration(w.random.Int64N(int64(24 * time.Hour))))
		}
	}
	w.clock.pass(time.Second)
	if w.random.IntN(3) > 0 {
		return
	}
	key := w.pool[w.random.IntN(len(w.pool))]
	if _, shown := w.shown[key.ID]; shown && len(w.shown) > 1 {
		delete(w.shown, key.ID)
	} else {
		w.shown[key.ID] = key
	}
}

// witness is one publisher's source: what it saw, and when.
type witness struct {
	*world
	set  keys.Set
	when time.Time
}

// Observe implements publisher.Source. One look in twenty fails.
func (w *witness) Observe(context.Context) []keys.Observation {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.when, _ = w.clock.read()
	w.set = keys.Set{}
	if w.random.IntN(20) == 0 {
		return []keys.Observation{fails("A", context.DeadlineExceeded)}
	}
	set, err := keys.NewSet(slices.Collect(maps.Values(w.shown))...)
	w.set = set
	return []keys.Observation{{Origin: "A", Keys: set, Err: err}}
}

// note takes what a publisher says after a round.
func (w *witness) note(name string, round publisher.Round) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rounds[name]++
	w.active--
	w.turn.Broadcast()
	if len(round.Faults) > 0 || round.Stores[0].Error != "" {
		w.failed++
		return
	}
	for _, key := range round.Keys {
		if _, seen := w.set.Key(key.ID); seen && !key.Published.IsZero() && w.said[key.ID].Before(w.when) {
			w.said[key.ID] = w.when
		}
	}
}

// look sees each JWK set as it is written.
func (w *world) look(set keys.Set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, _ := w.clock.read()
	for key := range w.held.Without(set).All() {
		w.removed++
		if since := now.Sub(w.said[key.ID]); since < retention-time.Minute { // for the seconds within rounds
			w.t.Errorf("after rounds %v key %s is gone, %s after it was last shown", w.rounds, key.ID, since)
		}
	}
	for key := range set.Without(w.held).All() {
		if !w.said[key.ID].IsZero() {
			w.returned++
		}
	}
	w.held = set
}

// pause stops a writer until another has done some rounds: before one write in
// three, which is when it holds what may be out of date, and in one call in
// thirty else. Every other time a key comes back in that moment.
func (w *world) pause(other string) func(step) error {
	return func(s step) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		chance := 60
		if s.write > 0 && !s.done {
			chance = 3
		}
		if w.random.IntN(chance) > 0 {
			return nil
		}
		w.paused++
		w.still = true
		defer func() { w.still = false }()
		w.turn.Broadcast()
		if key := w.pool[w.random.IntN(len(w.pool))]; w.random.IntN(2) == 0 {
			w.shown[key.ID] = key
		}
		for until := w.rounds[other] + 1<<w.random.IntN(6); w.rounds[other] < until && !w.ended; {
			w.turn.Wait()
		}
		return nil
	}
}

// Two writers without leader election, one of them paused at random inside its
// calls, in a cluster whose keys appear, leave and return. A key that was
// published is in every JWK set until nobody has shown it for the retention.
func TestTwoWritersLoseNoKey(t *testing.T) {
	t.Parallel()
	for _, oneVersion := range []bool{false, true} {
		seed, rounds := rand.Uint64(), scaled(75, 10_000)
		t.Logf("all objects share a version: %v; %d rounds each; seed %d", oneVersion, rounds, seed)
		synctest.Test(t, func(t *testing.T) { // in which backoffs pass at once
			w := newWorld(t, seed)
			m := newMedium(t, oneVersion)
			m.look = w.look
			var writers sync.WaitGroup
			for name, store := range map[string]*door{"P": {Store: m, at: w.pause("Q")}, "Q": {Store: m}} {
				writers.Go(func() {
					source := &witness{world: w}
					b := newWriter(t, store, w.clock, nil, func(c *publisher.Config) {
						c.Sources = []publisher.Source{source}
						c.Policy.Retention = retention
					})
					for range rounds {
						w.live()
						round := b.Round(t.Context())
						source.note(name, round)
						if round.Err() != nil {
							time.Sleep(time.Second)
						}
					}
					w.mu.Lock()
					defer w.mu.Unlock()
					w.ended = true
					w.turn.Broadcast()
				})
			}
			writers.Wait()
			last := newWriter(t, m, w.clock, &origins{answers: (&witness{world: w}).Observe(t.Context())})
			last.Round(t.Context())
			m.agrees(t)
			t.Logf("%d keys removed, %d returned, %d pauses, %d rounds failed", w.removed, w.returned, w.paused, w.failed)
			if w.removed < rounds/100 || w.returned < rounds/100 || w.paused < rounds/20 || w.failed > rounds/10 {
				t.Error("that is no test")
			}
		})
	}
}
