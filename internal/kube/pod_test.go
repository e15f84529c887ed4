package kube_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/kube"
)

func TestPodNamespaceTakesTheVariable(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "of-the-process") // not looked at
	got, err := kube.PodNamespace(func(name string) (string, bool) { return "of-" + name, true })
	if got != "of-POD_NAMESPACE" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// An empty variable says nothing. Whether there is a service account depends on
// where the test runs.
func TestPodNamespaceReadsTheServiceAccount(t *testing.T) {
	mounted, missing := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	for _, set := range []bool{true, false} {
		got, err := kube.PodNamespace(func(string) (string, bool) { return "", set })
		if got != strings.TrimSpace(string(mounted)) || (err == nil) != (missing == nil) {
			t.Errorf("%q, %v; want %q", got, err, mounted)
		}
		if err != nil && (!errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "reading the pod's namespace: ")) {
			t.Errorf("%v; want what is missing", err)
		}
	}
}
