package webhook_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The webhook's rights in its namespace and in the cluster.
const (
	readsAccounts      = `{"verbs":["get","list","watch"],"apiGroups":[""],"resources":["serviceaccounts"]}`
	readsSecret        = `{"verbs":["get","patch"],"apiGroups":[""],"resources":["secrets"],"resourceNames":["issuer-sync-webhook-cert"]}`
	readsConfiguration = `{"verbs":["get","patch"],"apiGroups":["admissionregistration.k8s.io"],"resources":["mutatingwebhookconfigurations"],"resourceNames":["issuer-sync-webhook"]}`
)

// testRights: these are all rights that the webhook has and that not every
// ServiceAccount has.
func testRights(t *testing.T, i *installation, want ...string) {
	t.Helper()
	got := i.Rights(t, ownNamespace, i.deployment.Spec.Template.Spec.ServiceAccountName, ownNamespace)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rights (-want +got):\n%s", diff)
	}
}
