package webhook_test

import (
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

// testInCluster: a replica finds the API server as a pod does, by the variables
// and the volume that the Deployment's pod has.
func testInCluster(t *testing.T, i *installation) {
	// A place that only this process sees: the paths are the same for all pods.
	alone := []string{"unshare", "--map-root-user", "--mount"}
	if out, err := exec.CommandContext(t.Context(), alone[0], append(alone[1:], "true")...).CombinedOutput(); err != nil {
		if text := "needs a mount namespace of its own, as root or where users may make them (sysctl user.max_mnt_namespaces)"; servers.InCI() {
			t.Fatalf("%s: %v\n%s", text, err, out)
		} else {
			t.Skipf("%s: %v\n%s", text, err, out)
		}
	}
	volume, mounted := i.tokenVolume(t)
	config := i.ServiceAccount(t, ownNamespace, i.deployment.Spec.Template.Spec.ServiceAccountName)
	files := fill(t, volume, config.BearerToken, config.CAFile)
	server, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(server.Host)
	if err != nil {
		t.Fatal(err)
	}
	const script = `mount -t tmpfs tmpfs /var/run && mkdir -p "$1" && cp "$0"/* "$1" && shift && exec "$@"`
	r := i.run(t, process{
		wrapper:     append(alone, "sh", "-c", script, files, mounted),
		environment: []string{"KUBERNETES_SERVICE_HOST=" + host, "KUBERNETES_SERVICE_PORT=" + port},
	})
	r.awaitReady(t)
	r.terminate(t)
	if code := r.awaitEnd(t, endTime); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

// tokenVolume returns the volume of the Deployment's pod that has the token for
// the API server, and where it is mounted.
func (i *installation) tokenVolume(t *testing.T) (volume *corev1.ProjectedVolumeSource, mounted string) {
	t.Helper()
	pod := i.deployment.Spec.Template.Spec
	for _, mount := range pod.Containers[0].VolumeMounts {
		for _, volume := range pod.Volumes {
			if volume.Name == mount.Name && volume.Projected != nil {
				return volume.Projected, mount.MountPath
			}
		}
	}
	t.Fatal("the pod has no token for the API server")
	return nil, ""
}

// fill writes what kubelet would into such a volume, and returns the directory.
func fill(t *testing.T, volume *corev1.ProjectedVolumeSource, token, caFile string) string {
	t.Helper()
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, source := range volume.Sources {
		switch {
		case source.ServiceAccountToken != nil:
			write(source.ServiceAccountToken.Path, token)
		case source.ConfigMap != nil && source.ConfigMap.Name == "kube-root-ca.crt" && source.ConfigMap.Items[0].Key == "ca.crt":
			write(source.ConfigMap.Items[0].Path, string(ca))
		case source.DownwardAPI != nil && source.DownwardAPI.Items[0].FieldRef.FieldPath == "metadata.namespace":
			write(source.DownwardAPI.Items[0].Path, ownNamespace)
		default:
			t.Errorf("this test knows no such source: %v", source)
		}
	}
	return dir
}
