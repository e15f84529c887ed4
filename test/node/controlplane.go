//go:build linux

package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/authority"
)

const etcdURL = "http://127.0.0.1:2379"

func (n *Node) startControlPlane(ctx context.Context, config Config) error {
	if len(config.Issuers) == 0 {
		return errors.New("the cluster has no issuer")
	}
	if len(config.Keys) == 0 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return fmt.Errorf("making a signing key: %w", err)
		}
		config.Keys = []*rsa.PrivateKey{key}
	}
	_, err := n.serve("etcd", n.kube(ctx, "etcd", "--name=test", "--data-dir="+n.state+"/etcd", "--unsafe-no-fsync",
		"--listen-client-urls="+etcdURL, "--advertise-client-urls="+etcdURL,
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=test=http://127.0.0.1:2380"))
	if err != nil {
		return err
	}
	if err := n.startAPIServer(ctx, config); err != nil {
		return err
	}
	// Without client-side limits, with which namespaces are ready after seconds only.
	common := []string{"--bind-address=127.0.0.1", "--leader-elect=false", "--kube-api-qps=1000", "--kube-api-burst=2000"}
	if _, err := n.serve(controllerUser, n.kube(ctx, controllerUser, append(common, "--kubeconfig="+n.kubeconfig(controllerUser),
		"--root-ca-file="+n.authority.File,
		"--flex-volume-plugin-dir="+n.state+"/plugins")...)); err != nil {
		return err
	}
	_, err = n.serve(schedulerUser, n.kube(ctx, schedulerUser, append(common, "--kubeconfig="+n.kubeconfig(schedulerUser))...))
	return err
}

// RestartAPIServer kills the API server and starts it as config says, as after a
// change of its manifest on a control plane node. It returns when it is ready.
func (n *Node) RestartAPIServer(t testing.TB, config Config) {
	t.Helper()
	if err := killChild(n.apiServer); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := n.startAPIServer(ctx, config); err != nil {
		t.Fatalf("restarting the API server: %v", err)
	}
}

func (n *Node) startAPIServer(ctx context.Context, config Config) error {
	if err := n.writeKeys(config.Keys); err != nil {
		return err
	}
	args := []string{
		"--etcd-servers=" + etcdURL, "--bind-address=0.0.0.0", "--secure-port=6443", "--advertise-address=" + Address,
		"--tls-cert-file=" + n.path("apiserver.crt"), "--tls-private-key-file=" + n.path("apiserver.key"),
		"--client-ca-file=" + n.authority.File, "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--kubelet-client-certificate=" + n.path("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + n.path("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority=" + n.authority.File, "--kubelet-preferred-address-types=InternalIP",
		"--service-cluster-ip-range=" + serviceCIDR, "--allow-privileged=true", "--profiling=false",
		"--service-account-signing-key-file=" + n.path("sa.key"), "--service-account-key-file=" + n.path("sa.pub"),
		"--api-audiences=" + config.Issuers[0],
	}
	for _, issuer := range config.Issuers {
		args = append(args, "--service-account-issuer="+issuer)
	}
	var err error
	if n.apiServer, err = n.serve("kube-apiserver", n.kube(ctx, "kube-apiserver", args...)); err != nil {
		return err
	}
	return await(ctx, "the API server to be ready", n.apiServer.Done(), func(ctx context.Context) error {
		return n.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// writeKeys writes the first private key, and all public ones.
func (n *Node) writeKeys(keys []*rsa.PrivateKey) error {
	private, err := authority.PrivatePEM(keys[0])
	if err != nil {
		return err
	}
	var public bytes.Buffer
	for _, key := range keys {
		block, err := authority.PublicPEM(key.Public())
		if err != nil {
			return err
		}
		public.Write(block)
	}
	return errors.Join(os.WriteFile(n.path("sa.key"), private, 0o600), os.WriteFile(n.path("sa.pub"), public.Bytes(), 0o600))
}
