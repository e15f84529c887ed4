// Package kube reaches a Kubernetes API server: with the credentials of a pod or
// of a kubeconfig, by a client that knows few kinds, one request at a time.
// What is asked, and what an answer means, is the caller's.
package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Connection says which cluster to reach, and how.
type Connection struct {
	// Kubeconfig is the path of a kubeconfig file. Empty: the cluster that this
	// process runs in, with the service account of its pod.
	Kubeconfig string
	// Context names a context of the kubeconfig. Empty: its current one.
	Context string
	// UserAgent names the program. Required.
	UserAgent string
	// Dial opens connections. nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Proxy chooses the proxy of a request, but a kubeconfig's proxy-url goes
	// before. nil: that of the environment.
	Proxy func(*http.Request) (*url.URL, error)
}

// Config reads the configuration; it asks nobody. It refuses a cluster that
// nobody would verify. The error says what is wrong and what would be valid.
func Config(c Connection) (*rest.Config, error) {
	settings, err := credentials(c)
	if err != nil {
		return nil, err
	}
	if settings.Insecure {
		return nil, fmt.Errorf("kubeconfig %q: insecure-skip-tls-verify is set: anybody could answer for the cluster; want certificate-authority", c.Kubeconfig)
	}
	settings.UserAgent = c.UserAgent
	settings.WarningHandlerWithContext = rest.NoWarnings{}
	settings.Dial = c.Dial
	if settings.Proxy == nil {
		settings.Proxy = c.Proxy
	}
	return settings, nil
}

func credentials(c Connection) (*rest.Config, error) {
	if c.Kubeconfig == "" {
		if c.Context != "" {
			return nil, fmt.Errorf("cluster context %q: kubeconfig is missing; name the file that has this context", c.Context)
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
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: c.Kubeconfig}
	loaded, err := rules.Load()
	if err != nil {
		return nil, fmt.Errorf("reading kubeconfig %q: %w", c.Kubeconfig, err)
	}
	name := cmp.Or(c.Context, loaded.CurrentContext)
	if loaded.Contexts[name] == nil {
		return nil, fmt.Errorf("kubeconfig %q: context %q is not in it; want one of %q",
			c.Kubeconfig, name, slices.Sorted(maps.Keys(loaded.Contexts)))
	}
	settings, err := clientcmd.NewNonInteractiveClientConfig(*loaded, name, nil, rules).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading kubeconfig %q: %w", c.Kubeconfig, err)
	}
	return settings, nil
}
