package main

import (
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

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

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

// metricNames returns the names as the code has them.
func metricNames(t *testing.T) (names []string) {
	t.Helper()
	for _, name := range []string{"../../internal/admission/metrics.go", "metrics.go"} {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`"(azwi_\w+)"`).FindAllSubmatch(source, -1) {
			names = append(names, string(match[1]))
		}
	}
	return names
}
