package oidc

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4/json" // refuses duplicate members and compares names exactly

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// token is what a report may show of a service account token, and the token
// itself for the check of its signature.
type token struct {
	raw              string
	algorithm, keyID string
	issuer, subject  string
	audience         audiences
	expiry           time.Time
	notBefore        time.Time // zero if the token has none
	issuedAt         time.Time // zero if the token has none
}

// audiences is one string or a list of them (RFC 7519 section 4.1.3).
type audiences []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audiences) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audiences{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// maxTokenSize is far above what kube-apiserver makes: 1 to 2 KiB.
const maxTokenSize = 64 << 10

// parseToken reads a token without verifying anything. Its errors hold nothing
// of the token.
func parseToken(s string) (token, error) {
	t := token{raw: strings.TrimSpace(s)}
	if len(t.raw) > maxTokenSize {
		return token{}, fmt.Errorf("it has %d bytes; want at most %d", len(t.raw), maxTokenSize)
	}
	parts := strings.Split(t.raw, ".")
	if len(parts) != 3 {
		// RFC 7515 section 3.1. Five parts would be an encrypted token, which no issuer of Kubernetes makes.
		return token{}, fmt.Errorf("it has %d parts between dots; want 3: header, claims, signature", len(parts))
	}
	var header struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	if err := decodePart(parts[0], &header); err != nil {
		return token{}, fmt.Errorf("its header %w", err)
	}
	var claims struct {
		Issuer    string    `json:"iss"`
		Subject   string    `json:"sub"`
		Audience  audiences `json:"aud"`
		Expiry    float64   `json:"exp"`
		NotBefore float64   `json:"nbf"`
		IssuedAt  float64   `json:"iat"`
	}
	if err := decodePart(parts[1], &claims); err != nil {
		return token{}, fmt.Errorf("its body %w", err)
	}
	t.algorithm, t.keyID = header.Algorithm, header.KeyID
	t.issuer, t.subject, t.audience = claims.Issuer, claims.Subject, claims.Audience
	t.expiry, t.notBefore, t.issuedAt = numericDate(claims.Expiry), numericDate(claims.NotBefore), numericDate(claims.IssuedAt)
	return t, nil
}

// decodePart decodes one part of a token, without quoting it in the error.
func decodePart(part string, target any) error {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return errors.New("is not base64url without padding")
	}
	if json.Unmarshal(data, target) != nil {
		return errors.New("is not strict JSON with members of the right types")
	}
	return nil
}

// numericDate converts seconds since 1970 (RFC 7519 section 2); what is absent
// or beyond all calendars is the zero time.
func numericDate(seconds float64) time.Time {
	const year9999 = 253402300799
	if seconds <= 0 || seconds > year9999 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

func (v *view) judgeToken(s *sequence, keysNeed string) {
	s.gate("format", func() verdict {
		if v.tokenFault != nil {
			return failed("give the token alone, as kubectl create token prints it", "%v", v.tokenFault)
		}
		return passed("a signed token")
	})
	s.check("issuer", v.tokenIssuer)
	s.check("subject", v.tokenSubject)
	s.check("audience", v.tokenAudience)
	s.check("lifetime", v.tokenLifetime)
	published := *s
	if published.needs == "" {
		published.needs = keysNeed
	}
	published.gate("key ID", v.tokenKey)
	published.gate("algorithm", v.tokenAlgorithm)
	published.check("signature", v.tokenSignature)
}

func (v *view) tokenIssuer() verdict {
	got, want := v.token.issuer, v.issuer.String()
	if got == want {
		return passed("%q", got)
	}
	return failed("make --service-account-issuer of kube-apiserver, the first one if there are several, the published issuer, byte for byte",
		"the token says %q%s; want %q", got, difference(got, want), want)
}

func (v *view) tokenSubject() verdict {
	if v.token.subject == "" {
		return failed("use a service account token", "the token has no subject")
	}
	return passed("%q", v.token.subject)
}

func (v *view) tokenAudience() verdict {
	got, want := v.token.audience, v.options.Audience
	switch {
	case want != "" && slices.Contains(got, want):
		return passed("%s", several(got))
	case want != "":
		return failed(fmt.Sprintf("ask for the token with the audience %q", want), "%s; want %q", several(got), want)
	case len(got) == 1:
		return passed("%q", got[0])
	default:
		return failed("ask for a token with exactly one audience, the one that the relying party expects", "%d audiences: %s; want one", len(got), several(got))
	}
}

// tokenLifetime tolerates for nbf and iat what go-oidc and AWS tolerate, and
// nothing for exp, as they do.
func (v *view) tokenLifetime() verdict {
	t := v.token
	switch {
	case t.expiry.IsZero():
		return failed("use a token of the TokenRequest API; legacy Secret tokens never expire and are refused by clouds", "the token has no expiry")
	case !v.now.Before(t.expiry):
		return failed("get a new token", "the token expired at %s, %s ago", t.expiry.Format(time.RFC3339), v.now.Sub(t.expiry).Truncate(time.Second))
	case t.notBefore.Sub(v.now) > clockLimit || t.issuedAt.Sub(v.now) > clockLimit:
		return failed("synchronize the clocks of the control plane and of this machine", "the token is not valid yet")
	default:
		return passed("expires at %s", t.expiry.Format(time.RFC3339))
	}
}

// tokenKeys returns the published keys that a token may mean.
func (v *view) tokenKeys() []keys.Key {
	return slices.DeleteFunc(usableKeys(v.entries), func(key keys.Key) bool { return key.ID != v.token.keyID })
}

func (v *view) tokenKey() verdict {
	switch {
	case v.token.keyID == "":
		return failed("use a service account token", "the token names no key")
	case len(v.tokenKeys()) == 0:
		return failed("publish the key that the cluster signs with: issuer-sync publish; if that was just done, wait for max-age",
			"key %q is not published", v.token.keyID)
	default:
		return passed("%q is published", v.token.keyID)
	}
}

func (v *view) tokenAlgorithm() verdict {
	const cure = "publish the key as the cluster serves it, and both documents together: issuer-sync publish"
	algorithm := v.token.algorithm
	if have := algorithmsOf(v.tokenKeys()); !slices.Contains(have, algorithm) {
		return failed(cure, "the token is signed with %q, the key is for %s", algorithm, strings.Join(have, ", "))
	}
	if !slices.Contains(v.metadata.algorithms, algorithm) {
		return failed(cure, "the token is signed with %q, which the discovery document does not list", algorithm)
	}
	return passed("%s", algorithm)
}

// tokenSignature asks go-oidc, the relying party of many Go programs. The
// claims have checks of their own.
func (v *view) tokenSignature() verdict {
	var public []crypto.PublicKey
	for _, key := range v.tokenKeys() {
		public = append(public, key.Public)
	}
	verifier := goidc.NewVerifier(v.issuer.String(), &goidc.StaticKeySet{PublicKeys: public}, &goidc.Config{
		SupportedSigningAlgs: []string{v.token.algorithm},
		SkipClientIDCheck:    true,
		SkipExpiryCheck:      true,
		SkipIssuerCheck:      true,
	})
	// The keys are at hand: there is nothing to wait for. The error may quote the token.
	if _, err := verifier.Verify(context.Background(), v.token.raw); err != nil {
		return failed("find out who else signs with this key ID; publish the key that the cluster serves at /openid/v1/jwks",
			"it does not verify with the published key %q", v.token.keyID)
	}
	return passed("verifies with the published key")
}
