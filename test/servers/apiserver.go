package servers

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/test/authority"
	"github.com/issuer-sync/issuer-sync/test/process"
)

// publishedPort is the port of API servers in the EndpointSlice kubernetes, as
// on a kubeadm cluster.
const publishedPort = 6443

// publishedIP is the address that server number index publishes. It is test
// data: the API refuses loopback addresses in EndpointSlices (Kubernetes
// pkg/apis/discovery/validation), so the servers publish addresses on which
// nobody listens, and [Kube.Dial] leads to the real ones.
func publishedIP(index int) string { return fmt.Sprintf("10.77.0.%d", index+1) }

// APIServer is one kube-apiserver of a [Kube].
type APIServer struct {
	kube          *Kube
	index         int
	dir           string
	port          *port
	client        kubernetes.Interface
	defaultSigner crypto.Signer

	config  ServerConfig
	process *process.Process
}

func newAPIServer(k *Kube, index int, signer crypto.Signer) (*APIServer, error) {
	s := &APIServer{
		kube: k, index: index, defaultSigner: signer,
		dir: filepath.Join(k.dir, fmt.Sprintf("apiserver-%d", index)),
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of an API server: %w", err)
	}
	// The names that a kubeadm cluster's certificate carries, as far as clients rely on them.
	id, err := k.authority.Server("kubernetes", "kubernetes.default", "kubernetes.default.svc")
	if err != nil {
		return nil, err
	}
	if err := id.Write(s.dir, "serving"); err != nil {
		return nil, fmt.Errorf("writing the certificate of an API server: %w", err)
	}
	if s.port, err = reservePort(); err != nil {
		return nil, err
	}
	for _, published := range []int{publishedPort, s.port.number} {
		k.routes[fmt.Sprintf("%s:%d", publishedIP(index), published)] = s.port.address()
	}
	if s.client, err = kubernetes.NewForConfig(s.Config()); err != nil {
		return nil, fmt.Errorf("making a client of an API server: %w", err)
	}
	return s, nil
}

// configure sets what the next start uses.
func (s *APIServer) configure(config ServerConfig) {
	if len(config.Issuers) == 0 {
		config.Issuers = []string{s.kube.config.Issuer}
		if s.kube.config.Issuer == "" {
			config.Issuers = []string{DefaultIssuer}
		}
	}
	if config.SigningKey == nil {
		config.SigningKey = s.defaultSigner
	}
	s.config = config
}

// Address returns "127.0.0.1:PORT", the same for the server's whole life.
func (s *APIServer) Address() string { return s.port.address() }

// Config returns a configuration of its own for an administrator of this
// server (group system:masters), without client-side rate limit.
func (s *APIServer) Config() *rest.Config {
	return &rest.Config{
		Host: "https://" + s.Address(),
		TLSClientConfig: rest.TLSClientConfig{
			CAFile:   s.kube.authority.File,
			CertData: s.kube.admin.Certificate,
			KeyData:  s.kube.admin.Key,
		},
		QPS: -1,
	}
}

// Stop kills the server, as a crash would; its address then refuses
// connections. A stopped server stays stopped.
func (s *APIServer) Stop() {
	s.process.Kill()
	s.process = nil
}

// Start starts the stopped server again, as it was, and returns when it is
// ready.
func (s *APIServer) Start(t testing.TB) {
	t.Helper()
	if s.process != nil {
		t.Fatalf("starting the API server at %s: it was not stopped", s.Address())
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := s.start(ctx); err != nil {
		t.Fatal(err)
	}
}

// Restart stops the server and starts it with another configuration, in which
// fields left empty have the meaning they have for [StartKube].
func (s *APIServer) Restart(t testing.TB, config ServerConfig) {
	t.Helper()
	s.Stop()
	s.configure(config)
	s.Start(t)
}

func (s *APIServer) start(ctx context.Context) error {
	if err := s.writeKeys(); err != nil {
		return err
	}
	var err error
	s.process, err = startProcess(ctx, command{
		name: fmt.Sprintf("kube-apiserver %d", s.index), dir: s.dir, log: s.log(), args: s.args(),
	})
	if err != nil {
		return err
	}
	if err := await(ctx, s.process.Done(), s.ready); err != nil {
		return fmt.Errorf("starting kube-apiserver %d: %w", s.index, err)
	}
	return nil
}

func (s *APIServer) ready(ctx context.Context) error {
	return s.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

// writeKeys writes the signing key, and all public keys with its own first.
func (s *APIServer) writeKeys() error {
	private, err := authority.PrivatePEM(s.config.SigningKey)
	if err != nil {
		return fmt.Errorf("writing the signing key of API server %d: %w", s.index, err)
	}
	var public bytes.Buffer
	for _, key := range slices.Concat([]crypto.PublicKey{s.config.SigningKey.Public()}, s.config.PublicKeys) {
		block, err := authority.PublicPEM(key)
		if err != nil {
			return fmt.Errorf("writing the public keys of API server %d: %w", s.index, err)
		}
		public.Write(block)
	}
	return errors.Join(
		os.WriteFile(s.path("sa.key"), private, 0o600),
		os.WriteFile(s.path("sa.pub"), public.Bytes(), 0o600),
	)
}

func (s *APIServer) args() []string {
	args := []string{
		s.kube.binary, "kube-apiserver",
		"--etcd-servers=http://" + s.kube.etcdPort.address(),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", s.port.number),
		// Without it the server looks for a default route, which a machine without network has not.
		"--advertise-address=" + publishedIP(s.index),
		"--tls-cert-file=" + s.path("serving.crt"), "--tls-private-key-file=" + s.path("serving.key"),
		"--client-ca-file=" + s.kube.authority.File,
		"--authorization-mode=RBAC",
		// The servers' own reconciler would publish addresses with their real ports.
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.78.0.0/16",
		"--service-account-signing-key-file=" + s.path("sa.key"),
		"--service-account-key-file=" + s.path("sa.pub"),
		// It wants ServiceAccounts that a controller-manager makes.
		"--disable-admission-plugins=ServiceAccount",
	}
	for _, issuer := range s.config.Issuers {
		args = append(args, "--service-account-issuer="+issuer)
	}
	return append(args, s.config.ExtraArgs...)
}

func (s *APIServer) path(name string) string { return filepath.Join(s.dir, name) }

func (s *APIServer) log() string {
	return filepath.Join(s.kube.dir, fmt.Sprintf("kube-apiserver-%d.log", s.index))
}
