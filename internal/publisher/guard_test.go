package publisher_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// cluster is a source that knows its issuer and what its origins sign with.
type cluster struct {
	origins
	issuer  string
	err     error // of Issuer
	signing map[string]string
}

func (c *cluster) Issuer(context.Context) (string, error) { return c.issuer, c.err }

func (c *cluster) SigningKeys(context.Context) map[string]string { return c.signing }

// guarded is a publisher of one cluster that can be restarted.
type guarded struct {
	*medium
	clock   *wallClock
	cluster *cluster
	now     *bench
	change  func(*publisher.Config)
}

func newGuarded(t *testing.T, change func(*publisher.Config)) *guarded {
	t.Helper()
	g := &guarded{medium: newMedium(t, false), clock: newWallClock(), cluster: &cluster{issuer: issuerURL}, change: change}
	g.restart(t)
	return g
}

func (g *guarded) restart(t *testing.T) {
	t.Helper()
	g.now = newWriter(t, g.medium, g.clock, nil, func(c *publisher.Config) {
		c.Sources = []publisher.Source{g.cluster}
		if g.change != nil {
			g.change(c)
		}
	})
}

// round lets time pass, and does a round on these answers.
func (g *guarded) round(t *testing.T, after time.Duration, answers ...keys.Observation) publisher.Round {
	t.Helper()
	g.clock.pass(after)
	g.cluster.set(answers...)
	return g.now.Round(t.Context())
}

// Until a cluster has signed with a configured issuer, another one is a warning.
// After that it is an alarm, and nothing of what the cluster shows counts.
func TestIssuerDrift(t *testing.T) {
	g := newGuarded(t, nil)
	g.cluster.issuer = "https://old.test"
	round := g.round(t, 0, shows(t, "A", 1, 2))
	wantAlarms(t, round)
	if len(round.Warnings) != 1 || !strings.HasPrefix(round.Warnings[0], `the cluster signs tokens as issuer "https://old.test", not "https://x.test"`) {
		t.Errorf("warnings %q", round.Warnings)
	}
	g.settled(t, g.now, 1, 2)

	g.cluster.issuer = issuerURL
	round = g.round(t, 0, shows(t, "A", 1, 2))
	wantAlarms(t, round)
	wantIDs(t, "warnings", nil, round.Warnings)

	drifted := func(when string) {
		t.Helper()
		round := g.round(t, 50*time.Hour, shows(t, "A", 2, 3)) // 1 is gone, and 3 is new
		wantAlarms(t, round, publisher.AlarmIssuerDrift)
		if err := round.Err(); err == nil || !strings.Contains(err.Error(), "alarm issuer-drift: the cluster signs tokens as issuer") {
			t.Errorf("%s: error %v", when, err)
		}
		wantIDs(t, when+": published", ids(t, 1, 2), published(t, g.medium))
	}
	g.cluster.issuer = "https://old.test"
	drifted("after the first match")
	g.cluster.err = errors.New("connection refused")
	g.cluster.issuer = ""
	drifted("while the issuer cannot be asked")
	g.cluster.issuer, g.cluster.err = "https://old.test", nil
	g.restart(t)
	drifted("after a restart")

	g.cluster.issuer = issuerURL
	wantAlarms(t, g.round(t, 0, shows(t, "A", 2, 3)))
	g.settled(t, g.now, 1, 2, 3) // 1 is retained from now on
}

// Whoever changes the issuer publishes both: the cluster signs with one of them.
func TestTwoIssuersSideBySide(t *testing.T) {
	g := newGuarded(t, func(c *publisher.Config) {
		c.Issuers = []oidc.Issuer{mustIssuer(t, issuerURL), mustIssuer(t, "https://new.test")}
	})
	for _, issuer := range []string{issuerURL, "https://new.test", issuerURL} {
		g.cluster.issuer = issuer
		round := g.round(t, time.Hour, shows(t, "A", 1))
		wantAlarms(t, round)
		wantIDs(t, "warnings", nil, round.Warnings)
	}
	g.round(t, time.Hour, shows(t, "A", 1, 2))
	g.settled(t, g.now, 1, 2)
}

// A store that is new to the configuration may hold keys of a hand-made issuer.
func TestANewStoreIsTakenOver(t *testing.T) {
	g := newGuarded(t, nil)
	g.round(t, 0, shows(t, "A", 1, 2))
	second := newMedium(t, false)
	documents, err := oidc.Render(mustIssuer(t, issuerURL), keytest.Set(t, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range []oidc.Object{documents.JWKS, documents.Discovery} {
		if _, err := second.Write(t.Context(), object, ""); err != nil {
			t.Fatal(err)
		}
	}
	second.protect(2, 3)
	g.change = withTwo(second)
	g.restart(t)
	round := g.round(t, 0, shows(t, "A", 1, 2))
	wantAlarms(t, round)
	wantIDs(t, "warnings", []string{"took over the 2 keys that two held already"}, round.Warnings)
	wantIDs(t, "the new store", ids(t, 1, 2, 3), published(t, second))
	g.settled(t, g.now, 1, 2, 3)
	if phase := keyOf(t, round, 3).Phase; phase != keys.Retiring {
		t.Errorf("the key that only the new store has is %q; want %q", phase, keys.Retiring)
	}
}

// More than half of the keys leave only with the operator's word, and only those
// that the word is about.
func TestAcceptShrink(t *testing.T) {
	g := newGuarded(t, nil)
	g.round(t, 0, shows(t, "A", 1, 2, 3, 4, 5))
	g.round(t, 0, shows(t, "A", 1))
	round := g.round(t, 49*time.Hour, shows(t, "A", 1))
	wantAlarms(t, round, keys.AlarmShrink)
	if diff := cmp.Diff(ids(t, 2, 3, 4, 5), round.Alarms[0].KeyIDs); diff != "" {
		t.Errorf("keys of the alarm (-want +got):\n%s", diff)
	}
	g.settled(t, g.now, 1, 2, 3, 4, 5)
	g.change = func(c *publisher.Config) { c.Policy.AcceptShrink = ids(t, 3) }
	g.restart(t)
	wantAlarms(t, g.round(t, 0, shows(t, "A", 1)), keys.AlarmShrink)
	g.settled(t, g.now, 1, 2, 4, 5)
}

func inGroup(o keys.Observation) keys.Observation {
	o.Group = "cluster"
	return o
}

// The API servers of one cluster that show different keys are an alarm that
// names server and key.
func TestDivergence(t *testing.T) {
	g := newGuarded(t, nil)
	a, b := inGroup(shows(t, "server A", 1, 2)), inGroup(shows(t, "server B", 1))
	round := g.round(t, 0, a, b, shows(t, "another cluster", 3))
	wantAlarms(t, round, keys.AlarmDivergence)
	if alarm := round.Alarms[0]; alarm.Origin != "server B" || !cmp.Equal(alarm.KeyIDs, ids(t, 2)) {
		t.Errorf("alarm of %q about %q", alarm.Origin, alarm.KeyIDs)
	}
	g.settled(t, g.now, 1, 2, 3)
	down := inGroup(fails("server B", errors.New("connection refused")))
	wantAlarms(t, g.round(t, 0, a, down, shows(t, "another cluster", 3)))
}

// A server that is not in a partial list may be there all the same.
func TestAPartialListRemovesNothing(t *testing.T) {
	g := newGuarded(t, nil)
	g.round(t, 0, shows(t, "A", 1), shows(t, "B", 1, 2))
	partial := shows(t, "A", 1)
	partial.Partial = true
	for range 3 {
		g.round(t, 49*time.Hour, partial)
		g.settled(t, g.now, 1, 2)
	}
	g.round(t, time.Hour, shows(t, "A", 1)) // whole again, from now on B is gone
	g.round(t, 47*time.Hour, shows(t, "A", 1))
	g.settled(t, g.now, 1, 2)
	g.round(t, time.Hour, shows(t, "A", 1))
	g.settled(t, g.now, 1)
}

// What the API servers sign with is in the report, and is an alarm while the key
// still waits.
func TestSigningIsObserved(t *testing.T) {
	g := newGuarded(t, nil)
	g.cluster.signing = map[string]string{"A": keytest.Key(t, 1).ID}
	round := g.round(t, 0, shows(t, "A", 1))
	wantAlarms(t, round)
	if signs := keyOf(t, round, 1).Signs; !signs.Equal(newWallClock().wall) {
		t.Errorf("key 1 signs since %s", signs)
	}
	g.cluster.signing = map[string]string{"A": keytest.Key(t, 2).ID, "B": "unknown"}
	g.restart(t) // each process looks at once, and then every minute
	round = g.round(t, time.Hour, shows(t, "A", 1, 2))
	wantAlarms(t, round, keys.AlarmSigner, keys.AlarmSigner)
	if key := keyOf(t, round, 2); key.Phase != keys.Waiting || key.Signs.IsZero() || round.Alarms[0].KeyIDs[0] != key.ID || round.Alarms[1].Origin != "B" {
		t.Errorf("key 2 is %+v, alarms %+v", key, round.Alarms)
	}
	g.cluster.signing = map[string]string{"A": keytest.Key(t, 2).ID}
	g.restart(t)
	wantAlarms(t, g.round(t, 24*time.Hour, shows(t, "A", 1, 2)))
	g.settled(t, g.now, 1, 2)
}
