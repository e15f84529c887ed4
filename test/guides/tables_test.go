package guides_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/test/docs"
)

// The operators' page has every alert, and no other.
func TestEveryAlert(t *testing.T) {
	rules := docs.Page(t, root+"/deploy/chart/files/rules.yaml")
	var want, got []string
	for _, match := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		want = append(want, match[1])
	}
	for _, row := range docs.Rows(t, docs.Section(t, docs.Page(t, operatorsPage), "## Monitoring"), 3) {
		got = append(got, strings.Trim(row[0], "`"))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alerts (-rules +page):\n%s", diff)
	}
}

// The operators' page has every port that containers of ours have.
func TestEveryPort(t *testing.T) {
	var page []string
	for _, row := range docs.Rows(t, docs.Section(t, docs.Page(t, operatorsPage), "## Who connects to whom"), 4) {
		page = append(page, regexp.MustCompile(`\d+`).FindAllString(row[2], -1)...)
	}
	// Of issuer-sync's server the chart chooses one, with TLS or without.
	manifests := docs.Page(t, root+"/deploy/webhook/deployment.yaml") + docs.Page(t, root+"/deploy/chart/templates/issuer-sync/deployment.yaml")
	chosen := docs.Page(t, root+"/deploy/chart/templates/issuer-sync/_helpers.tpl")
	var ports []string
	for _, match := range regexp.MustCompile(`containerPort: (\d+)`).FindAllStringSubmatch(manifests, -1) {
		ports = append(ports, match[1])
	}
	for _, match := range regexp.MustCompile(`"issuer-sync.servePort" -}}\n\{\{- ternary (\d+) (\d+) `).FindAllStringSubmatch(chosen, -1) {
		ports = append(ports, match[1:]...)
	}
	if len(ports) < 6 {
		t.Errorf("the manifests have ports %q; want three of either program", ports)
	}
	for _, port := range ports {
		if !slices.Contains(page, port) {
			t.Errorf("the page does not have port %s", port)
		}
	}
}

// Values of the chart that the page names exist.
func TestValuesExist(t *testing.T) {
	known := chartValues(t)
	section := docs.Section(t, docs.Page(t, awiPage), "## Chart values")
	var named []string
	for _, row := range docs.Rows(t, section, 3) {
		cell := row[1]
		if cell == "the same" {
			cell = row[0]
		}
		named = append(named, quoted(cell)...)
	}
	for _, row := range docs.Rows(t, section, 2) {
		named = append(named, quoted(row[1])...)
	}
	if len(named) < 40 {
		t.Errorf("the page names %d values; want those of AWI's chart and more", len(named))
	}
	for _, name := range named {
		prefix := strings.TrimSuffix(name, ".*")
		exists := func(value string) bool {
			return value == prefix || strings.HasPrefix(value, prefix+".")
		}
		if !slices.ContainsFunc(known, exists) {
			t.Errorf("the chart has no value %s", name)
		}
	}
}

// chartValues are the paths of all values.
func chartValues(t *testing.T) (paths []string) {
	t.Helper()
	var walk func(at string, values map[string]any)
	walk = func(at string, values map[string]any) {
		for name, value := range values {
			paths = append(paths, at+name)
			if below, ok := value.(map[string]any); ok {
				walk(at+name+".", below)
			}
		}
	}
	walk("", decoded[map[string]any](t, docs.Page(t, root+"/deploy/chart/values.yaml"))[0])
	// Allowed, but left out of the defaults: PodDisruptionBudgets have one of both.
	return append(paths, "podDisruptionBudget.maxUnavailable")
}

func quoted(cell string) (all []string) {
	for _, match := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		all = append(all, match[1])
	}
	return all
}

// right is a row of the table of rights.
type right struct {
	account, resources, names, verbs, where string
}

// The security page has all rights that the manifests and the chart ask for, and
// no other.
func TestEveryRight(t *testing.T) {
	want := map[string]bool{}
	for _, glob := range []string{"/deploy/webhook/rbac*.yaml", "/deploy/chart/templates/webhook/rbac*.yaml", "/deploy/chart/templates/issuer-sync/rbac*.yaml"} {
		for _, r := range rights(t, glob) {
			want[r.String()] = true
		}
	}
	got := map[string]bool{}
	for _, row := range docs.Rows(t, docs.Section(t, docs.Page(t, securityPage), "## Rights"), 6) {
		r := right{
			account: strings.Trim(row[0], "`"), resources: strings.Join(quoted(row[1]), ","), names: strings.Join(quoted(row[2]), ","),
			verbs: strings.ReplaceAll(row[3], " ", ""), where: strings.Trim(row[4], "`"),
		}
		if strings.Contains(row[2], " ") {
			r.names = templated // words for what values decide
		}
		got[r.String()] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rights (-manifests +page):\n%s", diff)
	}
}

func (r right) String() string {
	return strings.Join([]string{r.account, r.resources, r.names, r.verbs, r.where}, " | ")
}

// templated stands for what a template of the chart makes of values.
const templated = "x"

// role has the fields of roles and of bindings.
type role struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Rules             []rbacv1.PolicyRule `json:"rules"`
	RoleRef           rbacv1.RoleRef      `json:"roleRef"`
	Subjects          []rbacv1.Subject    `json:"subjects"`
}

// rights are what the roles of some files allow whom.
func rights(t *testing.T, glob string) (all []right) {
	t.Helper()
	files, err := filepath.Glob(root + glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files match %q: %v", glob, err)
	}
	var objects []role
	for _, file := range files {
		objects = append(objects, decoded[role](t, untemplated(docs.Page(t, file)))...)
	}
	for _, o := range objects {
		if !strings.HasSuffix(o.Kind, "Role") {
			continue
		}
		account := boundTo(o, objects)
		if account == "" {
			t.Errorf("%s: nobody is bound to %s %s", glob, o.Kind, o.Name)
		}
		for _, rule := range o.Rules {
			where := map[bool]string{true: "cluster", false: "its namespace"}[o.Kind == "ClusterRole"]
			if o.Namespace == "default" {
				where = o.Namespace
			}
			all = append(all, right{
				account, strings.Join(append(rule.Resources, rule.NonResourceURLs...), ","), strings.Join(rule.ResourceNames, ","),
				strings.Join(rule.Verbs, ","), where,
			})
		}
	}
	return all
}

func boundTo(r role, objects []role) string {
	for _, o := range objects {
		if o.RoleRef.Kind == r.Kind && o.RoleRef.Name == r.Name && len(o.Subjects) == 1 {
			return o.Subjects[0].Name
		}
	}
	return ""
}

// untemplated makes YAML of a template: without its conditions, everything is
// there.
func untemplated(text string) string {
	text = regexp.MustCompile(`(?m)^ *(\w+: )?\{\{-.*\}\}\n`).ReplaceAllString(text, "")
	text = strings.ReplaceAll(text, "{{ toJson . }}", "["+templated+"]")
	return regexp.MustCompile(`\{\{.*?\}\}`).ReplaceAllString(text, templated)
}
