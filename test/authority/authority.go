// Package authority makes certificates for tests: an authority of a test's own,
// which lives in a folder, and what it signs.
package authority

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

// Authority is a test's own certificate authority. It is for one goroutine at a
// time.
type Authority struct {
	// File holds the authority's certificate in PEM.
	File        string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// Identity is a certificate and its private key, in PEM.
type Identity struct {
	Certificate, Key []byte
}

// lifetime of all certificates here: longer than any test.
const lifetime = 24 * time.Hour

// New makes an authority and writes its certificate to dir/ca.crt.
func New(dir, name string) (*Authority, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	a := &Authority{File: filepath.Join(dir, "ca.crt")}
	id, err := a.issue(template)
	if err != nil {
		return nil, err
	}
	// Parsed, it has the key ID that the certificates it signs refer to.
	block, _ := pem.Decode(id.Certificate)
	if a.certificate, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("parsing the certificate of test authority %q: %w", name, err)
	}
	if err := os.WriteFile(a.File, id.Certificate, 0o644); err != nil {
		return nil, fmt.Errorf("writing the certificate of test authority %q: %w", name, err)
	}
	return a, nil
}

// Certificate is the authority's own.
func (a *Authority) Certificate() *x509.Certificate { return a.certificate }

// Server issues a certificate for 127.0.0.1 and the given names, each a DNS name
// or an IP address.
func (a *Authority) Server(names ...string) (Identity, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "test server"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	addNames(template, append(names, "127.0.0.1"))
	return a.issue(template)
}

// Client issues a certificate for a Kubernetes user in a group, which is also
// good for a server by the given names: kubelets have one for both.
func (a *Authority) Client(user, group string, names ...string) (Identity, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: []string{group}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(names) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	addNames(template, names)
	return a.issue(template)
}

func addNames(template *x509.Certificate, names []string) {
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		template.DNSNames = append(template.DNSNames, name)
	}
}

// issue signs template, which lacks only its validity. The first certificate is
// the authority's own.
func (a *Authority) issue(template *x509.Certificate) (Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Identity{}, fmt.Errorf("making a test certificate's key: %w", err)
	}
	now := time.Now()
	template.NotBefore, template.NotAfter = now.Add(-time.Minute), now.Add(lifetime)
	if a.key == nil {
		a.certificate, a.key = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return Identity{}, fmt.Errorf("signing the test certificate of %q: %w", template.Subject, err)
	}
	private, err := PrivatePEM(key)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: private}, nil
}

// Write stores the identity as dir/name.crt and dir/name.key.
func (id Identity) Write(dir, name string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, name+".crt"), id.Certificate, 0o600),
		os.WriteFile(filepath.Join(dir, name+".key"), id.Key, 0o600),
	)
}

// PrivatePEM encodes a private key as PKCS #8 in PEM.
func PrivatePEM(key any) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// PublicPEM encodes a public key as PKIX in PEM.
func PublicPEM(key any) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
