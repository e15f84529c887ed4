package load_test

import (
	"net"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	testcloud "github.com/issuer-sync/issuer-sync/test/cloud"
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
	issuer := testcloud.NewIssuer(b)
	credential := entra.Credential{Issuer: issuer.URL, Subject: "system:serviceaccount:shop:app", Audience: "api://AzureADTokenExchange"}
	standIn := testcloud.Entra(b, entra.Config{
		Apps: []entra.App{{Tenant: tenantID, Client: clientID, Credentials: []entra.Credential{credential}}}, Roots: issuer.Roots(),
	})
	c := cloud{standIn, b.TempDir()}
	write(b, c.dir, "token", []byte(testcloud.Token(b, 1, testcloud.Claims(credential))))
	write(b, c.dir, "ca.crt", standIn.CA())
	return c
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
