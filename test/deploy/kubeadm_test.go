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

	"github.com/issuer-sync/issuer-sync/test/servers"
)

const (
	newIssuer = "https://contoso.blob.core.windows.net/oidc-prod"
	// oldIssuer is kubeadm's own (Kubernetes cmd/kubeadm/app/phases/controlplane/manifests.go).
	oldIssuer = "https://kubernetes.default.svc.cluster.local"
	guide     = "docs/kubeadm.md"
)

// kubeadm runs the real one.
func kubeadm(t *testing.T, variables []string, args ...string) {
	t.Helper()
	if out, err := kubeadmCommand(t, variables, args...).CombinedOutput(); err != nil {
		t.Fatalf("kubeadm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func kubeadmCommand(t *testing.T, variables []string, args ...string) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), kubeServers(t), append([]string{"kubeadm"}, args...)...)
	command.Env = append(command.Environ(), variables...)
	return command
}

func kubeServers(t *testing.T) string {
	t.Helper()
	parts, err := servers.FindParts()
	if err != nil {
		t.Fatal(err)
	}
	if !parts.KubeReady() {
		missing(t, "kubeadm is not built: run `go run ./test/install` once, then test again with -count=1")
	}
	return parts.KubeServers
}

// clusterConfiguration is what a cluster has in kubeadm-config: a small one of
// its own, and a fragment of the guide.
func clusterConfiguration(t *testing.T, fragment string) string {
	t.Helper()
	configuration := map[string]any{
		"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration", "kubernetesVersion": "v1.36.3",
		"networking": map[string]any{"podSubnet": "10.244.0.0/16"},
	}
	if err := yaml.UnmarshalStrict([]byte(fragment), &configuration); err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(configuration)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// initConfiguration is the rest of what kubeadm wants on a node.
func initConfiguration(patches string) string {
	text := "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nlocalAPIEndpoint: {advertiseAddress: 10.0.0.5, bindPort: 6443}\n"
	if patches != "" {
		text += "patches: {directory: " + patches + "}\n"
	}
	return text + "---\n"
}

// manifest returns the command line of the kube-apiserver that kubeadm would
// start with the configuration.
func manifest(t *testing.T, configuration string) []string {
	t.Helper()
	look := t.TempDir()
	kubeadm(t, []string{"KUBEADM_INIT_DRYRUN_DIR=" + look},
		"init", "phase", "control-plane", "apiserver", "--dry-run", "--config", write(t, "node.yaml", configuration))
	content, err := os.ReadFile(filepath.Join(look, "kube-apiserver.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(content, &pod); err != nil {
		t.Fatal(err)
	}
	return pod.Spec.Containers[0].Command
}

// values returns what a flag of a command line is set to, in order.
func values(command []string, flag string) (all []string) {
	for _, argument := range command {
		if value, ok := strings.CutPrefix(argument, "--"+flag+"="); ok {
			all = append(all, value)
		}
	}
	return all
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestKubeadmFiles has kubeadm itself judge what deploy/kubeadm and the guide say.
func TestKubeadmFiles(t *testing.T) {
	t.Parallel()
	whole := func(file string) string { return initConfiguration("") + read(t, file) }
	step := func(name string) string {
		return initConfiguration("") + clusterConfiguration(t, named(t, name).text)
	}
	patched := func(fragment, folder string) string {
		return initConfiguration(absolute(t, folder)) + clusterConfiguration(t, fragment)
	}
	for name, c := range map[string]struct {
		configuration string
		want          []string
	}{
		"nothing":                     {initConfiguration("") + clusterConfiguration(t, ""), []string{oldIssuer}},
		"cluster.yaml":                {whole("deploy/kubeadm/cluster.yaml"), []string{newIssuer}},
		"the guide's cluster.yaml":    {step("cluster.yaml"), []string{newIssuer}},
		"step 1":                      {step("step 1"), []string{oldIssuer, newIssuer}},
		"step 2":                      {step("step 2"), []string{newIssuer, oldIssuer}},
		"step 3":                      {step("step 3"), []string{newIssuer}},
		"patch accept":                {patched("", "deploy/kubeadm/patches/accept"), []string{oldIssuer, newIssuer}},
		"patch sign":                  {patched("", "deploy/kubeadm/patches/sign"), []string{newIssuer, oldIssuer}},
		"patch sign on issuers found": {patched(ownIssuers, "deploy/kubeadm/patches/sign"), []string{newIssuer, "https://a.example", "https://b.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kubeadm(t, nil, "config", "validate", "--config", write(t, "cluster.yaml", c.configuration))
			command := manifest(t, c.configuration)
			if diff := cmp.Diff(c.want, values(command, "service-account-issuer")); diff != "" {
				t.Errorf("issuers of kube-apiserver (-want +got):\n%s", diff)
			}
			for flag, want := range map[string]string{
				"service-account-key-file":         "/etc/kubernetes/pki/sa.pub",
				"service-account-signing-key-file": "/etc/kubernetes/pki/sa.key",
			} {
				if got := values(command, flag); !slices.Equal(got, []string{want}) {
					t.Errorf("--%s is %q; want %q alone", flag, got, want)
				}
			}
		})
	}
}

const ownIssuers = `apiServer:
  extraArgs:
  - {name: service-account-issuer, value: "https://a.example"}
  - {name: service-account-issuer, value: "https://b.example"}
`

// The guide says that the folder of patches is named in the configuration, as
// the flag is refused beside it.
func TestKubeadmPatchesFlag(t *testing.T) {
	t.Parallel()
	file := write(t, "cluster.yaml", clusterConfiguration(t, ""))
	out, err := kubeadmCommand(t, nil, "init", "phase", "control-plane", "apiserver", "--dry-run", "--config", file,
		"--patches", absolute(t, "deploy/kubeadm/patches/accept")).CombinedOutput()
	if want := "can not mix '--config' with arguments [patches]"; err == nil || !strings.Contains(string(out), want) {
		t.Errorf("kubeadm with --config and --patches: %v: %s; want %q", err, out, want)
	}
}

// TestKubeadmKey shows that the key of service accounts follows the cluster's
// algorithm, of which Entra ID accepts RSA only, and who may read it.
func TestKubeadmKey(t *testing.T) {
	t.Parallel()
	for algorithm, want := range map[string]string{"RSA-2048": `"alg":"RS256"`, "ECDSA-P256": `"alg":"ES256"`} {
		folder := t.TempDir()
		fragment := "encryptionAlgorithm: " + algorithm + "\ncertificatesDir: " + folder + "\n"
		kubeadm(t, nil, "init", "phase", "certs", "sa", "--config",
			write(t, "node.yaml", initConfiguration("")+clusterConfiguration(t, fragment)))
		public := filepath.Join(folder, "sa.pub")
		if out, err := issuerSync(t, "jwks", "--public-keys", public); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: issuer-sync jwks: %v: %s; want %s", algorithm, err, out, want)
		}
		if status, err := os.Stat(public); err != nil || status.Mode().Perm() != 0o600 {
			t.Errorf("sa.pub: %v: %v; the guide says that root alone may read it", err, status)
		}
	}
}

// TestKubeadmV1beta3 shows that kubeadm-config of an older cluster cannot name
// two issuers until it is migrated.
func TestKubeadmV1beta3(t *testing.T) {
	t.Parallel()
	const old = "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\nkubernetesVersion: v1.35.0\n" +
		"apiServer:\n  extraArgs:\n    service-account-issuer: https://a.example\n"
	migrated := filepath.Join(t.TempDir(), "migrated.yaml")
	kubeadm(t, nil, "config", "migrate", "--old-config", write(t, "cluster.yaml", old), "--new-config", migrated)
	content, err := os.ReadFile(migrated)
	if err != nil {
		t.Fatal(err)
	}
	if want := "extraArgs:\n  - name: service-account-issuer\n    value: https://a.example\n"; !strings.Contains(string(content), want) {
		t.Errorf("after kubeadm config migrate:\n%s\nwant in it:\n%s", content, want)
	}
}

// TestKubeadmNode runs the guide's commands for a node, on a manifest that
// kubeadm wrote before, as far as they leave /etc/kubernetes alone.
func TestKubeadmNode(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	manifests, bin := filepath.Join(folder, "manifests"), filepath.Join(folder, "bin")
	for _, made := range []string{manifests, bin} {
		if err := os.Mkdir(made, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	before := initConfiguration("") + clusterConfiguration(t, "")
	kubeadm(t, []string{"KUBEADM_INIT_DRYRUN_DIR=" + manifests},
		"init", "phase", "control-plane", "apiserver", "--dry-run", "--config", write(t, "before.yaml", before))
	wrapper := "#!/bin/sh\nexec '" + kubeServers(t) + "' kubeadm \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "kubeadm"), []byte(wrapper), 0o700); err != nil {
		t.Fatal(err)
	}
	step1 := clusterConfiguration(t, named(t, "step 1").text)
	if err := os.WriteFile(filepath.Join(folder, "cluster.yaml"), []byte(step1), 0o600); err != nil {
		t.Fatal(err)
	}
	script := strings.ReplaceAll(nodeScript(t), "/etc/kubernetes/manifests", manifests)
	command := exec.CommandContext(t.Context(), "bash", "-c", script)
	command.Dir = folder
	command.Env = append(command.Environ(), "PATH="+bin+":"+path(t))
	out, _ := command.CombinedOutput() // diff exits with 1
	var changed string
	for line := range strings.Lines(string(out)) {
		if line[0] == '<' || line[0] == '>' {
			changed += strings.ReplaceAll(line, "    - ", " ")
		}
	}
	want := "<  --service-account-issuer=" + oldIssuer + "\n" +
		">  --service-account-issuer=" + oldIssuer + "\n>  --service-account-issuer=" + newIssuer + "\n"
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("what the guide's diff shows (-want +got):\n%s\nall:\n%s", diff, out)
	}
}

// path is where programs of the machine are: sed, cat and diff.
func path(t *testing.T) string {
	t.Helper()
	found, ok := os.LookupEnv("PATH")
	if !ok {
		t.Fatal("PATH is not set")
	}
	return found
}

// nodeScript is the guide's first example for each node, which only looks.
func nodeScript(t *testing.T) string {
	t.Helper()
	for _, f := range fences(t, guide, "sh") {
		if strings.HasPrefix(f.text, "endpoint=") {
			return f.text
		}
	}
	t.Fatalf("%s has no example that begins with endpoint=", guide)
	return ""
}
