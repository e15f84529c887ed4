//go:build linux

package e2e_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"

	"github.com/issuer-sync/issuer-sync/test/image"
	"github.com/issuer-sync/issuer-sync/test/sdk"
)

// proxied are the annotations of the migration from pod-managed identity.
func proxied(mode string) map[string]string {
	annotations := map[string]string{"azure.workload.identity/inject-proxy-sidecar": "true"}
	if mode != "" {
		annotations["azure.workload.identity/proxy-mode"] = mode
	}
	return annotations
}

// oldSDKs has two SDKs get a token that know the metadata endpoint alone: one
// through the redirect, in an init container too, and one, that reads the
// variable, in a namespace where PodSecurity allows nothing more.
func (w *world) oldSDKs(t *testing.T) {
	parts, err := sdk.FindParts()
	if err != nil {
		t.Fatal(err)
	}
	adal := filepath.Join(t.TempDir(), "adal")
	if err := parts.BuildADAL(t.Context(), "0.9.5", adal); err != nil {
		t.Fatal(err)
	}
	w.importProgram(t, "adal", adal)
	pod := w.runJob(t, workload{
		namespace: "shop", name: "adal", annotations: proxied(""), image: "adal", args: []string{"https://storage.azure.com/"}, init: true,
	})
	if got, want := containerNames(pod), []string{"azwi-proxy-init", "azwi-proxy", "before", "app"}; !slices.Equal(got, want) {
		t.Errorf("containers %q; want %q", got, want)
	}
	w.checkPrintedToken(t, pod, "before", shopClient)
	w.checkPrintedToken(t, pod, "app", shopClient)

	files, err := sdk.NodeRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.pack(t, image.Spec{
		Tag: workloads + "javascript:1", Entrypoint: sdk.NodeProgram, User: "65532",
		Env:   []string{"NODE_EXTRA_CA_CERTS=" + bundle}, // it has CAs of its own
		Files: append(followed(t, files), w.caBundle()+"="+bundle),
	})
	pod = w.runJob(t, workload{
		namespace: "vault", name: "javascript", annotations: proxied("env"), image: "javascript",
		args: []string{sdk.NodeClient, "managed", "https://vault.azure.net"},
		// This SDK takes the token file itself where it finds it; the old ones do not know it.
		env: []corev1.EnvVar{{Name: "AZURE_FEDERATED_TOKEN_FILE"}},
	})
	if got, want := containerNames(pod), []string{"azwi-proxy", "app"}; !slices.Equal(got, want) {
		t.Errorf("containers %q; want %q", got, want)
	}
	w.checkPrintedToken(t, pod, "app", vaultClient)
}

// followed has the files themselves where sources are links.
func followed(t *testing.T, files []string) []string {
	t.Helper()
	for i, file := range files {
		source, destination, _ := strings.Cut(file, "=")
		source, err := filepath.EvalSymlinks(source)
		if err != nil {
			t.Fatal(err)
		}
		files[i] = source + "=" + destination
	}
	return files
}

// checkPrintedToken wants that a container printed an access token of an
// identity, which Entra signed.
func (w *world) checkPrintedToken(t *testing.T, pod corev1.Pod, container, client string) {
	t.Helper()
	printed := w.logs(t, pod.Namespace, pod.Name, container)
	token, _, _ := strings.Cut(strings.TrimSpace(printed), " ")
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Errorf("container %s printed %q: %v", container, printed, err)
		return
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(get(t, w.client(entraAddress), "https://"+entraHost+"/"+tenant+"/discovery/v2.0/keys")), &keys); err != nil {
		t.Fatal(err)
	}
	var claims struct {
		App string `json:"appid"`
	}
	if err := parsed.Claims(keys, &claims); err != nil || claims.App != client {
		t.Errorf("container %s has an access token of %q, %v; want one of %s", container, claims.App, err, client)
	}
}

func containerNames(pod corev1.Pod) []string {
	var names []string
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		names = append(names, container.Name)
	}
	return names
}
