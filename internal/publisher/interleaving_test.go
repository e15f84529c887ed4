package publisher_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// errCrashed is what a process that has died hears of its store: nothing it
// does has an effect any more.
var errCrashed = errors.New("crashed")

// media runs a test on a store with a version for each object, and on one with
// a version for all, in a bubble in which backoffs pass at once.
func media(t *testing.T, test func(t *testing.T, oneVersion bool)) {
	t.Helper()
	for _, oneVersion := range []bool{false, true} {
		name := "each object has its version"
		if oneVersion {
			name = "all objects share a version"
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, oneVersion) })
		})
	}
}

// everyCall calls test with the number of each call before which a process can
// be stopped, until test reports that the process made no such call. Between
// two calls nobody else can tell where it is, so that to be stopped, or to die,
// after one call is to be so before the next.
func everyCall(t *testing.T, least int, test func(call int) (reached bool)) {
	t.Helper()
	call := 1
	for test(call) {
		call++
	}
	if call--; call < least {
		t.Errorf("stopped before %d calls; want %d at least", call, least)
	}
}

// removal is a publisher P that is about to remove key 3, and one Q beside it.
type removal struct {
	*medium
	clock  *wallClock
	source *origins
	p, q   *bench
	gate   *door // P's
}

// beforeRemoval returns what a store holds while the retention of key 3 runs.
func beforeRemoval(t *testing.T, oneVersion bool) *medium {
	t.Helper()
	m := newMedium(t, oneVersion)
	source := new(origins)
	writer := newWriter(t, m, newWallClock(), source)
	source.set(shows(t, "A", 1, 2, 3))
	m.must(t, writer)
	source.set(shows(t, "A", 1, 2))
	m.must(t, writer)
	return m
}

func newRemoval(t *testing.T, before *medium, bothRanBefore bool) *removal {
	t.Helper()
	r := &removal{medium: before.clone(t), clock: newWallClock(), source: new(origins)}
	r.gate = &door{Store: r.medium}
	r.p = newWriter(t, r.gate, r.clock, r.source)
	r.q = newWriter(t, r.medium, r.clock, r.source)
	r.source.set(shows(t, "A", 1, 2))
	if bothRanBefore {
		r.must(t, r.p)
		r.must(t, r.q)
	}
	r.clock.pass(48*time.Hour + time.Second)
	r.protect(1, 2)
	return r
}

// must does a round that has no reason to fail.
func (m *medium) must(t *testing.T, b *bench) publisher.Round {
	t.Helper()
	round := b.Round(t.Context())
	if err := round.Err(); err != nil {
		t.Errorf("%s: %v", m.during, err)
	}
	return round
}

// returns has key 3 return, and b publish it.
func (r *removal) returns(t *testing.T, b *bench) {
	t.Helper()
	r.source.set(shows(t, "A", 1, 2, 3))
	round := r.must(t, b)
	if published := keyOf(t, round, 3).Published; published.IsZero() {
		t.Errorf("%s: a round without disturbance did not find key 3 published", r.during)
	}
	r.protect(1, 2, 3)
}

func keyOf(t *testing.T, round publisher.Round, number int) publisher.KeyResult {
	t.Helper()
	for _, key := range round.Keys {
		if key.ID == keytest.Key(t, number).ID {
			return key
		}
	}
	return publisher.KeyResult{}
}

// settled checks that documents and state are those of the keys, and that
// nothing is left to write.
func (m *medium) settled(t *testing.T, b *bench, numbers ...int) {
	t.Helper()
	m.holds(t, numbers...)
	before := m.count()
	m.must(t, b)
	if n := m.count() - before; n > 0 {
		t.Errorf("%s: a steady round made %d writes", m.during, n)
	}
}

// holds checks that documents and state are those of the keys.
func (m *medium) holds(t *testing.T, numbers ...int) {
	t.Helper()
	wantIDs(t, m.during+": published", ids(t, numbers...), published(t, m))
	m.agrees(t)
}

// agrees checks that the documents are those of the state.
func (m *medium) agrees(t *testing.T) {
	t.Helper()
	remembered, _, err := state.Read(t.Context(), m)
	if err != nil {
		t.Fatalf("%s: %v", m.during, err)
	}
	want, err := oidc.Render(mustIssuer(t, issuerURL), remembered.Published())
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range []oidc.Object{want.JWKS, want.Discovery} {
		found, _, err := m.Read(t.Context(), object.Path)
		if diff := cmp.Diff(string(object.Body), string(found.Body)); diff != "" || err != nil {
			t.Errorf("%s: %s: %v (-want +got):\n%s", m.during, object.Path, err, diff)
		}
	}
}

func mustIssuer(t *testing.T, url string) oidc.Issuer {
	t.Helper()
	issuer, err := oidc.ParseIssuer(url)
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

// P decides to remove a key and is stopped, wherever it can be. Meanwhile the
// key returns and Q publishes it. It stays, while P is stopped, which is all
// there is if P has died, and when P goes on.
func TestAPausedRemovalIsOvertaken(t *testing.T) {
	t.Parallel()
	for name, bothRanBefore := range map[string]bool{"by a new process": false, "by one of two that ran before": true} {
		t.Run(name, func(t *testing.T) {
			media(t, func(t *testing.T, oneVersion bool) {
				before := beforeRemoval(t, oneVersion)
				everyCall(t, 10, func(call int) (reached bool) {
					r := newRemoval(t, before, bothRanBefore)
					r.during = fmt.Sprintf("P stopped before call %d", call)
					r.gate.open(func(s step) error {
						if s.call == call && !s.done {
							reached = true
							r.returns(t, r.q)
							r.holds(t, 1, 2, 3)
						}
						return nil
					})
					r.p.Round(t.Context())
					if reached {
						r.must(t, r.q)
						r.holds(t, 1, 2, 3)
					}
					return reached
				})
			})
		})
	}
}

// As before, but Q crashes after a write, and so does the process that starts
// in its place, before a third has its round. P is stopped where that hurts
// most: with the document in hand that lacks the key.
func TestAPausedRemovalIsOvertakenByCrashingWriters(t *testing.T) {
	t.Parallel()
	media(t, func(t *testing.T, oneVersion bool) {
		before := beforeRemoval(t, oneVersion)
		for _, writes := range [][]int{{1}, {2}, {1, 1}, {1, 2}, {2, 1}, {2, 2}} {
			r := newRemoval(t, before, true)
			r.during = fmt.Sprintf("others crashed after %d writes", writes)
			stopped := false
			r.gate.open(func(s step) error {
				if stopped || s.write == 0 || s.path != oidc.JWKSPath {
					return nil
				}
				stopped = true
				r.source.set(shows(t, "A", 1, 2, 3))
				for _, n := range writes {
					newWriter(t, &door{Store: r.medium, at: crashAfterWrites(n)}, r.clock, r.source).Round(t.Context())
				}
				r.returns(t, newWriter(t, r.medium, r.clock, r.source))
				return nil
			})
			r.p.Round(t.Context())
			if !stopped {
				t.Fatal("P never wrote the JWK set")
			}
			r.must(t, r.q)
			r.holds(t, 1, 2, 3)
		}
	})
}

// crashAfterWrites lets a process make so many writes before it dies.
func crashAfterWrites(writes int) func(step) error {
	made := 0
	return func(s step) error {
		if s.done && s.write > 0 {
			made++
		}
		if made >= writes {
			return errCrashed
		}
		return nil
	}
}
