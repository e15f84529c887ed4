//go:build linux

package node

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/test/authority"
	"github.com/issuer-sync/issuer-sync/test/process"
)

// Addresses of the node. All of 10.77.0.0/24 is its own: servers that stand for
// others in the world listen on further addresses there, and pods reach them.
const (
	Address    = "10.77.0.1"
	dnsAddress = "10.77.0.53"
	// Name is the node's.
	Name = "node1"

	serviceCIDR = "10.78.0.0/16"
	apiService  = "10.78.0.1" // the first address of serviceCIDR
	podCIDR     = "10.79.0.0/24"
	apiServer   = "https://" + Address + ":6443"
)

// startTimeout bounds how long a node takes to be ready: seconds, if the machine
// has nothing else to do.
const startTimeout = 3 * time.Minute

// Config describes a cluster.
type Config struct {
	// Issuers are the values of --service-account-issuer: the first goes into
	// tokens, all are accepted. Required.
	Issuers []string
	// Keys sign tokens of ServiceAccounts: the first does, all are accepted and
	// published. One is made if there is none.
	Keys []*rsa.PrivateKey
}

// Node is a running cluster. Its methods may be called concurrently, but for
// RestartAPIServer.
type Node struct {
	// All fields but apiServer are immutable once the node is started.
	dir       string // certificates, configurations, logs; the node sees it as the machine does
	state     string // below dir: a file system that only the node sees
	parts     parts
	authority *authority.Authority
	init      *process.Process
	cgroup    string
	names     *names
	config    *rest.Config
	client    kubernetes.Interface

	apiServer *process.Process
}

// Start brings up a node and returns when it is ready and pods can be created in
// the namespace default. It ends with the test; the ends of all logs are printed
// if the test failed. Without root or a needed part the test is skipped, or
// fails if the variable CI is "true".
func Start(t testing.TB, config Config) *Node {
	t.Helper()
	n := &Node{parts: requireParts(t), dir: t.TempDir()}
	n.state = filepath.Join(n.dir, "state")
	if err := removeLeftGroups(); err != nil {
		t.Logf("removing what a killed test has left: %v", err)
	}
	n.cgroup = fmt.Sprintf("%s%d-%s", groupPrefix, os.Getpid(), filepath.Base(n.dir))
	t.Cleanup(func() { n.close(t) })
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := n.start(ctx, config); errors.Is(err, errUnable) {
		missing(t, err.Error())
	} else if err != nil {
		t.Fatalf("starting a node: %v", err)
	}
	return n
}

func (n *Node) start(ctx context.Context, config Config) error {
	if err := os.Mkdir(n.state, 0o755); err != nil {
		return err
	}
	if err := n.writeCertificates(); err != nil {
		return err
	}
	if err := n.startInit(ctx); err != nil {
		return err
	}
	if err := n.connect(); err != nil {
		return err
	}
	if err := n.startNames(ctx); err != nil {
		return err
	}
	if err := n.startControlPlane(ctx, config); err != nil {
		return err
	}
	if err := n.startRuntime(ctx); err != nil {
		return err
	}
	return n.awaitReady(ctx)
}

// Client asks the API server as an administrator, without a limit to its rate.
func (n *Node) Client() kubernetes.Interface { return n.client }

// Config returns a configuration of its own for such clients.
func (n *Node) Config() *rest.Config { return rest.CopyConfig(n.config) }

// Authority signs the certificates of the cluster. Pods do not trust it but
// where they are given its certificate.
func (n *Node) Authority() *authority.Authority { return n.authority }

// Resolve has a name that is not the cluster's own mean an address, from now on,
// for pods and for programs on the node.
func (n *Node) Resolve(name, address string) { n.names.set(name, address) }
