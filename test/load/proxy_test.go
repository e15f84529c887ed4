package load_test

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/metadata"
	"github.com/issuer-sync/issuer-sync/internal/redirect/netnstest"
	"github.com/issuer-sync/issuer-sync/test/load"
	"github.com/issuer-sync/issuer-sync/test/program"
)

const tokenPath = metadata.TokenPath + "?api-version=2018-02-01&resource=https://vault.azure.net"

// BenchmarkProxy measures the proxy binary, with the environment that the webhook
// gives it, logging to a file. Entra is its stand-in.
func BenchmarkProxy(b *testing.B) {
	c := newCloud(b)
	b.Run("cached", c.benchmarkCached)
	b.Run("first", c.benchmarkFirst)
	b.Run("refused", c.benchmarkRefused)
	b.Run("init", benchmarkInit)
}

// benchmarkCached measures what a cached access token costs, beside a bare
// net/http server that gives the same answer, both with 64 keep-alive
// connections, and what is resident once there is one token, after 100,000
// requests, and what ever was.
func (c cloud) benchmarkCached(b *testing.B) {
	const connections = 64
	c.Disturb(nil)
	ours := c.proxy(b)
	ours.awaitReady(b)
	answer := ours.get(b, "")
	if answer.status != http.StatusOK {
		b.Fatalf("%+v; want an access token", answer)
	}
	idle, _ := ours.resident(b)
	for answers := 0; answers < 100_000; {
		result, err := load.Load(b.Context(), ours.target, connections, time.Second)
		if err != nil {
			b.Fatal(err)
		}
		answers += result.Answers
	}
	loaded, peak := ours.resident(b)

	dir := b.TempDir()
	write(b, dir, "answer", answer.body)
	bare := contestant{start(b, dir, program.Build(b, "test/load/bareproxy"), "answer"), ours.target}
	bare.target.Address = bare.logged(b, `address=(\S+)`)
	compare(b, ours, bare, connections)
	b.ReportMetric(idle/1e6, "RSS-MB")
	b.ReportMetric(loaded/1e6, "loaded-RSS-MB")
	b.ReportMetric(peak/1e6, "peak-MB")
	reportSize(b, program.Build(b, "cmd/proxy"))
}

// benchmarkFirst measures how soon after exec the proxy is ready, and how long
// its first access token then takes with an Entra that takes 50 ms. It reports
// the medians of at least 11 starts.
func (c cloud) benchmarkFirst(b *testing.B) {
	c.Disturb(func(int) entra.Fault { return entra.Fault{Delay: 50 * time.Millisecond} })
	var ready, first []time.Duration
	for b.Loop() {
		for range 11 {
			p := c.proxy(b)
			ready = append(ready, p.awaitReady(b))
			answer := p.get(b, "")
			if answer.status != http.StatusOK {
				b.Fatalf("%+v; want an access token", answer)
			}
			first = append(first, answer.took)
			p.stop()
		}
	}
	reportMedian(b, ready, "ready-ms")
	reportMedian(b, first, "first-token-ms")
}

// benchmarkRefused measures how long a caller waits for the answer that there is
// no access token, as Entra refuses connections. It reports the longest of at least 5.
func (c cloud) benchmarkRefused(b *testing.B) {
	p := c.proxy(b, "AZURE_AUTHORITY_HOST=https://"+free(b))
	p.awaitReady(b)
	var took []time.Duration
	for b.Loop() {
		for range 5 {
			// Failures are remembered by resource.
			answer := p.get(b, fmt.Sprint(len(took)))
			if answer.status != http.StatusServiceUnavailable || answer.header.Get("Retry-After") == "" {
				b.Fatalf("%+v; want 503 with Retry-After", answer)
			}
			took = append(took, answer.took)
		}
	}
	b.ReportMetric(slices.Max(took).Seconds(), "longest-s")
	b.ReportMetric(0, "ns/op") // means nothing here
}

// benchmarkInit measures the making of the redirect in a new network. It reports
// the median of at least 11.
func benchmarkInit(b *testing.B) {
	proxy := program.Build(b, "cmd/proxy")
	var took []time.Duration
	for b.Loop() {
		for range 11 {
			netnstest.Enter(b)
			netnstest.IP(b, "address add 169.254.169.254 dev lo")
			began := time.Now()
			if out, err := exec.CommandContext(b.Context(), proxy, "init").CombinedOutput(); err != nil {
				b.Fatalf("proxy init: %v\n%s", err, out)
			}
			took = append(took, time.Since(began))
		}
	}
	reportMedian(b, took, "init-ms")
}

// awaitReady waits until the proxy says that it is ready, and returns how long
// after its start that was.
func (c contestant) awaitReady(b *testing.B) time.Duration {
	b.Helper()
	c.target.Path = metadata.ReadyPath
	return c.awaitServing(b)
}

// answered is what a program got, and how long it waited for it.
type answered struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

// get asks the proxy over a new connection. More is put at the end of the
// resource.
func (c contestant) get(b *testing.B, more string) answered {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+c.target.Address+c.target.Path+more, http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Metadata", "true")
	began := time.Now()
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	return answered{response.StatusCode, response.Header, body, time.Since(began)}
}

func reportMedian(b *testing.B, all []time.Duration, unit string) {
	b.Helper()
	slices.Sort(all)
	b.ReportMetric(all[len(all)/2].Seconds()*1e3, unit)
	b.ReportMetric(0, "ns/op") // means nothing here
}
