package lease_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/kube"
	"github.com/issuer-sync/issuer-sync/internal/lease"
)

// candidate is an elector with a line to the fake that can be cut, and what it
// told the world.
type candidate struct {
	*lease.Elector
	api  *fake
	end  context.CancelFunc
	done chan struct{} // closed when Run has returned

	skew time.Duration // of its clock; set before it runs

	mu      sync.Mutex                                      // guards what follows
	fault   func(req *http.Request) (*http.Response, error) // instead of the fake
	changes []change
	lines   []string
}

type change struct {
	leads bool
	at    time.Time
}

// stand starts a candidate.
func stand(t *testing.T, api *fake, identity string) *candidate {
	t.Helper()
	c := prepare(t, api, identity)
	c.run(t)
	return c
}

// prepare makes a candidate, to be run.
func prepare(t *testing.T, api *fake, identity string) *candidate {
	t.Helper()
	c := &candidate{api: api, done: make(chan struct{})}
	c.Elector = lease.New(lease.Config{
		Client: newClient(t, c), Name: types.NamespacedName{Namespace: "team", Name: "writer"},
		Identity: identity, Log: slog.New(c), Changed: c.changed,
	})
	return c
}

// run runs the elector until the candidate's end or that of the test.
func (c *candidate) run(t *testing.T) {
	t.Helper()
	var ctx context.Context
	ctx, c.end = context.WithCancel(t.Context())
	go func() {
		defer close(c.done)
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() {
		c.end()
		<-c.done
	})
}

func newClient(t *testing.T, transport http.RoundTripper) rest.Interface {
	t.Helper()
	client, err := kube.NewClientOver(transport, &rest.Config{Host: "https://api.test"})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// RoundTrip takes some milliseconds each way, so that requests overlap.
func (c *candidate) RoundTrip(req *http.Request) (*http.Response, error) {
	c.mu.Lock()
	fault := c.fault
	c.mu.Unlock()
	time.Sleep(rand.N(5 * time.Millisecond))
	if fault != nil {
		return fault(req)
	}
	if c.skew != 0 && req.Body != nil {
		skewBody(req, c.skew)
	}
	res, err := c.api.RoundTrip(req)
	time.Sleep(rand.N(5 * time.Millisecond))
	return res, err
}

func skewBody(req *http.Request, skew time.Duration) {
	var sent coordinationv1.Lease
	if err := json.NewDecoder(req.Body).Decode(&sent); err != nil {
		panic(err)
	}
	sent.Spec.RenewTime.Time = sent.Spec.RenewTime.Add(skew)
	body, err := json.Marshal(sent)
	if err != nil {
		panic(err)
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
}

// set replaces the line to the API server; nil mends it.
func (c *candidate) set(fault func(*http.Request) (*http.Response, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = fault
}

// hang is a line that swallows everything.
func hang(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func (c *candidate) changed(leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes = append(c.changes, change{leads, time.Now()})
}

// told returns what Changed was called with so far.
func (c *candidate) told() []change {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.changes)
}

// logged returns what was logged so far.
func (c *candidate) logged() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lines)
}

// checkLog compares what was logged so far.
func (c *candidate) checkLog(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, c.logged()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// The candidate is the handler of its own log, and keeps lines as text.

func (c *candidate) Enabled(context.Context, slog.Level) bool { return true }
func (c *candidate) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c *candidate) WithGroup(string) slog.Handler            { return c }

func (c *candidate) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%s", a.Key, a.Value)
		return true
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, line)
	return nil
}

// until waits until what holds, and returns how long that took.
func until(t *testing.T, limit time.Duration, what func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !what() {
		if time.Since(start) > limit {
			t.Fatalf("not so within %v", limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}
