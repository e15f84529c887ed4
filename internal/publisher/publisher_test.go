package publisher_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/internal/store/memory"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

const issuerURL = "https://x.test"

// origins is a source whose answers a test sets.
type origins struct {
	mu      sync.Mutex
	answers []keys.Observation
	asked   int
	signs   string // the issuer; "" means the right one
	changed chan struct{}
}

func (o *origins) set(answers ...keys.Observation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers = answers
}

func (o *origins) Observe(context.Context) []keys.Observation {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked++
	return o.answers
}

func (o *origins) times() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked
}

func (o *origins) Issuer(context.Context) (string, error) {
	if o.signs != "" {
		return o.signs, nil
	}
	return issuerURL, nil
}

func (o *origins) Watch(ctx context.Context, changed func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-o.changed:
			changed()
		}
	}
}

func shows(t *testing.T, origin string, numbers ...int) keys.Observation {
	t.Helper()
	return keys.Observation{Origin: origin, Keys: keytest.Set(t, numbers...)}
}

func fails(origin string, err error) keys.Observation {
	return keys.Observation{Origin: origin, Err: err}
}

// counting counts writes, and fails calls when told to.
type counting struct {
	oidc.Store
	mu     sync.Mutex
	writes int
	err    error
}

func (c *counting) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *counting) Read(ctx context.Context, path string) (oidc.Object, oidc.Version, error) {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if err != nil {
		return oidc.Object{}, "", err
	}
	return c.Store.Read(ctx, path)
}

func (c *counting) Write(ctx context.Context, object oidc.Object, base oidc.Version) (oidc.Version, error) {
	c.mu.Lock()
	c.writes++
	err := c.err
	c.mu.Unlock()
	if err != nil {
		return "", err
	}
	return c.Store.Write(ctx, object, base)
}

// bench is a publisher with everything around it in the test's hands.
type bench struct {
	*publisher.Publisher
	source *origins
	store  *counting
	log    *bytes.Buffer
	served []string // key IDs, a line for each call of Serve
	// outside is for tests that make the look from outside fail.
	outside atomic.Bool
}

func newBench(t *testing.T, change func(*publisher.Config)) *bench {
	t.Helper()
	b := &bench{source: &origins{changed: make(chan struct{})}, store: &counting{Store: memory.New()}, log: new(bytes.Buffer)}
	issuer, err := oidc.ParseIssuer(issuerURL)
	if err != nil {
		t.Fatal(err)
	}
	config := publisher.Config{
		Issuer:  issuer,
		Sources: []publisher.Source{b.source},
		Stores:  []publisher.Store{{Name: "one", Store: b.store}},
		MaxAge:  oidc.DefaultMaxAge, Interval: 30 * time.Second,
		Policy: keys.Policy{MinimumWait: 24 * time.Hour, Retention: 48 * time.Hour, Max: 50},
		Serve:  func(d oidc.Documents) { b.served = append(b.served, strings.Join(d.Keys.IDs(), " ")) },
		Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "issuer" {
				return slog.Attr{}
			}
			return a
		}})),
	}
	if change != nil {
		change(&config)
	}
	b.Publisher = publisher.New(config)
	return b
}

func published(t *testing.T, store oidc.Store) []string {
	t.Helper()
	holding, err := oidc.Hold(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return holding.Keys.IDs()
}

func ids(t *testing.T, numbers ...int) []string {
	t.Helper()
	return keytest.Set(t, numbers...).IDs()
}

func wantIDs(t *testing.T, what string, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(strings.Join(want, "\n"), strings.Join(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestRoundPublishesTheUnion(t *testing.T) {
	b := newBench(t, nil)
	b.source.set(shows(t, "A", 1, 2), shows(t, "B", 1))
	round := b.Round(t.Context())
	if err := round.Err(); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, "published", ids(t, 1, 2), published(t, b.store))
	wantIDs(t, "served", []string{strings.Join(ids(t, 1, 2), " ")}, b.served)
	wantIDs(t, "written", []string{oidc.JWKSPath, oidc.DiscoveryPath}, round.Stores[0].Written)

	b.store.writes = 0
	round = b.Round(t.Context())
	if b.store.writes != 0 || len(round.Stores[0].Written) != 0 {
		t.Errorf("a steady round wrote %v in %d writes", round.Stores[0].Written, b.store.writes)
	}
}

// A source that fails, in whatever way, changes nothing.
func TestAnErrorNeverShrinksTheSet(t *testing.T) {
	errDown := errors.New("connection refused")
	for name, after := range map[string]func(t *testing.T) []keys.Observation{
		"one of two fails": func(t *testing.T) []keys.Observation {
			return []keys.Observation{shows(t, "A", 1), fails("B", errDown)}
		},
		"all fail": func(*testing.T) []keys.Observation {
			return []keys.Observation{fails("A", errDown), fails("B", errDown)}
		},
		"one fails and one left the slice": func(*testing.T) []keys.Observation { return []keys.Observation{fails("A", errDown)} },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.source.set(shows(t, "A", 1), shows(t, "B", 2))
			b.Round(t.Context())
			b.store.writes = 0
			b.source.set(after(t)...)
			b.Round(t.Context())
			wantIDs(t, "published", ids(t, 1, 2), published(t, b.store))
			if b.store.writes != 0 || len(b.served) != 1 {
				t.Errorf("%d writes, served %d times; want none and once", b.store.writes, len(b.served))
			}
		})
	}
}

// A refused input is named by its fingerprint, in the report and hence in the log.
func TestRefusedInputIsToldByFingerprint(t *testing.T) {
	b := newBench(t, nil)
	_, _, err := keys.ParseJWKS("A", []byte("<html>"))
	b.source.set(fails("A", err))
	want := "not a JWK set: it looks like HTML or XML (the input has SHA-256 b7d082ee12e91b75...)"
	if got := b.Round(t.Context()).Sources[0].Error; got != want {
		t.Errorf("error %q; want %q", got, want)
	}
}

func TestRestartServesLastGood(t *testing.T) {
	b := newBench(t, nil)
	b.source.set(shows(t, "A", 1, 2))
	b.Round(t.Context())
	again := newBench(t, func(c *publisher.Config) { c.Stores[0].Store = b.store })
	if err := again.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, "served before any source was asked", []string{strings.Join(ids(t, 1, 2), " ")}, again.served)
	again.source.set(fails("A", errors.New("connection refused")))
	if err := again.Round(t.Context()).Err(); err == nil {
		t.Error("a round without any source reported no error")
	}
	wantIDs(t, "published", ids(t, 1, 2), published(t, b.store))
}

func TestAClashChangesNothing(t *testing.T) {
	b := newBench(t, nil)
	b.source.set(shows(t, "A", 1))
	b.Round(t.Context())
	impostor := keytest.Key(t, 2)
	impostor.ID = keytest.Key(t, 1).ID
	set, err := keys.NewSet(impostor)
	if err != nil {
		t.Fatal(err)
	}
	for name, answers := range map[string][]keys.Observation{
		"between sources":    {shows(t, "A", 1), {Origin: "B", Keys: set}},
		"with the published": {shows(t, "A", 1), {Origin: "A2", Keys: set}},
	} {
		t.Run(name, func(t *testing.T) {
			b.store.writes = 0
			b.source.set(answers...)
			wantAlarms(t, b.Round(t.Context()), keys.AlarmClash)
			if b.store.writes != 0 {
				t.Errorf("%d writes", b.store.writes)
			}
		})
	}
}

func wantAlarms(t *testing.T, round publisher.Round, want ...keys.AlarmKind) {
	t.Helper()
	var got []keys.AlarmKind
	for _, alarm := range round.Alarms {
		got = append(got, alarm.Kind)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alarms (-want +got):\n%s\n%+v", diff, round.Alarms)
	}
}

func TestMoreThanMaxIsRefused(t *testing.T) {
	b := newBench(t, func(c *publisher.Config) { c.Policy.Max = 1 })
	b.source.set(shows(t, "A", 1))
	b.Round(t.Context())
	b.store.writes = 0
	b.source.set(shows(t, "A", 1, 2))
	wantAlarms(t, b.Round(t.Context()), keys.AlarmMax)
	if b.store.writes != 0 {
		t.Errorf("%d writes", b.store.writes)
	}
}

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

// A replica without sources follows what the others publish.
func TestReplicaFollowsTheStore(t *testing.T) {
	b := newBench(t, nil)
	b.source.set(shows(t, "A", 1))
	b.Round(t.Context())
	follower := newBench(t, func(c *publisher.Config) { c.Stores[0].Store = b.store })
	follower.source.set(fails("A", errors.New("connection refused")))
	follower.Round(t.Context())
	b.source.set(shows(t, "A", 1, 2))
	b.Round(t.Context())
	follower.Round(t.Context())
	wantIDs(t, "served", []string{strings.Join(ids(t, 1), " "), strings.Join(ids(t, 1, 2), " ")}, follower.served)
}

func TestRetryAfterIsHeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.source.set(shows(t, "A", 1))
		b.store.fail(&oidc.RetryAfterError{After: 90 * time.Second, Err: errors.New("429 Too Many Requests")})
		b.Round(t.Context())
		b.store.fail(nil)
		time.Sleep(89 * time.Second)
		if err := b.Round(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "left alone for a while") {
			t.Errorf("after 89 s of 90: %v", err)
		}
		time.Sleep(time.Second)
		if err := b.Round(t.Context()).Err(); err != nil {
			t.Errorf("after 90 s: %v", err)
		}
	})
}

// Without limits on its parts one that hangs would hang the round.
func TestRoundIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *publisher.Config) {
			c.Sources = append(c.Sources, hanging{})
			c.Stores = append(c.Stores, publisher.Store{Name: "two", Store: hangingStore{}})
			c.Outside = func(ctx context.Context) oidc.Report {
				<-ctx.Done()
				return oidc.Report{}
			}
		})
		b.source.set(shows(t, "A", 1))
		start := time.Now()
		round := b.Round(t.Context())
		if took := time.Since(start); took > 90*time.Second {
			t.Errorf("the round took %s", took)
		}
		wantIDs(t, "published", ids(t, 1), published(t, b.store))
		if round.Sources[1].Error != "context deadline exceeded" && round.Sources[1].Error != "no answer yet" || round.Stores[1].Error == "" {
			t.Errorf("the hanging parts are not told: %+v", round)
		}
	})
}

type hanging struct{}

func (hanging) Observe(ctx context.Context) []keys.Observation {
	<-ctx.Done()
	return []keys.Observation{{Origin: "hanging", Err: ctx.Err()}}
}

type hangingStore struct{ oidc.Store }

func (hangingStore) Read(ctx context.Context, _ string) (oidc.Object, oidc.Version, error) {
	<-ctx.Done()
	return oidc.Object{}, "", ctx.Err()
}

// In Run nothing that hangs keeps a changed file from being published within 5 seconds.
func TestRunPublishesBesideWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *publisher.Config) {
			c.Sources = append(c.Sources, hanging{})
			c.Outside = func(ctx context.Context) oidc.Report {
				<-ctx.Done()
				return oidc.Report{}
			}
		})
		b.source.set(shows(t, "A", 1))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		time.Sleep(5 * time.Second)
		wantIDs(t, "published 5 s after the start", ids(t, 1), published(t, b.store))
		b.source.set(shows(t, "A", 1, 2))
		b.source.changed <- struct{}{}
		time.Sleep(5 * time.Second)
		wantIDs(t, "published 5 s after a change", ids(t, 1, 2), published(t, b.store))
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A source that is slower than the others wait is heard all the same.
func TestRunHearsSlowSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *publisher.Config) { c.Sources = append(c.Sources, slow{shows(t, "S", 2)}) })
		b.source.set(shows(t, "A", 1))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		time.Sleep(11 * time.Second)
		wantIDs(t, "published", ids(t, 1, 2), published(t, b.store))
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

type slow struct{ observation keys.Observation }

func (s slow) Observe(context.Context) []keys.Observation {
	time.Sleep(10 * time.Second)
	return []keys.Observation{s.observation}
}

// What the outside shows must be what was published, allowing for caches.
func TestOutsideIsComparedWithThePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		public := keytest.Set(t, 1)
		registry := prometheus.NewRegistry()
		b := newBench(t, func(c *publisher.Config) {
			c.Metrics = publisher.NewMetrics(registry)
			c.Outside = func(context.Context) oidc.Report {
				return oidc.Report{Issuer: issuerURL, Keys: public, JWKS: oidc.Object{Path: oidc.JWKSPath}}
			}
		})
		want := func(when string, status oidc.Status, detail string, gauge float64) {
			t.Helper()
			checks := b.Round(t.Context()).Outside.Checks
			if got := checks[len(checks)-1]; got.Status != status || got.Detail != detail {
				t.Errorf("%s: %s; want %s %s", when, got, status, detail)
			}
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, family := range families {
				if family.GetName() == "issuer_sync_outside_view_ok" && family.GetMetric()[0].GetGauge().GetValue() != gauge {
					t.Errorf("%s: outside_view_ok is not %v", when, gauge)
				}
			}
		}
		b.source.set(shows(t, "A", 1))
		want("as published", oidc.Pass, "the 1 published keys, and no other", 1)
		b.source.set(shows(t, "A", 1, 2))
		stale := "published but not public: " + keytest.Key(t, 2).ID
		want("right after a new key", oidc.Warn, stale, 1)
		time.Sleep(oidc.DefaultMaxAge + time.Second)
		want("after max-age", oidc.Fail, stale, 0)
		public = keytest.Set(t, 1, 2, 3)
		want("with a foreign key", oidc.Fail, "public but not published: "+keytest.Key(t, 3).ID, 0)
	})
}

// A round that is cut short by the end of Run is no incident.
func TestStoppingIsNoProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		b := newBench(t, func(c *publisher.Config) {
			c.Metrics = publisher.NewMetrics(registry)
			c.Stores[0].Store = hangingStore{}
		})
		b.source.set(shows(t, "A", 1))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		time.Sleep(31 * time.Second) // Load gave up, the round is under way
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if log := b.log.String(); strings.Contains(log, "msg=problem") {
			t.Errorf("log:\n%s", log)
		}
		if n, err := testutil.GatherAndCount(registry, "issuer_sync_store_rounds_total"); err != nil || n != 0 {
			t.Errorf("%d series of store rounds, %v", n, err)
		}
	})
}

func TestOneBrokenStoreKeepsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := &counting{Store: memory.New()}
		b := newBench(t, func(c *publisher.Config) {
			c.Stores = append(c.Stores, publisher.Store{Name: "two", Store: two})
		})
		two.fail(errors.New("503 Service Unavailable"))
		b.source.set(shows(t, "A", 1))
		round := b.Round(t.Context())
		wantIDs(t, "store one", ids(t, 1), published(t, b.store))
		if len(b.served) != 1 || round.Err() == nil || !round.Keys[0].Published.IsZero() {
			t.Errorf("served %v, error %v, keys %+v", b.served, round.Err(), round.Keys)
		}
		two.fail(nil)
		time.Sleep(time.Second)
		round = b.Round(t.Context())
		if err := round.Err(); err != nil || round.Keys[0].Published.IsZero() {
			t.Errorf("after recovery: %v, keys %+v", err, round.Keys)
		}
		wantIDs(t, "store two", ids(t, 1), published(t, two))
	})
}

// While the state cannot be read nothing is decided and nothing written: what
// was decided meanwhile by others, a revocation say, is not known.
func TestWithoutTheStateNothingIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := &counting{Store: memory.New()}
		b := newBench(t, func(c *publisher.Config) {
			c.Stores = append(c.Stores, publisher.Store{Name: "two", Store: two})
		})
		b.source.set(shows(t, "A", 1))
		b.Round(t.Context())
		b.store.fail(errors.New("503 Service Unavailable"))
		b.source.set(shows(t, "A", 1, 2))
		time.Sleep(time.Minute)
		round := b.Round(t.Context())
		wantIDs(t, "store two", ids(t, 1), published(t, two))
		want := []publisher.Fault{{Part: "state", Error: `the state is in store "one": reading "openid/v1/jwks" from the store: 503 Service Unavailable`}}
		if diff := cmp.Diff(want, round.Faults, cmpopts.IgnoreUnexported(publisher.Fault{})); diff != "" || len(b.served) != 1 {
			t.Errorf("served %v; faults (-want +got):\n%s", b.served, diff)
		}
		b.store.fail(nil)
		time.Sleep(time.Minute)
		b.Round(t.Context())
		wantIDs(t, "store two after recovery", ids(t, 1, 2), published(t, two))
	})
}

// Two writers that know different keys lose none, whoever is first.
func TestTwoWritersJoinTheirKeys(t *testing.T) {
	store := memory.New()
	var writers sync.WaitGroup
	for n := range 2 {
		b := newBench(t, func(c *publisher.Config) { c.Stores[0].Store = store })
		b.source.set(shows(t, "A", n))
		writers.Go(func() {
			if err := b.Round(t.Context()).Err(); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	wantIDs(t, "published", ids(t, 0, 1), published(t, store))
}

func TestPlanWritesNothing(t *testing.T) {
	b := newBench(t, nil)
	b.source.set(shows(t, "A", 1))
	plan := b.Plan(t.Context(), time.Second)
	if !plan.Pending() || b.store.writes != 0 || len(b.served) != 0 {
		t.Errorf("pending %v, %d writes, served %v", plan.Pending(), b.store.writes, b.served)
	}
	wantIDs(t, "would write", []string{oidc.JWKSPath, oidc.DiscoveryPath}, plan.Stores[0].WouldWrite)
	b.Round(t.Context())
	if plan := b.Plan(t.Context(), time.Second); plan.Pending() {
		t.Errorf("after a round still pending: %v", plan.Stores[0].WouldWrite)
	}
}

func TestForeignIssuerIsAWarning(t *testing.T) {
	b := newBench(t, nil)
	b.source.signs = issuerURL + "/"
	b.source.set(shows(t, "A", 1))
	round := b.Round(t.Context())
	want := []string{`the cluster signs tokens as issuer "https://x.test/", not "https://x.test": relying parties will refuse them until kube-apiserver runs with --service-account-issuer=https://x.test as its first issuer`}
	wantIDs(t, "warnings", want, round.Warnings)
	if err := round.Err(); err != nil {
		t.Errorf("publishing ahead of the switch must work: %v", err)
	}
}

func TestRunLogsEventsNotRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		b := newBench(t, func(c *publisher.Config) { c.Metrics = publisher.NewMetrics(registry) })
		b.source.set(shows(t, "A", 1))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()

		time.Sleep(10 * time.Minute)
		if n := b.source.times(); n < 20 || n > 24 {
			t.Errorf("asked %d times in 10 minutes with an interval of 30 s", n)
		}
		b.source.set(fails("A", errors.New("connection refused")))
		time.Sleep(10 * time.Minute)
		b.source.set(shows(t, "A", 1, 2))
		b.source.changed <- struct{}{}
		synctest.Wait()
		wantIDs(t, "published at once after a change", ids(t, 1, 2), published(t, b.store))
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}

		var got []string
		for line := range strings.Lines(b.log.String()) {
			got = append(got, strings.TrimSpace(line))
		}
		one, both := keytest.Key(t, 1).ID, slices.Values(ids(t, 1, 2))
		want := []string{
			`level=INFO msg="loaded documents" keys=1 key_ids=[` + one + `]`,
			`level=INFO msg="published documents" store=one written="[openid/v1/jwks .well-known/openid-configuration]" added_key_ids=[` + one + `] removed_key_ids=[]`,
			`level=WARN msg=problem subject=A err="connection refused"`,
			`level=INFO msg="loaded documents" keys=2 key_ids="[` + strings.Join(slices.Collect(both), " ") + `]"`,
			`level=INFO msg="published documents" store=one written=[openid/v1/jwks] added_key_ids=[` + keytest.Key(t, 2).ID + `] removed_key_ids=[]`,
			`level=INFO msg="key changed" key_id=` + keytest.Key(t, 2).ID + ` phase=waiting until=2000-01-02T00:20:00.000Z`,
			`level=INFO msg="problem is over" subject=A`,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		if n, err := testutil.GatherAndCount(registry, "issuer_sync_source_last_success_timestamp_seconds"); err != nil || n != 1 {
			t.Errorf("%d series of the source's last success, %v", n, err)
		}
	})
}

func BenchmarkSteadyRound(b *testing.B) {
	store := memory.New()
	issuer, err := oidc.ParseIssuer(issuerURL)
	if err != nil {
		b.Fatal(err)
	}
	source := &origins{answers: []keys.Observation{{Origin: "A", Keys: keytest.Set(b, 1, 2)}}}
	p := publisher.New(publisher.Config{
		Issuer: issuer, Sources: []publisher.Source{source}, Stores: []publisher.Store{{Name: "one", Store: store}},
		MaxAge: oidc.DefaultMaxAge, Policy: keys.Policy{Max: 50}, Interval: time.Second, Log: slog.New(slog.DiscardHandler),
	})
	if err := p.Round(b.Context()).Err(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if len(p.Round(b.Context()).Stores[0].Written) > 0 {
			b.Fatal("a steady round wrote")
		}
	}
}
