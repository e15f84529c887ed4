package publisher_test

import (
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/internal/store/memory"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// edit is another writer's write of the JWK set; nil deletes it.
func (b *bench) edit(t *testing.T, body []byte) {
	t.Helper()
	if body == nil {
		replacement := memory.New()
		for _, path := range []string{oidc.DiscoveryPath, state.Path} {
			object, _, err := b.store.Read(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := replacement.Write(t.Context(), object, ""); err != nil {
				t.Fatal(err)
			}
		}
		b.store.Store = replacement
		return
	}
	_, version, err := b.store.Read(t.Context(), oidc.JWKSPath)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.Store.Write(t.Context(), oidc.Object{Path: oidc.JWKSPath, Body: body}, version); err != nil {
		t.Fatal(err)
	}
}

func jwks(t *testing.T, numbers ...int) []byte {
	t.Helper()
	data, err := keytest.Set(t, numbers...).JWKS()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Key 2 has left its source, so that only what is published has it. Whatever
// somebody else does to the store, the next round has it back, and says so.
func TestForeignEditsAreRepaired(t *testing.T) {
	altered := keytest.Key(t, 3)
	altered.ID = keytest.Key(t, 2).ID
	impostor, err := keys.NewSet(keytest.Key(t, 1), altered)
	if err != nil {
		t.Fatal(err)
	}
	alteredJWKS, err := impostor.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		body     []byte
		repaired string
	}{
		"garbage":                {[]byte("<html>"), "openid/v1/jwks: not a JWK set: it looks like HTML or XML; missing keys " + strings.Join(ids(t, 1, 2), ", ")},
		"deleted":                {nil, "missing keys " + strings.Join(ids(t, 1, 2), ", ")},
		"a key removed":          {jwks(t, 1), "missing keys " + keytest.Key(t, 2).ID},
		"a key altered":          {alteredJWKS, "a key was altered"},
		"a foreign key":          {jwks(t, 1, 2, 3), "unknown keys " + keytest.Key(t, 3).ID},
		"an unusable key beside": {[]byte(strings.Replace(string(jwks(t, 1, 2)), `[`, `[{"kty":"OKP","kid":"x"},`, 1)), `openid/v1/jwks: block 1: key ID "x": key type not supported: "kty" is "OKP"; want "RSA" or "EC"`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.source.set(shows(t, "A", 1, 2))
			b.Round(t.Context())
			b.source.set(shows(t, "A", 1))
			b.edit(t, test.body)
			round := b.Round(t.Context())
			if round.Stores[0].Repaired != test.repaired || round.Err() != nil {
				t.Errorf("repaired %q, error %v; want %q", round.Stores[0].Repaired, round.Err(), test.repaired)
			}
			wantAlarms(t, round, publisher.AlarmForeignEdit)
			wantIDs(t, "published", ids(t, 1, 2), published(t, b.store))
			if holding, err := oidc.Hold(t.Context(), b.store); err != nil || !holding.Keys.Equal(keytest.Set(t, 1, 2)) {
				t.Errorf("held %v, %v", holding.Keys.IDs(), err)
			}
			round = b.Round(t.Context())
			wantAlarms(t, round)
			if round.Stores[0].Repaired != "" {
				t.Errorf("repaired again: %q", round.Stores[0].Repaired)
			}
		})
	}
}

// Without a state what is published is taken over; what cannot be read of it is
// lost, and that is an error, also beside the repair.
func TestDamageWithoutAState(t *testing.T) {
	b := newBench(t, nil)
	b.source.set(shows(t, "A", 1, 2))
	b.Round(t.Context())
	b.loseState(t, nil)
	again := newBench(t, func(c *publisher.Config) { c.Stores[0].Store = b.store })
	again.source.set(shows(t, "A", 1))
	round := again.Round(t.Context())
	if err := round.Err(); err != nil {
		t.Error(err)
	}
	wantAlarms(t, round, publisher.AlarmAdopted)
	wantIDs(t, "published", ids(t, 1, 2), published(t, b.store))

	b.loseState(t, []byte("<html>"))
	third := newBench(t, func(c *publisher.Config) { c.Stores[0].Store = b.store })
	third.source.set(shows(t, "A", 1))
	err := third.Round(t.Context()).Err()
	want := "documents: store one: its JWK set could not be read whole and nobody remembers it: keys that only it had are lost: openid/v1/jwks: not a JWK set: it looks like HTML or XML"
	if err == nil || err.Error() != want {
		t.Errorf("error %v; want %s", err, want)
	}
	wantIDs(t, "published", ids(t, 1), published(t, b.store))
}

// loseState deletes the state, and if a body is given, writes it as the JWK set.
func (b *bench) loseState(t *testing.T, body []byte) {
	t.Helper()
	replacement := memory.New()
	for _, path := range []string{oidc.DiscoveryPath, oidc.JWKSPath} {
		object, _, err := b.store.Read(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if path == oidc.JWKSPath && body != nil {
			object.Body = body
		}
		if _, err := replacement.Write(t.Context(), object, ""); err != nil {
			t.Fatal(err)
		}
	}
	b.store.Store = replacement
}

func TestAnotherIssuersStoreIsRefused(t *testing.T) {
	b := newBench(t, nil)
	b.source.set(shows(t, "A", 1))
	b.Round(t.Context())
	b.store.writes = 0
	other, err := oidc.ParseIssuer("https://y.test")
	if err != nil {
		t.Fatal(err)
	}
	intruder := newBench(t, func(c *publisher.Config) { c.Issuer, c.Stores[0].Store = other, b.store })
	intruder.source.set(shows(t, "A", 2))
	const want = `store one: it holds the documents of issuer "https://x.test"; give "https://y.test" a store of its own, or delete them first`
	if err := intruder.Round(t.Context()).Err(); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v; want %s", err, want)
	}
	if err := intruder.Load(t.Context()); err == nil || len(intruder.served) > 0 || b.store.writes > 0 {
		t.Errorf("loaded: %v, served %v, %d writes", err, intruder.served, b.store.writes)
	}
}

// The store that has the state of another issuer answers well: each round says
// what is wrong, and none that the store is left alone.
func TestAnotherIssuersStateIsRefused(t *testing.T) {
	for name, own := range map[string]bool{"in the first store": false, "in a store of its own": true} {
		t.Run(name, func(t *testing.T) {
			kept := memory.New()
			foreign := oidc.Object{Path: state.Path, Body: []byte(`{"version": 1, "issuer": "https://y.test", "keys": []}`), ContentType: "application/json"}
			if _, err := kept.Write(t.Context(), foreign, ""); err != nil {
				t.Fatal(err)
			}
			b := newBench(t, func(c *publisher.Config) {
				if own {
					c.State = kept
				} else {
					c.Stores[0].Store = kept
				}
			})
			b.source.set(shows(t, "A", 1))
			const want = `state: the state is that of issuer "https://y.test"; give "https://x.test" a store of its own, or delete .issuer-sync/state.json`
			for range 2 {
				if err := b.Round(t.Context()).Err(); err == nil || err.Error() != want {
					t.Errorf("error %v; want %s", err, want)
				}
			}
			if len(b.served) > 0 {
				t.Errorf("served %v", b.served)
			}
		})
	}
}
