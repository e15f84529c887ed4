package chart_test

import (
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/issuer-sync/issuer-sync/test/docs"
	"github.com/issuer-sync/issuer-sync/test/manifests"
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
			got, want := comparables(t, mustRender(t, values), defaults), comparables(t, kustomize(t, folder), defaults)
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
	return manifests.Webhook(t, root, folder, "AZURE_TENANT_ID="+tenantID, "PROXY_IMAGE=registry.invalid/issuer-sync/proxy:devel")
}

// comparables returns objects by kind and name without what each of the two tools
// adds for itself, and without what says the same as nothing. Variables of a
// ConfigMap are as good as those that the Deployment has itself.
func comparables(t *testing.T, objects []*unstructured.Unstructured, defaults map[string]string) map[string]any {
	t.Helper()
	all := make(map[string]any, len(objects))
	settings := map[string]map[string]string{}
	for _, object := range objects {
		if object.GetKind() == "ConfigMap" {
			settings[object.GetName()], _, _ = unstructured.NestedStringMap(object.Object, "data")
		}
	}
	for _, object := range objects {
		if _, isSettings := settings[object.GetName()]; isSettings {
			continue
		}
		object.SetLabels(nil)
		remove := func(path ...string) { unstructured.RemoveNestedField(object.Object, path...) }
		switch object.GetKind() {
		case "Deployment":
			remove("spec", "revisionHistoryLimit") // the API's default
			edit(t, object, []string{"spec", "template", "spec", "containers"}, func(container map[string]any) {
				delete(container, "imagePullPolicy") // the API's default for such tags
				container["env"] = variables(t, container, settings, defaults)
				delete(container, "envFrom")
			})
		case "Service":
			remove("spec", "type") // the API's default
		}
		all[object.GetKind()+" "+object.GetName()] = object.Object
	}
	return all
}

// variables are those of a container, by name, without those that have the value
// that the program takes for one that is not there.
func variables(t *testing.T, container map[string]any, settings map[string]map[string]string, defaults map[string]string) map[string]any {
	t.Helper()
	all := map[string]any{}
	from, _ := container["envFrom"].([]any)
	for _, source := range from {
		name, _, _ := unstructured.NestedString(source.(map[string]any), "configMapRef", "name")
		if settings[name] == nil {
			t.Fatalf("variables come from %q; want one of the ConfigMaps", source)
		}
		for variable, value := range settings[name] {
			all[variable] = value
		}
	}
	for _, one := range container["env"].([]any) {
		variable := one.(map[string]any)
		name := variable["name"].(string)
		if _, twice := all[name]; twice {
			t.Errorf("the variable %s is there twice", name)
		}
		all[name] = variable["valueFrom"]
		if value, ok := variable["value"]; ok {
			all[name] = value
		}
	}
	maps.DeleteFunc(all, func(name string, value any) bool { return value == defaults[name] })
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
	ours := slices.DeleteFunc(mustRender(t, sameValues+"assertInjection: {enabled: true}\n"), func(object *unstructured.Unstructured) bool {
		return !strings.HasPrefix(object.GetKind(), "ValidatingAdmissionPolicy")
	})
	if diff := cmp.Diff(comparables(t, manifests.Parse(t, []byte(block)), nil), comparables(t, ours, nil)); diff != "" {
		t.Errorf("-docs/webhook.md +chart:\n%s", diff)
	}
}
