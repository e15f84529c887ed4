package chart_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// testRights: these are all rights that the accounts have and that not every
// ServiceAccount has.
func testRights(t *testing.T, c *cluster) {
	const endpoints = `{"verbs":["get"],"apiGroups":["discovery.k8s.io"],"resources":["endpointslices"],"resourceNames":["kubernetes"]}`
	for account, wants := range map[string]map[string][]string{
		"issuer-sync": {
			namespace: {
				`{"verbs":["create"],"apiGroups":[""],"resources":["serviceaccounts/token"],"resourceNames":["issuer-sync"]}`,
				`{"verbs":["create"],"apiGroups":["events.k8s.io"],"resources":["events"]}`,
				`{"verbs":["get","patch"],"apiGroups":[""],"resources":["configmaps"],"resourceNames":["prod","prod-state"]}`,
				`{"verbs":["get","update"],"apiGroups":["coordination.k8s.io"],"resources":["leases"],"resourceNames":["issuer-sync"]}`,
				`{"verbs":["get"],"nonResourceURLs":["/.well-known/openid-configuration","/openid/v1/jwks"]}`,
			},
			"default":     {endpoints, `{"verbs":["get"],"nonResourceURLs":["/.well-known/openid-configuration","/openid/v1/jwks"]}`},
			"kube-system": {`{"verbs":["get"],"nonResourceURLs":["/.well-known/openid-configuration","/openid/v1/jwks"]}`},
		},
		"issuer-sync-webhook": {
			namespace: {
				`{"verbs":["get","list","watch"],"apiGroups":[""],"resources":["serviceaccounts"]}`,
				`{"verbs":["get","patch"],"apiGroups":[""],"resources":["secrets"],"resourceNames":["issuer-sync-webhook-cert"]}`,
				`{"verbs":["get","patch"],"apiGroups":["admissionregistration.k8s.io"],"resources":["mutatingwebhookconfigurations"],"resourceNames":["issuer-sync-webhook"]}`,
			},
			"kube-system": {
				`{"verbs":["get","list","watch"],"apiGroups":[""],"resources":["serviceaccounts"]}`,
				`{"verbs":["get","patch"],"apiGroups":["admissionregistration.k8s.io"],"resources":["mutatingwebhookconfigurations"],"resourceNames":["issuer-sync-webhook"]}`,
			},
		},
	} {
		for where, want := range wants {
			everybody := c.rights(t, "nobody", where)
			got := slices.DeleteFunc(c.rights(t, account, where), func(right string) bool { return slices.Contains(everybody, right) })
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rights of %s in %s (-want +got):\n%s", account, where, diff)
			}
		}
	}
}

// rights are those of a ServiceAccount of ours in a namespace, sorted, as JSON.
func (c *cluster) rights(t *testing.T, account, where string) []string {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.ServiceAccount(t, namespace, account))
	if err != nil {
		t.Fatal(err)
	}
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: where}}
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
