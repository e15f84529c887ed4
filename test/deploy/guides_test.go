package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/issuer-sync/issuer-sync/test/program"
)

// TestGuidesParse holds the examples to their language, and links to their ends.
func TestGuidesParse(t *testing.T) {
	t.Parallel()
	for _, page := range guides() {
		for _, f := range fences(t, page, "yaml") {
			for document := range strings.SplitSeq(f.text, "\n---\n") {
				var object any
				if err := yaml.UnmarshalStrict([]byte(document), &object); err != nil {
					t.Errorf("%s:%d: %v", page, f.line, err)
				}
			}
		}
		for _, f := range fences(t, page, "sh") {
			if out, err := bash(t, nil, "-n", "-c", f.text).CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v: %s", page, f.line, err, out)
			}
		}
		for _, fault := range brokenLinks(t, page) {
			t.Errorf("%s: %s", page, fault)
		}
	}
}

func bash(t *testing.T, variables []string, args ...string) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", args...)
	command.Env = append(command.Environ(), variables...)
	return command
}

// brokenLinks are those to files that are not there, or to headings.
func brokenLinks(t *testing.T, page string) (faults []string) {
	t.Helper()
	for _, match := range regexp.MustCompile(`\]\(([^):]+)\)`).FindAllStringSubmatch(read(t, page), -1) {
		target, anchor, _ := strings.Cut(match[1], "#")
		file := page
		if target != "" {
			file = filepath.Join(filepath.Dir(page), target)
		}
		if _, err := os.Stat(filepath.Join(root, file)); err != nil {
			faults = append(faults, "link to "+match[1]+": there is no such file")
			continue
		}
		if anchor != "" && !strings.Contains(headings(t, file), "\n"+anchor+"\n") {
			faults = append(faults, "link to "+match[1]+": there is no such heading")
		}
	}
	return faults
}

// headings are a page's, as links name them, a line each.
func headings(t *testing.T, page string) string {
	t.Helper()
	all := "\n"
	unwanted := regexp.MustCompile(`[^a-z0-9 _-]`)
	for line := range strings.Lines(read(t, page)) {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && line[0] == '#' {
			title = unwanted.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			all += strings.ReplaceAll(title, " ", "-") + "\n"
		}
	}
	return all
}

// TestGuidesCommands runs the commands of the guides of clouds, one page in one
// shell, with stand-ins for the programs that would need a cloud. A variable
// that is not set, and a file that is not there, fail; what is written as JSON
// or as issuer-sync's configuration is read.
func TestGuidesCommands(t *testing.T) {
	t.Parallel()
	for page, want := range map[string][]string{
		"docs/eks.md": {
			"aws iam create-role --role-name shop-app --assume-role-policy-document file://trust.json",
			"az identity federated-credential create --name eks-prod --identity-name shop-app --resource-group shop --issuer " + newIssuer +
				" --subject system:serviceaccount:shop:app --audiences api://AzureADTokenExchange",
			"issuer-sync verify " + newIssuer + " --for entra,gcp --service-account default/default",
			"crane push dist/images/webhook registry.example/issuer-sync/webhook:0.1.0",
			"helm upgrade --install issuer-sync deploy/chart --namespace issuer-sync --create-namespace -f deploy/eks/values.yaml" +
				" --set imageRepository=registry.example/issuer-sync --set azureTenantID=contoso.onmicrosoft.com --wait --timeout 5m",
		},
		"docs/gke.md": {
			"gcloud iam workload-identity-pools create-cred-config projects/answer/locations/global/workloadIdentityPools/kubernetes/providers/prod" +
				" --credential-source-file /var/run/secrets/google/token --credential-source-type text --output-file google.json",
		},
		"docs/azure.md": {
			"az storage container-rm create --name oidc-prod --storage-account contoso --resource-group kubernetes-issuer --public-access blob",
			"az role assignment create --role Storage Blob Data Contributor --scope answer/blobServices/default/containers/oidc-prod" +
				" --assignee-object-id answer --assignee-principal-type User",
			"issuer-sync publish --config issuer-sync.yaml",
		},
	} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			calls := runGuide(t, page, folder)
			for _, call := range want {
				if !strings.Contains(calls, call+"\n") {
					t.Errorf("no call is %q; all:\n%s", call, calls)
				}
			}
			checkWritten(t, folder)
		})
	}
}

// runGuide runs all commands of a page in a folder and returns the calls of
// programs, a line each.
func runGuide(t *testing.T, page, folder string) string {
	t.Helper()
	script := ""
	for _, f := range fences(t, page, "sh") {
		script += f.text
	}
	return runCommands(t, page, folder, script)
}

// runCommands runs some of them.
func runCommands(t *testing.T, page, folder, commands string) string {
	t.Helper()
	bin := t.TempDir()
	for name, says := range map[string]string{
		"aws": newIssuer, "az": "answer", "crane": "", "gcloud": "answer", "helm": "", "issuer-sync": "", "jq": newIssuer, "kubectl": "", "make": "",
	} {
		stand := "#!/bin/bash\necho \"" + name + " $*\" >> '" + folder + "/calls'\n"
		if name == "jq" {
			stand += "cat >/dev/null\n" // it stands behind a pipe
		}
		stand += "echo '" + says + "'\n"
		if err := os.WriteFile(filepath.Join(bin, name), []byte(stand), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	command := bash(t, []string{"PATH=" + bin + ":" + path(t), "HOME=" + folder}, "-c", "set -euo pipefail\n"+commands)
	command.Dir = folder
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("the commands of %s: %v\n%s", page, err, out)
	}
	calls, err := os.ReadFile(filepath.Join(folder, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	return string(calls)
}

// TestGuidesRemoval runs the search for trusts as who comes back to the page years
// later does, in a new shell: it must not look for an empty issuer and find
// nothing.
func TestGuidesRemoval(t *testing.T) {
	t.Parallel()
	const page = "docs/azure.md"
	_, removal, _ := strings.Cut(read(t, page), "\n## Removal\n")
	search := fences(t, page, "sh")
	last := search[len(search)-1].text
	if !strings.Contains(removal, strings.TrimSpace(strings.Split(last, "\n")[0])) {
		t.Fatalf("the search is not in the section on removal:\n%s", last)
	}
	calls := runCommands(t, page, t.TempDir(), last)
	if want := "--query [?issuer=='" + newIssuer + "'].[name, subject] --output tsv\n"; !strings.Contains(calls, want) {
		t.Errorf("no call has %q; all:\n%s", want, calls)
	}
}

// TestGuidesWebsite publishes as the page has it for a static website: $web is the
// name of a container, and no variable.
func TestGuidesWebsite(t *testing.T) {
	t.Parallel()
	const page = "docs/azure.md"
	website, script := "", ""
	for _, f := range fences(t, page, "sh") {
		if strings.Contains(f.text, "--static-website") {
			website = f.text
		}
	}
	for i, f := range fences(t, page, "sh")[:3] { // make it, who publishes first, issuer-sync's own identity
		script += f.text
		if i == 0 {
			script += website
		}
	}
	folder := t.TempDir()
	calls := runCommands(t, page, folder, script)
	if want := "--scope answer/blobServices/default/containers/$web "; strings.Count(calls, want) != 2 {
		t.Errorf("not both roles have %q; all:\n%s", want, calls)
	}
	config, err := os.ReadFile(filepath.Join(folder, "issuer-sync.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "azureBlob: {url: https://contoso.blob.core.windows.net/$web, credential: default}"; website == "" || !strings.Contains(string(config), want) {
		t.Errorf("the configuration has no %q:\n%s", want, config)
	}
}

// checkWritten reads what the commands wrote.
func checkWritten(t *testing.T, folder string) {
	t.Helper()
	if content, err := os.ReadFile(filepath.Join(folder, "trust.json")); err == nil {
		var policy struct {
			Statement []struct {
				Condition map[string]map[string]string
			}
		}
		if err := json.Unmarshal(content, &policy); err != nil {
			t.Fatalf("trust.json: %v\n%s", err, content)
		}
		subject := strings.TrimPrefix(newIssuer, "https://") + ":sub"
		if got := policy.Statement[0].Condition["StringEquals"][subject]; got != "system:serviceaccount:shop:app" {
			t.Errorf("trust.json has the subject %q:\n%s", got, content)
		}
	}
	if content, err := os.ReadFile(filepath.Join(folder, "issuer-sync.yaml")); err == nil {
		checkConfiguration(t, string(content))
	}
}

// TestBesideAWSWebhook gives our webhook a pod as AWS' pod identity webhook
// leaves it (amazon-eks-pod-identity-webhook, README): both identities stay.
func TestBesideAWSWebhook(t *testing.T) {
	t.Parallel()
	account := write(t, "sa.yaml", `apiVersion: v1
kind: ServiceAccount
metadata:
  name: app
  namespace: shop
  annotations:
    azure.workload.identity/client-id: 11111111-2222-3333-4444-555555555555
    eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/shop-app
`)
	pod := write(t, "pod.yaml", `apiVersion: v1
kind: Pod
metadata:
  name: app
  namespace: shop
  labels: {azure.workload.identity/use: "true"}
spec:
  serviceAccountName: app
  containers:
  - name: app
    image: registry.example/app:1
    env:
    - {name: AWS_REGION, value: eu-central-1}
    - {name: AWS_ROLE_ARN, value: "arn:aws:iam::111122223333:role/shop-app"}
    - {name: AWS_WEB_IDENTITY_TOKEN_FILE, value: /var/run/secrets/eks.amazonaws.com/serviceaccount/token}
    volumeMounts:
    - {name: aws-iam-token, mountPath: /var/run/secrets/eks.amazonaws.com/serviceaccount, readOnly: true}
  volumes:
  - name: aws-iam-token
    projected:
      sources:
      - serviceAccountToken: {audience: sts.amazonaws.com, expirationSeconds: 86400, path: token}
`)
	out, err := exec.CommandContext(t.Context(), program.Build(t, "cmd/webhook"), "mutate", "-f", pod,
		"--service-account", account, "--tenant-id", "contoso.onmicrosoft.com").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mutated corev1.Pod
	if err := yaml.Unmarshal(out, &mutated); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, volume := range mutated.Spec.Volumes {
		got = append(got, volume.Name)
	}
	for _, variable := range mutated.Spec.Containers[0].Env {
		got = append(got, variable.Name)
	}
	slices.Sort(got)
	want := []string{
		"AWS_REGION", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AZURE_AUTHORITY_HOST", "AZURE_CLIENT_ID",
		"AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID", "aws-iam-token", "azure-identity-token",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("volumes and variables (-want +got):\n%s", diff)
	}
}
