// Package manifests renders and reads Kubernetes objects for tests.
package manifests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Webhook renders a folder of deploy/, webhook or webhook-cert-manager, by
// kustomize with the installer's settings, NAME=VALUE, in the order in which the
// objects are to be applied. Root is the project's tree.
func Webhook(t testing.TB, root, folder string, settings ...string) []*unstructured.Unstructured {
	t.Helper()
	seen := read(t, root)
	dir := t.TempDir()
	base, err := filepath.Abs(filepath.Join(root, folder))
	if err == nil {
		base, err = filepath.Rel(dir, base) // the only form that kustomize takes
	}
	if err != nil {
		t.Fatal(err)
	}
	kustomization := fmt.Sprintf(`
resources: [%s]
configMapGenerator:
  - name: issuer-sync-webhook-settings
    namespace: issuer-sync
    behavior: merge
    literals:
    - %s
`, base, strings.Join(settings, "\n    - "))
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-modfile=tools/go.mod", "kustomize", "build", dir)
	cmd.Dir = root
	var faults bytes.Buffer
	cmd.Stderr = &faults
	out, err := cmd.Output()
	if err != nil || faults.Len() > 0 {
		t.Fatalf("rendering %s (%d manifests): %v\n%s", folder, seen, err, &faults)
	}
	return Parse(t, out)
}

// read reads what kustomize reads, as the go command keeps results of tests and
// knows only what they read themselves.
func read(t testing.TB, root string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "deploy", "webhook*", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	for _, file := range files {
		if _, err := os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return len(files)
}

// Parse reads YAML documents; empty ones are no objects.
func Parse(t testing.TB, documents []byte) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(documents), 4<<10)
	for {
		object := new(unstructured.Unstructured)
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}
