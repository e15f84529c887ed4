package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/issuer-sync/issuer-sync/test/helm"
	"github.com/issuer-sync/issuer-sync/test/program"
)

// TestValues renders the chart with the platforms' values. The chart's schema
// refuses what it does not know. The redirect would take the cloud's own metadata
// endpoint from pods on EKS and GKE.
func TestValues(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]struct {
		deployments []string
		mode        string // of proxies
	}{
		"deploy/kubeadm/values.yaml": {[]string{"issuer-sync", "issuer-sync-webhook"}, "redirect"},
		"deploy/eks/values.yaml":     {[]string{"issuer-sync-webhook"}, "env"},
		"deploy/gke/values.yaml":     {[]string{"issuer-sync-webhook"}, "env"},
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			var deployments []string
			mode := ""
			for _, object := range render(t, file) {
				if object.Kind != "Deployment" {
					continue
				}
				deployments = append(deployments, object.Metadata.Name)
				container := object.Spec.Template.Spec.Containers[0]
				if !strings.HasPrefix(container.Image, "registry.test/team/") || !strings.HasSuffix(container.Image, ":v1") {
					t.Errorf("the image of %s is %s; want what the command line says", object.Metadata.Name, container.Image)
				}
				for _, variable := range container.Env {
					if variable.Name == "WEBHOOK_PROXY_MODE" {
						mode = variable.Value
					}
				}
			}
			slices.Sort(deployments)
			if diff := cmp.Diff(want.deployments, deployments); diff != "" {
				t.Errorf("Deployments (-want +got):\n%s", diff)
			}
			if mode != want.mode {
				t.Errorf("WEBHOOK_PROXY_MODE is %q; want %q", mode, want.mode)
			}
		})
	}
}

// The configuration that the chart makes of deploy/kubeadm's values is one that
// issuer-sync accepts, with the variables of its container, and so are the
// others of the guide.
func TestKubeadmConfigurations(t *testing.T) {
	t.Parallel()
	t.Run("on a node", func(t *testing.T) {
		t.Parallel()
		checkConfiguration(t, read(t, "deploy/kubeadm/issuer-sync.yaml"))
	})
	t.Run("from a workstation", func(t *testing.T) {
		t.Parallel()
		checkConfiguration(t, named(t, "issuer-sync.yaml").text)
	})
	t.Run("in the cluster", func(t *testing.T) {
		t.Parallel()
		objects := render(t, "deploy/kubeadm/values.yaml")
		at := slices.IndexFunc(objects, func(o object) bool { return o.Kind == "Deployment" && o.Metadata.Name == "issuer-sync" })
		container := objects[at].Spec.Template.Spec.Containers[0]
		mounted := func(m corev1.VolumeMount) bool {
			return m.Name == "azure-identity-token" && m.MountPath == "/var/run/secrets/azure/tokens"
		}
		if !slices.ContainsFunc(container.VolumeMounts, mounted) {
			t.Errorf("the token is not mounted: %v", container.VolumeMounts)
		}
		var variables []string
		for _, variable := range container.Env {
			variables = append(variables, variable.Name+"="+strings.Replace(variable.Value, "/var/run/secrets/azure/tokens", t.TempDir(), 1))
		}
		content := objects[at].Spec.Template.Annotations["issuer-sync.yaml"]
		if content == "" {
			t.Fatal("its pods have no issuer-sync.yaml")
		}
		checkConfiguration(t, content, variables...)
	})
}

// checkConfiguration has issuer-sync read a configuration, which is for the
// guide's issuer. The cluster is another, and neither it nor a store is reached
// from here, which is another exit code (1) than that of a wrong configuration (2).
func checkConfiguration(t *testing.T, content string, variables ...string) {
	t.Helper()
	var configuration struct {
		Issuers []struct {
			URL     string                      `json:"url"`
			Sources []map[string]map[string]any `json:"sources"`
			Stores  []map[string]any            `json:"stores"`
		} `json:"issuers"`
		LeaderElection map[string]any `json:"leaderElection,omitempty"`
	}
	if err := yaml.Unmarshal([]byte(content), &configuration); err != nil {
		t.Fatal(err)
	}
	if len(configuration.Issuers) != 1 || configuration.Issuers[0].URL != newIssuer {
		t.Fatalf("the configuration is not for %s:\n%s", newIssuer, content)
	}
	if cluster := configuration.Issuers[0].Sources[0]["cluster"]; cluster != nil {
		cluster["kubeconfig"] = write(t, "kubeconfig", nobody)
	}
	here, err := yaml.Marshal(configuration)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program.Build(t, "cmd/issuer-sync"), "publish", "--dry-run",
		"--config", write(t, "issuer-sync.yaml", string(here)))
	// Whoever is asked for a token or a blob is this proxy, which refuses.
	command.Env = append(command.Environ(), append(variables, "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1")...)
	out, err := command.CombinedOutput()
	if code := command.ProcessState.ExitCode(); err == nil || code == 2 {
		t.Errorf("issuer-sync publish --dry-run: exit code %d: %s\n%s", code, out, here)
	}
}

// nobody is a kubeconfig of a cluster that refuses connections.
const nobody = `apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: a, user: {token: a}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
current-context: a
`

// object is what the tests look at of a manifest.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Template corev1.PodTemplateSpec
	}
}

// render is what helm makes of the chart with a file of values, and what the
// guides give on the command line.
func render(t *testing.T, values string) (objects []object) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, helm.Chart, "Chart.yaml")); err != nil {
		missing(t, "there is no chart in deploy/chart: check out the whole tree")
	}
	rendered, err := helm.Render(t, read(t, values), "--set=imageRepository=registry.test/team,image.release=v1,azureTenantID=contoso.com")
	if err != nil {
		t.Fatalf("%s: %v", values, err)
	}
	for document := range strings.SplitSeq(rendered, "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatalf("what helm renders of %s: %v\n%s", values, err, document)
		}
		objects = append(objects, o)
	}
	return objects
}
