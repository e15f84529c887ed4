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
func TestReadiness(t *testing.T) {
	d, err := newDaemon(config{Issuers: []issuerConfig{{URL: "https://x.test/a"}, {URL: "https://x.test/b"}}}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	admin := d.admin()
	for _, step := range []struct {
		loaded string
		code   int
		named  []string
	}{
		{"", http.StatusServiceUnavailable, []string{"https://x.test/a", "https://x.test/b"}},
		{"https://x.test/a", http.StatusServiceUnavailable, []string{"https://x.test/b"}},
		{"https://x.test/b", http.StatusOK, nil},
	} {
		if step.loaded != "" {
			d.handler.Set(documentsOf(t, step.loaded))
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
