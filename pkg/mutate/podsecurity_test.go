package mutate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// TestPodSecurity asks the checks that the API server itself runs. All pods fit
// "restricted" before, so that whatever is found is the webhook's.
func TestPodSecurity(t *testing.T) {
	const podWide = `{"metadata":{"labels":{"azure.workload.identity/use":"true"}},"spec":{
		"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},
		"containers":[{"name":"app","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}}`
	// Injected containers find nothing here that would be true of them, too.
	const ownOnly = `{"metadata":{"labels":{"azure.workload.identity/use":"true"}},"spec":{"containers":[{"name":"app","securityContext":{
		"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"},"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}}`
	const netAdmin = `container "azwi-proxy-init" must not include "NET_ADMIN" in securityContext.capabilities.add`
	// Two causes: NET_ADMIN, and uid 0, which two checks see.
	redirect := []string{
		"unrestricted capabilities: " + netAdmin,
		`runAsNonRoot != true: container "azwi-proxy-init" must not set securityContext.runAsNonRoot=false`,
		`runAsUser=0: container "azwi-proxy-init" must not set runAsUser=0`,
	}
	const asked, env = `"azure.workload.identity/inject-proxy-sidecar":"true"`, `,"azure.workload.identity/proxy-mode":"env"`
	for name, c := range map[string]struct {
		proxy       mutate.Proxy
		annotations string
		level       api.Level
		want        []string
	}{
		"no proxy":                                                      {mutate.Proxy{}, "", api.LevelRestricted, nil},
		"proxy in env mode":                                             {mutate.Proxy{Image: "proxy", Mode: mutate.ProxyEnv}, asked, api.LevelRestricted, nil},
		"proxy in env mode, plain sidecar":                              {mutate.Proxy{Image: "proxy", Mode: mutate.ProxyEnv, PlainSidecar: true}, asked, api.LevelRestricted, nil},
		"proxy with a redirect":                                         {mutate.Proxy{Image: "proxy"}, asked, api.LevelRestricted, redirect},
		"proxy with a redirect, plain":                                  {mutate.Proxy{Image: "proxy", PlainSidecar: true}, asked, api.LevelRestricted, redirect},
		"proxy with a redirect, for baseline":                           {mutate.Proxy{Image: "proxy"}, asked, api.LevelBaseline, []string{"non-default capabilities: " + netAdmin}},
		"env mode by annotation, where others have the redirect":        {mutate.Proxy{Image: "proxy"}, asked + env, api.LevelRestricted, nil},
		"env mode by annotation, where others have the redirect, plain": {mutate.Proxy{Image: "proxy", PlainSidecar: true}, asked + env, api.LevelRestricted, nil},
	} {
		m := mutator(t, mutate.Options{TenantID: tenantID, Proxy: c.proxy})
		for where, raw := range map[string]string{"settings for the whole pod": podWide, "settings of its container": ownOnly} {
			t.Run(name+"/"+where, func(t *testing.T) {
				if before := podSecurity(t, c.level, []byte(raw)); before != nil {
					t.Fatalf("the pod does not fit before: %q", before)
				}
				raw = strings.Replace(raw, `{"metadata":{`, `{"metadata":{"annotations":{`+c.annotations+`},`, 1)
				result, err := patchOf(m, []byte(raw), benchIdentity())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, podSecurity(t, c.level, apply(t, []byte(raw), result.Patch))); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
	}
}

// podSecurity returns the complaints of one level, in the newest version that
// the module knows.
func podSecurity(t *testing.T, level api.Level, raw []byte) (complaints []string) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	decode(t, raw, &pod)
	for _, r := range evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
		if !r.Allowed {
			complaints = append(complaints, fmt.Sprintf("%s: %s", r.ForbiddenReason, r.ForbiddenDetail))
		}
	}
	return complaints
}
