package main

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/issuer-sync/issuer-sync/internal/servingcert"
)

// config is all that users can configure. Defaults are in load.go.
type config struct {
	podConfig `mapstructure:",squash"`
	// ServiceAccountWait is how long a review waits for a ServiceAccount that is not there yet.
	ServiceAccountWait time.Duration     `mapstructure:"serviceAccountWait"`
	Serve              serveConfig       `mapstructure:"serve"`
	Certificates       certificateConfig `mapstructure:"certificates"`
	// Namespace is where the webhook runs; that of the pod unless set.
	Namespace string        `mapstructure:"namespace"`
	Health    addressConfig `mapstructure:"health"`
	Metrics   addressConfig `mapstructure:"metrics"`
	Cluster   clusterConfig `mapstructure:"cluster"`
	Log       logConfig     `mapstructure:"log"`
}

// podConfig is what decides about a pod.
type podConfig struct {
	// TenantID is a GUID or a domain name, for ServiceAccounts that name none. Required.
	TenantID string `mapstructure:"tenantID"`
	// Environment is one of Azure's clouds.
	Environment string `mapstructure:"environment"`
	// Audience of tokens; that of the cloud unless set.
	Audience string `mapstructure:"audience"`
	// SecondMount mounts tokens also where azure-workload-identity 1.6.0 did.
	SecondMount   bool           `mapstructure:"secondMount"`
	Proxy         proxyConfig    `mapstructure:"proxy"`
	TokenEndpoint endpointConfig `mapstructure:"tokenEndpoint"`
}

type proxyConfig struct {
	// Image is that of the sidecar, and of the init container unless InitImage is
	// set. Without it pods that ask for the proxy are refused.
	Image     string `mapstructure:"image"`
	InitImage string `mapstructure:"initImage"`
	// Mode is redirect or env.
	Mode string `mapstructure:"mode"`
	// NativeSidecar is always, never or auto: as the API server's version allows.
	NativeSidecar string `mapstructure:"nativeSidecar"`
	LogLevel      string `mapstructure:"logLevel"`
	// Quantities for each injected container; empty: none.
	CPURequest    string `mapstructure:"cpuRequest"`
	MemoryRequest string `mapstructure:"memoryRequest"`
	CPULimit      string `mapstructure:"cpuLimit"`
	MemoryLimit   string `mapstructure:"memoryLimit"`
}

// endpointConfig is the custom token endpoint; there is none without a suffix.
type endpointConfig struct {
	// AnnotationSuffix ends the annotation azure.workload.identity/use-... of pods that want it.
	AnnotationSuffix string           `mapstructure:"annotationSuffix"`
	Audience         string           `mapstructure:"audience"`
	URL              string           `mapstructure:"url"`
	ServerName       string           `mapstructure:"serverName"`
	CA               endpointCAConfig `mapstructure:"ca"`
}

// endpointCAConfig has at most one of Data, ConfigMap and Signer.
type endpointCAConfig struct {
	Data      string `mapstructure:"data"`
	ConfigMap string `mapstructure:"configMap"`
	// Signer and LabelSelector choose ClusterTrustBundles.
	Signer        string `mapstructure:"signer"`
	LabelSelector string `mapstructure:"labelSelector"`
}

type serveConfig struct {
	Address string `mapstructure:"address"`
	// TLSMinVersion is 1.2 or 1.3.
	TLSMinVersion string `mapstructure:"tlsMinVersion"`
	// Linger is how long the server goes on after SIGTERM, until no API server calls any more.
	Linger time.Duration `mapstructure:"linger"`
}

type certificateConfig struct {
	// DisableRotation has somebody else make the certificates, in Directory.
	DisableRotation bool `mapstructure:"disableRotation"`
	// Directory has tls.crt, tls.key and perhaps ca.crt.
	Directory string `mapstructure:"directory"`
	// Secret, WebhookConfiguration and Service are names of objects.
	Secret               string        `mapstructure:"secret"`
	WebhookConfiguration string        `mapstructure:"webhookConfiguration"`
	Service              string        `mapstructure:"service"`
	Lifetime             time.Duration `mapstructure:"lifetime"`
}

type addressConfig struct {
	Address string `mapstructure:"address"`
}

type clusterConfig struct {
	Kubeconfig string `mapstructure:"kubeconfig"`
	Context    string `mapstructure:"context"`
}

type logConfig struct {
	Level  string `mapstructure:"level"`
	Format string `mapstructure:"format"`
}

// dnsNames are what API servers call the webhook by.
func (c config) dnsNames() []string {
	return servingcert.DNSNames(types.NamespacedName{Namespace: c.Namespace, Name: c.Certificates.Service}, "")
}
