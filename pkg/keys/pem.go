package keys

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"strings"
)

// MaxInputSize bounds what the parsers read, in bytes. 100 RSA keys of 8192
// bits take about 150 KiB as PEM or JWKS.
const MaxInputSize = 1 << 20

// MaxKeys bounds the keys in one input: Entra reads the first 100 keys of an
// issuer, AWS IAM accepts at most 100 RSA and 100 EC keys.
const MaxKeys = 100

// ParsePEM reads the public keys in data: PKIX "PUBLIC KEY" blocks and at most
// one X.509 certificate, whatever their labels say, as kube-apiserver reads
// --service-account-key-file (k8s.io/client-go/util/keyutil,
// ParsePublicKeysPEM). Unlike it, ParsePEM takes no private keys, and it tells
// of every block it leaves out instead of passing over it in silence.
//
// The input's name is used in errors only. skipped lists the blocks that were
// left out beside at least one good key. An error, always an *[Error], means
// that nothing of the input may be used.
func ParsePEM(input string, data []byte) (set Set, skipped []*Error, err error) {
	set, skipped, fault := parsePEM(input, data)
	if fault != nil {
		return Set{}, nil, refuseInput(data, fault)
	}
	return set, skipped, nil
}

func parsePEM(input string, data []byte) (Set, []*Error, *Error) {
	if len(data) > MaxInputSize {
		return Set{}, nil, refuse(RuleTooLarge, "%d bytes; want at most %d", len(data), MaxInputSize).at(input, 0)
	}
	blocks := splitPEM(data)
	if len(blocks) == 0 {
		return Set{}, nil, refuse(RuleNotPEM, `want "-----BEGIN PUBLIC KEY-----"`).at(input, 0)
	}
	var found []Key
	var skipped []*Error
	certificates := 0
	for i, text := range blocks {
		key, fromCertificate, fault := parseBlock(text)
		if fromCertificate {
			certificates++
		}
		switch {
		case fault == nil:
			found = append(found, key)
		case fault.Rule == RulePrivateKey || fault.Rule == RuleTruncated:
			return Set{}, nil, fault.at(input, i+1)
		default:
			skipped = append(skipped, fault.at(input, i+1))
		}
	}
	if certificates > 1 {
		return Set{}, nil, refuse(RuleCertificates, "%d in one file; give the signing certificate alone", certificates).at(input, 0)
	}
	return assemble(input, found, skipped)
}

// assemble makes the set that a parser returns.
func assemble(input string, found []Key, skipped []*Error) (Set, []*Error, *Error) {
	if len(found) > MaxKeys {
		return Set{}, nil, refuse(RuleTooManyKeys, "%d; relying parties read at most %d", len(found), MaxKeys).at(input, 0)
	}
	if len(found) == 0 {
		empty := refuse(RuleNoKeys, "").at(input, 0)
		if len(skipped) > 0 {
			first := *skipped[0]
			first.Input = ""
			empty.Detail = first.Error()
		}
		return Set{}, nil, empty
	}
	set, fault := newSet(found)
	if fault != nil {
		return Set{}, nil, fault.at(input, 0)
	}
	return set, skipped, nil
}

const beginLine, endLine = "-----BEGIN ", "-----END "

// splitPEM cuts data at every line that begins a block. encoding/pem skips
// what it cannot decode without a word; cutting first keeps the count, so that
// such blocks can be reported.
func splitPEM(data []byte) [][]byte {
	var blocks [][]byte
	start := -1
	for offset := 0; offset < len(data); {
		line, _, _ := bytes.Cut(data[offset:], []byte("\n"))
		if bytes.HasPrefix(line, []byte(beginLine)) {
			if start >= 0 {
				blocks = append(blocks, data[start:offset])
			}
			start = offset
		}
		offset += len(line) + 1
	}
	if start >= 0 {
		blocks = append(blocks, data[start:])
	}
	return blocks
}

// parseBlock reads the key in the text of one block.
func parseBlock(text []byte) (key Key, fromCertificate bool, fault *Error) {
	label, _, _ := strings.Cut(string(text[len(beginLine):min(len(text), 80)]), "-----")
	if strings.Contains(label, "PRIVATE KEY") {
		return Key{}, false, privateKeyFault(label)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		if !bytes.Contains(text, []byte(endLine)) {
			return Key{}, false, refuse(RuleTruncated, "%q begins but does not end", label)
		}
		return Key{}, false, refuse(RuleMalformedKey, "%q block that is not valid PEM", label)
	}
	public, fromCertificate, fault := publicKey(block)
	if fault != nil {
		return Key{}, fromCertificate, fault
	}
	key, err := New(public)
	if err != nil {
		return Key{}, fromCertificate, err.(*Error) //nolint:errorlint // New's documented type
	}
	return key, fromCertificate, nil
}

// publicKey decodes DER by content, as Kubernetes does, and names what is not
// a public key.
func publicKey(block *pem.Block) (public crypto.PublicKey, fromCertificate bool, fault *Error) {
	if public, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
		return public, false, nil
	}
	if certificate, err := x509.ParseCertificate(block.Bytes); err == nil {
		return certificate.PublicKey, true, nil
	}
	if isPrivateKey(block.Bytes) {
		return nil, false, privateKeyFault(block.Type)
	}
	if _, err := x509.ParsePKCS1PublicKey(block.Bytes); err == nil {
		return nil, false, refuse(RulePKCS1, "Kubernetes does not read it; convert it with: openssl rsa -RSAPublicKey_in -pubout")
	}
	if block.Type == "PUBLIC KEY" || block.Type == "CERTIFICATE" {
		return nil, false, refuse(RuleMalformedKey, "%q block that holds none", block.Type)
	}
	return nil, false, refuse(RuleUnknownBlock, "%q", block.Type)
}

func isPrivateKey(der []byte) bool {
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return true
	}
	_, err := x509.ParseECPrivateKey(der)
	return err == nil
}

func privateKeyFault(label string) *Error {
	return refuse(RulePrivateKey, "%q block; give the public key, made with: openssl pkey -pubout", label)
}
