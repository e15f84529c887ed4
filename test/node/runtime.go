//go:build linux

package node

import (
	"context"
	_ "embed" // the configurations
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"text/template"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kube is a command of the Kubernetes servers, on the node. It does not end with
// the context: servers outlive the subtest that restarts them.
func (n *Node) kube(ctx context.Context, program string, args ...string) *exec.Cmd {
	return n.Command(context.WithoutCancel(ctx), n.parts.kube, append([]string{program}, args...)...)
}

// Kubectl is kubectl as an administrator, on the node.
func (n *Node) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	return n.Command(ctx, n.parts.kube, append([]string{"kubectl"}, args...)...)
}

// startRuntime starts all that runs pods and leads to them.
func (n *Node) startRuntime(ctx context.Context) error {
	if err := n.writeConfigurations(); err != nil {
		return err
	}
	containerd := n.Command(context.WithoutCancel(ctx), n.parts.runtime.Containerd(), "--config", n.path("containerd.toml"))
	containerd.Env = n.runtimePath(containerd.Env)
	started, err := n.serve("containerd", containerd)
	if err != nil {
		return err
	}
	err = await(ctx, "containerd", started.Done(), func(ctx context.Context) error { return run(n.ctr(ctx, "version")) })
	if err != nil {
		return err
	}
	if err := n.importPause(ctx); err != nil {
		return err
	}
	_, err = n.serve("kubelet", n.kube(ctx, "kubelet", "--config="+n.path("kubelet.yaml"), "--kubeconfig="+n.kubeconfig(kubeletUser),
		"--hostname-override="+Name, "--node-ip="+Address, "--v=2"))
	if err != nil {
		return err
	}
	_, err = n.serve("kube-proxy", n.kube(ctx, "kube-proxy", "--config="+n.path("kube-proxy.yaml")))
	return err
}

// runtimePath has containerd find its shim.
func (n *Node) runtimePath(env []string) []string {
	for i, variable := range env {
		if rest, is := strings.CutPrefix(variable, "PATH="); is {
			env[i] = "PATH=" + n.parts.runtime.Programs() + ":" + rest
		}
	}
	return env
}

// ctr is containerd's client, in the namespace of the kubelet's images.
func (n *Node) ctr(ctx context.Context, args ...string) *exec.Cmd {
	return n.Command(ctx, n.parts.runtime.Ctr(), append([]string{"--address", n.Socket(), "--namespace", "k8s.io"}, args...)...)
}

// Socket is the path of containerd's socket, for programs on the node.
func (n *Node) Socket() string { return n.state + "/containerd.sock" }

//go:embed configurations.tmpl
var configurations string

// writeConfigurations writes a file for each program.
func (n *Node) writeConfigurations() error {
	all, err := template.New("").Parse(configurations)
	if err != nil {
		return fmt.Errorf("reading the configurations of a node: %w", err)
	}
	values := map[string]string{
		"Dir": n.dir, "State": n.state, "Socket": n.Socket(), "Cgroup": n.cgroup, "Name": Name, "Address": Address, "DNS": dnsAddress,
		"Domain": clusterDomain, "Pods": podCIDR, "CA": n.authority.File, "Pause": pauseImage,
		"Runc": n.parts.runtime.Runc(), "CNI": n.parts.runtime.CNI(),
	}
	for _, name := range []string{"containerd.toml", "cni/10-bridge.conflist", "kubelet.yaml", "kube-proxy.yaml"} {
		if err := os.MkdirAll(n.path("cni"), 0o755); err != nil {
			return err
		}
		file, err := os.Create(n.path(name))
		if err != nil {
			return err
		}
		if err := errors.Join(all.ExecuteTemplate(file, name, values), file.Close()); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

// awaitReady waits until the kubelet has reported the node as ready, and pods can
// have a token.
func (n *Node) awaitReady(ctx context.Context) error {
	err := await(ctx, "the node to be ready", nil, func(ctx context.Context) error {
		node, err := n.client.CoreV1().Nodes().Get(ctx, Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type != corev1.NodeReady {
				continue
			}
			if condition.Status == corev1.ConditionTrue {
				return nil
			}
			return fmt.Errorf("%s: %s", condition.Reason, condition.Message)
		}
		return errors.New("the kubelet has not said whether it is")
	})
	if err != nil {
		return err
	}
	return await(ctx, "namespace default to be ready for pods", nil, func(ctx context.Context) error {
		_, account := n.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		_, ca := n.client.CoreV1().ConfigMaps("default").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return errors.Join(account, ca)
	})
}
