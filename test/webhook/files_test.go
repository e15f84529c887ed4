package webhook_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// TestFiles installs the webhook for cert-manager. The test does what that and
// kubelet would: it makes the certificates, writes the caBundle and the files,
// and replaces them while pods are created.
//
// The proxy is in env mode here, so that PodSecurity admits it anywhere.
func TestFiles(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, "deploy/webhook-cert-manager", "WEBHOOK_PROXY_MODE=env")
	i.install(t, "", "")
	i.makeNamespace(t, "load", nil, withClientID())
	manager := newManager(t, i.objects)
	directory := &mountedSecret{dir: t.TempDir()}
	directory.write(t, manager.issue(t))
	i.inject(t, manager.ca())

	if bundle, err := json.Marshal(i.deployment.Spec.Template.Spec); err != nil || !strings.Contains(string(bundle), manager.secret) {
		t.Errorf("no pod mounts the Secret %q that cert-manager writes: %v", manager.secret, err)
	}
	r := i.start(t, "--webhook-cert-dir="+directory.dir)
	r.awaitReady(t)
	i.awaitReachable(t)
	t.Run("restricted", func(t *testing.T) { testRestricted(t, i) })

	first := r.served()
	load := i.load(t, steady)
	directory.write(t, manager.issue(t))
	replaced := time.Now()
	eventually(t, "the new certificate to be served", 2*patience, func() bool {
		now := r.served()
		return now != nil && !now.Equal(first)
	})
	t.Logf("served %s after the files were replaced", time.Since(replaced).Round(100*time.Millisecond))
	load.goOn(t)
	load.stop(t)
	testRights(t, i, readsAccounts)
}

// testRestricted: a namespace under PodSecurity restricted takes a pod with the
// proxy in env mode.
func testRestricted(t *testing.T, i *installation) {
	i.makeNamespace(t, "restricted", map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}, withClientID())
	pod := restricted(labelled("restricted", "app"))
	pod.Annotations = map[string]string{"azure.workload.identity/inject-proxy-sidecar": "true"}
	created, err := i.Client().CoreV1().Pods("restricted").Create(t.Context(), pod, dryRun())
	if err != nil {
		t.Fatal(err)
	}
	if err := checkMutated(created); err != nil || len(created.Spec.InitContainers) != 1 {
		t.Errorf("%d init containers, want the proxy: %v", len(created.Spec.InitContainers), err)
	}
}

// inject is cert-manager's CA injector.
func (i *installation) inject(t *testing.T, bundle []byte) {
	t.Helper()
	const annotation = "cert-manager.io/inject-ca-from"
	if from := i.configuration(t).Annotations[annotation]; from != ownNamespace+"/"+name {
		t.Fatalf("annotation %s is %q", annotation, from)
	}
	patch, err := json.Marshal([]any{map[string]any{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}})
	if err != nil {
		t.Fatal(err)
	}
	configurations := i.Client().AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := configurations.Patch(t.Context(), name, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// manager issues what the Certificate issuer-sync-webhook asks for, as
// cert-manager does.
type manager struct {
	dnsNames []string
	secret   string
	key      *ecdsa.PrivateKey
	root     *x509.Certificate
}

func newManager(t *testing.T, objects []*unstructured.Unstructured) *manager {
	t.Helper()
	m := new(manager)
	for _, object := range objects {
		if object.GetKind() != "Certificate" || object.GetName() != name {
			continue
		}
		m.dnsNames, _, _ = unstructured.NestedStringSlice(object.Object, "spec", "dnsNames")
		m.secret, _, _ = unstructured.NestedString(object.Object, "spec", "secretName")
	}
	if len(m.dnsNames) == 0 || m.secret == "" {
		t.Fatal("there is no Certificate for the webhook")
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	m.root, m.key = m.sign(t, template)
	return m
}

// sign signs the template, the first one by itself.
func (m *manager) sign(t *testing.T, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	parent, signer := m.root, m.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func (m *manager) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.root.Raw})
}

// issue returns what cert-manager writes into the Secret.
func (m *manager) issue(t *testing.T) map[string][]byte {
	t.Helper()
	leaf, key := m.sign(t, &x509.Certificate{
		DNSNames: m.dnsNames, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"ca.crt":  m.ca(),
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
	}
}

// mountedSecret is a directory as kubelet keeps it: all files change at once, as
// they are links by way of ..data (Kubernetes pkg/volume/util/atomic_writer.go).
type mountedSecret struct {
	dir    string
	writes int
}

func (s *mountedSecret) write(t *testing.T, files map[string][]byte) {
	t.Helper()
	s.writes++
	version := fmt.Sprintf("..version-%d", s.writes)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(s.dir, version), 0o700))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		must(os.WriteFile(filepath.Join(s.dir, version, name), files[name], 0o600))
		if s.writes == 1 {
			must(os.Symlink(filepath.Join("..data", name), filepath.Join(s.dir, name)))
		}
	}
	must(os.Symlink(version, filepath.Join(s.dir, "..data_tmp")))
	must(os.Rename(filepath.Join(s.dir, "..data_tmp"), filepath.Join(s.dir, "..data")))
}
