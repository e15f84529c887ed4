package chart_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/issuer-sync/issuer-sync/test/helm"
	"github.com/issuer-sync/issuer-sync/test/manifests"
)

// cases are the archives in testdata: what a case is for, values and objects.
func cases(t *testing.T) map[string]*txtar.Archive {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	archives := make(map[string]*txtar.Archive, len(files))
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		archives[file] = archive
	}
	return archives
}

// valuesOf returns the values of a case in testdata.
func valuesOf(t *testing.T, name string) string {
	t.Helper()
	return string(cases(t)[filepath.Join("testdata", name+".txtar")].Files[0].Data)
}

// TestGolden renders and lints the cases, and holds their pods to PodSecurity.
func TestGolden(t *testing.T) {
	for file, archive := range cases(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			values := string(archive.Files[0].Data)
			rendered, err := helm.Render(t, values)
			if err != nil {
				t.Fatal(err)
			}
			mustHelm(t, "lint", "--strict", "--quiet", chart, "--namespace", namespace, helm.KubeVersion, "--values", helm.Values(t, values))
			testPodSecurity(t, manifests.Parse(t, []byte(rendered)))
			got := &txtar.Archive{Comment: archive.Comment, Files: []txtar.File{archive.Files[0], {Name: "objects.yaml", Data: []byte(rendered)}}}
			if *update {
				if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(archive)), string(txtar.Format(got))); diff != "" {
				t.Errorf("-want +got (go test -update rewrites what is wanted):\n%s", diff)
			}
		})
	}
}

// testPodSecurity asks the checks that the API server itself runs in a namespace
// under PodSecurity restricted.
func testPodSecurity(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	pods := 0
	for _, object := range objects {
		if object.GetKind() != "Deployment" {
			continue
		}
		pods++
		var pod corev1.Pod
		content, _, err := unstructured.NestedMap(object.Object, "spec", "template")
		if err != nil {
			t.Fatal(err)
		}
		convert(t, &unstructured.Unstructured{Object: content}, &pod)
		for _, r := range evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
			if !r.Allowed {
				t.Errorf("%s: %s: %s", object.GetName(), r.ForbiddenReason, r.ForbiddenDetail)
			}
		}
		testHardening(t, object.GetName(), &pod.Spec)
		testOwnSettings(t, object.GetName(), &pod.Spec)
	}
	if pods == 0 {
		t.Error("there is no Deployment")
	}
}

// testHardening is what PodSecurity restricted does not ask for.
func testHardening(t *testing.T, name string, pod *corev1.PodSpec) {
	t.Helper()
	container := pod.Containers[0]
	type values struct {
		User, Expiration      int64
		ReadOnly, Automount   bool
		ServiceLinks, Spreads bool
	}
	want := values{User: 65532, Expiration: 3600, ReadOnly: true, Spreads: true}
	got := values{
		User: *pod.SecurityContext.RunAsUser, ReadOnly: *container.SecurityContext.ReadOnlyRootFilesystem,
		Automount: *pod.AutomountServiceAccountToken, ServiceLinks: *pod.EnableServiceLinks, Spreads: len(pod.TopologySpreadConstraints) > 0,
	}
	for _, volume := range pod.Volumes {
		if volume.Name == "kube-api-access" {
			got.Expiration = *volume.Projected.Sources[0].ServiceAccountToken.ExpirationSeconds
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
	for _, mount := range container.VolumeMounts {
		if strings.HasPrefix(mount.Name, "own-") == mount.ReadOnly { // those of the values are the user's
			t.Errorf("%s: %s", name, fmt.Sprintf("mount %s: readOnly is %t", mount.MountPath, mount.ReadOnly))
		}
	}
}

// testOwnSettings: a pod that restarts in the middle of a roll-out reads what it
// read before, since its settings are in no object that an upgrade changes.
func testOwnSettings(t *testing.T, name string, pod *corev1.PodSpec) {
	t.Helper()
	for _, source := range pod.Containers[0].EnvFrom {
		if source.ConfigMapRef != nil {
			t.Errorf("%s: variables are in the ConfigMap %s", name, source.ConfigMapRef.Name)
		}
	}
	for _, volume := range pod.Volumes {
		if volume.ConfigMap != nil && !strings.HasPrefix(volume.Name, "own-") {
			t.Errorf("%s: the volume %s is the ConfigMap %s", name, volume.Name, volume.ConfigMap.Name)
		}
	}
}
