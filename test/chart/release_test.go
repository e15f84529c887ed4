package chart_test

import (
	"crypto"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/test/helm"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// The issuer of the cluster, and a release that publishes it. Both are test data.
const (
	issuer        = "https://oidc.example.test/prod"
	releaseValues = `
imageRepository: registry.example/issuer-sync
azureTenantID: contoso.onmicrosoft.com
issuerSync:
  issuers:
    - url: ` + issuer + `
      sources: [{cluster: {}}]
      stores: [{configMap: {namespace: issuer-sync, name: prod}}]
      state: {configMap: {namespace: issuer-sync, name: prod-state}}
      interval: 1s
      verify: {disabled: true}
`
	otherValues = releaseValues + `  logLevel: debug
  strategy: Recreate
timeoutSeconds: 10
logLevel: debug
serviceMonitor: {enabled: false}
networkPolicy: {enabled: true}
`
)

// TestRelease is one test, as the API server takes seconds to start: what is
// rendered is taken, then a release lives its life.
func TestRelease(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	t.Run("what is rendered is accepted", func(t *testing.T) { testAccepted(t, c) })
	t.Run("notes", func(t *testing.T) { testNotes(t, c) })
	t.Run("warnings", func(t *testing.T) { testWarnings(t, c) })

	values := helm.Values(t, releaseValues)
	c.helm(t, "install", release, chart, "--values", values)
	t.Run("rights", func(t *testing.T) { testRights(t, c) })
	if !t.Run("the programs run with them", func(t *testing.T) { testPrograms(t, c) }) {
		return
	}
	before := c.filled(t)
	for what, content := range before {
		if content == "" || len(before) != 3+documents {
			t.Fatalf("nothing to lose in %s, or elsewhere: %d in all", what, len(before))
		}
	}
	unchanged := func(after string) {
		t.Helper()
		if diff := cmp.Diff(before, c.filled(t)); diff != "" {
			t.Errorf("after %s (-before +after):\n%s", after, diff)
		}
	}
	installed := c.pods(t)
	c.helm(t, "upgrade", release, chart, "--values", helm.Values(t, otherValues))
	unchanged("an upgrade")
	for name, upgraded := range c.pods(t) {
		if cmp.Equal(installed[name], upgraded) {
			t.Errorf("other settings do not roll %s out", name)
		}
	}
	if seconds := c.timeout(t); seconds != 10 {
		t.Errorf("after the upgrade timeoutSeconds is %d", seconds)
	}
	c.helm(t, "rollback", release, "1")
	unchanged("a rollback")
	if diff := cmp.Diff(installed, c.pods(t)); diff != "" || c.timeout(t) != 5 {
		t.Errorf("after the rollback (-installed +rolled back):\n%s", diff)
	}
	c.helm(t, "uninstall", release)
	t.Run("what an uninstallation leaves", func(t *testing.T) { testLeft(t, c, before) })
	c.helm(t, "install", release, chart, "--values", values)
	t.Run("taken over", func(t *testing.T) { testTakenOver(t, c, before) })
	c.helm(t, "upgrade", release, chart, "--values", helm.Values(t, strings.ReplaceAll(releaseValues, "      st", "#     st")))
	t.Run("without stores", func(t *testing.T) { testWithoutStores(t, c) })
	c.helm(t, "upgrade", release, chart, "--reuse-values") // what is null by default stays valid
}

// testPrograms: with the rights of the chart alone issuer-sync publishes and
// tells, and the webhook has a certificate that API servers trust.
func testPrograms(t *testing.T, c *cluster) {
	publisher := c.start(t, "issuer-sync", "--serve-address=127.0.0.1:0", "--admin-address=127.0.0.1:0", "--serve-linger=0s")
	webhook := c.start(t, "issuer-sync-webhook", "--webhook-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0", "--linger=0s")
	publisher.awaitReady(t, "admin")
	webhook.awaitReady(t, "health")
	eventually(t, "the state to say since when the key signs", func() bool {
		return strings.Contains(c.configMap(t, "prod-state").Data[".issuer-sync_state.json"], `"signs"`)
	})
	served, err := get("http://" + publisher.address(t, "documents") + "/prod/openid/v1/jwks")
	if published := c.configMap(t, "prod").Data["openid_v1_jwks"]; err != nil || served != published {
		t.Errorf("served %q, %v; want what is published, %q", served, err, published)
	}
	webhook.stop(t)
	for _, p := range []*process{publisher, webhook} {
		for line := range strings.Lines(p.log.String()) {
			if strings.Contains(line, "forbidden") {
				t.Errorf("a right is missing: %s", line)
			}
		}
	}
	testEvent(t, c)
	publisher.stop(t)
}

// testEvent: a key that the API server has from now on is an event about the pod.
func testEvent(t *testing.T, c *cluster) {
	t.Helper()
	c.Servers()[0].Restart(t, servers.ServerConfig{PublicKeys: []crypto.PublicKey{keytest.RSA(t, 1).Public()}})
	eventually(t, "an event", func() bool {
		events, err := c.Client().EventsV1().Events(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(events.Items, func(event eventsv1.Event) bool {
			return strings.HasPrefix(event.Reason, "Key") && event.Regarding.Name == "issuer-sync-0"
		})
	})
	eventually(t, "both keys to be published", func() bool {
		return strings.Count(c.configMap(t, "prod").Data["openid_v1_jwks"], `"kid"`) == 2
	})
}

// filled is what the programs have written, by where it is.
func (c *cluster) filled(t *testing.T) map[string]string {
	t.Helper()
	text := func(value any, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Trim(string(encoded), "{}nul\"")
	}
	secret, err := c.Client().CoreV1().Secrets(namespace).Get(t.Context(), "issuer-sync-webhook-cert", metav1.GetOptions{})
	all := map[string]string{"Secret": text(secret.Data, err)}
	configuration, err := c.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), "issuer-sync-webhook", metav1.GetOptions{})
	all["caBundle"] = text(configuration.Webhooks[0].ClientConfig.CABundle, err)
	lease, err := c.Client().CoordinationV1().Leases(namespace).Get(t.Context(), "issuer-sync", metav1.GetOptions{})
	all["Lease"] = text(lease.Spec, err)
	maps.Copy(all, c.documents(t))
	return all
}

// documents is how many objects an issuer has: two documents, and the state.
const documents = 3

// documents are the content of the ConfigMaps that issuer-sync fills.
func (c *cluster) documents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range []string{"prod", "prod-state"} {
		for key, value := range c.configMap(t, name).Data {
			all["ConfigMap "+name+" "+key] = value
		}
	}
	return all
}

// pods are the templates of the Deployments' pods, by their names.
func (c *cluster) pods(t *testing.T) map[string]corev1.PodTemplateSpec {
	t.Helper()
	found, err := c.Client().AppsV1().Deployments(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(found.Items) != 2 {
		t.Fatalf("%d Deployments, %v", len(found.Items), err)
	}
	templates := map[string]corev1.PodTemplateSpec{}
	for _, deployment := range found.Items {
		templates[deployment.Name] = deployment.Spec.Template
	}
	return templates
}

func (c *cluster) timeout(t *testing.T) int32 {
	t.Helper()
	found, err := c.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), "issuer-sync-webhook", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return *found.Webhooks[0].TimeoutSeconds
}

// testLeft: of all that was installed, the documents alone are left, as they were.
func testLeft(t *testing.T, c *cluster, before map[string]string) {
	var left []string
	for _, resource := range []schema.GroupVersionResource{
		{Version: "v1", Resource: "configmaps"},
		{Version: "v1", Resource: "secrets"},
		{Version: "v1", Resource: "services"},
		{Version: "v1", Resource: "serviceaccounts"},
		{Version: "v1", Resource: "resourcequotas"},
		{Group: "apps", Version: "v1", Resource: "deployments"},
		{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
		{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"},
		{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"},
	} {
		found, err := c.dynamic.Resource(resource).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=issuer-sync"})
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range found.Items {
			left = append(left, object.GetKind()+" "+object.GetName())
		}
	}
	slices.Sort(left)
	if diff := cmp.Diff([]string{"ConfigMap prod", "ConfigMap prod-state"}, left); diff != "" {
		t.Errorf("-want +left:\n%s", diff)
	}
	maps.DeleteFunc(before, func(kind, _ string) bool { return !strings.HasPrefix(kind, "ConfigMap") })
	if diff := cmp.Diff(before, c.documents(t)); diff != "" || len(before) != documents {
		t.Errorf("-before +left:\n%s", diff)
	}
}

// testTakenOver: what the second installation finds it serves, and goes on from.
func testTakenOver(t *testing.T, c *cluster, before map[string]string) {
	if diff := cmp.Diff(before, c.documents(t)); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
	jwks := c.configMap(t, "prod").Data["openid_v1_jwks"]
	publisher := c.start(t, "issuer-sync", "--serve-address=127.0.0.1:0", "--admin-address=127.0.0.1:0", "--serve-linger=0s")
	publisher.awaitReady(t, "admin")
	if served, err := get("http://" + publisher.address(t, "documents") + "/prod/openid/v1/jwks"); err != nil || served != jwks {
		t.Errorf("served %q, %v; want %q", served, err, jwks)
	}
	publisher.stop(t)
	if strings.Contains(publisher.log.String(), "adopted") {
		t.Errorf("the state was lost:\n%s", publisher.log.String())
	}
}

// testWithoutStores: an issuer that names no store is kept in a ConfigMap of the
// chart's, which a replica with the chart's rights fills and serves.
func testWithoutStores(t *testing.T, c *cluster) {
	if configuration := c.pods(t)["issuer-sync"].Annotations["issuer-sync.yaml"]; strings.Contains(configuration, "prod-state") {
		t.Fatalf("it has stores:\n%s", configuration)
	}
	publisher := c.start(t, "issuer-sync", "--serve-address=127.0.0.1:0", "--admin-address=127.0.0.1:0", "--serve-linger=0s")
	publisher.awaitReady(t, "admin")
	kept := ""
	eventually(t, "the ConfigMap to be filled", func() bool {
		kept = c.configMap(t, "issuer-sync-documents-c3bd9e27").Data["openid_v1_jwks"]
		return kept != ""
	})
	if served, err := get("http://" + publisher.address(t, "documents") + "/prod/openid/v1/jwks"); err != nil || served != kept {
		t.Errorf("served %q, %v; want what is kept, %q", served, err, kept)
	}
	publisher.stop(t)
}
