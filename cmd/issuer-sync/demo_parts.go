package main

import (
	"crypto"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/issuer-sync/issuer-sync/internal/selfcert"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// demoTokenLifetime is what the webhook asks for by default.
const demoTokenLifetime = time.Hour

// demoToken signs what kube-apiserver signs for a pod (Kubernetes
// pkg/serviceaccount/claims.go).
func demoToken(issuer oidc.Issuer, private crypto.Signer) (string, error) {
	key, err := keys.New(private.Public())
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(key.Algorithm),
		Key:       jose.JSONWebKey{Key: private, KeyID: key.ID},
	}, nil)
	if err != nil {
		return "", fmt.Errorf("making a signer: %w", err)
	}
	now := time.Now()
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer:    issuer.String(),
		Subject:   demoSubject,
		Audience:  jwt.Audience{azureAudience},
		Expiry:    jwt.NewNumericDate(now.Add(demoTokenLifetime)),
		IssuedAt:  jwt.NewNumericDate(now),
		NotBefore: jwt.NewNumericDate(now),
	}).Claims(map[string]any{
		"kubernetes.io": map[string]any{
			"namespace":      "default",
			"serviceaccount": map[string]string{"name": "demo", "uid": "00000000-0000-0000-0000-000000000000"},
		},
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return token, nil
}

// demoAuthority is a certificate for 127.0.0.1, and a file with the CA to trust.
type demoAuthority struct {
	*selfcert.Certificate
	caFile string
}

func newDemoAuthority(directory string) (*demoAuthority, error) {
	now := time.Now()
	certificate, err := selfcert.New(selfcert.Spec{
		Name: "issuer-sync demo", CAName: "issuer-sync demo CA",
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour),
	})
	if err != nil {
		return nil, fmt.Errorf("making the TLS certificate of the demo: %w", err)
	}
	a := &demoAuthority{Certificate: certificate, caFile: filepath.Join(directory, "ca.crt")}
	if err := os.WriteFile(a.caFile, certificate.CA, 0o600); err != nil {
		return nil, fmt.Errorf("writing the CA of the demo: %w", err)
	}
	return a, nil
}
