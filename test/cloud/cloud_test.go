package cloud_test

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
	"github.com/issuer-sync/issuer-sync/test/cloud"
)

const (
	tenant = "11111111-1111-1111-1111-111111111111"
	client = "22222222-2222-2222-2222-222222222222"
)

func TestEntraTakesTheTokensOfPublishedKeys(t *testing.T) {
	var fetched atomic.Int64
	issuer := cloud.NewIssuer(t, func(documents http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fetched.Add(1)
			documents.ServeHTTP(w, r)
		})
	})
	credential := entra.Credential{Issuer: issuer.URL, Subject: "system:serviceaccount:default:demo", Audience: "api://AzureADTokenExchange"}
	standIn := cloud.Entra(t, entra.Config{
		Apps: []entra.App{{Tenant: tenant, Client: client, Credentials: []entra.Credential{credential}}}, Roots: issuer.Roots(),
	})
	granted := func(n int) error {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(cloud.Token(t, n, cloud.Claims(credential))), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := exchange.New(exchange.Config{
			Authority: standIn.URL(), Endpoint: exchange.Endpoint{URL: standIn.URL(), CAData: string(standIn.CA())},
			Assertions: exchange.TokenFile(file), Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.AccessToken(t.Context(), exchange.Request{Tenant: tenant, Client: client, Scope: "https://vault.azure.net/.default"})
		return err
	}
	if err := granted(1); err != nil {
		t.Errorf("the first key: %v", err)
	}
	if n := fetched.Load(); n != 2 {
		t.Errorf("%d documents fetched; want 2", n)
	}
	if err := granted(2); err == nil {
		t.Error("a key that nobody published: got an access token")
	}
	issuer.Publish(t, 2)
	if err := granted(2); err != nil {
		t.Errorf("a key published later: %v", err)
	}
}

// recorder is a test that remembers an error instead of failing.
type recorder struct {
	testing.TB
	failed atomic.Bool
}

func (r *recorder) Error(...any) { r.failed.Store(true) }

func TestRunEndsWithTheTest(t *testing.T) {
	var recorded recorder
	var ended atomic.Bool
	t.Run("test", func(t *testing.T) {
		recorded.TB = t
		contexts := make(chan context.Context, 1)
		cloud.Run(&recorded, func(ctx context.Context) error {
			contexts <- ctx
			<-ctx.Done()
			ended.Store(true)
			return ctx.Err()
		})
		t.Cleanup(func() { // comes before those registered above
			if err := (<-contexts).Err(); err != nil {
				t.Errorf("before the cleanups, which may need what runs, its context ended: %v", err)
			}
		})
	})
	if !ended.Load() {
		t.Error("what runs has outlived the test")
	}
	if !recorded.failed.Load() {
		t.Error("its error did not fail the test")
	}
}
