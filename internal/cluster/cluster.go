// Package cluster asks a Kubernetes cluster: which keys its API servers
// publish, with which of them they sign, for which issuer, and for tokens. It
// tells the cluster of events.
//
// Key sets are read by their path at the API server, never at the advertised
// jwks_uri, which is often not reachable from here. Answers are not remembered:
// what a failure means for the keys seen before is decided elsewhere.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/fetch"
	"github.com/issuer-sync/issuer-sync/internal/kube"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Config says which cluster to ask, and how.
type Config struct {
	// Kubeconfig is the path of a kubeconfig file. Empty: the cluster that this
	// process runs in, with the service account of its pod.
	Kubeconfig string
	// Context names a context of the kubeconfig. Empty: its current one.
	Context string
	// PerServer has Observe ask each API server behind EndpointSlice
	// default/kubernetes as well as the configured address.
	PerServer bool
	// ServiceAccount is whose tokens SigningKeys asks for. Empty: the one whose
	// credentials these are.
	ServiceAccount types.NamespacedName
	// Log receives what is degraded. Required.
	Log *slog.Logger
	// Dial opens connections. nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Cluster asks one cluster. It keeps two transports, one for the configured
// address and one for all API servers, however many come and go. It is safe for
// concurrent use.
type Cluster struct {
	log       *slog.Logger
	perServer bool
	base      *url.URL // the configured address
	origin    string   // names it
	client    rest.Interface
	// configured and direct carry requests to the configured address and to single API servers.
	configured, direct http.RoundTripper
	single             *rest.Config         // how to reach single API servers, but for their addresses
	signing            types.NamespacedName // the configured account, whose tokens show who signs with what

	mu       sync.Mutex // guards what follows
	servers  []string   // host:port of the API servers, as last read
	answered bool       // some API server has given keys when asked directly
	user     string     // who the API server says we are; empty until it has said
	said     string     // the reason of the last notice
	hindered string     // the reason of the last hindrance that was told
}

// New reads the configuration; it asks nobody yet. It refuses what would leave
// the cluster unverified. The error says what is wrong and what would be valid.
func New(config Config) (*Cluster, error) {
	settings, err := kube.Config(kube.Connection{
		Kubeconfig: config.Kubeconfig, Context: config.Context, UserAgent: "issuer-sync", Dial: config.Dial, Proxy: oidc.Proxy,
	})
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(settings)
	if err != nil {
		return nil, fmt.Errorf("cluster address: %w", err)
	}
	shown := (&url.URL{Scheme: base.Scheme, Host: base.Host, Path: base.Path}).String()
	if base.Scheme != "https" {
		return nil, fmt.Errorf("cluster address %q: keys are read over https only", shown)
	}
	if account := config.ServiceAccount; (account.Namespace == "") != (account.Name == "") {
		return nil, fmt.Errorf("service account %q: want both a namespace and a name, or neither", account)
	}
	c := &Cluster{
		log: config.Log, perServer: config.PerServer, base: base, origin: "cluster " + shown,
		single: directly(settings), signing: config.ServiceAccount,
	}
	if c.configured, err = rest.TransportFor(settings); err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", c.origin, err)
	}
	if c.direct, err = rest.TransportFor(c.single); err != nil {
		return nil, fmt.Errorf("connecting to the API servers of %s: %w", c.origin, err)
	}
	if c.client, err = kube.NewClientOver(c.configured, settings); err != nil {
		return nil, fmt.Errorf("making a client for %s: %w", c.origin, err)
	}
	return c, nil
}

// Client returns a client for the configured address, each of whose requests
// ends after 10 s: it is not for watches. It takes absolute paths and knows the
// kinds that this program uses.
func (c *Cluster) Client() rest.Interface { return c.client }

// Issuer returns the issuer that the cluster signs tokens with, exactly as its
// discovery document has it.
func (c *Cluster) Issuer(ctx context.Context) (string, error) {
	address := c.base.JoinPath(oidc.DiscoveryPath).String()
	document, err := fetch.Discovery(ctx, c.configured, address)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", c.origin, advise(err))
	case document.Issuer == "":
		return "", fmt.Errorf(`%s: "issuer" is missing in the discovery document`, c.origin)
	}
	return document.Issuer, nil
}

// TokenRequest says which token to ask for.
type TokenRequest struct {
	Namespace, ServiceAccount string
	// Audiences are the token's "aud". None: the API server's own.
	Audiences []string
	// Lifetime is how long the token shall be valid, in whole seconds; the API
	// server takes no less than 10 minutes, and may give another. 0: its default.
	Lifetime time.Duration
}

// Token asks the cluster for a token of a service account, by the TokenRequest
// API. It is a secret.
func (c *Cluster) Token(ctx context.Context, request TokenRequest) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, fetch.Timeout)
	defer cancel()
	spec := authenticationv1.TokenRequestSpec{Audiences: request.Audiences}
	if seconds := int64(request.Lifetime / time.Second); seconds != 0 {
		spec.ExpirationSeconds = &seconds
	}
	account := types.NamespacedName{Namespace: request.Namespace, Name: request.ServiceAccount}
	token, err := requestToken(ctx, c.client.Post(), account, spec)
	if err != nil {
		return "", fmt.Errorf("%s: %w", c.origin, err)
	}
	return token, nil
}

// requestToken sends a TokenRequest by a POST request that has nothing yet.
func requestToken(ctx context.Context, post *rest.Request, account types.NamespacedName, spec authenticationv1.TokenRequestSpec) (string, error) {
	var answer authenticationv1.TokenRequest
	err := post.AbsPath("/api/v1").Namespace(account.Namespace).
		Resource("serviceaccounts").Name(account.Name).SubResource("token").
		Body(&authenticationv1.TokenRequest{Spec: spec}).Do(ctx).Into(&answer)
	if err == nil && answer.Status.Token == "" {
		err = errors.New("the answer holds none")
	}
	if err != nil {
		return "", fmt.Errorf("requesting a token of service account %q: %w", account, withoutBody(err))
	}
	return answer.Status.Token, nil
}

// withoutBody is err without the body of an answer that is not Kubernetes',
// which is told as those of other servers are.
func withoutBody(err error) error {
	err = kube.WithoutBody(err)
	if foreign, ok := errors.AsType[*kube.ForeignAnswerError](err); ok {
		return &fetch.StatusError{Code: foreign.Code}
	}
	return err
}
