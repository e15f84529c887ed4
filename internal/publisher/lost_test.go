package publisher_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Somebody deletes or damages what is in the store. Key 3 has left its source,
// so that only the store has it. The process that runs notices, or one that is
// started while no source answers: nothing is lost.
func TestWhatIsLostComesBack(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lose func(*medium)
		// alarms of a process that ran before, and of one that is new: it cannot
		// tell a deletion from a crash of the one before it.
		running, restarted []keys.AlarmKind
	}{
		"the JWK set is deleted": {
			lose:    func(m *medium) { m.remove(oidc.JWKSPath) },
			running: []keys.AlarmKind{publisher.AlarmForeignEdit},
		},
		"the discovery document is deleted": {
			lose:    func(m *medium) { m.remove(oidc.DiscoveryPath) },
			running: []keys.AlarmKind{publisher.AlarmForeignEdit},
		},
		"both documents are deleted": {
			lose:    func(m *medium) { m.remove(oidc.JWKSPath, oidc.DiscoveryPath) },
			running: []keys.AlarmKind{publisher.AlarmForeignEdit},
		},
		"the JWK set is damaged": {
			lose:      func(m *medium) { m.overwrite(oidc.JWKSPath, "<html>") },
			running:   []keys.AlarmKind{publisher.AlarmForeignEdit},
			restarted: []keys.AlarmKind{publisher.AlarmForeignEdit},
		},
		"the state is deleted": {
			lose:      func(m *medium) { m.remove(state.Path) },
			running:   []keys.AlarmKind{publisher.AlarmAdopted},
			restarted: []keys.AlarmKind{publisher.AlarmAdopted},
		},
		"the state is damaged": {
			lose:      func(m *medium) { m.overwrite(state.Path, `{"version": 1, "keys": [`) },
			running:   []keys.AlarmKind{publisher.AlarmAdopted},
			restarted: []keys.AlarmKind{publisher.AlarmAdopted},
		},
		"state and discovery document are deleted": {
			lose:      func(m *medium) { m.remove(state.Path, oidc.DiscoveryPath) },
			running:   []keys.AlarmKind{publisher.AlarmAdopted},
			restarted: []keys.AlarmKind{publisher.AlarmAdopted},
		},
	} {
		t.Run(name, func(t *testing.T) {
			media(t, func(t *testing.T, oneVersion bool) {
				before := beforeRemoval(t, oneVersion)
				for _, restart := range []bool{false, true} {
					r := newRemoval(t, before, true)
					r.clock.pass(-24 * time.Hour)
					r.protect(1, 2, 3)
					r.source.set(fails("A", errors.New("connection refused")))
					r.during = "while it runs"
					who, alarms := r.p, test.running
					if restart {
						r.during = "with a restart"
						who, alarms = newWriter(t, r.medium, r.clock, r.source), test.restarted
					}
					test.lose(r.medium)
					wantAlarms(t, who.Round(t.Context()), alarms...)
					wantIDs(t, r.during+": published while no source answers", ids(t, 1, 2, 3), published(t, r.medium))
					time.Sleep(time.Second)
					r.source.set(shows(t, "A", 1, 2))
					wantAlarms(t, r.must(t, who))
					r.settled(t, who, 1, 2, 3)
				}
			})
		})
	}
}

// Adopted keys are not forgotten either: they leave after a retention of their own.
func TestAdoptedKeysLeave(t *testing.T) {
	r := newRemoval(t, beforeRemoval(t, false), true)
	r.protect(1, 2, 3)
	r.remove(state.Path)
	wantAlarms(t, r.must(t, r.p), publisher.AlarmAdopted)
	r.clock.pass(47 * time.Hour)
	r.must(t, r.p)
	r.settled(t, r.p, 1, 2, 3)
	r.clock.pass(time.Hour)
	r.protect(1, 2)
	r.must(t, r.p)
	r.settled(t, r.p, 1, 2)
}

// A state that must not be replaced, or cannot be read, stops all writing.
func TestAStateOfOthersIsLeftAlone(t *testing.T) {
	for name, test := range map[string]struct{ body, want string }{
		"of a newer version": {
			`{"version": 2}`, "state: reading the state: format 2, and this program knows 1: it was written by a newer version; use that one, or a newer one still",
		},
		"of another issuer": {
			`{"version": 1, "issuer": "https://y.test", "keys": []}`, `state: the state is that of issuer "https://y.test"; give "https://x.test" a store of its own, or delete .issuer-sync/state.json`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRemoval(t, beforeRemoval(t, false), true)
			r.overwrite(state.Path, test.body)
			r.source.set(shows(t, "A", 1, 2, 4))
			writes := r.count()
			if err := r.q.Round(t.Context()).Err(); err == nil || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("error %v; want %s", err, test.want)
			}
			if n := r.count() - writes; n > 0 {
				t.Errorf("%d writes", n)
			}
		})
	}
}
