//go:build linux

package node_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/test/image"
	"github.com/issuer-sync/issuer-sync/test/node"
	"github.com/issuer-sync/issuer-sync/test/program"
)

func TestMain(m *testing.M) { program.Main(m) }

const (
	patience = 2 * time.Minute
	// world is an address of the node's own, for who is not in the cluster.
	world = "10.77.0.20"
)

// TestPod has a pod reach what pods reach: the API server through its Service,
// by name, and a server outside of the cluster, by a name of the test's.
func TestPod(t *testing.T) {
	n := node.Start(t, node.Config{Issuers: []string{"https://oidc.example.test"}})
	serve(t, n)
	archive := filepath.Join(t.TempDir(), "ask.tar")
	if err := image.Pack(t.Context(), image.Spec{
		Archive: archive, Tag: "localhost/ask:1", Entrypoint: "/ask", User: "65532", Files: []string{program.Build(t, "test/node/ask") + "=/ask"},
	}); err != nil {
		t.Fatal(err)
	}
	n.Import(t, archive)
	pods := n.Client().CoreV1().Pods("default")
	_, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "ask"},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name: "ask", Image: "localhost/ask:1", Args: []string{"https://kubernetes.default.svc/version", "http://world.example.test/"},
				// Who the server is, the pod knows by the file that the kubelet puts there.
				Env: []corev1.EnvVar{{Name: "SSL_CERT_FILE", Value: "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"}},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Await(t, patience, "the pod to end", func(ctx context.Context) error {
		pod, err := pods.Get(ctx, "ask", metav1.GetOptions{})
		if err == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			err = fmt.Errorf("phase %s", pod.Status.Phase)
		}
		return err
	})
	printed, err := n.Kubectl(t.Context(), "logs", "ask").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	if got, want := string(printed), "https://kubernetes.default.svc/version 200 OK\nhttp://world.example.test/ 200 OK\n"; got != want {
		t.Errorf("the pod printed %q; want %q", got, want)
	}
}

// serve answers every request at the address of the world, until the test ends.
func serve(t *testing.T, n *node.Node) {
	t.Helper()
	listener, err := n.Listen(t.Context(), net.JoinHostPort(world, "80"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Minute}
	go server.Serve(listener) //nolint:errcheck // until it is closed
	t.Cleanup(func() { server.Close() })
	n.Resolve("world.example.test", world)
}

// TestNothingIsLeft looks for what a node must not leave behind, and that it was
// not to be seen outside while it was there.
func TestNothingIsLeft(t *testing.T) {
	before := traces(t)
	t.Run("a node", func(t *testing.T) {
		node.Start(t, node.Config{Issuers: []string{"https://oidc.example.test"}})
		during := traces(t)
		if during.mounts != before.mounts || during.links != before.links {
			t.Errorf("mounts and network devices of the machine: %+v; were %+v", during, before)
		}
		if during.groups == before.groups {
			t.Error("there is no cgroup for the pods, so that the end of this test proves nothing")
		}
	})
	if after := traces(t); after != before {
		t.Errorf("the machine has %+v; had %+v", after, before)
	}
}

// trace is what of a node can be seen on the machine.
type trace struct {
	mounts, groups int
	links          string
}

func traces(t *testing.T) trace {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	links, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	found := trace{mounts: strings.Count(string(mounts), "\n")}
	for _, link := range links {
		found.links += link.Name() + " "
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/issuer-sync-test-*", "/sys/fs/cgroup/issuer-sync-test-*"} {
		groups, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found.groups += len(groups)
	}
	return found
}
