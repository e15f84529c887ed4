package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/store/azureblob"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// config is all that users can configure. Defaults are in logSettings,
// serverSettings and seedDefaults.
type config struct {
	// Issuers are what is published, in the file only.
	Issuers []issuerConfig `mapstructure:"issuers"`
	// Serve is the process's own server for the documents of all issuers; off without an address.
	Serve serveConfig `mapstructure:"serve"`
	// Admin serves /healthz, /readyz, /metrics and the status page; off if the address is empty.
	Admin adminConfig `mapstructure:"admin"`
	// LeaderElection lets one replica write while all serve.
	LeaderElection leaderElectionConfig `mapstructure:"leaderElection"`
	Log            logConfig            `mapstructure:"log"`
}

type issuerConfig struct {
	// URL is the exact issuer, as --service-account-issuer of kube-apiserver says it.
	URL string `mapstructure:"url"`
	// Sources say where keys are read; at least one.
	Sources []sourceConfig `mapstructure:"sources"`
	// Stores say where documents are written; without any they live in memory and are only served.
	Stores []storeConfig `mapstructure:"stores"`
	// State is where the state is kept; in the first of Stores unless set.
	State *storeConfig `mapstructure:"state"`
	Keys  keysConfig   `mapstructure:"keys"`
	// Interval is the time between rounds.
	Interval time.Duration `mapstructure:"interval"`
	Verify   verifyConfig  `mapstructure:"verify"`
}

// sourceConfig has exactly one field set.
type sourceConfig struct {
	Cluster *clusterConfig `mapstructure:"cluster"`
	Files   *filesConfig   `mapstructure:"files"`
	JWKS    *jwksConfig    `mapstructure:"jwks"`
}

// clusterConfig names a cluster. Without a kubeconfig it is the one that the process runs in.
type clusterConfig struct {
	Kubeconfig string `mapstructure:"kubeconfig"`
	Context    string `mapstructure:"context"`
	// PerServer asks every API server, not only the configured address; true unless set.
	PerServer *bool `mapstructure:"perServer"`
	// ServiceAccount, as namespace/name, is whose tokens are asked for to see
	// which key signs; the process's own if empty.
	ServiceAccount string `mapstructure:"serviceAccount"`
}

type filesConfig struct {
	// Paths are PEM files, directories or globs.
	Paths []string `mapstructure:"paths"`
}

type jwksConfig struct {
	// URL is the https address of a JWK set or of a discovery document.
	URL string `mapstructure:"url"`
	// CAFile holds the PEM certificates to trust instead of the system's.
	CAFile string `mapstructure:"caFile"`
}

// storeConfig has exactly one field set.
type storeConfig struct {
	AzureBlob *azureBlobConfig `mapstructure:"azureBlob"`
	Directory *directoryConfig `mapstructure:"directory"`
	ConfigMap *configMapConfig `mapstructure:"configMap"`
}

type azureBlobConfig struct {
	// URL is the container, with an optional path below it.
	URL string `mapstructure:"url"`
	// Credential is default, workloadIdentity, connectionString, sas or sharedKey.
	Credential string `mapstructure:"credential"`
	// CredentialFile holds the connection string, SAS or account key. Without
	// it they come from AZURE_STORAGE_CONNECTION_STRING,
	// AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_KEY.
	CredentialFile string `mapstructure:"credentialFile"`
	// CAFile holds the PEM certificates to trust instead of the system's, for emulators.
	CAFile string `mapstructure:"caFile"`
}

type directoryConfig struct {
	Path string `mapstructure:"path"`
}

type configMapConfig struct {
	Namespace  string `mapstructure:"namespace"`
	Name       string `mapstructure:"name"`
	Kubeconfig string `mapstructure:"kubeconfig"`
	Context    string `mapstructure:"context"`
}

type keysConfig struct {
	// Retention is how long a key stays published after the API servers stopped showing it.
	Retention time.Duration `mapstructure:"retention"`
	// MinimumWait is how long a key must have been published before it should sign.
	MinimumWait time.Duration `mapstructure:"minimumWait"`
	// Max is how many keys are published at most.
	Max int `mapstructure:"max"`
}

type verifyConfig struct {
	// URL is where the documents are fetched instead of at the issuer.
	URL    string `mapstructure:"url"`
	CAFile string `mapstructure:"caFile"`
	// Disabled turns the outside view off.
	Disabled bool `mapstructure:"disabled"`
}

type serveConfig struct {
	Address string    `mapstructure:"address"`
	TLS     tlsConfig `mapstructure:"tls"`
	// MaxAge is the cache lifetime that the documents declare, in stores too.
	MaxAge time.Duration `mapstructure:"maxAge"`
	// Linger is how long the server goes on after SIGTERM, so that load balancers notice first.
	Linger time.Duration `mapstructure:"linger"`
}

type tlsConfig struct {
	CertFile string `mapstructure:"certFile"`
	KeyFile  string `mapstructure:"keyFile"`
}

// leaderElectionConfig says whether one replica is elected to write. Without,
// every replica does, which the stores' compare-and-swap keeps right.
type leaderElectionConfig struct {
	// Enabled is true, false or auto: true in a cluster.
	Enabled string `mapstructure:"enabled"`
	// Namespace and Name name the Lease. The namespace is the pod's unless set.
	Namespace string `mapstructure:"namespace"`
	Name      string `mapstructure:"name"`
	// Kubeconfig and Context say in which cluster it is; by default the one that the process runs in.
	Kubeconfig string `mapstructure:"kubeconfig"`
	Context    string `mapstructure:"context"`
}

type adminConfig struct {
	Address string `mapstructure:"address"`
}

type logConfig struct {
	Level  string `mapstructure:"level"`
	Format string `mapstructure:"format"`
}

// issuers returns all configured issuers.
func (c config) issuers() ([]oidc.Issuer, error) {
	var issuers []oidc.Issuer
	for _, c := range c.Issuers {
		issuer, err := oidc.ParseIssuer(c.URL)
		if err != nil {
			return nil, err
		}
		issuers = append(issuers, issuer)
	}
	return issuers, nil
}

// secret returns the content of CredentialFile, or of the environment variable
// that Azure's own tools read.
func (c azureBlobConfig) secret(lookup lookupFunc, variable string) (azureblob.Secret, error) {
	if c.CredentialFile == "" {
		value, _ := lookup(variable)
		if value == "" {
			return "", fmt.Errorf("credential %s needs credentialFile, or %s in the environment", c.Credential, variable)
		}
		return azureblob.Secret(value), nil
	}
	content, err := os.ReadFile(c.CredentialFile)
	if err != nil {
		return "", fmt.Errorf("reading credentialFile: %w", err)
	}
	return azureblob.Secret(strings.TrimSpace(string(content))), nil
}
