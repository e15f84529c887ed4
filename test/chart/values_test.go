package chart_test

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/issuer-sync/issuer-sync/test/docs"
	"github.com/issuer-sync/issuer-sync/test/helm"
)

const page = "docs/chart.md"

// TestPageHasEveryValue: the page's table has the values, in their order, and
// their defaults.
func TestPageHasEveryValue(t *testing.T) {
	t.Parallel()
	var values map[string]any
	content := docs.Page(t, filepath.Join(root, chart, "values.yaml"))
	if err := yaml.UnmarshalStrict([]byte(content), &values); err != nil {
		t.Fatal(err)
	}
	want := leaves(t, "", values)
	got := map[string]string{}
	for _, row := range docs.Rows(t, docs.Section(t, docs.Page(t, filepath.Join(root, page)), "## Values"), 3) {
		name, value := strings.Trim(row[0], "`"), strings.Trim(row[1], "`")
		if _, twice := got[name]; twice {
			t.Errorf("the page has %s twice", name)
		}
		got[name] = value
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-values.yaml +%s:\n%s", page, diff)
	}
}

// leaves returns values that are no objects, and objects that are empty, or of a
// user's own names, by their paths.
func leaves(t *testing.T, path string, values map[string]any) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, value := range values {
		at := strings.TrimPrefix(path+"."+name, ".")
		object, ok := value.(map[string]any)
		if ok && len(object) > 0 && !slices.Contains([]string{"nodeSelector", "requests", "limits"}, name) {
			maps.Copy(all, leaves(t, at, object))
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if len(object) > 0 { // as in YAML
			text, err = yaml.JSONToYAML(text)
			if err != nil {
				t.Fatal(err)
			}
		}
		all[at] = strings.Trim(strings.NewReplacer("\n", ", ", ",", ", ").Replace(strings.TrimSpace(string(text))), `"`)
	}
	return all
}

// TestConfigurationPage: what docs/configuration.md has below issuers: is what the
// schema takes, and issuer-sync's own check of the file.
func TestConfigurationPage(t *testing.T) {
	t.Parallel()
	_, after, _ := strings.Cut(docs.Page(t, filepath.Join(root, "docs/configuration.md")), "```yaml\nissuers:")
	issuers, _, found := strings.Cut(after, "\nserve:")
	if !found {
		t.Fatal("the page has no issuers")
	}
	values := "webhook: {enabled: false}\nimageRepository: registry.example/issuer-sync\nissuerSync:\n  issuers:" + strings.ReplaceAll(issuers, "\n", "\n  ")
	values = strings.ReplaceAll(values, "verify: {url: https://...,", "verify: {url: https://x.test,")
	if _, err := helm.Render(t, values); err != nil {
		t.Errorf("%v\n%s", err, values)
	}
}

// TestExamples: the values that the page has are rendered.
func TestExamples(t *testing.T) {
	t.Parallel()
	parts := strings.Split(docs.Page(t, filepath.Join(root, page)), "```yaml\n# values.yaml")
	for _, part := range parts[1:] {
		example, _, _ := strings.Cut(part, "```")
		if _, err := helm.Render(t, strings.ReplaceAll(example, "…", strings.Repeat("a", 64))); err != nil {
			t.Errorf("%v\n%s", err, example)
		}
	}
	if len(parts) < 3 {
		t.Errorf("the page has %d examples of values", len(parts)-1)
	}
}

// TestServicePort: the port and what is said of it are those of what is spoken.
func TestServicePort(t *testing.T) {
	t.Parallel()
	const issuer = "imageRepository: registry.example/issuer-sync\nwebhook: {enabled: false}\nissuerSync:\n  issuers: [{url: https://x.test, sources: [{cluster: {}}]}]\n"
	for name, c := range map[string]struct{ values, want string }{
		"plain HTTP":             {"", "port: 80\n      appProtocol: http\n"},
		"HTTPS":                  {"  serve: {tls: {secretName: tls}}\n", "port: 443\n      appProtocol: https\n"},
		"HTTPS at another port":  {"  serve: {tls: {secretName: tls}}\n  service: {port: 8443}\n", "port: 8443\n      appProtocol: https\n"},
		"a port that is nothing": {"  service: {port: null}\n", "port: 80\n      appProtocol: http\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rendered, err := helm.Render(t, issuer+c.values)
			if err != nil || !strings.Contains(rendered, c.want) {
				t.Errorf("%v; want %q in\n%s", err, c.want, rendered)
			}
		})
	}
}
