package servers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority is a test's own certificate authority.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	// file holds the certificate in PEM.
	file string
}

// identity is a certificate and its private key, in PEM.
type identity struct {
	certificate, key []byte
}

// lifetime of all certificates here: longer than any test.
const lifetime = 24 * time.Hour

// newAuthority makes an authority and writes its certificate to dir/ca.crt.
func newAuthority(dir, name string) (*authority, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	a := &authority{file: filepath.Join(dir, "ca.crt")}
	id, err := a.issue(template)
	if err != nil {
		return nil, err
	}
	// Parsed, it has the key ID that the certificates it signs refer to.
	block, _ := pem.Decode(id.certificate)
	if a.certificate, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("parsing the certificate of test authority %q: %w", name, err)
	}
	if err := os.WriteFile(a.file, id.certificate, 0o600); err != nil {
		return nil, fmt.Errorf("writing the certificate of test authority %q: %w", name, err)
	}
	return a, nil
}

// server issues a certificate for 127.0.0.1 and the given DNS names.
func (a *authority) server(dnsNames ...string) (identity, error) {
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "test server"},
		DNSNames:    dnsNames,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// client issues a certificate for a Kubernetes user in a group.
func (a *authority) client(user, group string) (identity, error) {
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: []string{group}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// issue signs template, which lacks only its validity. The first certificate is
// the authority's own.
func (a *authority) issue(template *x509.Certificate) (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, fmt.Errorf("making a test certificate's key: %w", err)
	}
	now := time.Now()
	template.NotBefore, template.NotAfter = now.Add(-time.Minute), now.Add(lifetime)
	if a.key == nil {
		a.certificate, a.key = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return identity{}, fmt.Errorf("signing the test certificate of %q: %w", template.Subject, err)
	}
	private, err := privatePEM(key)
	if err != nil {
		return identity{}, err
	}
	return identity{certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key: private}, nil
}

// write stores the identity as dir/name.crt and dir/name.key.
func (id identity) write(dir, name string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, name+".crt"), id.certificate, 0o600),
		os.WriteFile(filepath.Join(dir, name+".key"), id.key, 0o600),
	)
}

func privatePEM(key any) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func publicPEM(key any) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
