package kind_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/issuer-sync/issuer-sync/test/helm"
	"github.com/issuer-sync/issuer-sync/test/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// decode reads the n-th document of a file strictly.
func decode[T any](t *testing.T, name string, n int) (object T) {
	t.Helper()
	documents := strings.Split(filled(t, name, "/work"), "\n---\n")
	if err := yaml.UnmarshalStrict([]byte(documents[n]), &object); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return object
}

// The sample for the stand-in is the sample, and what its comment says.
func TestTheTwoSamplesAreOne(t *testing.T) {
	plain, offline := decode[batchv1.Job](t, "sample.yaml", 1), decode[batchv1.Job](t, "sample-offline.yaml", 1)
	container := &offline.Spec.Template.Spec.Containers[0]
	for _, variable := range container.Env {
		if variable.Name != "AZURE_AUTHORITY_HOST" && variable.Name != "SSL_CERT_FILE" {
			t.Errorf("the sample for the stand-in has a variable %s", variable.Name)
		}
	}
	if len(container.Env) != 2 {
		t.Errorf("the sample for the stand-in has %d variables; want 2", len(container.Env))
	}
	container.Env, container.VolumeMounts, offline.Spec.Template.Spec.Volumes = nil, nil, nil
	if diff := cmp.Diff(plain, offline); diff != "" {
		t.Errorf("sample-offline.yaml is another (-sample +offline):\n%s", diff)
	}
	if diff := cmp.Diff(decode[corev1.ServiceAccount](t, "sample.yaml", 0), decode[corev1.ServiceAccount](t, "sample-offline.yaml", 0)); diff != "" {
		t.Errorf("its ServiceAccount is another (-sample +offline):\n%s", diff)
	}
}

// The programs in the images take the arguments of the manifests: what they find
// wrong are the files that are in the pods only, and nothing else.
func TestProgramsTakeTheirArguments(t *testing.T) {
	standIn := decode[appsv1.Deployment](t, "stand-in.yaml", 0).Spec.Template.Spec.Containers[0]
	verify := decode[batchv1.Job](t, "verify.yaml", 0).Spec.Template.Spec.Containers[0]
	sample := decode[batchv1.Job](t, "sample-offline.yaml", 1).Spec.Template.Spec.Containers[0]
	for _, test := range []struct {
		program   string
		container corev1.Container
		more      []string
		want      string
	}{
		{"cmd/issuer-sync", standIn, nil, `^issuer-sync: --tls-cert-file and --tls-key-file: looking at certificate files: stat /tls/tls.crt: no such file or directory
--ca-file: reading CA file: open /tls/ca.crt: no such file or directory
$`},
		{"cmd/issuer-sync", verify, nil, `^issuer-sync: reading --token: open /token/token: no such file or directory\n$`},
		{"cmd/proxy", sample, []string{
			"AZURE_TENANT_ID=11111111-1111-1111-1111-111111111111", "AZURE_CLIENT_ID=22222222-2222-2222-2222-222222222222",
			"AZURE_FEDERATED_TOKEN_FILE=/nonexistent",
		}, `^proxy token: asking https://entra-stand-in.entra-stand-in.svc.cluster.local/ for an access token: no usable token: .*/nonexistent`},
	} {
		cmd := exec.CommandContext(t.Context(), program.Build(t, test.program), test.container.Args...)
		cmd.Env = test.more
		for _, variable := range test.container.Env {
			cmd.Env = append(cmd.Env, variable.Name+"="+variable.Value)
		}
		var said strings.Builder
		cmd.Stderr = &said
		if err := cmd.Run(); err == nil || !regexp.MustCompile(test.want).MatchString(said.String()) {
			t.Errorf("%s %q: %v, it wrote %q; want %s", test.program, test.container.Args, err, &said, test.want)
		} else if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Error(err)
		}
	}
}

// The identity of the stand-in is the one that sample and values name.
func TestTheStandInKnowsTheSample(t *testing.T) {
	const tenant, client = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
	app := "--app=tenant=" + tenant + ",client=" + client + ",issuer=" + issuer + ",subject=system:serviceaccount:demo:sample"
	args := decode[appsv1.Deployment](t, "stand-in.yaml", 0).Spec.Template.Spec.Containers[0].Args
	if !strings.Contains(strings.Join(args, "\n"), app) {
		t.Errorf("the stand-in's arguments %q do not have %s", args, app)
	}
	up := content(t, folder, "up.sh")
	for _, want := range []string{"  issuer=" + issuer + "\n", "  tenant=" + tenant + "\n", "  client=" + client + "\n"} {
		if !strings.Contains(up, want) {
			t.Errorf("up.sh does not have %q", want)
		}
	}
	if !strings.Contains(content(t, folder, "values-offline.yaml"), "azureTenantID: "+tenant+"\n") {
		t.Errorf("%s does not have the tenant %s", filepath.Join(folder, "values-offline.yaml"), tenant)
	}
}

// The chart takes the values, and issuer-sync the configuration that comes of
// them: what it finds wrong is that it is in no pod.
func TestTheChartTakesTheValues(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]string{
		"values-offline.yaml": `^issuer-sync: issuers\[0\]: sources\[0\]: reading the pod's service account: .*
stores\[0\]: reading the pod's service account: .*
verify: reading CA file: open /tls/ca.crt: no such file or directory
$`,
		"values-azure.yaml": `^issuer-sync: issuers\[0\]: sources\[0\]: reading the pod's service account: .*
stores\[0\]: credential sharedKey needs credentialFile, or AZURE_STORAGE_KEY in the environment
$`,
	} {
		rendered, err := helm.Render(t, filled(t, name, "/work"))
		if err != nil {
			t.Fatal(err)
		}
		for _, image := range []string{"issuer-sync", "webhook", "proxy"} {
			if !strings.Contains(rendered, "\"localhost/issuer-sync/"+image+":v1.2.3\"") {
				t.Errorf("%s: there is no image %s", name, image)
			}
		}
		file := filepath.Join(t.TempDir(), "issuer-sync.yaml")
		if err := os.WriteFile(file, []byte(configuration(t, rendered)), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), program.Build(t, "cmd/issuer-sync"), "publish", "--dry-run", "--config", file)
		cmd.Env = []string{"PATH=/nonexistent"}
		if out, _ := cmd.CombinedOutput(); !regexp.MustCompile(faults).MatchString(string(out)) { // it fails as it says
			t.Errorf("%s: it wrote %q; want %s", name, out, faults)
		}
	}
}

// readTree reads what others read for a test: the go command keeps results, and
// knows only of what the test itself has read.
func readTree(t *testing.T, folder string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			_, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// configuration is the issuer-sync.yaml among rendered objects.
func configuration(t *testing.T, rendered string) string {
	t.Helper()
	for document := range strings.SplitSeq(rendered, "\n---\n") {
		var deployment appsv1.Deployment
		if err := yaml.Unmarshal([]byte(document), &deployment); err == nil && deployment.Spec.Template.Annotations["issuer-sync.yaml"] != "" {
			return deployment.Spec.Template.Annotations["issuer-sync.yaml"]
		}
	}
	t.Fatalf("there is no issuer-sync.yaml in:\n%s", rendered)
	return ""
}
