package keys

import (
	"bytes"
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // refuses duplicate members and compares names exactly
)

// ParseJWKS reads the public keys of a JWK set (RFC 7517 section 5), strictly:
// at most [MaxInputSize] bytes of UTF-8 without a byte order mark, no duplicate
// member, no private member, nothing after the set. Key IDs are kept as they
// are. A key without "alg" gets the one kube-apiserver would use.
//
// Input and results are as with [ParsePEM]; Block counts the entries of "keys".
func ParseJWKS(input string, data []byte) (set Set, skipped []*Error, err error) {
	set, skipped, fault := parseJWKS(input, data)
	if fault != nil {
		return Set{}, nil, refuseInput(data, fault)
	}
	return set, skipped, nil
}

func parseJWKS(input string, data []byte) (Set, []*Error, *Error) {
	entries, fault := splitJWKS(data)
	if fault != nil {
		return Set{}, nil, fault.at(input, 0)
	}
	var found []Key
	var skipped []*Error
	for i, entry := range entries {
		key, fault := ParseJWK(entry)
		switch {
		case fault == nil:
			found = append(found, key)
		case leavesOut(fault.Rule):
			skipped = append(skipped, fault.at(input, i+1))
		default:
			return Set{}, nil, fault.at(input, i+1)
		}
	}
	return assemble(input, found, skipped)
}

// leavesOut reports whether one key that breaks the rule is left out of a JWK
// set while the others stay.
func leavesOut(rule Rule) bool {
	switch rule {
	case RuleKeyID, RuleKeyType, RuleWeakKey, RuleScheme:
		return true
	default:
		return false
	}
}

func splitJWKS(data []byte) ([]json.RawMessage, *Error) {
	if len(data) > MaxInputSize {
		return nil, refuse(RuleTooLarge, "%d bytes; want at most %d", len(data), MaxInputSize)
	}
	var document map[string]json.RawMessage
	if err := UnmarshalStrict(data, &document); err != nil {
		return nil, refuse(RuleNotJWKS, "%v", err)
	}
	list, ok := document["keys"]
	if !ok {
		return nil, refuse(RuleNotJWKS, `member "keys" is missing`)
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(list, &entries); err != nil {
		return nil, refuse(RuleNotJWKS, `member "keys": %v`, err)
	}
	return entries, nil
}

// UnmarshalStrict is json.Unmarshal for documents that two parsers must not
// read differently: UTF-8 without a byte order mark, no duplicate member,
// names compared exactly. It does not bound the size.
func UnmarshalStrict(data []byte, v any) error {
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return errors.New("it begins with a byte order mark")
	case bytes.HasPrefix(bytes.TrimSpace(data), []byte("<")):
		return errors.New("it looks like HTML or XML")
	case !utf8.Valid(data):
		return errors.New("it is not UTF-8")
	}
	return json.Unmarshal(data, v)
}

// entry holds the members of a JWK that matter here.
type entry struct {
	Kty    string   `json:"kty,omitempty"`
	Kid    string   `json:"kid,omitempty"`
	Alg    string   `json:"alg,omitempty"`
	Use    string   `json:"use,omitempty"`
	KeyOps []string `json:"key_ops,omitempty"`
	Crv    string   `json:"crv,omitempty"`
	N      string   `json:"n,omitempty"`
	E      string   `json:"e,omitempty"`
	X      string   `json:"x,omitempty"`
	Y      string   `json:"y,omitempty"`
}

// ParseJWK reads one public key in JWK format (RFC 7517 section 4) by the rules
// that [ParseJWKS] has for each entry of a set. What ParseJWKS would leave out
// is refused here too; the rule tells which it is. Of the error's place only
// KeyID is filled in.
func ParseJWK(data []byte) (Key, *Error) {
	if len(data) > MaxInputSize {
		return Key{}, refuse(RuleTooLarge, "%d bytes; want at most %d", len(data), MaxInputSize)
	}
	var members map[string]json.RawMessage
	if err := UnmarshalStrict(data, &members); err != nil {
		return Key{}, refuse(RuleMalformedKey, "%v", err)
	}
	// RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1, RFC 9964. This comes first: what follows may quote the input.
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		if _, found := members[private]; found {
			return Key{}, refuse(RulePrivateKey, "member %q; remove it and consider the key lost", private)
		}
	}
	var jwk entry
	if err := json.Unmarshal(data, &jwk); err != nil {
		return Key{}, refuse(RuleMalformedKey, "%v", err)
	}
	key, fault := jwk.key()
	if fault != nil {
		fault.KeyID = jwk.Kid
		return Key{}, fault
	}
	return key, nil
}

func (jwk entry) key() (Key, *Error) {
	if fault := jwk.checkPurpose(); fault != nil {
		return Key{}, fault
	}
	public, fault := jwk.public()
	if fault != nil {
		return Key{}, fault
	}
	key := Key{ID: jwk.Kid, Algorithm: jwk.Alg, Public: public.Key}
	if key.Algorithm == "" {
		if key.Algorithm, fault = defaultAlgorithm(public.Key); fault != nil {
			return Key{}, fault
		}
	}
	return key, key.check()
}

// checkPurpose refuses keys that are not for verifying signatures.
func (jwk entry) checkPurpose() *Error {
	if jwk.Use != "" && jwk.Use != "sig" {
		return refuse(RuleUse, `"use" is %q; want "sig"`, jwk.Use)
	}
	if len(jwk.KeyOps) > 0 && !slices.Contains(jwk.KeyOps, "verify") {
		return refuse(RuleUse, `"key_ops" is %q; want "verify" in it`, jwk.KeyOps)
	}
	wanted := map[string][]string{
		"RSA": {"", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
		"EC":  {"", "ES256", "ES384", "ES512"},
	}[jwk.Kty]
	switch {
	case jwk.Kty == "":
		return refuse(RuleMalformedKey, `member "kty" is missing`)
	case jwk.Kty == "oct":
		return refuse(RuleSymmetric, "an issuer publishes public keys only")
	case wanted == nil:
		// RFC 7517 section 5: key types that are not understood are passed over.
		return refuse(RuleKeyType, `"kty" is %q; want "RSA" or "EC"`, jwk.Kty)
	case !slices.Contains(wanted, jwk.Alg):
		return refuse(RuleAlgorithm, `"alg" is %q with "kty" %q; want one of %q`, jwk.Alg, jwk.Kty, wanted[1:])
	case slices.Contains([]string{"PS256", "PS384", "PS512"}, jwk.Alg):
		return refuse(RuleScheme, "%q; the clouds accept RS and ES algorithms", jwk.Alg)
	}
	return nil
}

// public lets go-jose decode the material, from a JWK that holds nothing else.
func (jwk entry) public() (jose.JSONWebKey, *Error) {
	var key jose.JSONWebKey
	if jwk.Kty == "EC" && !slices.Contains([]string{"P-256", "P-384", "P-521"}, jwk.Crv) {
		return key, refuse(RuleKeyType, `"crv" is %q; want "P-256", "P-384" or "P-521"`, jwk.Crv)
	}
	data, err := json.Marshal(entry{Kty: jwk.Kty, Crv: jwk.Crv, N: jwk.N, E: jwk.E, X: jwk.X, Y: jwk.Y})
	if err == nil {
		err = key.UnmarshalJSON(data)
	}
	if err != nil {
		return key, refuse(RuleMalformedKey, "%v", err)
	}
	return key, nil
}
