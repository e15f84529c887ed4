package admission_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/issuer-sync/issuer-sync/internal/admission"
	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

const (
	tenantID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	clientID = "11111111-2222-3333-4444-555555555555"
)

var update = flag.Bool("update", false, "rewrite golden files")

// accounts is a cluster with these ServiceAccounts, as "namespace/name".
type accounts map[string]map[string]string

// errOutage is what accounts answers for names in the namespace "outage".
var errOutage = errors.New("CANARY: dial tcp 10.0.0.1:443: connection refused")

func (a accounts) Identity(_ context.Context, namespace, name string) (mutate.Identity, error) {
	if namespace == "outage" {
		return mutate.Identity{}, errOutage
	}
	annotations, ok := a[namespace+"/"+name]
	if !ok {
		return mutate.Identity{}, admission.ErrNoServiceAccount
	}
	return mutate.Identity{Namespace: namespace, Name: name, Annotations: annotations}, nil
}

// webhook is a handler with all that it tells.
type webhook struct {
	*admission.Handler
	registry *prometheus.Registry
	log      strings.Builder
}

// newWebhook makes one; changes are made to its configuration before.
func newWebhook(t testing.TB, changes ...func(*admission.Config)) *webhook {
	t.Helper()
	m, err := mutate.New(mutate.Options{TenantID: tenantID})
	if err != nil {
		t.Fatal(err)
	}
	w := &webhook{registry: prometheus.NewRegistry()}
	config := admission.Config{
		Mutator:    m,
		Identities: accounts{"shop/app": {mutate.AnnotationClientID: clientID}, "shop/default": nil},
		Metrics:    admission.NewMetrics(w.registry),
		Log: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{
			Level: slog.LevelDebug,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})),
	}
	for _, change := range changes {
		change(&config)
	}
	w.Handler = admission.NewHandler(config)
	return w
}

// post sends a body as API servers do.
func (w *webhook) post(t testing.TB, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, admission.Path+"?timeout=5s", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return w.send(r)
}

func (w *webhook) send(r *http.Request) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, r)
	return answer
}

// review is the review of a pod that is to be made in the namespace, with
// members of the request replaced: a member without a value is left out.
func review(t testing.TB, pod string, replaced map[string]any) string {
	t.Helper()
	request := map[string]any{
		"uid":       "705ab4f5-6393-11e8-b7cc-42010a800002",
		"kind":      map[string]string{"group": "", "version": "v1", "kind": "Pod"},
		"resource":  map[string]string{"group": "", "version": "v1", "resource": "pods"},
		"operation": "CREATE", "namespace": "shop",
		"userInfo": map[string]any{"username": "system:serviceaccount:kube-system:replicaset-controller", "groups": []string{"system:authenticated"}},
		"object":   json.RawMessage(pod), "oldObject": nil, "dryRun": false,
		"options": map[string]string{"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
	}
	for member, value := range replaced {
		if request[member] = value; value == nil {
			delete(request, member)
		}
	}
	body, err := json.Marshal(map[string]any{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// pod is a pod of the ServiceAccount; more goes into its metadata, as JSON.
func pod(account, more string) string {
	return `{"kind":"Pod","apiVersion":"v1","metadata":{"generateName":"app-","labels":{"azure.workload.identity/use":"true"}` + more + `},
		"spec":{"serviceAccountName":"` + account + `","containers":[{"name":"app","image":"registry.example/app:1","env":[{"name":"PASSWORD","value":"CANARY"}]}]}}`
}

func annotated(annotation, value string) string {
	return `,"annotations":{"` + annotation + `":"` + value + `"}`
}

// TestAnswers holds every kind of answer: the answer itself is in testdata, the
// log line and the counter are here.
func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		name     string // of the golden file
		pod      string
		replaced map[string]any
		log      string
		count    string // result and reason
	}{
		{
			name: "mutated", pod: pod("app", ""),
			log:   `level=INFO msg="answered review" namespace=shop pod=app- service_account=app decision=allowed reason=mutated`,
			count: "allowed mutated",
		},
		{
			name: "mutated-named", pod: pod("app", ""), replaced: map[string]any{"name": "app-0"},
			log:   `level=INFO msg="answered review" namespace=shop pod=app-0 service_account=app decision=allowed reason=mutated`,
			count: "allowed mutated",
		},
		{
			name: "dry-run", pod: pod("app", ""), replaced: map[string]any{"dryRun": true},
			log:   `level=INFO msg="answered review" namespace=shop pod=app- service_account=app decision=allowed reason=mutated`,
			count: "allowed mutated",
		},
		{
			name: "warnings", pod: pod("default", annotated(mutate.AnnotationTokenExpiration, "")),
			log:   `level=INFO msg="answered review" namespace=shop pod=app- service_account=default decision=allowed reason=mutated`,
			count: "allowed mutated",
		},
		{
			name: "default-account", pod: pod("", ""),
			log:   `level=INFO msg="answered review" namespace=shop pod=app- service_account=default decision=allowed reason=mutated`,
			count: "allowed mutated",
		},
		{
			name: "not-labelled", pod: strings.Replace(pod("app", ""), `use":"true"`, `use":"false"`, 1),
			log:   `level=DEBUG msg="answered review" namespace=shop pod=app- service_account=app decision=allowed reason=not_labelled`,
			count: "allowed not_labelled",
		},
		{
			name: "mirror-pod", pod: pod("app", annotated("kubernetes.io/config.mirror", "1")),
			log:   `level=DEBUG msg="answered review" namespace=shop pod=app- service_account=app decision=allowed reason=mirror_pod`,
			count: "allowed mirror_pod",
		},
		{
			name: "mirror-pod-without-account", pod: pod("gone", annotated("kubernetes.io/config.mirror", "1")),
			log:   `level=DEBUG msg="answered review" namespace=shop pod=app- service_account=gone decision=allowed reason=mirror_pod`,
			count: "allowed mirror_pod",
		},
		{
			name: "mirror-pod-in-outage", pod: pod("app", annotated("kubernetes.io/config.mirror", "1")), replaced: map[string]any{"namespace": "outage"},
			log:   `level=DEBUG msg="answered review" namespace=outage pod=app- service_account=app decision=allowed reason=mirror_pod`,
			count: "allowed mirror_pod",
		},
		{
			name: "update", pod: pod("app", ""), replaced: map[string]any{"operation": "UPDATE", "name": "app-0"},
			log:   `level=DEBUG msg="answered review" namespace=shop pod=app-0 service_account="" decision=allowed reason=other_request`,
			count: "allowed other_request",
		},
		{
			name: "delete", pod: pod("app", ""), replaced: map[string]any{"operation": "DELETE", "object": nil, "name": "app-0"},
			log:   `level=DEBUG msg="answered review" namespace=shop pod=app-0 service_account="" decision=allowed reason=other_request`,
			count: "allowed other_request",
		},
		{
			name: "not-a-pod", pod: `{"kind":"Deployment"}`, replaced: map[string]any{"resource": map[string]string{"group": "apps", "version": "v1", "resource": "deployments"}},
			log:   `level=DEBUG msg="answered review" namespace=shop pod="" service_account="" decision=allowed reason=other_request`,
			count: "allowed other_request",
		},
		{
			name: "another-groups-pods", pod: `{"kind":"Pod"}`, replaced: map[string]any{"resource": map[string]string{"group": "example.com", "version": "v1", "resource": "pods"}},
			log:   `level=DEBUG msg="answered review" namespace=shop pod="" service_account="" decision=allowed reason=other_request`,
			count: "allowed other_request",
		},
		{
			name: "subresource", pod: `{"kind":"Eviction"}`, replaced: map[string]any{"subResource": "eviction", "name": "app-0"},
			log:   `level=DEBUG msg="answered review" namespace=shop pod=app-0 service_account="" decision=allowed reason=other_request`,
			count: "allowed other_request",
		},
		{
			name: "bad-annotation", pod: pod("app", annotated(mutate.AnnotationTokenExpiration, "3599")),
			log: `level=INFO msg="answered review" namespace=shop pod=app- service_account=app decision=denied reason=bad_annotation ` +
				`err="annotation azure.workload.identity/service-account-token-expiration on the pod is \"3599\"; want whole seconds from 3600 to 86400"`,
			count: "denied bad_annotation",
		},
		{
			name: "no-account", pod: pod("gone", ""),
			log: `level=INFO msg="answered review" namespace=shop pod=app- service_account=gone decision=denied reason=no_service_account ` +
				`err="looking up ServiceAccount \"gone\" in namespace \"shop\": no such ServiceAccount"`,
			count: "denied no_service_account",
		},
		{
			name: "odd-uid", pod: pod("app", ""), replaced: map[string]any{"uid": "\"\\<\u00e9\u2028\n"},
			log:   `level=INFO msg="answered review" namespace=shop pod=app- service_account=app decision=allowed reason=mutated`,
			count: "allowed mutated",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWebhook(t)
			answer := w.post(t, review(t, test.pod, test.replaced))
			if answer.Code != http.StatusOK || answer.Header().Get("Content-Type") != "application/json" {
				t.Errorf("status %d, headers %v", answer.Code, answer.Header())
			}
			checkGolden(t, filepath.Join("testdata", test.name+".json"), readable(t, answer.Body.String()))
			if diff := cmp.Diff(test.log+"\n", w.log.String()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(map[string]float64{test.count: 1}, w.counts(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// readable renders an answer with its patch decoded.
func readable(t testing.TB, answer string) string {
	t.Helper()
	var review struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Response   struct {
			UID       string          `json:"uid"`
			Allowed   bool            `json:"allowed"`
			Status    json.RawMessage `json:"status,omitempty"`
			PatchType string          `json:"patchType,omitempty"`
			Patch     []byte          `json:"-"`
			Encoded   *[]byte         `json:"patch,omitempty"`
			Decoded   json.RawMessage `json:"decoded patch,omitempty"`
			Warnings  []string        `json:"warnings,omitempty"`
		} `json:"response"`
	}
	decoder := json.NewDecoder(strings.NewReader(answer))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&review); err != nil {
		t.Fatalf("%v in %s", err, answer)
	}
	if r := &review.Response; r.Encoded != nil {
		r.Decoded, r.Encoded = *r.Encoded, nil
	}
	shown, err := json.MarshalIndent(review, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(shown) + "\n"
}

func checkGolden(t testing.TB, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

// counts reads azwi_reviews_total.
func (w *webhook) counts(t testing.TB) map[string]float64 {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]float64)
	for _, family := range families {
		if family.GetName() != "azwi_reviews_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			labels := make(map[string]string)
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			counts[labels["result"]+" "+labels["reason"]] = metric.GetCounter().GetValue()
		}
	}
	return counts
}
