// Package chart_test holds deploy/chart to what is said of it: what it renders
// and refuses, and what helm does with it on a real kube-apiserver.
//
// There is no node: the tests run the programs' processes with what the
// Deployments say, as their ServiceAccounts.
package chart_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/issuer-sync/issuer-sync/test/program"
)

var update = flag.Bool("update", false, "rewrite what the cases in testdata want")

func TestMain(m *testing.M) { program.Main(m) }

// root is the project's tree.
const root = "../.."

// Names of the installation.
const (
	chart     = "deploy/chart"
	namespace = "issuer-sync"
	release   = "issuer-sync"
)

// kubeVersion is what is rendered for: helm built without its release's flags
// takes itself for one of Kubernetes 1.20.
const kubeVersion = "--kube-version=1.36.3"

// buildHelm returns helm's path. The go command keeps the tools it builds, and
// builds them before it prints where they are.
//
//nolint:gochecknoglobals // one build serves all tests
var buildHelm = sync.OnceValues(func() (string, error) {
	return command(context.Background(), nil, "go", "tool", "-modfile=tools/helm/go.mod", "-n", "helm")
})

// helm runs helm in the project's tree and returns what it prints. It knows no
// configuration and no repository of the machine.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	readSources(t)
	home := t.TempDir()
	program, err := buildHelm()
	if err != nil {
		t.Fatalf("building helm: %v", err)
	}
	environment := []string{"HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home, "KUBECONFIG=/dev/null"}
	return command(t.Context(), environment, strings.TrimSpace(program), args...)
}

// command returns a command's output, and in its error what it says of one.
func command(ctx context.Context, environment []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), environment...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s%s", err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

// mustHelm is helm for what must succeed.
func mustHelm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := helm(t, args...)
	if err != nil {
		t.Fatalf("helm %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// readSources reads what helm and kustomize read, as the go command keeps results
// of tests and knows only what they read themselves.
func readSources(t *testing.T) {
	t.Helper()
	for _, folder := range []string{chart, "deploy/webhook", "deploy/webhook-cert-manager", "tools/helm"} {
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

// template returns what helm renders with values, a YAML text.
func template(t *testing.T, values string, args ...string) (string, error) {
	t.Helper()
	return helm(t, append([]string{"template", release, chart, "--namespace", namespace, kubeVersion, "--values", valuesFile(t, values)}, args...)...)
}

func valuesFile(t *testing.T, values string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// parse reads YAML documents.
func parse(t *testing.T, documents string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(documents), 4<<10)
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

func convert(t *testing.T, object *unstructured.Unstructured, into any) {
	t.Helper()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into); err != nil {
		t.Fatal(err)
	}
}

// patience is how long a test waits for what must happen soon.
const patience = 40 * time.Second

// eventually waits for another process to bring something about.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("waited %s for %s", patience, what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
