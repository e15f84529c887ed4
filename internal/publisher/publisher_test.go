package publisher_test

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/store/memory"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

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
