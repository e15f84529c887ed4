package rotation_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// testBroken breaks the documents in turn, where key 2 is published and signs,
// and nobody repairs them.
func testBroken(t *testing.T, s *stage) {
	good, other := s.documents(t, 2), s.documents(t, 3)
	body := func(object oidc.Object, body string) oidc.Object { object.Body = []byte(body); return object }
	jwks, discovery := string(good.JWKS.Body), string(good.Discovery.Body)
	untyped := good.JWKS
	untyped.ContentType = "application/octet-stream"
	for _, test := range []struct {
		name  string
		apply func(t *testing.T)
		place string
		want  []string // kinds of failures
	}{
		{"another key in Azurite", s.write(other.JWKS), "Azurite", []string{"keys", "tokens"}},
		{"another key on the own server", func(*testing.T) { s.handler.Set(other) }, "own server", []string{"keys", "tokens"}},
		{"another key under the same ID", s.write(body(good.JWKS, s.disguised(t))), "Azurite", []string{"keys", "tokens"}},
		{"no key", s.write(body(good.JWKS, `{"keys":[]}`)), "Azurite", []string{"documents"}},
		{"half a key set", s.write(body(good.JWKS, jwks[:len(jwks)/2])), "Azurite", []string{"documents"}},
		{"a key set of no type", s.write(untyped), "Azurite", []string{"documents"}},
		{"an issuer with a slash more", s.write(body(good.Discovery, strings.Replace(discovery, s.issuer.String(), s.issuer.String()+"/", 1))), "Azurite", []string{"documents"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := s.watch(t)
			w.awaitTokens(t, s, keytest.Key(t, 2).ID)
			w.awaitReadings(t)
			test.apply(t)
			kinds, texts := w.awaitFailures(t, test.want)
			if diff := cmp.Diff(test.want, kinds); diff != "" {
				t.Errorf("kinds of failures (-want +got):\n%s", diff)
			}
			for _, text := range texts {
				if !strings.Contains(text, ": "+test.place+": ") {
					t.Errorf("failure %q; want one in %s", text, test.place)
				}
			}
			s.handler.Set(good)
			s.write(good.JWKS)(t)
			s.write(good.Discovery)(t)
		})
	}
}

// testUnpublished rotates in one step while nobody publishes.
func testUnpublished(t *testing.T, s *stage) {
	unpublished := keytest.Key(t, 3).ID
	w := s.watch(t)
	s.servers[0].restart(t, keytest.RSA(t, 3), keytest.RSA(t, 2))
	kinds, texts := w.awaitFailures(t, []string{"tokens"})
	if diff := cmp.Diff([]string{"tokens"}, kinds); diff != "" {
		t.Errorf("kinds of failures (-want +got):\n%s", diff)
	}
	for _, text := range texts {
		if !strings.Contains(text, "token of server A and key "+unpublished) {
			t.Errorf("failure %q; want one of server A and key %s", text, unpublished)
		}
	}
}

// documents returns the issuer's documents with one test key.
func (s *stage) documents(t *testing.T, number int) oidc.Documents {
	t.Helper()
	documents, err := oidc.Render(s.issuer, keytest.Set(t, number))
	if err != nil {
		t.Fatal(err)
	}
	return documents
}

// disguised returns a JWK set with key 3 under the ID of key 2.
func (s *stage) disguised(t *testing.T) string {
	t.Helper()
	key := keytest.Key(t, 3)
	key.ID = keytest.Key(t, 2).ID
	set, err := keys.NewSet(key)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := set.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	return string(jwks)
}

// write returns a function that replaces an object in Azurite.
func (s *stage) write(object oidc.Object) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		_, base, err := s.store.Read(t.Context(), object.Path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.store.Write(t.Context(), object, base); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitReadings waits until every place has been judged.
func (w *witness) awaitReadings(t *testing.T) {
	t.Helper()
	for _, j := range w.judges {
		await(t, "a reading of "+j.place, func() error {
			j.mu.Lock()
			defer j.mu.Unlock()
			if len(j.seen) == 0 {
				return fmt.Errorf("none of %d showed a key", j.readings)
			}
			return nil
		})
	}
}

// awaitFailures waits until there are failures of all kinds, stops the witness
// and returns the kinds that there were, sorted, and the first failures.
func (w *witness) awaitFailures(t *testing.T, want []string) (kinds, texts []string) {
	t.Helper()
	await(t, fmt.Sprintf("failures %q", want), func() error {
		failures, _ := w.ledger.failed()
		for _, kind := range want {
			if failures[kind] == 0 {
				return fmt.Errorf("there are %v", failures)
			}
		}
		return nil
	})
	w.stop()
	failures, texts := w.ledger.failed()
	return slices.Sorted(maps.Keys(failures)), texts
}
