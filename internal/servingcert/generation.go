package servingcert

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/selfcert"
)

// backdate is how long before it was made a certificate is valid already. It
// covers an API server's machine whose hardware clock is taken for another time
// zone, 14 hours at most. It costs nothing: nobody had the key then.
const backdate = 24 * time.Hour

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
	made, err := selfcert.New(selfcert.Spec{
		Name:     "issuer-sync webhook", // a DNS name may be too long for it
		CAName:   "issuer-sync webhook CA of " + now.UTC().Format(time.RFC3339),
		DNSNames: names, NotBefore: now.Add(-backdate), NotAfter: now.Add(lifetime),
	})
	if err != nil {
		return nil, fmt.Errorf("making a certificate for %q: %w", names, err)
	}
	return parseGeneration(texts{cert: made.Cert, key: made.Key, ca: made.CA})
}

// parseGeneration reads PEM as newGeneration makes it. It refuses what a client
// that trusts the CA would refuse, whatever the time and the name.
func parseGeneration(texts texts) (*generation, error) {
	pair, err := tls.X509KeyPair(texts.cert, texts.key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate and its key: %w", err)
	}
	ca, err := selfcert.ParseCertificate(texts.ca)
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
