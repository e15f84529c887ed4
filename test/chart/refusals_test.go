package chart_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/helm"
)

// TestRefusals: a slip of the pen ends helm, and what is said names the value and
// what would be valid. Values are test data.
func TestRefusals(t *testing.T) {
	const (
		oneIssuer = "issuerSync: {issuers: [{url: https://x.test, sources: [{cluster: {}}], "
		prod      = "stores: [{configMap: {namespace: issuer-sync, name: prod}}]"
		endpoint  = "customTokenEndpoint: {annotationSuffix: x, audience: api://x, azureKubernetesTokenProxy: 'https://x.test', "
	)
	for name, c := range map[string]struct{ values, says string }{
		"nothing set":                        {"imageRepository: null", "azureTenantID is empty; want the tenant's GUID or one of its domain names, such as contoso.onmicrosoft.com (or webhook.enabled=false)"},
		"no tenant":                          {"azureTenantID: ''", "azureTenantID is empty; want the tenant's GUID"},
		"a tenant that is none":              {"azureTenantID: common", "at '/azureTenantID': 'common' does not match pattern"},
		"a padded tenant":                    {"azureTenantID: ' contoso.com'", "at '/azureTenantID'"},
		"a part that is nothing":             {"proxy: null", "missing property 'proxy'"},
		"a value that is nothing":            {"issuerSync: {serve: {tls: null}}", "at '/issuerSync/serve': missing property 'tls'"},
		"a misspelt value":                   {"azureTenantId: x", "additional properties 'azureTenantId' not allowed"},
		"a misspelt value further down":      {"podDisruptionBudget: {minAvailabel: 1}", "at '/podDisruptionBudget': additional properties 'minAvailabel' not allowed"},
		"no images":                          {"imageRepository: ''", "imageRepository is empty, and so is image.repository; want the registry and path of the images, such as registry.example/issuer-sync"},
		"an image for the webhook alone":     {"imageRepository: ''\nimage: {repository: registry.example/webhook}", "imageRepository is empty, and so is proxy.image.repository; want"},
		"no image for issuer-sync":           {"imageRepository: ''\nwebhook: {enabled: false}\n" + oneIssuer + "}]}", "imageRepository is empty, and so is issuerSync.image.repository; want"},
		"images without a registry":          {"imageRepository: issuer-sync", "at '/imageRepository': 'issuer-sync' does not match pattern"},
		"images by URL":                      {"imageRepository: https://registry.example/x", "at '/imageRepository'"},
		"a short digest":                     {"image: {digest: 'sha256:abc'}", "at '/image/digest': 'sha256:abc' does not match pattern"},
		"a cloud that is closed":             {"azureEnvironment: AzureGermanCloud", "at '/azureEnvironment': value must be one of 'AzurePublicCloud', 'AzureUSGovernmentCloud', 'AzureChinaCloud'"},
		"an audience with a quote":           {`audience: "api://a'b"`, "at '/audience'"},
		"a failure policy that is none":      {"failurePolicy: fail", "at '/failurePolicy': value must be one of 'Fail', 'Ignore'"},
		"a time that no API server waits":    {"timeoutSeconds: 31", "at '/timeoutSeconds': maximum: got 31, want 30"},
		"a time that is over at once":        {"timeoutSeconds: 0", "at '/timeoutSeconds': minimum: got 0, want 1"},
		"a time with its unit":               {"timeoutSeconds: 5s", "at '/timeoutSeconds': got string, want integer"},
		"a port that is none":                {"service: {targetPort: 65536}", "at '/service/targetPort': maximum: got 65,536, want 65,535"},
		"a metrics address without port":     {"metricsAddr: '9000'", "at '/metricsAddr'"},
		"a quantity with a space":            {"resources: {limits: {memory: 64 MB}}", "at '/resources/limits/memory'"},
		"a resource of proxies that is none": {"proxy: {resources: {limits: {disk: 1Gi}}}", "at '/proxy/resources/limits': additional properties 'disk' not allowed"},
		"a proxy mode that is none":          {"proxy: {mode: sidecar}", "at '/proxy/mode': value must be one of 'redirect', 'env'"},
		"both bounds of a budget":            {"podDisruptionBudget: {maxUnavailable: 1}", "podDisruptionBudget has both minAvailable and maxUnavailable; want one of them: set the other one to null"},
		"no bound of a budget":               {"podDisruptionBudget: {minAvailable: null}", "podDisruptionBudget has neither of minAvailable and maxUnavailable; want one of them"},
		"both bounds of issuer-sync's":       {oneIssuer + "}], podDisruptionBudget: {maxUnavailable: 1}}", "issuerSync.podDisruptionBudget has both"},
		"certificates by nobody":             {"certificates: {mode: acme}", "at '/certificates/mode': value must be one of 'self', 'certManager', 'secret'"},
		"a Secret without name":              {"certificates: {mode: secret}", "certificates.secretName is empty; with certificates.mode secret want the name of a Secret of type kubernetes.io/tls"},
		"a Secret that is not read":          {"certificates: {secretName: mine}", "certificates.secretName is set; with certificates.mode self"},
		"a CA that somebody else writes":     {"certificates: {caBundle: '-----BEGIN CERTIFICATE-----'}", "certificates.caBundle is set; with certificates.mode self it is written by others, so want it empty, or mode secret"},
		"a CA that is no PEM":                {"certificates: {caBundle: TUlJ}", "at '/certificates/caBundle'"},
		"half a custom token endpoint":       {"customTokenEndpoint: {audience: api://x}", "customTokenEndpoint is incomplete; want all of annotationSuffix, audience and azureKubernetesTokenProxy, or none"},
		"a policy on an old cluster":         {"assertInjection: {enabled: true}", "ValidatingAdmissionPolicies need 1.30 or newer"},
		"an issuer by http":                  {"issuerSync: {issuers: [{url: http://x.test, sources: [{cluster: {}}]}]}", "at '/issuerSync/issuers/0/url'"},
		"an issuer without sources":          {"issuerSync: {issuers: [{url: https://x.test}]}", "at '/issuerSync/issuers/0': missing property 'sources'"},
		"a misspelt field of an issuer":      {oneIssuer + "store: []}]}", "at '/issuerSync/issuers/0': additional properties 'store' not allowed"},
		"a source of two kinds":              {"issuerSync: {issuers: [{url: https://x.test, sources: [{cluster: {}, files: {paths: [/keys]}}]}]}", "at '/issuerSync/issuers/0/sources/0': maxProperties: got 2, want 1"},
		"a time without unit":                {oneIssuer + "interval: 30}]}", "at '/issuerSync/issuers/0/interval': got number, want string"},
		"a store by a taken name":            {oneIssuer + "stores: [{configMap: {namespace: issuer-sync, name: kube-root-ca.crt}}]}]}", `issuerSync.issuers: the configMap store "kube-root-ca.crt" has the name of another ConfigMap in this namespace; want a name of its own`},
		"a port of metrics that is none":     {"metricsAddr: ':99999'", "at '/metricsAddr'"},
		"a port of the webhook for health":   {"service: {targetPort: 9440}", `service.targetPort 9440 is in use: 9440 is for health, and metricsAddr is ":8095"; want another port`},
		"a port of the webhook for metrics":  {"service: {targetPort: 8095}", "service.targetPort 8095 is in use"},
		"a port of metrics for health":       {"metricsAddr: ':9440'", `metricsAddr ":9440" has the port for health, 9440; want another port`},
		"a custom token endpoint of two CAs": {endpoint + "azureKubernetesCaData: '-----BEGIN CERTIFICATE-----', azureKubernetesCAConfigMapName: ca}", "customTokenEndpoint has its CA more than once; want one of azureKubernetesCaData, azureKubernetesCAConfigMapName and azureKubernetesCACTBSignerName"},
		"bundles of no signer":               {endpoint + "azureKubernetesCACTBLabelSelector: a=b}", "customTokenEndpoint.azureKubernetesCACTBLabelSelector is set without azureKubernetesCACTBSignerName; want both"},
		"tokens for Azure at the endpoint":   {"audience: API://x\n" + endpoint + "}", `customTokenEndpoint.audience "api://x" is that of the tokens for Azure; want another one`},
		"labels of the selector":             {"podLabels: {app.kubernetes.io/name: mine}", "at '/podLabels/app.kubernetes.io~1name': false schema"},
		"labels of issuer-sync's selector":   {oneIssuer + "}], podLabels: {app.kubernetes.io/part-of: mine}}", "at '/issuerSync/podLabels/app.kubernetes.io~1part-of': false schema"},
		"an annotation that is in use":       {oneIssuer + "}], podAnnotations: {issuer-sync.yaml: mine}}", "at '/issuerSync/podAnnotations/issuer-sync.yaml': false schema"},
		"a policy that lets all out":         {"networkPolicy: {egressPorts: null}", "at '/networkPolicy': missing property 'egressPorts'"},
		"an issuer twice":                    {twoIssuers("https://x.test", "", "https://x.test", ""), "issuerSync.issuers[1].url is that of another issuer, https://x.test; want each issuer once"},
		"two issuers of one path":            {twoIssuers("https://x.test/a", "", "https://y.test/a/", ""), `issuerSync.issuers[1].url has the path "/a", as another issuer, and one server cannot tell them apart; want another path, or issuerSync.serve.enabled=false`},
		"two issuers in one ConfigMap":       {twoIssuers("https://x.test/a", prod, "https://x.test/b", prod), "issuerSync.issuers[1] has the configMap issuer-sync/prod, which is in use already; want each store once"},
		"a state among the documents":        {oneIssuer + prod + ", state: {configMap: {namespace: issuer-sync, name: prod}}}]}", "issuerSync.issuers[0] has the configMap issuer-sync/prod, which is in use already"},
		"documents that nobody reads":        {oneIssuer + "}], serve: {enabled: false}}", "issuerSync.issuers[0] has no stores, and issuerSync.serve.enabled is false, so nobody could read its documents; want one of them"},
		"an ingress to nothing":              {oneIssuer + prod + "}], serve: {enabled: false}, ingress: {enabled: true}}", "issuerSync.ingress.enabled is true, and issuerSync.serve.enabled false; an ingress needs the server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"--values", helm.Values(t, c.values)}
			if name == "a policy on an old cluster" {
				args = append(args, "--kube-version=1.29.0")
			}
			base := "imageRepository: registry.example/issuer-sync\nazureTenantID: contoso.onmicrosoft.com\n"
			if name == "nothing set" {
				base = ""
			}
			_, err := helm.Render(t, base, args...)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v\nwant %s", err, c.says)
			}
		})
	}
}

// twoIssuers are values with two of them, and what else each has.
func twoIssuers(url, more, otherURL, otherMore string) string {
	return fmt.Sprintf("issuerSync: {issuers: [{url: '%s', sources: [{cluster: {}}], %s}, {url: '%s', sources: [{cluster: {}}], %s}]}", url, more, otherURL, otherMore)
}
