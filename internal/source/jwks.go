package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/fetch"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// JWKSConfig says which issuer a [JWKS] mirrors.
type JWKSConfig struct {
	// URL is the https URL of the issuer's JWK set, or of its discovery
	// document, which ends in "/.well-known/openid-configuration".
	URL string
	// CAFile holds the PEM certificates of the CAs to trust instead of the
	// system's. It is read once. Empty: the system's.
	CAFile string
}

// JWKS reads the keys of another issuer over HTTPS. It is safe for concurrent
// use.
type JWKS struct {
	address   *url.URL
	origin    string
	transport http.RoundTripper
}

// NewJWKS checks the configuration and reads the CA file; it asks nobody yet.
// The error names what is wrong and what would be valid.
func NewJWKS(config JWKSConfig) (*JWKS, error) {
	address, err := parseURL(config.URL)
	if err != nil {
		return nil, fmt.Errorf("jwks url: %w", err)
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if config.CAFile != "" {
		if settings.RootCAs, err = readCAs(config.CAFile); err != nil {
			return nil, fmt.Errorf("jwks caFile %q: %w", config.CAFile, err)
		}
	}
	return &JWKS{
		address: address,
		origin:  "jwks " + shown(address),
		transport: &http.Transport{
			Proxy:             oidc.Proxy,
			TLSClientConfig:   settings,
			ForceAttemptHTTP2: true,
			IdleConnTimeout:   90 * time.Second,
		},
	}, nil
}

// Observe asks the issuer. It returns one observation, whose origin is "jwks "
// and the configured URL without user and query. It takes at most 10 s for
// each document.
func (j *JWKS) Observe(ctx context.Context) []keys.Observation {
	address := j.address.String()
	if strings.HasSuffix(j.address.Path, "/"+oidc.DiscoveryPath) {
		var err error
		if address, err = j.discover(ctx); err != nil {
			return []keys.Observation{{Origin: j.origin, Err: fmt.Errorf("%s: %w", j.origin, err)}}
		}
	}
	return []keys.Observation{fetch.Keys(ctx, j.transport, j.origin, address)}
}

// discover returns the address of the JWK set that the discovery document
// names.
func (j *JWKS) discover(ctx context.Context) (string, error) {
	document, err := fetch.Discovery(ctx, j.transport, j.address.String())
	if err != nil {
		return "", err
	}
	address, err := parseURL(document.JWKSURI)
	if err != nil {
		return "", fmt.Errorf(`"jwks_uri" of the discovery document: %w`, err)
	}
	return address.String(), nil
}

// parseURL accepts https URLs only. Its errors show neither user nor query.
func parseURL(s string) (*url.URL, error) {
	if s == "" {
		return nil, errors.New("it is missing; want an https URL")
	}
	address, err := url.Parse(s)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("%w; want an https URL", err)
	}
	if address.Scheme != "https" || address.Hostname() == "" {
		return nil, fmt.Errorf("%q; want an https URL", shown(address))
	}
	return address, nil
}

// shown is an address as logs and errors may have it.
func shown(address *url.URL) string {
	return (&url.URL{Scheme: address.Scheme, Host: address.Host, Path: address.Path, RawPath: address.RawPath}).String()
}

func readCAs(path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, errors.New("it holds no PEM certificate")
	}
	return pool, nil
}
