package admission_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/issuer-sync/issuer-sync/internal/admission"
	"github.com/issuer-sync/issuer-sync/pkg/mutate"
	"github.com/issuer-sync/issuer-sync/test/load/yardstick"
)

// benchReview is the review of pkg/mutate's pod of 6 KB with three containers.
func benchReview(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "pkg", "mutate", "testdata", "bench-pod.json"))
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		t.Fatal(err)
	}
	body, err := yardstick.Review(compact.Bytes(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// benchHandler logs as the webhook does by default.
func benchHandler(t testing.TB) http.Handler {
	t.Helper()
	m, err := mutate.New(mutate.Options{TenantID: tenantID})
	if err != nil {
		t.Fatal(err)
	}
	return admission.NewHandler(admission.Config{
		Mutator:    m,
		Identities: accounts{"shop/app": {mutate.AnnotationClientID: clientID}},
		Metrics:    admission.NewMetrics(prometheus.NewRegistry()),
		Log:        slog.New(slog.NewTextHandler(struct{ io.Writer }{io.Discard}, nil)),
	})
}

// answeredPatch is the patch that the webhook makes for benchReview.
func answeredPatch(t testing.TB) []byte {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, admission.Path, strings.NewReader(benchReview(t)))
	r.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	benchHandler(t).ServeHTTP(recorder, r)
	patch, err := yardstick.Patch(recorder.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return patch
}

// handlers are the webhook's and the yardstick.
func handlers(t testing.TB) map[string]http.Handler {
	t.Helper()
	return map[string]http.Handler{"ours": benchHandler(t), "bare": yardstick.Webhook(answeredPatch(t))}
}

// BenchmarkHandler is the handlers alone.
func BenchmarkHandler(b *testing.B) {
	body := benchReview(b)
	for name, handler := range handlers(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, admission.Path, strings.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				recorder := httptest.NewRecorder()
				handler.ServeHTTP(recorder, r)
				if recorder.Code != http.StatusOK {
					b.Fatal(recorder.Code, recorder.Body)
				}
			}
		})
	}
}

// BenchmarkTLS is the handlers behind TLS 1.3, asked over 32 connections.
func BenchmarkTLS(b *testing.B) {
	body := benchReview(b)
	for name, handler := range handlers(b) {
		b.Run(name, func(b *testing.B) {
			server := httptest.NewUnstartedServer(handler)
			server.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
			server.StartTLS()
			defer server.Close()
			client := server.Client()
			client.Transport.(*http.Transport).MaxIdleConnsPerHost = 32
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					ask(b, client, server.URL+admission.Path, body)
				}
			})
		})
	}
}

func ask(b *testing.B, client *http.Client, url, body string) {
	request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		b.Error(err)
		return
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		b.Error(err)
		return
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		b.Error(response.Status, err)
	}
}
