//go:build linux

package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/test/image"
	"github.com/issuer-sync/issuer-sync/test/node"
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
	checkDrained(t, pod)

	files, err := sdk.NodeRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.pack(t, image.Spec{
		Tag: workloads + "javascript:1", Entrypoint: sdk.NodeProgram, User: "65532",
		Env:   []string{"NODE_EXTRA_CA_CERTS=" + bundle}, // it has CAs of its own
		Files: append(followed(t, files), w.caBundle()+"="+bundle),
	})
	javaScript := workload{
		namespace: "vault", name: "javascript", annotations: proxied("env"), image: "javascript",
		args: []string{sdk.NodeClient, "managed", "https://vault.azure.net"},
		// This SDK takes the token file itself where it finds it; the old ones do not know it.
		env: []corev1.EnvVar{{Name: "AZURE_FEDERATED_TOKEN_FILE"}},
	}
	pod = w.runJob(t, javaScript)
	if got, want := containerNames(pod), []string{"azwi-proxy", "app"}; !slices.Equal(got, want) {
		t.Errorf("containers %q; want %q", got, want)
	}
	w.checkPrintedToken(t, pod, "app", vaultClient)
	checkDrained(t, pod)
	// As a current one it needs no edit, and no proxy.
	javaScript.name, javaScript.env = "javascript-current", nil
	w.checkPrintedToken(t, w.runJob(t, javaScript), "app", vaultClient)
	w.checkRefusedRedirect(t)
}

// checkDrained wants the proxy to have ended by itself and well, after the app.
func checkDrained(t *testing.T, pod corev1.Pod) {
	t.Helper()
	for _, status := range pod.Status.InitContainerStatuses {
		if status.Name == "azwi-proxy" && (status.State.Terminated == nil || status.State.Terminated.ExitCode != 0 || status.RestartCount > 0) {
			t.Errorf("the proxy of pod %s: %+v, %d restarts; want exit code 0 without a restart", pod.Name, status.State, status.RestartCount)
		}
	}
}

// checkRefusedRedirect shows that the namespace vault is one that would refuse
// the redirect.
func (w *world) checkRefusedRedirect(t *testing.T) {
	t.Helper()
	pod := podOf(workload{namespace: "vault", name: "redirected", image: "imds", annotations: proxied("redirect")}.template(), "redirected")
	_, err := w.Client().CoreV1().Pods("vault").Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
		t.Errorf("creating a pod with the redirect in namespace vault: %v; want a refusal by PodSecurity", err)
	}
}

// firstCalls starts pods, each of which asks its proxy once, at once. They are 25,
// or as many as the variable says.
func (w *world) firstCalls(t *testing.T) {
	pods, err := strconv.ParseInt(cmp.Or(os.Getenv("ISSUER_SYNC_FIRST_CALLS"), "25"), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	jobs := w.Client().BatchV1().Jobs("shop")
	template := workload{name: "first-call", image: "imds", annotations: proxied("")}.template()
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "first-call"}, Spec: batchv1.JobSpec{
		Completions: new(int32(pods)), Parallelism: new(int32(12)), BackoffLimit: new(int32(pods)), Template: template,
	}}
	if _, err := jobs.Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	node.Await(t, 5*patience, "all pods to end", func(ctx context.Context) (err error) {
		if job, err = jobs.Get(ctx, "first-call", metav1.GetOptions{}); err == nil && job.Status.Succeeded+job.Status.Failed < int32(pods) {
			err = fmt.Errorf("%d succeeded, %d failed", job.Status.Succeeded, job.Status.Failed)
		}
		return err
	})
	t.Logf("%d of %d first calls were good, in %s", job.Status.Succeeded, pods, time.Since(began))
	if job.Status.Failed > 0 {
		t.Errorf("%d first calls failed\n%s", job.Status.Failed, w.describe(t, "shop", w.pods(t, "shop", "app=first-call")[:3]))
	}
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
