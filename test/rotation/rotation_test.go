// Package rotation_test rotates the signing key of real API servers, as
// Kubernetes documents it, while anyone may read the documents and any token
// may be verified.
package rotation_test

import (
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// TestRotation is one test, as servers take seconds to start.
func TestRotation(t *testing.T) {
	s := newStage(t, keytest.RSA(t, 1))
	if !t.Run("without a single failure", func(t *testing.T) { testRotation(t, s) }) {
		return
	}
	// That the witness finds nothing means something only if it finds faults.
	s.stopPublisher()
	t.Run("broken documents are failures", func(t *testing.T) { testBroken(t, s) })
	t.Run("a key that signs unpublished is a failure", func(t *testing.T) { testUnpublished(t, s) })
}

// testRotation goes through a whole rotation, one server after the other at
// each step, while a witness watches.
//
// Which tokens must verify: all that were issued since it began, less than an
// hour ago, until their key may leave. In a cluster that is when they have
// expired: the retention is configured to be no shorter than the life of a
// token. API servers give none for less than 10 minutes, for which no test can
// wait, so that here tokens die of the retention instead: when it has passed
// since the last server began to restart without the key. The publisher, which
// has to see that first, counts from later on.
func testRotation(t *testing.T, s *stage) {
	before, after := keytest.RSA(t, 1), keytest.RSA(t, 2)
	oldID, newID := keytest.Key(t, 1).ID, keytest.Key(t, 2).ID
	w := s.watch(t)
	w.awaitTokens(t, s, oldID)
	s.logStatus(t, "0. both servers sign with the old key")

	s.servers[0].restart(t, before, after)
	s.rounds.awaitAlarm(t, keys.AlarmDivergence) // B refuses what A would sign
	s.logStatus(t, "1a. server A accepts the new key")
	s.servers[1].restart(t, before, after)
	s.logStatus(t, "1b. both servers accept the new key")
	w.awaitTokens(t, s, oldID)

	s.rounds.awaitPhase(t, newID, keys.Active)
	s.logStatus(t, "2. the new key has been published for the minimum wait")

	s.servers[0].restart(t, after, before)
	s.logStatus(t, "3a. server A signs with the new key")
	s.servers[1].restart(t, after, before)
	w.awaitTokens(t, s, newID)
	s.logStatus(t, "3b. both servers sign with the new key")

	s.servers[0].restart(t, after)
	s.logStatus(t, "4a. server A has forgotten the old key")
	w.ledger.release(oldID, time.Now().Add(retention))
	s.servers[1].restart(t, after)
	s.logStatus(t, "4b. both servers have forgotten the old key")

	s.rounds.awaitPhase(t, oldID, gone)
	w.awaitTokens(t, s, newID)
	last := s.logStatus(t, "5. the retention is over")
	if len(last.Keys) != 1 || last.Keys[0].ID != newID || last.Keys[0].Signs.IsZero() {
		t.Errorf("keys %+v; want the new key alone, and when it first signed", last.Keys)
	}
	for _, place := range s.places {
		if r, err := place.read(t.Context(), s.issuer); err != nil || !r.keys.Equal(keytest.Set(t, 2)) {
			t.Errorf("%s has keys %v, error %v; want the new key alone", place.name, r.keys.IDs(), err)
		}
	}

	w.report(t, w.stop(), s)
	checkLife(t, s, oldID, keys.Active, keys.Retiring, gone)
	checkLife(t, s, newID, keys.Waiting, keys.Active)
	w.checkWait(t, s, newID)
	if diff := cmp.Diff([]keys.AlarmKind{keys.AlarmDivergence}, s.rounds.alarmed()); diff != "" {
		t.Errorf("kinds of alarms (-want +got):\n%s", diff)
	}
}

// report prints what the witness saw, and fails for every failure and if it saw
// too little to tell.
func (w *witness) report(t *testing.T, watched time.Duration, s *stage) {
	t.Helper()
	failures, _ := w.ledger.failed()
	var all int
	for _, n := range failures {
		all += n
	}
	if all > 0 {
		t.Errorf("failures by kind: %v", failures)
	}
	issued := make(map[string]int)
	tokens := w.ledger.issued()
	for _, token := range tokens {
		issued[token.server+" "+token.keyID]++
	}
	var checks, verifications int
	var longestGap time.Duration
	for _, j := range w.judges {
		checks += j.readings
		verifications += j.verifications
		longestGap = max(longestGap, j.longestGap)
		// What is under way or to be made up for at the end is missing.
		if least := int((watched - 2*time.Second).Seconds() * readRate); j.readings < least {
			t.Errorf("%s was read %d times in %s; want at least %d", j.place, j.readings, watched, least)
		}
	}
	for _, server := range s.servers {
		for _, key := range []int{1, 2} {
			if id := keytest.Key(t, key).ID; issued[server.name+" "+id] == 0 {
				t.Errorf("server %s issued no token of key %d", server.name, key)
			}
		}
	}
	t.Logf("%.0f s: %d checks in %d places (longest gap %d ms), %d tokens, %d verifications, %d failures; phases: old %v, new %v",
		watched.Seconds(), checks, len(w.judges), longestGap.Milliseconds(), len(tokens), verifications, all,
		phases(s.rounds.life(keytest.Key(t, 1).ID)), phases(s.rounds.life(keytest.Key(t, 2).ID)))
}

// checkWait demands that the key was public in both places for the minimum
// wait before it was said that it may sign.
func (w *witness) checkWait(t *testing.T, s *stage, keyID string) {
	t.Helper()
	for _, j := range w.judges {
		life := s.rounds.life(keyID)
		if public := life[len(life)-1].reported.Sub(j.seen[keyID].after); public < minimumWait {
			t.Errorf("the new key was in %s for %s at most when it might sign; want %s", j.place, public, minimumWait)
		}
	}
}

func checkLife(t *testing.T, s *stage, keyID string, want ...keys.Phase) {
	t.Helper()
	if diff := cmp.Diff(want, phases(s.rounds.life(keyID))); diff != "" {
		t.Errorf("phases of key %s (-want +got):\n%s", keyID, diff)
	}
}

func phases(life []phase) []keys.Phase {
	var list []keys.Phase
	for _, phase := range life {
		list = append(list, phase.Phase)
	}
	return list
}

// logStatus prints the keys as the publisher reports them after a step, and
// returns that report.
func (s *stage) logStatus(t *testing.T, step string) publisher.Round {
	t.Helper()
	round := s.rounds.awaitNext(t)
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tPHASE\tUNTIL\tPUBLISHED\tSIGNS\tSHOWN BY")
	for _, key := range round.Keys {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", key.ID, key.Phase,
			clock(key.Until), clock(key.Published), clock(key.Signs), strings.Join(key.Shown, ", "))
	}
	_ = table.Flush() // to memory
	for _, alarm := range round.Alarms {
		fmt.Fprintf(&out, "%s: %s\n", alarm.Kind, alarm.Text)
	}
	t.Logf("%s, %s\n%s", step, clock(round.Time), out.String())
	return round
}

func clock(when time.Time) string {
	if when.IsZero() {
		return "-"
	}
	return when.UTC().Format(time.TimeOnly)
}
