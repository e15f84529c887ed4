package chaos_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

const testIssuer = "https://x.test/chaos"

// scene is documents that a test makes itself, and the readers' clock.
type scene struct {
	*readers
	files map[string][]byte
	clock time.Time
}

// newScene shows keys 0 and 1, RS256, and 10, ES256, and has them read once.
func newScene(t *testing.T, keys *pool) *scene {
	t.Helper()
	s := &scene{files: make(map[string][]byte), clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	s.readers = &readers{
		issuer: testIssuer, pool: keys,
		ledger: newLedger(len(keys.keys), func() time.Time { return s.clock }),
		read: func(_ context.Context, path string) ([]byte, bool, error) {
			body, found := s.files[path]
			return body, found, nil
		},
	}
	for _, n := range []int{0, 1, 10} {
		s.ledger.added(n)
	}
	s.publish(t, testIssuer, 0, 1, 10)
	s.check(t.Context())
	s.ledger.noticed()
	return s
}

// publish makes both documents as the daemon would.
func (s *scene) publish(t *testing.T, issuer string, numbers ...int) {
	t.Helper()
	var found keySet
	for _, n := range numbers {
		found = found.with(n, true)
	}
	set, err := s.pool.set(found)
	if err != nil {
		t.Fatal(err)
	}
	name, err := oidc.ParseIssuer(issuer)
	if err != nil {
		t.Fatal(err)
	}
	documents, err := oidc.Render(name, set)
	if err != nil {
		t.Fatal(err)
	}
	s.files[oidc.JWKSPath], s.files[oidc.DiscoveryPath] = documents.JWKS.Body, documents.Discovery.Body
}

func (s *scene) replace(path, old, now string) {
	s.files[path] = bytes.ReplaceAll(s.files[path], []byte(old), []byte(now))
}

// comeBack removes the key, brings it back, does something, removes it again,
// and stops the clock when the retention since the first time is over.
func (s *scene) comeBack(n int, do func()) {
	removed := s.clock
	s.ledger.removing(n)
	s.clock = removed.Add(retention / 4)
	s.ledger.added(n)
	do()
	s.ledger.removing(n)
	s.clock = removed.Add(retention)
}

// What the other tests rely on: readers notice whatever must not happen, and
// nothing else.
func TestReadersNotice(t *testing.T) {
	keys := newPool(t)
	for _, c := range []struct {
		name string
		do   func(*testing.T, *scene)
		want string // in the first complaint; none if empty
	}{
		{"nothing happens", func(*testing.T, *scene) {}, ""},
		{"a torn JWK set", func(_ *testing.T, s *scene) {
			s.files[oidc.JWKSPath] = s.files[oidc.JWKSPath][:100]
		}, "the JWK set: "},
		{"an empty file", func(_ *testing.T, s *scene) { s.files[oidc.JWKSPath] = nil }, "the JWK set: "},
		{"an empty set", func(_ *testing.T, s *scene) { s.files[oidc.JWKSPath] = []byte(`{"keys":[]}`) }, "the JWK set: "},
		{"a torn discovery document", func(_ *testing.T, s *scene) {
			s.files[oidc.DiscoveryPath] = s.files[oidc.DiscoveryPath][:100]
		}, "the discovery document: "},
		{"another issuer", func(t *testing.T, s *scene) {
			s.publish(t, "https://x.test/other", 0, 1, 10)
		}, `it names issuer "https://x.test/other"; want "https://x.test/chaos"`},
		{"a discovery document alone", func(_ *testing.T, s *scene) {
			delete(s.files, oidc.JWKSPath)
		}, "the discovery document is there without the JWK set that it names"},
		{"a JWK set alone, after both", func(_ *testing.T, s *scene) {
			delete(s.files, oidc.DiscoveryPath)
		}, "the discovery document is gone"},
		{"nothing left", func(_ *testing.T, s *scene) { clear(s.files) }, "is gone"},
		{"a lost key", func(t *testing.T, s *scene) { s.publish(t, testIssuer, 0, 10) }, `live keys are lost: ["1 RS256`},
		{"a removed key that leaves early", func(t *testing.T, s *scene) {
			s.ledger.removing(1)
			s.clock = s.clock.Add(retention - 2*clockStep)
			s.publish(t, testIssuer, 0, 10)
		}, `live keys are lost: ["1 RS256`},
		{"a removed key that leaves in time", func(t *testing.T, s *scene) {
			s.ledger.removing(1)
			s.clock = s.clock.Add(retention)
			s.publish(t, testIssuer, 0, 10)
		}, ""},
		{"a key that comes back after it left", func(t *testing.T, s *scene) {
			s.ledger.removing(1)
			s.clock = s.clock.Add(2 * retention)
			s.publish(t, testIssuer, 0, 10)
			s.check(t.Context())
			s.ledger.added(1)
		}, ""},
		{"a key that came back and is lost", func(t *testing.T, s *scene) {
			s.ledger.removing(1)
			s.clock = s.clock.Add(time.Second)
			s.ledger.added(1)
			s.clock = s.clock.Add(2 * retention)
			s.publish(t, testIssuer, 0, 10)
		}, `live keys are lost: ["1 RS256`},
		{"a removed key that came back unnoticed", func(t *testing.T, s *scene) {
			s.comeBack(1, func() {})
			s.publish(t, testIssuer, 0, 10)
		}, ""},
		{"a removed key that came back noticed", func(t *testing.T, s *scene) {
			s.comeBack(1, s.ledger.noticed)
			s.publish(t, testIssuer, 0, 10)
		}, `live keys are lost: ["1 RS256`},
		{"a new key that is not published yet", func(_ *testing.T, s *scene) { s.ledger.added(2) }, ""},
		{"a key whose algorithm is listed later", func(t *testing.T, s *scene) {
			s.ledger.added(16)
			before := s.files[oidc.DiscoveryPath]
			s.publish(t, testIssuer, 0, 1, 10, 16)
			s.files[oidc.DiscoveryPath] = before
		}, ""},
		{"an algorithm that is no longer listed", func(_ *testing.T, s *scene) {
			s.replace(oidc.DiscoveryPath, `"ES256",`, "")
		}, `no longer lists the algorithms of keys: ["10 ES256`},
		{"a key of nobody", func(_ *testing.T, s *scene) {
			s.replace(oidc.JWKSPath, s.pool.keys[1].ID, "nobodys")
		}, `key "nobodys" is none of the test's`},
		{"a key under another's ID", func(_ *testing.T, s *scene) {
			s.replace(oidc.JWKSPath, s.pool.keys[1].ID, s.pool.keys[2].ID)
		}, "it has an altered key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, keys)
			c.do(t, s)
			s.check(t.Context())
			s.check(t.Context())
			first := append(s.first, "")[0]
			if c.want == "" && first != "" || !strings.Contains(first, c.want) {
				t.Errorf("complaint %q; want %q", first, c.want)
			}
			if wrong := s.invalid + s.lost; wrong > 0 != (c.want != "") {
				t.Errorf("%d invalid and %d lost", s.invalid, s.lost)
			}
		})
	}
}

// A key whose retention ends about now is left alone: a daemon that takes it
// out in the moment in which it returns would be right.
func TestLedgerChoices(t *testing.T) {
	s := newScene(t, newPool(t))
	s.ledger.lives[1].noticed = false // or it might rest
	s.ledger.removing(1)
	for _, c := range []struct {
		name  string
		after time.Duration
		left  bool
		want  bool
	}{
		{"removed just now", 0, false, true},
		{"about to leave", retention - time.Second, false, false},
		{"overdue", 2 * retention, false, false},
		{"gone", 2 * retention, true, true},
	} {
		removed := s.clock
		s.clock = removed.Add(c.after)
		if c.left {
			s.publish(t, testIssuer, 0, 10)
			s.check(t.Context())
		}
		present, absent := s.ledger.choices()
		if got := slices.Contains(absent, 1); got != c.want || slices.Contains(present, 1) {
			t.Errorf("%s: may be added: %t; want %t", c.name, got, c.want)
		}
		s.clock = removed
	}
}

// A reader may sleep between reading and telling.
func TestLedgerIgnoresSlowReads(t *testing.T) {
	s := newScene(t, newPool(t))
	slow := s.ledger.demand()
	got, err := s.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.ledger.removing(1)
	s.clock = s.clock.Add(2 * retention)
	s.publish(t, testIssuer, 0, 10)
	s.check(t.Context())
	s.ledger.added(1)
	s.ledger.note(slow, got)
	s.check(t.Context())
	if s.lost > 0 {
		t.Errorf("a key is lost that was not published since it came back: %q", s.first)
	}
}
