package load_test

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
	"github.com/issuer-sync/issuer-sync/test/load"
	"github.com/issuer-sync/issuer-sync/test/program"
)

const tenantID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"

// cloud is what the proxy needs of the world: an issuer's token in a file, and
// Entra's stand-in, which takes it.
type cloud struct {
	*entra.Server
	dir string // with the token and the stand-in's CA
}

func newCloud(b *testing.B) cloud {
	b.Helper()
	issuer := httptest.NewUnstartedServer(nil)
	issuer.StartTLS()
	b.Cleanup(issuer.Close)
	issuer.Config.Handler = documents(b, issuer.URL)
	trusted := x509.NewCertPool()
	trusted.AddCert(issuer.Certificate())
	credential := entra.Credential{Issuer: issuer.URL, Subject: "system:serviceaccount:shop:app", Audience: "api://AzureADTokenExchange"}
	standIn, err := entra.Listen(b.Context(), entra.ListenConfig{Address: "127.0.0.1:0"}, entra.Config{
		Apps:  []entra.App{{Tenant: tenantID, Client: clientID, Credentials: []entra.Credential{credential}}},
		Roots: trusted, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(b.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := standIn.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() {
		stop()
		running.Wait()
	})
	c := cloud{standIn, b.TempDir()}
	write(b, c.dir, "token", []byte(assertion(b, credential)))
	write(b, c.dir, "ca.crt", standIn.CA())
	return c
}

// documents publishes the first test key.
func documents(b *testing.B, url string) *oidc.Handler {
	b.Helper()
	issuer, err := oidc.ParseIssuer(url)
	if err != nil {
		b.Fatal(err)
	}
	handler, err := oidc.NewHandler(issuer)
	if err != nil {
		b.Fatal(err)
	}
	rendered, err := oidc.Render(issuer, keytest.Set(b, 1))
	if err != nil {
		b.Fatal(err)
	}
	handler.Set(rendered)
	return handler
}

// assertion is a token as kube-apiserver signs it for a pod.
func assertion(b *testing.B, of entra.Credential) string {
	b.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: keytest.RSA(b, 1), KeyID: keytest.Key(b, 1).ID},
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: of.Issuer, Subject: of.Subject, Audience: jwt.Audience{of.Audience},
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Hour)),
	}).Serialize()
	if err != nil {
		b.Fatal(err)
	}
	return token
}

// proxy starts the proxy with the environment that the webhook gives it, the CA
// to trust, and more.
func (c cloud) proxy(b *testing.B, more ...string) contestant {
	b.Helper()
	address := free(b)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), program.Build(b, "cmd/proxy"), "--proxy-port="+port)
	cmd.Env = append(c.environment(), more...)
	return contestant{launch(b, cmd), load.Target{Address: address, Path: tokenPath}}
}

func (c cloud) environment() []string {
	return []string{
		"AZURE_TENANT_ID=" + tenantID, "AZURE_CLIENT_ID=" + clientID,
		"AZURE_FEDERATED_TOKEN_FILE=" + filepath.Join(c.dir, "token"), "AZURE_AUTHORITY_HOST=" + c.URL(),
		"SSL_CERT_FILE=" + filepath.Join(c.dir, "ca.crt"), "SSL_CERT_DIR=/nonexistent",
	}
}

// free is an address that nobody listens on.
func free(b *testing.B) string {
	b.Helper()
	listener, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // it has accepted nobody
	return listener.Addr().String()
}
