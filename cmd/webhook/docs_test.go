package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/types"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/internal/settings"
	"github.com/issuer-sync/issuer-sync/pkg/mutate"
	"github.com/issuer-sync/issuer-sync/test/docs"
)

// Where the page and what it tells of are.
const (
	docsPage      = "../../docs/webhook.md"
	awiPage       = "../../docs/coming-from-awi.md" // quotes settings, too
	migrationPage = "../../docs/migration.md"
	mutateSources = "../../pkg/mutate/*.go"
	mutateGoldens = "../../pkg/mutate/testdata/*.txtar"
)

// logSources hold what logs while the webhook serves.
func logSources() []string {
	return []string{"*.go", "../../internal/admission/*.go", "../../internal/accounts/*.go", "../../internal/servingcert/*.go", "../../internal/httpserver/*.go"}
}

// The page has every setting, with its names and its default.
func TestDocsHaveEverySetting(t *testing.T) {
	var want, got []string
	add := func(list *[]string, cells ...string) { *list = append(*list, strings.Join(cells, " ")) }
	for _, s := range slices.Concat(podSettings(), serverSettings(), logSettings()) {
		flag := s.Flag
		if flag != "" {
			flag = "--" + flag
		}
		add(&want, s.Key, flag, s.Env, defaultText(s))
	}
	section := docs.Section(t, docs.Page(t, docsPage), "## Settings")
	for _, row := range docs.Rows(t, section, 5) {
		for i := range row {
			row[i] = strings.Trim(row[i], "`")
		}
		add(&got, row[0], row[1], row[2], documentedDefault(row[3]))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-code +page):\n%s", diff)
	}
	for _, name := range []string{"`--" + configSetting().Flag + "`", "`" + configSetting().Env + "`"} {
		if !strings.Contains(section, name) {
			t.Errorf("the page does not have %s", name)
		}
	}
}

// defaultText is empty for a default that is empty: the page says then what holds.
func defaultText(s settings.Setting) string { return documentedDefault(fmt.Sprint(s.Default)) }

// documentedDefault reads a cell; words, rather than a value, stand for an
// empty default.
func documentedDefault(cell string) string {
	switch words := []string{"none", "required", "cloud", "proxy", "URL", "pod", "current", "bundles"}; {
	case slices.ContainsFunc(words, func(word string) bool { return strings.Contains(cell, word) }):
		return ""
	default:
		if d, err := time.ParseDuration(cell); err == nil {
			return d.String()
		}
		return cell
	}
}

// The page names no flag that does not exist, nor do those that tell people how
// to come here.
func TestDocsNameFlagsThatExist(t *testing.T) {
	known := map[string]bool{"proxy-port": true} // the proxy's, in messages
	root := newRootCommand(nil)
	for _, c := range append([]*cobra.Command{root}, root.Commands()...) {
		c.InitDefaultHelpFlag()
		c.Flags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
	}
	awi := docs.Page(t, awiPage)
	page := docs.Page(t, docsPage) + docs.Section(t, awi, "## The swap, without a gap") + docs.Section(t, awi, "## What differs")
	quoted := regexp.MustCompile("`--([a-z-]+)").FindAllStringSubmatch(page, -1)
	for _, line := range regexp.MustCompile(`(?m)^.*\bwebhook mutate .*$`).FindAllString(page+docs.Page(t, migrationPage), -1) {
		quoted = append(quoted, regexp.MustCompile(` --([a-z-]+)`).FindAllStringSubmatch(line, -1)...)
	}
	for _, match := range quoted {
		if !known[match[1]] {
			t.Errorf("the page has --%s, which does not exist", match[1])
		}
	}
}

// The page has every label, annotation, variable and path, and every reason and
// outcome.
func TestDocsHaveEveryName(t *testing.T) {
	page := docs.Page(t, docsPage)
	var annotations []string // and the label
	for name, value := range mutateConstants(t) {
		if strings.HasPrefix(name, "Annotation") || name == "Label" {
			annotations = append(annotations, "`"+value+"`")
		}
		family := slices.ContainsFunc([]string{"Annotation", "Label", "env", "VolumeName", "TokenDirectory", "second", "Proxy", "Reason"},
			func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		if !family && !slices.Contains([]string{"Mutated", "Complete", "NotLabelled", "MirrorPod"}, name) || name == "envPrefix" {
			continue
		}
		if !regexp.MustCompile("`[^`\n]*" + regexp.QuoteMeta(value) + "[^`\n]*`").MatchString(page) {
			t.Errorf("the page does not have %s, %q", name, value)
		}
	}
	for _, cloud := range mutate.Clouds() {
		if row := fmt.Sprintf("| `%s` | `%s` | `%s` |", cloud.Name, cloud.AuthorityHost, cloud.Audience); !strings.Contains(page, row) {
			t.Errorf("the page does not have %s", row)
		}
	}
	annotations = append(annotations, "`"+mutate.Label+"-SUFFIX`") // of the custom token endpoint
	slices.Sort(annotations)
	var documented []string
	for _, row := range docs.Rows(t, docs.Section(t, docs.Page(t, docsPage), "## Labels and annotations"), 3) {
		documented = append(documented, row[0])
	}
	slices.Sort(documented)
	if diff := cmp.Diff(annotations, documented); diff != "" {
		t.Errorf("labels and annotations (-code +page):\n%s", diff)
	}
}

// Each refusal of the page is one that a test of pkg/mutate sees, and no kind of
// them is missing.
func TestDocsHaveEveryRefusal(t *testing.T) {
	goldens := goldenLines(t, "refusal.txt")
	goldens["too_large: "+tooLarge(t)] = true
	var refusals []string
	for _, row := range docs.Rows(t, docs.Section(t, docs.Page(t, docsPage), "## Refusals"), 2) {
		text := strings.Trim(row[0], "`") + ": " + strings.Trim(row[1], "`")
		if row[0] == "`no_service_account`" {
			continue // of internal/admission, whose tests hold the text
		}
		refusals = append(refusals, text)
		if !goldens[text] {
			t.Errorf("the page has a refusal that no golden file has:\n%s", text)
		}
	}
	reasons := mutateConstants(t)
	var formats []string
	docs.Inspect(t, func(n ast.Node) {
		if call, ok := n.(*ast.CallExpr); ok && types.ExprString(call.Fun) == "refuse" {
			formats = append(formats, reasons[types.ExprString(call.Args[0])]+": "+docs.Format(call.Args[1]))
		}
	}, mutateSources)
	docs.MatchAll(t, whole(formats), refusals)
}

// The page has an example of every warning, of every mistake in the settings,
// and every line of the log; and no others.
func TestDocsHaveEveryMessage(t *testing.T) {
	warnings := docsItems(docs.Section(t, docs.Page(t, docsPage), "## Warnings"))
	offline := docs.Calls{"fmt.Sprintf": 0}.In(t, "*.go")
	offline = slices.DeleteFunc(offline, func(format string) bool { return !strings.Contains(format, "manifest") })
	docs.MatchAll(t, whole(docs.Calls{"warn": 0}.In(t, mutateSources), offline), warnings)

	mistakes := docsItems(docs.Section(t, docs.Page(t, docsPage), "### What stops it at start"))
	for _, format := range slices.Concat(docs.Calls{"faults.add": 0}.In(t, mutateSources), docs.Calls{"check.Fault": 1}.In(t, "*.go")) {
		// The clouds have both.
		if slices.Contains([]string{"authority host %q: want an https URL without query", "audience is empty"}, format) {
			continue
		}
		if !slices.ContainsFunc(mistakes, regexp.MustCompile("^"+docs.Pattern(format)+"$").MatchString) {
			t.Errorf("the page has no example of the mistake %q", format)
		}
	}

	var logged []string
	for _, row := range docs.Rows(t, docs.Section(t, docs.Page(t, docsPage), "## Health, metrics, log"), 3) {
		if strings.HasPrefix(row[1], "info") || strings.HasPrefix(row[1], "warn") {
			logged = append(logged, docsQuoted(row[0])...)
		}
	}
	docs.MatchAll(t, whole(docs.Calls{"Info": 0, "Warn": 0, "LogAttrs": 2}.In(t, logSources()...)), logged)
}

// The page has all answers that are no decision.
func TestDocsHaveEveryAnswer(t *testing.T) {
	section := docs.Section(t, docs.Page(t, docsPage), "## Refusals")
	for _, format := range (docs.Calls{"fmt.Errorf": 0, "errors.New": 0}).In(t, "../../internal/admission/*.go") {
		if !regexp.MustCompile(docs.Pattern(format)).MatchString(section) {
			t.Errorf("the page has no example of %q", format)
		}
	}
}

// The page has the metrics.
func TestDocsHaveEveryMetric(t *testing.T) {
	want := metricNames(t)
	var got []string
	for _, row := range docs.Rows(t, docs.Section(t, docs.Page(t, docsPage), "## Health, metrics, log"), 4) {
		got = append(got, strings.Trim(row[0], "`"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-code +page):\n%s", diff)
	}
}

// The example rules name metrics that exist.
func TestRulesNameMetricsThatExist(t *testing.T) {
	rules := docs.Page(t, "../../deploy/chart/files/rules.yaml")
	used, known := regexp.MustCompile(`azwi_\w+`).FindAllString(rules, -1), metricNames(t)
	for _, name := range used {
		if !slices.Contains(known, name) {
			t.Errorf("the rules use %s, which does not exist", name)
		}
	}
	for _, name := range []string{"azwi_certificate_not_after_seconds", "azwi_certificate_problem", "azwi_service_accounts_stale_seconds", "azwi_reviews_total"} {
		if !slices.Contains(used, name) {
			t.Errorf("no rule uses %s", name)
		}
	}
}

// The examples do what the page says.
func TestDocsExamples(t *testing.T) {
	examples := map[string]string{}
	for _, name := range []string{"pod.yaml", "sa.yaml", "webhook.yaml", "output", "policy.yaml"} {
		examples[name] = docsExample(t, name)
	}
	t.Chdir(t.TempDir())
	for name, content := range examples {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	for _, args := range []string{
		"mutate -f pod.yaml --service-account sa.yaml --tenant-id contoso.onmicrosoft.com",
		"mutate -f pod.yaml --service-account sa.yaml --config webhook.yaml",
	} {
		stdout.Reset()
		code := command.Run(t.Context(), newRootCommand(nil), strings.Fields(args), &stdout, &stderr)
		if diff := cmp.Diff(examples["output"], stdout.String()); code != 0 || stderr.Len() > 0 || diff != "" {
			t.Errorf("%s: code %d, %s\n-page +printed:\n%s", args, code, &stderr, diff)
		}
	}
	policy, binding, _ := strings.Cut(examples["policy.yaml"], "---\n")
	for text, into := range map[string]any{
		policy: new(admissionregistrationv1.ValidatingAdmissionPolicy), binding: new(admissionregistrationv1.ValidatingAdmissionPolicyBinding),
	} {
		if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
			t.Errorf("the policy: %v", err)
		}
	}
}
