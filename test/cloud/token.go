package cloud

import (
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
)

// Claims are those of a token that satisfies the credential from now on, for an
// hour: what Entra reads of what kube-apiserver signs.
func Claims(of entra.Credential) jwt.Claims {
	now := time.Now()
	return jwt.Claims{
		Issuer: of.Issuer, Subject: of.Subject, Audience: jwt.Audience{of.Audience},
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Hour)),
	}
}

// Token signs the claims with the n-th test key, as kube-apiserver signs with an
// RSA key: RS256, and the key's ID in the header.
func Token(t testing.TB, n int, claims jwt.Claims) string {
	t.Helper()
	return Sign(t, jose.SigningKey{
		Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: keytest.RSA(t, n), KeyID: keytest.Key(t, n).ID},
	}, claims)
}

// Sign signs the claims with any key, for tokens that kube-apiserver would not
// make.
func Sign(t testing.TB, key jose.SigningKey, claims jwt.Claims) string {
	t.Helper()
	signer, err := jose.NewSigner(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}
