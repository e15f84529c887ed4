package oidc

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Paths of the documents below the issuer. Discovery is fixed by OpenID
// Connect Discovery 1.0 section 4; the JWK set is where kube-apiserver has it
// (Kubernetes pkg/serviceaccount/openidmetadata.go, JWKSPath).
const (
	DiscoveryPath = ".well-known/openid-configuration"
	JWKSPath      = "openid/v1/jwks"
)

// maxIssuerLength is Entra's limit for the issuer of a federated identity
// credential, in characters.
const maxIssuerLength = 600

// Issuer is an issuer identifier: one exact string, which relying parties
// compare byte for byte with the "iss" of tokens (OpenID Connect Discovery 1.0
// section 4.3). It is never rebuilt from its parts; a trailing slash belongs to
// it. Issuers are comparable with ==. The zero Issuer is not valid.
type Issuer struct {
	exact string
}

// ParseIssuer checks that s can serve as an issuer: an https URL of at most
// 600 ASCII characters with a host and without user, query, fragment or dot
// segments, spelled as RFC 3986 has it. The error names the value and every
// rule that it breaks.
func ParseIssuer(s string) (Issuer, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if n := len(s); n == 0 || n > maxIssuerLength {
		fault("it has %d characters; want 1 to %d", n, maxIssuerLength)
	}
	// RFC 3986 section 2: what a URI may consist of. Anything else is rewritten by some client on the way.
	if i := strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune(uriCharacters, r) }); i >= 0 {
		r := []rune(s[i:])[0]
		fault("character %q at position %d does not belong in a URL", r, i+1)
	}
	u, err := url.Parse(s)
	if err != nil {
		if parse, ok := errors.AsType[*url.Error](err); ok {
			err = parse.Err
		}
		fault("%w", err)
		return Issuer{}, issuerError(s, faults)
	}
	if !strings.HasPrefix(s, "https://") {
		fault("scheme must be https, in lower case")
	}
	if u.Hostname() == "" {
		fault("host is missing")
	}
	if u.User != nil {
		fault("user and password are not allowed")
	}
	if strings.Contains(s, "?") {
		fault("query is not allowed")
	}
	if strings.Contains(s, "#") {
		fault("fragment is not allowed")
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		// RFC 3986 section 5.2.4: clients remove dot segments before they ask.
		if segment == "." || segment == ".." {
			fault("path segment %q is not allowed", segment)
		}
	}
	if len(faults) > 0 {
		return Issuer{}, issuerError(s, faults)
	}
	return Issuer{exact: s}, nil
}

const uriCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#[]@!$&'()*+,;=%"

func issuerError(s string, faults []error) error {
	reasons := make([]string, len(faults))
	for i, fault := range faults {
		reasons[i] = fault.Error()
	}
	return fmt.Errorf("issuer %q: %s", s, strings.Join(reasons, "; "))
}

// String returns the exact issuer.
func (i Issuer) String() string { return i.exact }

// DiscoveryURL is where relying parties look for the discovery document.
func (i Issuer) DiscoveryURL() string { return i.base() + "/" + DiscoveryPath }

// JWKSURL is the "jwks_uri" of the discovery document.
func (i Issuer) JWKSURL() string { return i.base() + "/" + JWKSPath }

// Path returns the URL path of the document at the given path below the
// issuer, escaped exactly as the issuer has it.
func (i Issuer) Path(document string) string {
	_, afterScheme, _ := strings.Cut(i.base(), "://")
	_, path, found := strings.Cut(afterScheme, "/")
	if !found {
		return "/" + document
	}
	return "/" + path + "/" + document
}

// base is the issuer without one trailing slash (OpenID Connect Discovery 1.0
// section 4.1).
func (i Issuer) base() string { return strings.TrimSuffix(i.exact, "/") }
