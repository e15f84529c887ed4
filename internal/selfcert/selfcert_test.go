package selfcert_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/selfcert"
)

// valid is a Spec from an hour ago until in an hour, on the second.
func valid() selfcert.Spec {
	now := time.Now().Truncate(time.Second)
	return selfcert.Spec{
		Name: "a server", CAName: "the CA of a server",
		DNSNames:  []string{"a.example", "b.example"},
		Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("::ffff:192.0.2.1")},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
}

func made(t *testing.T, spec selfcert.Spec) *selfcert.Certificate {
	t.Helper()
	certificate, err := selfcert.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// parse reads PEM that has one certificate and nothing else.
func parse(t *testing.T, raw []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		t.Fatalf("want one certificate, got %q", raw)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func TestItIsTrustedForItsNames(t *testing.T) {
	certificate := made(t, valid())
	leaf := parse(t, certificate.Cert)
	for _, test := range []struct {
		name string
		want error
	}{
		{"a.example", nil},
		{"b.example", nil},
		{"127.0.0.1", nil},
		{"fe80::1", nil},
		{"192.0.2.1", nil},
		{"c.example", x509.HostnameError{}},
		{"x.a.example", x509.HostnameError{}},
		{"a server", x509.HostnameError{}},
		{"127.0.0.2", x509.HostnameError{}},
		{"::1", x509.HostnameError{}},
	} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: certificate.Roots(), DNSName: test.name})
		if fmt.Sprintf("%T", err) != fmt.Sprintf("%T", test.want) {
			t.Errorf("%s: got error %v, want %T", test.name, err, test.want)
		}
	}
}

func TestItIsForServersAlone(t *testing.T) {
	certificate := made(t, valid())
	leaf, ca := parse(t, certificate.Cert), parse(t, certificate.CA)
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageCodeSigning} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: certificate.Roots(), KeyUsages: []x509.ExtKeyUsage{usage}})
		if invalid := (x509.CertificateInvalidError{}); !errors.As(err, &invalid) || invalid.Reason != x509.IncompatibleUsage {
			t.Errorf("usage %v: got error %v", usage, err)
		}
	}
	if leaf.IsCA || !leaf.BasicConstraintsValid || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("the certificate: CA %v, usage %b", leaf.IsCA, leaf.KeyUsage)
	}
	for _, one := range []*x509.Certificate{leaf, ca} {
		if diff := cmp.Diff([]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, one.ExtKeyUsage); diff != "" {
			t.Errorf("extended usages of %s (-want +got):\n%s", one.Subject, diff)
		}
	}
	if !ca.IsCA || !ca.MaxPathLenZero || ca.KeyUsage != x509.KeyUsageCertSign {
		t.Errorf("the CA: CA %v, path 0 %v, usage %b", ca.IsCA, ca.MaxPathLenZero, ca.KeyUsage)
	}
	if leaf.Subject.String() != "CN=a server" || ca.Subject.String() != "CN=the CA of a server" {
		t.Errorf("subjects %s and %s", leaf.Subject, ca.Subject)
	}
}

func TestItIsValidInItsTime(t *testing.T) {
	spec := valid()
	certificate := made(t, spec)
	leaf := parse(t, certificate.Cert)
	for _, test := range []struct {
		at   time.Time
		want bool
	}{
		{spec.NotBefore.Add(-time.Second), false},
		{spec.NotBefore, true},
		{spec.NotAfter, true},
		{spec.NotAfter.Add(time.Second), false},
	} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: certificate.Roots(), CurrentTime: test.at})
		if (err == nil) != test.want {
			t.Errorf("at %s, of %s to %s: error %v", test.at, spec.NotBefore, spec.NotAfter, err)
		}
	}
	if ca := parse(t, certificate.CA); !ca.NotBefore.Equal(spec.NotBefore) || !ca.NotAfter.Equal(spec.NotAfter) {
		t.Errorf("the CA is valid from %s to %s", ca.NotBefore, ca.NotAfter)
	}
}

// TestNoOtherCertificateIsTrusted: not that of another CA of the same names, and
// not one that the certificate's own key signs.
func TestNoOtherCertificateIsTrusted(t *testing.T) {
	certificate, other := made(t, valid()), made(t, valid())
	if _, err := parse(t, other.Cert).Verify(x509.VerifyOptions{Roots: certificate.Roots()}); !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Errorf("another CA's certificate: got error %v", err)
	}
	pair, err := tls.X509KeyPair(certificate.Cert, certificate.Key)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"a.example"},
		NotBefore: pair.Leaf.NotBefore, NotAfter: pair.Leaf.NotAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, pair.Leaf, pair.Leaf.PublicKey, pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	between := x509.NewCertPool()
	between.AddCert(pair.Leaf)
	if _, err := forged.Verify(x509.VerifyOptions{Roots: certificate.Roots(), Intermediates: between}); err == nil {
		t.Error("the certificate can sign")
	}
}

// TestTheKeyOfTheCAIsForgotten: nothing that can be reached from a Certificate
// is a private key but the certificate's own.
func TestTheKeyOfTheCAIsForgotten(t *testing.T) {
	certificate := made(t, valid())
	pair, err := tls.X509KeyPair(certificate.Cert, certificate.Key)
	if err != nil {
		t.Fatal(err)
	}
	if parse(t, certificate.CA).PublicKey.(*ecdsa.PublicKey).Equal(pair.Leaf.PublicKey) {
		t.Error("the CA's key is that of the certificate")
	}
	keys := make(map[uintptr]bool)
	collect(reflect.ValueOf(certificate), reflect.TypeFor[ecdsa.PrivateKey](), keys, make(map[uintptr]bool))
	if len(keys) != 1 {
		t.Errorf("%d private keys; want the certificate's alone", len(keys))
	}
	if n := strings.Count(string(certificate.Key)+string(certificate.Cert)+string(certificate.CA), "-----BEGIN"); n != 3 {
		t.Errorf("%d blocks of PEM; want 3", n)
	}
}

// collect finds the addresses of all values of a type that v leads to, in
// unexported fields too.
func collect(v reflect.Value, wanted reflect.Type, found, seen map[uintptr]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[v.Pointer()] {
			return
		}
		seen[v.Pointer()] = true
		if v.Type().Elem() == wanted {
			found[v.Pointer()] = true
		}
		collect(v.Elem(), wanted, found, seen)
	case reflect.Interface:
		collect(v.Elem(), wanted, found, seen)
	case reflect.Struct:
		for _, field := range v.Fields() {
			collect(field, wanted, found, seen)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			collect(v.Index(i), wanted, found, seen)
		}
	default: // nothing that the package uses holds keys in another way
	}
}

func TestGetServes(t *testing.T) {
	certificate := made(t, valid())
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: certificate.Get})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan error, 1)
	go func() {
		connection, err := listener.Accept()
		if err == nil {
			err = errors.Join(connection.(*tls.Conn).HandshakeContext(t.Context()), connection.Close())
		}
		served <- err
	}()
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: certificate.Roots(), MinVersion: tls.VersionTLS13}}
	connection, err := dialer.DialContext(t.Context(), "tcp", listener.Addr().(*net.TCPAddr).String())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(parse(t, certificate.Cert).Raw, connection.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw); diff != "" {
		t.Errorf("another certificate was served (-want +got):\n%s", diff)
	}
	if err := errors.Join(<-served, connection.Close()); err != nil {
		t.Error(err)
	}
}

func TestPrintingShowsNoKey(t *testing.T) {
	certificate := made(t, valid())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		if got := fmt.Sprintf(verb, certificate); got != "certificate a server" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	long := strings.Repeat("x", 65)
	const from, to = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"
	at := func(text string) time.Time {
		instant, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return instant
	}
	for _, test := range []struct {
		name string
		edit func(*selfcert.Spec)
		want string
	}{
		{"no common name", func(s *selfcert.Spec) { s.Name = "" }, `common name "": want 1 to 64 bytes`},
		{"a long common name", func(s *selfcert.Spec) { s.Name = long }, `common name "` + long + `": want 1 to 64 bytes`},
		{"a CA without a name", func(s *selfcert.Spec) { s.CAName = "" }, `common name "": want 1 to 64 bytes`},
		{"a CA with a long name", func(s *selfcert.Spec) { s.CAName = long }, `common name "` + long + `": want 1 to 64 bytes`},
		{"a CA of the same name", func(s *selfcert.Spec) { s.CAName = s.Name }, `common name "a server": want another one for the CA`},
		{"nobody to vouch for", func(s *selfcert.Spec) { s.DNSNames, s.Addresses = nil, nil }, "names of the server: want at least one DNS name or IP address"},
		{"an address that is none", func(s *selfcert.Spec) { s.Addresses = append(s.Addresses[:1], netip.Addr{}) }, `IP addresses ["127.0.0.1" "invalid IP"]: want none invalid`},
		{"an end before the begin", func(s *selfcert.Spec) { s.NotBefore, s.NotAfter = at(to), at(from) }, "validity from " + to + " to " + from + ": want an end after the begin"},
		{"no time at all", func(s *selfcert.Spec) { s.NotBefore, s.NotAfter = at(to), at(to) }, "validity from " + to + " to " + to + ": want an end after the begin"},
		{"two faults", func(s *selfcert.Spec) { s.Name, s.DNSNames, s.Addresses = "", nil, nil }, `common name "": want 1 to 64 bytes` + "\nnames of the server: want at least one DNS name or IP address"},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := valid()
			test.edit(&spec)
			if _, err := selfcert.New(spec); err == nil || err.Error() != "checking what certificate is wanted: "+test.want {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
	t.Run("a name that DNS does not have", func(t *testing.T) {
		spec := valid()
		spec.DNSNames = []string{"ü"}
		want := `making the certificate "a server": x509: "ü" cannot be encoded as an IA5String`
		if _, err := selfcert.New(spec); err == nil || err.Error() != want {
			t.Errorf("got error %v, want %s", err, want)
		}
	})
}
