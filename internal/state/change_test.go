package state_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/internal/store/memory"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// having returns a state of the keys with these numbers.
func having(t *testing.T, numbers ...int) state.State {
	t.Helper()
	var records []keys.Record
	for _, n := range numbers {
		records = append(records, keys.Record{Key: keytest.Key(t, n)})
	}
	return state.State{Issuer: "https://x.test"}.With(records, nil, nil)
}

// revoking returns the state with one of its keys revoked.
func revoking(t *testing.T, s state.State, number int) state.State {
	t.Helper()
	records := slices.Clone(s.Records)
	for i := range records {
		if records[i].Key.ID == keytest.Key(t, number).ID {
			records[i].Revoked = time.Unix(1, 0)
		}
	}
	return s.With(records, nil, nil)
}

func TestSinceNotesWhatChanged(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	before := having(t, 1, 2)
	before.Changed = noon
	waited := before.With(slices.Clone(before.Records), []string{"one"}, nil)
	waited.Records[0].Published = noon
	revoked := revoking(t, before, 2)
	for name, test := range map[string]struct {
		next    state.State
		changed bool
		removed []string
	}{
		"nothing":                {before, false, nil},
		"times and stores alone": {waited, false, nil},
		"another key":            {before.With(having(t, 1, 2, 3).Records, nil, nil), true, nil},
		"a key left":             {before.With(having(t, 1).Records, nil, nil), true, []string{keytest.Key(t, 2).ID}},
		"a key was revoked":      {revoked, true, []string{keytest.Key(t, 2).ID}},
	} {
		t.Run(name, func(t *testing.T) {
			next := test.next.Since(before, noon.Add(time.Hour))
			want := noon
			if test.changed {
				want = noon.Add(time.Hour)
			}
			if !next.Changed.Equal(want) {
				t.Errorf("changed at %s; want %s", next.Changed, want)
			}
			if diff := cmp.Diff(test.removed, next.Removed); diff != "" {
				t.Errorf("removed (-want +got):\n%s", diff)
			}
			if again := parse(t, render(t, next)); !again.Changed.Equal(want) || !slices.Equal(again.Removed, test.removed) {
				t.Errorf("read again: changed at %s, removed %v", again.Changed, again.Removed)
			}
		})
	}
}

// A key that is back did not leave.
func TestWhatReturnsWasNotRemoved(t *testing.T) {
	full := having(t, 1, 2, 3)
	id := keytest.Key(t, 3).ID
	left := full.With(having(t, 1, 2).Records, nil, nil).Since(full, time.Now())
	if !left.Had(id) || left.Had(keytest.Key(t, 1).ID) || left.Had("unknown") {
		t.Errorf("removed %v", left.Removed)
	}
	back := left.With(full.Records, nil, nil).Since(left, time.Now())
	if back.Had(id) || len(back.Removed) > 0 {
		t.Errorf("removed after it is back: %v", back.Removed)
	}
	revoked := revoking(t, back, 3)
	if !revoked.Had(id) {
		t.Error("a revoked key was never there")
	}
	if restored := revoked.Since(back, time.Now()).With(full.Records, nil, nil).Since(revoked, time.Now()); restored.Had(id) {
		t.Errorf("removed after the revocation was taken back: %v", restored.Removed)
	}
}

// Only the last ones are remembered, or the state would grow for ever.
func TestTheLastRemovalsAreRemembered(t *testing.T) {
	now := having(t, 0)
	for n := range 25 {
		next := now.With(having(t, n+1).Records, nil, nil)
		now = next.Since(now, time.Now())
	}
	var want []string
	for n := 5; n < 25; n++ {
		want = append(want, keytest.Key(t, n).ID)
	}
	if diff := cmp.Diff(want, now.Removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
}

// What was abandoned is told from what was never there, cannot be continued, and
// is abandoned only by who has seen it.
func TestAbandon(t *testing.T) {
	store := memory.New()
	if err := state.Write(t.Context(), store, whole(t), ""); err != nil {
		t.Fatal(err)
	}
	read, version, err := state.Read(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	if err := state.Abandon(t.Context(), store, read.Issuer, "other"); !errors.Is(err, oidc.ErrConflict) {
		t.Errorf("with another base: %v", err)
	}
	if err := state.Abandon(t.Context(), lossy{store}, read.Issuer, version); err != nil {
		t.Errorf("an answer that was lost: %v", err)
	}
	left, version, err := state.Read(t.Context(), store)
	if !errors.Is(err, state.ErrMoved) || version == "" || len(left.Records) > 0 {
		t.Errorf("read %+v, version %q, %v; want %v", left, version, err, state.ErrMoved)
	}
	if err := state.Write(t.Context(), store, whole(t), version); err != nil {
		t.Errorf("writing over it: %v", err)
	}
	if _, _, err := state.Read(t.Context(), store); err != nil {
		t.Errorf("reading what was written over it: %v", err)
	}
}

func TestDigestTellsStatesApart(t *testing.T) {
	digest := func(s state.State) string {
		t.Helper()
		d, err := s.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	s := whole(t)
	if digest(s) != digest(parse(t, render(t, s))) {
		t.Error("a state that was written and read has another digest")
	}
	if digest(s) == digest(s.With(s.Records, []string{"three"}, nil)) {
		t.Error("another state has the same digest")
	}
}
