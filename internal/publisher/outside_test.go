package publisher_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

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

// sees is an outside on which a cache shows these keys.
func sees(set keys.Set) func(context.Context) oidc.Report {
	return func(context.Context) oidc.Report {
		return oidc.Report{Issuer: issuerURL, Keys: set, JWKS: oidc.Object{Path: oidc.JWKSPath}}
	}
}

// Who did not write the documents knows from the state when they changed, and
// allows for caches all the same.
func TestOutsideIsComparedByWhoDidNotWrite(t *testing.T) {
	for name, configure := range map[string]func(*publisher.Config){
		"a follower":                func(c *publisher.Config) { c.Leads = func() bool { return false } },
		"a leader that has started": func(*publisher.Config) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				writer := newBench(t, nil)
				writer.source.set(shows(t, "A", 1))
				writer.Round(t.Context())
				time.Sleep(time.Hour)
				writer.source.set(shows(t, "A", 1, 2))
				writer.Round(t.Context())
				other := newBench(t, func(c *publisher.Config) {
					c.Stores[0].Store = writer.store
					c.MaxAge = oidc.DefaultMaxAge
					c.Outside = sees(keytest.Set(t, 1))
					configure(c)
				})
				other.source.set(shows(t, "A", 1, 2))
				check := func(want oidc.Status) {
					t.Helper()
					checks := other.Round(t.Context()).Outside.Checks
					if got := checks[len(checks)-1]; got.Status != want || got.Detail != "published but not public: "+keytest.Key(t, 2).ID {
						t.Errorf("%s; want %v", got, want)
					}
				}
				time.Sleep(oidc.DefaultMaxAge / 2)
				check(oidc.Warn)
				time.Sleep(oidc.DefaultMaxAge/2 + time.Second)
				check(oidc.Fail)
			})
		})
	}
}

// What a follower sees from outside is no Event: one of all replicas tells.
func TestAFollowersOutsideViewIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writer := newBench(t, nil)
		writer.source.set(shows(t, "A", 1))
		writer.Round(t.Context())
		registry := prometheus.NewRegistry()
		var events []string
		follower := newBench(t, func(c *publisher.Config) {
			c.Stores[0].Store = writer.store
			c.Leads = func() bool { return false }
			c.Metrics = publisher.NewMetrics(registry)
			c.MaxAge = time.Hour
			c.Outside = sees(keytest.Set(t, 1))
			c.Event = func(reason, _ string, _ bool) { events = append(events, reason) }
		})
		follower.runs(t)
		time.Sleep(2 * time.Hour)
		writer.source.set(shows(t, "A", 1, 2))
		writer.Round(t.Context()) // a CDN shows the old set for up to an hour
		outside := func() float64 {
			synctest.Wait()
			return gaugeOf(t, registry, "issuer_sync_outside_view_ok", "issuer", issuerURL)
		}
		time.Sleep(50 * time.Minute)
		if ok := outside(); ok != 1 {
			t.Errorf("within max-age: outside_view_ok %v", ok)
		}
		time.Sleep(11 * time.Minute)
		if ok := outside(); ok != 0 || len(events) > 0 {
			t.Errorf("after max-age: outside_view_ok %v, events %v", ok, events)
		}
	})
}
