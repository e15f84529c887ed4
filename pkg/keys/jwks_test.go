package keys_test

import (
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// members renders a key with go-jose, private members included if key is
// private, and applies changes to its members; nil removes one.
func members(t *testing.T, key any, changes map[string]any) string {
	t.Helper()
	data, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: "one", Algorithm: "RS256", Use: "sig"})
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	for name, value := range changes {
		m[name] = value
		if value == nil {
			delete(m, name)
		}
	}
	data, err = json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestParseJWKS(t *testing.T) {
	private := keytest.RSA(t, 1)
	public, other := private.Public(), keytest.RSA(t, 2).Public()
	p256 := keytest.EC(t, elliptic.P256()).Public()
	type changes = map[string]any
	good := members(t, public, changes{"kid": "good"})
	set := func(entries ...string) string { return `{"keys":[` + strings.Join(entries, ",") + `]}` }
	many := make([]string, 101)
	for i := range many {
		many[i] = members(t, public, changes{"kid": fmt.Sprint(i)})
	}
	point := map[string]any{}
	if err := json.Unmarshal([]byte(members(t, p256, nil)), &point); err != nil {
		t.Fatal(err)
	}

	for _, test := range []struct {
		name    string
		input   string
		want    []string
		skipped []string
		err     string
		rule    keys.Rule
	}{
		{name: "one key as kube-apiserver has it", input: set(good), want: []string{"good"}},
		{name: "key IDs that are no hash are kept", input: set(members(t, public, changes{"kid": "5c9c5a4f0c7ae1d2bd1fa8f5c9a3a5b4a6f6a1d2"}), members(t, other, changes{"kid": "kid with \"quotes\" / 日本"})), want: []string{"5c9c5a4f0c7ae1d2bd1fa8f5c9a3a5b4a6f6a1d2", "kid with \"quotes\" / 日本"}},
		{name: "alg derived when missing", input: set(members(t, p256, changes{"alg": nil})), want: []string{"one"}},
		{name: "use missing", input: set(members(t, public, changes{"use": nil})), want: []string{"one"}},
		{name: "members nobody knows are passed over", input: `{"x":1,` + set(members(t, public, changes{"x5t": "abc", "iss": "https://x"}))[1:], want: []string{"one"}},
		{name: "the same key twice merges", input: set(good, good), want: []string{"good"}},
		{name: "RS512", input: set(members(t, public, changes{"alg": "RS512"})), want: []string{"one"}},
		{
			name: "two keys with one key ID", input: set(good, members(t, other, changes{"kid": "good"})),
			rule: keys.RuleKeyIDClash, err: `src: key ID "good": two keys with one key ID: a relying party could not tell them apart`,
		},
		{
			name: "an empty key ID", input: set(good, members(t, other, changes{"kid": ""})),
			want: []string{"good"}, skipped: []string{"src: block 2: key ID missing or too long: it has 0 bytes; want 1 to 1024"},
		},
		{
			name: "no key ID", input: set(good, members(t, other, changes{"kid": nil})),
			want: []string{"good"}, skipped: []string{"src: block 2: key ID missing or too long: it has 0 bytes; want 1 to 1024"},
		},
		{
			name: "a private key", input: set(good, members(t, private, nil)),
			rule: keys.RulePrivateKey, err: `src: block 2: private key: member "d"; remove it and consider the key lost`,
		},
		{
			name: "a lone private member", input: set(members(t, public, changes{"qi": "AQAB"})),
			rule: keys.RulePrivateKey, err: `src: block 1: private key: member "qi"; remove it and consider the key lost`,
		},
		{
			name: "a symmetric key", input: set(good, `{"kty":"oct","kid":"o"}`),
			rule: keys.RuleSymmetric, err: `src: block 2: key ID "o": symmetric key: an issuer publishes public keys only`,
		},
		{
			name: "alg none", input: set(members(t, public, changes{"alg": "none"})),
			rule: keys.RuleAlgorithm, err: `src: block 1: key ID "one": algorithm does not fit: "alg" is "none" with "kty" "RSA"; want one of ["RS256" "RS384" "RS512" "PS256" "PS384" "PS512"]`,
		},
		{
			name: "alg of another key type", input: set(members(t, public, changes{"alg": "ES256"})),
			rule: keys.RuleAlgorithm, err: `src: block 1: key ID "one": algorithm does not fit: "alg" is "ES256" with "kty" "RSA"; want one of ["RS256" "RS384" "RS512" "PS256" "PS384" "PS512"]`,
		},
		{
			name: "alg of another curve", input: set(members(t, p256, changes{"alg": "ES384"})),
			rule: keys.RuleAlgorithm, err: `src: block 1: key ID "one": algorithm does not fit: "ES384" does not belong to this key, which verifies ES256`,
		},
		{
			name: "use enc", input: set(good, members(t, other, changes{"use": "enc"})),
			rule: keys.RuleUse, err: `src: block 2: key ID "one": not a signature key: "use" is "enc"; want "sig"`,
		},
		{
			name: "key_ops without verify", input: set(members(t, other, changes{"key_ops": []string{"encrypt"}})),
			rule: keys.RuleUse, err: `src: block 1: key ID "one": not a signature key: "key_ops" is ["encrypt"]; want "verify" in it`,
		},
		{
			name: "RSA-PSS", input: set(good, members(t, other, changes{"alg": "PS256"})),
			want: []string{"good"}, skipped: []string{`src: block 2: key ID "one": signing scheme not supported: "PS256"; the clouds accept RS and ES algorithms`},
		},
		{
			name: "Ed25519", input: set(good, `{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"AA"}`),
			want: []string{"good"}, skipped: []string{`src: block 2: key ID "ed": key type not supported: "kty" is "OKP"; want "RSA" or "EC"`},
		},
		{
			name: "P-224", input: set(good, `{"kty":"EC","crv":"P-224","kid":"p","x":"AA","y":"AA"}`),
			want: []string{"good"}, skipped: []string{`src: block 2: key ID "p": key type not supported: "crv" is "P-224"; want "P-256", "P-384" or "P-521"`},
		},
		{
			name: "a point off its curve", input: set(good, members(t, p256, changes{"alg": "ES256", "y": point["x"]})),
			rule: keys.RuleMalformedKey, err: `src: block 2: key ID "one": malformed key: go-jose/go-jose: invalid EC key, X/Y are not on declared curve`,
		},
		{
			name: "RSA with e = 65536", input: set(good, members(t, other, changes{"e": "AQAA"})),
			want: []string{"good"}, skipped: []string{`src: block 2: key ID "one": weak key: an RSA exponent of 65536; want an odd number from 3 to 2147483647`},
		},
		{
			name: "RSA with e = 1", input: set(good, members(t, other, changes{"e": "AQ"})),
			rule: keys.RuleMalformedKey, err: `src: block 2: key ID "one": malformed key: go-jose/go-jose: invalid RSA key, bad e value`,
		},
		{
			name: "kty missing", input: set(members(t, public, changes{"kty": nil})),
			rule: keys.RuleMalformedKey, err: `src: block 1: key ID "one": malformed key: member "kty" is missing`,
		},
		{
			name: "modulus missing", input: set(members(t, public, changes{"n": nil})),
			rule: keys.RuleMalformedKey, err: `src: block 1: key ID "one": malformed key: go-jose/go-jose: invalid RSA key, missing n/e values`,
		},
		{
			name: "kid as a number", input: set(members(t, public, changes{"kid": 1})),
			rule: keys.RuleMalformedKey, err: `src: block 1: malformed key: json: cannot unmarshal number into Go value of type string`,
		},
		{name: "no keys", input: `{"keys":[]}`, rule: keys.RuleNoKeys, err: "src: no usable key"},
		{name: "keys null", input: `{"keys":null}`, rule: keys.RuleNoKeys, err: "src: no usable key"},
		{name: "keys missing", input: `{}`, rule: keys.RuleNotJWKS, err: `src: not a JWK set: member "keys" is missing`},
		{name: "keys in capitals", input: `{"KEYS":[` + good + `]}`, rule: keys.RuleNotJWKS, err: `src: not a JWK set: member "keys" is missing`},
		{name: "keys no list", input: `{"keys":{}}`, rule: keys.RuleNotJWKS, err: `src: not a JWK set: member "keys": json: cannot unmarshal object into Go value of type []json.RawMessage`},
		{name: "keys twice", input: `{"keys":[` + good + `],"keys":[]}`, rule: keys.RuleNotJWKS, err: `src: not a JWK set: json: duplicate key 'keys' in object`},
		{
			name: "kid twice in one key", input: set(`{"kid":"a",` + good[1:]),
			rule: keys.RuleMalformedKey, err: `src: block 1: malformed key: json: duplicate key 'kid' in object`,
		},
		{name: "a byte order mark", input: "\ufeff" + set(good), rule: keys.RuleNotJWKS, err: "src: not a JWK set: it begins with a byte order mark"},
		{name: "HTML", input: " <!DOCTYPE html>", rule: keys.RuleNotJWKS, err: "src: not a JWK set: it looks like HTML or XML"},
		{name: "not UTF-8", input: `{"a":"` + "\xff" + `"}`, rule: keys.RuleNotJWKS, err: "src: not a JWK set: it is not UTF-8"},
		{name: "cut off", input: set(good)[:80], rule: keys.RuleNotJWKS, err: "src: not a JWK set: unexpected end of JSON input"},
		{name: "nothing", rule: keys.RuleNotJWKS, err: "src: not a JWK set: unexpected end of JSON input"},
		{name: "trailing data", input: set(good) + "x", rule: keys.RuleNotJWKS, err: "src: not a JWK set: invalid character 'x' after top-level value"},
		{name: "nested 10,000 deep", input: strings.Repeat("[", 10000) + strings.Repeat("]", 10000), rule: keys.RuleNotJWKS, err: "src: not a JWK set: json: cannot unmarshal array into Go value of type map[string]json.RawMessage"},
		{name: "nested 10,000 deep in a member", input: `{"keys":[{"kty":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}]}`, rule: keys.RuleNotJWKS, err: "src: not a JWK set: invalid character '[' exceeded max depth"},
		{name: "over 1 MiB", input: set(good) + strings.Repeat(" ", 1<<20), rule: keys.RuleTooLarge, err: fmt.Sprintf("src: too large: %d bytes; want at most 1048576", len(set(good))+1<<20)},
		{name: "101 keys", input: set(many...), rule: keys.RuleTooManyKeys, err: "src: too many keys: 101; relying parties read at most 100"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, skipped, err := keys.ParseJWKS("src", []byte(test.input))
			checkParsed(t, parsed{got, skipped, err}, test.want, test.skipped, test.err, test.rule)
		})
	}
}

func TestParseJWK(t *testing.T) {
	private := keytest.RSA(t, 1)
	public := private.Public()
	good := members(t, public, nil)
	for _, test := range []struct {
		name  string
		input string
		rule  keys.Rule // empty: the key is good
		err   string
	}{
		{name: "a key as kube-apiserver has it", input: good},
		{name: "space around it", input: " " + good + "\n"},
		{
			name: "a private key", input: members(t, private, nil),
			rule: keys.RulePrivateKey, err: `private key: member "d"; remove it and consider the key lost`,
		},
		{
			name: "what a set would leave out", input: `{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"AA"}`,
			rule: keys.RuleKeyType, err: `key ID "ed": key type not supported: "kty" is "OKP"; want "RSA" or "EC"`,
		},
		{
			name: "no key ID", input: members(t, public, map[string]any{"kid": nil}),
			rule: keys.RuleKeyID, err: "key ID missing or too long: it has 0 bytes; want 1 to 1024",
		},
		{
			name: "another use", input: members(t, public, map[string]any{"use": "enc"}),
			rule: keys.RuleUse, err: `key ID "one": not a signature key: "use" is "enc"; want "sig"`,
		},
		{
			name: "a member twice", input: `{"kid":"a",` + good[1:],
			rule: keys.RuleMalformedKey, err: "malformed key: json: duplicate key 'kid' in object",
		},
		{
			name: "a second key behind it", input: good + "," + good,
			rule: keys.RuleMalformedKey, err: "malformed key: invalid character ',' after top-level value",
		},
		{
			name: "a set", input: `{"keys":[` + good + `]}`,
			rule: keys.RuleMalformedKey, err: `malformed key: member "kty" is missing`,
		},
		{name: "null", input: "null", rule: keys.RuleMalformedKey, err: `malformed key: member "kty" is missing`},
		{name: "nothing", rule: keys.RuleMalformedKey, err: "malformed key: unexpected end of JSON input"},
		{name: "a byte order mark", input: "\ufeff" + good, rule: keys.RuleMalformedKey, err: "malformed key: it begins with a byte order mark"},
		{name: "HTML", input: "<html>", rule: keys.RuleMalformedKey, err: "malformed key: it looks like HTML or XML"},
		{name: "not UTF-8", input: `{"x":"` + "\xff" + `",` + good[1:], rule: keys.RuleMalformedKey, err: "malformed key: it is not UTF-8"},
		{
			name: "over 1 MiB", input: good + strings.Repeat(" ", 1<<20),
			rule: keys.RuleTooLarge, err: fmt.Sprintf("too large: %d bytes; want at most 1048576", len(good)+1<<20),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			key, fault := keys.ParseJWK([]byte(test.input))
			if fault != nil {
				if fault.Rule != test.rule || fault.Error() != test.err || key.Public != nil {
					t.Errorf("got key %v and error %v\nwant error %s", key, fault, test.err)
				}
				return
			}
			if test.rule != "" || key.ID != "one" || key.Algorithm != "RS256" || !keytest.RSA(t, 1).PublicKey.Equal(key.Public) {
				t.Errorf("got %v; want error %q", key, test.err)
			}
		})
	}
}
