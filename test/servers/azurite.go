package servers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/test/authority"
	"github.com/issuer-sync/issuer-sync/test/process"
)

// Azurite's built-in account and key, the same on every installation, as its
// README has them.
const (
	azuriteAccount = "devstoreaccount1"
	azuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// azuriteStop bounds Azurite's orderly end, in which it writes its index.
const azuriteStop = 15 * time.Second

// Azurite is a running Azure Blob service over HTTPS.
//
// Stop and Start are for one goroutine at a time; all else may be used
// concurrently, also while it stops and starts.
type Azurite struct {
	// The fields up to process are immutable once started.
	owner     testing.TB
	program   []string
	dir       string
	port      *port
	authority *authority.Authority
	client    *http.Client

	process *process.Process
}

// StartAzurite starts Azurite's Blob service and returns when it answers. It
// checks shared keys, SAS and, by form alone, OAuth tokens, and accepts API
// versions newer than itself. It ends with the test; the end of its log is
// printed if the test failed.
func StartAzurite(t testing.TB) *Azurite {
	t.Helper()
	a := &Azurite{owner: t, program: RequireAzurite(t), dir: t.TempDir()}
	var err error
	if a.port, err = reservePort(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.process.Kill()
		a.port.release()
		showLog(t, a.log())
	})
	if a.authority, err = authority.New(a.dir, "azurite test authority"); err != nil {
		t.Fatal(err)
	}
	serving, err := a.authority.Server()
	if err != nil {
		t.Fatal(err)
	}
	if err := serving.Write(a.dir, "serving"); err != nil {
		t.Fatalf("writing Azurite's certificate: %v", err)
	}
	a.client = clientOf(a.authority)
	a.Start(t)
	return a
}

// clientOf trusts an authority alone and follows no redirect.
func clientOf(a *authority.Authority) *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}
}

// Start starts the stopped service again, on the same address and data, and
// returns when it answers.
func (a *Azurite) Start(t testing.TB) {
	t.Helper()
	if a.process != nil {
		t.Fatalf("starting Azurite at %s: it was not stopped", a.port.address())
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	args := append(slices.Clip(a.program),
		"--blobHost", "127.0.0.1", "--blobPort", strconv.Itoa(a.port.number), "--location", filepath.Join(a.dir, "data"),
		"--cert", filepath.Join(a.dir, "serving.crt"), "--key", filepath.Join(a.dir, "serving.key"),
		"--oauth", "basic", "--skipApiVersionCheck", "--disableTelemetry")
	var err error
	if a.process, err = startProcess(ctx, command{name: "Azurite", dir: a.dir, log: a.log(), args: args}); err != nil {
		t.Fatal(err)
	}
	if err := await(ctx, a.process.Done(), a.answers); err != nil {
		t.Fatalf("starting Azurite: %v", err)
	}
}

// answers reports whether the service answers at all; it refuses this request.
func (a *Azurite) answers(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.AccountURL(), http.NoBody)
	if err != nil {
		return err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// Stop ends the service in good order, so that its data outlives it; its
// address then refuses connections. A stopped service stays stopped.
func (a *Azurite) Stop() {
	if a.process == nil {
		return
	}
	a.client.CloseIdleConnections()
	if err := a.process.Terminate(azuriteStop); err != nil {
		a.owner.Errorf("%v; its data may be lost", err)
	}
	a.process = nil
}

func (a *Azurite) log() string { return filepath.Join(a.dir, "azurite.log") }

// AccountURL returns "https://127.0.0.1:PORT/devstoreaccount1": containers are
// one path segment below.
func (a *Azurite) AccountURL() string {
	return "https://" + a.port.address() + "/" + azuriteAccount
}

// AccountName returns the storage account's name.
func (a *Azurite) AccountName() string { return azuriteAccount }

// AccountKey returns the storage account's shared key, in base64.
func (a *Azurite) AccountKey() string { return azuriteKey }

// ConnectionString returns an Azure Storage connection string with the shared key.
func (a *Azurite) ConnectionString() string {
	return fmt.Sprintf("DefaultEndpointsProtocol=https;AccountName=%s;AccountKey=%s;BlobEndpoint=%s;",
		azuriteAccount, azuriteKey, a.AccountURL())
}

// CAFile returns the path of the CA certificate, in PEM, that signed the
// service's certificate.
func (a *Azurite) CAFile() string { return a.authority.File }

// Client returns an HTTP client that trusts that CA alone, follows no redirect
// and sends no credentials.
func (a *Azurite) Client() *http.Client { return a.client }
