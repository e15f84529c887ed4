package servingcert_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/kube"
	"github.com/issuer-sync/issuer-sync/internal/servingcert"
)

const (
	serviceName = "webhook.team.svc"
	lifetime    = time.Hour
	settleTime  = 5 * time.Minute
	lookTime    = 10 * time.Second
	slack       = time.Second
)

// replica is one of several processes, with a line to the fake that can be cut.
type replica struct {
	*servingcert.Certificate
	api  http.RoundTripper
	end  context.CancelFunc
	done chan struct{} // closed when Run has returned

	mu    sync.Mutex // guards what follows
	fault func(req *http.Request) (*http.Response, error)
	lines []string
}

// start runs a replica with the usual configuration, until the end of the test.
func start(t *testing.T, api http.RoundTripper, names ...string) *replica {
	t.Helper()
	if names == nil {
		names = []string{serviceName}
	}
	r := &replica{api: api, done: make(chan struct{})}
	config := servingcert.Config{Client: newClient(t, &rest.Config{Host: "https://api.test"}, r), DNSNames: names, Lifetime: lifetime}
	return r.run(t, config)
}

func (r *replica) run(t *testing.T, config servingcert.Config) *replica {
	t.Helper()
	config.Secret, config.WebhookConfiguration = types.NamespacedName{Namespace: "team", Name: "webhook-tls"}, "webhook"
	config.Log = slog.New(r)
	var err error
	if r.Certificate, err = servingcert.New(config); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.end = context.WithCancel(t.Context())
	go func() {
		defer close(r.done)
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() {
		r.end()
		<-r.done
	})
	return r
}

func newClient(t *testing.T, config *rest.Config, transport http.RoundTripper) rest.Interface {
	t.Helper()
	client, err := kube.NewClientOver(transport, config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// RoundTrip takes some milliseconds each way, so that requests overlap.
func (r *replica) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	fault := r.fault
	r.mu.Unlock()
	time.Sleep(rand.N(5 * time.Millisecond))
	if fault != nil {
		return fault(req)
	}
	res, err := r.api.RoundTrip(req)
	time.Sleep(rand.N(5 * time.Millisecond))
	return res, err
}

// set replaces the line to the API server; nil mends it.
func (r *replica) set(fault func(*http.Request) (*http.Response, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = fault
}

// hang is a line that swallows everything.
func hang(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// leaf is the certificate that is served; nil: none.
func (r *replica) leaf() *x509.Certificate {
	pair, err := r.GetCertificate(nil)
	if err != nil {
		return nil
	}
	return pair.Leaf
}

// call is what an API server with this caBundle finds.
func (r *replica) call(bundle []byte) error {
	pair, err := r.GetCertificate(nil)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: serviceName})
	return err
}

// The replica is the handler of its own log, and keeps lines as text.

func (r *replica) Enabled(context.Context, slog.Level) bool { return true }
func (r *replica) WithGroup(string) slog.Handler            { return r }
func (r *replica) WithAttrs([]slog.Attr) slog.Handler       { return r }

func (r *replica) Handle(_ context.Context, record slog.Record) error {
	line := record.Level.String() + " " + record.Message
	record.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%s", a.Key, a.Value)
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	return nil
}

// logged returns what was logged so far, and forgets it.
func (r *replica) logged() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

func (r *replica) checkLog(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, r.logged()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// until waits until what holds, and returns how long that took.
func until(t *testing.T, limit time.Duration, what func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !what() {
		if time.Since(start) > limit {
			t.Fatalf("not so within %v", limit)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(start)
}

// count is the number of certificates.
func count(bundle []byte) int { return strings.Count(string(bundle), "BEGIN CERTIFICATE") }

// apiServers call all replicas in turns. Each one has its own opinion of the
// caBundle, which is as old as its delay. They count what fails.
type apiServers struct {
	stop  chan struct{}
	ended chan struct{}

	calls    int
	failures []string
}

// callAll starts them.
func callAll(api *fake, every time.Duration, delays []time.Duration, replicas ...*replica) *apiServers {
	a := &apiServers{stop: make(chan struct{}), ended: make(chan struct{})}
	type version struct {
		since  time.Time
		bundle []byte
	}
	go func() {
		defer close(a.ended)
		history := []version{{time.Time{}, api.bundle()}}
		start := time.Now()
		for {
			select {
			case <-a.stop:
				return
			case <-time.After(every):
			}
			if bundle := api.bundle(); string(bundle) != string(history[len(history)-1].bundle) {
				history = append(history, version{time.Now(), bundle})
			}
			for _, delay := range delays {
				seen := slices.IndexFunc(history, func(v version) bool { return v.since.After(time.Now().Add(-delay)) })
				if seen < 0 {
					seen = len(history)
				}
				for i, r := range replicas {
					a.calls++
					if err := r.call(history[seen-1].bundle); err != nil {
						a.failures = append(a.failures, fmt.Sprintf("after %v, by an API server %v behind, replica %d: %v", time.Since(start), delay, i, err))
					}
				}
			}
		}
	}()
	return a
}

// check ends the calls; none must have failed.
func (a *apiServers) check(t *testing.T) {
	t.Helper()
	close(a.stop)
	<-a.ended
	if len(a.failures) > 0 {
		t.Errorf("%d of %d calls failed; the first: %s", len(a.failures), a.calls, a.failures[0])
	}
	t.Logf("%d calls", a.calls)
}

// secrets are the ways in which a private key of the Secret may be written. Its
// scalar begins at byte 36 of the DER (RFC 5208 and RFC 5915).
func secrets(data map[string][]byte) []string {
	var all []string
	for key, value := range data {
		if block, _ := pem.Decode(value); strings.HasSuffix(key, "tls.key") && block != nil {
			scalar := block.Bytes[36:68]
			all = append(all, string(value[76:92]), base64.StdEncoding.EncodeToString(value)[108:132],
				strings.Trim(fmt.Sprintf("%d", scalar), "[]"), fmt.Sprintf("%x", scalar), fmt.Sprintf("%X", scalar))
		}
	}
	return all
}
