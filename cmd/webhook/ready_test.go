package main

import (
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/selfcert"
)

// The kubelet asks at an address that the webhook does not know; it calls itself
// at one that is there.
func TestReachable(t *testing.T) {
	for listened, want := range map[string]string{
		"[::]:9443":        "localhost:9443",
		"0.0.0.0:9443":     "localhost:9443",
		"127.0.0.1:9443":   "127.0.0.1:9443",
		"[::1]:9443":       "[::1]:9443",
		"10.0.0.7:443":     "10.0.0.7:443",
		"nothing sensible": "nothing sensible",
	} {
		if got := reachable(listened); got != want {
			t.Errorf("%s: %s; want %s", listened, got, want)
		}
	}
}

// TestCertificateFromFiles replaces the files under way: what is served changes
// within seconds, the CA at once, and a broken file changes nothing.
func TestCertificateFromFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		directory := t.TempDir()
		first, second := certificateFor(t, time.Hour, host), certificateFor(t, time.Hour, host)
		write(t, directory, first, nil)
		c, err := certificateFromFiles(directory, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		verifies(t, c, first)
		write(t, directory, second, nil)
		verifies(t, c, first) // it has not looked
		time.Sleep(6 * time.Second)
		verifies(t, c, second)
		if err := os.WriteFile(filepath.Join(directory, "tls.crt"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		verifies(t, c, second)
		write(t, directory, second, first.CA)
		if err := verify(t, c); err == nil {
			t.Error("trusted by a CA of another certificate")
		}
		write(t, directory, second, second.CA)
		verifies(t, c, second)
	})
}

// verifies checks that it is the one that is served, and trusted.
func verifies(t *testing.T, c certificate, want *selfcert.Certificate) {
	t.Helper()
	served, err := c.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(want.Cert); string(block.Bytes) != string(served.Leaf.Raw) {
		t.Errorf("another certificate is served")
	}
	if err := verify(t, c); err != nil {
		t.Error(err)
	}
}

func verify(t *testing.T, c certificate) error {
	t.Helper()
	served, err := c.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := c.roots()
	if err != nil {
		t.Fatal(err)
	}
	_, err = served.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: served.Leaf.NotBefore.Add(time.Minute)})
	return err
}
