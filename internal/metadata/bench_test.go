package metadata_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/metadata"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

// ofEntrasSize is an access token as long as Entra makes them.
func ofEntrasSize() exchange.AccessToken {
	token := issue(time.Now())
	token.Value = exchange.NewSecret(strings.Repeat("eyJhbGciOiJSUzI1", 100))
	return token
}

// nowhere takes answers and lines without keeping them.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// BenchmarkHandler measures the handler alone, with its log line, over a source
// that has the access token.
func BenchmarkHandler(b *testing.B) {
	handler := newHandler(b, sourceOf(ofEntrasSize()), func(c *metadata.Config) {
		c.Log = slog.New(slog.NewTextHandler(nowhere{}, nil))
	})
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, asked, http.NoBody)
	r.Host = "169.254.169.254"
	r.Header.Set("Metadata", "true")
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(nowhere{make(http.Header)}, r)
	}
}

// BenchmarkServe measures 64 connections beside a bare net/http handler that
// gives an answer of the same size, in turns, and reports the ratios. The
// endpoint logs each request to a file.
func BenchmarkServe(b *testing.B) {
	file, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { file.Close() }) //nolint:errcheck // nobody reads it
	ours := listen(b, newHandler(b, sourceOf(ofEntrasSize()), func(c *metadata.Config) {
		c.Log = slog.New(slog.NewTextHandler(file, nil))
	}), quiet())
	body := []byte(serve(b, newHandler(b, sourceOf(ofEntrasSize())), asked).body)
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Write(body) //nolint:errcheck // the client tells
	}))
	b.Cleanup(bare.Close)
	var rate, p99, bareRate, bareP99 []float64
	for b.Loop() {
		r, p := load(b, bare.Listener.Addr().String())
		bareRate, bareP99 = append(bareRate, r), append(bareP99, p)
		r, p = load(b, ours)
		rate, p99 = append(rate, r), append(p99, p)
	}
	// Whatever else the machine does can only make a turn worse.
	b.ReportMetric(slices.Max(rate)/slices.Max(bareRate), "rate/bare")
	b.ReportMetric(slices.Min(p99)/slices.Min(bareP99), "p99/bare")
	b.ReportMetric(slices.Max(rate), "req/s")
	b.ReportMetric(0, "ns/op") // means nothing here
}

// load asks over 64 connections for a while, and returns requests per second
// and the seconds that one in a hundred took longer than.
func load(b *testing.B, address string) (rate, p99 float64) {
	b.Helper()
	const connections, duration = 64, 300 * time.Millisecond
	latencies := make([][]float64, connections)
	var all sync.WaitGroup
	begin := time.Now()
	for i := range connections {
		connection := dial(b, address)
		all.Go(func() {
			defer connection.Close()
			reader := bufio.NewReaderSize(connection, 4<<10)
			for time.Since(begin) < duration {
				asking := time.Now()
				if _, err := io.WriteString(connection, get(asked)); err != nil {
					b.Error(err)
					return
				}
				response, err := http.ReadResponse(reader, nil)
				if err != nil {
					b.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, response.Body)
				response.Body.Close() //nolint:errcheck // it has been read
				if err != nil || response.StatusCode != http.StatusOK {
					b.Error(response.Status, err)
					return
				}
				latencies[i] = append(latencies[i], time.Since(asking).Seconds())
			}
		})
	}
	all.Wait()
	merged := slices.Sorted(slices.Values(slices.Concat(latencies...)))
	return float64(len(merged)) / time.Since(begin).Seconds(), merged[len(merged)*99/100]
}
