// Package selfcert makes certificates for servers that vouch for themselves: a
// CA and the only certificate that it ever signs. The CA's private key is
// forgotten before anybody sees the CA, so who trusts it trusts that certificate
// and no other one. It stores and renews nothing.
package selfcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"
)

// maxName is the most bytes that a common name may have (RFC 5280 appendix A.1,
// ub-common-name).
const maxName = 64

// PEM block types (RFC 7468 sections 5 and 10).
const (
	certificateBlock = "CERTIFICATE"
	privateKeyBlock  = "PRIVATE KEY"
)

// Spec says which certificate is wanted.
type Spec struct {
	// Name and CAName are the common names of the certificate and of its CA. They
	// differ, and tell people what they look at; clients go by what follows.
	Name, CAName string
	// DNSNames and Addresses are what clients may call the server: at least one in
	// all. Zones of addresses are left out.
	DNSNames  []string
	Addresses []netip.Addr
	// NotBefore and NotAfter bound the validity of both, to the second.
	NotBefore, NotAfter time.Time
}

// check tells all faults at once.
func (s Spec) check() error {
	var faults []error
	for _, name := range []string{s.Name, s.CAName} {
		if name == "" || len(name) > maxName {
			faults = append(faults, fmt.Errorf("common name %q: want 1 to %d bytes", name, maxName))
		}
	}
	if s.Name == s.CAName {
		faults = append(faults, fmt.Errorf("common name %q: want another one for the CA", s.Name))
	}
	if len(s.DNSNames)+len(s.Addresses) == 0 {
		faults = append(faults, errors.New("names of the server: want at least one DNS name or IP address"))
	}
	if slices.Contains(s.Addresses, netip.Addr{}) {
		faults = append(faults, fmt.Errorf("IP addresses %q: want none invalid", s.Addresses))
	}
	if !s.NotBefore.Before(s.NotAfter) {
		faults = append(faults, fmt.Errorf("validity from %s to %s: want an end after the begin",
			s.NotBefore.UTC().Format(time.RFC3339), s.NotAfter.UTC().Format(time.RFC3339)))
	}
	return errors.Join(faults...)
}

// Certificate is a certificate, its private key and its CA, each one block of
// PEM. Printing it prints no key.
type Certificate struct {
	Cert, Key, CA []byte
	pair          tls.Certificate
}

// New makes two keys on P-256, a CA and a certificate for TLS servers. An error
// that the Spec is to blame for says what would be valid.
func New(spec Spec) (*Certificate, error) {
	if err := spec.check(); err != nil {
		return nil, fmt.Errorf("checking what certificate is wanted: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of a certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key of a certificate: %w", err)
	}
	leaf, ca, err := spec.sign(key.Public())
	if err != nil {
		return nil, err
	}
	made := &Certificate{Cert: EncodeCertificate(leaf), Key: encode(privateKeyBlock, keyDER), CA: EncodeCertificate(ca)}
	if made.pair, err = tls.X509KeyPair(made.Cert, made.Key); err != nil {
		return nil, fmt.Errorf("reading the certificate that was made: %w", err)
	}
	return made, nil
}

// sign is all the time that the CA's private key exists. What it returns is DER.
func (s Spec) sign(public crypto.PublicKey) (leaf, ca []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making the key of a CA: %w", err)
	}
	issuer := &x509.Certificate{
		Subject: pkix.Name{CommonName: s.CAName}, NotBefore: s.NotBefore, NotAfter: s.NotAfter,
		KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	if ca, err = x509.CreateCertificate(rand.Reader, issuer, issuer, key.Public(), key); err != nil {
		return nil, nil, fmt.Errorf("making the CA %q: %w", s.CAName, err)
	}
	if issuer, err = x509.ParseCertificate(ca); err != nil { // now with the ID of its key
		return nil, nil, fmt.Errorf("reading the CA that was made: %w", err)
	}
	subject := &x509.Certificate{
		Subject: pkix.Name{CommonName: s.Name}, NotBefore: s.NotBefore, NotAfter: s.NotAfter, DNSNames: s.DNSNames,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, address := range s.Addresses {
		subject.IPAddresses = append(subject.IPAddresses, net.IP(address.AsSlice()))
	}
	if leaf, err = x509.CreateCertificate(rand.Reader, subject, issuer, public, key); err != nil {
		return nil, nil, fmt.Errorf("making the certificate %q: %w", s.Name, err)
	}
	return leaf, ca, nil
}

// EncodeCertificate returns the certificate, given in DER, as one block of PEM.
func EncodeCertificate(der []byte) []byte { return encode(certificateBlock, der) }

// ParseCertificate reads one certificate in PEM. Its block must be the first.
func ParseCertificate(raw []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != certificateBlock {
		return nil, errors.New("there is no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Get implements tls.Config.GetCertificate. It is safe for concurrent use.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &c.pair, nil }

// Roots trusts the CA, and so this certificate alone.
func (c *Certificate) Roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.CA)
	return roots
}

// Format implements fmt.Formatter: no verb prints the key.
func (c *Certificate) Format(state fmt.State, _ rune) {
	io.WriteString(state, "certificate "+c.pair.Leaf.Subject.CommonName) //nolint:errcheck // fmt reports errors of its writer itself
}
