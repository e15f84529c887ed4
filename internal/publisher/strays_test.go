package publisher_test

import (
	"context"
	"errors"
	"slices"
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

// places are the stores of a configuration that is edited.
type places struct {
	one, two, three *faulty
	source          *origins
}

// newPlaces has an issuer published in two stores, with its state in the first.
// Key 3 was revoked, and the cluster still shows it.
func newPlaces(t *testing.T) *places {
	t.Helper()
	return newPlacesIn(t, newFaulty)
}

func newPlacesIn(t *testing.T, empty func() *faulty) *places {
	t.Helper()
	p := &places{one: empty(), two: empty(), three: empty(), source: new(origins)}
	p.source.set(shows(t, "A", 1, 2, 3))
	before := p.start(t, nil, p.one, p.two)
	before.Round(t.Context())
	if _, err := before.Revoke(t.Context(), publisher.Revocation{ID: keytest.Key(t, 3).ID}); err != nil {
		t.Fatal(err)
	}
	wantAlarms(t, before.Round(t.Context()), keys.AlarmRevoked)
	return p
}

// start starts a process with the state in the given store; nil: in the first
// of the others.
func (p *places) start(t *testing.T, kept oidc.Store, stores ...*faulty) *bench {
	t.Helper()
	names := map[*faulty]string{p.one: "one", p.two: "two", p.three: "three"}
	return newBench(t, func(c *publisher.Config) {
		c.Sources = []publisher.Source{p.source}
		c.Stores, c.State = nil, kept
		for _, store := range stores {
			c.Stores = append(c.Stores, publisher.Store{Name: names[store], Store: store})
		}
	})
}

// continued checks that the state with its revocation is in one store, and in
// no other.
func (p *places) continued(t *testing.T, in *faulty) {
	t.Helper()
	for _, store := range []*faulty{p.one, p.two, p.three} {
		remembered, _, err := state.Read(t.Context(), store)
		switch {
		case store != in && !errors.Is(err, state.ErrMoved) && !errors.Is(err, oidc.ErrNotFound):
			t.Errorf("another store holds a state: %v", err)
		case store == in && err != nil:
			t.Errorf("the state: %v", err)
		case store == in && !slices.ContainsFunc(remembered.Records, func(r keys.Record) bool {
			return r.Key.ID == keytest.Key(t, 3).ID && !r.Revoked.IsZero()
		}):
			t.Errorf("the revocation is lost: %+v", remembered.Records)
		}
		if holding, err := oidc.Hold(t.Context(), store); err != nil || holding.Keys.Len() > 0 && !holding.Keys.Equal(keytest.Set(t, 1, 2)) {
			t.Errorf("published %v, %v", holding.Keys.IDs(), err)
		}
	}
}

// Where the state is kept is where the configuration says; what it is does not
// depend on that.
func TestTheStateMovesWithTheConfiguration(t *testing.T) {
	p := newPlaces(t)
	for _, step := range []struct {
		name   string
		kept   oidc.Store
		stores []*faulty
		in     *faulty
	}{
		{"swapped", nil, []*faulty{p.two, p.one}, p.two},
		{"swapped back", nil, []*faulty{p.one, p.two}, p.one},
		{"once more", nil, []*faulty{p.two, p.one}, p.two},
		{"a store of its own", p.three, []*faulty{p.two, p.one}, p.three},
	} {
		t.Run(step.name, func(t *testing.T) {
			b := p.start(t, step.kept, step.stores...)
			round := b.Round(t.Context())
			wantAlarms(t, round, keys.AlarmRevoked)
			if err := round.Err(); err != nil || len(round.Warnings) != 1 || !strings.HasPrefix(round.Warnings[0], "took over the state that was in store ") {
				t.Errorf("error %v, warnings %q", err, round.Warnings)
			}
			round = b.Round(t.Context())
			wantAlarms(t, round, keys.AlarmRevoked)
			if len(round.Warnings) > 0 || round.StateWritten || b.Round(t.Context()).StateWritten {
				t.Errorf("it is not over: %+v", round)
			}
			p.continued(t, step.in)
		})
	}
}

// Where all objects share a version the documents that a move writes keep it
// from abandoning the old place at once. The next round does that.
func TestTheOldPlaceIsAbandonedAfterAConflict(t *testing.T) {
	p := newPlacesIn(t, func() *faulty { return &faulty{Store: newMedium(t, true)} })
	p.abandonsInTheNextRound(t, keys.AlarmRevoked)
}

// So it does if the round that met the conflict wrote the documents there once
// more, because somebody edited them just then.
func TestTheOldPlaceIsAbandonedAfterAConflictAndAnEdit(t *testing.T) {
	p := newPlacesIn(t, func() *faulty { return &faulty{Store: newMedium(t, true)} })
	old, written, edited := p.one.Store.(*medium), false, false
	edit := func() { old.overwrite(oidc.JWKSPath, string(jwks(t, 1))) }
	p.one.suffer(func(_ context.Context, path string, write bool) error {
		switch {
		case write && path == oidc.JWKSPath:
			written = true
		case written && !edited && path == oidc.DiscoveryPath:
			edited = true
			edit()
		}
		return nil
	})
	p.abandonsInTheNextRound(t, publisher.AlarmForeignEdit, keys.AlarmRevoked)
}

// abandonsInTheNextRound has a process move the state from the first store to
// the second, which raises these alarms.
func (p *places) abandonsInTheNextRound(t *testing.T, alarms ...keys.AlarmKind) {
	t.Helper()
	b := p.start(t, nil, p.two, p.one)
	for _, old := range []struct {
		when   string
		alarms []keys.AlarmKind
		want   error
	}{
		{"after the round that moved it", alarms, nil},
		{"after the next", []keys.AlarmKind{keys.AlarmRevoked}, state.ErrMoved},
	} {
		round := b.Round(t.Context())
		wantAlarms(t, round, old.alarms...)
		if err := round.Err(); err != nil {
			t.Errorf("%s: %v", old.when, err)
		}
		if _, _, err := state.Read(t.Context(), p.one); !errors.Is(err, old.want) {
			t.Errorf("%s: the state in the old place: %v; want %v", old.when, err, old.want)
		}
	}
	p.continued(t, p.two)
}

// A plan tells what a round would do, and leaves the old place for the round.
func TestAPlanAbandonsNothing(t *testing.T) {
	p := newPlaces(t)
	p.crashBeforeAbandoning(t)
	for _, store := range []*faulty{p.one, p.two} {
		store.suffer(nil)
	}
	b := p.start(t, nil, p.two, p.one)
	if round := b.Plan(t.Context(), time.Second); round.Err() != nil {
		t.Error(round.Err())
	}
	if n := p.one.count() + p.two.count(); n > 0 {
		t.Errorf("a plan made %d writes", n)
	}
	wantAlarms(t, b.Round(t.Context()), keys.AlarmRevoked)
	p.continued(t, p.two)
}

// crashBeforeAbandoning has a process move the state from the first store to the
// second, and die before it abandons the old place.
func (p *places) crashBeforeAbandoning(t *testing.T) {
	t.Helper()
	p.one.suffer(func(_ context.Context, path string, write bool) error {
		if path == state.Path && write {
			return errCrashed
		}
		return nil
	})
	p.start(t, nil, p.two, p.one).Round(t.Context())
	if p.one.times() == 0 {
		t.Fatal("it did not try to abandon the old place")
	}
	p.one.suffer(nil)
	for _, store := range []*faulty{p.one, p.two} {
		if _, _, err := state.Read(t.Context(), store); err != nil {
			t.Fatalf("a crash left no state: %v", err)
		}
	}
}

func TestAMoveThatWasCutShortIsMadeGood(t *testing.T) {
	p := newPlaces(t)
	p.crashBeforeAbandoning(t)
	round := p.start(t, nil, p.two, p.one).Round(t.Context())
	wantAlarms(t, round, keys.AlarmRevoked)
	if err := round.Err(); err != nil {
		t.Error(err)
	}
	p.continued(t, p.two)
}

// A store that does not answer at first may have a state that nobody knows of.
func TestAStateIsLookedForOnceTheStoreAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(t)
		p.crashBeforeAbandoning(t)
		p.one.suffer(func(context.Context, string, bool) error { return errors.New("503 Service Unavailable") })
		b := p.start(t, nil, p.two, p.one)
		wantAlarms(t, b.Round(t.Context()), keys.AlarmRevoked)
		p.one.suffer(nil)
		time.Sleep(time.Minute)
		if err := b.Round(t.Context()).Err(); err != nil {
			t.Error(err)
		}
		p.continued(t, p.two)
	})
}

// Which of two states is right only the operator can tell.
func TestTwoStatesStopAllWriting(t *testing.T) {
	const cure = `decide which is right, delete .issuer-sync/state.json in the other, and start again; in the wrong one a revocation may be missing`
	for name, test := range map[string]struct {
		start func(t *testing.T, p *places) *bench
		want  string
	}{
		"in two of the stores": {
			func(t *testing.T, p *places) *bench { t.Helper(); return p.start(t, nil, p.three, p.one) },
			`state: store "three" and store "one" hold a state each: ` + cure,
		},
		"in the state's store and another": {
			func(t *testing.T, p *places) *bench { t.Helper(); return p.start(t, p.three, p.two, p.one) },
			`state: the state's store and store "one" hold a state each: ` + cure,
		},
		"in two others": {
			func(t *testing.T, p *places) *bench { t.Helper(); return p.start(t, nil, p.two, p.three, p.one) },
			`state: store "three" and store "one" hold a state each: ` + cure,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlaces(t)
			p.start(t, nil, p.three).Round(t.Context()) // knows nothing of the others
			for _, store := range []*faulty{p.one, p.two, p.three} {
				store.suffer(nil)
			}
			p.source.set(shows(t, "A", 1, 2, 3, 4))
			b := test.start(t, p)
			for range 2 {
				if err := b.Round(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v; want %s", err, test.want)
				}
			}
			if n := p.one.count() + p.two.count() + p.three.count(); n > 0 {
				t.Errorf("%d writes", n)
			}
		})
	}
}
