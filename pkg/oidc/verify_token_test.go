package oidc_test

import (
	"crypto"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

const entraAudience = "api://AzureADTokenExchange"

// kubernetesToken signs a token as kube-apiserver does (Kubernetes
// pkg/serviceaccount/claims.go), with some claims changed; nil takes one out.
func kubernetesToken(t testing.TB, algorithm, keyID string, key crypto.Signer, change map[string]any) string {
	t.Helper()
	claims := map[string]any{
		"iss": worldIssuer,
		"sub": "system:serviceaccount:default:app",
		"aud": []string{entraAudience},
		"iat": worldTime().Add(-time.Minute).Unix(),
		"nbf": worldTime().Add(-time.Minute).Unix(),
		"exp": worldTime().Add(time.Hour).Unix(),
		"jti": "canary-jti",
		"kubernetes.io": map[string]any{
			"namespace":      "default",
			"serviceaccount": map[string]any{"name": "app", "uid": "canary-uid"},
		},
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(algorithm),
		Key:       jose.JSONWebKey{Key: key, KeyID: keyID},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// unsigned puts a token together by hand.
func unsigned(header, claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(claims)) + "." + encode([]byte("canary"))
}

func TestVerifyToken(t *testing.T) {
	key, otherKey := keytest.RSA(t, 1), keytest.RSA(t, 2)
	prepare := func(w *world) {
		w.publish(keys.Key{ID: "rsa-1", Algorithm: "RS256", Public: key.Public()})
		w.options.Token = kubernetesToken(t, "RS256", "rsa-1", key, nil)
	}
	claim := func(name string, value any) func(*world) {
		return func(w *world) {
			w.options.Token = kubernetesToken(t, "RS256", "rsa-1", key, map[string]any{name: value})
		}
	}
	raw := func(token string) func(*world) { return func(w *world) { w.options.Token = token } }
	const (
		alone     = ` -> give the token alone, as kubectl create token prints it`
		issuers   = ` -> make --service-account-issuer of kube-apiserver, the first one if there are several, the published issuer, byte for byte`
		one       = ` -> ask for a token with exactly one audience, the one that the relying party expects`
		clocks    = ` -> synchronize the clocks of the control plane and of this machine`
		published = ` -> publish the key that the cluster signs with: issuer-sync publish; if that was just done, wait for max-age`
		together  = ` -> publish the key as the cluster serves it, and both documents together: issuer-sync publish`
		who       = ` -> find out who else signs with this key ID; publish the key that the cluster serves at /openid/v1/jwks`
	)
	bad := func(detail string) []string { return []string{`FAIL  token: format: ` + detail + alone} }
	for _, test := range []verifyCase{
		{name: "as it comes out of a file", change: func(w *world) { w.options.Token = " " + w.options.Token + "\r\n" }},
		{name: "one audience as a string", change: claim("aud", entraAudience)},
		{name: "garbage", change: raw("canary"), blocks: "token: format", want: bad("it has 1 parts between dots; want 3: header, claims, signature")},
		{name: "encrypted", change: raw("a.b.c.d.e"), blocks: "token: format", want: bad("it has 5 parts between dots; want 3: header, claims, signature")},
		{name: "no base64", change: raw("canary!.b.c"), blocks: "token: format", want: bad("its header is not base64url without padding")},
		{name: "no JSON", change: raw(unsigned("canary", "{}")), blocks: "token: format", want: bad("its header is not strict JSON with members of the right types")},
		{
			name: "a duplicate claim", change: raw(unsigned("{}", `{"iss":"canary","iss":"canary"}`)), blocks: "token: format",
			want: bad("its body is not strict JSON with members of the right types"),
		},
		{
			name: "an audience that is none", change: raw(unsigned("{}", `{"aud":{"canary":1}}`)), blocks: "token: format",
			want: bad("its body is not strict JSON with members of the right types"),
		},
		{
			name: "a byte more than 64 KiB", change: raw(strings.Repeat("a", 64<<10+1)), blocks: "token: format",
			want: bad("it has 65537 bytes; want at most 65536"),
		},
		{
			name: "nothing in it", change: raw(unsigned("{}", "{}")), blocks: "token: key ID",
			want: []string{
				`FAIL  token: issuer: the token says "", no issuer at all; want "` + worldIssuer + `"` + issuers,
				`FAIL  token: subject: the token has no subject -> use a service account token`,
				`FAIL  token: audience: 0 audiences: ; want one` + one,
				`FAIL  token: lifetime: the token has no expiry -> use a token of the TokenRequest API; legacy Secret tokens never expire and are refused by clouds`,
				`FAIL  token: key ID: the token names no key -> use a service account token`,
			},
		},
		{
			name: "another issuer", change: claim("iss", worldIssuer+"/"),
			want: []string{`FAIL  token: issuer: the token says "` + worldIssuer + `/", with a trailing slash; want "` + worldIssuer + `"` + issuers},
		},
		{
			name: "two audiences", change: claim("aud", []string{entraAudience, "sts.amazonaws.com"}),
			want: []string{`FAIL  token: audience: 2 audiences: "` + entraAudience + `", "sts.amazonaws.com"; want one` + one},
		},
		{
			name: "two audiences, one of them wanted",
			change: func(w *world) {
				claim("aud", []string{entraAudience, "sts.amazonaws.com"})(w)
				w.options.Audience = "sts.amazonaws.com"
			},
			want: []string{`PASS  token: audience: "` + entraAudience + `", "sts.amazonaws.com"`},
		},
		{
			name: "not the audience wanted", change: func(w *world) { w.options.Audience = "sts.amazonaws.com" },
			want: []string{`FAIL  token: audience: "` + entraAudience + `"; want "sts.amazonaws.com" -> ask for the token with the audience "sts.amazonaws.com"`},
		},
		{
			name: "just expired", change: claim("exp", worldTime().Unix()),
			want: []string{`FAIL  token: lifetime: the token expired at 2026-11-22T12:00:00Z, 0s ago -> get a new token`},
		},
		{name: "from a clock that is five minutes ahead", change: claim("nbf", worldTime().Add(5*time.Minute).Unix())},
		{
			name: "from a clock that is more than that ahead", change: claim("nbf", worldTime().Add(301*time.Second).Unix()),
			want: []string{`FAIL  token: lifetime: the token is not valid yet` + clocks},
		},
		{
			name: "issued in the future", change: claim("iat", worldTime().Add(301*time.Second).Unix()),
			want: []string{`FAIL  token: lifetime: the token is not valid yet` + clocks},
		},
		{
			name: "an expiry beyond all calendars", change: claim("exp", 1e300),
			want: []string{`FAIL  token: lifetime: the token has no expiry -> use a token of the TokenRequest API; legacy Secret tokens never expire and are refused by clouds`},
		},
		{
			name: "a key that is not published", blocks: "token: key ID", change: raw(kubernetesToken(t, "RS256", "rsa-2", otherKey, nil)),
			want: []string{`FAIL  token: key ID: key "rsa-2" is not published` + published},
		},
		{
			name: "another key of the same ID", change: raw(kubernetesToken(t, "RS256", "rsa-1", otherKey, nil)),
			want: []string{`FAIL  token: signature: it does not verify with the published key "rsa-1"` + who},
		},
		{
			name: "another algorithm", blocks: "token: algorithm", change: raw(kubernetesToken(t, "RS512", "rsa-1", key, nil)),
			want: []string{`FAIL  token: algorithm: the token is signed with "RS512", the key is for RS256` + together},
		},
		{
			name: "no signature", blocks: "token: algorithm",
			change: func(w *world) {
				_, rest, _ := strings.Cut(w.options.Token, ".")
				claims, _, _ := strings.Cut(rest, ".")
				w.options.Token = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"rsa-1"}`)) + "." + claims + "."
			},
			want: []string{`FAIL  token: algorithm: the token is signed with "none", the key is for RS256` + together},
		},
		{
			name: "signed with the public key as a secret", blocks: "token: algorithm",
			change: raw(unsigned(`{"alg":"HS256","kid":"rsa-1"}`, `{"iss":"`+worldIssuer+`","sub":"system:serviceaccount:default:app","aud":"`+entraAudience+`","exp":1795352400}`)),
			want:   []string{`FAIL  token: algorithm: the token is signed with "HS256", the key is for RS256` + together},
		},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, prepare) })
	}
}

func TestVerifyTokenAgainstAnAlgorithmThatIsNotListed(t *testing.T) {
	key := keytest.EC(t, elliptic.P256())
	verifyCase{
		blocks: "token: algorithm",
		change: func(w *world) { w.set("id_token_signing_alg_values_supported", []string{"RS256"}) },
		want: []string{
			`FAIL  jwks: algorithms: the discovery document does not list "ES256", of which there are keys -> publish both documents together, with issuer-sync publish: the list follows from the keys`,
			`FAIL  token: algorithm: the token is signed with "ES256", which the discovery document does not list -> publish the key as the cluster serves it, and both documents together: issuer-sync publish`,
		},
	}.run(t, func(w *world) {
		w.publish(keys.Key{ID: "ec-1", Algorithm: "ES256", Public: key.Public()})
		w.options.Token = kubernetesToken(t, "ES256", "ec-1", key, nil)
	})
}

func TestVerifyTokenByParty(t *testing.T) {
	rsa, ec := keytest.RSA(t, 1), keytest.EC(t, elliptic.P256())
	prepare := func(w *world) {
		asking(oidc.Entra, oidc.AWS, oidc.GCP)(w)
		w.publish(keys.Key{ID: "rsa-1", Algorithm: "RS256", Public: rsa.Public()}, keys.Key{ID: "ec-1", Algorithm: "ES256", Public: ec.Public()})
		w.options.Token = kubernetesToken(t, "RS256", "rsa-1", rsa, nil)
	}
	claim := func(name string, value any) func(*world) {
		return func(w *world) {
			w.options.Token = kubernetesToken(t, "RS256", "rsa-1", rsa, map[string]any{name: value})
		}
	}
	const (
		exchange = ` -> ask for a token with the one audience ` + entraAudience + `; the government and China clouds have USGov and China at its end`
	)
	subject := "system:serviceaccount:" + strings.Repeat("n", 63) + ":"
	for _, test := range []verifyCase{
		{
			name: "signed with ES256", change: func(w *world) { w.options.Token = kubernetesToken(t, "ES256", "ec-1", ec, nil) },
			want: []string{
				`PASS  token: key ID: "ec-1" is published`,
				`PASS  token: algorithm: ES256`,
				`FAIL  entra: algorithms: the token is signed with "ES256"; accepted are RS256 -> give kube-apiserver an RSA key to sign with: Entra answers AADSTS5002738 to all others`,
			},
		},
		{
			name: "for AWS", change: claim("aud", "sts.amazonaws.com"),
			want: []string{`PASS  token: audience: "sts.amazonaws.com"`, `FAIL  entra: audience: 1 audiences: "sts.amazonaws.com"` + exchange},
		},
		{
			name: "for Entra in the US Government cloud", change: claim("aud", entraAudience+"USGov"),
			want: []string{`PASS  token: audience: "` + entraAudience + `USGov"`, `PASS  entra: audience: "` + entraAudience + `USGov" alone`},
		},
		{
			name: "for two", change: func(w *world) {
				claim("aud", []string{entraAudience, "x"})(w)
				w.options.Audience = entraAudience
			},
			want: []string{
				`PASS  token: audience: "` + entraAudience + `", "x"`,
				`FAIL  entra: audience: 2 audiences: "` + entraAudience + `", "x"` + exchange,
			},
		},
		{
			name: "a subject of 127 characters", change: claim("sub", subject+strings.Repeat("s", 127-len(subject))),
			want: []string{`PASS  token: subject: "` + subject + strings.Repeat("s", 127-len(subject)) + `"`},
		},
		{
			name: "a subject of 128 characters", change: claim("sub", subject+strings.Repeat("s", 128-len(subject))),
			want: []string{
				`PASS  token: subject: "` + subject + strings.Repeat("s", 128-len(subject)) + `"`,
				`FAIL  gcp: subject: 128 characters; google.subject holds 127 -> use a shorter namespace or service account name, or map google.subject to a part of the subject`,
			},
		},
		{
			name: "an audience of 256 characters", change: claim("aud", strings.Repeat("a", 256)),
			want: []string{
				`PASS  token: audience: "` + strings.Repeat("a", 256) + `"`,
				`FAIL  entra: audience: 1 audiences: "` + strings.Repeat("a", 256) + `"` + exchange,
			},
		},
		{
			name: "an audience of 257 characters", change: claim("aud", strings.Repeat("a", 257)),
			want: []string{
				`PASS  token: audience: "` + strings.Repeat("a", 257) + `"`,
				`FAIL  entra: audience: 1 audiences: "` + strings.Repeat("a", 257) + `"` + exchange,
				`FAIL  gcp: audience: an audience of 257 characters; want at most 256 -> let the provider accept a shorter audience, and ask for a token with it`,
			},
		},
		{
			name: "no token at all", change: func(w *world) { w.options.Token = "canary" }, blocks: "token: format",
			want: []string{`FAIL  token: format: it has 1 parts between dots; want 3: header, claims, signature -> give the token alone, as kubectl create token prints it`},
		},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, prepare) })
	}
}
