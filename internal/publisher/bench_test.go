package publisher_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
