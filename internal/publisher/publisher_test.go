package publisher_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
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
		MaxAge:  oidc.DefaultMaxAge, MaxKeys: 50, Interval: 30 * time.Second,
		Serve: func(d oidc.Documents) { b.served = append(b.served, strings.Join(d.Keys.IDs(), " ")) },
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
	set, _, err := oidc.Published(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return set.IDs()
}

func ids(t *testing.T, numbers ...int) []string {
	t.Helper()
	return keytest.Set(t, numbers...).IDs()
}

func wantIDs(t *testing.T, what string, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
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
		"an API server left the slice": func(t *testing.T) []keys.Observation { return []keys.Observation{shows(t, "A", 1)} },
		"nobody is left":               func(*testing.T) []keys.Observation { return nil },
		"a key is no longer shown":     func(t *testing.T) []keys.Observation { return []keys.Observation{shows(t, "A", 1), shows(t, "B", 1)} },
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
	want := "A: not a JWK set: it looks like HTML or XML (the input has SHA-256 b7d082ee12e91b75...)"
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

func TestClashStopsTheRound(t *testing.T) {
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
		"with the published": {{Origin: "A", Keys: set}},
	} {
		t.Run(name, func(t *testing.T) {
			b.store.writes = 0
			b.source.set(answers...)
			if err := b.Round(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), string(keys.RuleKeyIDClash)) {
				t.Errorf("error %v; want %q", err, keys.RuleKeyIDClash)
			}
			if b.store.writes != 0 {
				t.Errorf("%d writes", b.store.writes)
			}
		})
	}
}

func TestMoreThanMaxIsRefused(t *testing.T) {
	b := newBench(t, func(c *publisher.Config) { c.MaxKeys = 1 })
	b.source.set(shows(t, "A", 1, 2))
	err := b.Round(t.Context()).Err()
	if err == nil || err.Error() != "store one: 2 keys to publish, but keys.max is 1: too many keys" {
		t.Errorf("error %v", err)
	}
	if b.store.writes != 0 {
		t.Errorf("%d writes", b.store.writes)
	}
}

func TestDamagedStoreIsRepaired(t *testing.T) {
	b := newBench(t, nil)
	b.source.set(shows(t, "A", 1, 2))
	b.Round(t.Context())
	// Key 2 leaves the source, so that only what was served remembers it.
	b.source.set(shows(t, "A", 1))
	_, version, err := b.store.Read(t.Context(), oidc.JWKSPath)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.Store.Write(t.Context(), oidc.Object{Path: oidc.JWKSPath, Body: []byte("<html>")}, version); err != nil {
		t.Fatal(err)
	}
	round := b.Round(t.Context())
	if round.Stores[0].Repaired != "openid/v1/jwks: not a JWK set: it looks like HTML or XML" || round.Err() != nil {
		t.Errorf("repaired %q, error %v", round.Stores[0].Repaired, round.Err())
	}
	wantIDs(t, "published", ids(t, 1, 2), published(t, b.store))
}

func TestOneBrokenStoreKeepsNoOther(t *testing.T) {
	two := &counting{Store: memory.New()}
	b := newBench(t, func(c *publisher.Config) {
		c.Stores = append(c.Stores, publisher.Store{Name: "two", Store: two})
	})
	b.store.fail(errors.New("503 Service Unavailable"))
	b.source.set(shows(t, "A", 1))
	round := b.Round(t.Context())
	wantIDs(t, "store two", ids(t, 1), published(t, two))
	if len(b.served) != 0 || round.Published() {
		t.Errorf("served %v, published %v: what the first store does not hold is not served", b.served, round.Published())
	}
	b.store.fail(nil)
	if err := b.Round(t.Context()).Err(); err != nil || len(b.served) != 1 {
		t.Errorf("after recovery: %v, served %d times", err, len(b.served))
	}
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
	plan := b.Plan(t.Context())
	if !plan.Pending() || b.store.writes != 0 || len(b.served) != 0 {
		t.Errorf("pending %v, %d writes, served %v", plan.Pending(), b.store.writes, b.served)
	}
	wantIDs(t, "would write", []string{oidc.JWKSPath, oidc.DiscoveryPath}, plan.Stores[0].WouldWrite)
	b.Round(t.Context())
	if plan := b.Plan(t.Context()); plan.Pending() {
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
		if b.source.asked < 20 || b.source.asked > 24 {
			t.Errorf("asked %d times in 10 minutes with an interval of 30 s", b.source.asked)
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
			`level=INFO msg="serving keys" keys=1 key_ids=[` + one + `]`,
			`level=INFO msg="published documents" store=one written="[openid/v1/jwks .well-known/openid-configuration]" added_key_ids=[` + one + `]`,
			`level=WARN msg=problem subject=A err="connection refused"`,
			`level=INFO msg="serving keys" keys=2 key_ids="[` + strings.Join(slices.Collect(both), " ") + `]"`,
			`level=INFO msg="published documents" store=one written=[openid/v1/jwks] added_key_ids=[` + keytest.Key(t, 2).ID + `]`,
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
		MaxAge: oidc.DefaultMaxAge, MaxKeys: 50, Interval: time.Second, Log: slog.New(slog.DiscardHandler),
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
