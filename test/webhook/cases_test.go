package webhook_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/issuer-sync/issuer-sync/test/manifests"
)

var update = flag.Bool("update", false, "rewrite what the cases in testdata want")

// testCases creates the pods of testdata and reads them back. Each file has a
// ServiceAccount, pods, and after each pod what comes of it.
func testCases(t *testing.T, i *installation) {
	for name, file := range caseFiles(t, "testdata") {
		t.Run(name, func(t *testing.T) { i.runCase(t, file, name) })
	}
}

// testOtherSettings does the same with replicas that have further settings, one
// for each file. These begin with them, flags and NAME=VALUE, a line for each.
func testOtherSettings(t *testing.T, i *installation) {
	for name, file := range caseFiles(t, filepath.Join("testdata", "settings")) {
		t.Run(name, func(t *testing.T) {
			i.killAll(t)
			account := i.deployment.Spec.Template.Spec.ServiceAccountName
			p := process{arguments: []string{"--kubeconfig=" + i.ServiceAccountKubeconfig(t, ownNamespace, account)}}
			archive, err := txtar.ParseFile(file)
			if err != nil || len(archive.Files) == 0 || archive.Files[0].Name != settingsPart {
				t.Fatalf("want that the file begins with %s: %v", settingsPart, err)
			}
			for line := range strings.Lines(string(archive.Files[0].Data)) {
				line = strings.TrimSpace(line)
				if strings.HasPrefix(line, "--") {
					p.arguments = append(p.arguments, line)
				} else {
					p.environment = append(p.environment, line)
				}
			}
			i.run(t, p).awaitReady(t)
			i.awaitReachable(t)
			i.runCase(t, file, name)
		})
	}
}

const settingsPart = "settings"

// caseFiles returns the files of a folder by the name of their case.
func caseFiles(t *testing.T, folder string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", folder, err)
	}
	byName := map[string]string{}
	for _, file := range files {
		byName[strings.TrimSuffix(filepath.Base(file), ".txtar")] = file
	}
	return byName
}

func (i *installation) runCase(t *testing.T, file, namespace string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := &txtar.Archive{Comment: archive.Comment}
	for _, part := range archive.Files {
		if strings.HasSuffix(part.Name, ".want") {
			continue
		}
		got.Files = append(got.Files, part)
		switch part.Name {
		case settingsPart:
			continue
		case "annotations.yaml":
			var annotations map[string]string
			if err := yaml.Unmarshal(part.Data, &annotations); err != nil {
				t.Fatal(err)
			}
			i.makeNamespace(t, namespace, nil, annotations)
			continue
		}
		pod := manifests.Parse(t, part.Data)[0]
		pod.SetNamespace(namespace)
		pod.SetName(strings.TrimSuffix(part.Name, ".yaml"))
		got.Files = append(got.Files, txtar.File{Name: pod.GetName() + ".want", Data: []byte(i.outcome(t, pod))})
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(txtar.Format(archive)), string(txtar.Format(got))); diff != "" {
		t.Errorf("-want +got (go test -update rewrites what is wanted):\n%s", diff)
	}
}

// outcome creates the pod, reads it back, and returns what of it an identity is
// made of, or the refusal, and the warnings.
func (i *installation) outcome(t *testing.T, pod *unstructured.Unstructured) string {
	t.Helper()
	var text strings.Builder
	_, warnings, err := i.create(t, "pods", pod, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		fmt.Fprintf(&text, "refused: %v\n", err)
	} else {
		created, err := i.Client().CoreV1().Pods(pod.GetNamespace()).Get(t.Context(), pod.GetName(), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		describe(&text, created)
	}
	for _, warning := range warnings {
		fmt.Fprintf(&text, "warning: %s\n", warning)
	}
	return text.String()
}

func describe(text *strings.Builder, pod *corev1.Pod) {
	for _, volume := range pod.Spec.Volumes {
		fmt.Fprintf(text, "volume %s", volume.Name)
		if projected := volume.Projected; projected != nil {
			for _, source := range projected.Sources {
				describeSource(text, source)
			}
		}
		text.WriteByte('\n')
	}
	for _, container := range pod.Spec.InitContainers {
		describeContainer(text, "init", container)
	}
	for _, container := range pod.Spec.Containers {
		describeContainer(text, "container", container)
	}
}

func describeSource(text *strings.Builder, source corev1.VolumeProjection) {
	if token := source.ServiceAccountToken; token != nil {
		fmt.Fprintf(text, ", token for %s and %d s at %s", token.Audience, *token.ExpirationSeconds, token.Path)
	}
	if file := source.ConfigMap; file != nil {
		fmt.Fprintf(text, ", ConfigMap %s with %v", file.Name, file.Items)
	}
	if bundle := source.ClusterTrustBundle; bundle != nil {
		fmt.Fprintf(text, ", bundles of %s with %v at %s", *bundle.SignerName, bundle.LabelSelector.MatchLabels, bundle.Path)
	}
}

func describeContainer(text *strings.Builder, kind string, container corev1.Container) {
	fmt.Fprintf(text, "%s %s", kind, container.Name)
	if policy := container.RestartPolicy; policy != nil {
		fmt.Fprintf(text, ", restarted %s", *policy)
	}
	if context := container.SecurityContext; context != nil && context.RunAsUser != nil {
		fmt.Fprintf(text, ", user %d", *context.RunAsUser)
	}
	if len(container.Resources.Limits) > 0 {
		fmt.Fprintf(text, ", limits %s", quantities(container.Resources.Limits))
	}
	text.WriteByte('\n')
	for _, variable := range container.Env {
		value := variable.Value
		if from := variable.ValueFrom; from != nil {
			value = "from elsewhere"
		}
		fmt.Fprintf(text, "  %s=%s\n", variable.Name, value)
	}
	for _, mount := range container.VolumeMounts {
		fmt.Fprintf(text, "  %s: %s\n", mount.MountPath, mount.Name)
	}
}

func quantities(list corev1.ResourceList) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(list)) {
		quantity := list[name]
		all = append(all, string(name)+" "+quantity.String())
	}
	return strings.Join(all, " ")
}
