//go:build linux

package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/issuer-sync/issuer-sync/test/authority"
)

// Users of the API server, by the names of their files.
const (
	adminUser      = "admin"
	controllerUser = "kube-controller-manager"
	schedulerUser  = "kube-scheduler"
	proxyUser      = "kube-proxy"
	kubeletUser    = "kubelet"
)

// writeCertificates makes what a cluster by kubeadm has below /etc/kubernetes.
func (n *Node) writeCertificates() error {
	var err error
	if n.authority, err = authority.New(n.dir, "authority of a test's cluster"); err != nil {
		return err
	}
	serving, err := n.authority.Server("kubernetes", "kubernetes.default", "kubernetes.default.svc", Address, apiService)
	if err != nil {
		return err
	}
	toKubelets, err := n.authority.Client("kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return err
	}
	return errors.Join(
		serving.Write(n.dir, "apiserver"), toKubelets.Write(n.dir, "apiserver-kubelet-client"),
		n.writeUser(adminUser, "test-admin", "system:masters"),
		// All its controllers use this: no tokens of ServiceAccounts, which a test
		// that rotates the key would end.
		n.writeUser(controllerUser, "system:kube-controller-manager", "system:masters"),
		n.writeUser(schedulerUser, "system:kube-scheduler", "system"),
		n.writeUser(proxyUser, "system:kube-proxy", "system"),
		n.writeUser(kubeletUser, "system:node:"+Name, "system:nodes", Name, Address),
	)
}

// writeUser makes a certificate and a kubeconfig with it.
func (n *Node) writeUser(file, user, group string, names ...string) error {
	id, err := n.authority.Client(user, group, names...)
	if err != nil {
		return err
	}
	if err := id.Write(n.dir, file); err != nil {
		return err
	}
	config := api.NewConfig()
	config.Clusters["test"] = &api.Cluster{Server: apiServer, CertificateAuthority: n.authority.File}
	config.AuthInfos[file] = &api.AuthInfo{ClientCertificate: n.path(file + ".crt"), ClientKey: n.path(file + ".key")}
	config.Contexts["test"] = &api.Context{Cluster: "test", AuthInfo: file}
	config.CurrentContext = "test"
	if err := clientcmd.WriteToFile(*config, n.kubeconfig(file)); err != nil {
		return fmt.Errorf("writing the kubeconfig of %s: %w", user, err)
	}
	return nil
}

// Kubeconfig is the path of an administrator's kubeconfig, for programs on the node.
func (n *Node) Kubeconfig() string { return n.kubeconfig(adminUser) }

func (n *Node) kubeconfig(user string) string { return n.path(user + ".kubeconfig") }

func (n *Node) path(name string) string { return filepath.Join(n.dir, name) }

// connect makes the administrator's client, which connects from the node's network.
func (n *Node) connect() error {
	ca, err := os.ReadFile(n.authority.File)
	if err != nil {
		return err
	}
	n.config = &rest.Config{
		Host: apiServer, Dial: n.Dial, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: ca, CertFile: n.path(adminUser + ".crt"), KeyFile: n.path(adminUser + ".key")},
	}
	n.client, err = kubernetes.NewForConfig(n.config)
	return err
}
