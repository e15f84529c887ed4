package deploy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	azureModule  = "deploy/terraform/azure"
	azureExample = "deploy/terraform/azure/examples/basic"
)

// TestTerraform parses the module and its example with Terraform's own parser
// and compares them with the provider's documentation. Nothing is planned or
// applied: there is neither provider nor cloud here.
func TestTerraform(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{azureModule, azureExample} {
		for _, problem := range readModule(t, folder).check() {
			t.Errorf("%s: %s", folder, problem)
		}
	}
	callee := readModule(t, azureModule)
	for _, problem := range checkCall(readModule(t, azureExample).blocks["module.issuer"], callee) {
		t.Errorf("%s: %s", azureExample, problem)
	}
	for _, f := range fences(t, azureModule+"/README.md", "hcl") {
		m := parseModule(map[string]string{"example.tf": f.text})
		if len(m.problems) > 0 {
			t.Errorf("%s:%d: %q", f.page, f.line, m.problems)
		}
		for _, address := range m.all("module.") {
			for _, problem := range checkCall(m.blocks[address], callee) {
				t.Errorf("%s:%d: %s", f.page, f.line, problem)
			}
		}
	}
}

// The README names every variable and every output, and no other.
func TestTerraformReadme(t *testing.T) {
	t.Parallel()
	m, readme := readModule(t, azureModule), read(t, azureModule+"/README.md")
	for _, c := range []struct{ heading, prefix string }{{"## Variables", "var."}, {"## Outputs", "output."}} {
		var got, want []string
		_, section, _ := strings.Cut(readme, "\n"+c.heading+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		for line := range strings.Lines(section) {
			if name, ok := strings.CutPrefix(line, "| `"); ok {
				name, _, _ = strings.Cut(name, "`")
				got = append(got, name)
			}
		}
		for _, address := range m.all(c.prefix) {
			want = append(want, strings.TrimPrefix(address, c.prefix))
		}
		if diff := cmp.Diff(want, slices.Sorted(slices.Values(got))); diff != "" {
			t.Errorf("%s of the README (-module +README):\n%s", c.heading, diff)
		}
	}
}

// What the checks above would say of mistakes.
func TestTerraformChecks(t *testing.T) {
	t.Parallel()
	const group = "resource \"azurerm_resource_group\" \"a\" {\n  name     = \"a\"\n  location = \"b\"\n}\n"
	for name, c := range map[string]struct{ source, want string }{
		"good":               {group, ""},
		"no HCL":             {"resource {", "Unclosed configuration block"},
		"unformatted":        {"locals {\n  a= 1\n}\noutput \"a\" {\n  description = \"x\"\n  value       = local.a\n}\n", "main.tf is not formatted: terraform fmt"},
		"unknown variable":   {"output \"a\" {\n  description = \"x\"\n  value       = var.a\n}\n", "var.a is not declared"},
		"unknown local":      {"output \"a\" {\n  description = \"x\"\n  value       = local.a\n}\n", "local.a is not declared"},
		"unknown resource":   {group + "output \"a\" {\n  description = \"x\"\n  value       = azurerm_resource_group.b.id\n}\n", "azurerm_resource_group.b is not declared"},
		"unknown attribute":  {group + "output \"a\" {\n  description = \"x\"\n  value       = azurerm_resource_group.a.client_id\n}\n", "azurerm_resource_group has no attribute client_id"},
		"unused variable":    {"variable \"a\" {\n  description = \"x\"\n  type        = string\n}\n", "var.a is not used"},
		"unused local":       {"locals {\n  a = 1\n}\n", "local.a is not used"},
		"no description":     {"output \"a\" {\n  value = 1\n}\n", "output.a has no description"},
		"argument missing":   {"resource \"azurerm_resource_group\" \"a\" {\n  name = \"a\"\n}\n", "azurerm_resource_group.a: it wants location"},
		"unknown argument":   {strings.Replace(group, "location", "locatiom", 1), "azurerm_resource_group.a: there is no argument locatiom"},
		"unknown block":      {strings.Replace(group, "}", "  features {}\n}", 1), "there is no block features"},
		"unknown resource's": {"resource \"azurerm_key_vault\" \"a\" {}\n", "there is no schema of azurerm_key_vault"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(parseModule(map[string]string{"main.tf": c.source}).check(), "\n")
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("problems: %q; want %q", got, c.want)
			}
		})
	}
}
