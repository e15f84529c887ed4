package guides_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/issuer-sync/issuer-sync/test/docs"
	"github.com/issuer-sync/issuer-sync/test/program"
)

// mutated returns what the webhook makes of the pods in an example, and what it
// said.
func mutated(t *testing.T, text string) (pods []corev1.Pod, warnings string) {
	t.Helper()
	file := t.TempDir() + "/example.yaml"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program.Build(t, "cmd/webhook"), "mutate", "-f", file, "-o", "json",
		"--tenant-id=contoso.onmicrosoft.com", "--proxy-image=registry.example/proxy:v1")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("webhook mutate: %v\n%s", err, &stderr)
	}
	var list corev1.PodList
	if err := json.Unmarshal(stdout.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	if list.Items == nil {
		list.Items = make([]corev1.Pod, 1)
		if err := json.Unmarshal(stdout.Bytes(), &list.Items[0]); err != nil {
			t.Fatal(err)
		}
	}
	return list.Items, stderr.String()
}

func names(containers []corev1.Container) string {
	var all []string
	for _, c := range containers {
		all = append(all, c.Name)
	}
	return strings.Join(all, " ")
}

// The workloads of the worked example get their identities without a complaint,
// in the order that the page says.
func TestMigrationExample(t *testing.T) {
	pods, warnings := mutated(t, example(t, "after.yaml"))
	if warnings != "" {
		t.Errorf("the webhook complains:\n%s", warnings)
	}
	var lines []string
	for _, pod := range pods {
		lines = append(lines, strings.Join([]string{pod.Spec.ServiceAccountName, names(pod.Spec.InitContainers), names(pod.Spec.Containers)}, ": "))
	}
	_, fences := split(docs.Section(t, docs.Page(t, migrationPage), "## A worked example"))
	if diff := cmp.Diff(fences[len(fences)-1].text, strings.Join(lines, "\n")+"\n"); diff != "" {
		t.Errorf("(-page +printed):\n%s", diff)
	}
	if tenant := variable(pods[1].Spec.Containers[0], "AZURE_TENANT_ID"); tenant != "fabrikam.onmicrosoft.com" {
		t.Errorf("the CronJob's tenant is %q", tenant)
	}
}

// Nothing is lost between the two halves of the worked example: each identity
// has its ServiceAccount, each workload that was bound is labelled, and no label
// of pod-managed identity is left.
func TestMigrationExampleIsComplete(t *testing.T) {
	type object struct {
		Kind     string
		Metadata struct {
			Name        string
			Annotations map[string]string
		}
		Spec struct{ ClientID string }
	}
	before, after := example(t, "before.yaml"), example(t, "after.yaml")
	var identities, accounts []string
	for _, o := range decoded[object](t, before) {
		if o.Kind == "AzureIdentity" {
			identities = append(identities, o.Spec.ClientID)
		}
	}
	for _, o := range decoded[object](t, after) {
		if o.Kind == "ServiceAccount" {
			accounts = append(accounts, o.Metadata.Annotations["azure.workload.identity/client-id"])
		}
	}
	if diff := cmp.Diff(identities, accounts); diff != "" {
		t.Errorf("client IDs (-before +after):\n%s", diff)
	}
	if bound, labelled := strings.Count(before, "aadpodidbinding: "), strings.Count(after, `azure.workload.identity/use: "true"`); bound == 0 || bound != labelled {
		t.Errorf("%d workloads were bound, %d are labelled", bound, labelled)
	}
	if strings.Contains(after, "aadpodid") {
		t.Error("pod-managed identity is left in what comes after")
	}
}

// A sidecar that is written by hand, to narrow what may be asked for, is kept and
// completed.
func TestSidecarByHand(t *testing.T) {
	account, _, _ := strings.Cut(example(t, "after.yaml"), "---\n")
	pods, warnings := mutated(t, account+"---\n"+example(t, "narrow.yaml"))
	if got := names(pods[0].Spec.InitContainers); got != "azwi-proxy-init azwi-proxy" {
		t.Fatalf("init containers %q", got)
	}
	sidecar := pods[0].Spec.InitContainers[1]
	for _, name := range []string{"PROXY_ALLOWED_CLIENT_IDS", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"} {
		if variable(sidecar, name) == "" {
			t.Errorf("the sidecar has no %s", name)
		}
	}
	if warnings != "" {
		t.Errorf("the webhook complains:\n%s", warnings)
	}
}

// What the annotation for namespaces under PodSecurity makes of a pod, these let
// in.
func TestEnvModeExample(t *testing.T) {
	pods, _ := mutated(t, example(t, "restricted.yaml"))
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, result := range evaluator.EvaluatePod(restricted, &pods[0].ObjectMeta, &pods[0].Spec) {
		if !result.Allowed {
			t.Errorf("PodSecurity restricted refuses it: %s: %s", result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
	if got := names(pods[0].Spec.InitContainers); got != "azwi-proxy" {
		t.Errorf("init containers %q", got)
	}
	if host := variable(pods[0].Spec.Containers[0], "AZURE_POD_IDENTITY_AUTHORITY_HOST"); host != "http://127.0.0.1:8000" {
		t.Errorf("AZURE_POD_IDENTITY_AUTHORITY_HOST is %q", host)
	}
}

func variable(c corev1.Container, name string) string {
	for _, v := range c.Env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}
