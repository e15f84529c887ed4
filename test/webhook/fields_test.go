package webhook_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/issuer-sync/issuer-sync/test/manifests"
)

// newFields is a pod with what came into Kubernetes in recent releases, most of
// which azure-workload-identity 1.6.0 drops.
const newFields = `
apiVersion: v1
kind: Pod
metadata: {name: pod, namespace: load}
spec:
  serviceAccountName: app
  restartPolicy: Never
  os: {name: linux}
  hostnameOverride: other.example
  setHostnameAsFQDN: false
  resources: {limits: {cpu: "1", memory: 1Gi}, requests: {cpu: 100m, memory: 128Mi}}
  schedulingGates: [{name: example.com/gate}]
  securityContext: {supplementalGroupsPolicy: Strict, fsGroupChangePolicy: OnRootMismatch}
  resourceClaims: [{name: gpu, resourceClaimTemplateName: gpu}]
  topologySpreadConstraints:
    - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, minDomains: 2, nodeTaintsPolicy: Honor, matchLabelKeys: [pod-template-hash], labelSelector: {}}
  initContainers:
    - {name: sidecar, image: "registry.example/sidecar:1", restartPolicy: Always}
  containers:
    - name: app
      image: registry.example/app:1
      restartPolicy: Never
      restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]
      lifecycle: {stopSignal: SIGUSR1}
      resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}]
      volumeMounts: [{name: data, mountPath: /data, recursiveReadOnly: IfPossible, readOnly: true}]
      env: [{name: FROM_FILE, valueFrom: {fileKeyRef: {volumeName: data, path: env, key: A}}}]
  volumes:
    - {name: data, emptyDir: {}}
    - {name: certificate, projected: {sources: [{podCertificate: {signerName: example.com/signer, keyType: ED25519, credentialBundlePath: bundle.pem}}]}}
    - {name: model, image: {reference: "registry.example/model:1", pullPolicy: Always}}
`

// testNewFields creates a pod with and without the label: but for what belongs
// to an identity, they are equal, and nothing that was sent is lost.
func testNewFields(t *testing.T, i *installation) {
	create := func(label string) map[string]any {
		t.Helper()
		pod := manifests.Parse(t, []byte(newFields))[0]
		pod.SetLabels(map[string]string{useLabel: label})
		created, _, err := i.create(t, "pods", pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
		if err != nil {
			t.Fatal(err)
		}
		return created.Object["spec"].(map[string]any)
	}
	without, with := create("false"), create("true")
	sent := manifests.Parse(t, []byte(newFields))[0].Object["spec"]
	if lost := missing("spec", sent, without); len(lost) > 0 {
		t.Errorf("the API server itself drops %s: this test shows nothing of it", strings.Join(lost, ", "))
	}
	removed := removeIdentity(with)
	if diff := cmp.Diff(without, with); diff != "" {
		t.Errorf("the pod without the label, and with it (-without +with):\n%s", diff)
	}
	if removed != 1+2*(1+4) { // the volume; in two containers a mount and four variables
		t.Errorf("%d things were added", removed)
	}
}

// removeIdentity removes from a pod's spec what the webhook adds, and returns how
// many things that were.
func removeIdentity(spec map[string]any) (removed int) {
	prune := func(in map[string]any, list string, ours func(item map[string]any) bool) {
		items, _, _ := unstructured.NestedSlice(in, list)
		var kept []any
		for _, item := range items {
			if ours(item.(map[string]any)) {
				removed++
			} else {
				kept = append(kept, item)
			}
		}
		if delete(in, list); len(kept) > 0 {
			in[list] = kept
		}
	}
	named := func(item map[string]any) bool { return item["name"] == tokenVolume }
	prune(spec, "volumes", named)
	for _, list := range []string{"initContainers", "containers"} {
		for _, container := range spec[list].([]any) {
			prune(container.(map[string]any), "volumeMounts", named)
			prune(container.(map[string]any), "env", func(item map[string]any) bool {
				return strings.HasPrefix(item["name"].(string), "AZURE_")
			})
		}
	}
	return removed
}

// missing returns the paths of what is in want and not in got, which may have
// more.
func missing(path string, want, got any) []string {
	var lost []string
	switch want := want.(type) {
	case map[string]any:
		got, _ := got.(map[string]any)
		for name, value := range want {
			lost = append(lost, missing(path+"."+name, value, got[name])...)
		}
	case []any:
		got, _ := got.([]any)
		for index, value := range want {
			if index >= len(got) {
				return append(lost, path)
			}
			lost = append(lost, missing(path, value, got[index])...)
		}
	default:
		if want != got {
			lost = append(lost, path)
		}
	}
	return lost
}

// testDryRun: the answer is mutated, and there is no pod.
func testDryRun(t *testing.T, i *installation) {
	if err := createPod(t.Context(), i.Client(), labelled("load", "dry"), dryRun()); err != nil {
		t.Error(err)
	}
	if _, err := i.Client().CoreV1().Pods("load").Get(t.Context(), "dry", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the pod of a dry run: %v", err)
	}
}
