package oidc_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

func TestVerifyContentType(t *testing.T) {
	discovery := func(value string) func(*world) {
		return func(w *world) { w.discovery.header["Content-Type"] = []string{value} }
	}
	jwks := func(value string) func(*world) {
		return func(w *world) { w.jwks.header["Content-Type"] = []string{value} }
	}
	for _, test := range []verifyCase{
		{name: "a charset", change: discovery("Application/JSON; charset=utf-8")},
		{
			name: "JSON for a key set", change: jwks("application/json"),
			want: []string{`PASS  jwks: content type: application/json`},
		},
		{
			name: "what storage sets by itself", change: discovery("application/octet-stream"),
			want: []string{`WARN  discovery: content type: "application/octet-stream"; strict relying parties refuse it -> set the object's Content-Type to application/json`},
		},
		{
			name: "a key set's for a discovery document", change: discovery("application/jwk-set+json"),
			want: []string{`WARN  discovery: content type: "application/jwk-set+json"; strict relying parties refuse it -> set the object's Content-Type to application/json`},
		},
		{
			name: "none", change: jwks(""),
			want: []string{`WARN  jwks: content type: the header is missing -> set the object's Content-Type to application/jwk-set+json`},
		},
		{
			name: "no media type", change: jwks("json;;"),
			want: []string{`WARN  jwks: content type: "json;;"; strict relying parties refuse it -> set the object's Content-Type to application/jwk-set+json`},
		},
		{
			name: "compressed unasked", change: func(w *world) { w.jwks.header.Set("Content-Encoding", "br") },
			want: []string{`FAIL  jwks: content type: encoded as "br", which was not asked for -> store the document as it is, without Content-Encoding`},
		},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, nil) })
	}
}

func TestVerifyCaching(t *testing.T) {
	const cure = ` -> set the object's Cache-Control to "public, max-age=300"`
	set := func(values ...string) func(*world) {
		return func(w *world) { w.jwks.header["Cache-Control"] = values }
	}
	for _, test := range []verifyCase{
		{name: "as kube-apiserver", change: set("public, max-age=3600"), want: []string{`PASS  jwks: caching: max-age is 1h0m0s`}},
		{name: "quoted, in upper case", change: set(`Public`, `MAX-AGE="300"`)},
		{
			name: "none", change: set(),
			want: []string{`WARN  jwks: caching: Cache-Control "" has no max-age: relying parties choose themselves how long they keep it` + cure},
		},
		{
			name: "no number", change: set("max-age=long"),
			want: []string{`WARN  jwks: caching: Cache-Control "max-age=long" has no max-age: relying parties choose themselves how long they keep it` + cure},
		},
		{
			name: "a second longer than an hour", change: set("max-age=3601"),
			want: []string{`WARN  jwks: caching: max-age is 1h0m1s: a new key must wait that long before it may sign` + cure},
		},
		{
			name: "longer in shared caches", change: set("s-maxage=86400, max-age=300"),
			want: []string{`WARN  jwks: caching: max-age is 24h0m0s: a new key must wait that long before it may sign` + cure},
		},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, nil) })
	}
}

func TestVerifyStrictJSON(t *testing.T) {
	const cure = ` -> upload what issuer-sync publish renders, unchanged`
	gate := "discovery: strict JSON"
	discovery := func(change func(string) string) func(*world) {
		return func(w *world) { w.discovery.body = change(w.discovery.body) }
	}
	always := func(body string) func(*world) { return discovery(func(string) string { return body }) }
	fails := func(detail string) []string { return []string{`FAIL  discovery: strict JSON: ` + detail + cure} }
	for _, test := range []verifyCase{
		{name: "nothing", change: always(""), blocks: gate, want: fails("unexpected end of JSON input")},
		{name: "HTML", change: always("\n<!DOCTYPE html>"), blocks: gate, want: fails("it looks like HTML or XML")},
		{
			name: "a byte order mark", blocks: gate, want: fails("it begins with a byte order mark"),
			change: discovery(func(s string) string { return "\xef\xbb\xbf" + s }),
		},
		{name: "another encoding", change: always("{\"issuer\":\"\xff\"}"), blocks: gate, want: fails("it is not UTF-8")},
		{
			name: "something after it", blocks: gate, want: fails("invalid character '{' after top-level value"),
			change: discovery(func(s string) string { return s + "{}" }),
		},
		{
			name: "a duplicate member", blocks: gate, want: fails("json: duplicate key 'issuer' in object"),
			change: discovery(func(s string) string { return `{"issuer":"https://evil.example.com",` + s[1:] }),
		},
		{name: "a list", change: always("[]"), blocks: gate, want: fails("json: cannot unmarshal array into Go value of type map[string]json.RawMessage")},
		{name: "depth", change: always(strings.Repeat("[", 100_000)), blocks: gate, want: fails("invalid character '[' exceeded max depth")},
		{
			name: "a byte more than a mebibyte", blocks: gate, want: fails("it has more than 1048576 bytes"),
			change: discovery(func(s string) string { return s + strings.Repeat(" ", keys.MaxInputSize+1-len(s)) }),
		},
		{
			name:   "a mebibyte",
			change: discovery(func(s string) string { return s + strings.Repeat(" ", keys.MaxInputSize-len(s)) }),
		},
		{
			name: "a key set that is none", blocks: "jwks: strict JSON", change: func(w *world) { w.jwks.body = "<html>" },
			want: []string{`FAIL  jwks: strict JSON: not a JWK set: it looks like HTML or XML` + cure},
		},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, nil) })
	}
}

func TestVerifyExactIssuer(t *testing.T) {
	for _, test := range []struct{ name, issuer, document, difference string }{
		{"a trailing slash too many", worldIssuer, worldIssuer + "/", ", with a trailing slash"},
		{"a trailing slash too few", worldIssuer + "/", worldIssuer, ", without the trailing slash"},
		{"upper case", worldIssuer, "https://OIDC.example.com/prod", ", which differs in upper and lower case"},
		{"the default port", worldIssuer, "https://oidc.example.com:443/prod", ", which differs in the port :443"},
		{"http", worldIssuer, "http://oidc.example.com/prod", ", which differs in the scheme"},
		{"white space", worldIssuer, worldIssuer + "\n", ", with white space around it"},
		{"the cluster's default", worldIssuer, "https://kubernetes.default.svc.cluster.local", ", the cluster's internal default"},
		{"nothing", worldIssuer, "", ", no issuer at all"},
		{"another one", worldIssuer, "https://oidc.example.com/test", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			prepare := func(w *world) {
				w.issuer = test.issuer
				w.publish(rsaPublic("rsa-1"))
			}
			verifyCase{
				change: func(w *world) { w.set("issuer", test.document) },
				want: []string{
					`FAIL  discovery: issuer: the document says ` + strconv.Quote(test.document) + test.difference + `; want ` + strconv.Quote(test.issuer) +
						` -> let cluster, document and trust configuration name one string, byte for byte: publish with the issuer of --service-account-issuer`,
				},
			}.run(t, prepare)
		})
	}
}

func TestVerifyDiscoveryMembers(t *testing.T) {
	const (
		cure    = ` -> upload what issuer-sync publish renders, unchanged`
		uriCure = ` -> name a plain https address, without credentials, at which everybody can read the JWK set`
	)
	uri := func(value any) func(*world) { return func(w *world) { w.set("jwks_uri", value) } }
	for _, test := range []verifyCase{
		{
			name: "nothing but the issuer", blocks: "discovery: jwks_uri",
			change: func(w *world) { w.discovery.body = `{"issuer":"` + worldIssuer + `"}` },
			want: []string{
				`FAIL  discovery: required members: response_types_supported lacks "id_token"; subject_types_supported lacks "public"; ` +
					`id_token_signing_alg_values_supported is missing or empty` + cure,
				`FAIL  discovery: jwks_uri: the member is missing or empty` + uriCure,
			},
		},
		{
			name: "wrong types",
			change: func(w *world) {
				w.set("response_types_supported", "id_token")
				w.set("id_token_signing_alg_values_supported", map[string]any{})
			},
			want: []string{
				`FAIL  discovery: required members: id_token_signing_alg_values_supported has a wrong type; response_types_supported has a wrong type` + cure,
				`FAIL  jwks: algorithms: the discovery document does not list "RS256", of which there are keys -> publish both documents together, with issuer-sync publish: the list follows from the keys`,
			},
		},
		{
			name: "http", blocks: "discovery: jwks_uri", change: uri("http://oidc.example.com/prod/openid/v1/jwks"),
			want: []string{`FAIL  discovery: jwks_uri: "http://oidc.example.com/prod/openid/v1/jwks" is not an absolute https URL` + uriCure},
		},
		{
			name: "a path alone", blocks: "discovery: jwks_uri", change: uri("/openid/v1/jwks"),
			want: []string{`FAIL  discovery: jwks_uri: ":///openid/v1/jwks" is not an absolute https URL` + uriCure},
		},
		{
			name: "no URL", blocks: "discovery: jwks_uri", change: uri("https://host:port/canary"),
			want: []string{`FAIL  discovery: jwks_uri: it is no URL` + uriCure},
		},
		{
			name: "a password", blocks: "discovery: jwks_uri", change: uri("https://user:canary@oidc.example.com/prod/openid/v1/jwks"),
			want: []string{`FAIL  discovery: jwks_uri: "https://oidc.example.com/prod/openid/v1/jwks" has a user in it` + uriCure + `; change the password, it is public`},
		},
		{
			name: "a fragment", blocks: "discovery: jwks_uri", change: uri("https://oidc.example.com/prod/openid/v1/jwks#"),
			want: []string{`FAIL  discovery: jwks_uri: "https://oidc.example.com/prod/openid/v1/jwks" has a fragment` + uriCure},
		},
		{
			name: "a storage signature", change: uri("https://oidc.example.com/prod/openid/v1/jwks?sig=canary"),
			want: []string{`WARN  discovery: jwks_uri: "https://oidc.example.com/prod/openid/v1/jwks" has a query` + uriCure + `; a storage signature in it would expire`},
		},
		{
			name: "another host, another path, as EKS and GKE",
			change: func(w *world) {
				w.set("jwks_uri", "https://keys.example.com/v3/keys")
				w.pages["keys.example.com/v3/keys"] = w.jwks
			},
			want: []string{`PASS  discovery: jwks_uri: "https://keys.example.com/v3/keys"`, `PASS  jwks: reachable: "https://keys.example.com/v3/keys"`},
		},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, nil) })
	}
}

// TestVerifyIsNoErrand shows that an issuer cannot send Verify where relying
// parties would not go.
func TestVerifyIsNoErrand(t *testing.T) {
	for name, change := range map[string]func(*world){
		"redirect":         func(w *world) { w.discovery.status = http.StatusFound },
		"page for people":  func(w *world) { w.discovery.status = http.StatusUnauthorized },
		"without TLS":      func(w *world) { w.set("jwks_uri", "http://metadata.example.com/") },
		"with a password":  func(w *world) { w.set("jwks_uri", "https://a:b@metadata.example.com/") },
		"duplicate member": func(w *world) { w.discovery.body = `{"issuer":"",` + w.discovery.body[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.discovery.header.Set("Location", "https://metadata.example.com/")
			w.set("jwks_uri", "https://metadata.example.com/")
			change(w)
			w.verify()
			if len(w.dialed) != 1 || w.dialed[0] != "oidc.example.com:443" {
				t.Errorf("dialed %q", w.dialed)
			}
		})
	}
}
