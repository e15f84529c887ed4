package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/issuer-sync/issuer-sync/internal/cluster"
	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/source"
	"github.com/issuer-sync/issuer-sync/internal/store/azureblob"
	"github.com/issuer-sync/issuer-sync/internal/store/configmap"
	"github.com/issuer-sync/issuer-sync/internal/store/directory"
	"github.com/issuer-sync/issuer-sync/internal/store/memory"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// builder turns a valid configuration into publishers. It asks nobody yet; what
// it refuses are files that cannot be read, and the like.
type builder struct {
	config  config
	lookup  lookupFunc
	log     *slog.Logger
	metrics *publisher.Metrics
	serve   func(oidc.Documents)                    // nil: nothing is served
	report  func(publisher.Round)                   // nil: nobody listens
	leads   func() bool                             // nil: this process may write
	event   func(reason, note string, warning bool) // nil: nobody is told
	// acceptShrink are the IDs of keys that may leave although many do.
	acceptShrink []string
}

// publishers returns one publisher for each configured issuer. The error lists
// everything that could not be built.
func (b builder) publishers() ([]*publisher.Publisher, error) {
	var publishers []*publisher.Publisher
	var faults []error
	issuers, err := b.config.issuers()
	if err != nil {
		return nil, err
	}
	for i, issuer := range b.config.Issuers {
		built, err := b.publisher(issuer, issuers)
		if err != nil {
			faults = append(faults, fmt.Errorf("issuers[%d]: %w", i, err))
		}
		publishers = append(publishers, built)
	}
	return publishers, errors.Join(faults...)
}

func (b builder) publisher(c issuerConfig, issuers []oidc.Issuer) (*publisher.Publisher, error) {
	issuer, err := oidc.ParseIssuer(c.URL)
	if err != nil {
		return nil, err
	}
	config := publisher.Config{
		Issuer: issuer, Issuers: issuers,
		MaxAge: b.config.Serve.MaxAge,
		Policy: keys.Policy{
			MinimumWait: c.Keys.MinimumWait, Retention: c.Keys.Retention, Max: c.Keys.Max, AcceptShrink: b.acceptShrink,
		},
		Interval: c.Interval,
		Cautions: b.cautions(c),
		Serve:    b.serve,
		Report:   b.report,
		Leads:    b.leads,
		Event:    b.event,
		Metrics:  b.metrics,
		Log:      b.log,
	}
	var faults []error
	for i, s := range c.Sources {
		built, err := b.source(s)
		if err != nil {
			faults = append(faults, fmt.Errorf("sources[%d]: %w", i, err))
		}
		config.Sources = append(config.Sources, built)
	}
	for i, s := range c.Stores {
		built, err := b.store(s)
		if err != nil {
			faults = append(faults, fmt.Errorf("stores[%d]: %w", i, err))
		}
		config.Stores = append(config.Stores, built)
	}
	if c.State != nil {
		built, err := b.store(*c.State)
		if err != nil {
			faults = append(faults, fmt.Errorf("state: %w", err))
		}
		config.State = built.Store
	}
	if len(c.Stores) == 0 {
		b.log.Warn("kept documents in memory only: name a store, so that a restart serves the same", "issuer", c.URL)
		config.Stores = []publisher.Store{{Name: "memory", Store: memory.New()}}
	}
	if config.Outside, err = outside(issuer, c.Verify); err != nil {
		faults = append(faults, fmt.Errorf("verify: %w", err))
	}
	return publisher.New(config), errors.Join(faults...)
}

func (b builder) source(c sourceConfig) (publisher.Source, error) {
	switch {
	case c.Cluster != nil:
		return cluster.New(c.Cluster.build(b.log))
	case c.Files != nil:
		return source.NewFiles(c.Files.Paths, b.log)
	default:
		return source.NewJWKS(source.JWKSConfig{URL: c.JWKS.URL, CAFile: c.JWKS.CAFile})
	}
}

// build returns what internal/cluster is told.
func (c clusterConfig) build(log *slog.Logger) cluster.Config {
	namespace, name, _ := strings.Cut(c.ServiceAccount, "/")
	return cluster.Config{
		Kubeconfig: c.Kubeconfig, Context: c.Context,
		PerServer:      c.PerServer == nil || *c.PerServer,
		ServiceAccount: types.NamespacedName{Namespace: namespace, Name: name},
		Log:            log,
	}
}

func (b builder) store(c storeConfig) (publisher.Store, error) {
	switch {
	case c.AzureBlob != nil:
		built, err := b.azureBlobStore(*c.AzureBlob)
		return publisher.Store{Name: "azureBlob " + c.AzureBlob.URL, Store: built}, err
	case c.Directory != nil:
		built, err := directory.New(c.Directory.Path)
		return publisher.Store{Name: "directory " + c.Directory.Path, Store: built}, err
	default:
		reached, err := cluster.New(cluster.Config{Kubeconfig: c.ConfigMap.Kubeconfig, Context: c.ConfigMap.Context, Log: b.log})
		if err != nil {
			return publisher.Store{}, err
		}
		name := types.NamespacedName{Namespace: c.ConfigMap.Namespace, Name: c.ConfigMap.Name}
		return publisher.Store{Name: "configMap " + name.String(), Store: configmap.New(reached.Client(), name)}, nil
	}
}

func (b builder) azureBlobStore(c azureBlobConfig) (oidc.Store, error) {
	config := azureblob.Config{URL: c.URL, Credential: c.Credential}
	var err error
	switch c.Credential {
	case azureblob.CredentialConnectionString:
		config.ConnectionString, err = c.secret(b.lookup, "AZURE_STORAGE_CONNECTION_STRING")
	case azureblob.CredentialSAS:
		config.SAS, err = c.secret(b.lookup, "AZURE_STORAGE_SAS_TOKEN")
	case azureblob.CredentialSharedKey:
		config.AccountKey, err = c.secret(b.lookup, "AZURE_STORAGE_KEY")
	}
	if err != nil {
		return nil, err
	}
	if c.CAFile != "" {
		roots, err := readCAs(c.CAFile)
		if err != nil {
			return nil, err
		}
		config.HTTPClient = clientTrusting(roots)
	}
	return azureblob.New(config)
}

// outside returns the look from outside, or nil if it is disabled.
func outside(issuer oidc.Issuer, c verifyConfig) (func(context.Context) oidc.Report, error) {
	if c.Disabled {
		return nil, nil
	}
	options := oidc.VerifyOptions{BaseURL: c.URL}
	if c.CAFile != "" {
		roots, err := readCAs(c.CAFile)
		if err != nil {
			return nil, err
		}
		options.Roots = roots
	}
	return func(ctx context.Context) oidc.Report { return oidc.Verify(ctx, issuer, options) }, nil
}

func readCAs(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading CA file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA file %q: no PEM certificate in it", file)
	}
	return roots, nil
}

// clientTrusting returns an HTTP client that trusts these CAs alone.
func clientTrusting(roots *x509.CertPool) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone() // it is one, by its documentation
	transport.TLSClientConfig.RootCAs = roots
	return &http.Client{Transport: transport}
}
