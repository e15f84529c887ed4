package main

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/issuer-sync/issuer-sync/internal/settings"
	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// configSetting names the configuration file, which need not be.
func configSetting() settings.Setting {
	return settings.Setting{Flag: "config", Env: "WEBHOOK_CONFIG", Default: "", Usage: "configuration file, YAML", EmptyUnset: true}
}

// podSettings decide about pods. Flags and variables that azure-workload-identity
// has keep its names; the other variables begin with WEBHOOK_.
func podSettings() []settings.Setting {
	proxyDefault := mutate.DefaultProxyResources()
	return emptyUnset([]settings.Setting{
		{Key: "tenantID", Flag: "tenant-id", Env: "AZURE_TENANT_ID", Default: "", Usage: "tenant of ServiceAccounts that name none: a GUID or a domain name; required"},
		{Key: "environment", Flag: "azure-environment", Env: "AZURE_ENVIRONMENT", Default: "AzurePublicCloud", Usage: "AzurePublicCloud, AzureUSGovernmentCloud or AzureChinaCloud"},
		{Key: "audience", Flag: "audience", Env: "WEBHOOK_AUDIENCE", Default: "", Usage: "audience of the tokens; that of the cloud if empty"},
		{Key: "secondMount", Flag: "second-token-mount", Env: "WEBHOOK_SECOND_TOKEN_MOUNT", Default: false, Usage: "mount tokens below /var/run/secrets/azure/wi too, as azure-workload-identity 1.6.0 did"},
		{Key: "proxy.image", Flag: "proxy-image", Env: "PROXY_IMAGE", Default: "", Usage: "image of the proxy; without it pods that ask for one are refused"},
		{Key: "proxy.initImage", Flag: "proxy-init-image", Env: "PROXY_INIT_IMAGE", Default: "", Usage: "image of the proxy's init container; that of the proxy if empty"},
		{Key: "proxy.mode", Flag: "proxy-mode", Env: "WEBHOOK_PROXY_MODE", Default: "redirect", Usage: "redirect: packets for the metadata endpoint go to the proxy, by an init container with NET_ADMIN; env: a variable, which some SDKs read"},
		{Key: "proxy.nativeSidecar", Flag: "native-sidecar", Env: "WEBHOOK_NATIVE_SIDECAR", Default: nativeAuto, Usage: "auto, always or never: inject the proxy as a native sidecar; auto does from Kubernetes 1.32 on, when every kubelet knows them"},
		{Key: "proxy.logLevel", Flag: "proxy-log-level", Env: "WEBHOOK_PROXY_LOG_LEVEL", Default: "info", Usage: "log level of injected proxies: debug, info, warn or error"},
		{Key: "proxy.cpuRequest", Flag: "proxy-cpu-request", Env: "WEBHOOK_PROXY_CPU_REQUEST", Default: proxyDefault.Requests.Cpu().String(), Usage: "CPU that each injected container asks for; empty: none"},
		{Key: "proxy.memoryRequest", Flag: "proxy-memory-request", Env: "WEBHOOK_PROXY_MEMORY_REQUEST", Default: proxyDefault.Requests.Memory().String(), Usage: "memory that each injected container asks for; empty: none"},
		{Key: "proxy.cpuLimit", Flag: "proxy-cpu-limit", Env: "WEBHOOK_PROXY_CPU_LIMIT", Default: proxyDefault.Limits.Cpu().String(), Usage: "CPU limit of each injected container; empty: none"},
		{Key: "proxy.memoryLimit", Flag: "proxy-memory-limit", Env: "WEBHOOK_PROXY_MEMORY_LIMIT", Default: proxyDefault.Limits.Memory().String(), Usage: "memory limit of each injected container; empty: none"},
		{Key: "tokenEndpoint.annotationSuffix", Flag: "custom-token-endpoint-annotation-suffix", Default: "", Usage: "pods with annotation azure.workload.identity/use-SUFFIX get tokens for a custom token endpoint"},
		{Key: "tokenEndpoint.audience", Flag: "custom-token-endpoint-audience", Default: "", Usage: "audience of the tokens for the custom token endpoint"},
		{Key: "tokenEndpoint.url", Flag: "custom-token-endpoint-url", Env: "AZURE_KUBERNETES_TOKEN_PROXY", Default: "", Usage: "https URL of the custom token endpoint"},
		{Key: "tokenEndpoint.serverName", Flag: "custom-token-endpoint-sni-name", Env: "AZURE_KUBERNETES_SNI_NAME", Default: "", Usage: "TLS server name of the custom token endpoint; its host if empty"},
		{Key: "tokenEndpoint.ca.data", Env: "AZURE_KUBERNETES_CA_DATA", Default: ""},
		{Key: "tokenEndpoint.ca.configMap", Env: "AZURE_KUBERNETES_CA_CONFIGMAP_NAME", Default: ""},
		{Key: "tokenEndpoint.ca.signer", Env: "AZURE_KUBERNETES_CA_CTB_SIGNER_NAME", Default: ""},
		{Key: "tokenEndpoint.ca.labelSelector", Env: "AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR", Default: ""},
	})
}

// serverSettings are those of the server alone.
func serverSettings() []settings.Setting {
	return emptyUnset([]settings.Setting{
		{Key: "serviceAccountWait", Flag: "service-account-wait", Env: "WEBHOOK_SERVICE_ACCOUNT_WAIT", Default: time.Duration(0), Usage: "how long to wait for a ServiceAccount that is not there yet, at most 5s"},
		{Key: "serve.address", Flag: "webhook-addr", Env: "WEBHOOK_ADDR", Default: ":9443", Usage: "host:port that API servers call"},
		{Key: "serve.tlsMinVersion", Flag: "tls-min-version", Env: "WEBHOOK_TLS_MIN_VERSION", Default: "1.3", Usage: "oldest TLS version: 1.2 or 1.3"},
		{Key: "serve.linger", Flag: "linger", Env: "WEBHOOK_LINGER", Default: 5 * time.Second, Usage: "how long to go on serving after SIGTERM"},
		{Key: "certificates.disableRotation", Flag: "disable-cert-rotation", Env: "WEBHOOK_DISABLE_CERT_ROTATION", Default: false, Usage: "serve the certificate in --webhook-cert-dir, instead of making one"},
		{Key: "certificates.directory", Flag: "webhook-cert-dir", Env: "WEBHOOK_CERT_DIR", Default: "/certs", Usage: "directory of tls.crt, tls.key and, for the check of oneself, ca.crt; read again when they change"},
		{Key: "certificates.secret", Flag: "cert-secret", Env: "WEBHOOK_CERT_SECRET", Default: "issuer-sync-webhook-cert", Usage: "name of the Secret that keeps the certificates made; it must exist"},
		{Key: "certificates.webhookConfiguration", Flag: "webhook-configuration", Env: "WEBHOOK_CONFIGURATION_NAME", Default: "issuer-sync-webhook", Usage: "name of the MutatingWebhookConfiguration whose caBundle is kept right"},
		{Key: "certificates.service", Flag: "service", Env: "WEBHOOK_SERVICE", Default: "issuer-sync-webhook", Usage: "name of the Service by which API servers call"},
		{Key: "certificates.lifetime", Flag: "cert-lifetime", Env: "WEBHOOK_CERT_LIFETIME", Default: 90 * 24 * time.Hour, Usage: "how long certificates made are valid; replaced after two thirds of it"},
		{Key: "namespace", Flag: "namespace", Env: "POD_NAMESPACE", Default: "", Usage: "namespace of the webhook; that of its pod if empty"},
		{Key: "health.address", Flag: "health-addr", Env: "WEBHOOK_HEALTH_ADDR", Default: ":9440", Usage: "host:port of /healthz and /readyz; empty: none"},
		{Key: "metrics.address", Flag: "metrics-addr", Env: "WEBHOOK_METRICS_ADDR", Default: ":8095", Usage: "host:port of /metrics; empty: none"},
		{Key: "cluster.kubeconfig", Flag: "kubeconfig", Env: "WEBHOOK_KUBECONFIG", Default: "", Usage: "kubeconfig file; the cluster that the webhook runs in if empty"},
		{Key: "cluster.context", Flag: "context", Env: "WEBHOOK_CONTEXT", Default: "", Usage: "context of the kubeconfig; its current one if empty"},
	})
}

func logSettings() []settings.Setting {
	return emptyUnset([]settings.Setting{
		{Key: "log.level", Flag: "log-level", Env: "WEBHOOK_LOG_LEVEL", Default: "info", Usage: "debug, info, warn or error"},
		{Key: "log.format", Flag: "log-format", Env: "WEBHOOK_LOG_FORMAT", Default: "text", Usage: "text or json"},
	})
}

// emptyUnset takes empty variables for none: charts write every variable there is.
func emptyUnset(all []settings.Setting) []settings.Setting {
	for i := range all {
		all[i].EmptyUnset = true
	}
	return all
}

// loadConfig reads file, environment and flags into one valid config. The error
// lists every mistake, one a line.
func loadConfig(flags *pflag.FlagSet, lookup settings.Lookup) (config, error) {
	var c config
	check, err := settings.Load(settings.Source{
		Settings: slices.Concat(podSettings(), serverSettings(), logSettings()),
		Flags:    flags, Lookup: lookup, File: configSetting(),
	}, &c)
	if err != nil {
		return config{}, err
	}
	c.Log.Level = levelName(c.Log.Level)
	err = c.podConfig.validate(check)
	c.validate(check)
	return c, errors.Join(check.Err(), err)
}

// loadPodConfig is loadConfig for commands that only decide about pods.
func loadPodConfig(flags *pflag.FlagSet, lookup settings.Lookup) (podConfig, error) {
	var c config // the file may have all of it
	check, err := settings.Load(settings.Source{Settings: podSettings(), Flags: flags, Lookup: lookup, File: configSetting()}, &c)
	if err != nil {
		return podConfig{}, err
	}
	err = c.podConfig.validate(check)
	return c.podConfig, errors.Join(check.Err(), err)
}

// levelName returns slog's name of a level, for those of azure-workload-identity
// that slog has not.
func levelName(level string) string {
	switch level = strings.ToLower(level); level {
	case "": // its default
		return "info"
	case "warning":
		return "warn"
	case "trace", "all":
		return "debug"
	default:
		return level
	}
}
