package servers

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/test/authority"
	"github.com/issuer-sync/issuer-sync/test/process"
)

// DefaultIssuer is the issuer of a [Kube] that is given none.
const DefaultIssuer = "https://kubernetes.default.svc"

// KubeConfig describes a control plane. The zero value is one API server.
type KubeConfig struct {
	// Issuer is what servers without Issuers sign with; [DefaultIssuer] if empty.
	Issuer string
	// Servers are the API servers; one with all defaults if empty.
	Servers []ServerConfig
}

// ServerConfig describes one API server.
type ServerConfig struct {
	// Issuers are the values of --service-account-issuer: the first goes into
	// tokens, all are accepted. KubeConfig.Issuer if empty.
	Issuers []string
	// SigningKey signs service-account tokens: an *rsa.PrivateKey or
	// *ecdsa.PrivateKey. If nil, a key that all such servers of a Kube share.
	SigningKey crypto.Signer
	// PublicKeys are accepted and published besides the signing key's.
	PublicKeys []crypto.PublicKey
	// ExtraArgs are added to the command line; a later flag wins over ours.
	ExtraArgs []string
}

// Kube is a control plane: one etcd and its API servers, without
// controller-manager, scheduler and nodes. ServiceAccounts, tokens, RBAC and
// admission webhooks work; pods can be created and never run.
//
// Stopping and starting servers is for one goroutine at a time; all else may be
// used concurrently, also while servers stop and start.
type Kube struct {
	// All fields are immutable once the Kube is started.
	binary, dir string
	config      KubeConfig
	authority   *authority.Authority
	admin       authority.Identity
	etcd        *process.Process
	etcdPort    *port
	peerPort    *port
	servers     []*APIServer
	// routes maps published addresses to those listened on.
	routes map[string]string
}

// StartKube starts a control plane and returns when its API servers are ready,
// the namespace default and its ServiceAccount default exist, and the
// EndpointSlice kubernetes in it names all servers. It ends with the test; the
// ends of all logs are printed if the test failed.
func StartKube(t testing.TB, config KubeConfig) *Kube {
	t.Helper()
	k := &Kube{binary: RequireKube(t), dir: t.TempDir(), config: config, routes: map[string]string{}}
	t.Cleanup(func() { k.close(t) })
	if err := k.build(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := k.start(ctx); err != nil {
		t.Fatal(err)
	}
	return k
}

// build makes keys, certificates and ports, and starts nothing.
func (k *Kube) build() error {
	var err error
	if k.authority, err = authority.New(k.dir, "kube test authority"); err != nil {
		return err
	}
	if k.admin, err = k.authority.Client("test-admin", "system:masters"); err != nil {
		return err
	}
	if k.etcdPort, err = reservePort(); err != nil {
		return err
	}
	if k.peerPort, err = reservePort(); err != nil {
		return err
	}
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("making the control plane's signing key: %w", err)
	}
	configs := k.config.Servers
	if len(configs) == 0 {
		configs = []ServerConfig{{}}
	}
	for i, config := range configs {
		server, err := newAPIServer(k, i, signer)
		if err != nil {
			return err
		}
		k.servers = append(k.servers, server)
		server.configure(config)
	}
	return nil
}

func (k *Kube) start(ctx context.Context) error {
	if err := k.startEtcd(ctx); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, s := range k.servers {
		group.Go(func() error { return s.start(groupCtx) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return k.populate(ctx)
}

// startEtcd starts a member of its own cluster, without the fsync that makes a
// slow disk a slow test.
func (k *Kube) startEtcd(ctx context.Context) error {
	client, peer := "http://"+k.etcdPort.address(), "http://"+k.peerPort.address()
	var err error
	k.etcd, err = startProcess(ctx, command{name: "etcd", dir: k.dir, log: k.etcdLog(), args: []string{
		k.binary, "etcd",
		"--name=test", "--data-dir=" + filepath.Join(k.dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=test=" + peer,
	}})
	if err != nil {
		return err
	}
	err = await(ctx, k.etcd.Done(), func(ctx context.Context) error { return etcdHealth(ctx, client) })
	if err != nil {
		return fmt.Errorf("starting etcd: %w", err)
	}
	return nil
}

// etcdHealth asks on a connection of its own, which is not kept.
func etcdHealth(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/health", http.NoBody)
	if err != nil {
		return err
	}
	request.Close = true
	response, err := (&http.Client{}).Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("status %d: %q", response.StatusCode, body)
	}
	return nil
}

// close ends everything, API servers first: they wait for a lost etcd.
func (k *Kube) close(t testing.TB) {
	t.Helper()
	for _, s := range k.servers {
		s.Stop()
		s.port.release()
		showLog(t, s.log())
	}
	k.etcd.Kill()
	for _, p := range []*port{k.etcdPort, k.peerPort} {
		if p != nil {
			p.release()
		}
	}
	showLog(t, k.etcdLog())
}

func (k *Kube) etcdLog() string { return filepath.Join(k.dir, "etcd.log") }

// Servers returns the API servers in the order of KubeConfig.Servers.
func (k *Kube) Servers() []*APIServer { return slices.Clone(k.servers) }

// Config returns a configuration of its own for an administrator of the first
// server.
func (k *Kube) Config() *rest.Config { return k.servers[0].Config() }

// Client returns an administrator's client of the first server.
func (k *Kube) Client() kubernetes.Interface { return k.servers[0].client }

// CAFile returns the path of the CA certificate, in PEM, that signed the
// servers' certificates.
func (k *Kube) CAFile() string { return k.authority.File }

// Dial connects to an address of the EndpointSlice kubernetes (or of a server's
// own jwks_uri) by way of the loopback address on which that server listens.
// Loopback addresses are dialled as they are; others are refused, so that no
// test leaves the machine. It fits rest.Config.Dial and http.Transport.DialContext.
func (k *Kube) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	target, ok := k.routes[address]
	if !ok {
		if host, _, err := net.SplitHostPort(address); err != nil || !net.ParseIP(host).IsLoopback() {
			return nil, fmt.Errorf("dialing %s %q: no API server of this test publishes this address", network, address)
		}
		target = address
	}
	return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, target)
}
