package load_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/load"
	"github.com/issuer-sync/issuer-sync/test/load/yardstick"
	"github.com/issuer-sync/issuer-sync/test/program"
)

const (
	reviewPath = "/mutate-v1-pod"
	clientID   = "11111111-2222-3333-4444-555555555555"
)

// BenchmarkReview measures the webhook binary, as it is installed but with a
// certificate in files, beside a bare net/http webhook that answers every review
// with the same patch. Both write their logs to files.
func BenchmarkReview(b *testing.B) {
	c := newCluster(b)
	c.annotated(b, 1)
	// API servers speak HTTP/1.1 with webhooks behind a Service (Kubernetes
	// apiserver, pkg/util/webhook/client.go), and would speak HTTP/2 with these.
	b.Setenv("GODEBUG", "http2server=0")
	dir := b.TempDir()
	trust, certificate := writeCertificate(b, dir, serviceName)
	ours := contestant{process: c.start(b, "--disable-cert-rotation", "--webhook-cert-dir="+dir)}
	ours.target = load.Target{Address: ours.address(b), Path: reviewPath, TLS: trust, Body: benchReview(b)}
	ours.await(b, func() error { return ours.ready(b) })
	ours.awaitServing(b)

	write(b, dir, "patch.json", ask(b, ours.target))
	bare := contestant{process: start(b, dir, program.Build(b, "test/load/barewebhook"), "patch.json", "tls.crt", "tls.key"), target: ours.target}
	bare.target.Address = bare.logged(b, `address=(\S+)`)
	bare.awaitServing(b)
	c.register(b, "bare", bare.target.Address, certificate)
	c.register(b, "ours", ours.target.Address, certificate)

	b.Run("TLS", func(b *testing.B) {
		compare(b, ours, bare, 32)
		now, peak := ours.resident(b)
		b.ReportMetric(now/1e6, "RSS-MB")
		b.ReportMetric(peak/1e6, "peak-MB")
		reportSize(b, program.Build(b, "cmd/webhook"))
	})
	for _, clients := range []int{1, 8} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) { c.comparePods(b, clients) })
	}
}

// benchPod returns pkg/mutate's pod of 6 KB with three containers.
func benchPod(b *testing.B) []byte {
	b.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "pkg", "mutate", "testdata", "bench-pod.json"))
	if err != nil {
		b.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		b.Fatal(err)
	}
	return compact.Bytes()
}

func benchReview(b *testing.B) []byte {
	b.Helper()
	body, err := yardstick.Review(benchPod(b), namespace)
	if err != nil {
		b.Fatal(err)
	}
	return body
}

// ask returns the patch that a webhook answers with.
func ask(b *testing.B, target load.Target) []byte {
	b.Helper()
	transport := &http.Transport{TLSClientConfig: target.TLS}
	defer transport.CloseIdleConnections()
	patch, _, err := tryReview(b, transport, target)
	if err != nil {
		b.Fatal(err)
	}
	return patch
}

// tryReview returns the patch that a webhook answers with, and its certificate.
func tryReview(b *testing.B, transport http.RoundTripper, target load.Target) ([]byte, *tls.ConnectionState, error) {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "https://"+target.Address+target.Path, bytes.NewReader(target.Body))
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, nil, errors.New(answer.Status)
	}
	patch, err := yardstick.Patch(body)
	return patch, answer.TLS, err
}
