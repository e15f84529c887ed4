// Package oidc is the issuer's public face: it renders the discovery document
// and the JWK set, publishes them to stores in the order that keeps relying
// parties whole, serves them over HTTP, and verifies from outside what a
// relying party would see.
//
// It does not read clusters and decides no key's fate: keys come in as a
// [keys.Set], and what is in the set is published.
package oidc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// Media types as kube-apiserver serves them (Kubernetes
// pkg/routes/openidmetadata.go; RFC 7517 section 8.5.2).
const (
	discoveryType = "application/json"
	jwksType      = "application/jwk-set+json"
)

// DefaultMaxAge is how long relying parties and caches may keep the documents
// if nothing else is configured. It bounds how soon a new key is seen.
const DefaultMaxAge = 5 * time.Minute

// Documents are what an issuer publishes: immutable once rendered, and equal
// bytes for equal issuer and keys on every replica.
type Documents struct {
	Issuer Issuer
	// Keys are the keys in the JWK set.
	Keys keys.Set
	// JWKS and Discovery are the objects to publish, in this order.
	JWKS, Discovery Object
}

// Render makes the documents of an issuer, with [DefaultMaxAge]. It refuses
// the empty set with keys.RuleNoKeys: an empty key set is never published.
func Render(issuer Issuer, set keys.Set) (Documents, error) {
	jwks, err := set.JWKS()
	if err != nil {
		return Documents{}, fmt.Errorf("rendering the JWK set of issuer %q: %w", issuer, err)
	}
	// OpenID Connect Discovery 1.0 section 3, reduced to what kube-apiserver
	// publishes and relying parties read (Kubernetes
	// pkg/serviceaccount/openidmetadata.go, openIDMetadata).
	discovery, err := marshal(struct {
		Issuer        string   `json:"issuer"`
		JWKSURI       string   `json:"jwks_uri"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	}{
		Issuer:        issuer.String(),
		JWKSURI:       issuer.JWKSURL(),
		ResponseTypes: []string{"id_token"},
		SubjectTypes:  []string{"public"},
		Algorithms:    set.Algorithms(),
	})
	if err != nil {
		return Documents{}, fmt.Errorf("rendering the discovery document of issuer %q: %w", issuer, err)
	}
	return Documents{
		Issuer:    issuer,
		Keys:      set,
		JWKS:      Object{Path: JWKSPath, Body: jwks, ContentType: jwksType},
		Discovery: Object{Path: DiscoveryPath, Body: discovery, ContentType: discoveryType},
	}.WithMaxAge(DefaultMaxAge), nil
}

// WithMaxAge returns the documents with another cache lifetime, in whole
// seconds.
func (d Documents) WithMaxAge(maxAge time.Duration) Documents {
	cacheControl := fmt.Sprintf("public, max-age=%d", int64(maxAge/time.Second))
	d.JWKS.CacheControl, d.Discovery.CacheControl = cacheControl, cacheControl
	return d
}

// marshal is json.Marshal without HTML escapes: an issuer may hold "&", and
// people compare it by eye.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
