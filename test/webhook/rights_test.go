package webhook_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
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
	everybody := i.rights(t, "nobody")
	got := slices.DeleteFunc(i.rights(t, i.deployment.Spec.Template.Spec.ServiceAccountName), func(right string) bool {
		return slices.Contains(everybody, right)
	})
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rights (-want +got):\n%s", diff)
	}
}

// rights are those of a ServiceAccount, sorted, as JSON.
func (i *installation) rights(t *testing.T, account string) []string {
	t.Helper()
	client, err := kubernetes.NewForConfig(i.ServiceAccount(t, ownNamespace, account))
	if err != nil {
		t.Fatal(err)
	}
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: ownNamespace}}
	review, err = client.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil || review.Status.Incomplete {
		t.Fatalf("asking for the rights of %s: %v %s", account, err, review.Status.EvaluationError)
	}
	var rights []string
	add := func(rule any) {
		text, err := json.Marshal(rule)
		if err != nil {
			t.Fatal(err)
		}
		rights = append(rights, string(text))
	}
	for _, rule := range review.Status.ResourceRules {
		add(rule)
	}
	for _, rule := range review.Status.NonResourceRules {
		add(rule)
	}
	slices.Sort(rights)
	return rights
}
