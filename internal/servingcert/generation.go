package servingcert

import (
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
	"slices"
	"time"
)

// backdate is how long before it was made a certificate is valid already. It
// covers an API server's machine whose hardware clock is taken for another time
// zone, 14 hours at most. It costs nothing: nobody had the key then.
const backdate = 24 * time.Hour

// PEM block types (RFC 7468 sections 5 and 10).
const (
	certificateBlock = "CERTIFICATE"
	privateKeyBlock  = "PRIVATE KEY"
)

// generation is a CA and the only certificate that it ever signed: its private
// key is forgotten at once. Who trusts the CA trusts that certificate and no
// other one, so an old CA in a caBundle is no risk, and who steals the Secret
// cannot make certificates. It is immutable.
type generation struct {
	texts    texts
	pair     tls.Certificate
	leaf, ca *x509.Certificate
}

// texts are what the Secret has of a generation, in PEM. The key is secret.
type texts struct{ cert, key, ca []byte }

// newGeneration makes keys and certificates that are valid for lifetime from now.
func newGeneration(now time.Time, names []string, lifetime time.Duration) (*generation, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of a CA: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of a certificate: %w", err)
	}
	ca := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "issuer-sync webhook CA of " + now.UTC().Format(time.RFC3339)},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(lifetime),
		KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("making a CA: %w", err)
	}
	if ca, err = x509.ParseCertificate(caDER); err != nil { // now with the ID of its key
		return nil, fmt.Errorf("making a CA: %w", err)
	}
	leaf := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "issuer-sync webhook"}, // a DNS name may be too long for it
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("making a certificate for %q: %w", names, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key of a certificate: %w", err)
	}
	return parseGeneration(texts{
		cert: encode(certificateBlock, leafDER), key: encode(privateKeyBlock, keyDER), ca: encode(certificateBlock, caDER),
	})
}

// parseGeneration reads PEM as newGeneration makes it. It refuses what a client
// that trusts the CA would refuse, whatever the time and the name.
func parseGeneration(texts texts) (*generation, error) {
	pair, err := tls.X509KeyPair(texts.cert, texts.key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate and its key: %w", err)
	}
	ca, err := parseCertificate(texts.ca)
	if err != nil {
		return nil, fmt.Errorf("reading the CA: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: pair.Leaf.NotAfter}); err != nil {
		return nil, fmt.Errorf("verifying the certificate by the CA: %w", err)
	}
	return &generation{texts: texts, pair: pair, leaf: pair.Leaf, ca: ca}, nil
}

// parseCertificate reads one certificate. Its block must be the first.
func parseCertificate(raw []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != certificateBlock {
		return nil, errors.New("there is no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// expiry is when the certificate is of no use any more.
func (g *generation) expiry() time.Time { return g.leaf.NotAfter }

// covers reports whether the certificate is good for all of the names.
func (g *generation) covers(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return g.leaf.VerifyHostname(name) != nil })
}

// Format implements fmt.Formatter: whatever prints a generation prints no key.
func (g *generation) Format(state fmt.State, _ rune) {
	io.WriteString(state, "certificate signed by "+g.ca.Subject.CommonName) //nolint:errcheck // fmt reports errors of its writer itself
}
