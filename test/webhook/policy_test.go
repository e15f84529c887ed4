package webhook_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/issuer-sync/issuer-sync/test/manifests"
)

// policyObjects are the policy that docs/webhook.md has, and its binding.
func policyObjects(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "webhook.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(page), "```yaml\n# policy.yaml\n")
	block, _, found := strings.Cut(after, "```")
	if !found {
		t.Fatal("the page has no policy.yaml")
	}
	return manifests.Parse(t, []byte(block))
}

// testPolicy: the policy of the page refuses a pod that asks for an identity and
// that the webhook did not see, and no other. It stays for the tests that follow.
func testPolicy(t *testing.T, i *installation) {
	i.makeNamespace(t, "unseen", nil, withClientID())
	i.leaveOut(t, "unseen")
	eventually(t, "the webhook to see no pod there", patience, func() bool {
		created, err := i.Client().CoreV1().Pods("unseen").Create(t.Context(), labelled("unseen", "app"), dryRun())
		if err != nil {
			t.Fatal(err)
		}
		return len(created.Spec.Volumes) == 0
	})
	for _, object := range policyObjects(t) {
		i.apply(t, object)
	}
	const says = "a container lacks the Azure token; did the webhook see this pod?"
	var err error
	eventually(t, "the policy to hold", patience, func() bool {
		err = createPod(t.Context(), i.Client(), labelled("unseen", "app"), dryRun())
		return apierrors.IsInvalid(err)
	})
	if !strings.Contains(err.Error(), says) {
		t.Errorf("%v; want %q", err, says)
	}
	if err := createPod(t.Context(), i.Client(), unlabelled("unseen", "app"), dryRun()); err != nil {
		t.Errorf("a pod without the label: %v", err)
	}
	for annotation, value := range map[string]string{"": "", "inject-proxy-sidecar": "true", "skip-containers": "other; app"} {
		pod := labelled("load", "app")
		pod.Annotations = map[string]string{"azure.workload.identity/" + annotation: value}
		if annotation == "" {
			pod.Annotations = nil
		}
		if _, err := i.Client().CoreV1().Pods("load").Create(t.Context(), pod, dryRun()); err != nil {
			t.Errorf("with %q: %v", annotation, err)
		}
	}
	i.install(t, "MutatingWebhookConfiguration", "")
}

// leaveOut has the webhook not see a namespace.
func (i *installation) leaveOut(t *testing.T, namespace string) {
	t.Helper()
	for _, object := range i.objects {
		if object.GetKind() != "MutatingWebhookConfiguration" {
			continue
		}
		changed := object.DeepCopy()
		webhooks, _, _ := unstructured.NestedSlice(changed.Object, "webhooks")
		selector := webhooks[0].(map[string]any)["namespaceSelector"].(map[string]any)
		rule := selector["matchExpressions"].([]any)[0].(map[string]any)
		rule["values"] = append(rule["values"].([]any), namespace)
		_ = unstructured.SetNestedSlice(changed.Object, webhooks, "webhooks")
		i.apply(t, changed)
	}
}

func removePolicy(t *testing.T, i *installation) {
	t.Helper()
	for _, object := range policyObjects(t) {
		client, err := i.resource(object)
		if err == nil {
			err = client.Delete(t.Context(), object.GetName(), metav1.DeleteOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) { // testPolicy may not have been asked for
			t.Errorf("removing %s: %v", object.GetKind(), err)
		}
	}
}
