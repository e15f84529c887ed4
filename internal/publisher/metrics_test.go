package publisher_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func documentation(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// What the documentation and the example rules name is what there is.
func TestMetricsAreAsDocumented(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics := publisher.NewMetrics(registry)
	b := newBench(t, func(c *publisher.Config) {
		c.Metrics = metrics
		c.Outside = passes
	})
	b.source.set(shows(t, "A", 1))
	b.Round(t.Context())
	b.source.set(shows(t, "A", 1, 2)) // it waits, so that something changes next
	b.Round(t.Context())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var exposed, kinds []string
	for _, family := range families {
		exposed = append(exposed, family.GetName())
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "kind" {
					kinds = append(kinds, label.GetValue())
				}
			}
		}
	}
	page := documentation(t, "docs/metrics.md")
	table, alarms, _ := strings.Cut(page, "## Alarms")
	if diff := cmp.Diff(exposed, rows(table, "issuer_sync_")); diff != "" {
		t.Errorf("metrics (-exposed +documented):\n%s", diff)
	}
	slices.Sort(kinds)
	kinds = slices.Compact(kinds)
	if diff := cmp.Diff(kinds, rows(alarms, "")); diff != "" {
		t.Errorf("kinds of alarms (-exposed +documented):\n%s", diff)
	}
	for _, name := range regexp.MustCompile(`issuer_sync_\w+`).FindAllString(documentation(t, "deploy/chart/files/rules.yaml"), -1) {
		if !slices.Contains(exposed, name) {
			t.Errorf("the rules use %s, which does not exist", name)
		}
	}
	for _, match := range regexp.MustCompile(`kind(?:=|!~)"([^"]+)"`).FindAllStringSubmatch(documentation(t, "deploy/chart/files/rules.yaml"), -1) {
		for kind := range strings.SplitSeq(match[1], "|") {
			if !slices.Contains(kinds, kind) {
				t.Errorf("the rules name the alarm %s, which does not exist", kind)
			}
		}
	}
}

// rows returns the first cells of a page's tables, sorted.
func rows(page, prefix string) (found []string) {
	for _, match := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(page, -1) {
		found = append(found, prefix+match[1])
	}
	slices.Sort(found)
	return found
}

// The age of what an origin last said must not grow once the origin is gone.
func TestOriginsThatAreGoneHaveNoAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		b := newBench(t, func(c *publisher.Config) { c.Metrics = publisher.NewMetrics(registry) })
		for _, step := range []struct {
			name    string
			answers []keys.Observation
			want    int
		}{
			{"two servers", []keys.Observation{shows(t, "A", 1), shows(t, "B", 1)}, 2},
			{"one fails", []keys.Observation{shows(t, "A", 1), fails("B", os.ErrDeadlineExceeded)}, 2},
			{"it is gone", []keys.Observation{shows(t, "A", 1)}, 1},
		} {
			b.source.set(step.answers...)
			b.Round(t.Context())
			time.Sleep(time.Second) // what failed is asked again after a while
			if n, err := testutil.GatherAndCount(registry, "issuer_sync_source_last_success_timestamp_seconds"); err != nil || n != step.want {
				t.Errorf("%s: %d series, %v; want %d", step.name, n, err, step.want)
			}
		}
	})
}

// Nor in a replica that led and now follows, and asks nobody.
func TestAFollowerHasNoAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		var leads atomic.Bool
		b := newBench(t, func(c *publisher.Config) { c.Metrics, c.Leads = publisher.NewMetrics(registry), leads.Load })
		b.source.set(shows(t, "A", 1))
		leads.Store(true)
		b.runs(t)
		for _, want := range []int{1, 0} {
			synctest.Wait()
			if n, err := testutil.GatherAndCount(registry, "issuer_sync_source_last_success_timestamp_seconds"); err != nil || n != want {
				t.Errorf("%d series, %v; want %d", n, err, want)
			}
			leads.Store(false)
			b.Notify()
			time.Sleep(time.Second)
		}
	})
}

func passes(context.Context) oidc.Report { return oidc.Report{Issuer: issuerURL} }
