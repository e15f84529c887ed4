package cloud

import (
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Issuer is a cluster's: it publishes test keys over HTTPS. It is safe for
// concurrent use.
type Issuer struct {
	*httptest.Server
	// ID is what its tokens and documents call it: the server's URL.
	ID oidc.Issuer

	documents *oidc.Handler
}

// NewIssuer serves an issuer, which publishes the first test key, until the
// test ends. Requests go through the wrappers to the documents, the last of the
// wrappers first.
func NewIssuer(t testing.TB, wrappers ...func(http.Handler) http.Handler) *Issuer {
	t.Helper()
	i := &Issuer{Server: httptest.NewUnstartedServer(nil)}
	t.Cleanup(i.Close)
	var err error
	if i.ID, err = oidc.ParseIssuer("https://" + i.Listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if i.documents, err = oidc.NewHandler(i.ID); err != nil {
		t.Fatal(err)
	}
	i.Publish(t, 1)
	i.Config.Handler = i.documents
	for _, wrap := range wrappers {
		i.Config.Handler = wrap(i.Config.Handler)
	}
	// Clients that do not trust the issuer are a test's, too.
	i.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	i.StartTLS()
	return i
}

// Publish publishes the test keys with these numbers, and no others.
func (i *Issuer) Publish(t testing.TB, numbers ...int) {
	t.Helper()
	documents, err := oidc.Render(i.ID, keytest.Set(t, numbers...))
	if err != nil {
		t.Fatal(err)
	}
	i.documents.Set(documents)
}

// Roots is what a client must trust to read the documents.
func (i *Issuer) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(i.Certificate())
	return pool
}
