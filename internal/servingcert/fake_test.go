package servingcert_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	secretPath   = "/api/v1/namespaces/team/secrets/webhook-tls"
	webhooksPath = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/webhook"
)

// fake is an API server with one Secret and one MutatingWebhookConfiguration. It
// takes get and patch on these two, and no field that nobody should write.
type fake struct {
	t *testing.T

	mu       sync.Mutex // guards what follows
	secret   *corev1.Secret
	webhooks *admissionregistrationv1.MutatingWebhookConfiguration
	version  int
	denied   map[string]bool // "METHOD path" that nobody may use
	writes   map[string]int  // by path
}

// newFake has both objects as the manifests make them.
func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, denied: make(map[string]bool), writes: make(map[string]int)}
	f.storeSecret(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "webhook-tls", Labels: map[string]string{"app": "webhook"}}})
	webhooks := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "webhook"}}
	for _, name := range []string{"pods.example.com", "more.example.com"} {
		webhooks.Webhooks = append(webhooks.Webhooks, admissionregistrationv1.MutatingWebhook{
			Name: name, SideEffects: new(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "team", Name: "webhook"}},
		})
	}
	f.storeWebhooks(webhooks)
	return f
}

func (f *fake) storeSecret(secret *corev1.Secret) {
	f.version++
	if f.secret = secret; secret != nil {
		secret.Kind, secret.APIVersion, secret.ResourceVersion = "Secret", "v1", strconv.Itoa(f.version)
	}
}

func (f *fake) storeWebhooks(webhooks *admissionregistrationv1.MutatingWebhookConfiguration) {
	f.version++
	if f.webhooks = webhooks; webhooks != nil {
		webhooks.Kind, webhooks.APIVersion, webhooks.ResourceVersion = "MutatingWebhookConfiguration", "admissionregistration.k8s.io/v1", strconv.Itoa(f.version)
	}
}

func (f *fake) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	secrets := schema.GroupResource{Resource: "secrets"}
	configurations := schema.GroupResource{Group: "admissionregistration.k8s.io", Resource: "mutatingwebhookconfigurations"}
	switch route := req.Method + " " + req.URL.Path; {
	case f.denied[route]:
		return refusal(apierrors.NewForbidden(secrets, "x", errors.New("no"))), nil
	case req.URL.Path == secretPath && f.secret == nil:
		return refusal(apierrors.NewNotFound(secrets, "webhook-tls")), nil
	case req.URL.Path == webhooksPath && f.webhooks == nil:
		return refusal(apierrors.NewNotFound(configurations, "webhook")), nil
	case route == "GET "+secretPath:
		return answer(http.StatusOK, f.secret), nil
	case route == "GET "+webhooksPath:
		return answer(http.StatusOK, f.webhooks), nil
	case route == "PATCH "+secretPath:
		return f.patchSecret(req), nil
	case route == "PATCH "+webhooksPath:
		return f.patchWebhooks(req), nil
	default:
		f.t.Errorf("request %s", route)
		return answer(http.StatusNotFound, "no"), nil
	}
}

func (f *fake) decode(req *http.Request, kind string, into any) {
	if got := req.Header.Get("Content-Type"); got != kind {
		f.t.Errorf("patch of type %q, want %q", got, kind)
	}
	decoder := json.NewDecoder(req.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		f.t.Errorf("body of %s: %v", req.URL.Path, err)
	}
}

func (f *fake) patchSecret(req *http.Request) *http.Response {
	var patch struct {
		Metadata struct {
			ResourceVersion string            `json:"resourceVersion"`
			Annotations     map[string]string `json:"annotations"`
		} `json:"metadata"`
		Data map[string][]byte `json:"data"`
	}
	f.decode(req, "application/merge-patch+json", &patch)
	if patch.Metadata.ResourceVersion != f.secret.ResourceVersion {
		return refusal(apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, "webhook-tls", errors.New("changed")))
	}
	next := f.secret.DeepCopy()
	next.Annotations = patch.Metadata.Annotations
	for key, value := range patch.Data {
		if next.Data == nil {
			next.Data = make(map[string][]byte)
		}
		if next.Data[key] = value; value == nil {
			delete(next.Data, key)
		}
	}
	f.storeSecret(next)
	f.writes[req.URL.Path]++
	return answer(http.StatusOK, next)
}

func (f *fake) patchWebhooks(req *http.Request) *http.Response {
	type clientConfig struct {
		CABundle []byte `json:"caBundle"`
	}
	var patch struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Webhooks []struct {
			Name         string       `json:"name"`
			ClientConfig clientConfig `json:"clientConfig"`
		} `json:"webhooks"`
	}
	f.decode(req, "application/strategic-merge-patch+json", &patch)
	if patch.Metadata.ResourceVersion != f.webhooks.ResourceVersion {
		return refusal(apierrors.NewConflict(schema.GroupResource{Resource: "mutatingwebhookconfigurations"}, "webhook", errors.New("changed")))
	}
	next := f.webhooks.DeepCopy()
	for _, one := range patch.Webhooks {
		for i := range next.Webhooks {
			if next.Webhooks[i].Name == one.Name {
				next.Webhooks[i].ClientConfig.CABundle = one.ClientConfig.CABundle
			}
		}
	}
	f.storeWebhooks(next)
	f.writes[req.URL.Path]++
	return answer(http.StatusOK, next)
}

// edit changes the data of the Secret as somebody else would.
func (f *fake) edit(change func(data map[string][]byte)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := f.secret.DeepCopy()
	if next.Data == nil {
		next.Data = make(map[string][]byte)
	}
	change(next.Data)
	f.storeSecret(next)
}

// overwrite sets the caBundle of one webhook as somebody else would.
func (f *fake) overwrite(webhook int, bundle []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := f.webhooks.DeepCopy()
	next.Webhooks[webhook].ClientConfig.CABundle = bundle
	f.storeWebhooks(next)
}

// replace calls a function that stores objects.
func (f *fake) replace(store func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	store()
}

// deny forbids "METHOD path", or allows it again.
func (f *fake) deny(route string, denied bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.denied[route] = denied
}

// data is that of the Secret.
func (f *fake) data() map[string][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.secret.DeepCopy().Data
}

// bundle is the caBundle of the first webhook.
func (f *fake) bundle() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.webhooks.Webhooks[0].ClientConfig.CABundle
}

// agreed is the caBundle of both webhooks; nil while they differ.
func (f *fake) agreed() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	one, other := f.webhooks.Webhooks[0].ClientConfig.CABundle, f.webhooks.Webhooks[1].ClientConfig.CABundle
	if !bytes.Equal(one, other) {
		return nil
	}
	return one
}

// written is how often the object was patched.
func (f *fake) written(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes[path]
}

func answer(code int, body any) *http.Response {
	text, ok := body.(string)
	kind := "text/html"
	if !ok {
		encoded, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		text, kind = string(encoded), "application/json"
	}
	return &http.Response{StatusCode: code, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(bytes.NewBufferString(text))}
}

func refusal(err *apierrors.StatusError) *http.Response {
	status := err.Status()
	status.Kind, status.APIVersion = "Status", "v1"
	return answer(int(status.Code), status)
}
