// Package yardstick has what benchmarks of the webhook share: the review that an
// API server sends for a pod, and the webhook to compare with.
package yardstick

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Review returns the AdmissionReview of the creation of a pod, which is given as
// JSON, in a namespace. It is what API servers send, byte for byte but for the
// names in it.
func Review(pod []byte, namespace string) ([]byte, error) {
	kind := metav1.GroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	resource := metav1.GroupVersionResource(corev1.SchemeGroupVersion.WithResource("pods"))
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID:  "705ab4f5-6393-11e8-b7cc-42010a800002",
			Kind: kind, Resource: resource, RequestKind: &kind, RequestResource: &resource,
			Namespace: namespace, Operation: admissionv1.Create, DryRun: new(false),
			UserInfo: authenticationv1.UserInfo{
				Username: "system:serviceaccount:kube-system:replicaset-controller",
				UID:      "0b7c1e9a-8f0a-4a55-9e0c-0f0c1b9c8a11",
				Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
			},
			Object:  runtime.RawExtension{Raw: pod},
			Options: runtime.RawExtension{Object: &metav1.CreateOptions{TypeMeta: typeMeta(metav1.SchemeGroupVersion.WithKind("CreateOptions"))}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the review of a pod: %w", err)
	}
	return body, nil
}

func typeMeta(kind schema.GroupVersionKind) metav1.TypeMeta {
	version, name := kind.ToAPIVersionAndKind()
	return metav1.TypeMeta{APIVersion: version, Kind: name}
}

// Webhook returns a handler that is what a webhook cannot do without, in the usual
// way: it decodes the review with its pod, and encodes a fixed patch. It looks
// nobody up, decides nothing and logs nothing.
func Webhook(patch []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := answer(r.Body, patch)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer))) // which saves it the chunks
		_, _ = w.Write(answer)                                      // the client notices
	})
}

func answer(body io.Reader, patch []byte) ([]byte, error) {
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("reading a review: %w", err)
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(data, &review); err != nil {
		return nil, fmt.Errorf("decoding a review: %w", err)
	}
	var pod corev1.Pod
	if err := json.Unmarshal(review.Request.Object.Raw, &pod); err != nil {
		return nil, fmt.Errorf("decoding a pod: %w", err)
	}
	return json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: &admissionv1.AdmissionResponse{
		UID: review.Request.UID, Allowed: true, PatchType: new(admissionv1.PatchTypeJSONPatch), Patch: patch,
	}})
}

// Patch returns the patch of an answer, which must allow the pod and have one.
func Patch(answer []byte) ([]byte, error) {
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(answer, &review); err != nil {
		return nil, fmt.Errorf("decoding the answer to a review: %w", err)
	}
	if r := review.Response; r == nil || !r.Allowed || len(r.Patch) == 0 {
		return nil, fmt.Errorf("the answer to a review has no patch: %s", answer)
	}
	return review.Response.Patch, nil
}
