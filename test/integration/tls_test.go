package integration_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
)

// Documents are served over HTTPS, and a renewed certificate is served without
// a restart.
func TestRunWithTLS(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "one.pub", string(keytest.PublicPEM(t, keytest.RSA(t, 1).Public())))
	write(t, dir, "c.yaml", `
issuers:
  - url: https://x.test
    sources: [{files: {paths: [one.pub]}}]
    verify: {disabled: true}
serve: {address: "127.0.0.1:0", linger: 0s, tls: {certFile: tls.crt, keyFile: tls.key}}
admin: {address: ""}
`)
	roots := x509.NewCertPool()
	writeCertificate(t, dir, 1, roots)
	daemon := start(t, dir, "--config", "c.yaml")
	address := daemon.address(t, "documents")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	eventually(t, "documents over HTTPS", 10*time.Second, func() bool {
		code, _ := getWith(t, client, "https://"+address+"/openid/v1/jwks")
		return code == 200
	})
	if serial := servedCertificate(t, address, roots); serial != 1 {
		t.Errorf("certificate %d is served; want 1", serial)
	}

	writeCertificate(t, dir, 2, roots)
	renewed := time.Now()
	eventually(t, "the renewed certificate", 15*time.Second, func() bool { return servedCertificate(t, address, roots) == 2 })
	t.Logf("a renewed certificate was served after %s", time.Since(renewed))
	client.CloseIdleConnections()
	if code := daemon.stop(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}

// servedCertificate returns the serial number of the certificate of a new connection.
func servedCertificate(t *testing.T, address string, roots *x509.CertPool) int64 {
	t.Helper()
	connection, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots}}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	secured, ok := connection.(*tls.Conn)
	if !ok {
		t.Fatalf("%T is not a TLS connection", connection)
	}
	return secured.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// writeCertificate makes tls.crt and tls.key for 127.0.0.1, each in one step,
// and adds the certificate to the roots.
func writeCertificate(t *testing.T, dir string, serial int64, roots *x509.CertPool) {
	t.Helper()
	private := keytest.EC(t, elliptic.P256())
	parsed, der := certify(t, serial, private)
	roots.AddCert(parsed)
	write(t, dir, "tls.crt.new", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, dir, "tls.key.new", string(keytest.PrivatePEM(t, private)))
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func certify(t *testing.T, serial int64, private *ecdsa.PrivateKey) (*x509.Certificate, []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: "test"},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed, der
}
