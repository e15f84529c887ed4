package rotation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// readTimeout ends a reading that hangs. It demands nothing of a busy machine.
const readTimeout = 10 * time.Second

// place is where anyone reads the documents. Its client finds it under the
// issuer's own URLs, and has no credentials.
type place struct {
	name   string
	client *http.Client
}

// reading is one look at both documents of a place.
type reading struct {
	started, finished time.Time
	jwks              string // as read
	keys              keys.Set
}

func newPlaces(t *testing.T, azurite *servers.Azurite, own *httptest.Server) []*place {
	t.Helper()
	transport, ok := azurite.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatalf("%T is not an http.Transport", azurite.Client().Transport)
	}
	return []*place{
		newPlace("Azurite", pooled(t, transport.Clone())),
		newPlace("own server", elsewhere{own.Listener.Addr().String(), pooled(t, new(http.Transport))}),
	}
}

func newPlace(name string, transport http.RoundTripper) *place {
	return &place{name, &http.Client{
		Transport:     transport,
		Timeout:       readTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// pooled keeps a connection for every reader.
func pooled(t *testing.T, transport *http.Transport) *http.Transport {
	t.Helper()
	transport.MaxIdleConnsPerHost = maxReaders
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// elsewhere leads all requests to one host, as DNS would lead them to another
// server of the same issuer.
type elsewhere struct {
	host string
	http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (e elsewhere) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.URL.Scheme, request.URL.Host = "http", e.host
	return e.RoundTripper.RoundTrip(request)
}

// read looks at the documents as a relying party does: discovery first. An
// error says which document is not valid.
func (p *place) read(ctx context.Context, issuer oidc.Issuer) (reading, error) {
	r := reading{started: time.Now()}
	discovery, err := p.get(ctx, issuer.DiscoveryURL(), "application/json")
	if err != nil {
		return r, err
	}
	var metadata struct {
		Issuer     string   `json:"issuer"`
		JWKSURI    string   `json:"jwks_uri"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err := json.Unmarshal(discovery, &metadata); err != nil {
		return r, fmt.Errorf("discovery document %q: %w", discovery, err)
	}
	if metadata.Issuer != issuer.String() || metadata.JWKSURI != issuer.JWKSURL() || len(metadata.Algorithms) != 1 || metadata.Algorithms[0] != "RS256" {
		return r, fmt.Errorf("discovery document %q: issuer, jwks_uri or algorithms are wrong", discovery)
	}
	jwks, err := p.get(ctx, metadata.JWKSURI, "application/jwk-set+json")
	if err != nil {
		return r, err
	}
	set, skipped, err := keys.ParseJWKS(p.name, jwks)
	if err != nil {
		return r, err
	}
	if len(skipped) > 0 {
		return r, fmt.Errorf("JWK set %q: not whole: %v", jwks, skipped)
	}
	r.jwks, r.keys, r.finished = string(jwks), set, time.Now()
	return r, nil
}

func (p *place) get(ctx context.Context, url, contentType string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != contentType {
		return nil, fmt.Errorf("reading %s: %s, %q", url, response.Status, response.Header.Get("Content-Type"))
	}
	return body, nil
}
