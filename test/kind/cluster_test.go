package kind_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	kindcluster "sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/yaml"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

const (
	folder = "../../deploy/kind"
	issuer = "https://issuer-sync.issuer-sync.svc.cluster.local"
)

// filled is a file of deploy/kind with its placeholders filled in, as up.sh does.
func filled(t *testing.T, name, work string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(
		"${ISSUER}", issuer, "${VERSION}", "v1.2.3", "${WORK}", work,
		"${TENANT}", "11111111-1111-1111-1111-111111111111", "${CLIENT}", "22222222-2222-2222-2222-222222222222",
	).Replace(string(content))
}

// TestKindTakesTheConfiguration has kind itself, as a library, read it strictly
// and write the kubeadm configuration of a node, for several Kubernetes: kind
// 0.33 has another version of kubeadm's API from 1.36 on. kubeadm validates it.
func TestKindTakesTheConfiguration(t *testing.T) {
	docker, err := filepath.Abs("testdata/docker")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", docker+":"+os.Getenv("PATH"))
	for version, valid := range map[string]bool{
		"v1.35.0": true, "v1.36.3": true, "v1.37.0": true,
		"v1.31.0": false, // too old for the kubeadm that validates
	} {
		fake := t.TempDir()
		t.Setenv("FAKE", fake)
		t.Setenv("FAKE_VERSION", version)
		err := kindcluster.NewProvider(kindcluster.ProviderWithDocker()).Create("issuer-sync",
			kindcluster.CreateWithRawConfig([]byte(filled(t, "cluster.yaml", fake))), kindcluster.CreateWithRetain(true),
			kindcluster.CreateWithStopBeforeSettingUpKubernetes(true), kindcluster.CreateWithKubeconfigPath(filepath.Join(fake, "kubeconfig")))
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		wantArgument(t, filepath.Join(fake, "kubeadm.conf"), version)
		wantMounts(t, fake)
		validate := exec.CommandContext(t.Context(), servers.RequireKube(t), "kubeadm", "config", "validate", "--config", filepath.Join(fake, "kubeadm.conf"))
		if out, err := validate.CombinedOutput(); (err == nil) != valid {
			t.Errorf("%s: kubeadm: %v, want valid to be %t\n%s", version, err, valid, out)
		}
	}
}

// wantArgument wants the issuer among the arguments of the API server, which are
// a map up to v1beta3 and a list since.
func wantArgument(t *testing.T, file, version string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cluster, _, _ := strings.Cut(string(content), "\n---\n")
	var config struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		APIServer  struct {
			ExtraArgs any `json:"extraArgs"`
		} `json:"apiServer"`
	}
	if err := yaml.Unmarshal([]byte(cluster), &config); err != nil {
		t.Fatal(err)
	}
	arguments := map[string]any{}
	switch given := config.APIServer.ExtraArgs.(type) {
	case map[string]any:
		arguments = given
	case []any:
		for _, one := range given {
			argument, _ := one.(map[string]any)
			name, _ := argument["name"].(string)
			arguments[name] = argument["value"]
		}
	}
	_, own := arguments["runtime-config"] // what kind itself puts there
	if config.Kind != "ClusterConfiguration" || arguments["service-account-issuer"] != issuer || !own {
		t.Errorf("%s: %s %s has arguments %v; want service-account-issuer %s beside kind's own", version, config.APIVersion, config.Kind, arguments, issuer)
	}
}

// wantMounts wants the keys where kubeadm looks for them.
func wantMounts(t *testing.T, fake string) {
	t.Helper()
	run, err := os.ReadFile(filepath.Join(fake, "run"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sa.key", "sa.pub"} {
		if want := "--volume=" + filepath.Join(fake, name) + ":/etc/kubernetes/pki/" + name + "\n"; !strings.Contains(string(run), want) {
			t.Errorf("the node does not have %s:\n%s", want, run)
		}
	}
}
