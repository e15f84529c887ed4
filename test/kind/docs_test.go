package kind_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/test/docs"
)

const page = "../../docs/getting-started.md"

// TestThePageIsTheScript types the commands of the page, one after the other,
// and wants of them what the script does.
func TestThePageIsTheScript(t *testing.T) {
	for name, test := range map[string]struct {
		heading, issuer string
		more            []string
		args            []string
	}{
		"without Azure": {"### The same by hand", issuer, nil, nil},
		"with Azure": {
			"### The same with Azure by hand", "https://issuersync0123456789ab.blob.core.windows.net/oidc",
			[]string{"STORAGE_ACCOUNT=issuersync0123456789ab"},
			[]string{"azure", "--yes"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			byScript := newMachine(t, test.more...)
			byScript.startKube(t, test.issuer)
			byScript.good(t, "up.sh", test.args...)
			byHand := newMachine(t)
			byHand.startKube(t, test.issuer)
			typed(t, byHand, test.heading)
			want, got := byScript.deeds(t), byHand.deeds(t)
			if len(want) < 10 {
				t.Fatalf("the script did only %q", want)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what is done (-script +page):\n%s", diff)
			}
		})
	}
}

// typed runs the blocks of a section in a checkout, and stops at the first
// command that fails.
func typed(t *testing.T, m *machine, heading string) {
	t.Helper()
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(docs.Section(t, docs.Page(t, page), heading), -1)
	if len(blocks) < 5 {
		t.Fatalf("%d blocks of commands in %q", len(blocks), heading)
	}
	var script strings.Builder
	for _, block := range blocks {
		script.WriteString(block[1])
	}
	// A name that is made up is one that the test knows.
	text := strings.Replace(script.String(), "$(openssl rand -hex 6)", "0123456789ab", 1)
	checkout := m.checkout(t)
	cmd := exec.CommandContext(t.Context(), "bash", "-euxo", "pipefail", "-c", text)
	cmd.Dir, cmd.Env = checkout, m.environment
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "Warning") {
		t.Fatalf("the commands of %q: %v; want no error and no warning\n%s", heading, err, out)
	}
	m.work = filepath.Join(checkout, "dist", "kind", "issuer-sync")
	m.images = "dist/images"
}

// checkout is a root of the tree, with the machine's images in dist.
func (m *machine) checkout(t *testing.T) string {
	t.Helper()
	checkout := t.TempDir()
	deploy, err := filepath.Abs("../../deploy")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(checkout, "dist"), 0o700); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"deploy": deploy, "dist/images": m.images} {
		if err := os.Symlink(target, filepath.Join(checkout, link)); err != nil {
			t.Fatal(err)
		}
	}
	return checkout
}

// deeds are the calls that change something, without what differs by nature:
// where things are, and how one does again what was done.
func (m *machine) deeds(t *testing.T) (deeds []string) {
	t.Helper()
	deploy, err := filepath.Abs("../../deploy")
	if err != nil {
		t.Fatal(err)
	}
	same := strings.NewReplacer(
		m.work, "WORK", m.images+"/", "IMAGES/", deploy+"/kind/../../deploy", "deploy", deploy, "deploy",
		" --dry-run=client --output yaml", "",
	)
	for _, call := range m.calls(t) {
		if regexp.MustCompile(`^(kind (create|load)|kubectl create|helm|az (group|storage account|storage container|identity|identity federated-credential) create)`).MatchString(call) {
			deeds = append(deeds, same.Replace(call))
		}
	}
	for _, name := range []string{"cluster.yaml", "values.yaml"} {
		deeds = append(deeds, fmt.Sprintf("%s:\n%s", name, strings.ReplaceAll(content(t, m.work, name), m.work, "WORK")))
	}
	return deeds
}

// The pages that the table sends readers to are there.
func TestThePagesAreThere(t *testing.T) {
	links := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(docs.Page(t, page), -1)
	if len(links) < 10 {
		t.Fatalf("%d links on the page", len(links))
	}
	for _, link := range links {
		if _, err := os.Stat(filepath.Join(filepath.Dir(page), link[1])); err != nil {
			t.Errorf("the page links %s: %v", link[1], err)
		}
	}
}
