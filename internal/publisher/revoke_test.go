package publisher_test

import (
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// revokeTwo revokes key 2.
func revokeTwo(t *testing.T, b *bench) {
	t.Helper()
	round, err := b.Revoke(t.Context(), publisher.Revocation{ID: keytest.Key(t, 2).ID})
	if err != nil || round.Stores[0].Error != "" {
		t.Fatalf("revoking: %v, %+v", err, round.Stores)
	}
}

// A revocation that was a slip can be taken back: the key is as it was.
func TestARevocationIsTakenBack(t *testing.T) {
	g := newGuarded(t, nil)
	before := keyOf(t, g.round(t, 0, shows(t, "A", 1, 2)), 2)
	revokeTwo(t, g.now)
	g.holds(t, 1)
	g.round(t, time.Hour, shows(t, "A", 1, 2))
	round, err := g.now.Revoke(t.Context(), publisher.Revocation{ID: before.ID, Undo: true})
	if err != nil || round.Stores[0].Error != "" {
		t.Fatalf("undoing: %v, %+v", err, round.Stores)
	}
	g.holds(t, 1, 2)
	wantIDs(t, "served", ids(t, 1, 2), round.IDs())
	round = g.round(t, time.Hour, shows(t, "A", 1, 2))
	wantAlarms(t, round)
	after := keyOf(t, round, 2)
	if after.Phase != keys.Active || !after.Seen.Equal(before.Seen) || !after.Published.Equal(before.Published) || !after.Revoked.IsZero() {
		t.Errorf("before %+v, after %+v", before, after)
	}
	g.settled(t, g.now, 1, 2)
}

// A key that is revoked once more was revoked the first time, but it is taken out
// again.
func TestASecondRevocationKeepsTheTimeOfTheFirst(t *testing.T) {
	g := newGuarded(t, nil)
	g.round(t, 0, shows(t, "A", 1, 2))
	first := g.clock.wall
	revokeTwo(t, g.now)
	g.overwrite("openid/v1/jwks", string(jwks(t, 1, 2)))
	g.clock.pass(time.Hour)
	revokeTwo(t, g.now)
	g.holds(t, 1)
	if at := keyOf(t, g.round(t, 0, shows(t, "A", 1)), 2).Revoked; !at.Equal(first) {
		t.Errorf("revoked at %s; want %s", at, first)
	}
}

// What is refused is refused in the check already, and writes nothing.
func TestRevokeRefuses(t *testing.T) {
	one, two := keytest.Key(t, 1).ID, keytest.Key(t, 2).ID
	for name, test := range map[string]struct {
		before     func(t *testing.T, g *guarded)
		revocation publisher.Revocation
		want       string // "" if it is accepted
	}{
		"a key": {
			before:     func(t *testing.T, g *guarded) { t.Helper(); g.round(t, 0, shows(t, "A", 1, 2)) },
			revocation: publisher.Revocation{ID: two},
		},
		"a key that is not known": {
			before:     func(t *testing.T, g *guarded) { t.Helper(); g.round(t, 0, shows(t, "A", 1)) },
			revocation: publisher.Revocation{ID: "x"},
			want:       `key "x" is not known; want one of ` + one,
		},
		"the last key": {
			before:     func(t *testing.T, g *guarded) { t.Helper(); g.round(t, 0, shows(t, "A", 1)) },
			revocation: publisher.Revocation{ID: one},
			want:       `key "` + one + `" is the last one, and an empty key set is never published; add a new key to the API servers first, and let them sign with it`,
		},
		"the last key that is not revoked": {
			before: func(t *testing.T, g *guarded) {
				t.Helper()
				g.round(t, 0, shows(t, "A", 1, 2))
				revokeTwo(t, g.now)
			},
			revocation: publisher.Revocation{ID: one},
			want:       `key "` + one + `" is the last one, and an empty key set is never published; add a new key to the API servers first, and let them sign with it`,
		},
		"taking back what was not done": {
			before:     func(t *testing.T, g *guarded) { t.Helper(); g.round(t, 0, shows(t, "A", 1)) },
			revocation: publisher.Revocation{ID: one, Undo: true},
			want:       `key "` + one + `" is not revoked`,
		},
		"without a state": {
			before:     func(*testing.T, *guarded) {},
			revocation: publisher.Revocation{ID: one},
			want:       "reading the state: no such object; publish first, which takes over what is published",
		},
		"with another issuer's state": {
			before: func(t *testing.T, g *guarded) {
				t.Helper()
				g.round(t, 0, shows(t, "A", 1))
				g.overwrite(state.Path, `{"version": 1, "issuer": "https://y.test", "keys": []}`)
			},
			revocation: publisher.Revocation{ID: one},
			want:       `the state is that of issuer "https://y.test"; give "https://x.test" a store of its own, or delete .issuer-sync/state.json`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t, nil)
			test.before(t, g)
			writes := g.count()
			text := func(err error) string {
				if err == nil {
					return ""
				}
				return err.Error()
			}
			if got := text(g.now.CheckRevoke(t.Context(), test.revocation)); got != test.want {
				t.Errorf("the check says %q; want %q", got, test.want)
			}
			if n := g.count() - writes; n > 0 {
				t.Errorf("the check made %d writes", n)
			}
			_, err := g.now.Revoke(t.Context(), test.revocation)
			if got := text(err); got != test.want {
				t.Errorf("refused with %q; want %q", got, test.want)
			}
			if n := g.count() - writes; n > 0 != (test.want == "") {
				t.Errorf("%d writes", n)
			}
		})
	}
}
