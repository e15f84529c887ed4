package integration_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

func tokenOf(t *testing.T, server *servers.APIServer) (string, error) {
	t.Helper()
	client, err := kubernetes.NewForConfig(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	answer, err := client.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return answer.Status.Token, nil
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	return getWith(t, new(http.Client), url)
}

func getWith(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func cacheControl(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", url, response.Status)
	}
	return response.Header.Get("Cache-Control")
}

// In-cluster shape: the ConfigMap is the store, every replica serves the same,
// and a restart serves it again, at once, while the source gives no keys.
func TestRunWithConfigMapStore(t *testing.T) {
	kube := servers.StartKube(t, servers.KubeConfig{Issuer: "https://x.test"})
	dir := t.TempDir()
	const form = `
issuers:
  - url: https://x.test
    sources: [{cluster: {kubeconfig: %s, perServer: false}}]
    stores: [{configMap: {namespace: default, name: prod, kubeconfig: %s}}]
    interval: 1s
    verify: {disabled: true}
serve: {address: "127.0.0.1:0", linger: 0s}
admin: {address: "127.0.0.1:0"}
`
	admin := kube.Kubeconfig(t)
	write(t, dir, "c.yaml", fmt.Sprintf(form, admin, admin))
	write(t, dir, "powerless.yaml", fmt.Sprintf(form, anonymous(t, admin), admin))
	replicas := []*daemon{start(t, dir, "--config", "c.yaml"), start(t, dir, "--config", "c.yaml")}
	var bodies []string
	for _, replica := range replicas {
		base := "http://" + replica.address(t, "documents")
		admin := "http://" + replica.address(t, "admin")
		eventually(t, "readiness", 10*time.Second, func() bool { code, _ := get(t, admin+"/readyz"); return code == 200 })
		code, body := get(t, base+"/openid/v1/jwks")
		if code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		bodies = append(bodies, body)
		eventually(t, "the number of keys in the metrics", 10*time.Second, func() bool {
			_, metrics := get(t, admin+"/metrics")
			return strings.Contains(metrics, `issuer_sync_keys{issuer="https://x.test",phase="active"} 1`)
		})
		eventually(t, "the status page", 10*time.Second, func() bool {
			_, page := get(t, admin+"/")
			return strings.Contains(page, "store   configMap default/prod: ")
		})
	}
	if bodies[0] != bodies[1] {
		t.Errorf("replicas differ:\n%s\n%s", bodies[0], bodies[1])
	}
	stored, err := kube.Client().CoreV1().ConfigMaps("default").Get(t.Context(), "prod", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := contains(stored, bodies[0]); !got {
		t.Errorf("ConfigMap %v does not hold what is served", stored.Data)
	}
	for _, replica := range replicas {
		if code := replica.stop(t); code != 0 {
			t.Errorf("exit code %d after SIGTERM", code)
		}
	}

	restarted := time.Now()
	again := start(t, dir, "--config", "powerless.yaml")
	url := "http://" + again.address(t, "documents") + "/openid/v1/jwks"
	eventually(t, "the same keys after a restart", 5*time.Second, func() bool { _, body := get(t, url); return body == bodies[0] })
	t.Logf("the ConfigMap's documents were served %s after exec", time.Since(restarted))
	status := "http://" + again.address(t, "admin") + "/"
	eventually(t, "the status page to show that the source fails", 10*time.Second, func() bool {
		_, page := get(t, status)
		return strings.Contains(page, ": FAILED: ") && strings.Contains(page, "403")
	})
	if _, body := get(t, url); body != bodies[0] {
		t.Errorf("a failing source changed what is served:\n%s\n%s", bodies[0], body)
	}
}

// anonymous returns a kubeconfig for the same server without credentials; it
// lacks the right to read keys.
func anonymous(t *testing.T, kubeconfig string) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for name := range config.AuthInfos {
		config.AuthInfos[name] = clientcmdapi.NewAuthInfo()
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func contains(stored *corev1.ConfigMap, body string) bool {
	for _, value := range stored.Data {
		if value == body {
			return true
		}
	}
	return false
}

// A key file that changes is published within 5 seconds; without any source a
// restart serves the last good documents.
func TestRunWithFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.yaml", `
issuers:
  - url: https://x.test/a
    sources: [{files: {paths: ["keys/*.pub"]}}]
    stores: [{directory: {path: www}}]
    verify: {disabled: true}
serve: {address: "127.0.0.1:0", linger: 0s, maxAge: 7m}
admin: {address: ""}
`)
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "keys/one.pub", string(keytest.PublicPEM(t, keytest.RSA(t, 1).Public())))
	first := start(t, dir, "--config", "c.yaml")
	url := "http://" + first.address(t, "documents") + "/a/openid/v1/jwks"
	served := func(n int) func() bool {
		return func() bool {
			_, body := get(t, url)
			return strings.Contains(body, keytest.Key(t, n).ID)
		}
	}
	eventually(t, "key 1", 10*time.Second, served(1))
	if got, want := cacheControl(t, new(http.Client), url), "public, max-age=420"; got != want {
		t.Errorf("Cache-Control %q; want %q", got, want)
	}

	write(t, dir, "keys/two.pub.new", string(keytest.PublicPEM(t, keytest.RSA(t, 2).Public())))
	changed := time.Now()
	if err := os.Rename(filepath.Join(dir, "keys/two.pub.new"), filepath.Join(dir, "keys/two.pub")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "key 2", 5*time.Second, served(2))
	t.Logf("a new key file was served after %s", time.Since(changed))
	if code := first.stop(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}

	if err := os.RemoveAll(filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	restarted := time.Now()
	second := start(t, dir, "--config", "c.yaml")
	url = "http://" + second.address(t, "documents") + "/a/openid/v1/jwks"
	eventually(t, "last good keys after a restart without sources", 5*time.Second, func() bool { return served(1)() && served(2)() })
	t.Logf("last good documents were served %s after exec", time.Since(restarted))
}
