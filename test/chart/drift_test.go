package chart_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/issuer-sync/issuer-sync/test/docs"
	"github.com/issuer-sync/issuer-sync/test/program"
)

// What both the chart's user and the kustomization's say.
const (
	tenantID   = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	sameValues = `
imageRepository: registry.invalid/issuer-sync
azureTenantID: ` + tenantID + `
image: {release: devel}
`
)

// TestSameAsKustomize: the chart's webhook is that of deploy/webhook, object by
// object, so that what is proved of the one holds for the other.
func TestSameAsKustomize(t *testing.T) {
	t.Parallel()
	defaults := webhookDefaults(t)
	for folder, values := range map[string]string{
		"deploy/webhook":              sameValues,
		"deploy/webhook-cert-manager": sameValues + "certificates: {mode: certManager}\n",
	} {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			rendered, err := template(t, values)
			if err != nil {
				t.Fatal(err)
			}
			got, want := comparables(t, parse(t, rendered), defaults), comparables(t, kustomize(t, folder), defaults)
			delete(want, "Namespace issuer-sync") // helm's user makes it
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-%s +chart:\n%s", folder, diff)
			}
		})
	}
}

// kustomize renders a folder of deploy/ with the installer's settings.
func kustomize(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	readSources(t)
	dir := t.TempDir()
	base, err := filepath.Abs(filepath.Join(root, folder))
	if err != nil {
		t.Fatal(err)
	}
	if base, err = filepath.Rel(dir, base); err != nil { // the only form that kustomize takes
		t.Fatal(err)
	}
	kustomization := fmt.Sprintf(`
resources: [%s]
configMapGenerator:
  - name: issuer-sync-webhook-settings
    namespace: issuer-sync
    behavior: merge
    literals: [AZURE_TENANT_ID=%s, "PROXY_IMAGE=registry.invalid/issuer-sync/proxy:devel"]
`, base, tenantID)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		t.Fatal(err)
	}
	rendered, err := command(t.Context(), nil, "go", "tool", "-modfile=tools/go.mod", "kustomize", "build", dir)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, rendered)
}

// comparables returns objects by kind and name without what each of the two tools
// adds for itself, and without what says the same as nothing.
func comparables(t *testing.T, objects []*unstructured.Unstructured, defaults map[string]string) map[string]any {
	t.Helper()
	all := make(map[string]any, len(objects))
	for _, object := range objects {
		name := regexp.MustCompile(`^(issuer-sync-webhook-settings)-\w+$`).ReplaceAllString(object.GetName(), "$1")
		object.SetName(name)
		object.SetLabels(nil)
		remove := func(path ...string) { unstructured.RemoveNestedField(object.Object, path...) }
		switch object.GetKind() {
		case "ConfigMap":
			settings, _, _ := unstructured.NestedStringMap(object.Object, "data")
			for setting, value := range settings {
				if defaults[setting] == value {
					remove("data", setting)
				}
			}
		case "Deployment":
			remove("spec", "template", "metadata", "annotations", "checksum/settings")
			remove("spec", "revisionHistoryLimit") // the API's default
			edit(t, object, []string{"spec", "template", "spec", "containers"}, func(container map[string]any) {
				delete(container, "imagePullPolicy") // the API's default for such tags
				from := container["envFrom"].([]any)[0].(map[string]any)["configMapRef"].(map[string]any)
				from["name"] = "issuer-sync-webhook-settings"
			})
		case "Service":
			remove("spec", "type") // the API's default
		}
		if annotations, _, _ := unstructured.NestedMap(object.Object, "spec", "template", "metadata", "annotations"); len(annotations) == 0 {
			remove("spec", "template", "metadata", "annotations")
		}
		all[object.GetKind()+" "+name] = object.Object
	}
	return all
}

// edit changes the only object of a list.
func edit(t *testing.T, object *unstructured.Unstructured, path []string, change func(map[string]any)) {
	t.Helper()
	list, _, err := unstructured.NestedSlice(object.Object, path...)
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %d in %q, %v", object.GetName(), len(list), path, err)
	}
	change(list[0].(map[string]any))
	if err := unstructured.SetNestedSlice(object.Object, list, path...); err != nil {
		t.Fatal(err)
	}
}

// webhookDefaults returns what the program takes for a variable that is not
// there: its flags have that, and the page which variable is which flag.
func webhookDefaults(t *testing.T) map[string]string {
	t.Helper()
	help, err := exec.CommandContext(t.Context(), program.Build(t, "cmd/webhook"), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	defaults := map[string]string{}
	for _, row := range docs.Rows(t, docs.Section(t, docs.Page(t, filepath.Join(root, "docs/webhook.md")), "## Settings"), 5) {
		flag, variable := strings.Trim(row[1], "`"), strings.Trim(row[2], "`")
		match := regexp.MustCompile(`(?m)^ +` + flag + ` .*\(default "?(.*?)"?\)$`).FindStringSubmatch(string(help))
		if match != nil && variable != "" {
			defaults[variable] = match[1]
		}
	}
	for _, variable := range []string{"AZURE_ENVIRONMENT", "WEBHOOK_ADDR"} {
		if defaults[variable] == "" {
			t.Fatalf("--help and the page tell no default of %s: %v", variable, defaults)
		}
	}
	return defaults
}

// TestPolicy: with the public cloud's audience the chart's policy is that of the
// page.
func TestPolicy(t *testing.T) {
	t.Parallel()
	_, after, _ := strings.Cut(docs.Page(t, filepath.Join(root, "docs/webhook.md")), "```yaml\n# policy.yaml\n")
	block, _, found := strings.Cut(after, "```")
	if !found {
		t.Fatal("the page has no policy.yaml")
	}
	rendered, err := template(t, sameValues+"assertInjection: {enabled: true}\n")
	if err != nil {
		t.Fatal(err)
	}
	ours := slices.DeleteFunc(parse(t, rendered), func(object *unstructured.Unstructured) bool {
		return !strings.HasPrefix(object.GetKind(), "ValidatingAdmissionPolicy")
	})
	if diff := cmp.Diff(comparables(t, parse(t, block), nil), comparables(t, ours, nil)); diff != "" {
		t.Errorf("-docs/webhook.md +chart:\n%s", diff)
	}
}
