//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/test/node"
)

// The two versions that are installed, one after the other. No version has been
// released: both are built from this tree, and differ by what they say of
// themselves.
const (
	previous = "0.0.9"
	current  = "0.1.0"
)

// TestStory is the life of an installation, each part as the one before left it.
func TestStory(t *testing.T) {
	w := newWorld(t)
	for _, version := range []string{previous, current} {
		w.importImages(t, version)
	}
	for _, name := range []string{"blobwriter", "imds"} {
		w.importWorkload(t, name)
	}
	w.makeNamespace(t, namespace, "restricted", "")
	w.makeNamespace(t, "shop", "privileged", shopClient)
	w.makeNamespace(t, "vault", "restricted", vaultClient)
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"install and publish", w.install},
		{"a pod writes a blob as its identity", w.writeBlob},
		{"old SDKs by redirect and by variable", w.oldSDKs},
		{"the first calls of many pods", w.firstCalls},
		{"the chart is upgraded under load", w.upgrade},
		{"the signing key is rotated under load", w.rotate},
		{"pods of issuer-sync are killed under load", w.killIssuerSync},
		{"pods of the webhook are killed under load", w.killWebhook},
		{"a proxy is killed under load", w.killProxy},
		{"the chart is removed", w.uninstall},
	} {
		if !t.Run(part.name, part.run) {
			return
		}
	}
}

// values are those of a user: the issuer in Blob storage, with the account's
// key, since the identity that could write there depends on the issuer.
const values = `
imageRepository: ` + repository + `
azureTenantID: ` + tenant + `
issuerSync:
  issuers:
    - url: ` + issuer + `
      sources: [{cluster: {}}]
      stores:
        - azureBlob: {url: ` + issuer + `, credential: sharedKey}
        - configMap: {namespace: ` + namespace + `, name: documents}
      keys: {retention: 1m, minimumWait: 10s} # short, for the test
      interval: 2s
  serve: {tls: {secretName: issuer-sync-tls}, maxAge: 10s}
  extraEnvFrom: [{secretRef: {name: storage}}]
`

// install installs the chart and looks at the documents, from outside and at the
// cluster's own server.
func (w *world) install(t *testing.T) {
	w.makeTLSSecret(t, "issuer-sync-tls", "issuer-sync."+namespace+".svc")
	w.makeSecret(t, "storage", corev1.SecretTypeOpaque, map[string][]byte{"AZURE_STORAGE_KEY": []byte(w.accountKey)})
	w.helm(t, "install", "issuer-sync", w.chart(t, previous), "--values", writeFile(t, "values.yaml", values), "--wait", "--timeout", "90s")
	w.checkReady(t, previous)
	w.verify(t)
}

// verify has the issuer looked at as a relying party would. Entra would want a public
// address and a public CA besides.
func (w *world) verify(t *testing.T) {
	t.Helper()
	t.Log(output(t, w.Command(t.Context(), w.issuerSync, "verify", issuer,
		"--ca-file", w.authority.File, "--service-account", "shop/app"), "verify"))
	// The cluster's own server has the same documents, each replica within an
	// interval.
	blob, own := w.client(blobAddress), w.client(w.serviceAddress(t, "issuer-sync"))
	node.Await(t, patience/4, "both to have the same documents", func(ctx context.Context) error {
		for _, document := range []string{"/.well-known/openid-configuration", "/openid/v1/jwks"} {
			stored, err := fetch(ctx, blob, issuer+document)
			if err != nil {
				return err
			}
			served, err := fetch(ctx, own, ownServer+"/oidc"+document)
			if err != nil {
				return err
			}
			if stored != served {
				return fmt.Errorf("%s: Blob storage has %s, the cluster's own server %s", document, stored, served)
			}
		}
		return nil
	})
}

// ownServer is where issuer-sync serves the documents itself; its certificate is
// for that name.
const ownServer = "https://issuer-sync." + namespace + ".svc"

// serviceAddress returns the cluster IP of a Service of the chart.
func (w *world) serviceAddress(t *testing.T, name string) string {
	t.Helper()
	service, err := w.Client().CoreV1().Services(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return service.Spec.ClusterIP
}

func get(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	body, err := fetch(t.Context(), client, url)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func fetch(ctx context.Context, client *http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, body)
	}
	return string(body), err
}

// checkReady wants both Deployments rolled out with a version.
func (w *world) checkReady(t *testing.T, version string) {
	t.Helper()
	for name, image := range map[string]string{"issuer-sync": "issuer-sync", "issuer-sync-webhook": "webhook"} {
		node.Await(t, patience, "Deployment "+name, func(ctx context.Context) error {
			d, err := w.Client().AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if got, want := d.Spec.Template.Spec.Containers[0].Image, repository+"/"+image+":"+version; got != want {
				t.Fatalf("Deployment %s has image %s; want %s", name, got, want)
			}
			return rolledOut(d)
		})
	}
}

func rolledOut(d *appsv1.Deployment) error {
	s := d.Status
	if s.ObservedGeneration < d.Generation || s.UpdatedReplicas != *d.Spec.Replicas || s.Replicas != *d.Spec.Replicas || s.AvailableReplicas != *d.Spec.Replicas {
		return fmt.Errorf("%+v", s)
	}
	return nil
}

// writeBlob is the direct way: an SDK that knows workload identity.
func (w *world) writeBlob(t *testing.T) {
	w.runJob(t, workload{namespace: "shop", name: "writer", image: "blobwriter", env: blobEnv("written")})
}

func blobEnv(blob string) []corev1.EnvVar {
	return []corev1.EnvVar{
		{Name: "BLOB_URL", Value: accountURL}, {Name: "CONTAINER", Value: "data"}, {Name: "BLOB", Value: blob}, {Name: "CONTENT", Value: "hello"},
	}
}
