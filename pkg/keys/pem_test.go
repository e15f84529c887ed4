package keys_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// Kubernetes pins this key and its ID in pkg/serviceaccount/keyid_test.go: if
// they part, tokens that are in use no longer find their key.
func TestKeyIDIsThatOfKubernetes(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "kubernetes.pub"))
	if err != nil {
		t.Fatal(err)
	}
	set, skipped, err := keys.ParsePEM("kubernetes.pub", data)
	if err != nil || len(skipped) > 0 {
		t.Fatalf("ParsePEM: %v, skipped %v", err, skipped)
	}
	if diff := cmp.Diff([]string{"JHJehTTTZlsspKHT-GaJxK7Kd1NQgZJu3fyK6K_QDYU"}, set.IDs()); diff != "" {
		t.Errorf("key IDs (-want +got):\n%s", diff)
	}
}

// block is one hand-made PEM block.
func block(label string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}

func pkixBlock(t *testing.T, public crypto.PublicKey) []byte {
	t.Helper()
	return keytest.PublicPEM(t, public)
}

// modulus is an odd number of the given length: no real key, but the same to a parser.
func modulus(bits int) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return n.Add(n, big.NewInt(1))
}

func certificate(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "service accounts"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0), // long expired: Kubernetes does not look
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return block("CERTIFICATE", der)
}

func ec(t *testing.T, curve elliptic.Curve) crypto.PublicKey {
	t.Helper()
	return keytest.EC(t, curve).Public()
}

func TestParsePEM(t *testing.T) {
	rsa1, rsa2 := keytest.RSA(t, 1), keytest.RSA(t, 2)
	good1, good2 := pkixBlock(t, rsa1.Public()), pkixBlock(t, rsa2.Public())
	id1, id2 := keytest.Key(t, 1).ID, keytest.Key(t, 2).ID
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(keytest.EC(t, elliptic.P256()))
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PrivateKey(rsa1)
	join := func(blocks ...[]byte) []byte { return bytes.Join(blocks, nil) }
	const makePublic = "; give the public key, made with: openssl pkey -pubout"

	for _, test := range []struct {
		name    string
		input   []byte
		want    []string // key IDs
		skipped []string // exact messages
		err     string   // exact message; "" means none
		rule    keys.Rule
	}{
		{name: "one public key", input: good1, want: []string{id1}},
		{name: "two public keys with text around them", input: join([]byte("# old\r\n"), good1, []byte("\n# new\n"), good2), want: sorted(id1, id2)},
		{name: "the same key twice merges", input: join(good1, good1), want: []string{id1}},
		{name: "a certificate's key", input: certificate(t, rsa1), want: []string{id1}},
		{name: "PKIX under another label, as Kubernetes reads it", input: block("RSA PUBLIC KEY", first(t, good1).Bytes), want: []string{id1}},
		{name: "CRLF line ends", input: bytes.ReplaceAll(good1, []byte("\n"), []byte("\r\n")), want: []string{id1}},
		{
			name: "a private key beside a public one", input: join(good1, keytest.PrivatePEM(t, rsa2)),
			rule: keys.RulePrivateKey, err: `sa.pub: block 2: private key: "PRIVATE KEY" block` + makePublic,
		},
		{
			name: "a PKCS#1 private key", input: block("RSA PRIVATE KEY", pkcs1),
			rule: keys.RulePrivateKey, err: `sa.pub: block 1: private key: "RSA PRIVATE KEY" block` + makePublic,
		},
		{
			name: "a SEC1 EC private key after its parameters", input: join(block("EC PARAMETERS", []byte{6, 8}), block("EC PRIVATE KEY", sec1)),
			rule: keys.RulePrivateKey, err: `sa.pub: block 2: private key: "EC PRIVATE KEY" block` + makePublic,
		},
		{
			name: "an Ed25519 private key", input: keytest.PrivatePEM(t, edPrivate),
			rule: keys.RulePrivateKey, err: `sa.pub: block 1: private key: "PRIVATE KEY" block` + makePublic,
		},
		{
			name: "a private key under a public label", input: block("PUBLIC KEY", pkcs1),
			rule: keys.RulePrivateKey, err: `sa.pub: block 1: private key: "PUBLIC KEY" block` + makePublic,
		},
		{
			name: "a corrupt private key", input: []byte("-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----\n"),
			rule: keys.RulePrivateKey, err: `sa.pub: block 1: private key: "PRIVATE KEY" block` + makePublic,
		},
		{
			name: "several certificates", input: join(certificate(t, rsa1), certificate(t, rsa2)),
			rule: keys.RuleCertificates, err: "sa.pub: several certificates: 2 in one file; give the signing certificate alone",
		},
		{
			name: "a file that is still being written", input: join(good1, good2[:len(good2)/2]),
			rule: keys.RuleTruncated, err: `sa.pub: block 2: truncated PEM block: "PUBLIC KEY" begins but does not end`,
		},
		{
			name: "cut within the begin line", input: join(good1, []byte("-----BEGIN PUB")),
			rule: keys.RuleTruncated, err: `sa.pub: block 2: truncated PEM block: "PUB" begins but does not end`,
		},
		{
			name: "a corrupt block beside a good one", input: join([]byte("-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----\n"), good2),
			want: []string{id2}, skipped: []string{`sa.pub: block 1: malformed key: "PUBLIC KEY" block that is not valid PEM`},
		},
		{
			name: "DER that is no key beside a good one", input: join(good1, block("PUBLIC KEY", []byte("junk"))),
			want: []string{id1}, skipped: []string{`sa.pub: block 2: malformed key: "PUBLIC KEY" block that holds none`},
		},
		{
			name: "a PKCS#1 public key", input: join(block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsa1.PublicKey)), good2),
			want: []string{id2}, skipped: []string{"sa.pub: block 1: PKCS#1 public key: Kubernetes does not read it; convert it with: openssl rsa -RSAPublicKey_in -pubout"},
		},
		{
			name: "P-224 among good ones", input: join(good1, pkixBlock(t, ec(t, elliptic.P224()))),
			want: []string{id1}, skipped: []string{"sa.pub: block 2: key type not supported: EC on P-224, for which JWS has no algorithm; want P-256, P-384 or P-521"},
		},
		{
			name: "Ed25519 alone", input: pkixBlock(t, edPublic),
			rule: keys.RuleNoKeys, err: "sa.pub: no usable key: block 1: key type not supported: ed25519.PublicKey; want RSA, or EC on P-256, P-384 or P-521",
		},
		{
			name: "RSA of 1024 bits", input: join(pkixBlock(t, &rsa.PublicKey{N: modulus(1024), E: 65537}), good1),
			want: []string{id1}, skipped: []string{"sa.pub: block 1: weak key: an RSA modulus of 1024 bits; want 2048 to 8192"},
		},
		{
			name: "RSA of 8200 bits", input: join(pkixBlock(t, &rsa.PublicKey{N: modulus(8200), E: 65537}), good1),
			want: []string{id1}, skipped: []string{"sa.pub: block 1: weak key: an RSA modulus of 8200 bits; want 2048 to 8192"},
		},
		{
			name: "RSA with e = 1", input: join(pkixBlock(t, &rsa.PublicKey{N: modulus(2048), E: 1}), good1),
			want: []string{id1}, skipped: []string{"sa.pub: block 1: weak key: an RSA exponent of 1; want an odd number from 3 to 2147483647"},
		},
		{
			name: "RSA with even e", input: join(pkixBlock(t, &rsa.PublicKey{N: modulus(2048), E: 65536}), good1),
			want: []string{id1}, skipped: []string{"sa.pub: block 1: weak key: an RSA exponent of 65536; want an odd number from 3 to 2147483647"},
		},
		{
			name: "a certificate request", input: join(block("CERTIFICATE REQUEST", []byte("x")), good1),
			want: []string{id1}, skipped: []string{`sa.pub: block 1: PEM block that holds no key: "CERTIFICATE REQUEST"`},
		},
		{name: "an empty file", rule: keys.RuleNotPEM, err: `sa.pub: no PEM block: want "-----BEGIN PUBLIC KEY-----"`},
		{name: "DER instead of PEM", input: first(t, good1).Bytes, rule: keys.RuleNotPEM, err: `sa.pub: no PEM block: want "-----BEGIN PUBLIC KEY-----"`},
		{name: "2 MB of junk", input: make([]byte, 2<<20), rule: keys.RuleTooLarge, err: "sa.pub: too large: 2097152 bytes; want at most 1048576"},
		{
			name: "1,000 keys", input: bytes.Repeat(good1, 1000),
			rule: keys.RuleTooManyKeys, err: "sa.pub: too many keys: 1000; relying parties read at most 100",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, skipped, err := keys.ParsePEM("sa.pub", test.input)
			checkParsed(t, parsed{set, skipped, err}, test.want, test.skipped, test.err, test.rule)
		})
	}
}

type parsed struct {
	set     keys.Set
	skipped []*keys.Error
	err     error
}

func checkParsed(t *testing.T, got parsed, ids, skipped []string, message string, rule keys.Rule) {
	t.Helper()
	gotMessage := ""
	if got.err != nil {
		gotMessage = got.err.Error()
		if !errors.Is(got.err, rule) {
			t.Errorf("error %v is not rule %q", got.err, rule)
		}
		if got.set.Len() > 0 || len(got.skipped) > 0 {
			t.Errorf("beside an error came keys %v, skipped %v", got.set.IDs(), got.skipped)
		}
	}
	if diff := cmp.Diff(message, gotMessage); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(strings.Join(ids, "\n"), strings.Join(got.set.IDs(), "\n")); diff != "" {
		t.Errorf("key IDs (-want +got):\n%s", diff)
	}
	var gotSkipped []string
	for _, fault := range got.skipped {
		gotSkipped = append(gotSkipped, fault.Error())
	}
	if diff := cmp.Diff(skipped, gotSkipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
}

func sorted(a, b string) []string {
	if a > b {
		a, b = b, a
	}
	return []string{a, b}
}

func first(t *testing.T, data []byte) *pem.Block {
	t.Helper()
	b, _ := pem.Decode(data)
	if b == nil {
		t.Fatal("no PEM block")
	}
	return b
}
