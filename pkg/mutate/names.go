package mutate

// Label is what a pod must carry, with the value "true", to be given an
// identity. It is the webhook's objectSelector, too.
const Label = prefix + "use"

// prefix is of every label and annotation of Azure/azure-workload-identity.
const prefix = "azure.workload.identity/"

// Annotations of a ServiceAccount, as azure-workload-identity named them.
const (
	AnnotationClientID = prefix + "client-id" // a GUID
	AnnotationTenantID = prefix + "tenant-id" // a GUID or a domain name
)

// AnnotationTokenExpiration is read from the pod, and if it says nothing, from
// the ServiceAccount: whole seconds from 3600 to 86400.
const AnnotationTokenExpiration = prefix + "service-account-token-expiration"

// Annotations of a pod, as azure-workload-identity named them. A fourth is
// [TokenEndpoint.Annotation].
const (
	AnnotationSkipContainers = prefix + "skip-containers"      // names, separated by semicolons
	AnnotationInjectProxy    = prefix + "inject-proxy-sidecar" // anything but a spelling of false
	AnnotationProxyPort      = prefix + "proxy-sidecar-port"   // 1 to 65535
)

// endpointPrefix is of a pod's annotation for a custom token endpoint.
const endpointPrefix = prefix + "use-"

// Annotations of a pod that are this project's own: how requests reach the
// proxy, and quantities for the injected containers.
const (
	AnnotationProxyMode          = prefix + "proxy-mode" // a [ProxyMode]
	AnnotationProxyCPURequest    = prefix + "proxy-cpu-request"
	AnnotationProxyMemoryRequest = prefix + "proxy-memory-request"
	AnnotationProxyCPULimit      = prefix + "proxy-cpu-limit"
	AnnotationProxyMemoryLimit   = prefix + "proxy-memory-limit"
)

// annotationMirror marks the API server's image of a static pod (Kubernetes
// pkg/apis/core/annotation_key_constants.go, MirrorPodAnnotationKey).
const annotationMirror = "kubernetes.io/config.mirror"

// Variables that Azure's SDKs read.
const (
	envClientID           = "AZURE_CLIENT_ID"
	envTenantID           = "AZURE_TENANT_ID"
	envFederatedTokenFile = "AZURE_FEDERATED_TOKEN_FILE"
	envAuthorityHost      = "AZURE_AUTHORITY_HOST"

	// Where the SDKs that know it look for the metadata endpoint.
	envMetadataHost = "AZURE_POD_IDENTITY_AUTHORITY_HOST"

	// The custom token endpoint. SDKs refuse to start with both forms of the CA.
	envTokenProxy = "AZURE_KUBERNETES_TOKEN_PROXY"
	envSNIName    = "AZURE_KUBERNETES_SNI_NAME"
	envCAFile     = "AZURE_KUBERNETES_CA_FILE"
	envCAData     = "AZURE_KUBERNETES_CA_DATA"

	// What all of them begin with.
	envPrefix = "AZURE_"
)

// Variables that `proxy init` reads.
const (
	envProxyPort = "PROXY_PORT"
	envProxyUID  = "PROXY_UID"
)

// The token as a container sees it. User's configurations name this path: it
// never moves.
const (
	VolumeName     = "azure-identity-token"
	TokenDirectory = "/var/run/secrets/azure/tokens"
	tokenFile      = "azure-identity-token"
	caFile         = "ca.crt"

	// Where azure-workload-identity 1.6.0 has both; see [Options.SecondMount].
	secondDirectory      = "/var/run/secrets/azure/wi"
	secondTokenDirectory = secondDirectory + "/token"
	secondCADirectory    = secondDirectory + "/ca-cert"

	// What all these paths are below.
	azureDirectory = "/var/run/secrets/azure"
)

// The injected containers.
const (
	ProxyContainer     = "azwi-proxy"
	ProxyInitContainer = "azwi-proxy-init"

	// ProxyUID is whom the proxy runs as. The redirect exempts this user, so the
	// proxy's own requests are not sent back to it.
	ProxyUID = 1501

	proxyBinary   = "/proxy"
	proxyPortFlag = "--proxy-port"
)
