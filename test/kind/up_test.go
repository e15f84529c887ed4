package kind_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

// machine is where the scripts run: tools of which some are played.
type machine struct {
	fake, work, images string
	environment        []string
}

// newMachine has images, and the tools of testdata/bin.
func newMachine(t *testing.T, more ...string) *machine {
	t.Helper()
	readTree(t, folder)
	bin, err := filepath.Abs("testdata/bin")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{fake: t.TempDir(), work: filepath.Join(t.TempDir(), "work"), images: t.TempDir()}
	m.write(t, "images.json", "{\n \"version\": \"v1.2.3\",\n \"images\": [{\"version\": \"other\"}]\n}\n")
	for _, name := range []string{"issuer-sync", "webhook", "proxy"} {
		m.write(t, name+"-v1.2.3-amd64.tar", "")
	}
	m.environment = append([]string{
		"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + m.fake, "FAKE=" + m.fake, "WORK=" + m.work, "IMAGES=" + m.images,
		"KIND_EXPERIMENTAL_PROVIDER=none", // else Docker is needed
	}, more...)
	return m
}

func (m *machine) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.images, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs a script and returns what it wrote.
func (m *machine) run(t *testing.T, script string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(folder, script), args...)
	var out, said strings.Builder
	cmd.Env, cmd.Stdout, cmd.Stderr = m.environment, &out, &said
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), said.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), said.String(), 0
}

// good wants a script to end well, and the API server to warn of nothing.
func (m *machine) good(t *testing.T, script string, args ...string) string {
	t.Helper()
	stdout, stderr, code := m.run(t, script, args...)
	if code != 0 || strings.Contains(stderr, "Warning") {
		t.Fatalf("%s %q: exit code %d; want 0 and no warning\n%s\n%s", script, args, code, stdout, stderr)
	}
	return stdout
}

// calls are what the tools were called with, since the last time.
func (m *machine) calls(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(m.fake, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(m.fake, "calls")); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(content)), "\n")
}

// startKube adds an API server that signs with the issuer.
func (m *machine) startKube(t *testing.T, issuer string) *servers.Kube {
	t.Helper()
	kube := servers.StartKube(t, servers.KubeConfig{Issuer: issuer})
	m.environment = append(m.environment, "FAKE_KUBECONFIG="+kube.Kubeconfig(t), "KUBE_SERVERS="+servers.RequireKube(t))
	return kube
}

// The whole of the offline mode, before a real API server with the real kubectl:
// nothing is refused and nothing warned of, PodSecurity restricted included.
func TestOffline(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	kube := m.startKube(t, issuer)
	stdout := m.good(t, "up.sh")
	for _, want := range []string{
		"==> Making the cluster \"issuer-sync\", whose tokens say " + issuer, "what the pods of app.kubernetes.io/name=verify wrote",
		"what the pods of app.kubernetes.io/name=sample wrote", "==> Done: ", "export KUBECONFIG=" + m.work + "/kubeconfig",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, stdout)
		}
	}
	first := m.calls(t)
	wantInOrder(t, first,
		"kind create cluster --name issuer-sync --config "+m.work+"/cluster.yaml --wait 5m",
		"kind get kubeconfig --name issuer-sync",
		"kind load image-archive "+m.images+"/issuer-sync-v1.2.3-amd64.tar --name issuer-sync",
		"kind load image-archive "+m.images+"/webhook-v1.2.3-amd64.tar --name issuer-sync",
		"kind load image-archive "+m.images+"/proxy-v1.2.3-amd64.tar --name issuer-sync",
		"kubectl rollout status deployment/entra-stand-in --namespace entra-stand-in --timeout 3m",
		"helm upgrade --install issuer-sync * --values "+m.work+"/values.yaml --wait --timeout 5m",
		"kubectl logs --namespace issuer-sync --selector app.kubernetes.io/name=verify --tail -1",
		"kubectl logs --namespace demo --selector app.kubernetes.io/name=sample --tail -1",
	)
	wantStandIn(t, kube)
	wantCertificates(t, m.work)

	// Again: what is there stays, and it is as good; but for a certificate that expires.
	key, other := content(t, m.work, "sa.key"), content(t, m.work, "entra-stand-in.crt")
	m.expire(t, "issuer-sync.csr", "issuer-sync.crt", "-CA", "ca.crt", "-CAkey", "ca.key")
	m.good(t, "up.sh", "offline")
	if calls := m.calls(t); slices.ContainsFunc(calls, func(call string) bool { return strings.HasPrefix(call, "kind create") }) {
		t.Errorf("a second run made a cluster: %q", calls)
	}
	if content(t, m.work, "sa.key") != key || content(t, m.work, "entra-stand-in.crt") != other {
		t.Error("a second run made another key, or another certificate in the place of a good one")
	}
	wantCertificates(t, m.work)
	m.expire(t, "ca.csr", "ca.crt", "-signkey", "ca.key") // and all that the CA signed
	m.good(t, "up.sh", "offline")
	wantCertificates(t, m.work)
	m.calls(t)

	stdout = m.good(t, "down.sh")
	if want := "Keys and certificates stay, for the next cluster: rm -r " + m.work + "\n"; stdout != want {
		t.Errorf("down.sh wrote %q; want %q", stdout, want)
	}
	wantInOrder(t, m.calls(t), "kind delete cluster --name issuer-sync")
	if stdout = m.good(t, "down.sh"); !strings.HasPrefix(stdout, "There is no cluster \"issuer-sync\".\n") {
		t.Errorf("down.sh wrote %q; want that there is none", stdout)
	}
}

// expire signs a certificate anew, for no time.
func (m *machine) expire(t *testing.T, request, certificate string, by ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "openssl", append([]string{"x509", "-req", "-in", request, "-out", certificate, "-days", "0"}, by...)...)
	cmd.Dir = m.work
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// wantInOrder wants these calls among others; * stands for some words.
func wantInOrder(t *testing.T, calls []string, want ...string) {
	t.Helper()
	rest := calls
	for _, one := range want {
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(one), `\*`, ".+") + "$")
		i := slices.IndexFunc(rest, pattern.MatchString)
		if i < 0 {
			t.Fatalf("%q is not among what follows in:\n%s", one, strings.Join(calls, "\n"))
		}
		rest = rest[i+1:]
	}
}

// wantStandIn wants what is left in the API server to fit together.
func wantStandIn(t *testing.T, kube *servers.Kube) {
	t.Helper()
	client := kube.Client()
	for _, namespace := range []string{"issuer-sync", "entra-stand-in"} {
		secret, err := client.CoreV1().Secrets(namespace).Get(t.Context(), namespace+"-tls", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"tls.crt", "tls.key", "ca.crt"} {
			if len(secret.Data[key]) == 0 || secret.Type != "kubernetes.io/tls" {
				t.Errorf("Secret %s of type %s has no %s", secret.Name, secret.Type, key)
			}
		}
	}
	deployment, err := client.AppsV1().Deployments("entra-stand-in").Get(t.Context(), "entra-stand-in", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := deployment.Spec.Template.Spec.Containers[0].Image, "localhost/issuer-sync/issuer-sync:v1.2.3"; got != want {
		t.Errorf("the stand-in is %s; want %s", got, want)
	}
	job, err := client.BatchV1().Jobs("demo").Get(t.Context(), "sample", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if job.Spec.Template.Labels["azure.workload.identity/use"] != "true" {
		t.Errorf("the sample's labels are %v", job.Spec.Template.Labels)
	}
}

// wantCertificates has OpenSSL verify each for its name.
func wantCertificates(t *testing.T, work string) {
	t.Helper()
	for name, host := range map[string]string{
		"issuer-sync": "issuer-sync.issuer-sync.svc.cluster.local", "entra-stand-in": "entra-stand-in.entra-stand-in.svc.cluster.local",
	} {
		out, err := exec.CommandContext(t.Context(), "openssl", "verify", "-purpose", "sslserver", "-x509_strict", "-verify_hostname", host,
			"-CAfile", filepath.Join(work, "ca.crt"), filepath.Join(work, name+".crt")).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func content(t *testing.T, folder, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What a Job said, and why it did not complete, is shown.
func TestAJobThatFails(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "FAKE_JOB=Failed")
	m.startKube(t, issuer)
	stdout, stderr, code := m.run(t, "up.sh")
	if code != 1 || !strings.Contains(stdout, "what the pods of app.kubernetes.io/name=verify wrote") ||
		!strings.Contains(stderr, "up.sh: the Job verify in the namespace issuer-sync did not complete within 120 s") {
		t.Errorf("exit code %d, stderr %q; want 1, and what happened", code, stderr)
	}
	if strings.Contains(strings.Join(m.calls(t), "\n"), "app.kubernetes.io/name=sample") {
		t.Error("it went on")
	}
}
