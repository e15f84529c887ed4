package main

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

const (
	tenant   = "11111111-1111-1111-1111-111111111111"
	client   = "22222222-2222-2222-2222-222222222222"
	other    = "33333333-3333-3333-3333-333333333333"
	subject  = "system:serviceaccount:default:demo"
	audience = "api://AzureADTokenExchange"
)

// cloud is an issuer whose tokens the Entra stand-in takes, and what a pod has
// of them: a token file, and the stand-in's CA in one.
type cloud struct {
	entra             *entra.Server
	token             string
	tokenFile, caFile string
}

func newCloud(t *testing.T) cloud {
	t.Helper()
	issuer, roots := newIssuer(t)
	standIn := newStandIn(t, entra.Config{
		Roots: roots, Key: keytest.RSA(t, 9), Log: slog.New(slog.DiscardHandler),
		Apps: []entra.App{{Tenant: tenant, Client: client, Credentials: []entra.Credential{{Issuer: issuer, Subject: subject, Audience: audience}}}},
	})
	c := cloud{
		entra: standIn, token: mint(t, issuer),
		tokenFile: filepath.Join(t.TempDir(), "azure-identity-token"), caFile: filepath.Join(t.TempDir(), "ca.crt"),
	}
	for file, content := range map[string]string{c.tokenFile: c.token, c.caFile: string(standIn.CA())} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// environment is what the webhook gives the proxy, and the CA to trust.
func (c cloud) environment(more ...string) []string {
	return append([]string{
		"AZURE_TENANT_ID=" + tenant, "AZURE_CLIENT_ID=" + client,
		"AZURE_FEDERATED_TOKEN_FILE=" + c.tokenFile, "AZURE_AUTHORITY_HOST=" + c.entra.URL() + "/",
		"SSL_CERT_FILE=" + c.caFile, "SSL_CERT_DIR=/nonexistent",
	}, more...)
}

// newIssuer publishes the first test key.
func newIssuer(t *testing.T) (string, *x509.CertPool) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	t.Cleanup(server.Close)
	issuer, err := oidc.ParseIssuer(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := oidc.NewHandler(issuer)
	if err != nil {
		t.Fatal(err)
	}
	documents, err := oidc.Render(issuer, keytest.Set(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	handler.Set(documents)
	server.Config.Handler = handler
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return issuer.String(), roots
}

// newStandIn serves a stand-in until the test ends.
func newStandIn(t *testing.T, config entra.Config) *entra.Server {
	t.Helper()
	server, err := entra.Listen(t.Context(), entra.ListenConfig{Address: "127.0.0.1:0"}, config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return server
}

// mint signs what kube-apiserver signs.
func mint(t *testing.T, issuer string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: keytest.RSA(t, 1), KeyID: keytest.Key(t, 1).ID},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: issuer, Subject: subject, Audience: jwt.Audience{audience},
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Hour)),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}
