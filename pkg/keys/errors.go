package keys

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Rule is one reason for which input is refused or a key left out. It is an
// error, so that errors.Is(err, keys.RulePrivateKey) works on every error of
// this package.
type Rule string

// The rules. Those marked "refuses" reject the whole input, because what else
// it holds cannot be trusted to be complete or meant; the others leave one key
// out and report it.
const (
	RuleTooLarge     Rule = "too large"                    // refuses: more than MaxInputSize bytes
	RuleNotPEM       Rule = "no PEM block"                 // refuses
	RuleTruncated    Rule = "truncated PEM block"          // refuses: BEGIN without END, a file still being written
	RulePrivateKey   Rule = "private key"                  // refuses: it does not belong where public keys are read
	RuleCertificates Rule = "several certificates"         // refuses: which key is meant?
	RuleNotJWKS      Rule = "not a JWK set"                // refuses: HTML, broken JSON, duplicate members, wrong types
	RuleSymmetric    Rule = "symmetric key"                // refuses: kty "oct"
	RuleAlgorithm    Rule = "algorithm does not fit"       // refuses: "none", HMAC, or another key type's
	RuleUse          Rule = "not a signature key"          // refuses: use or key_ops other than for signatures
	RuleKeyIDClash   Rule = "two keys with one key ID"     // refuses
	RuleTooManyKeys  Rule = "too many keys"                // refuses: more than MaxKeys
	RuleNoKeys       Rule = "no usable key"                // refuses: an empty set is never an answer
	RuleMalformedKey Rule = "malformed key"                // refuses in a JWKS; left out in PEM, as Kubernetes does
	RuleKeyID        Rule = "key ID missing or too long"   // left out
	RuleKeyType      Rule = "key type not supported"       // left out: Ed25519, P-224, ...
	RuleWeakKey      Rule = "weak key"                     // left out
	RulePKCS1        Rule = "PKCS#1 public key"            // left out: Kubernetes does not read it
	RuleUnknownBlock Rule = "PEM block that holds no key"  // left out
	RuleScheme       Rule = "signing scheme not supported" // left out: RSA-PSS
)

// Error implements error.
func (r Rule) Error() string { return string(r) }

// Error says which rule an input or a key broke, and where. It never holds key
// material. errors.Is matches its Rule.
type Error struct {
	// Input names the file or URL, as the caller gave it; empty for a single key.
	Input string
	// Block is the number, from 1, of the PEM block or of the entry in a JWK
	// set; 0 means the whole input.
	Block int
	// KeyID is the key's ID where one is known.
	KeyID string
	// Rule is the rule that was broken.
	Rule Rule
	// Detail says what was found, and what would be valid.
	Detail string
	// Fingerprint is the SHA-256 of an input that was refused as a whole, in
	// hex: it tells two versions of it apart without showing either.
	Fingerprint string
}

func refuse(rule Rule, format string, args ...any) *Error {
	return &Error{Rule: rule, Detail: fmt.Sprintf(format, args...)}
}

// refuseInput is refuse for a whole input.
func refuseInput(data []byte, fault *Error) error {
	sum := sha256.Sum256(data)
	fault.Fingerprint = hex.EncodeToString(sum[:])
	return fault
}

// at returns e with its place filled in.
func (e *Error) at(input string, block int) *Error {
	e.Input, e.Block = input, block
	return e
}

// Error implements error: place, rule, detail.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Input != "" {
		b.WriteString(e.Input + ": ")
	}
	if e.Block > 0 {
		fmt.Fprintf(&b, "block %d: ", e.Block)
	}
	if e.KeyID != "" {
		fmt.Fprintf(&b, "key ID %q: ", e.KeyID)
	}
	b.WriteString(string(e.Rule))
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	return b.String()
}

// Unwrap returns the Rule.
func (e *Error) Unwrap() error { return e.Rule }
