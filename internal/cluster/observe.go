package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/internal/fetch"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Observe asks the configured address and, if the configuration says so, each
// API server for their keys, in parallel. The first observation is that of the
// configured address, with the origin "cluster https://host:port"; the others
// have "API server 10.0.0.1:6443 of host:port", as the same private address may
// be in several clusters of one issuer. It takes at most 20 s, mostly
// milliseconds.
//
// API servers are asked whether their EndpointSlice calls them ready or not: an
// answer can only add keys, and one that is draining still has its keys. One
// that left the slice is no longer asked.
//
// Where single API servers cannot be asked, because the account may not read
// the EndpointSlice or because none of them ever answered here (managed control
// planes), there is the first observation alone, and the log says so once. As
// soon as one of them has answered, the failures of each are observations.
func (c *Cluster) Observe(ctx context.Context) []keys.Observation {
	var configured keys.Observation
	var servers []keys.Observation
	var why notice
	var both sync.WaitGroup
	both.Go(func() { configured = look(ctx, c.configured, c.origin, c.base) })
	if c.perServer {
		servers, why = c.askServers(ctx)
	}
	both.Wait()
	configured.Partial = why.partial
	if configured.Err == nil { // otherwise its error tells more
		c.say(ctx, why)
	}
	return append([]keys.Observation{configured}, servers...)
}

// look reads the key set below a base URL.
func look(ctx context.Context, transport http.RoundTripper, origin string, base *url.URL) keys.Observation {
	observation := fetch.Keys(ctx, transport, origin, base.JoinPath(oidc.JWKSPath).String())
	observation.Err = advise(observation.Err)
	return observation
}

// advise adds the likely cause or the cure to an error that has one.
func advise(err error) error {
	status, ok := errors.AsType[*fetch.StatusError](err)
	if !ok {
		return err
	}
	switch status.Code {
	case http.StatusUnauthorized:
		return fmt.Errorf("%w; a service account's token may have expired, or be signed by a key that this API server does not know", err)
	case http.StatusForbidden:
		return fmt.Errorf("%w; allow it with: kubectl create clusterrolebinding issuer-sync-discovery "+
			"--clusterrole=system:service-account-issuer-discovery --serviceaccount=NAMESPACE:NAME (or --user=NAME)", err)
	default:
		return err
	}
}

// askServers asks every API server. The notice says why there are no
// observations, or what they lack.
func (c *Cluster) askServers(ctx context.Context) ([]keys.Observation, notice) {
	addresses, why := c.addresses(ctx)
	observations := make([]keys.Observation, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		all.Go(func() {
			observations[i] = look(ctx, c.direct, c.server(address), &url.URL{Scheme: "https", Host: address, Path: "/"})
			observations[i].Group = c.origin
		})
	}
	all.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered = c.answered || slices.ContainsFunc(observations, func(o keys.Observation) bool { return o.Err == nil })
	if c.answered || len(observations) == 0 {
		return observations, why
	}
	return nil, notice{slog.LevelInfo, "none of them has answered here yet; asking the configured address alone", observations[0].Err, true}
}

// server names a single API server. Clusters behind one proxy differ in the
// path of their configured addresses.
func (c *Cluster) server(address string) string {
	return "API server " + address + " of " + c.base.Host + strings.TrimSuffix(c.base.Path, "/")
}

// addresses returns host and port of every API server: those of the
// EndpointSlice, or those last known if it cannot be read just now.
func (c *Cluster) addresses(ctx context.Context) ([]string, notice) {
	bounded, cancel := context.WithTimeout(ctx, fetch.Timeout)
	defer cancel()
	// The API servers keep this one slice themselves (Kubernetes
	// pkg/controlplane/reconcilers/endpointsadapter.go).
	var slice discoveryv1.EndpointSlice
	err := c.client.Get().AbsPath("/apis/discovery.k8s.io/v1").Namespace(metav1.NamespaceDefault).
		Resource("endpointslices").Name("kubernetes").Do(bounded).Into(&slice)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.servers = endpoints(&slice)
		return c.servers, notice{}
	case apierrors.IsForbidden(err):
		c.servers = nil
		return nil, notice{slog.LevelInfo, "no right to get EndpointSlice default/kubernetes; asking the configured address alone", err, false}
	case apierrors.IsNotFound(err):
		c.servers = nil
		return nil, notice{slog.LevelInfo, "there is no EndpointSlice default/kubernetes; asking the configured address alone", err, false}
	default:
		return c.servers, notice{slog.LevelWarn, "EndpointSlice default/kubernetes could not be read; asking those last known", err, true}
	}
}

// endpoints returns host:port of each endpoint, sorted, IPv6 in brackets.
func endpoints(slice *discoveryv1.EndpointSlice) []string {
	var found []string
	for _, port := range slice.Ports {
		if port.Port == nil {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			for _, address := range endpoint.Addresses {
				found = append(found, net.JoinHostPort(address, strconv.Itoa(int(*port.Port))))
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// notice says why not every API server is asked. The zero notice says that
// each is.
type notice struct {
	level  slog.Level
	reason string
	err    error
	// partial says that there may be API servers that are not known just now.
	partial bool
}

// say logs a notice when it begins to hold, and not again while it does.
func (c *Cluster) say(ctx context.Context, n notice) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.reason != "" && n.reason != c.said {
		c.log.Log(ctx, n.level, "cannot ask each API server", "cluster", c.base.Host, "reason", n.reason, "err", withoutBody(n.err))
	}
	c.said = n.reason
}
