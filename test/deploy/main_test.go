// Package deploy_test holds deploy/ and the guides per platform to the real
// programs: kubeadm and kube-apiserver, helm with the chart, and HashiCorp's
// parser for Terraform. There is no cloud here, so that nothing is applied.
package deploy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/program"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// root is the module's folder as tests see it.
const root = "../.."

func TestMain(m *testing.M) { program.Main(m) }

// guides are the pages whose commands and files this package checks.
func guides() []string {
	return []string{"docs/kubeadm.md", "docs/eks.md", "docs/gke.md", "docs/azure.md", "deploy/terraform/azure/README.md"}
}

// read returns a file of the tree.
func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// write stores content in a file of its own folder and returns its path.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// missing ends a test for the lack of a part: a failure where CI=true.
func missing(t *testing.T, what string) {
	t.Helper()
	if servers.InCI() {
		t.Fatal(what)
	}
	t.Skip(what)
}

// fence is an example in a page.
type fence struct {
	page, language, text string
	// line is that of the opening, from 1.
	line int
}

// fences returns the examples of a page in some languages, in their order.
func fences(t *testing.T, page string, languages ...string) (all []fence) {
	t.Helper()
	var open *fence
	number := 0
	for line := range strings.Lines(read(t, page)) {
		number++
		mark, isMark := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isMark && open == nil:
			open = &fence{page: page, language: mark, line: number}
		case isMark:
			for _, language := range languages {
				if open.language == language {
					all = append(all, *open)
				}
			}
			open = nil
		case open != nil:
			open.text += line
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the example has no end", page, open.line)
	}
	return all
}

// named returns kubeadm's example whose first line is "# name", or begins so.
func named(t *testing.T, name string) fence {
	t.Helper()
	for _, f := range fences(t, guide, "yaml") {
		if first, _, _ := strings.Cut(f.text, "\n"); strings.HasPrefix(first, "# "+name) {
			return f
		}
	}
	t.Fatalf("%s has no example that begins with %q", guide, "# "+name)
	return fence{}
}
