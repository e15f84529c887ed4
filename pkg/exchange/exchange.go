// Package exchange turns a pod's projected token into an access token of
// Microsoft Entra: token file, client assertion, token endpoint, access token.
//
// [Client] makes one exchange: one request, with few retries. [Cached] wraps
// it, or any other [Source], so that many callers cost one exchange and an
// outage of Entra is not theirs. Errors are *[Error]; their [Kind] says what
// became of the request.
//
// It speaks HTTP with the standard library alone, reads no environment, serves
// nothing, and never shows a token or what Entra wrote: see [Secret].
package exchange

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Source is where access tokens come from. It must be safe for concurrent use.
// An error that is no *[Error] is taken for an outage.
type Source interface {
	AccessToken(ctx context.Context, request Request) (AccessToken, error)
}

// Request says what access token is wanted. Requests are comparable.
type Request struct {
	// Tenant is the directory: a GUID or a domain name.
	Tenant string
	// Client is the client ID of the identity, a GUID.
	Client string
	// Scope is what the access token is for; see [Scope].
	Scope string
}

// AccessToken is what Entra returned. It is immutable.
type AccessToken struct {
	// Value is a bearer token (RFC 6750).
	Value Secret
	// IssuedAt is when it was asked for, by this machine's clock.
	IssuedAt time.Time
	// ExpiresAt is when it ends.
	ExpiresAt time.Time
	// ExtendedUntil is until when it may be used while Entra is down, which
	// Entra says as ext_expires_in; never before ExpiresAt.
	ExtendedUntil time.Time
}

// Scope is the scope that asks for a resource: the resource exactly as it was
// asked for, and "/.default". A resource that ends in a slash keeps it, so that
// the audience of the access token has it too: "https://vault.azure.net/"
// becomes "https://vault.azure.net//.default". A resource that already is such
// a scope stays.
func Scope(resource string) string {
	const suffix = "/.default"
	if strings.HasSuffix(resource, suffix) {
		return resource
	}
	return resource + suffix
}

// Authority returns the authority host of a cloud, by the name that
// AZURE_ENVIRONMENT has for it, in any case.
func Authority(environment string) (string, error) {
	// Microsoft, "National clouds": Microsoft Entra authentication endpoints.
	switch strings.ToLower(environment) {
	case "azurepubliccloud":
		return "https://login.microsoftonline.com/", nil
	case "azureusgovernmentcloud":
		return "https://login.microsoftonline.us/", nil
	case "azurechinacloud":
		return "https://login.chinacloudapi.cn/", nil
	default:
		return "", fmt.Errorf("cloud %q: want AzurePublicCloud, AzureUSGovernmentCloud or AzureChinaCloud", environment)
	}
}

// Bounds on what callers name, so that a request stays a request.
const (
	maxTenant = 253  // a domain name (RFC 1035 section 2.3.4)
	maxScope  = 2048 // resources are URLs or GUIDs
)

// CheckTenant returns an error unless tenant is a GUID or a domain name.
func CheckTenant(tenant string) error {
	if !isGUID(tenant) && !isDomain(tenant) {
		return fmt.Errorf("tenant %q: want a GUID or a domain name", short(tenant))
	}
	return nil
}

// CheckClient returns an error unless client is a GUID.
func CheckClient(client string) error {
	if !isGUID(client) {
		return fmt.Errorf("client ID %q: want a GUID", short(client))
	}
	return nil
}

// check returns an error of kind [Invalid] if the request cannot be sent.
func (r Request) check() error {
	if err := cmp.Or(CheckTenant(r.Tenant), CheckClient(r.Client)); err != nil {
		return invalid("%v", err)
	}
	switch {
	case r.Scope == "" || len(r.Scope) > maxScope:
		return invalid("a scope of %d characters: want 1 to %d", len(r.Scope), maxScope)
	case strings.ContainsFunc(r.Scope, func(c rune) bool { return c <= ' ' || c > '~' }):
		// RFC 6749 section 3.3: printable ASCII; a space would separate two scopes.
		return invalid("scope %q: want printable ASCII without spaces", short(r.Scope))
	default:
		return nil
	}
}

// short cuts what an error quotes.
func short(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// loggable is a scope without query and fragment, in which a caller may have
// secrets, such as a signature.
func loggable(scope string) string {
	if i := strings.IndexAny(scope, "?#"); i >= 0 {
		return scope[:i] + "…"
	}
	return scope
}

// isGUID reports whether s is 8-4-4-4-12 hexadecimal digits.
func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !isHex(c) {
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// isDomain reports whether s is labels of letters, digits and hyphens with
// dots between them. Those without a dot ("common", "organizations") name no
// one tenant, as an exchange must.
func isDomain(s string) bool {
	if len(s) > maxTenant || !strings.Contains(s, ".") {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return false
		}
	}
	return true
}

// parseBase checks a URL below which the token endpoint is, and returns it
// with one slash at its end.
func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https":
		return nil, fmt.Errorf("%q: want an https URL with a host", s)
	case u.User != nil:
		return nil, fmt.Errorf("%q: user and password are not allowed", u.Redacted())
	case strings.ContainsAny(s, "?#"):
		return nil, fmt.Errorf("%q: query and fragment are not allowed", s)
	}
	return url.Parse(strings.TrimRight(s, "/") + "/")
}
