package webhook_test

import (
	"strings"
	"testing"
)

// TestInstalled is one test, as the API server takes seconds to start: the
// manifests are installed, then come the cases, then outages.
func TestInstalled(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, "deploy/webhook")
	i.makeNamespace(t, "load", nil, withClientID())
	if !t.Run("ready with its rights alone", func(t *testing.T) { testReadiness(t, i) }) {
		return
	}
	for _, r := range []*replica{i.start(t), i.start(t)} {
		r.awaitReady(t)
	}
	i.awaitReachable(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *installation)
	}{
		{"its rights", func(t *testing.T, i *installation) { testRights(t, i, readsAccounts, readsSecret, readsConfiguration) }},
		{"applied again", testAppliedAgain},
		{"inside a cluster", testInCluster},
		{"the policy of the page", testPolicy}, // all that follows is under it
		{"cases", testCases},
		{"another webhook changes the pod", testReinvocation},
		{"fields that are new", testNewFields},
		{"a dry run", testDryRun},
		{"its own pods", testOwnPods},
		{"2,000 pods", testBurst},
		{"1,000 service accounts and their pods", testBackToBack},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, i) })
	}
	if failed := i.ofReplicas(t, "azwi_reviews_total", `result="error"`); failed > 0 {
		t.Errorf("%.0f reviews ended in an error", failed)
	}
	removePolicy(t, i) // it is for the public cloud
	// These end replicas.
	t.Run("a rollout", func(t *testing.T) { testRollout(t, i) })
	t.Run("a request under way at the end", func(t *testing.T) { testDrain(t, i) })
	t.Run("other settings", func(t *testing.T) { testOtherSettings(t, i) })
	t.Run("outage", func(t *testing.T) { testOutage(t, i) })
}

// testReadiness: a replica is ready once API servers trust it, and says until
// then which right it lacks.
func testReadiness(t *testing.T, i *installation) {
	i.install(t, "", "", "ClusterRoleBinding", "RoleBinding")
	r := i.start(t)
	says := func(ready, log string) {
		t.Helper()
		var answer string
		defer func() {
			if t.Failed() {
				t.Logf("/readyz: %s", answer)
			}
		}()
		eventually(t, "/readyz to say "+ready, patience, func() bool {
			var err error
			answer, err = r.ready()
			return err != nil && strings.Contains(answer, ready)
		})
		eventually(t, "the log to say "+log, patience, func() bool { return r.logged(log) })
		if bundle := i.bundle(t); len(bundle) > 0 {
			t.Errorf("not ready, but there is a caBundle:\n%s", bundle)
		}
	}
	says("the ServiceAccounts are not read yet", "serviceaccounts is forbidden")
	if _, err := get(r.life); err != nil {
		t.Errorf("not ready, but alive: %v", err)
	}
	i.install(t, "ClusterRoleBinding", "issuer-sync-webhook")
	const configuration = `mutatingwebhookconfigurations.admissionregistration.k8s.io "issuer-sync-webhook" is forbidden`
	says(configuration, configuration)
	i.install(t, "ClusterRoleBinding", "issuer-sync-webhook-certificates")
	const secret = `secrets "issuer-sync-webhook-cert" is forbidden`
	says(secret, secret)
	i.install(t, "RoleBinding", "")
	r.awaitReady(t)
	if len(i.bundle(t)) == 0 {
		t.Error("ready, but there is no caBundle")
	}
	r.kill(t)
}
