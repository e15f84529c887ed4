package webhook_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// root is the project's tree.
const root = "../.."

// What the installer says, who has a kustomization of their own.
const (
	tenantID   = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	proxyImage = "registry.example/proxy:v1"
)

// render returns the objects of a folder of deploy/ with the installer's
// settings, NAME=VALUE, in the order in which they are to be applied.
func render(t *testing.T, folder string, settings ...string) []*unstructured.Unstructured {
	t.Helper()
	seen := readManifests(t)
	dir := t.TempDir()
	base, err := filepath.Abs(filepath.Join(root, folder))
	if err != nil {
		t.Fatal(err)
	}
	if base, err = filepath.Rel(dir, base); err != nil { // the only form that kustomize takes
		t.Fatal(err)
	}
	kustomization := fmt.Sprintf(`
resources: [%s]
configMapGenerator:
  - name: issuer-sync-webhook-settings
    namespace: issuer-sync
    behavior: merge
    literals:
    - AZURE_TENANT_ID=%s
    - PROXY_IMAGE=%s
`, base, tenantID, proxyImage)
	for _, setting := range settings {
		kustomization += fmt.Sprintf("    - %s\n", setting)
	}
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
	return parse(t, out)
}

// readManifests reads what kustomize reads, as the go command keeps results of
// tests and knows only what they read themselves.
func readManifests(t *testing.T) int {
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

// parse reads YAML documents.
func parse(t *testing.T, documents []byte) []*unstructured.Unstructured {
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
		objects = append(objects, object)
	}
}
