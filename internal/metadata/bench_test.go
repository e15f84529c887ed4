package metadata_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
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
// that has the access token. test/load measures the whole program.
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
