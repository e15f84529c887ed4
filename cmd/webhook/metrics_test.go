package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/selfcert"
)

// gauges returns those of a scrape that have no labels.
func gauges(t *testing.T, metrics string) map[string]float64 {
	t.Helper()
	found := map[string]float64{}
	for _, match := range regexp.MustCompile(`(?m)^(azwi_\w+) (\S+)$`).FindAllStringSubmatch(metrics, -1) {
		value, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		found[match[1]] = value
	}
	return found
}

// checkGauges checks those of a webhook that is well.
func checkGauges(t *testing.T, metrics string, made *selfcert.Certificate) {
	t.Helper()
	block, _ := pem.Decode(made.Cert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"azwi_certificate_not_after_seconds": float64(leaf.NotAfter.Unix()), "azwi_certificate_problem": 0,
		"azwi_service_accounts": 1, "azwi_service_accounts_stale_seconds": 0,
	}
	if got := gauges(t, metrics); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("gauges %v; want %v", got, want)
	}
}

// Files that cannot be served show at once, and the old pair is served on.
func TestCertificateProblemOfFiles(t *testing.T) {
	directory, made := t.TempDir(), certificateFor(t, time.Hour, host)
	write(t, directory, made, nil)
	c, err := certificateFromFiles(directory, slog.New(slog.DiscardHandler))
	if err != nil || c.problem() != nil {
		t.Fatal(err, c.problem())
	}
	if err := os.Remove(filepath.Join(directory, "tls.key")); err != nil {
		t.Fatal(err)
	}
	if err := c.problem(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("problem %v", err)
	}
}

// A machine that is busy takes its time; the call to oneself bears with it.
func TestCallOneselfIsPatient(t *testing.T) {
	made := certificateFor(t, time.Hour, host)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		<-time.After(1200 * time.Millisecond)
		return made.Get(hello)
	}}
	server.StartTLS()
	defer server.Close()
	s := &service{certificate: certificate{roots: func() (*x509.CertPool, error) { return made.Roots(), nil }}}
	s.config.Namespace, s.config.Certificates.Service = "shop", "issuer-sync-webhook"
	if err := s.callOneself(server.Listener.Addr().String()); err != nil {
		t.Error(err)
	}
}

// What is not known is not said.
func TestReadyBeforeItListens(t *testing.T) {
	if err := new(service).ready(); err == nil || err.Error() != "it does not listen yet" {
		t.Error(err)
	}
}
