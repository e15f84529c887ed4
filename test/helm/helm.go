// Package helm runs helm with deploy/chart for tests. helm is a Go tool of its
// own module, tools/helm, so that none need be installed.
package helm

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Namespace is where tests install the chart, and the release's name.
const Namespace = "issuer-sync"

// Chart is the chart's folder, from the module's.
const Chart = "deploy/chart"

// KubeVersion is the flag for commands that ask no cluster for its version: helm
// built without its release's flags takes itself for one of Kubernetes 1.20.
const KubeVersion = "--kube-version=1.36.3"

// built is helm's path. The go command keeps the tools it builds, and builds them
// before it prints where they are.
//
//nolint:gochecknoglobals // one build serves all tests
var built = sync.OnceValues(func() (string, error) {
	folder, err := root()
	if err != nil {
		return "", err
	}
	modfile := filepath.Join(folder, "tools", "helm", "go.mod")
	out, err := exec.CommandContext(context.Background(), "go", "tool", "-modfile="+modfile, "-n", "helm").Output()
	if err != nil {
		return "", fmt.Errorf("building helm: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})

// root is the module's folder.
func root() (string, error) {
	out, err := exec.CommandContext(context.Background(), "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// Program returns helm's path; it is built once. If it does not build, the test
// ends.
func Program(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Run runs helm in the module's folder and returns what it prints; the error has
// what it says of one. It reads no configuration and no repository of the
// machine, and knows no cluster but that of a --kubeconfig among args.
func Run(t testing.TB, args ...string) (string, error) {
	t.Helper()
	folder, err := root()
	if err != nil {
		t.Fatal(err)
	}
	readSources(t, folder)
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), Program(t), args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG=/dev/null")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("running helm %s: %w\n%s%s", args[0], err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

// Render returns what the chart makes of values, a YAML text. Further arguments
// are those of helm template.
func Render(t testing.TB, values string, args ...string) (string, error) {
	t.Helper()
	return Run(t, append([]string{"template", Namespace, Chart, "--namespace", Namespace, KubeVersion, "--values", Values(t, values)}, args...)...)
}

// Values writes values to a file of its own and returns its path.
func Values(t testing.TB, values string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readSources reads what helm reads: the go command keeps results of tests, and
// knows only of what the test itself has read.
func readSources(t testing.TB, root string) {
	t.Helper()
	for _, folder := range []string{Chart, "tools/helm"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			_, err = os.ReadFile(path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
