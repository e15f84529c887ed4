package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"github.com/issuer-sync/issuer-sync/internal/command"
	"github.com/issuer-sync/issuer-sync/internal/settings"
	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// Where the page and what it tells of are.
const (
	docsPage      = "../../docs/webhook.md"
	mutateFolder  = "../../pkg/mutate"
	mutateGoldens = mutateFolder + "/testdata/*.txtar"
)

// logFolders hold what logs while the webhook serves.
func logFolders() []string {
	return []string{".", "../../internal/admission", "../../internal/accounts", "../../internal/servingcert", "../../internal/httpserver"}
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
	section := docsSection(t, "## Settings")
	for _, row := range docsRows(section, 5) {
		for i := range row {
			row[i] = strings.Trim(row[i], "`")
		}
		if row[0] == "proxy.resources" { // in the file only
			continue
		}
		add(&got, row[0], row[1], row[2], documentedDefault(row[3]))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-code +page):\n%s", diff)
	}
	for _, name := range []string{"`--" + configSetting().Flag + "`", "`" + configSetting().Env + "`", "`proxy.resources`"} {
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

// The page names no flag that does not exist.
func TestDocsNameFlagsThatExist(t *testing.T) {
	known := map[string]bool{"proxy-port": true} // the proxy's, in messages
	root := newRootCommand(noVariables)
	for _, c := range append([]*cobra.Command{root}, root.Commands()...) {
		c.InitDefaultHelpFlag()
		c.Flags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
	}
	page := docs(t)
	quoted := regexp.MustCompile("`--([a-z-]+)").FindAllStringSubmatch(page, -1)
	for _, line := range regexp.MustCompile(`(?m)^.*\bwebhook mutate .*$`).FindAllString(page, -1) {
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
	page := docs(t)
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
	for _, row := range docsRows(docsSection(t, "## Labels and annotations"), 3) {
		documented = append(documented, row[0])
	}
	slices.Sort(documented)
	if diff := cmp.Diff(annotations, documented); diff != "" {
		t.Errorf("labels and annotations (-code +page):\n%s", diff)
	}
}

// mutateConstants returns pkg/mutate's string constants, unexported ones too.
func mutateConstants(t *testing.T) map[string]string {
	t.Helper()
	// Imports stay unresolved: constants need none.
	set, files := parseFolder(t, mutateFolder)
	checked, _ := (&types.Config{Error: func(error) {}}).Check("mutate", set, files, nil)
	found := map[string]string{}
	for _, name := range checked.Scope().Names() {
		if c, ok := checked.Scope().Lookup(name).(*types.Const); ok && c.Val().Kind() == constant.String {
			found[name] = constant.StringVal(c.Val())
		}
	}
	if found["Label"] != mutate.Label || found["ReasonPort"] != string(mutate.ReasonPort) {
		t.Fatalf("constants %q", found)
	}
	return found
}

// Each refusal of the page is one that a test of pkg/mutate sees, and no kind of
// them is missing.
func TestDocsHaveEveryRefusal(t *testing.T) {
	goldens := goldenLines(t, "refusal.txt")
	goldens["too_large: "+tooLarge(t)] = true
	var refusals []string
	for _, row := range docsRows(docsSection(t, "## Refusals"), 2) {
		text := strings.Trim(row[0], "`") + ": " + strings.Trim(row[1], "`")
		refusals = append(refusals, text)
		// Of internal/admission, whose tests hold the text.
		if row[0] != "`no_service_account`" && !goldens[text] {
			t.Errorf("the page has a refusal that no golden file has:\n%s", text)
		}
	}
	reasons := mutateConstants(t)
	var patterns []string
	for _, call := range (calls{"refuse": 1}).in(t, mutateFolder) {
		patterns = append(patterns, reasons[call.first]+": "+call.text)
	}
	matchAll(t, patterns, refusals)
}

// goldenLines returns the lines of one output in all golden files of pkg/mutate.
func goldenLines(t *testing.T, output string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(mutateGoldens)
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	lines := map[string]bool{}
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range archive.Files {
			if file.Name == output {
				lines[strings.TrimSpace(string(file.Data))] = true
			}
		}
	}
	return lines
}

func tooLarge(t *testing.T) string {
	t.Helper()
	m, err := mutate.New(mutate.Options{TenantID: anyTenant})
	if err != nil {
		t.Fatal(err)
	}
	pod, err := mutate.ParsePod([]byte(`{"metadata":{"labels":{"` + mutate.Label + `":"true"}},"spec":{"containers":[{}` + strings.Repeat(",{}", 1000) + `]}}`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Patch(pod, mutate.Identity{})
	return fmt.Sprint(err)
}

// The page has an example of every warning, of every mistake in the settings,
// and every line of the log; and no others.
func TestDocsHaveEveryMessage(t *testing.T) {
	warnings := docsItems(docsSection(t, "## Warnings"))
	offline := calls{"fmt.Sprintf": 0}.in(t, ".")
	offline = slices.DeleteFunc(offline, func(c textCall) bool { return !strings.Contains(c.text, "manifest") })
	matchAll(t, texts(append(calls{"warn": 0}.in(t, mutateFolder), offline...)), warnings)

	mistakes := docsItems(docsSection(t, "### What stops it at start"))
	for _, format := range texts(append(calls{"faults.add": 0}.in(t, mutateFolder), calls{"check.Fault": 1}.in(t, ".")...)) {
		// The clouds have both.
		if slices.Contains([]string{"%v", "authority host %q: want an https URL without query", "audience is empty"}, format) {
			continue
		}
		if !slices.ContainsFunc(mistakes, pattern(format).MatchString) {
			t.Errorf("the page has no example of the mistake %q", format)
		}
	}

	var logged []string
	for _, row := range docsRows(docsSection(t, "## Health, metrics, log"), 3) {
		if strings.HasPrefix(row[1], "info") || strings.HasPrefix(row[1], "warn") {
			logged = append(logged, docsQuoted(row[0])...)
		}
	}
	matchAll(t, texts(calls{"Info": 0, "Warn": 0, "LogAttrs": 2}.in(t, logFolders()...)), logged)
}

// The page has all answers that are no decision.
func TestDocsHaveEveryAnswer(t *testing.T) {
	section := docsSection(t, "## Refusals")
	for _, format := range texts(calls{"fmt.Errorf": 0, "errors.New": 0}.in(t, "../../internal/admission")) {
		if anywhere := strings.Trim(pattern(format).String(), "^$"); !regexp.MustCompile(anywhere).MatchString(section) {
			t.Errorf("the page has no example of %q", format)
		}
	}
}

// The page has the metrics.
func TestDocsHaveEveryMetric(t *testing.T) {
	source, err := os.ReadFile("../../internal/admission/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, match := range regexp.MustCompile(`Name: "(\w+)"`).FindAllSubmatch(source, -1) {
		want = append(want, string(match[1]))
	}
	for _, row := range docsRows(docsSection(t, "## Health, metrics, log"), 4) {
		got = append(got, strings.Trim(row[0], "`"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-code +page):\n%s", diff)
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
		code := command.Run(t.Context(), newRootCommand(noVariables), strings.Fields(args), &stdout, &stderr)
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

func noVariables(string) (string, bool) { return "", false }

// matchAll wants each pattern to match one of the texts, and each text to be
// matched by one.
func matchAll(t *testing.T, formats, texts []string) {
	t.Helper()
	slices.Sort(formats)
	formats = slices.Compact(formats)
	for _, format := range formats {
		if !slices.ContainsFunc(texts, pattern(format).MatchString) {
			t.Errorf("the page has no example of %q", format)
		}
	}
	for _, text := range texts {
		if strings.HasPrefix(text, "no_service_account: ") {
			continue
		}
		if !slices.ContainsFunc(formats, func(format string) bool { return pattern(format).MatchString(text) }) {
			t.Errorf("the page has what is said nowhere: %s", text)
		}
	}
}

// pattern matches what fmt makes of a format.
func pattern(format string) *regexp.Regexp {
	literal := regexp.MustCompile(`%(?:\[\d\])?[a-z]`).Split(format, -1)
	for i := range literal {
		literal[i] = regexp.QuoteMeta(literal[i])
	}
	return regexp.MustCompile("^" + strings.Join(literal, ".+") + "$")
}

// textCall is one whose text users read.
type textCall struct {
	first string // its first argument, as it is written
	text  string
}

// calls maps functions to the index of the argument that is the text.
type calls map[string]int

// in returns the texts of the calls in the packages of these folders.
func (c calls) in(t *testing.T, folders ...string) (found []textCall) {
	t.Helper()
	for _, folder := range folders {
		_, files := parseFolder(t, folder)
		for _, file := range files {
			ast.Inspect(file, func(n ast.Node) bool {
				if expression, ok := n.(*ast.CallExpr); ok {
					found = append(found, c.textOf(expression)...)
				}
				return true
			})
		}
	}
	if len(found) == 0 {
		t.Fatalf("no calls of %v in %q", c, folders)
	}
	return found
}

func (c calls) textOf(expression *ast.CallExpr) []textCall {
	for name, index := range c {
		if !strings.HasSuffix("."+types.ExprString(expression.Fun), "."+name) || len(expression.Args) <= index {
			continue
		}
		if literal, ok := expression.Args[index].(*ast.BasicLit); ok && literal.Kind == token.STRING {
			text, _ := strconv.Unquote(literal.Value) // it was parsed
			return []textCall{{types.ExprString(expression.Args[0]), text}}
		}
	}
	return nil
}

func texts(all []textCall) (texts []string) {
	for _, c := range all {
		texts = append(texts, c.text)
	}
	return texts
}

// parseFolder parses a package without its tests.
func parseFolder(t *testing.T, folder string) (set *token.FileSet, files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no files in %q: %v", folder, err)
	}
	set = token.NewFileSet()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return set, files
}

// docs returns the page.
func docs(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(docsPage)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// docsSection returns what is under a heading, smaller headings included.
func docsSection(t *testing.T, heading string) string {
	t.Helper()
	_, section, ok := strings.Cut(docs(t), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("the page has no heading %q", heading)
	}
	level := strings.IndexByte(heading, ' ')
	if end := regexp.MustCompile(fmt.Sprintf("(?m)^#{1,%d} \\w", level)).FindStringIndex(section); end != nil {
		section = section[:end[0]]
	}
	return section
}

// docsRows returns the rows of the tables that have this many columns.
func docsRows(section string, columns int) (rows [][]string) {
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case line[0] != '|' || len(cells) != columns:
		case cells[0] == "---":
			rows = rows[:len(rows)-1] // the head
		default:
			rows = append(rows, cells)
		}
	}
	return rows
}

// docsItems returns what is quoted in the items that begin with a quotation.
func docsItems(section string) (quoted []string) {
	for _, item := range regexp.MustCompile("(?m)^- `.*$").FindAllString(section, -1) {
		quoted = append(quoted, docsQuoted(item)...)
	}
	return quoted
}

func docsQuoted(text string) (quoted []string) {
	for _, match := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(text, -1) {
		quoted = append(quoted, match[1])
	}
	return quoted
}

// docsExample returns a block of the page by the name in its first line.
func docsExample(t *testing.T, name string) string {
	t.Helper()
	_, block, ok := strings.Cut(docs(t), "```yaml\n# "+name+"\n")
	if !ok {
		t.Fatalf("the page has no example %s", name)
	}
	block, _, _ = strings.Cut(block, "```")
	return block
}
