package main

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/selfcert"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
	"github.com/issuer-sync/issuer-sync/test/cloud"
)

// A stand-in with a certificate that it is given takes the tokens of the
// identities that it is told of, logs each request, and ends on SIGTERM.
func TestStandIn(t *testing.T) {
	const tenant, client = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
	issuer := cloud.NewIssuer(t)
	files := standInFiles(t, issuer)
	app := fmt.Sprintf("tenant=%s,client=%s,issuer=%s,subject=", tenant, client, issuer.URL)
	standIn := exec.CommandContext(t.Context(), "issuer-sync", "stand-in", "--listen=127.0.0.1:0", "--url=https://login.microsoftonline.com",
		"--tls-cert-file="+files("tls.crt"), "--tls-key-file="+files("tls.key"), "--ca-file="+files("issuer.crt"),
		"--app="+app+"system:serviceaccount:a:one", "--app="+app+"system:serviceaccount:a:two,audience=other")
	stderr, err := standIn.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := standIn.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { standIn.Process.Kill() }) //nolint:errcheck // it has ended, unless the test failed
	var log strings.Builder
	lines := bufio.NewReader(io.TeeReader(stderr, &log))
	address := listensOn(t, lines)

	for _, credential := range []entra.Credential{
		{Issuer: issuer.URL, Subject: "system:serviceaccount:a:one", Audience: "api://AzureADTokenExchange"},
		{Issuer: issuer.URL, Subject: "system:serviceaccount:a:two", Audience: "other"},
	} {
		token := files("token")
		if err := os.WriteFile(token, []byte(cloud.Token(t, 1, cloud.Claims(credential))), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := exchange.New(exchange.Config{
			Authority: "https://login.microsoftonline.com", Assertions: exchange.TokenFile(token), Log: slog.New(slog.DiscardHandler),
			Endpoint: exchange.Endpoint{URL: "https://" + address, SNIName: "login.microsoftonline.com", CAFile: files("ca.crt")},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.AccessToken(t.Context(), exchange.Request{Tenant: tenant, Client: client, Scope: "https://vault.azure.net/.default"}); err != nil {
			t.Errorf("subject %q: %v", credential.Subject, err)
		}
	}

	if err := standIn.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Error(err)
	}
	if err := standIn.Wait(); err != nil {
		t.Errorf("told to stop, it ended with %v", err)
	}
	for want, times := range map[string]int{
		`msg="knows an identity" tenant=` + tenant: 2, `msg="issued an access token"`: 2, `level=WARN msg="this is a stand-in for Microsoft Entra`: 1, "msg=stopped": 1,
	} {
		if n := strings.Count(log.String(), want); n != times {
			t.Errorf("%s is in its log %d times; want %d:\n%s", want, n, times, &log)
		}
	}
}

// standInFiles writes what the stand-in needs, and returns where files are.
func standInFiles(t *testing.T, issuer *cloud.Issuer) func(name string) string {
	t.Helper()
	now := time.Now()
	certificate, err := selfcert.New(selfcert.Spec{
		Name: "test", CAName: "test CA", DNSNames: []string{"login.microsoftonline.com"}, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	served, err := certificate.Get(nil)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	files := func(name string) string { return filepath.Join(folder, name) }
	var chain []byte
	for _, der := range served.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	for name, content := range map[string][]byte{
		"ca.crt": certificate.CA, "tls.crt": chain, "tls.key": keytest.PrivatePEM(t, served.PrivateKey),
		"issuer.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.Certificate().Raw}),
	} {
		if err := os.WriteFile(files(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// listensOn reads the log until it says where the stand-in listens.
func listensOn(t *testing.T, log *bufio.Reader) string {
	t.Helper()
	address := regexp.MustCompile(`msg=serving .* address=(\S+)`)
	for {
		line, err := log.ReadString('\n')
		if err != nil {
			t.Fatalf("it does not say where it listens: %v", err)
		}
		if found := address.FindStringSubmatch(line); found != nil {
			return found[1]
		}
	}
}
