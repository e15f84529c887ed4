package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"

	"github.com/issuer-sync/issuer-sync/internal/httpserver"
	"github.com/issuer-sync/issuer-sync/internal/kube"
	"github.com/issuer-sync/issuer-sync/internal/servingcert"
)

// certificate is what the webhook serves, whoever makes it.
type certificate struct {
	get   func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	ready func() error
	// problem is what keeps it from being renewed, as of the last look; nil: nothing.
	problem func() error
	// roots are whom API servers trust, as far as the webhook knows.
	roots func() (*x509.CertPool, error)
	// run keeps it right until ctx ends.
	run func(ctx context.Context) error
}

func newCertificate(c config, client kube.Client, log *slog.Logger) (certificate, error) {
	if c.Certificates.DisableRotation {
		return certificateFromFiles(c.Certificates.Directory, log)
	}
	made, err := servingcert.New(servingcert.Config{
		Client: client, Secret: types.NamespacedName{Namespace: c.Namespace, Name: c.Certificates.Secret},
		WebhookConfiguration: c.Certificates.WebhookConfiguration, DNSNames: c.dnsNames(), Lifetime: c.Certificates.Lifetime, Log: log,
	})
	if err != nil {
		return certificate{}, err
	}
	return certificate{
		get: made.GetCertificate, ready: made.Ready, problem: made.Problem, run: made.Run,
		roots: func() (*x509.CertPool, error) { return made.Roots(), nil },
	}, nil
}

// certificateFromFiles is one that somebody else makes and replaces, with the
// names that cert-manager and Secrets of type kubernetes.io/tls have.
func certificateFromFiles(directory string, log *slog.Logger) (certificate, error) {
	certFile, keyFile := filepath.Join(directory, "tls.crt"), filepath.Join(directory, "tls.key")
	files, err := httpserver.NewCertificate(certFile, keyFile, log)
	if err != nil {
		return certificate{}, err
	}
	return certificate{
		get: files.Get, ready: func() error { return nil },
		problem: func() error { _, err := tls.LoadX509KeyPair(certFile, keyFile); return err },
		roots:   func() (*x509.CertPool, error) { return rootsFromFiles(filepath.Join(directory, "ca.crt"), files) },
		run:     func(ctx context.Context) error { <-ctx.Done(); return nil },
	}, nil
}

// rootsFromFiles reads the CA. Without that file nobody says whom API servers
// trust, and all that can be checked is the certificate itself.
func rootsFromFiles(caFile string, files *httpserver.Certificate) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	content, err := os.ReadFile(caFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		served, err := files.Get(nil)
		if err != nil {
			return nil, err
		}
		roots.AddCert(served.Leaf)
		return roots, nil
	case err != nil:
		return nil, fmt.Errorf("reading the CA: %w", err)
	case !roots.AppendCertsFromPEM(content):
		return nil, fmt.Errorf("reading the CA: %q holds no certificate; want PEM", caFile)
	}
	return roots, nil
}
