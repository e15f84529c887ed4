package keys_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// life is a cluster's life as a list of rounds. Keys are numbers; key 1 is the
// first test key.
type life struct {
	t       *testing.T
	now     time.Time
	policy  keys.Policy
	records []keys.Record
	held    keys.Set
	names   map[string]int
	last    keys.Decision
}

func newLife(t *testing.T) *life {
	t.Helper()
	l := &life{
		t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), names: map[string]int{},
		policy: keys.Policy{MinimumWait: 24 * time.Hour, Retention: 48 * time.Hour, Max: 50},
	}
	for n := range 10 {
		l.names[keytest.Key(t, n).ID] = n
	}
	return l
}

// round lets time pass and decides on the answers, written "A:1,2 B:1? C:down":
// B is late, and showed 1 before.
// What it decided is published everywhere before the next round.
func (l *life) round(after time.Duration, answers string) *life {
	l.t.Helper()
	l.now = l.now.Add(after)
	l.last = keys.Decide(keys.Situation{
		Now: keys.At(l.now), Records: l.records, Observations: l.observations(answers), Held: l.held, Policy: l.policy,
	})
	l.records, l.held = l.last.Records, l.last.Publish
	return l
}

func (l *life) observations(answers string) (list []keys.Observation) {
	l.t.Helper()
	for answer := range strings.FieldsSeq(answers) {
		origin, shown, _ := strings.Cut(answer, ":")
		if shown == "down" {
			list = append(list, keys.Observation{Origin: origin, Group: "cluster", Err: errors.New("connection refused")})
			continue
		}
		shown, stale := strings.CutSuffix(shown, "?")
		var numbers []int
		for field := range strings.SplitSeq(shown, ",") {
			var n int
			if _, err := fmt.Sscan(field, &n); err != nil {
				l.t.Fatal(err)
			}
			numbers = append(numbers, n)
		}
		list = append(list, keys.Observation{Origin: origin, Group: "cluster", Stale: stale, Keys: keytest.Set(l.t, numbers...)})
	}
	return list
}

// want checks the phases, written "1:active 2:waiting", and the kinds of alarms.
func (l *life) want(phases string, alarms ...keys.AlarmKind) *life {
	l.t.Helper()
	got := map[int]string{}
	for _, status := range l.last.Keys {
		got[l.names[status.Record.Key.ID]] = string(status.Phase)
	}
	want := map[int]string{}
	for field := range strings.FieldsSeq(phases) {
		var n int
		number, phase, _ := strings.Cut(field, ":")
		if _, err := fmt.Sscan(number, &n); err != nil {
			l.t.Fatal(err)
		}
		want[n] = phase
	}
	if diff := cmp.Diff(want, got); diff != "" {
		l.t.Errorf("at %s: phases (-want +got):\n%s", l.now.Format(time.DateTime), diff)
	}
	var kinds []keys.AlarmKind
	for _, alarm := range l.last.Alarms {
		kinds = append(kinds, alarm.Kind)
	}
	if diff := cmp.Diff(alarms, kinds); diff != "" {
		l.t.Errorf("at %s: alarms (-want +got):\n%s", l.now.Format(time.DateTime), diff)
	}
	return l
}

// next checks when time alone changes something again.
func (l *life) next(in time.Duration) *life {
	l.t.Helper()
	want := l.now.Add(in)
	if in == 0 {
		want = time.Time{}
	}
	if !l.last.Next.Equal(want) {
		l.t.Errorf("at %s: next change at %s; want %s", l.now.Format(time.DateTime), l.last.Next, want)
	}
	return l
}

const hour = time.Hour

func TestRotation(t *testing.T) {
	newLife(t).
		round(0, "A:1").want("1:active").next(0). // the first publication may sign already
		round(hour, "A:1,2").want("1:active 2:waiting").next(0).
		round(time.Minute, "A:1,2").want("1:active 2:waiting").next(24*hour). // held since now
		round(24*hour-time.Minute, "A:1,2").want("1:active 2:waiting").next(time.Minute).
		round(time.Minute, "A:1,2").want("1:active 2:active").next(0).
		round(hour, "A:2").want("1:retiring 2:active").next(48*hour).
		round(48*hour-time.Second, "A:2").want("1:retiring 2:active").next(time.Second).
		round(time.Second, "A:2").want("2:active").next(0)
}

func TestAKeyThatReturnsLivesOn(t *testing.T) {
	newLife(t).
		round(0, "A:1,2,3").
		round(hour, "A:1,3").want("1:active 2:retiring 3:active").
		round(47*hour, "A:1,2,3").want("1:active 2:active 3:active").
		round(2*hour, "A:1,3").want("1:active 2:retiring 3:active"). // its retention starts anew
		round(47*hour, "A:1,3").want("1:active 2:retiring 3:active").
		round(hour, "A:1,3").want("1:active 3:active")
}

func TestErrorsRemoveNothing(t *testing.T) {
	newLife(t).
		round(0, "A:1 B:1,2").want("1:active 2:active", keys.AlarmDivergence).
		round(1000*hour, "A:1 B:down").want("1:active 2:active"). // B may still sign with 2
		round(1000*hour, "A:down B:down").want("1:active 2:active").
		round(hour, "A:1 B:1").want("1:active 2:retiring"). // B answers without it: the retention begins
		round(49*hour, "A:1 B:down").want("1:active 2:retiring").
		round(hour, "A:1 B:1").want("1:active")
}

func TestCaseOneOfTheIssuerRules(t *testing.T) {
	newLife(t).
		round(0, "A:1,2 B:1 C:down").want("1:active 2:active", keys.AlarmDivergence).
		round(hour, "A:1,2 B:1 C:3").want("1:active 2:active 3:waiting", keys.AlarmDivergence, keys.AlarmDivergence, keys.AlarmDivergence)
}

func TestAServerThatLeft(t *testing.T) {
	newLife(t).
		round(0, "A:1,3 B:2").
		round(hour, "A:1,3").want("1:active 2:retiring 3:active").
		round(48*hour, "A:1,3").want("1:active 3:active")
}

func TestNobodyIsLeft(t *testing.T) {
	l := newLife(t).round(0, "A:1,2").round(hour, "").want("1:retiring 2:retiring")
	l.round(1000*hour, "").want("1:retiring 2:retiring", keys.AlarmShrink)
	if l.last.Publish.Len() != 2 {
		t.Errorf("%d keys published; the set is never empty", l.last.Publish.Len())
	}
}

func TestShrinkNeedsAWord(t *testing.T) {
	l := newLife(t).round(0, "A:1,2,3").round(hour, "A:3").
		round(100*hour, "A:3").want("1:retiring 2:retiring 3:active", keys.AlarmShrink)
	l.policy.AcceptShrink = []string{keytest.Key(t, 1).ID}
	l.round(hour, "A:3").want("2:retiring 3:active", keys.AlarmShrink)
	l.policy.AcceptShrink = nil
	l.round(hour, "A:3").want("2:retiring 3:active", keys.AlarmShrink) // nobody named it, though it is but one of two now
	l.round(hour, "A:2,3").round(hour, "A:3").                         // it was in use again
										round(48*hour, "A:3").want("3:active")
}

func TestTooManyKeys(t *testing.T) {
	l := newLife(t)
	l.policy.Max = 2
	l.round(0, "A:1,2").
		round(hour, "A:1,2,3").want("1:active 2:active", keys.AlarmMax).
		round(hour, "A:2,3").want("1:retiring 2:active", keys.AlarmMax).
		round(48*hour, "A:2,3").want("2:active", keys.AlarmMax).
		round(hour, "A:2,3").want("2:active 3:waiting")
}

func TestClashKeepsTheKnownKey(t *testing.T) {
	l := newLife(t).round(0, "A:1")
	impostor := keytest.Key(t, 2)
	impostor.ID = keytest.Key(t, 1).ID
	set, err := keys.NewSet(impostor)
	if err != nil {
		t.Fatal(err)
	}
	l.last = keys.Decide(keys.Situation{
		Now: keys.At(l.now.Add(hour)), Records: l.records, Policy: l.policy,
		Observations: []keys.Observation{{Origin: "A", Keys: keytest.Set(t, 1)}, {Origin: "B", Keys: set}},
	})
	l.want("1:active", keys.AlarmClash)
	if !l.last.Publish.Equal(keytest.Set(t, 1)) {
		t.Error("the known key was replaced")
	}
}

func TestRevokedKeysStayOut(t *testing.T) {
	l := newLife(t).round(0, "A:1,2,3")
	for i := range l.records {
		if l.names[l.records[i].Key.ID] == 2 {
			l.records[i].Revoked = l.now
		}
	}
	l.round(hour, "A:1,2,3").want("1:active 2:revoked 3:active", keys.AlarmRevoked).
		round(100*hour, "A:1,3").want("1:active 2:revoked 3:active").next(48 * hour) // absent since now
	if _, out := l.last.Publish.Key(keytest.Key(t, 2).ID); out {
		t.Error("a revoked key is published")
	}
}

func TestARevokedKeyIsForgottenInTheEnd(t *testing.T) {
	l := newLife(t).round(0, "A:1,2")
	l.records[0].Revoked = l.now
	gone, left := l.names[l.records[0].Key.ID], l.names[l.records[1].Key.ID]
	l.round(hour, fmt.Sprint("A:", left)).want(fmt.Sprintf("%d:revoked %d:active", gone, left)).
		round(48*hour, fmt.Sprint("A:", left)).want(fmt.Sprintf("%d:active", left))
}

func TestSigners(t *testing.T) {
	l := newLife(t)
	id := func(n int) string { return keytest.Key(t, n).ID }
	sign := func(n int, alarms ...keys.AlarmKind) {
		t.Helper()
		d := keys.Decide(keys.Situation{
			Now: keys.At(l.now), Records: l.records, Held: l.held, Policy: l.policy,
			Observations: l.observations("A:1,2"), Signing: map[string]string{"A": id(n)},
		})
		l.last = d
		var kinds []keys.AlarmKind
		for _, alarm := range d.Alarms {
			kinds = append(kinds, alarm.Kind)
		}
		if diff := cmp.Diff(alarms, kinds); diff != "" {
			t.Errorf("at %s signing with key %d: alarms (-want +got):\n%s", l.now.Format(time.DateTime), n, diff)
		}
	}
	l.round(0, "A:1")
	sign(1) // the first publication's key may sign at once
	l.round(hour, "A:1,2")
	sign(2, keys.AlarmSigner) // published, but nobody had the time to see it
	sign(3, keys.AlarmSigner) // nobody shows it
	l.round(hour, "A:1,2").round(24*hour, "A:1,2")
	sign(2)
	for i := range l.records {
		if l.records[i].Key.ID == id(2) {
			l.records[i].Revoked = l.now
		}
	}
	sign(2, keys.AlarmRevoked, keys.AlarmSigner)
}

func TestDecideIsPure(t *testing.T) {
	l := newLife(t).round(0, "A:1,2")
	before := fmt.Sprint(l.records)
	keys.Decide(keys.Situation{Now: keys.At(l.now.Add(hour)), Records: l.records, Observations: l.observations("A:1"), Policy: l.policy})
	if after := fmt.Sprint(l.records); after != before {
		t.Errorf("the records changed from\n%s\nto\n%s", before, after)
	}
}

// A load balancer shows another API server at each look: nothing moves.
func TestAFlappingOriginMovesNothing(t *testing.T) {
	l := newLife(t).round(0, "LB:1,2 A:1,2 B:1").round(hour, "LB:1,2 A:1,2 B:1")
	before := l.records
	for range 3 {
		l.round(hour, "LB:1 A:1,2 B:1").round(hour, "LB:1,2 A:1,2 B:1")
	}
	if diff := cmp.Diff(before, l.records); diff != "" {
		t.Errorf("records (-before +after):\n%s", diff)
	}
}

// What was not listed is gone only if everything was listed.
func TestAPartialListingRemovesNothing(t *testing.T) {
	l := newLife(t).round(0, "LB:1 B:2")
	partial := l.observations("LB:1")
	partial[0].Partial = true
	decide := func(observations []keys.Observation) keys.Decision {
		l.now = l.now.Add(1000 * hour)
		return keys.Decide(keys.Situation{Now: keys.At(l.now), Records: l.records, Observations: observations, Policy: l.policy})
	}
	for what, observations := range map[string][]keys.Observation{
		"a partial listing": partial, "another origin failing": l.observations("LB:1 C:down"), "a late one": l.observations("LB:1?"),
	} {
		l.last = decide(observations)
		l.want("1:active 2:active")
		if t.Failed() {
			t.Fatalf("after %s", what)
		}
	}
	l.last = decide(l.observations("LB:1"))
	l.want("1:active 2:retiring")
}

func TestAdoption(t *testing.T) {
	l := newLife(t)
	adopt := keytest.Set(t, 1, 2)
	round := func(after time.Duration, answers string) *life {
		l.now = l.now.Add(after)
		l.last = keys.Decide(keys.Situation{
			Now: keys.At(l.now), Records: l.records, Adopt: adopt, Observations: l.observations(answers), Held: adopt, Policy: l.policy,
		})
		l.records, l.held, adopt = l.last.Records, l.last.Publish, keys.Set{}
		return l
	}
	round(0, "A:down").want("1:active 2:active") // A may show them: nobody knows
	round(hour, "A:2,3").want("1:retiring 2:active 3:waiting")
	adopt = keytest.Set(t, 2, 4)
	round(hour, "A:2,3").want("1:retiring 2:active 3:waiting 4:retiring")
	round(48*hour, "A:2,3").want("2:active 3:waiting") // 3 was never found published
}

// Of two unknown keys with one ID nobody can tell which is right.
func TestClashOfNewKeysTakesNone(t *testing.T) {
	impostor := keytest.Key(t, 2)
	impostor.ID = keytest.Key(t, 1).ID
	set, err := keys.NewSet(impostor, keytest.Key(t, 3))
	if err != nil {
		t.Fatal(err)
	}
	l := newLife(t)
	l.last = keys.Decide(keys.Situation{
		Now: keys.At(l.now), Policy: l.policy,
		Observations: []keys.Observation{{Origin: "A", Keys: keytest.Set(t, 1)}, {Origin: "B", Keys: set}},
	})
	l.want("3:active", keys.AlarmClash)
}

// Waits begin at the latest time it may be and end at the earliest, so that
// clocks that were set shorten none.
func TestDoubtAboutTheTimeShortensNothing(t *testing.T) {
	l := newLife(t).round(0, "A:1").round(hour, "A:1,2")
	start := l.now
	decide := func(earliest, latest time.Duration, answers string) {
		l.last = keys.Decide(keys.Situation{
			Now:     keys.Moment{Earliest: start.Add(earliest), Latest: start.Add(latest)},
			Records: l.records, Observations: l.observations(answers), Held: l.held, Policy: l.policy,
		})
		l.records, l.held = l.last.Records, l.last.Publish
	}
	decide(0, hour, "A:1,2") // held since an hour from now, perhaps
	decide(24*hour, 25*hour, "A:1,2")
	l.want("1:active 2:waiting")
	decide(25*hour, 26*hour, "A:1,2")
	l.want("1:active 2:active")
	decide(25*hour, 26*hour, "A:2") // absent since hour 26, perhaps
	decide(73*hour, 75*hour, "A:2")
	l.want("1:retiring 2:active")
	decide(74*hour, 75*hour, "A:2")
	l.want("2:active")
}

// Since when a key signs is remembered.
func TestSigningIsRemembered(t *testing.T) {
	l := newLife(t).round(0, "A:1")
	for range 2 {
		l.now = l.now.Add(hour)
		l.last = keys.Decide(keys.Situation{
			Now: keys.At(l.now), Records: l.records, Observations: l.observations("A:1"), Policy: l.policy,
			Signing: map[string]string{"A": keytest.Key(t, 1).ID},
		})
		l.records = l.last.Records
	}
	if want := l.now.Add(-hour); !l.records[0].Signs.Equal(want) {
		t.Errorf("signs since %s; want %s", l.records[0].Signs, want)
	}
}

// An API server that forgot the public half of the key that it signs with is
// told of at once, and its key stays.
func TestAKeyThatSignsStays(t *testing.T) {
	l := newLife(t).round(0, "A:1,2,3")
	signing := func(after time.Duration, n int) *life {
		l.now = l.now.Add(after)
		l.last = keys.Decide(keys.Situation{
			Now: keys.At(l.now), Records: l.records, Observations: l.observations("A:1,3"), Held: l.held, Policy: l.policy,
			Signing: map[string]string{"A": keytest.Key(t, n).ID},
		})
		l.records, l.held = l.last.Records, l.last.Publish
		return l
	}
	signing(hour, 2).want("1:active 2:active 3:active", keys.AlarmSigner)
	signing(1000*hour, 2).want("1:active 2:active 3:active", keys.AlarmSigner)
	signing(hour, 1).want("1:active 2:retiring 3:active")
	signing(47*hour, 2).want("1:active 2:active 3:active", keys.AlarmSigner) // it went back
	signing(hour, 1).want("1:active 2:retiring 3:active")
	signing(48*hour, 1).want("1:active 3:active")
}

// Who shows another key under a known ID does not get it by waiting.
func TestAClashOustsNobody(t *testing.T) {
	impostor := keytest.Key(t, 2)
	impostor.ID = keytest.Key(t, 1).ID
	set, err := keys.NewSet(impostor, keytest.Key(t, 3))
	if err != nil {
		t.Fatal(err)
	}
	l := newLife(t).round(0, "A:1,3")
	for range 3 {
		l.now = l.now.Add(50 * hour)
		l.last = keys.Decide(keys.Situation{
			Now: keys.At(l.now), Records: l.records, Policy: l.policy, Observations: []keys.Observation{{Origin: "A", Keys: set}},
		})
		l.records = l.last.Records
		l.want("1:active 3:active", keys.AlarmClash)
	}
}

// An origin that answers late belongs to the first publication all the same.
func TestTheFirstPublicationTakesAWhile(t *testing.T) {
	l := newLife(t).round(0, "A:1 B:down")
	l.last = keys.Decide(keys.Situation{
		Now: keys.At(l.now), First: true, Records: l.records, Observations: l.observations("A:1 B:1,2"), Policy: l.policy,
	})
	l.want("1:active 2:active", keys.AlarmDivergence)
}

// The last key stays, whatever was accepted, and the alarm says what helps.
func TestTheLastKeyStays(t *testing.T) {
	l := newLife(t).round(0, "A:1").round(hour, "")
	l.policy.AcceptShrink = []string{keytest.Key(t, 1).ID}
	l.round(1000*hour, "").want("1:retiring", keys.AlarmShrink)
	if text := l.last.Alarms[0].Text; !strings.Contains(text, "give issuer-sync a source") {
		t.Errorf("the alarm says %q", text)
	}
}
