//go:build linux

package e2e_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// namespace is where the chart is installed.
const namespace = "issuer-sync"

// helm runs helm on the node.
func (w *world) helm(t *testing.T, args ...string) {
	t.Helper()
	output(t, w.Command(t.Context(), helmProgram(t), append(args, "--namespace", namespace)...), "helm "+args[0])
}

// helmProgram is built once by the go command, which keeps it.
func helmProgram(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "tool", "-modfile="+filepath.Join(root(t), "tools", "helm", "go.mod"), "-n", "helm").Output()
	if err != nil {
		t.Fatalf("building helm: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// chart packages the chart as a version of its own and returns its path.
func (w *world) chart(t *testing.T, version string) string {
	t.Helper()
	folder := t.TempDir()
	w.helm(t, "package", filepath.Join(root(t), "deploy", "chart"), "--destination", folder, "--version", version, "--app-version", version)
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
