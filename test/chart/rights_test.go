package chart_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
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
			got := c.Rights(t, namespace, account, where)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rights of %s in %s (-want +got):\n%s", account, where, diff)
			}
		}
	}
}
