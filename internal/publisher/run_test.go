package publisher_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
)

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
