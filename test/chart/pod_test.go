package chart_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/test/program"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// process is a program that runs as a Deployment's pod would.
type process struct {
	cmd  *exec.Cmd
	log  program.Output
	done chan struct{} // closed when it has ended
}

// start runs the program of a Deployment with its arguments, variables and files,
// and a token of its ServiceAccount; further arguments are for addresses.
func (c *cluster) start(t *testing.T, deployment string, arguments ...string) *process {
	t.Helper()
	found, err := c.Client().AppsV1().Deployments(namespace).Get(t.Context(), deployment, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := found.Spec.Template.Spec
	container := pod.Containers[0]
	// A place that only this process sees: the paths are the same for all pods.
	wrapper := []string{"unshare", "--map-root-user", "--mount"}
	requireMounts(t, wrapper)
	const script = `set -e
while [ "$1" != -- ]; do mount -t tmpfs tmpfs "$1"; mkdir -p "$3"; cp "$2"/* "$3"; shift 3; done
shift; exec "$@"`
	command := append(wrapper, "sh", "-c", script, "sh")
	for _, mount := range container.VolumeMounts {
		over := filepath.Dir(mount.MountPath)
		if strings.HasPrefix(mount.MountPath, "/var/run/") {
			over = "/var/run"
		}
		command = append(command, over, c.fill(t, found.Spec.Template, mount.Name), mount.MountPath)
	}
	command = append(command, "--", program.Build(t, "cmd/"+strings.TrimPrefix(container.Name, "issuer-sync-")))
	command = slices.Concat(command, container.Args, arguments)

	p := &process{done: make(chan struct{})}
	p.cmd = exec.CommandContext(t.Context(), command[0], command[1:]...)
	p.cmd.Env = append(c.variables(t, found), "PATH="+os.Getenv("PATH"))
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // its exit code tells
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
		if t.Failed() {
			t.Logf("log of %s:\n%s", deployment, p.log.String())
		}
	})
	return p
}

// requireMounts ends the test where the process may have no mounts of its own.
func requireMounts(t *testing.T, wrapper []string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), wrapper[0], append(wrapper[1:], "true")...).CombinedOutput()
	switch text := "needs a mount namespace of its own, as root or where users may make them (sysctl user.max_mnt_namespaces)"; {
	case err == nil:
	case servers.InCI():
		t.Fatalf("%s: %v\n%s", text, err, out)
	default:
		t.Skipf("%s: %v\n%s", text, err, out)
	}
}

// variables are the environment of a Deployment's container, and where the API
// server is.
func (c *cluster) variables(t *testing.T, deployment *appsv1.Deployment) []string {
	t.Helper()
	server, err := url.Parse(c.Config().Host)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(server.Host)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"KUBERNETES_SERVICE_HOST=" + host, "KUBERNETES_SERVICE_PORT=" + port}
	container := deployment.Spec.Template.Spec.Containers[0]
	fields := map[string]string{"metadata.namespace": namespace, "metadata.name": deployment.Name + "-0", "metadata.uid": string(deployment.UID)}
	for _, variable := range container.Env {
		value := variable.Value
		if variable.ValueFrom != nil {
			value = fields[variable.ValueFrom.FieldRef.FieldPath]
		}
		all = append(all, variable.Name+"="+value)
	}
	return all
}

// fill writes what kubelet would into a volume, and returns the folder.
func (c *cluster) fill(t *testing.T, pod corev1.PodTemplateSpec, name string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	volume := pod.Spec.Volumes[slices.IndexFunc(pod.Spec.Volumes, func(volume corev1.Volume) bool { return volume.Name == name })]
	if volume.DownwardAPI != nil {
		for _, item := range volume.DownwardAPI.Items {
			_, key, _ := strings.Cut(item.FieldRef.FieldPath, "metadata.annotations['")
			write(item.Path, pod.Annotations[strings.TrimSuffix(key, "']")])
		}
		return dir
	}
	account := c.ServiceAccount(t, namespace, pod.Spec.ServiceAccountName)
	ca, err := os.ReadFile(account.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range volume.Projected.Sources {
		switch {
		case source.ServiceAccountToken != nil:
			write(source.ServiceAccountToken.Path, account.BearerToken)
		case source.ConfigMap != nil:
			write(source.ConfigMap.Items[0].Path, string(ca))
		default:
			write(source.DownwardAPI.Items[0].Path, namespace)
		}
	}
	return dir
}

func (c *cluster) configMap(t *testing.T, name string) *corev1.ConfigMap {
	t.Helper()
	found, err := c.Client().CoreV1().ConfigMaps(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// address waits until the log says where a server listens.
func (p *process) address(t *testing.T, server string) string {
	t.Helper()
	var address string
	eventually(t, "the "+server+" server to listen", func() bool {
		select {
		case <-p.done:
			t.Fatalf("the process ended: %s\n%s", p.cmd.ProcessState, p.log.String())
		default:
		}
		_, after, found := strings.Cut(p.log.String(), "server="+server+" address=")
		address, _, _ = strings.Cut(after, " ")
		return found && address != ""
	})
	return address
}

// awaitReady waits for /readyz of a server.
func (p *process) awaitReady(t *testing.T, server string) {
	t.Helper()
	at := "http://" + p.address(t, server) + "/readyz"
	var says error
	defer func() {
		if t.Failed() {
			t.Log(says)
		}
	}()
	eventually(t, "readiness", func() bool { _, says = get(at); return says == nil })
}

// get returns a page; an error unless its status is 200.
func get(url string) (string, error) {
	response, err := (&http.Client{Timeout: 5 * time.Second}).Get(url) //nolint:noctx // has a timeout
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return string(body), err
}

// stop ends the process in good order.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("it did not end within %s", patience)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with %d:\n%s", code, p.log.String())
	}
}
