package exchange_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

func TestScope(t *testing.T) {
	for resource, want := range map[string]string{
		"https://vault.azure.net":                            "https://vault.azure.net/.default",
		"https://management.core.windows.net/":               "https://management.core.windows.net//.default",
		"https://vault.azure.net/.default":                   "https://vault.azure.net/.default",
		"https://vault.azure.net//.default":                  "https://vault.azure.net//.default",
		"33333333-3333-3333-3333-333333333333":               "33333333-3333-3333-3333-333333333333/.default",
		"api://app/path":                                     "api://app/path/.default",
		"https://vault.azure.net/.defaults":                  "https://vault.azure.net/.defaults/.default",
		"https://ossrdbms-aad.database.windows.net/.default": "https://ossrdbms-aad.database.windows.net/.default",
	} {
		if got := exchange.Scope(resource); got != want {
			t.Errorf("Scope(%q) = %q; want %q", resource, got, want)
		}
	}
}

func TestAuthority(t *testing.T) {
	for environment, want := range map[string]string{
		"AzurePublicCloud":       "https://login.microsoftonline.com/",
		"AZUREPUBLICCLOUD":       "https://login.microsoftonline.com/",
		"AzureUSGovernmentCloud": "https://login.microsoftonline.us/",
		"AzureChinaCloud":        "https://login.chinacloudapi.cn/",
	} {
		if got, err := exchange.Authority(environment); got != want || err != nil {
			t.Errorf("Authority(%q) = %q, %v; want %q", environment, got, err, want)
		}
	}
	_, err := exchange.Authority("AzureGermanCloud")
	const want = `cloud "AzureGermanCloud": want AzurePublicCloud, AzureUSGovernmentCloud or AzureChinaCloud`
	if err == nil || err.Error() != want {
		t.Errorf("got error %v; want %s", err, want)
	}
}

func TestInvalidRequestsAreNotSent(t *testing.T) {
	c := newClient(t, tokenFile(t), func(*http.Request) (reply, error) {
		t.Error("a request was sent")
		return answer(http.StatusOK, good), nil
	})
	for name, test := range map[string]struct {
		change func(*exchange.Request)
		want   string
	}{
		"no tenant":               {func(r *exchange.Request) { r.Tenant = "" }, `tenant "": want a GUID or a domain name`},
		"a tenant that is a path": {func(r *exchange.Request) { r.Tenant = "../x.y" }, `tenant "../x.y": want a GUID or a domain name`},
		"a tenant of dots":        {func(r *exchange.Request) { r.Tenant = ".." }, `tenant "..": want a GUID or a domain name`},
		"every tenant":            {func(r *exchange.Request) { r.Tenant = "common" }, `tenant "common": want a GUID or a domain name`},
		"a tenant with a query":   {func(r *exchange.Request) { r.Tenant = "a.b?x=y" }, `tenant "a.b?x=y": want a GUID or a domain name`},
		"a client that is a name": {func(r *exchange.Request) { r.Client = "demo" }, `client ID "demo": want a GUID`},
		"a GUID with a wrong digit": {
			func(r *exchange.Request) { r.Client = "2222222g-2222-2222-2222-222222222222" },
			`client ID "2222222g-2222-2222-2222-222222222222": want a GUID`,
		},
		"a GUID without dashes": {
			func(r *exchange.Request) { r.Client = strings.Repeat("2", 36) },
			`client ID "222222222222222222222222222222222222": want a GUID`,
		},
		"no scope":     {func(r *exchange.Request) { r.Scope = "" }, "a scope of 0 characters: want 1 to 2048"},
		"a huge scope": {func(r *exchange.Request) { r.Scope = strings.Repeat("x", 2049) }, "a scope of 2049 characters: want 1 to 2048"},
		"two scopes":   {func(r *exchange.Request) { r.Scope = "a b" }, `scope "a b": want printable ASCII without spaces`},
		"a line break": {func(r *exchange.Request) { r.Scope = "a\nb" }, `scope "a\nb": want printable ASCII without spaces`},
		"a long client ID": {
			func(r *exchange.Request) { r.Client = strings.Repeat("2", 1000) },
			`client ID "` + strings.Repeat("2", 100) + `…": want a GUID`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			request := wanted()
			test.change(&request)
			_, err := c.AccessToken(t.Context(), request)
			wantKind(t, err, exchange.Invalid)
			if want := "invalid request: " + test.want; err.Error() != want {
				t.Errorf("got error %q; want %q", err, want)
			}
		})
	}
}

func TestATenantMayBeADomain(t *testing.T) {
	var path string
	c := newClient(t, tokenFile(t), func(r *http.Request) (reply, error) {
		path = r.URL.Path
		return answer(http.StatusOK, good), nil
	})
	request := wanted()
	request.Tenant = "contoso.onmicrosoft.com"
	if _, err := c.AccessToken(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if want := "/contoso.onmicrosoft.com/oauth2/v2.0/token"; path != want {
		t.Errorf("posted to %q; want %q", path, want)
	}
}
