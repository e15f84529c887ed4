package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Who asks why a replica is not ready hears which issuers have no documents.
// Where nothing is served, issuers may have one path on several hosts.
func TestReadiness(t *testing.T) {
	d, err := newDaemon(config{Issuers: []issuerConfig{{URL: "https://x.test"}, {URL: "https://y.test"}}}, noEnvironment, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	admin := d.admin()
	for _, step := range []struct {
		loaded string
		code   int
		named  []string
	}{
		{"", http.StatusServiceUnavailable, []string{"https://x.test", "https://y.test"}},
		{"https://x.test", http.StatusServiceUnavailable, []string{"https://y.test"}},
		{"https://y.test", http.StatusOK, nil},
	} {
		if step.loaded != "" {
			d.serve(documentsOf(t, step.loaded))
		}
		answer := httptest.NewRecorder()
		admin.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", http.NoBody))
		if got := strings.Count(answer.Body.String(), "https://"); answer.Code != step.code || got != len(step.named) {
			t.Errorf("with %q: %d %s; want %d and %q", step.loaded, answer.Code, answer.Body, step.code, step.named)
		}
		for _, issuer := range step.named {
			if !strings.Contains(answer.Body.String(), issuer) {
				t.Errorf("with %q: %s; want %s named", step.loaded, answer.Body, issuer)
			}
		}
	}
}

func documentsOf(t *testing.T, url string) oidc.Documents {
	t.Helper()
	issuer, err := oidc.ParseIssuer(url)
	if err != nil {
		t.Fatal(err)
	}
	documents, err := oidc.Render(issuer, keytest.Set(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	return documents
}

func noEnvironment(string) (string, bool) { return "", false }
