package cluster

import (
	"context"
	"net"
	"time"

	"k8s.io/client-go/rest"
)

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
