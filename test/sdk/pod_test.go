//go:build linux

package sdk_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/redirect/netnstest"
	"github.com/issuer-sync/issuer-sync/pkg/mutate"
	"github.com/issuer-sync/issuer-sync/test/program"
)

// pod is what a node would make of a pod that the webhook has seen: its
// containers are processes in a network and a tree of mounts of their own.
//
// The goroutine of the test is inside: what it starts runs in the pod, and what
// it writes to /run the pod alone sees.
type pod struct {
	*issuer
	entra *entra.Server
	app   corev1.Container

	proxied bool
	log     program.Output // of the proxy
}

// caFile is where Debian's images, and others, have the CAs to trust.
const caFile = "/etc/ssl/certs/ca-certificates.crt"

// options say what pod it is. The zero options are those of a pod without a
// proxy, whose access tokens live for an hour.
type options struct {
	proxy    mutate.ProxyMode
	lifetime time.Duration
}

// newPod moves the test into a new pod, with its proxy ready if it has one.
func newPod(t *testing.T, o options) *pod {
	t.Helper()
	proxy := program.Build(t, "cmd/proxy") // outside, where the go command has all it needs
	p := &pod{issuer: newIssuer(t), proxied: o.proxy != ""}
	netnstest.Enter(t)
	for _, line := range []string{
		"link add eth0 type veth peer name node",
		"address add 10.0.0.2/24 dev eth0",
		"link set eth0 up",
		"link set node up",
		"route add default via 10.0.0.1",
	} {
		netnstest.IP(t, line)
	}
	p.entra = newEntra(t, p.issuer, o.lifetime)
	spec := o.mutated(t, p.entra.URL()+"/")
	p.app = spec.Containers[0]
	mountFiles(t, proxy, p.entra.CA(), p.app)
	p.project(t, p.tokenByHand(t, 1))
	for _, container := range spec.InitContainers {
		p.startInit(t, container)
	}
	return p
}

// mutated is the pod as the webhook has changed it.
func (o options) mutated(t *testing.T, authority string) corev1.PodSpec {
	t.Helper()
	annotations := ""
	if o.proxy != "" {
		annotations = `, "annotations": {"azure.workload.identity/inject-proxy-sidecar": "true"}`
	}
	raw := fmt.Appendf(nil, `{"metadata": {"labels": {"azure.workload.identity/use": "true"}%s},
		"spec": {"serviceAccountName": "app", "containers": [{"name": "app", "image": "app"}]}}`, annotations)
	mutator, err := mutate.New(mutate.Options{
		TenantID: tenant, Proxy: mutate.Proxy{Image: "proxy", Mode: o.proxy},
		Cloud: mutate.Cloud{Name: "stand-in", AuthorityHost: authority, Audience: audience},
	})
	if err != nil {
		t.Fatal(err)
	}
	before, err := mutate.ParsePod(raw)
	if err != nil {
		t.Fatal(err)
	}
	result, err := mutator.Patch(before, mutate.Identity{
		Namespace: "default", Name: "app", Annotations: map[string]string{mutate.AnnotationClientID: client},
	})
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(result.Patch)
	if err == nil {
		raw, err = patch.Apply(raw)
	}
	var after corev1.Pod
	if err == nil {
		err = json.Unmarshal(raw, &after)
	}
	if err != nil {
		t.Fatalf("applying the webhook's patch %s: %v", result.Patch, err)
	}
	return after.Spec
}

// mountFiles gives the pod the files of its containers, so that no variable has
// to name another place: the CA, which an image has among others, the token's
// volume, and the proxy where its user may run it.
func mountFiles(t *testing.T, proxy string, ca []byte, app corev1.Container) {
	t.Helper()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("setting up the pod's files: %s: %v", what, err)
		}
	}
	must("unshare", unix.Unshare(unix.CLONE_NEWNS))
	must("making mounts private", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	for _, folder := range []string{"/run", "/etc/ssl/certs"} {
		must("mounting "+folder, unix.Mount("tmpfs", folder, "tmpfs", 0, "mode=0755"))
	}
	must("the CA", os.WriteFile(caFile, ca, 0o644))
	for _, mount := range app.VolumeMounts {
		must("the volume", os.MkdirAll(mount.MountPath, 0o755))
	}
	content, err := os.ReadFile(proxy)
	must("reading the proxy", err)
	must("the proxy", os.WriteFile("/run/proxy", content, 0o755))
}

// project puts a token into the pod, or in the place of the one before, as the
// kubelet does: by a folder that a link is moved to (Kubernetes
// pkg/volume/util/atomic_writer.go).
func (p *pod) project(t *testing.T, token string) {
	t.Helper()
	volume := mutate.TokenDirectory
	before, beforeErr := os.Readlink(volume + "/..data")
	folder, err := os.MkdirTemp(volume, "..made-by-hand-") //nolint:usetesting // where the kubelet makes it
	if err == nil {
		err = os.Chmod(folder, 0o755)
	}
	if err == nil {
		err = os.WriteFile(folder+"/azure-identity-token", []byte(token), 0o644)
	}
	if err == nil {
		err = os.Symlink(filepath.Base(folder), volume+"/..data_tmp")
	}
	if err == nil {
		err = os.Rename(volume+"/..data_tmp", volume+"/..data")
	}
	switch {
	case err != nil:
	case beforeErr == nil:
		err = os.RemoveAll(filepath.Join(volume, before))
	default:
		err = os.Symlink("..data/azure-identity-token", volume+"/azure-identity-token")
	}
	if err != nil {
		t.Fatalf("projecting a token: %v", err)
	}
}

// startInit runs an init container to its end, or until it is ready if it is a
// sidecar, which then ends with the test.
func (p *pod) startInit(t *testing.T, container corev1.Container) {
	t.Helper()
	run := newProcess(t, container, slices.Concat(container.Command, container.Args))
	if container.RestartPolicy == nil {
		if out, err := run.CombinedOutput(); err != nil {
			t.Fatalf("container %s: %v\n%s", container.Name, err, out)
		}
		return
	}
	run.Stdout, run.Stderr = &p.log, &p.log
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		run.Process.Signal(syscall.SIGTERM) //nolint:errcheck // Wait says if it has ended before
		if err := run.Wait(); err != nil {
			t.Errorf("container %s: %v", container.Name, err)
		}
		if t.Failed() {
			t.Logf("container %s wrote:\n%s", container.Name, &p.log)
		}
	})
	if out, err := newProcess(t, container, container.StartupProbe.Exec.Command).CombinedOutput(); err != nil {
		t.Fatalf("container %s is not ready: %v\n%s", container.Name, err, out)
	}
}

// newProcess is a command of one of the proxy's containers, with no more rights
// than that has.
func newProcess(t *testing.T, container corev1.Container, line []string) *exec.Cmd {
	t.Helper()
	security := container.SecurityContext
	keep := "-all"
	for _, capability := range security.Capabilities.Add {
		keep += ",+" + strings.ToLower(string(capability))
	}
	id := fmt.Sprint(*security.RunAsUser)
	// The kernel drops the signal with the user (prctl(2), PR_SET_PDEATHSIG).
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "setpriv", append([]string{
		"--pdeathsig=keep", "--reuid=" + id, "--regid=" + id, "--clear-groups", "--no-new-privs",
		"--bounding-set=" + keep, "--inh-caps=-all", "--ambient-caps=-all", "/run" + line[0],
	}, line[1:]...)...)
	cmd.Env = environment(container)
	// The thread that starts it is the test's own, and ends with the test.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func environment(container corev1.Container) []string {
	variables := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} // as images set it
	for _, variable := range container.Env {
		variables = append(variables, variable.Name+"="+variable.Value)
	}
	return variables
}

func rootsOf(server *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return pool
}

// eventually waits for another process to bring something about.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("waited %s for %s", patience, what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
