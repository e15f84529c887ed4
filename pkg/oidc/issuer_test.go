package oidc_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func issuer(t testing.TB, s string) oidc.Issuer {
	t.Helper()
	i, err := oidc.ParseIssuer(s)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestIssuerIsExact(t *testing.T) {
	long := "https://example.com/" + strings.Repeat("a", 580)
	for _, test := range []struct{ name, issuer, discovery, jwks, path string }{
		{"host alone", "https://example.com", "https://example.com/.well-known/openid-configuration", "https://example.com/openid/v1/jwks", "/openid/v1/jwks"},
		{"host with slash", "https://example.com/", "https://example.com/.well-known/openid-configuration", "https://example.com/openid/v1/jwks", "/openid/v1/jwks"},
		{"path", "https://example.com/a/b", "https://example.com/a/b/.well-known/openid-configuration", "https://example.com/a/b/openid/v1/jwks", "/a/b/openid/v1/jwks"},
		{"path with slash", "https://example.com/a/", "https://example.com/a/.well-known/openid-configuration", "https://example.com/a/openid/v1/jwks", "/a/openid/v1/jwks"},
		{"two slashes, of which one is trimmed", "https://example.com/a//", "https://example.com/a//.well-known/openid-configuration", "https://example.com/a//openid/v1/jwks", "/a//openid/v1/jwks"},
		{"port", "https://example.com:8443", "https://example.com:8443/.well-known/openid-configuration", "https://example.com:8443/openid/v1/jwks", "/openid/v1/jwks"},
		{"upper-case host", "https://EXAMPLE.com", "https://EXAMPLE.com/.well-known/openid-configuration", "https://EXAMPLE.com/openid/v1/jwks", "/openid/v1/jwks"},
		{"escaped slash", "https://example.com/a%2Fb", "https://example.com/a%2Fb/.well-known/openid-configuration", "https://example.com/a%2Fb/openid/v1/jwks", "/a%2Fb/openid/v1/jwks"},
		{"IPv6", "https://[::1]:8443/x", "https://[::1]:8443/x/.well-known/openid-configuration", "https://[::1]:8443/x/openid/v1/jwks", "/x/openid/v1/jwks"},
		{"600 characters", long, long + "/.well-known/openid-configuration", long + "/openid/v1/jwks", long[len("https://example.com"):] + "/openid/v1/jwks"},
	} {
		t.Run(test.name, func(t *testing.T) {
			i := issuer(t, test.issuer)
			if got := [...]string{i.String(), i.DiscoveryURL(), i.JWKSURL(), i.Path(oidc.JWKSPath)}; got != [...]string{test.issuer, test.discovery, test.jwks, test.path} {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestParseIssuerRefuses(t *testing.T) {
	for _, test := range []struct{ name, issuer, rule string }{
		{"nothing", "", "it has 0 characters; want 1 to 600; scheme must be https, in lower case; host is missing"},
		{"http", "http://example.com", "scheme must be https, in lower case"},
		{"upper-case scheme", "HTTPS://example.com", "scheme must be https, in lower case"},
		{"no scheme", "example.com", "scheme must be https, in lower case; host is missing"},
		{"no host", "https:///path", "host is missing"},
		{"port alone", "https://:443", "host is missing"},
		{"query", "https://example.com?a=b", "query is not allowed"},
		{"empty query", "https://example.com/?", "query is not allowed"},
		{"fragment", "https://example.com#f", "fragment is not allowed"},
		{"empty fragment", "https://example.com#", "fragment is not allowed"},
		{"user", "https://me@example.com", "user and password are not allowed"},
		{"leading space", " https://example.com", `character ' ' at position 1 does not belong in a URL; first path segment in URL cannot contain colon`},
		{"trailing space", "https://example.com ", `character ' ' at position 20 does not belong in a URL; invalid character " " in host name`},
		{"line feed", "https://example.com\n", `character '\n' at position 20 does not belong in a URL; net/url: invalid control character in URL`},
		{"not ASCII", "https://exämple.com", `character 'ä' at position 11 does not belong in a URL`},
		{"braces", "https://example.com/{a}", `character '{' at position 21 does not belong in a URL`},
		{"back slash", `https://example.com\a`, `character '\\' at position 20 does not belong in a URL; invalid character "\\" in host name`},
		{"broken escape", "https://example.com/%zz", `invalid URL escape "%zz"`},
		{"dot segment", "https://example.com/a/../b", `path segment ".." is not allowed`},
		{"escaped dot segment", "https://example.com/%2e%2e/b", `path segment ".." is not allowed`},
		{"601 characters", "https://example.com/" + strings.Repeat("a", 581), "it has 601 characters; want 1 to 600"},
		{"several mistakes at once", "http://u:p@example.com/?q#f", "scheme must be https, in lower case; user and password are not allowed; query is not allowed; fragment is not allowed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := oidc.ParseIssuer(test.issuer)
			if want := fmt.Sprintf("issuer %q: %s", test.issuer, test.rule); err == nil || err.Error() != want {
				t.Errorf("error\n%v; want\n%s", err, want)
			}
		})
	}
}
