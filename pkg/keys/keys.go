// Package keys decides what an issuer may publish: it turns PEM files and JSON
// Web Key Sets into sets of public keys that every relying party can use, and
// refuses the rest by name.
//
// It does no I/O, has no clock, and knows nothing of issuers or documents. No
// private key leaves it: [Key] holds a public key only, and input in which a
// private one appears is refused as a whole.
package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math"

	"github.com/go-jose/go-jose/v4"
)

// Key is one public key as a relying party sees it. Keys that come out of this
// package are valid; [NewSet] checks those made elsewhere.
type Key struct {
	// ID names the key, "kid" on the wire: 1 to 1024 bytes.
	ID string
	// Algorithm is the JWS algorithm the key verifies, such as "RS256" (RFC 7518 section 3.1).
	Algorithm string
	// Public is an *rsa.PublicKey or *ecdsa.PublicKey.
	Public crypto.PublicKey
}

// maxIDLength is what kube-apiserver accepts from an external signer, the most
// liberal origin of key IDs (k8s.io/externaljwt/apis/v1, SignJWTResponse).
const maxIDLength = 1024

// New derives a key's ID and algorithm from its material the way
// kube-apiserver does for keys read from files, so that both agree on "kid":
// base64url of the SHA-256 of the PKIX DER (Kubernetes
// pkg/serviceaccount/jwt.go, keyIDFromPublicKey). The error is an *[Error].
func New(public crypto.PublicKey) (Key, error) {
	algorithm, fault := defaultAlgorithm(public)
	if fault != nil {
		return Key{}, fault
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Key{}, refuse(RuleKeyType, "%v", err)
	}
	sum := sha256.Sum256(der)
	return Key{
		ID:        base64.RawURLEncoding.EncodeToString(sum[:]),
		Algorithm: algorithm,
		Public:    public,
	}, nil
}

// JWK renders the key as it is in a JWK set; see [Set.JWKS]. [ParseJWK] reads it.
func (k Key) JWK() ([]byte, error) { return k.jwk().MarshalJSON() }

func (k Key) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.Public, KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"}
}

// check reports why k may not be published, or nil.
func (k Key) check() *Error {
	if k.ID == "" || len(k.ID) > maxIDLength {
		return refuse(RuleKeyID, "it has %d bytes; want 1 to %d", len(k.ID), maxIDLength)
	}
	algorithm, fault := defaultAlgorithm(k.Public)
	if fault == nil && k.Algorithm != algorithm && !(algorithm == "RS256" && (k.Algorithm == "RS384" || k.Algorithm == "RS512")) {
		fault = refuse(RuleAlgorithm, "%q does not belong to this key, which verifies %s", k.Algorithm, algorithm)
	}
	if fault != nil {
		fault.KeyID = k.ID
	}
	return fault
}

// sameMaterial reports whether both keys verify the same signatures.
func (k Key) sameMaterial(other Key) bool {
	equaler, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Algorithm == other.Algorithm && equaler.Equal(other.Public)
}

// defaultAlgorithm returns the algorithm kube-apiserver uses with a key
// (Kubernetes pkg/serviceaccount/jwt.go, signerFromRSAPrivateKey and
// signerFromECDSAPrivateKey), or why the key is not fit to publish.
func defaultAlgorithm(public crypto.PublicKey) (string, *Error) {
	switch public := public.(type) {
	case *rsa.PublicKey:
		return "RS256", checkRSA(public)
	case *ecdsa.PublicKey:
		return checkEC(public)
	default:
		return "", refuse(RuleKeyType, "%T; want RSA, or EC on P-256, P-384 or P-521", public)
	}
}

// Bounds on RSA moduli, in bits: below 2048 NIST SP 800-131A revision 2 allows
// no new signatures; above 8192 crypto/tls and others refuse to verify.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

func checkRSA(public *rsa.PublicKey) *Error {
	if public.N == nil {
		return refuse(RuleKeyType, "an RSA key without a modulus")
	}
	if bits := public.N.BitLen(); bits < minRSABits || bits > maxRSABits {
		return refuse(RuleWeakKey, "an RSA modulus of %d bits; want %d to %d", bits, minRSABits, maxRSABits)
	}
	if public.N.Sign() < 0 || public.N.Bit(0) == 0 {
		return refuse(RuleWeakKey, "an RSA modulus that is no product of odd primes")
	}
	// crypto/rsa refuses exponents beyond 31 bits, and e = 1 makes any message its own signature.
	if public.E < 3 || public.E%2 == 0 || public.E > math.MaxInt32 {
		return refuse(RuleWeakKey, "an RSA exponent of %d; want an odd number from 3 to %d", public.E, math.MaxInt32)
	}
	return nil
}

func checkEC(public *ecdsa.PublicKey) (string, *Error) {
	var algorithm string
	switch public.Curve {
	case elliptic.P256():
		algorithm = "ES256"
	case elliptic.P384():
		algorithm = "ES384"
	case elliptic.P521():
		algorithm = "ES512"
	case elliptic.P224():
		return "", refuse(RuleKeyType, "EC on P-224, for which JWS has no algorithm; want P-256, P-384 or P-521")
	default:
		return "", refuse(RuleKeyType, "EC on an unknown curve; want P-256, P-384 or P-521")
	}
	if _, err := public.ECDH(); err != nil {
		return "", refuse(RuleWeakKey, "an EC point that is not on its curve")
	}
	return algorithm, nil
}

// String names the key without its material.
func (k Key) String() string { return fmt.Sprintf("%s key %q", k.Algorithm, k.ID) }
