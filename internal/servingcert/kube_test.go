package servingcert_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/servingcert"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// kubeLifetime has a rotation begin after 30 s, and the next certificate served
// 3.75 s later.
const kubeLifetime = 45 * time.Second

// TestKube is one test, as the API server takes seconds to start.
func TestKube(t *testing.T) {
	kube := servers.StartKube(t, servers.KubeConfig{})
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}
	if _, err := kube.Client().CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	empty := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "webhook-tls"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: {}, corev1.TLSPrivateKeyKey: {}},
	}
	if _, err := kube.Client().CoreV1().Secrets("team").Create(t.Context(), empty, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	a, b := newEndpoint(t, kube), newEndpoint(t, kube)
	before := register(t, kube, a, b)

	testKubeRights(t, kube, a.replica)
	until(t, 30*time.Second, func() bool { return a.Ready() == nil && b.Ready() == nil })
	testKubeRotation(t, kube, a, b)
	testKubeRepair(t, kube, a, before)
}

// endpoint is a webhook that a replica serves. Each call to it is a handshake.
type endpoint struct {
	*replica
	address string
	calls   atomic.Int64
}

func newEndpoint(t *testing.T, kube *servers.Kube) *endpoint {
	t.Helper()
	config := kube.ServiceAccount(t, "team", "webhook")
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	e := &endpoint{replica: &replica{api: transport, done: make(chan struct{})}}
	e.run(t, servingcert.Config{
		Client: newClient(t, config, transport), DNSNames: []string{"localhost"}, Lifetime: kubeLifetime,
	})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: e.GetCertificate})
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	e.address = "https://localhost:" + port + "/"
	server := &http.Server{Handler: e, ReadHeaderTimeout: 30 * time.Second, ErrorLog: log.New(t.Output(), "", 0)}
	server.SetKeepAlivesEnabled(false)
	go func() { _ = server.Serve(listener) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	return e
}

// ServeHTTP allows everything.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.calls.Add(1)
	var review admissionv1.AdmissionReview
	if body, err := io.ReadAll(r.Body); err != nil || json.Unmarshal(body, &review) != nil || review.Request == nil {
		http.Error(w, "not a review", http.StatusBadRequest)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	review.Request = nil
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

// register has the API server call both for each ConfigMap. There is no caBundle.
func register(t *testing.T, kube *servers.Kube, endpoints ...*endpoint) *admissionregistrationv1.MutatingWebhookConfiguration {
	t.Helper()
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "webhook"}}
	for i, e := range endpoints {
		configuration.Webhooks = append(configuration.Webhooks, admissionregistrationv1.MutatingWebhook{
			Name:         []string{"a.example.com", "b.example.com"}[i],
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &e.address},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
			TimeoutSeconds:          new(int32(5)),
		})
	}
	created, err := kube.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), configuration, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// create makes a ConfigMap, as far as the webhooks can tell.
func create(ctx context.Context, kube *servers.Kube) error {
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "load-"}}
	_, err := kube.Client().CoreV1().ConfigMaps("default").Create(ctx, configMap, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// testKubeRights gives the rights that the log asks for, one after the other.
func testKubeRights(t *testing.T, kube *servers.Kube, r *replica) {
	const who = `User "system:serviceaccount:team:webhook" cannot `
	const webhooks = `MutatingWebhookConfiguration webhook: mutatingwebhookconfigurations.admissionregistration.k8s.io "webhook" is forbidden: ` + who
	const needWebhooks = ` resource "mutatingwebhookconfigurations" in API group "admissionregistration.k8s.io" at the cluster scope: allow it with a ClusterRole ` +
		`that has the rule {apiGroups: [admissionregistration.k8s.io], resources: [mutatingwebhookconfigurations], resourceNames: ["webhook"], verbs: [get, patch]}`
	const secret = `Secret team/webhook-tls: secrets "webhook-tls" is forbidden: ` + who
	const needSecret = ` resource "secrets" in API group "" in the namespace "team": allow it with a Role in namespace "team" ` +
		`that has the rule {apiGroups: [""], resources: [secrets], resourceNames: ["webhook-tls"], verbs: [get, patch]}`
	var problems []string
	await := func(want string) {
		t.Helper()
		var got string
		until(t, 30*time.Second, func() bool {
			got = r.Ready().Error()
			return strings.HasSuffix(got, want)
		})
		problems = append(problems, want)
	}
	await("reading " + webhooks + "get" + needWebhooks)
	allow(t, kube, "", rbacv1.PolicyRule{
		APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"mutatingwebhookconfigurations"},
		ResourceNames: []string{"webhook"}, Verbs: []string{"get", "patch"},
	})
	await("reading " + secret + "get" + needSecret)
	allow(t, kube, "team", rbacv1.PolicyRule{
		APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"webhook-tls"}, Verbs: []string{"get", "patch"},
	})
	until(t, 30*time.Second, func() bool { return r.Ready() == nil })
	var warned []string
	for _, line := range r.logged() {
		if problem, ok := strings.CutPrefix(line, "WARN problem subject=serving certificate err="); ok {
			warned = append(warned, problem)
		}
	}
	if diff := cmp.Diff(problems, warned); diff != "" {
		t.Errorf("problems in the log (-want +got):\n%s", diff)
	}
}

// allow grants one rule to the service account team/webhook, in a namespace or,
// if that is empty, in the cluster.
func allow(t *testing.T, kube *servers.Kube, namespace string, rule rbacv1.PolicyRule) {
	t.Helper()
	api, meta := kube.Client().RbacV1(), metav1.ObjectMeta{Name: "webhook"}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "team", Name: "webhook"}}
	rules, reference := []rbacv1.PolicyRule{rule}, rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Name: "webhook"}
	var errs [2]error
	if namespace == "" {
		reference.Kind = "ClusterRole"
		_, errs[0] = api.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
		binding := &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: reference, Subjects: subjects}
		_, errs[1] = api.ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{})
	} else {
		reference.Kind = "Role"
		_, errs[0] = api.Roles(namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
		binding := &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: reference, Subjects: subjects}
		_, errs[1] = api.RoleBindings(namespace).Create(t.Context(), binding, metav1.CreateOptions{})
	}
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// testKubeRotation creates 50 objects a second, each of which is two handshakes
// with both replicas, from before a rotation until the old CA is gone.
func testKubeRotation(t *testing.T, kube *servers.Kube, a, b *endpoint) {
	until(t, 30*time.Second, func() bool { return create(t.Context(), kube) == nil }) // the API server knows the webhooks
	first := a.leaf()
	ctx, stop := context.WithCancel(t.Context())
	var (
		mu       sync.Mutex
		failures []string
		sent     int
		load     sync.WaitGroup
	)
	load.Go(func() {
		ticker := time.NewTicker(time.Second / 50)
		defer ticker.Stop()
		for ctx.Err() == nil {
			<-ticker.C
			sent++
			load.Go(func() {
				if err := create(context.WithoutCancel(ctx), kube); err != nil {
					mu.Lock()
					defer mu.Unlock()
					failures = append(failures, time.Now().Format(time.TimeOnly)+" "+err.Error())
				}
			})
		}
	})
	called := a.calls.Load()
	until(t, kubeLifetime, func() bool { return !a.leaf().Equal(first) && !b.leaf().Equal(first) })
	until(t, kubeLifetime, func() bool { return time.Now().After(first.NotAfter) && count(kubeBundle(t, kube)) == 1 })
	stop()
	load.Wait()
	if len(failures) > 0 {
		t.Errorf("%d of %d calls failed; the first: %s\nlog: %s", len(failures), sent, failures[0], strings.Join(a.logged(), "\n"))
	}
	if sent < 500 || int(a.calls.Load()-called) < sent-1 {
		t.Errorf("%d objects, %d calls: that is no load", sent, a.calls.Load()-called)
	}
	t.Logf("%d objects, %d handshakes with each replica, %d failures", sent, a.calls.Load()-called, len(failures))
}

// testKubeRepair: somebody replaces the configuration by one without caBundle.
// All else in it is as it was.
func testKubeRepair(t *testing.T, kube *servers.Kube, a *endpoint, before *admissionregistrationv1.MutatingWebhookConfiguration) {
	webhooks := kube.Client().AdmissionregistrationV1().MutatingWebhookConfigurations()
	bundle := kubeBundle(t, kube)
	old, err := json.Marshal(map[string]any{"webhooks": before.Webhooks})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := webhooks.Patch(t.Context(), "webhook", types.MergePatchType, old, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, lookTime, func() bool { return bytes.Equal(kubeBundle(t, kube), bundle) })
	until(t, lookTime, func() bool { return create(t.Context(), kube) == nil })
	after, err := webhooks.Get(t.Context(), "webhook", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := before.DeepCopy()
	want.ResourceVersion, want.Generation, want.ManagedFields = after.ResourceVersion, after.Generation, after.ManagedFields
	for i := range want.Webhooks {
		want.Webhooks[i].ClientConfig.CABundle = after.Webhooks[i].ClientConfig.CABundle
	}
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("the configuration (-want +got):\n%s", diff)
	}
	secret, err := kube.Client().CoreV1().Secrets("team").Get(t.Context(), "webhook-tls", metav1.GetOptions{})
	if err != nil || secret.Type != corev1.SecretTypeTLS || len(secret.Data) < 3 {
		t.Errorf("the Secret: %v", err)
	}
	lines := strings.Join(a.logged(), "\n")
	for _, key := range secrets(secret.Data) {
		if strings.Contains(lines, key) {
			t.Error("a private key was logged")
		}
	}
}

func kubeBundle(t *testing.T, kube *servers.Kube) []byte {
	t.Helper()
	found, err := kube.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), "webhook", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found.Webhooks[0].ClientConfig.CABundle
}
