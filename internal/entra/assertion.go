package entra

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// leeway is how far nbf may be ahead of the clock: the default of Microsoft's
// own library (TokenValidationParameters.DefaultClockSkew). Whether Entra
// tolerates as much behind exp is not known; nothing is tolerated here, so that
// what works here works there.
const leeway = 5 * time.Minute

// verify decides on an assertion, or says why it is refused.
func (s *StandIn) verify(ctx context.Context, app App, assertion string) *refusal {
	algorithm, keyID, claims, err := parse(assertion)
	if err != nil {
		return malformed().because("%v", err)
	}
	if algorithm != string(jose.RS256) {
		return badAlgorithm(algorithm)
	}
	if refusal := match(app.Credentials, claims); refusal != nil {
		return refusal
	}
	if refusal := s.verifySignature(ctx, claims.Issuer, keyID, assertion); refusal != nil {
		return refusal
	}
	now := time.Now()
	if !now.Before(claims.Expiry.Time()) || claims.NotBefore.Time().After(now.Add(leeway)) {
		return badTime(now, claims)
	}
	return nil
}

// parse reads an assertion without verifying it. Its errors hold nothing of it.
func parse(assertion string) (algorithm, keyID string, claims jwt.Claims, err error) {
	all := []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
		jose.ES256, jose.ES384, jose.ES512, jose.HS256, jose.HS384, jose.HS512, jose.EdDSA,
	}
	token, err := jwt.ParseSigned(assertion, all)
	if err != nil {
		return "", "", claims, errors.New("it is no signed JWT")
	}
	header := token.Headers[0]
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return "", "", claims, errors.New("its claims are not those of a JWT")
	}
	return header.Algorithm, header.KeyID, claims, nil
}

// match finds the federated credential: the same three strings, and exactly one
// audience. Which code Entra prefers where several differ is not known; the
// choice here is the first that has no match: issuer, subject, audience.
func match(credentials []Credential, claims jwt.Claims) *refusal {
	if len(credentials) == 0 {
		return noCredential(claims)
	}
	same := slices.DeleteFunc(slices.Clone(credentials), func(c Credential) bool { return c.Issuer != claims.Issuer })
	if len(same) == 0 {
		return otherIssuer(claims)
	}
	folded := slices.ContainsFunc(same, func(c Credential) bool { return strings.EqualFold(c.Subject, claims.Subject) })
	same = slices.DeleteFunc(same, func(c Credential) bool { return c.Subject != claims.Subject })
	switch {
	case len(same) == 0 && folded:
		return otherCase(claims)
	case len(same) == 0:
		return otherSubject(claims)
	case len(claims.Audience) != 1:
		return otherAudience(claims).because("the assertion has %d audiences; want one", len(claims.Audience))
	case !slices.ContainsFunc(same, func(c Credential) bool { return c.Audience == claims.Audience[0] }):
		return otherAudience(claims)
	default:
		return nil
	}
}

// documents are what is kept of an issuer.
type documents struct {
	jwksURL string
	keys    goidc.KeySet // fetches again for a key ID that it does not know
	fetched time.Time
}

// documents returns the issuer's documents, from memory or from the issuer.
func (s *StandIn) documents(ctx context.Context, issuer string) (*documents, error) {
	s.mu.Lock()
	kept := s.issuers[issuer]
	s.mu.Unlock()
	if kept != nil && time.Since(kept.fetched) < s.keep {
		return kept, nil
	}
	ctx = goidc.ClientContext(ctx, s.client)
	provider, err := goidc.NewProvider(ctx, issuer)
	if err != nil {
		return nil, fmt.Errorf("discovering the issuer: %w", err)
	}
	var metadata struct {
		JWKSURL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&metadata); err != nil || !strings.HasPrefix(metadata.JWKSURL, "https://") {
		return nil, fmt.Errorf("jwks_uri %q in the discovery document: want https", metadata.JWKSURL)
	}
	fresh := &documents{jwksURL: metadata.JWKSURL, keys: goidc.NewRemoteKeySet(ctx, metadata.JWKSURL), fetched: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issuers[issuer] = fresh
	return fresh, nil
}

// Forget drops what is kept of issuers, as time does.
func (s *StandIn) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.issuers)
}

// verifySignature asks go-oidc, with the issuer's key set. Claims other than
// the issuer have checks of their own.
func (s *StandIn) verifySignature(ctx context.Context, issuer, keyID, assertion string) *refusal {
	issued, err := s.documents(ctx, issuer)
	if err != nil {
		return noDiscovery().because("%v", err)
	}
	set := &noting{KeySet: issued.keys}
	verifier := goidc.NewVerifier(issuer, set, &goidc.Config{
		SupportedSigningAlgs: []string{string(jose.RS256)},
		SkipClientIDCheck:    true,
		SkipExpiryCheck:      true,
	})
	_, err = verifier.Verify(ctx, assertion)
	switch {
	case err == nil:
		return nil
	case set.err == nil:
		return malformed().because("%v", err)
	case strings.HasPrefix(set.err.Error(), "fetching keys") && strings.Contains(set.err.Error(), "failed to decode keys"):
		return badKeySet().because("%v", set.err)
	case strings.HasPrefix(set.err.Error(), "fetching keys"):
		return noKeySet().because("%v", set.err)
	case s.publishes(ctx, issued.jwksURL, keyID):
		return badSignature().because("the key %q is published, but did not make this signature", keyID)
	default:
		return unknownKey(keyID, issuer)
	}
}

// noting notes the error of a key set, which the verifier does not wrap.
type noting struct {
	goidc.KeySet
	err error
}

// VerifySignature implements goidc.KeySet.
func (n *noting) VerifySignature(ctx context.Context, token string) (payload []byte, err error) {
	payload, n.err = n.KeySet.VerifySignature(ctx, token)
	return payload, n.err
}

// publishes looks for a key ID, only to tell an unknown key from a bad
// signature: go-oidc has one error for both.
func (s *StandIn) publishes(ctx context.Context, jwksURL, keyID string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, jwksURL, nil)
	if err != nil {
		return false
	}
	response, err := s.client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	var set struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}
	if json.NewDecoder(response.Body).Decode(&set) != nil {
		return false
	}
	for _, key := range set.Keys {
		if key.ID == keyID {
			return true
		}
	}
	return false
}

// issuerClient asks issuers: over TLS, bounded in time and size, without
// redirects.
func issuerClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: bounded{&http.Transport{
			TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			DisableKeepAlives: true, // it asks seldom, and leaves nothing open behind
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded cuts off what an issuer sends beyond 1 MiB.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(response.Body, 1<<20), response.Body}
	return response, nil
}
