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
	"github.com/issuer-sync/issuer-sync/test/program"
)

// TestProgramsTakeTheSettings: both programs find nothing wrong with what is
// rendered.
func TestProgramsTakeTheSettings(t *testing.T) {
	t.Parallel()
	for file, archive := range cases(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			maps := map[string]map[string]string{}
			for _, object := range parse(t, string(archive.Files[1].Data)) {
				if object.GetKind() == "ConfigMap" {
					var found corev1.ConfigMap
					convert(t, object, &found)
					maps[found.Name] = found.Data
				}
			}
			for _, object := range parse(t, string(archive.Files[1].Data)) {
				if object.GetKind() == "Deployment" {
					var found appsv1.Deployment
					convert(t, object, &found)
					testSettings(t, found.Spec.Template.Spec.Containers[0], maps)
				}
			}
		})
	}
}

// testSettings starts a container's program with one mistake, which ends it. The
// program tells all mistakes at once.
func testSettings(t *testing.T, container corev1.Container, maps map[string]map[string]string) {
	t.Helper()
	args, environment := append(container.Args, "--log-format=none"), []string{"POD_NAMESPACE=" + namespace}
	switch container.Name {
	case "webhook":
		known := docs.Section(t, docs.Page(t, filepath.Join(root, "docs/webhook.md")), "## Settings")
		for name, value := range maps["issuer-sync-webhook-settings"] {
			environment = append(environment, name+"="+value)
			if !strings.Contains(known, "`"+name+"`") {
				t.Errorf("variable %s is no setting of the webhook", name)
			}
		}
	case "issuer-sync":
		file := filepath.Join(t.TempDir(), "issuer-sync.yaml")
		if err := os.WriteFile(file, []byte(maps["issuer-sync-settings"]["issuer-sync.yaml"]), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config="+file) // the last one counts
	}
	cmd := exec.CommandContext(t.Context(), program.Build(t, "cmd/"+container.Name), args...)
	cmd.Env = environment
	said, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 {
		t.Fatalf("%s: %v; want exit code 2: %s", container.Name, err, said)
	}
	_, mistakes, _ := strings.Cut(string(said), ": ")
	if !strings.HasPrefix(mistakes, `--log-format: "none"; want`) || strings.Count(mistakes, "\n") != 1 {
		t.Errorf("%s does not take what is rendered: %s", container.Name, said)
	}
}
