package metadata_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/metadata"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

const form = "resource=https%3A%2F%2Fvault.azure.net"

// TestClients sends what real clients send, as the reference of each says.
func TestClients(t *testing.T) {
	s := new(source)
	address := listen(t, newHandler(t, s), quiet())
	const vault = "https://vault.azure.net/.default"
	for _, test := range []struct {
		name, request string
		client, scope string
	}{
		{"go azidentity", get(asked), client, vault},
		{
			"go azidentity with a client ID",
			get(asked + "&client_id=" + other), other, vault,
		},
		{
			"@azure/identity by AZURE_POD_IDENTITY_AUTHORITY_HOST: a slash, a content type, an address of its own",
			"GET " + metadata.TokenPath + "/" + query + " HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n" + headTrue + "Content-Type: application/json\r\n\r\n",
			client, vault,
		},
		{
			"azure-identity for Python: the resource is not escaped",
			get(metadata.TokenPath + "?api-version=2018-02-01&resource=https://vault.azure.net"), client, vault,
		},
		{
			"azure-cli: the resource ends in a slash, which the audience keeps",
			get(metadata.TokenPath + "?resource=https%3A%2F%2Fmanagement.core.windows.net%2F&api-version=2018-02-01"),
			client, "https://management.core.windows.net//.default",
		},
		{
			"adal 0.9.5 with an explicit endpoint: a form on the GET",
			get(asked, fmt.Sprintf("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n", len(form))) + form,
			client, vault,
		},
		{"a body of the largest size", get(asked, "Content-Length: 65536\r\n") + strings.Repeat("x", 65536), client, vault},
		{"the first component in another case", get("/MetaDATA/identity/oauth2/token" + query), client, vault},
		{"no api-version", get(metadata.TokenPath + "?" + form), client, vault},
		{"another api-version", get(metadata.TokenPath + "?api-version=2017-10-01&" + form), client, vault},
		{"unknown variables", get(asked + "&bypass_cache=true&xms_cc=cp1&&"), client, vault},
		{"as many variables as are allowed", get(asked + "&a&b&c&d&e&f&g&h&i&j&k&l&m&n"), client, vault},
		{"empty selectors", get(asked + "&client_id=&object_id=&mi_res_id=&msi_res_id="), client, vault},
		{"a client ID in upper case", get(asked + "&client_id=" + strings.ToUpper(client)), client, vault},
		{"a resource that is a scope", get(metadata.TokenPath + "?resource=api://x/.default"), client, "api://x/.default"},
		{"a resource that is a GUID", get(metadata.TokenPath + "?resource=" + other), client, other + "/.default"},
		{"names in another case", get(metadata.TokenPath + "?Resource=x&CLIENT_ID=" + other), other, "x/.default"},
		{"an escaped name", get(metadata.TokenPath + "?%72esource=x"), client, "x/.default"},
		{"header names in lower case", "GET " + asked + " HTTP/1.1\r\nhost: 169.254.169.254\r\nmetadata: true\r\n\r\n", client, vault},
		{"blanks around the header's value", "GET " + asked + " HTTP/1.1\r\n" + headHost + "Metadata:  true \r\n\r\n", client, vault},
		{"the host with its port", "GET " + asked + " HTTP/1.1\r\nHost: 169.254.169.254:80\r\n" + headTrue + "\r\n", client, vault},
		{"localhost", "GET " + asked + " HTTP/1.1\r\nHost: localhost:8000\r\n" + headTrue + "\r\n", client, vault},
		{"Localhost without a port", "GET " + asked + " HTTP/1.1\r\nHost: Localhost\r\n" + headTrue + "\r\n", client, vault},
		{"IPv6", "GET " + asked + " HTTP/1.1\r\nHost: [::1]:8000\r\n" + headTrue + "\r\n", client, vault},
		{"IPv6 without a port", "GET " + asked + " HTTP/1.1\r\nHost: [::1]\r\n" + headTrue + "\r\n", client, vault},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := send(t, address, test.request)
			if a.status != http.StatusOK || !strings.Contains(a.body, secret) || a.closed {
				t.Fatalf("answer: %v", a)
			}
			want := exchange.Request{Tenant: tenant, Client: test.client, Scope: test.scope}
			if got := s.request(); got != want {
				t.Errorf("asked for %v; want %v", got, want)
			}
		})
	}
}

// TestReady holds what `proxy probe` and users' probes look at.
func TestReady(t *testing.T) {
	s := &source{does: fails(&exchange.Error{Kind: exchange.Unavailable})}
	a := send(t, listen(t, newHandler(t, s), quiet()), "GET /readyz?x HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n")
	if a.status != http.StatusOK || a.body != "ok" {
		t.Errorf("answer: %v", a)
	}
	if n := s.asked.Load(); n != 0 {
		t.Errorf("the source was asked %d times", n)
	}
}

// TestProbes: whatever comes back at once means to clients that the service is there.
func TestProbes(t *testing.T) {
	address := listen(t, newHandler(t, new(source)), quiet())
	for name, request := range map[string]string{
		"go azidentity, @azure/identity": "GET " + metadata.TokenPath + " HTTP/1.1\r\n" + headHost + "\r\n",
		"azure-identity for Python":      "GET " + asked + " HTTP/1.1\r\n" + headHost + "\r\n",
	} {
		if a := send(t, address, request); a.status != http.StatusBadRequest || a.closed {
			t.Errorf("%s: %v", name, a)
		}
	}
}

// refused is a request and the status that it gets; the whole answer is in a
// golden file.
type refused struct {
	name, request string
	status        int
}

// badRequests are what is wrong but for the path.
func badRequests() []refused {
	without := func(lines string) string { return "GET " + asked + " HTTP/1.1\r\n" + lines + "\r\n" }
	with := func(more string) string { return get(asked + more) }
	const token = metadata.TokenPath
	return []refused{
		// The header Metadata.
		{"no Metadata header", without(headHost), 400},
		{"Metadata twice", get(asked, headTrue), 400},
		{"Metadata with two values", without(headHost + "Metadata: true, true\r\n"), 400},
		{"Metadata in another case", without(headHost + "Metadata: True\r\n"), 400},
		{"Metadata: false", without(headHost + "Metadata: false\r\n"), 400},
		{"Metadata empty", without(headHost + "Metadata:\r\n"), 400},
		{"Metadata: 1", without(headHost + "Metadata: 1\r\n"), 400},
		{"Metadata by another name", without(headHost + "X-Metadata: true\r\nMeta-data: true\r\n"), 400},
		{"Metadata in the query", without(headHost), 400},
		{"Metadata folded", without(headHost + "Metadata: tr\r\n ue\r\n"), 400},
		{"Metadata after a blank", without(headHost + "Metadata : true\r\n"), 400},

		// Who asks.
		{"X-Forwarded-For", get(asked, "X-Forwarded-For: 10.0.0.1\r\n"), 400},
		{"X-Forwarded-For empty", get(asked, "x-forwarded-for:\r\n"), 400},
		{"host name, as after DNS rebinding", without("Host: rebind.example:80\r\n" + headTrue), 400},
		{"host name that looks like an address", without("Host: 169.254.169.254.example\r\n" + headTrue), 400},
		{"host name that ends in localhost", without("Host: evil.localhost\r\n" + headTrue), 400},
		{"host as a number", without("Host: 2852039166\r\n" + headTrue), 400},
		{"host empty", without("Host:\r\n" + headTrue), 400},
		{"host with quotes", without("Host: \"<b>\"\r\n" + headTrue), 400},
		{"no host", without(headTrue), 400},
		{"host twice", get(asked, headHost), 400},

		// The query.
		{"no query", get(token), 400},
		{"no resource", get(token + "?api-version=2018-02-01"), 400},
		{"resource empty", get(token + "?resource=&api-version=2018-02-01"), 400},
		{"resource without a value", get(token + "?resource"), 400},
		{"resource in another case, and empty", get(token + "?Resource="), 400},
		{"resource twice, once in another case", with("&Resource=x"), 400},
		{"client_id twice, once in another case", with("&client_id=" + client + "&CLIENT_ID=" + other), 400},
		{"resource twice", with("&resource=https%3A%2F%2Fvault.azure.net"), 400},
		{"resource twice, once escaped", with("&%72esource=x"), 400},
		{"resource twice, once empty", with("&resource="), 400},
		{"resource in a form alone", get(token, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 38\r\n") + form, 400},
		{"client_id twice", with("&client_id=" + client + "&client_id=" + other), 400},
		{"api-version twice", with("&api-version=2018-02-01"), 400},
		{"an unknown variable twice", with("&x=1&x=2"), 400},
		{"too many variables", with("&a&b&c&d&e&f&g&h&i&j&k&l&m&n&o"), 400},
		{"a value that is not percent-encoded", with("&client_id=%zz"), 400},
		{"a name that is not percent-encoded", with("&%=1"), 400},
		{"semicolons", get(token + "?resource=x;client_id=" + other), 400},
		{"client_id that is no GUID", with("&client_id=my-app"), 400},
		{"client_id with a blank", with("&client_id=" + client + "+"), 400},
		{"client_id with a path", with("&client_id=../" + client), 400},
		{"client_id in braces", with("&client_id={" + other + "}"), 400},
		{"client_id without dashes", with("&client_id=222222222222222222222222222222221111"), 400},
		{"client_id with a letter that is no digit", with("&client_id=2222222g-2222-2222-2222-222222222222"), 400},
		{"client_id that is long and hostile", with("&client_id=%3Cscript%3E%22%5C%00%C3%A9" + strings.Repeat("x", 200)), 400},
		{"object_id", with("&object_id=" + other), 400},
		{"object_id in another case", with("&Object_ID=" + other), 400},
		{"principal_id", with("&principal_id=" + other), 400},
		{"clientid, which is no client_id", with("&clientid=" + other), 400},
		{"clientId in another case", with("&clientId=" + other), 400},
		{"msi_res_id", with("&msi_res_id=%2Fsubscriptions%2Fx"), 400},
		{"mi_res_id", with("&mi_res_id=%2Fsubscriptions%2Fx"), 400},
		{"client_id and object_id", with("&client_id=" + client + "&object_id=" + other), 400},
		{"client_id and msi_res_id", with("&msi_res_id=x&client_id=" + client), 400},
		{"client_id and mi_res_id", with("&client_id=" + client + "&mi_res_id=x"), 400},

		// The form of the request.
		{"absolute form", get("http://169.254.169.254" + asked), 400},
		{"absolute form of another host", get("http://user:password@example.com/"), 400},
		{"absolute form in another case", get("HTTP://169.254.169.254" + asked), 400},
		{"authority form", "CONNECT 169.254.169.254:80 HTTP/1.1\r\n" + headHost + headTrue + "\r\n", 400},
		{"OPTIONS *, which net/http would answer", "OPTIONS * HTTP/1.1\r\n" + headHost + "\r\n", 400},
		{"asterisk form", "GET * HTTP/1.1\r\n" + headHost + headTrue + "\r\n", 400},
		{"no path", get("metadata/identity/oauth2/token" + query), 400},
		{"HTTP/1.0", "GET " + asked + " HTTP/1.0\r\n" + headHost + headTrue + "\r\n", 400},
		{"HTTP/1.0 that is kept alive", "GET " + asked + " HTTP/1.0\r\nConnection: keep-alive\r\n" + headHost + headTrue + "\r\n", 400},
		{"HTTP/0.9", "GET " + asked + "\r\n\r\n", 400},
		{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
		{"HTTP/2.0 by name", "GET " + asked + " HTTP/2.0\r\n" + headHost + headTrue + "\r\n", 505},
		{"Transfer-Encoding and Content-Length", get(asked, "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\nX", 400},
		{"Transfer-Encoding alone", get(asked, "Transfer-Encoding: chunked\r\n") + "1\r\nx\r\n0\r\n\r\n", 400},
		{"Transfer-Encoding and Content-Length on another path", get("/x", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\nX", 400},
		{"Transfer-Encoding and Content-Length on readyz", get("/readyz", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\nX", 400},
		{"Transfer-Encoding and Content-Length by POST", "POST /x HTTP/1.1\r\n" + headHost + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX", 400},
		{"another Transfer-Encoding", get(asked, "Transfer-Encoding: identity\r\n"), 501},
		{"two lengths", get(asked, "Content-Length: 1\r\nContent-Length: 2\r\n") + "xx", 400},
		{"a negative length", get(asked, "Content-Length: -1\r\n"), 400},
		{"a body that is too long", get(asked, "Content-Length: 65537\r\n") + strings.Repeat("x", 65537), 413},
		{"a body of a million terabytes", get(asked, "Content-Length: 1000000000000000000\r\n"), 413},
		{"a header line without a colon", get(asked, "garbage\r\n"), 400},
		{"NUL in a header", get(asked, "X: \x00\r\n"), 400},

		// Methods.
		{"POST", "POST " + asked + " HTTP/1.1\r\n" + headHost + headTrue + "\r\n", 405},
		{"PUT", "PUT " + asked + " HTTP/1.1\r\n" + headHost + headTrue + "\r\n", 405},
		{"OPTIONS, which browsers ask first", "OPTIONS " + asked + " HTTP/1.1\r\n" + headHost + headTrue + "\r\n", 405},
		{"get in lower case", "get " + asked + " HTTP/1.1\r\n" + headHost + headTrue + "\r\n", 405},
		{"POST of readyz", "POST /readyz HTTP/1.1\r\n" + headHost + "\r\n", 405},
	}
}

// badPaths are the corpus of CVE-2022-23551 and what else has been used to make
// one path look like another.
func badPaths() []string {
	return []string{
		"/", "//", "/metadata", "/metadata/", "/metadata/instance", "/metadata/instance?api-version=2021-02-01",
		"/metadata/identity/info", "/metadata/identity/getplatformmetadata?cred-api-version=2.0",
		"/metadata/identity/oauth2", "/metadata/identity/oauth2/", "/metadata/identity/oauth2/tokens", "/metadata/attested/document",
		"/oauth2/token", "/token", "/healthz", "/readyz/", "/Readyz", "/readyz%20", "/readyz;x", "//readyz", "/x/../readyz",
		`/metadata/identity\oauth2\token`, `/metadata\identity\oauth2\token`, `\metadata\identity\oauth2\token`, `/metadata/identity/oauth2\token`,
		"/metadata/identity%5coauth2%5ctoken", "/metadata/identity%5Coauth2%5Ctoken", "/metadata/identity%255coauth2%255ctoken",
		"/metadata/identity%2foauth2%2ftoken", "/metadata/identity%2Foauth2/token", "/metadata/identity%252foauth2%252ftoken", "/metadata%2fidentity/oauth2/token",
		"/%6detadata/identity/oauth2/token", "/metadata/identity/oauth2/%74oken", "/metadata/identity/oauth2/toke%6E", "/metadata/identity/oauth2/token%2f",
		"/metadata/identity/oauth2/%2574oken", "/metadata/identity/oauth2/token%20", "/metadata/identity/oauth2/token%00", "/metadata/identity/oauth2/token%0a",
		"/metadata/identity/oauth2/token%3f", "/metadata/identity/oauth2/token%3b",
		"/metadata/identity/./oauth2/token", "/metadata/identity/x/../oauth2/token", "/x/../metadata/identity/oauth2/token", "/./metadata/identity/oauth2/token",
		"/metadata/identity/%2e/oauth2/token", "/metadata/identity/x/%2e%2e/oauth2/token", "/metadata/identity/x/..%2foauth2/token", `/metadata/identity/x/..\oauth2/token`,
		"/metadata/identity/oauth2/token/.", "/metadata/identity/oauth2/token/..", "/metadata/identity/oauth2/token/../token", "/metadata/identity/oauth2/x/../token",
		"//metadata/identity/oauth2/token", "/metadata//identity/oauth2/token", "/metadata/identity//oauth2/token", "/metadata/identity/oauth2//token",
		"/metadata/identity/oauth2/token//", "///metadata/identity/oauth2/token", "//169.254.169.254/metadata/identity/oauth2/token",
		"/metadata/identity/oauth2/token/x", "/metadata/identity/oauth2/token;x=1", "/metadata;x/identity/oauth2/token", "/metadata/identity/oauth2/token;/",
		"/metadata/identity/oauth2/token#x", "/metadata/identity/oauth2/token:80", "/metadata/identity/oauth2/token&x", "/metadata/identity/oauth2/token.json",
		"/metadata/Identity/oauth2/token", "/metadata/identity/OAuth2/token", "/metadata/identity/oauth2/TOKEN", "/METADATA/IDENTITY/OAUTH2/TOKEN",
		"/metad\u0430ta/identity/oauth2/token", "/metadata/identity/oauth2/to\u212Aen", "/metadata/identity/oauth2/token\u200b", "/metadata\uff0fidentity/oauth2/token",
		"/metadata/identity/oauth2/token%c0%af", "/metadata/identity/oauth2/token\xff", "/metadata/identity/oauth2/%u0074oken",
		"/metadata/identity/oauth2/token\x00", "/metadata/identity/oauth2/token\x7f", "/metadata/identity/oauth2/token\t", "/metadata/identity/oauth2/ token",
		"/metadata/identity/oauth2/token%", "/metadata/identity/oauth2/token%2", "/metadata/identity/oauth2/token%zz",
		"/latest/meta-data/iam/security-credentials/", "/computeMetadata/v1/instance/service-accounts/default/token",
	}
}

// TestBadRequests: each gets exactly this answer, and none reaches the source.
func TestBadRequests(t *testing.T) {
	s := new(source)
	address := listen(t, newHandler(t, s), quiet())
	var all strings.Builder
	for _, test := range badRequests() {
		a := send(t, address, test.request)
		if a.status != test.status {
			t.Errorf("%s: status %d, want %d: %v", test.name, a.status, test.status, a)
		}
		if a.header.Get("Content-Type") == "application/json" {
			a.checkHeaders(t)
			fmt.Fprintf(&all, "# %s\n%v\n", test.name, a)
		} else {
			fmt.Fprintf(&all, "# %s\n%d by net/http itself\n\n", test.name, a.status)
		}
	}
	golden(t, "bad-requests.txt", all.String())
	if n := s.asked.Load(); n != 0 {
		t.Errorf("the source was asked %d times", n)
	}
}

// TestBadPaths: none is the path of a token, and all get the same answer.
func TestBadPaths(t *testing.T) {
	s := new(source)
	address := listen(t, newHandler(t, s), quiet())
	answers := make(map[string]bool)
	for _, path := range badPaths() {
		target := path + query
		if strings.Contains(path, "?") {
			target = path
		}
		a := send(t, address, get(target))
		byServer := a.status == http.StatusBadRequest && (strings.ContainsAny(path, "\x00\x7f\t ") || strings.Contains(path, "%"))
		noPath := a.status == http.StatusBadRequest && strings.HasPrefix(path, `\`)
		if a.status != http.StatusNotFound && !byServer && !noPath {
			t.Errorf("%q: %v", path, a)
		}
		if a.status == http.StatusNotFound {
			answers[a.String()] = true
		}
	}
	if len(answers) != 1 {
		t.Errorf("%d different answers", len(answers))
	}
	for answer := range answers {
		golden(t, "bad-path.txt", answer)
	}
	if n := s.asked.Load(); n != 0 {
		t.Errorf("the source was asked %d times", n)
	}
}

// TestIdentities holds who is asked for, and who may be.
func TestIdentities(t *testing.T) {
	only := func(ids ...string) func(*metadata.Config) {
		return func(c *metadata.Config) { c.AllowedClientIDs = ids }
	}
	nobody := func(c *metadata.Config) { c.ClientID = "" }
	const third = "44444444-4444-4444-4444-444444444444"
	for _, test := range []struct {
		name, more string
		set        []func(*metadata.Config)
		client     string // that is asked for, or
		refusal    string
	}{
		{name: "the default", client: client},
		{name: "another", more: "&client_id=" + other, client: other},
		{
			name: "no default and none named", set: []func(*metadata.Config){nobody},
			refusal: "the request has no client_id, and the pod has none: set annotation azure.workload.identity/client-id on its ServiceAccount, or client_id in the request",
		},
		{name: "no default and one named", more: "&client_id=" + other, set: []func(*metadata.Config){nobody}, client: other},
		{name: "an allowed one", more: "&client_id=" + other, set: []func(*metadata.Config){only(third, other)}, client: other},
		{name: "an allowed one in another case", more: "&client_id=" + client, set: []func(*metadata.Config){nobody, only(strings.ToUpper(client))}, client: client},
		{name: "the default beside others that are allowed", set: []func(*metadata.Config){only(third)}, client: client},
		{name: "the default by name beside others that are allowed", more: "&client_id=" + strings.ToUpper(client), set: []func(*metadata.Config){only(third)}, client: client},
		{
			name: "one that is not allowed", more: "&client_id=" + other, set: []func(*metadata.Config){only(third)},
			refusal: `client_id \"` + other + `\" is not among the identities that are allowed here`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := new(source)
			a := send(t, listen(t, newHandler(t, s, test.set...), quiet()), get(asked+test.more))
			if test.refusal == "" {
				a.checkHeaders(t)
				if a.status != http.StatusOK || s.request().Client != test.client || !strings.Contains(a.body, `"client_id":"`+test.client+`"`) {
					t.Errorf("asked for %v, answer %v", s.request(), a)
				}
				return
			}
			want := `{"error":"invalid_request","error_description":"` + test.refusal + `"}`
			if a.status != http.StatusBadRequest || a.body != want || s.asked.Load() != 0 {
				t.Errorf("answer %v\nwant %s", a, want)
			}
		})
	}
}
