// Package servingcert makes the certificates that a webhook serves, keeps them
// in a Secret that all replicas share, and keeps the caBundle of its
// MutatingWebhookConfiguration such that API servers trust them.
//
// At two thirds of its life a certificate is replaced, and no call fails for
// it: the CA of the next one is written to the caBundle and has been there for
// some minutes before any replica serves the next one; the old CA stays there
// until it expires, for replicas that hear of it late.
//
// Both objects must exist: RBAC cannot name an object that is to be created.
// The verbs get and patch on these two, by name, are all the rights it needs.
// Replicas agree by the Secret's resourceVersion, and need no leader.
// docs/decisions has the page on why it is not a library.
package servingcert

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

const (
	// defaultLifetime leaves 30 days to put right what prevents a rotation, and
	// has one six times a year, so that it is nothing unusual.
	defaultLifetime = 90 * 24 * time.Hour
	// minLifetime leaves a few seconds for each part of a rotation. Certificates
	// count in seconds.
	minLifetime = 30 * time.Second
	// lookInterval is the longest time between two looks. It bounds for how long a
	// caBundle that somebody else wrote stays, and how long replicas serve
	// different certificates. A look is two small reads.
	lookInterval = 10 * time.Second
	// firstInterval is that time while there is nothing to serve.
	firstInterval = time.Second
	// settleTime is how long a CA is in the caBundle before its certificate is
	// served. Each API server hears of a change by a watch, mostly within a second;
	// one that lost its connection to etcd notices that and reads again within
	// this time. There is no way to ask them all.
	settleTime = 5 * time.Minute
)

// Config says what to serve and where to keep it.
type Config struct {
	// Client reaches the API server, as [kube.NewClient] makes it: requests end by
	// themselves. Required.
	Client rest.Interface
	// Secret holds the certificates. It must exist, and be empty at first.
	// Required.
	Secret types.NamespacedName
	// WebhookConfiguration is the name of the MutatingWebhookConfiguration, each
	// of whose webhooks gets the caBundle. It must exist. Required.
	WebhookConfiguration string
	// DNSNames are those of the certificate, see [DNSNames]. Required.
	DNSNames []string
	// Lifetime is that of a certificate, at least 30 s. 0: 90 days.
	Lifetime time.Duration
	// Log receives each change, and what prevents one when it begins and when it
	// is over. Required.
	Log *slog.Logger
}

// Certificate is what a webhook serves. All methods are safe for concurrent use.
type Certificate struct {
	config Config // immutable
	served atomic.Pointer[generation]

	mu      sync.Mutex // guards what follows
	problem error      // of the last look; nil: none

	// What follows is Run's alone.
	trusted string    // the CA of the next certificate, in DER, if the caBundle has it
	since   time.Time // when it was first seen there
}

// New refuses a configuration that cannot work. It asks nobody yet.
func New(config Config) (*Certificate, error) {
	config.Lifetime = cmp.Or(config.Lifetime, defaultLifetime)
	if err := validate(config); err != nil {
		return nil, err
	}
	config.DNSNames = union(config.DNSNames, nil)
	return &Certificate{config: config}, nil
}

// validate returns all faults.
func validate(config Config) error {
	var faults []error
	if config.Lifetime < minLifetime {
		faults = append(faults, fmt.Errorf("lifetime %v of certificates: want at least %v", config.Lifetime, minLifetime))
	}
	if config.Secret.Namespace == "" || config.Secret.Name == "" {
		faults = append(faults, fmt.Errorf("secret %q: want both a namespace and a name", config.Secret))
	}
	if config.WebhookConfiguration == "" {
		faults = append(faults, errors.New("name of the MutatingWebhookConfiguration: it is missing"))
	}
	if len(config.DNSNames) == 0 || slices.Contains(config.DNSNames, "") {
		faults = append(faults, fmt.Errorf("DNS names %q of the certificate: want at least one, and none empty", config.DNSNames))
	}
	return errors.Join(faults...)
}

// DNSNames returns the names of a Service: that by which API servers call a
// webhook (Kubernetes apiserver, pkg/util/webhook/client.go), and the full one
// in the cluster's domain, unless that is empty.
func DNSNames(service types.NamespacedName, clusterDomain string) []string {
	name := service.Name + "." + service.Namespace + ".svc"
	if clusterDomain == "" {
		return []string{name}
	}
	return []string{name, name + "." + clusterDomain}
}

// GetCertificate is for tls.Config. It returns the newest certificate that API
// servers trust, and an error while there is none yet. It never waits.
func (c *Certificate) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	served := c.served.Load()
	if served == nil {
		return nil, errors.New("there is no certificate to serve yet")
	}
	return &served.pair, nil
}

// Roots returns the CA of the certificate that is served, for a call to
// oneself; nil while there is none.
func (c *Certificate) Roots() *x509.CertPool {
	served := c.served.Load()
	if served == nil {
		return nil
	}
	roots := x509.NewCertPool()
	roots.AddCert(served.ca)
	return roots
}

// NotAfter returns when the certificate that is served ends; the zero time while
// there is none.
func (c *Certificate) NotAfter() time.Time {
	served := c.served.Load()
	if served == nil {
		return time.Time{}
	}
	return served.expiry()
}

// Problem returns what was wrong at the last look at the two objects; nil:
// nothing. The log has it too.
func (c *Certificate) Problem() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.problem
}

// Ready returns nil once there is a certificate whose CA has been in the
// caBundle, and until it expires. Trouble in between is logged and is no reason
// to take a replica out of service. Otherwise the error says what is in the way.
func (c *Certificate) Ready() error {
	served := c.served.Load()
	if served != nil && time.Now().Before(served.expiry()) {
		return nil
	}
	problem := c.Problem()
	switch {
	case served == nil && problem == nil:
		return errors.New("there is no certificate to serve yet")
	case served == nil:
		return fmt.Errorf("there is no certificate to serve yet: %w", problem)
	case problem == nil:
		return fmt.Errorf("the certificate expired at %s", served.expiry().Format(time.RFC3339))
	default:
		return fmt.Errorf("the certificate expired at %s: %w", served.expiry().Format(time.RFC3339), problem)
	}
}

// Run keeps both objects as they should be until ctx ends, then it returns nil.
// It is called once.
func (c *Certificate) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := c.round(ctx); ctx.Err() == nil {
			c.report(err)
		}
		c.pause(ctx)
	}
	return nil
}

// pause waits for the next look: up to a quarter less than the interval, so that
// replicas do not all look at once.
func (c *Certificate) pause(ctx context.Context) {
	interval := min(lookInterval, c.config.Lifetime/60)
	if c.served.Load() == nil {
		interval = min(interval, firstInterval)
	}
	timer := time.NewTimer(interval - mathrand.N(interval/4))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// settle is how long the CA of the next certificate must have been trusted.
func (c *Certificate) settle() time.Duration {
	return min(settleTime, c.config.Lifetime/12)
}

// report logs a problem when its kind changes, not at each look.
func (c *Certificate) report(err error) {
	c.mu.Lock()
	before := c.problem
	c.problem = err
	c.mu.Unlock()
	switch {
	case kind(err) == kind(before):
	case err == nil:
		c.config.Log.Info("problem is over", "subject", "serving certificate")
	default:
		c.config.Log.Warn("problem", "subject", "serving certificate", "err", err)
	}
}

// kind is the same for errors that are one problem, though their texts differ.
func kind(err error) string {
	if err == nil {
		return ""
	}
	if _, ok := errors.AsType[*url.Error](err); ok { // its text may have a port of ours
		return "no answer of an API server"
	}
	return err.Error()
}
