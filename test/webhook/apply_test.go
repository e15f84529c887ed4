package webhook_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
)

// testAppliedAgain: an upgrade takes neither certificate nor caBundle away,
// neither by kubectl apply --server-side nor without. The second time without it
// is the merge of three: the first leaves what was applied last.
func testAppliedAgain(t *testing.T, i *installation) {
	bundle, secret := i.bundle(t), i.secret(t)
	if len(bundle) == 0 || len(secret.Data) == 0 {
		t.Fatalf("nothing to lose: caBundle %q, %d things in the Secret", bundle, len(secret.Data))
	}
	for _, again := range []struct {
		name  string
		apply func(*testing.T, *unstructured.Unstructured)
	}{
		{"server-side", i.apply},
		{"client-side", i.applyClientSide},
		{"client-side again", i.applyClientSide},
	} {
		for _, object := range i.objects {
			again.apply(t, object)
		}
		if after := i.bundle(t); string(after) != string(bundle) {
			t.Errorf("%s: the caBundle was\n%s\nand is\n%s", again.name, bundle, after)
		}
		if after := i.secret(t); !maps.EqualFunc(after.Data, secret.Data, bytes.Equal) {
			t.Errorf("%s: the Secret had %d things and has %d", again.name, len(secret.Data), len(after.Data))
		}
	}
}

func (i *installation) secret(t *testing.T) *corev1.Secret {
	t.Helper()
	secret, err := i.Client().CoreV1().Secrets(ownNamespace).Get(t.Context(), "issuer-sync-webhook-cert", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// applyClientSide does what kubectl apply does with an object that exists
// (kubectl pkg/cmd/apply/patcher.go).
func (i *installation) applyClientSide(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	client, err := i.resource(object)
	if err != nil {
		t.Fatal(err)
	}
	live, err := client.Get(t.Context(), object.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	encode := func(object *unstructured.Unstructured) []byte {
		t.Helper()
		text, err := json.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	modified := object.DeepCopy()
	annotations := map[string]string{corev1.LastAppliedConfigAnnotation: string(encode(object))}
	maps.Copy(annotations, object.GetAnnotations())
	modified.SetAnnotations(annotations)
	typed, err := scheme.Scheme.New(object.GroupVersionKind())
	if err != nil {
		t.Fatal(err)
	}
	meta, err := strategicpatch.NewPatchMetaFromStruct(typed)
	if err != nil {
		t.Fatal(err)
	}
	original := []byte(live.GetAnnotations()[corev1.LastAppliedConfigAnnotation])
	patch, err := strategicpatch.CreateThreeWayMergePatch(original, encode(modified), encode(live), meta, true)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Patch(t.Context(), object.GetName(), types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: "kubectl-client-side-apply"})
	if err != nil {
		t.Fatalf("applying %s %s: %v\n%s", object.GetKind(), object.GetName(), err, patch)
	}
}
