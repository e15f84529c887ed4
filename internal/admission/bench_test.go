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
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/issuer-sync/issuer-sync/internal/admission"
	"github.com/issuer-sync/issuer-sync/pkg/mutate"
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
	return review(t, compact.String(), nil)
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

// bareHandler is what a webhook cannot do without, in the usual way: it decodes
// the review with its pod, and encodes a fixed patch.
func bareHandler(t testing.TB) http.Handler {
	patch, patchType := answeredPatch(t), admissionv1.PatchTypeJSONPatch
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var review admissionv1.AdmissionReview
		if err := json.Unmarshal(body, &review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var pod corev1.Pod
		if err := json.Unmarshal(review.Request.Object.Raw, &pod); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: &admissionv1.AdmissionResponse{
			UID: review.Request.UID, Allowed: true, PatchType: &patchType, Patch: patch,
		}})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	})
}

// answeredPatch is the patch that the webhook makes for benchReview.
func answeredPatch(t testing.TB) []byte {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, admission.Path, strings.NewReader(benchReview(t)))
	r.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	benchHandler(t).ServeHTTP(recorder, r)
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil || len(answer.Response.Patch) == 0 {
		t.Fatalf("%v: %s", err, recorder.Body)
	}
	return answer.Response.Patch
}

// BenchmarkHandler is the handlers alone.
func BenchmarkHandler(b *testing.B) {
	body := benchReview(b)
	for name, handler := range map[string]http.Handler{"ours": benchHandler(b), "bare": bareHandler(b)} {
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
	for name, handler := range map[string]http.Handler{"ours": benchHandler(b), "bare": bareHandler(b)} {
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
