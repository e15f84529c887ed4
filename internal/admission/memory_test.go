package admission_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/admission"
	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// large is the size of a review that nearly fills what there is.
const large = 6_500_000

// gate lets nobody pass before it is opened, and knows who has come.
type gate struct {
	arrived atomic.Int32
	open    chan struct{}
}

// gatedBody is a body of which nothing can be read before.
type gatedBody struct {
	*strings.Reader
	*gate
	once sync.Once
}

func (b *gatedBody) Read(p []byte) (int, error) {
	b.once.Do(func() { b.arrived.Add(1); <-b.open })
	return b.Reader.Read(p)
}

// gatedWriter is a client that reads nothing before.
type gatedWriter struct {
	*httptest.ResponseRecorder
	*gate
}

func (w gatedWriter) Write(p []byte) (int, error) {
	w.arrived.Add(1)
	<-w.open
	return w.ResponseRecorder.Write(p)
}

// crowd are requests at the same time.
type crowd struct {
	group sync.WaitGroup
	codes [60]int
}

func (c *crowd) come(serve func() int) {
	for i := range c.codes {
		c.group.Go(func() { c.codes[i] = serve() })
	}
}

// answered counts the status codes, once all have one.
func (c *crowd) answered() map[int]int {
	c.group.Wait()
	counts := map[int]int{}
	for _, code := range c.codes {
		counts[code]++
	}
	return counts
}

// request is a POST with a known length.
func request(t testing.TB, body io.Reader, length int) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, admission.Path, body)
	r.ContentLength = int64(length)
	r.Header.Set("Content-Type", "application/json")
	return r
}

// TestCrowds: of many reviews that need much memory, those that do not fit in it
// wait; for 3 seconds at most. Ordinary ones are answered meanwhile.
func TestCrowds(t *testing.T) {
	bodies := func(t *testing.T, w *webhook, g *gate) func() int {
		body := review(t, pod("app", ""), nil)
		return func() int {
			return w.send(request(t, &gatedBody{Reader: strings.NewReader(body), gate: g}, large)).Code
		}
	}
	patches := func(t *testing.T, w *webhook, g *gate) func() int {
		containers := strings.Repeat(`{"name":"c"},`, 990)
		body := review(t, strings.Replace(pod("app", ""), `"containers":[`, `"containers":[`+containers, 1), nil)
		return func() int {
			answer := gatedWriter{httptest.NewRecorder(), g}
			w.ServeHTTP(answer, request(t, strings.NewReader(body), len(body)))
			return answer.Code
		}
	}
	for _, test := range []struct {
		name  string
		serve func(*testing.T, *webhook, *gate) func() int
		late  bool
		want  map[int]int
	}{
		{"large bodies", bodies, false, map[int]int{200: 60}},
		{"large bodies that do not come", bodies, true, map[int]int{200: 1, 503: 59}},
		{"long patches", patches, false, map[int]int{200: 60}},
		{"long patches that are not read", patches, true, map[int]int{200: 1, 503: 59}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, g := newWebhook(t), gate{open: make(chan struct{})}
				var c crowd
				c.come(test.serve(t, w, &g))
				synctest.Wait()
				if n := g.arrived.Load(); n != 1 {
					t.Errorf("%d are under way at once, want 1", n)
				}
				if answer := w.post(t, review(t, pod("app", ""), nil)); answer.Code != http.StatusOK {
					t.Errorf("an ordinary review is answered with status %d: %s", answer.Code, answer.Body)
				}
				if test.late {
					time.Sleep(3 * time.Second)
					synctest.Wait()
				}
				close(g.open)
				if diff := cmp.Diff(test.want, c.answered()); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(float64(test.want[503]), w.counts(t)["error busy"]); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// TestUnknownLength: it may be anything. A client that waits for a second only
// is told after it.
func TestUnknownLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWebhook(t), gate{open: make(chan struct{})}
		body := review(t, pod("app", ""), nil)
		var c crowd
		c.come(func() int {
			return w.send(request(t, &gatedBody{Reader: strings.NewReader(body), gate: &g}, -1)).Code
		})
		synctest.Wait()
		if n := g.arrived.Load(); n != 1 {
			t.Errorf("%d are under way at once, want 1", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		impatient := w.send(request(t, strings.NewReader(body), -1).WithContext(ctx))
		if got := impatient.Body.String(); impatient.Code != http.StatusServiceUnavailable || got != "too many reviews are under way; try again\n" {
			t.Errorf("after a second: status %d, %q", impatient.Code, got)
		}
		close(g.open)
		if diff := cmp.Diff(map[int]int{200: 60}, c.answered()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestHeap measures what the process needs for 60 large bodies at once. Each is
// found to be no JSON at the end, which is quick.
func TestHeap(t *testing.T) {
	w := newWebhook(t)
	body := "]" + strings.Repeat("x", large)
	runtime.GC()
	before, peak := heap(), atomic.Uint64{}
	var c crowd
	c.come(func() int {
		return w.send(request(t, &sampledBody{strings.NewReader(body), &peak}, len(body))).Code
	})
	for code, n := range c.answered() {
		if code != http.StatusBadRequest && code != http.StatusServiceUnavailable {
			t.Errorf("status %d, %d times", code, n)
		}
	}
	if grown := int64(peak.Load()) - int64(before); grown > 64*mebibyte {
		t.Errorf("the heap has grown by %d MiB", grown/mebibyte)
	}
}

// sampledBody looks at the heap each time it is read.
type sampledBody struct {
	*strings.Reader
	peak *atomic.Uint64
}

func (b *sampledBody) Read(p []byte) (int, error) {
	for now := heap(); ; {
		if old := b.peak.Load(); now <= old || b.peak.CompareAndSwap(old, now) {
			break
		}
	}
	runtime.Gosched()
	return b.Reader.Read(p[:min(len(p), 1<<20)])
}

// heap is what the heap has, garbage included.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// TestBodyIsHeldOnce: no copies are made.
func TestBodyIsHeldOnce(t *testing.T) {
	w := newWebhook(t)
	body := review(t, pod("app", annotated("other", strings.Repeat("x", 3*mebibyte))), nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	answer := w.send(request(t, strings.NewReader(body), len(body)))
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; answer.Code != http.StatusOK || n > 4*mebibyte {
		t.Errorf("status %d, allocated %d bytes for a body of %d", answer.Code, n, len(body))
	}
}

// panicking throws a part of the pod.
type panicking struct{}

func (panicking) Identity(_ context.Context, _, name string) (mutate.Identity, error) {
	panic("CANARY " + name)
}

// TestPanic: it is counted and told of, and the memory is free again.
func TestPanic(t *testing.T) {
	w := newWebhook(t, func(c *admission.Config) { c.Identities = panicking{} })
	body := review(t, pod("app", ""), map[string]any{"oldObject": strings.Repeat("x", 6*mebibyte)})
	for range 3 {
		answer := w.send(request(t, strings.NewReader(body), len(body)))
		if got, want := answer.Body.String(), "internal error; the webhook's log says where\n"; answer.Code != http.StatusInternalServerError || got != want {
			t.Errorf("status %d, %q; want 500, %q", answer.Code, got, want)
		}
	}
	if diff := cmp.Diff(map[string]float64{"error panic": 3}, w.counts(t)); diff != "" {
		t.Error(diff)
	}
	log := w.log.String()
	if !strings.Contains(log, "level=ERROR msg=panicked type=string stack=") || !strings.Contains(log, "memory_test.go") || strings.Contains(log, "CANARY") {
		t.Errorf("want the type and the stack without the value, got %s", log)
	}
}

// TestMetricIsBounded: a cluster that makes namespaces and removes them has any
// number of them in time.
func TestMetricIsBounded(t *testing.T) {
	all := accounts{}
	for i := range 1010 {
		all[fmt.Sprintf("n%d/app", i)] = nil
	}
	w := newWebhook(t, func(c *admission.Config) { c.Identities, c.Log = all, slog.New(slog.DiscardHandler) })
	for range 2 {
		for i := range 1010 {
			w.post(t, review(t, pod("app", ""), map[string]any{"namespace": fmt.Sprint("n", i)}))
		}
	}
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if n := len(family.GetMetric()); family.GetName() == "azwi_mutation_request" && n != 1001 {
			t.Errorf("%d series, want one for each of 1000 namespaces and one for all others", n)
		}
	}
}
