package servingcert_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/servingcert"
)

func TestDNSNames(t *testing.T) {
	service := types.NamespacedName{Namespace: "team", Name: "webhook"}
	if diff := cmp.Diff([]string{"webhook.team.svc"}, servingcert.DNSNames(service, "")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"webhook.team.svc", "webhook.team.svc.cluster.local"}, servingcert.DNSNames(service, "cluster.local")); diff != "" {
		t.Error(diff)
	}
}

func TestNewRefuses(t *testing.T) {
	good := servingcert.Config{
		Client: &rest.RESTClient{}, Secret: types.NamespacedName{Namespace: "team", Name: "tls"},
		WebhookConfiguration: "webhook", DNSNames: []string{"a"},
	}
	if _, err := servingcert.New(good); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		edit func(*servingcert.Config)
		want string
	}{
		{"no namespace", func(c *servingcert.Config) { c.Secret.Namespace = "" }, `secret "/tls": want both a namespace and a name`},
		{"no Secret", func(c *servingcert.Config) { c.Secret.Name = "" }, `secret "team/": want both a namespace and a name`},
		{"no webhooks", func(c *servingcert.Config) { c.WebhookConfiguration = "" }, "name of the MutatingWebhookConfiguration: it is missing"},
		{"no name", func(c *servingcert.Config) { c.DNSNames = nil }, "DNS names [] of the certificate: want at least one, and none empty"},
		{"an empty name", func(c *servingcert.Config) { c.DNSNames = []string{"a", ""} }, `DNS names ["a" ""] of the certificate: want at least one, and none empty`},
		{"too short a life", func(c *servingcert.Config) { c.Lifetime = 29 * time.Second }, "lifetime 29s of certificates: want at least 30s"},
		{"nothing at all", func(c *servingcert.Config) { *c = servingcert.Config{} }, `secret "/": want both a namespace and a name` +
			"\nname of the MutatingWebhookConfiguration: it is missing\nDNS names [] of the certificate: want at least one, and none empty"},
		{"a negative life", func(c *servingcert.Config) { c.Lifetime = -time.Hour }, "lifetime -1h0m0s of certificates: want at least 30s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := good
			test.edit(&config)
			if _, err := servingcert.New(config); err == nil || err.Error() != test.want {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
}

// TestCertificate is about what everybody may see, and about what is kept.
func TestCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFake(t)
		names := []string{serviceName, serviceName + ".cluster.local"}
		r := start(t, api, names...)
		until(t, slack, func() bool { return r.Ready() == nil })
		made := time.Now()
		ca, leaf := parse(t, api.bundle()), r.leaf()
		roots := x509.NewCertPool()
		roots.AddCert(ca)
		for _, name := range names {
			for _, at := range []time.Time{made.Add(-23 * time.Hour), made.Add(lifetime - 2*time.Second)} {
				if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: at}); err != nil {
					t.Errorf("%s at %v: %v", name, at, err)
				}
			}
		}
		if key, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() || leaf.IsCA || len(leaf.Subject.String()) > 64 {
			t.Errorf("the certificate: key %T, CA %v, %s", leaf.PublicKey, leaf.IsCA, leaf.Subject)
		}
		if !ca.IsCA || !ca.MaxPathLenZero || ca.KeyUsage != x509.KeyUsageCertSign || !ca.NotAfter.Equal(leaf.NotAfter) {
			t.Errorf("the CA: CA %v, path 0 %v, usage %v, ends %v", ca.IsCA, ca.MaxPathLenZero, ca.KeyUsage, ca.NotAfter)
		}
		if !r.Roots().Equal(roots) {
			t.Error("Roots are not the CA in the caBundle")
		}
		checkKept(t, api.data(), ca)
	})
}

// checkKept checks that the Secret has the certificate's key alone: not the CA's.
func checkKept(t *testing.T, data map[string][]byte, ca *x509.Certificate) {
	t.Helper()
	var keys []string
	for key, value := range data {
		keys = append(keys, key)
		if strings.Count(string(value), "-----BEGIN") != 1 {
			t.Errorf("%s has several blocks", key)
		}
	}
	slices.Sort(keys)
	if diff := cmp.Diff([]string{"ca.crt", "tls.crt", "tls.key"}, keys); diff != "" {
		t.Errorf("keys of the Secret (-want +got):\n%s", diff)
	}
	pair, err := tls.X509KeyPair(data["tls.crt"], data["tls.key"])
	if err != nil {
		t.Fatal(err)
	}
	if ca.PublicKey.(*ecdsa.PublicKey).Equal(pair.PrivateKey.(*ecdsa.PrivateKey).Public()) {
		t.Error("the Secret has the CA's private key")
	}
	if block, _ := pem.Decode(data["ca.crt"]); !bytes.Equal(block.Bytes, ca.Raw) {
		t.Error("ca.crt is not the CA in the caBundle")
	}
}

func parse(t *testing.T, raw []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(raw)
	if block == nil || len(rest) > 0 {
		t.Fatalf("want one certificate, got %q", raw)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// TestPrivateKeysLeaveNoTrace: not in logs, not in errors, even of a server that
// sends back what it gets, and not by printing what is exported.
func TestPrivateKeysLeaveNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newFake(t)
		echo := &echo{next: api}
		r := start(t, echo)
		time.Sleep(time.Minute)
		if err := r.Ready(); err == nil {
			t.Fatal("ready, though the Secret cannot be written")
		}
		text := strings.Join(r.logged(), "\n") + r.Ready().Error()
		if !strings.Contains(text, "answered 500 Internal Server Error, without a Status of Kubernetes") {
			t.Error(text)
		}
		for _, data := range echo.seen {
			if strings.Contains(text, string(data[200:240])) {
				t.Error("the request is quoted")
			}
		}
		echo.off()
		until(t, 10*time.Second, func() bool { return r.Ready() == nil })
		time.Sleep(lifetime)
		api.edit(func(data map[string][]byte) { data["tls.crt"] = []byte("CANARY") })
		time.Sleep(time.Minute)
		text += strings.Join(r.logged(), "\n")
		pair, err := r.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		r.end()
		<-r.done
		text += servingcert.Print(r.Certificate) + fmt.Sprintf("%v %+v %#v %s", r.Certificate, r.Certificate, r.Certificate, pair.Leaf.Subject)
		all := secrets(api.data())
		if len(all) < 5 {
			t.Fatal("there are no secrets to look for")
		}
		for _, secret := range append(all, "CANARY") {
			if strings.Contains(text, secret) {
				t.Errorf("a secret was printed: %q", secret)
			}
		}
	})
}
