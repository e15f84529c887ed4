package webhook_test

import (
	"strconv"
	"strings"
	"testing"
)

// ofAPIServer returns a metric of the API server as sum does.
func (i *installation) ofAPIServer(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	page, err := i.Client().Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return sum(t, string(page), name, labels...)
}

// ofReplicas returns a metric of all replicas that run as sum does.
func (i *installation) ofReplicas(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	total := 0.0
	for _, r := range i.replicas {
		if r.ended() {
			continue
		}
		page, err := get("http://" + r.listens(t, "metrics") + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		total += sum(t, page, name, labels...)
	}
	return total
}

// sum adds up the series of a metric that have all of the labels, each written
// as in name="value".
func sum(t *testing.T, page, name string, labels ...string) float64 {
	t.Helper()
	sum := 0.0
	for line := range strings.Lines(page) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		of, has, _ := strings.Cut(series, "{")
		if of != name || !hasAll(has, labels) {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sum += number
	}
	return sum
}

func hasAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}
