package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/issuer-sync/issuer-sync/internal/fetch"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// connection returns how to reach the configured address.
func connection(config Config) (*rest.Config, error) {
	settings, err := credentials(config)
	if err != nil {
		return nil, err
	}
	if settings.Insecure {
		return nil, fmt.Errorf("kubeconfig %q: insecure-skip-tls-verify is set: anybody could give the keys; want certificate-authority", config.Kubeconfig)
	}
	settings.UserAgent = "issuer-sync"
	settings.WarningHandlerWithContext = rest.NoWarnings{}
	settings.Dial = config.Dial
	if settings.Proxy == nil { // a kubeconfig's proxy-url goes before the environment
		settings.Proxy = oidc.Proxy
	}
	return settings, nil
}

func credentials(config Config) (*rest.Config, error) {
	if config.Kubeconfig == "" {
		if config.Context != "" {
			return nil, fmt.Errorf("cluster context %q: kubeconfig is missing; name the file that has this context", config.Context)
		}
		settings, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			err = errors.New("this process does not run in a pod; name a kubeconfig, or run it in the cluster")
		}
		if err != nil {
			return nil, fmt.Errorf("reading the pod's service account: %w", err)
		}
		return settings, nil
	}
	// Not clientcmd's deferred loading: in a pod it takes the pod's own cluster for an empty file.
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: config.Kubeconfig}
	loaded, err := rules.Load()
	if err != nil {
		return nil, fmt.Errorf("reading kubeconfig %q: %w", config.Kubeconfig, err)
	}
	name := cmp.Or(config.Context, loaded.CurrentContext)
	if loaded.Contexts[name] == nil {
		return nil, fmt.Errorf("kubeconfig %q: context %q is not in it; want one of %q",
			config.Kubeconfig, name, slices.Sorted(maps.Keys(loaded.Contexts)))
	}
	settings, err := clientcmd.NewNonInteractiveClientConfig(*loaded, name, nil, rules).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading kubeconfig %q: %w", config.Kubeconfig, err)
	}
	return settings, nil
}

// serverName is in the certificate of every API server that pods reach by the
// service's name: kubeadm, k3s and the managed clusters all have it.
const serverName = "kubernetes.default.svc"

// directDial bounds dialing a single API server. They are near, or not
// reachable at all, and then a round should not wait for them; it leaves time
// to send a SYN again (after 1 s, RFC 6298 section 2.1).
const directDial = 3 * time.Second

// directly returns how to reach single API servers, with the credentials, the
// proxy and the CA of the configured address. An address from the EndpointSlice
// proves nothing, so the server must have a certificate of the cluster's CA for
// the service's name before it gets any credentials.
func directly(settings *rest.Config) *rest.Config {
	settings = rest.CopyConfig(settings)
	settings.ServerName = serverName
	dial := settings.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	settings.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, directDial)
		defer cancel()
		return dial(ctx, network, address)
	}
	return settings
}

// client returns a client that knows the kinds used here. client-go's clientset
// would register all kinds of Kubernetes, which costs each process 10 MB of
// binary and about as much memory.
func client(settings *rest.Config, transport http.RoundTripper) (rest.Interface, error) {
	kinds := runtime.NewScheme()
	kinds.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.ConfigMap{})
	kinds.AddKnownTypes(discoveryv1.SchemeGroupVersion, &discoveryv1.EndpointSlice{})
	kinds.AddKnownTypes(authenticationv1.SchemeGroupVersion, &authenticationv1.TokenRequest{}, &authenticationv1.SelfSubjectReview{})
	kinds.AddKnownTypes(coordinationv1.SchemeGroupVersion, &coordinationv1.Lease{})
	kinds.AddKnownTypes(eventsv1.SchemeGroupVersion, &eventsv1.Event{})
	metav1.AddToGroupVersion(kinds, schema.GroupVersion{Version: "v1"}) // Status, for errors
	settings = rest.CopyConfig(settings)
	// No limit here: client-go's 5 requests a second would make a round at a
	// ConfigMap last for seconds. The API server has limits of its own.
	settings.QPS = -1
	settings.NegotiatedSerializer = serializer.NewCodecFactory(kinds).WithoutConversion()
	return rest.UnversionedRESTClientForConfigAndClient(settings, &http.Client{
		Transport:     transport,
		Timeout:       fetch.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
}
