package chart_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/issuer-sync/issuer-sync/test/docs"
	"github.com/issuer-sync/issuer-sync/test/manifests"
	"github.com/issuer-sync/issuer-sync/test/program"
)

// TestProgramsTakeTheSettings: both programs find nothing wrong with what is
// rendered.
func TestProgramsTakeTheSettings(t *testing.T) {
	t.Parallel()
	for file, archive := range cases(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			for _, object := range manifests.Parse(t, archive.Files[1].Data) {
				if object.GetKind() == "Deployment" {
					var found appsv1.Deployment
					convert(t, object, &found)
					testSettings(t, found.Spec.Template)
				}
			}
		})
	}
}

// testSettings starts a pod's program with one mistake, which ends it. The
// program tells all mistakes at once.
func testSettings(t *testing.T, pod corev1.PodTemplateSpec) {
	t.Helper()
	container := pod.Spec.Containers[0]
	args, environment := append(container.Args, "--log-format=none"), []string{}
	switch container.Name {
	case "webhook":
		known := docs.Section(t, docs.Page(t, filepath.Join(root, "docs/webhook.md")), "## Settings")
		for _, variable := range container.Env {
			environment = append(environment, variable.Name+"="+variable.Value)
			if variable.ValueFrom == nil && variable.Name != "GOMEMLIMIT" && !strings.Contains(known, "`"+variable.Name+"`") {
				t.Errorf("variable %s is no setting of the webhook", variable.Name)
			}
		}
	case "issuer-sync":
		file := filepath.Join(t.TempDir(), "issuer-sync.yaml")
		if err := os.WriteFile(file, []byte(pod.Annotations["issuer-sync.yaml"]), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config="+file) // the last one counts
	}
	cmd := exec.CommandContext(t.Context(), program.Build(t, "cmd/"+container.Name), args...)
	cmd.Env = append(environment, "POD_NAMESPACE="+namespace)
	said, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 {
		t.Fatalf("%s: %v; want exit code 2: %s", container.Name, err, said)
	}
	_, mistakes, _ := strings.Cut(string(said), ": ")
	if !strings.HasPrefix(mistakes, `--log-format: "none"; want`) || strings.Count(mistakes, "\n") != 1 {
		t.Errorf("%s does not take what is rendered: %s", container.Name, said)
	}
}
