package webhook_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// foreignLabel is of pods that go through the foreign webhook, too.
const foreignLabel = "example.com/mesh"

// testReinvocation: case 1. Another webhook, which comes later, adds containers
// and gives the pod its name, so that ours is asked again.
func testReinvocation(t *testing.T, i *installation) {
	calls := i.registerForeign(t)
	pod := labelled("load", "")
	pod.GenerateName = "app-"
	pod.Labels[foreignLabel] = "true"
	pod.Annotations = map[string]string{"azure.workload.identity/inject-proxy-sidecar": "true"}
	pod.Spec.InitContainers = []corev1.Container{{Name: "migrate", Image: "registry.example/migrate:1"}}
	var created *corev1.Pod
	eventually(t, "the API server to know the other webhook", patience, func() bool {
		var err error
		created, err = i.Client().CoreV1().Pods("load").Create(t.Context(), pod, dryRun())
		if err != nil {
			t.Fatal(err)
		}
		return created.Name == "named-by-mesh"
	})
	if <-calls; len(created.Spec.Containers) != 2 {
		t.Fatalf("containers %v; want that the other webhook added one", created.Spec.Containers)
	}
	var names []string
	for _, container := range created.Spec.InitContainers {
		names = append(names, container.Name)
	}
	if want := []string{"mesh-init", "azwi-proxy-init", "azwi-proxy", "migrate"}; !slices.Equal(names, want) {
		t.Fatalf("init containers %q, want %q", names, want)
	}
	created.Spec.InitContainers = slices.Delete(created.Spec.InitContainers, 1, 2) // proxy-init has no use for the token
	if err := checkMutated(created); err != nil {
		t.Error(err)
	}
}

// registerForeign has the API server call a webhook of the test after ours, by
// its name. The channel gets a value for each call.
func (i *installation) registerForeign(t *testing.T) <-chan struct{} {
	t.Helper()
	calls := make(chan struct{}, 1000)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls <- struct{}{}
		answerForeign(w, r)
	}))
	t.Cleanup(server.Close)
	webhook := i.configuration(t).Webhooks[0].DeepCopy()
	webhook.Name = "mesh.example.com"
	webhook.ClientConfig = admissionregistrationv1.WebhookClientConfig{
		URL:      &server.URL,
		CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}
	webhook.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{foreignLabel: "true"}}
	webhook.ReinvocationPolicy = new(admissionregistrationv1.NeverReinvocationPolicy)
	if _, err := i.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "zz-mesh"},
		Webhooks:   []admissionregistrationv1.MutatingWebhook{*webhook},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return calls
}

// answerForeign adds containers without asking what is there, as such webhooks
// do, and sets the name.
func answerForeign(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, "not a review", http.StatusBadRequest)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{
		UID: review.Request.UID, Allowed: true, PatchType: new(admissionv1.PatchTypeJSONPatch),
		Patch: []byte(`[
			{"op": "add", "path": "/metadata/name", "value": "named-by-mesh"},
			{"op": "add", "path": "/spec/initContainers/0", "value": {"name": "mesh-init", "image": "registry.example/mesh-init:1"}},
			{"op": "add", "path": "/spec/containers/0", "value": {"name": "mesh", "image": "registry.example/mesh:1"}}
		]`),
	}
	review.Request = nil
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review) // the API server notices
}
