package chart_test

import (
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/helm"
)

// testNotes: what helm says at the end has what to do next, and what is dangerous.
func testNotes(t *testing.T, c *cluster) {
	for name, wants := range map[string][]string{
		"default": {
			"WEBHOOK  2 replicas, AzurePublicCloud, tenant contoso.onmicrosoft.com, audience api://AzureADTokenExchange\n",
			"annotate serviceaccount NAME azure.workload.identity/client-id=", `"azure.workload.identity/use":"true"`,
			"ISSUER-SYNC  is not installed: issuerSync.issuers is empty.\n",
			"Once, for PodSecurity: kubectl label namespace issuer-sync pod-security.kubernetes.io/enforce=restricted",
		},
		"cert-manager": {"There is no proxy: pods that ask for it are refused.\n"},
		"issuer": {
			"issuer-sync verify https://oidc.example.com/prod\n", "Service issuer-sync, port 80: plain HTTP: let an ingress end TLS",
			"Documents and state are in ConfigMaps prod, prod-state. Uninstalling leaves them.\n",
		},
	} {
		values := valuesOf(t, name)
		if name == "cert-manager" { // its kinds are not here
			values = strings.Replace(values, "certManager", "self", 1)
		}
		notes := c.notes(t, namespace, values)
		for _, want := range wants {
			if !strings.Contains(notes, want) {
				t.Errorf("%s: the notes do not say %q:\n%s", name, want, notes)
			}
		}
		if warns := strings.Contains(notes, "WARNING"); warns != (name == "cert-manager") {
			t.Errorf("%s: the notes warn: %t\n%s", name, warns, notes)
		}
	}
}

// testWarnings: each danger is told, and nothing else.
func testWarnings(t *testing.T, c *cluster) {
	const (
		least  = "imageRepository: registry.example/issuer-sync\nazureTenantID: contoso.onmicrosoft.com\n"
		issuer = "issuerSync:\n  issuers: [{url: https://x.test, sources: [{cluster: {}}]}]\n"
	)
	for name, test := range map[string]struct{ namespace, values, want string }{
		"pods that start without identity": {namespace, "failurePolicy: Ignore", "failurePolicy is Ignore. While no replica answers, pods with the label start WITHOUT an identity and fail later."},
		"a CA that is not there":           {namespace, "certificates: {mode: secret, secretName: tls}", "certificates.caBundle is empty. Until somebody writes the caBundle, pods with the label are refused."},
		"one replica":                      {namespace, "replicaCount: 1", "podDisruptionBudget lets none of replicaCount 1 go: nodes that it runs on cannot be drained."},
		"a budget of all":                  {namespace, "replicaCount: 3\npodDisruptionBudget: {minAvailable: 67%}", "podDisruptionBudget lets none of replicaCount 3 go: nodes that it runs on cannot be drained."},
		"a budget of none":                 {namespace, "podDisruptionBudget: {minAvailable: null, maxUnavailable: 0}", "podDisruptionBudget lets none of replicaCount 2 go: nodes that it runs on cannot be drained."},
		"a budget of some":                 {namespace, "replicaCount: 3\npodDisruptionBudget: {minAvailable: 66%}", ""},
		"no replica":                       {namespace, "replicaCount: 0", ""},
		"one replica of issuer-sync":       {namespace, issuer + "  replicaCount: 1", "issuerSync.podDisruptionBudget lets none of issuerSync.replicaCount 1 go: nodes that it runs on cannot be drained."},
		"the namespace default":            {"default", "", "pods of namespace default get no identity, whatever their labels, as the webhook never waits for itself. Give it a namespace of its own."},
		"the control plane's namespace":    {"kube-system", "", "pods of namespace kube-system get no identity, whatever their labels, as the webhook never waits for itself. Give it a namespace of its own."},
	} {
		var warnings []string
		notes := c.notes(t, test.namespace, least+test.values+"\n")
		for line := range strings.Lines(notes) {
			if _, warning, found := strings.Cut(line, "WARNING: "); found {
				warnings = append(warnings, strings.TrimSpace(warning))
			}
		}
		if got := strings.Join(warnings, " "); got != test.want {
			t.Errorf("%s: the notes warn of %q; want %q", name, got, test.want)
		}
		if labels := strings.Contains(notes, "Once, for PodSecurity"); labels != (test.namespace == namespace) {
			t.Errorf("%s: the notes have the namespace labelled: %t", name, labels)
		}
	}
}

// notes are what helm says at the end of an installation.
func (c *cluster) notes(t *testing.T, namespace, values string) string {
	t.Helper()
	said := c.helm(t, "install", release, chart, "--dry-run=server", "--hide-secret", "--namespace", namespace, "--values", helm.Values(t, values))
	_, notes, found := strings.Cut(said, "\nNOTES:\n")
	if !found {
		t.Fatalf("there are no notes:\n%s", said)
	}
	return notes
}
