// Package keytest gives tests keys of their own and tokens signed with them.
package keytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"sync"
	"testing"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// RSA returns the process's n-th RSA key of 2048 bits: the same key for the
// same n, made when first asked for.
func RSA(t testing.TB, n int) *rsa.PrivateKey {
	t.Helper()
	made, _ := rsaKeys.LoadOrStore(n, sync.OnceValues(func() (*rsa.PrivateKey, error) {
		return rsa.GenerateKey(rand.Reader, 2048)
	}))
	key, err := made.(func() (*rsa.PrivateKey, error))()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var rsaKeys sync.Map //nolint:gochecknoglobals // making an RSA key takes longer than most tests

// EC returns a new key on the curve.
func EC(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Key returns the n-th RSA key as it is published.
func Key(t testing.TB, n int) keys.Key {
	t.Helper()
	key, err := keys.New(RSA(t, n).Public())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Set returns the set of the RSA keys with the given numbers.
func Set(t testing.TB, numbers ...int) keys.Set {
	t.Helper()
	list := make([]keys.Key, len(numbers))
	for i, n := range numbers {
		list[i] = Key(t, n)
	}
	set, err := keys.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// PublicPEM returns the keys as PKIX "PUBLIC KEY" blocks.
func PublicPEM(t testing.TB, public ...crypto.PublicKey) []byte {
	t.Helper()
	var out []byte
	for _, key := range public {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})...)
	}
	return out
}

// PrivatePEM returns the key as a PKCS#8 "PRIVATE KEY" block.
func PrivatePEM(t testing.TB, private crypto.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
