// Package chart_test holds deploy/chart to what is said of it: what it renders
// and refuses, and what helm does with it on a real kube-apiserver.
//
// There is no node: the tests run the programs' processes with what the
// Deployments say, as their ServiceAccounts.
package chart_test

import (
	"flag"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/issuer-sync/issuer-sync/test/helm"
	"github.com/issuer-sync/issuer-sync/test/manifests"
	"github.com/issuer-sync/issuer-sync/test/program"
)

var update = flag.Bool("update", false, "rewrite what the cases in testdata want")

func TestMain(m *testing.M) { program.Main(m) }

// root is the project's tree.
const root = "../.."

// Names of the installation.
const (
	chart     = helm.Chart
	namespace = helm.Namespace
	release   = helm.Namespace
)

// mustHelm is helm.Run for what must succeed.
func mustHelm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := helm.Run(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// mustRender is helm.Render for what must succeed.
func mustRender(t *testing.T, values string) []*unstructured.Unstructured {
	t.Helper()
	rendered, err := helm.Render(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return manifests.Parse(t, []byte(rendered))
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
