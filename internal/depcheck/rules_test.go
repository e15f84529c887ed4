package depcheck_test

import "slices"

const module = "github.com/issuer-sync/issuer-sync"

// A rule binds the packages that match one of its patterns. A pattern is a
// package path, relative to the module if a package of ours is meant, and
// covers the packages below it.
type rule struct {
	packages []string
	except   []string // packages that the rule leaves free
	// What the packages may link, directly or through others, beyond the
	// standard library and themselves; nil means anything.
	only []string
	// What the packages may not link, directly or through others.
	never []string
	// What the packages may not import themselves; others may do it for them.
	direct []string
	why    string
}

// rules is the table of the arrows between the parts. An edit here is a
// decision about the architecture.
func rules() []rule {
	var (
		nothing       = []string{}
		jose          = []string{"github.com/go-jose/go-jose/v4"}
		relyingParty  = []string{"github.com/coreos/go-oidc/v3", "golang.org/x/oauth2"} // go-oidc brings oauth2
		azureSDK      = []string{"github.com/Azure", "github.com/AzureAD"}
		otherSDKs     = []string{"github.com/aws", "cloud.google.com", "google.golang.org/api"}
		cloudSDKs     = slices.Concat(azureSDK, otherSDKs)
		kubernetes    = []string{"k8s.io", "sigs.k8s.io"}
		configuration = []string{"github.com/spf13/viper", "github.com/spf13/cobra"}
		testHelpers   = []string{"testing", "net/http/httptest", "test"} // whatever takes a *testing.T imports testing
	)
	return []rule{
		{
			packages: []string{"pkg"},
			never:    []string{"internal", "test"},
			why:      "public packages stand on their own",
		},
		{
			packages: []string{"pkg", "internal", "test"},
			never:    []string{"cmd"},
			why:      "a command is an end point",
		},
		{
			packages: []string{"pkg/keys"},
			only:     jose,
			why:      "what may be published is decided without a server, a cluster or a cloud",
		},
		{
			packages: []string{"pkg/oidc"},
			only:     slices.Concat(jose, relyingParty, []string{"pkg/keys", "github.com/gorilla/mux"}),
			why:      "the issuer's public face knows no cluster and no cloud",
		},
		{
			packages: []string{"pkg/mutate"},
			only:     slices.Concat([]string{"k8s.io/api", "k8s.io/apimachinery"}, broughtByAPIMachinery()),
			why:      "mutate is pure: Pod in, patch out",
		},
		{
			packages: []string{"pkg/exchange"},
			only:     nothing,
			why:      "it runs beside every workload: the standard library is enough",
		},
		{
			packages: []string{"cmd/proxy"},
			never:    slices.Concat(kubernetes, cloudSDKs, configuration, []string{"pkg/mutate", "internal/entra"}),
			why:      "the sidecar is small and takes flags and environment alone",
		},
		{
			packages: []string{"cmd/webhook"},
			never:    slices.Concat(cloudSDKs, []string{"pkg/oidc", "pkg/exchange", "internal/entra"}),
			why:      "the webhook talks to the API server alone",
		},
		{
			packages: []string{"internal/admission", "internal/accounts"},
			never:    slices.Concat(cloudSDKs, []string{"pkg/oidc", "pkg/keys", "pkg/exchange"}),
			why:      "who gets an identity is decided without keys, documents and tokens",
		},
		{
			packages: []string{"internal/admission"},
			never:    []string{"k8s.io/client-go"},
			why:      "a review is answered without knowing how ServiceAccounts are looked up",
		},
		{
			packages: []string{"internal/kube"},
			never:    slices.Concat(cloudSDKs, []string{"pkg", "internal"}),
			why:      "the way to an API server is the same whatever is asked there",
		},
		{
			packages: []string{"internal/settings"},
			never:    []string{"k8s.io/client-go", "pkg", "internal"},
			why:      "how settings are read is the same whatever they mean",
		},
		{
			packages: []string{"internal/selfcert"},
			only:     nothing,
			why:      "a certificate is made of the standard library",
		},
		{
			packages: []string{"internal/httpserver"},
			never:    slices.Concat(kubernetes, []string{"github.com/prometheus"}),
			why:      "the proxy serves with it too",
		},
		{
			packages: []string{"cmd"},
			never:    testHelpers,
			why:      "test helpers do not ship",
		},
		{
			packages: []string{"cmd", "internal", "pkg"},
			except: []string{
				"internal/kube", "internal/cluster", "internal/accounts",
				"internal/lease", "internal/servingcert", "internal/store/configmap",
			},
			direct: []string{"k8s.io/client-go"},
			why:    "clusters are reached in one place, and asked where ServiceAccounts, a lease, a certificate or a store are in one",
		},
		{
			packages: []string{"cmd", "internal", "pkg"},
			except:   []string{"internal/store/azureblob"},
			direct:   azureSDK,
			why:      "each cloud SDK stays in its own leaf",
		},
		{
			packages: []string{"cmd", "internal", "pkg"},
			direct:   otherSDKs,
			why:      "each cloud SDK stays in its own leaf, and these have none yet",
		},
	}
}

// broughtByAPIMachinery is what k8s.io/api and k8s.io/apimachinery link.
func broughtByAPIMachinery() []string {
	return []string{
		"github.com/fxamacker/cbor/v2", "github.com/x448/float16", "github.com/go-logr/logr", "github.com/json-iterator/go",
		"github.com/modern-go", "go.yaml.in/yaml", "golang.org/x/net", "golang.org/x/text", "gopkg.in/inf.v0",
		"k8s.io/klog/v2", "k8s.io/kube-openapi", "k8s.io/utils", "sigs.k8s.io",
	}
}
