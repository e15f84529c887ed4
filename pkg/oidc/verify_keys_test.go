package oidc_test

import (
	"bufio"
	"context"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// jwk is an entry of a JWK set with some members changed; nil takes one out.
func jwk(t testing.TB, key keys.Key, change map[string]any) string {
	t.Helper()
	set, err := keys.NewSet(key)
	if err != nil {
		t.Fatal(err)
	}
	body, err := set.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Keys []map[string]any }
	if err := json.Unmarshal(body, &document); err != nil {
		t.Fatal(err)
	}
	maps.Copy(document.Keys[0], change)
	maps.DeleteFunc(document.Keys[0], func(_ string, value any) bool { return value == nil })
	entry, err := json.Marshal(document.Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(entry)
}

// keySet replaces the JWK set and nothing else.
func (w *world) keySet(entries ...string) {
	w.jwks.body = `{"keys":[` + strings.Join(entries, ",") + `]}`
}

func ec(t testing.TB, id string) keys.Key {
	t.Helper()
	return keys.Key{ID: id, Algorithm: "ES256", Public: keytest.EC(t, elliptic.P256()).Public()}
}

func TestVerifyKeys(t *testing.T) {
	good := jwk(t, rsaPublic("rsa-1"), nil)
	const (
		publish   = ` -> publish the cluster's signing keys with issuer-sync publish`
		together  = ` -> publish both documents together, with issuer-sync publish: the list follows from the keys`
		unusable  = ` -> take it out, or publish it as the cluster serves it at /openid/v1/jwks`
		unchanged = ` -> upload what issuer-sync publish renders, unchanged`
	)
	with := func(entries ...string) func(*world) { return func(w *world) { w.keySet(entries...) } }
	for _, test := range []verifyCase{
		{
			name: "two kinds of key", change: func(w *world) { w.publish(rsaPublic("rsa-1"), ec(t, "ec-1")) },
			want: []string{
				`PASS  jwks: key ec-1: ES256, EC on P-256`,
				`PASS  jwks: key count: 2 of 2 usable`,
				`PASS  jwks: algorithms: ES256, RS256, as listed in the discovery document`,
			},
		},
		{
			name: "no key", change: with(), blocks: "jwks: key count",
			want: []string{`FAIL  jwks: key count: 0 keys, none of them usable` + publish},
		},
		{
			name: "no list of keys", change: func(w *world) { w.jwks.body = `{}` }, blocks: "jwks: key count",
			want: []string{
				`FAIL  jwks: strict JSON: not a JWK set: member "keys" is missing` + unchanged,
				`FAIL  jwks: key count: 0 keys, none of them usable` + publish,
			},
		},
		{
			name:   "a private key",
			change: with(good, jwk(t, ec(t, "leaked"), map[string]any{"d": "canary"}), jwk(t, ec(t, "x"), map[string]any{"kid": nil, "d": "canary"})),
			want: []string{
				`FAIL  jwks: no private members: PRIVATE KEY PUBLISHED: "leaked", "entry 3" -> ROTATE NOW: give the cluster a new signing key in place of this one,` +
					` and run issuer-sync publish, which replaces a set that holds private members; whoever read it can sign tokens`,
				`FAIL  jwks: key leaked: private key: member "d"; remove it and consider the key lost -> rotate now, as above`,
				`FAIL  jwks: key entry 3: private key: member "d"; remove it and consider the key lost -> rotate now, as above`,
				`PASS  jwks: key count: 1 of 3 usable`,
				`WARN  jwks: key IDs: no kid in "entry 3": no token can choose them -> publish each key with the kid that the cluster puts into its tokens`,
			},
		},
		{
			name: "a private key behind a duplicate member", change: with(good, `{"kid":"leaked","kid":"leaked","kty":"RSA","d":"canary"}`),
			want: []string{
				`FAIL  jwks: no private members: PRIVATE KEY PUBLISHED: "leaked" -> ROTATE NOW: give the cluster a new signing key in place of this one,` +
					` and run issuer-sync publish, which replaces a set that holds private members; whoever read it can sign tokens`,
				`FAIL  jwks: key leaked: private key: member "d"; remove it and consider the key lost -> rotate now, as above`,
				`PASS  jwks: key count: 1 of 2 usable`,
			},
		},
		{
			name: "a private key behind bytes that are not UTF-8", change: with(good, "{\"kid\":\"leaked\",\"x\":\"\xff\",\"kty\":\"RSA\",\"d\":\"canary\"}"),
			want: []string{
				`FAIL  jwks: strict JSON: not a JWK set: it is not UTF-8` + unchanged,
				`FAIL  jwks: no private members: PRIVATE KEY PUBLISHED: "leaked" -> ROTATE NOW: give the cluster a new signing key in place of this one,` +
					` and run issuer-sync publish, which replaces a set that holds private members; whoever read it can sign tokens`,
				`FAIL  jwks: key leaked: private key: member "d"; remove it and consider the key lost -> rotate now, as above`,
				`PASS  jwks: key count: 1 of 2 usable`,
			},
		},
		{
			name: "a duplicate member in a key", change: with(good, `{"kid":"a","kid":"b","kty":"RSA","n":"AQAB","e":"AQAB"}`),
			want: []string{
				`FAIL  jwks: key b: malformed key: json: duplicate key 'kid' in object` + unusable,
				`PASS  jwks: key count: 1 of 2 usable`,
			},
		},
		{
			name: "entries that are no keys", change: with(good, `null`, `[]`, `{"kid":7}`),
			want: []string{
				`FAIL  jwks: key entry 2: malformed key: member "kty" is missing` + unusable,
				`FAIL  jwks: key entry 3: malformed key: json: cannot unmarshal array into Go value of type map[string]json.RawMessage` + unusable,
				`FAIL  jwks: key entry 4: malformed key: json: cannot unmarshal number into Go value of type string` + unusable,
				`PASS  jwks: key count: 1 of 4 usable`,
				`WARN  jwks: key IDs: no kid in "entry 2", "entry 3", "entry 4": no token can choose them -> publish each key with the kid that the cluster puts into its tokens`,
			},
		},
		{
			name: "a duplicate list of keys", change: func(w *world) { w.jwks.body = `{"keys":[],` + w.jwks.body[1:] },
			want: []string{`FAIL  jwks: strict JSON: not a JWK set: json: duplicate key 'keys' in object` + unchanged},
		},
		{
			name: "a weak key alone", blocks: "jwks: key count",
			change: with(`{"kty":"RSA","kid":"weak","e":"AQAB","n":"` + strings.Repeat("_", 85) + `w"}`),
			want: []string{
				`FAIL  jwks: key weak: weak key: an RSA modulus of 512 bits; want 2048 to 8192` + unusable,
				`FAIL  jwks: key count: 1 keys, none of them usable` + publish,
			},
		},
		{
			name:   "keys that others pass over",
			change: with(good, `{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"AA"}`, jwk(t, rsaPublic("pss"), map[string]any{"alg": "PS256"}), jwk(t, ec(t, "x"), map[string]any{"kid": nil})),
			want: []string{
				`WARN  jwks: key ed: relying parties pass over it: key type not supported: "kty" is "OKP"; want "RSA" or "EC" -> take it out; if the cluster signs with it, give the cluster an RSA key`,
				`WARN  jwks: key pss: relying parties pass over it: signing scheme not supported: "PS256"; the clouds accept RS and ES algorithms -> take it out; if the cluster signs with it, give the cluster an RSA key`,
				`WARN  jwks: key entry 4: no token can choose it: key ID missing or too long: it has 0 bytes; want 1 to 1024 -> publish it with the kid that the cluster puts into its tokens`,
				`PASS  jwks: key count: 1 of 4 usable`,
				`WARN  jwks: key IDs: no kid in "entry 4": no token can choose them -> publish each key with the kid that the cluster puts into its tokens`,
			},
		},
		{
			name:   "keys for something else",
			change: with(good, jwk(t, ec(t, "enc"), map[string]any{"use": "enc"}), jwk(t, ec(t, "none"), map[string]any{"alg": "none"}), `{"kty":"EC","crv":"P-256","kid":"half"}`),
			want: []string{
				`FAIL  jwks: key enc: not a signature key: "use" is "enc"; want "sig"` + unusable,
				`FAIL  jwks: key none: algorithm does not fit: "alg" is "none" with "kty" "EC"; want one of ["ES256" "ES384" "ES512"]` + unusable,
				`FAIL  jwks: key half: malformed key: go-jose/go-jose: invalid EC key, missing x/y values` + unusable,
				`PASS  jwks: key count: 1 of 4 usable`,
			},
		},
		{
			name: "one ID for two keys", change: with(good, jwk(t, rsaPublic("other"), map[string]any{"kid": "rsa-1"})),
			want: []string{
				`PASS  jwks: key count: 2 of 2 usable`,
				`FAIL  jwks: key IDs: two different keys are called "rsa-1" -> give each key an ID of its own; Kubernetes derives it from the key`,
			},
		},
		{
			name: "one key twice", change: with(good, good),
			want: []string{
				`PASS  jwks: key count: 2 of 2 usable`,
				`WARN  jwks: key IDs: 2 keys, but only 1 different ones -> publish each key once`,
			},
		},
		{
			name: "an algorithm that is not listed", change: with(good, jwk(t, ec(t, "ec-1"), nil)),
			want: []string{
				`PASS  jwks: key ec-1: ES256, EC on P-256`,
				`PASS  jwks: key count: 2 of 2 usable`,
				`FAIL  jwks: algorithms: the discovery document does not list "ES256", of which there are keys` + together,
			},
		},
		{
			name: "algorithms without a key", change: func(w *world) {
				w.set("id_token_signing_alg_values_supported", []string{"RS256", "ES256", "ES384"})
			},
			want: []string{`WARN  jwks: algorithms: the discovery document lists "ES256", "ES384", of which there is no key` + together},
		},
		{
			name: "algorithms without a signature", change: func(w *world) {
				w.set("id_token_signing_alg_values_supported", []string{"RS256", "none", "HS256"})
			},
			want: []string{`FAIL  jwks: algorithms: the discovery document lists "none", "HS256", which anybody can sign with` + together},
		},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, nil) })
	}
}

func TestVerifyManyKeys(t *testing.T) {
	for _, test := range []struct {
		count  int
		want   string
		listed int // keys with a line of their own
	}{
		{100, "PASS  jwks: key count: 100 of 100 usable", 100},
		{101, "FAIL  jwks: key count: 101 keys; relying parties read at most 100 -> take out the keys whose tokens have all expired", 101},
		{251, "FAIL  jwks: key count: 251 keys; relying parties read at most 100 -> take out the keys whose tokens have all expired", 250},
	} {
		t.Run(fmt.Sprint(test.count), func(t *testing.T) {
			w := newWorld(t)
			w.keySet(w.rsaEntries(test.count)...)
			var got string
			var listed int
			for _, check := range w.verify().Checks {
				switch check.Name {
				case "jwks: key count":
					got = check.String()
				case "jwks: key":
					listed++
				}
			}
			if got != test.want || listed != test.listed {
				t.Errorf("%s, %d lines; want %s, %d lines", got, listed, test.want, test.listed)
			}
		})
	}
}

// rsaEntries are n entries for a JWK set.
func (w *world) rsaEntries(n int) []string {
	entries := make([]string, n)
	for i := range entries {
		entries[i] = jwk(w.t, rsaPublic(fmt.Sprintf("rsa-%d", i+1)), nil)
	}
	return entries
}

// FuzzVerifyDocuments shows that no document makes Verify panic, drive a
// terminal, or return keys that cannot be published.
func FuzzVerifyDocuments(f *testing.F) {
	healthy := newWorld(f)
	f.Add(healthy.discovery.body, healthy.jwks.body)
	f.Add(healthy.discovery.body, `{"keys":[{"kty":"RSA","d":"x"},null,{"kid":1,"kty":"EC"}]}`)
	f.Add(`{"issuer":1,"jwks_uri":"https://a@b/?c#d"}`, `{"keys":{}}`)
	f.Fuzz(func(t *testing.T, discovery, jwks string) {
		bodies := map[string]string{"/" + oidc.DiscoveryPath: discovery, "/" + oidc.JWKSPath: jwks}
		report := oidc.Verify(t.Context(), issuer(t, worldIssuer), oidc.VerifyOptions{
			BaseURL:        "http://127.0.0.1",
			RelyingParties: []oidc.RelyingParty{oidc.Entra, oidc.AWS, oidc.GCP},
			Lookup:         healthy.options.Lookup,
			Dial: func(_ context.Context, _, address string) (net.Conn, error) {
				if address != "127.0.0.1:80" {
					return nil, errors.New("no other host answers here")
				}
				client, server := net.Pipe()
				go answer(server, bodies)
				return client, nil
			},
		})
		hold(t, report)
		if report.Keys.Len() > 0 {
			if _, err := report.Keys.JWKS(); err != nil {
				t.Error(err)
			}
		}
	})
}

// answer serves one request on a connection.
func answer(connection net.Conn, bodies map[string]string) {
	defer connection.Close() //nolint:errcheck // a pipe
	request, err := http.ReadRequest(bufio.NewReader(connection))
	if err != nil {
		return
	}
	body := bodies[request.URL.Path]
	response := http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Close: true,
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
	}
	response.Write(connection) //nolint:errcheck // seen by the client
}
