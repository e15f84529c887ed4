package webhook_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/issuer-sync/issuer-sync/test/program"
)

// TestManifests compares what the manifests say of the program, and the tests
// with free ports and folders of their own cannot see, with the program.
func TestManifests(t *testing.T) {
	t.Parallel()
	help, err := exec.CommandContext(t.Context(), program.Build(t, "cmd/webhook"), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"deploy/webhook", "deploy/webhook-cert-manager"} {
		t.Run(folder, func(t *testing.T) {
			m := installed{objects: render(t, folder), help: string(help)}
			var deployment appsv1.Deployment
			m.find(t, "Deployment", &deployment)
			m.pod = deployment.Spec.Template.Spec
			t.Run("images name a registry", m.testImages)
			t.Run("ports are the program's", m.testPorts)
			t.Run("probes bear a busy node", m.testProbes)
			t.Run("certificates are where it looks", m.testCertificates)
			t.Run("memory", m.testMemory)
		})
	}
}

type installed struct {
	objects []*unstructured.Unstructured
	help    string // of the program
	pod     corev1.PodSpec
}

// find decodes the only object of a kind.
func (m installed) find(t *testing.T, kind string, into any) {
	t.Helper()
	at := slices.IndexFunc(m.objects, func(object *unstructured.Unstructured) bool { return object.GetKind() == kind })
	if at < 0 {
		t.Fatalf("there is no %s", kind)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m.objects[at].Object, into); err != nil {
		t.Fatal(err)
	}
}

// A name without a registry is docker.io's: whoever registers it there would run
// in this cluster, the proxy in any pod and with NET_ADMIN.
func (m installed) testImages(t *testing.T) {
	images := map[string]string{"the Deployment's": m.pod.Containers[0].Image}
	settings, err := os.ReadFile(filepath.Join(root, "deploy", "webhook", "config.env")) // what the installer has not changed
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(settings)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), "="); strings.HasSuffix(name, "_IMAGE") && value != "" {
			images[name] = value
		}
	}
	for of, image := range images {
		host, _, found := strings.Cut(image, "/")
		if !found || !strings.ContainsAny(host, ".:") || host == "docker.io" {
			t.Errorf("%s image is %q; want a registry before its name", of, image)
		}
	}
}

func (m installed) testPorts(t *testing.T) {
	named := map[string]int32{}
	for _, port := range m.pod.Containers[0].Ports {
		named[port.Name] = port.ContainerPort
	}
	for name, flag := range map[string]string{"webhook": "webhook-addr", "health": "health-addr", "metrics": "metrics-addr"} {
		if got, want := fmt.Sprintf(":%d", named[name]), m.defaultOf(t, flag); got != want {
			t.Errorf("port %s is %s, the default of --%s %s", name, got, flag, want)
		}
	}
	var service corev1.Service
	m.find(t, "Service", &service)
	if target := service.Spec.Ports[0].TargetPort.StrVal; target != "webhook" {
		t.Errorf("the Service sends to port %q", target)
	}
	for _, probe := range []*corev1.Probe{m.pod.Containers[0].ReadinessProbe, m.pod.Containers[0].LivenessProbe} {
		if port := probe.HTTPGet.Port.StrVal; port != "health" {
			t.Errorf("a probe asks at port %q", port)
		}
	}
}

// defaultOf returns what the program says is the default of a flag.
func (m installed) defaultOf(t *testing.T, flag string) string {
	t.Helper()
	match := regexp.MustCompile(`--` + flag + ` .*\(default "(.*)"\)`).FindStringSubmatch(m.help)
	if match == nil {
		t.Fatalf("--help has no default of --%s", flag)
	}
	return match[1]
}

// Both replicas may be on a node that has no CPU for 20 s.
func (m installed) testProbes(t *testing.T) {
	for _, probe := range []*corev1.Probe{m.pod.Containers[0].ReadinessProbe, m.pod.Containers[0].LivenessProbe} {
		bears := time.Duration(probe.PeriodSeconds*probe.FailureThreshold) * time.Second
		if bears < 20*time.Second || probe.TimeoutSeconds < 3 {
			t.Errorf("the probe of %s gives up after %s, and waits %d s for an answer", probe.HTTPGet.Path, bears, probe.TimeoutSeconds)
		}
	}
}

// Without cert-manager there are no files.
func (m installed) testCertificates(t *testing.T) {
	var mounted, directory string
	for _, volume := range m.pod.Volumes {
		for _, mount := range m.pod.Containers[0].VolumeMounts {
			if volume.Secret != nil && mount.Name == volume.Name {
				mounted = mount.MountPath
			}
		}
	}
	for _, argument := range m.pod.Containers[0].Args {
		if value, found := strings.CutPrefix(argument, "--webhook-cert-dir="); found {
			directory = value
		}
	}
	if mounted != directory {
		t.Errorf("the Secret is mounted at %q, and the program reads %q", mounted, directory)
	}
}

func (m installed) testMemory(t *testing.T) {
	limit := m.pod.Containers[0].Resources.Limits.Memory().Value()
	at := slices.IndexFunc(m.pod.Containers[0].Env, func(v corev1.EnvVar) bool { return v.Name == "GOMEMLIMIT" })
	if at < 0 {
		t.Fatal("there is no GOMEMLIMIT")
	}
	// Go's units are these with a B behind (package runtime).
	soft := resource.MustParse(strings.TrimSuffix(m.pod.Containers[0].Env[at].Value, "B"))
	if share := float64(soft.Value()) / float64(limit); share < 0.75 || share > 0.85 {
		t.Errorf("GOMEMLIMIT is %.2f of the limit, %d bytes", share, limit)
	}
}
