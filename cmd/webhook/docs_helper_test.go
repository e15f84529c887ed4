package main

import (
	"fmt"
	"go/constant"
	"go/types"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
	"github.com/issuer-sync/issuer-sync/test/docs"
)

// whole returns patterns of nothing but what formats come to.
func whole(formats ...[]string) (patterns []string) {
	for _, format := range slices.Concat(formats...) {
		patterns = append(patterns, "^"+docs.Pattern(format)+"$")
	}
	return patterns
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
	_, block, ok := strings.Cut(docs.Page(t, docsPage), "```yaml\n# "+name+"\n")
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
	set, files := docs.Parse(t, mutateSources)
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
		for _, match := range regexp.MustCompile(`"(azwi_\w+)"`).FindAllStringSubmatch(docs.Page(t, name), -1) {
			names = append(names, match[1])
		}
	}
	return names
}
