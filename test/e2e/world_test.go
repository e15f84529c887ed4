//go:build linux

package e2e_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/issuer-sync/issuer-sync/test/authority"
	"github.com/issuer-sync/issuer-sync/test/node"
	"github.com/issuer-sync/issuer-sync/test/program"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

const (
	tenant      = "11111111-1111-1111-1111-111111111111"
	shopClient  = "22222222-2222-2222-2222-222222222222"
	vaultClient = "33333333-3333-3333-3333-333333333333"

	account    = "contoso" // a storage account
	accountURL = "https://contoso.blob.core.windows.net"
	issuer     = accountURL + "/oidc"
	entraHost  = "login.microsoftonline.com"
	// Addresses of the world outside of the cluster.
	entraAddress = "10.77.0.10"
	blobAddress  = "10.77.0.11"
)

// world is a cluster, and what is around it in the real one: Azure's Blob
// storage, which Azurite stands for, and Entra, for which there is our own
// stand-in, both under their real names.
type world struct {
	*node.Node
	authority  *authority.Authority // of the names of the world
	accountKey string
	keys       []*rsa.PrivateKey // of the API server
	issuerSync string            // the program, for use on the node
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{issuerSync: program.Build(t, "cmd/issuer-sync"), accountKey: base64.StdEncoding.EncodeToString([]byte("an account key made by hand"))}
	w.keys = []*rsa.PrivateKey{newKey(t)}
	w.Node = node.Start(t, node.Config{Issuers: []string{issuer}, Keys: w.keys})
	t.Cleanup(func() { w.explain(t) })
	var err error
	if w.authority, err = authority.New(t.TempDir(), "authority of the test's world"); err != nil {
		t.Fatal(err)
	}
	w.startBlob(t)
	w.startEntra(t)
	return w
}

// explain prints what the cluster knows if the test has failed.
func (w *world) explain(t *testing.T) {
	if !t.Failed() {
		return
	}
	ctx := context.WithoutCancel(t.Context())
	for _, args := range [][]string{
		{"get", "pods", "--all-namespaces", "--output=wide"},
		{"get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"},
		{"logs", "--namespace", namespace, "--selector=app.kubernetes.io/part-of=issuer-sync", "--all-containers", "--prefix", "--tail=40"},
	} {
		out, err := w.Kubectl(ctx, args...).CombinedOutput()
		t.Logf("kubectl %s: %v\n%s", args[0], err, out)
	}
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certificate returns the paths of a certificate for a name, and of its key.
func (w *world) certificate(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	folder := t.TempDir()
	id, err := w.authority.Server(name)
	if err == nil {
		err = id.Write(folder, "server")
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, "server.crt"), filepath.Join(folder, "server.key")
}

// startBlob starts Azurite as the storage account contoso, with the container
// oidc, which everybody may read, and data.
func (w *world) startBlob(t *testing.T) {
	t.Helper()
	const host = account + ".blob.core.windows.net"
	certificate, key := w.certificate(t, host)
	program := servers.RequireAzurite(t)
	cmd := w.Command(context.WithoutCancel(t.Context()), program[0], append(program[1:],
		"--blobHost", blobAddress, "--blobPort", "443", "--location", t.TempDir(), "--cert", certificate, "--key", key,
		"--oauth", "basic", "--skipApiVersionCheck", "--disableTelemetry")...)
	cmd.Env = append(cmd.Env, "AZURITE_ACCOUNTS="+account+":"+w.accountKey)
	w.Serve(t, "azurite", cmd)
	w.Resolve(host, blobAddress)
	credential, err := container.NewSharedKeyCredential(account, w.accountKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, access := range map[string]*container.PublicAccessType{"oidc": new(container.PublicAccessTypeBlob), "data": nil} {
		client, err := container.NewClientWithSharedKeyCredential(accountURL+"/"+name, credential,
			&container.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: w.client(blobAddress)}})
		if err != nil {
			t.Fatal(err)
		}
		node.Await(t, patience, "Azurite", func(ctx context.Context) error {
			_, err := client.Create(ctx, &container.CreateOptions{Access: access})
			return err
		})
	}
}

// startEntra starts the stand-in, which knows an identity for each of two
// ServiceAccounts.
func (w *world) startEntra(t *testing.T) {
	t.Helper()
	certificate, key := w.certificate(t, entraHost)
	app := func(client, account string) string {
		return "tenant=" + tenant + ",client=" + client + ",issuer=" + issuer + ",subject=system:serviceaccount:" + account
	}
	w.Serve(t, "entra", w.Command(context.WithoutCancel(t.Context()), w.issuerSync, "stand-in", "--anywhere",
		"--listen", entraAddress+":443", "--url", "https://"+entraHost, "--tls-cert-file", certificate, "--tls-key-file", key,
		"--ca-file", w.authority.File, "--app", app(shopClient, "shop:app"), "--app", app(vaultClient, "vault:app")))
	w.Resolve(entraHost, entraAddress)
}

// client asks the world's servers at one address, whatever a URL's host is.
func (w *world) client(address string) *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(w.authority.Certificate())
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return w.Dial(ctx, network, net.JoinHostPort(address, "443"))
			},
		},
	}
}

// caBundle is the path of what pods of this world trust.
func (w *world) caBundle() string { return w.authority.File }

// output runs a command of the node to its end and returns what it printed; the
// test ends if it fails.
func output(t *testing.T, cmd interface{ CombinedOutput() ([]byte, error) }, what string) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", what, err, out)
	}
	return string(out)
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
