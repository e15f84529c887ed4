//go:build linux

package e2e_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/helm"
)

// namespace is where the chart is installed.
const namespace = helm.Namespace

// helm runs helm on the node.
func (w *world) helm(t *testing.T, args ...string) {
	t.Helper()
	output(t, w.Command(t.Context(), helmProgram(t), append(args, "--namespace", namespace)...), "helm "+args[0])
}

func helmProgram(t *testing.T) string {
	t.Helper()
	return helm.Program(t)
}

// chart packages the chart as a version of its own and returns its path.
func (w *world) chart(t *testing.T, version string) string {
	t.Helper()
	folder := t.TempDir()
	w.helm(t, "package", filepath.Join(root(t), helm.Chart), "--destination", folder, "--version", version, "--app-version", version)
	return filepath.Join(folder, "issuer-sync-"+version+".tgz")
}

// root is the folder of the module.
func root(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}
