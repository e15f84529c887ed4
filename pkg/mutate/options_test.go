package mutate_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

func TestNewRefuses(t *testing.T) {
	const options = `{"TenantID":"` + tenantID + `"`
	const endpoint = options + `,"TokenEndpoint":{"Annotation":"identity-binding","Audience":"api://x","URL":"https://x"`
	for name, c := range map[string]struct{ options, want string }{
		"no tenant":                 {`{}`, `tenant ID "": want a GUID or a domain name such as contoso.onmicrosoft.com`},
		"a word for a tenant":       {`{"TenantID":"common"}`, `tenant ID "common": want a GUID or a domain name such as contoso.onmicrosoft.com`},
		"a tenant with a space":     {`{"TenantID":"contoso.com "}`, `tenant ID "contoso.com ": want a GUID or a domain name such as contoso.onmicrosoft.com`},
		"a cloud without authority": {options + `,"Cloud":{"Audience":"x"}}`, `authority host "": want an https URL without query`},
		"an authority over http":    {options + `,"Cloud":{"AuthorityHost":"http://x/","Audience":"x"}}`, `authority host "http://x/": want an https URL without query`},
		"a cloud without audience":  {options + `,"Cloud":{"AuthorityHost":"https://x/"}}`, `audience is empty`},
		"an endpoint without anything": {options + `,"TokenEndpoint":{}}`, `custom token endpoint annotation suffix "": want what can end the name of an annotation, such as "identity-binding"
custom token endpoint audience "": want one that differs from the token's, "api://AzureADTokenExchange"
custom token endpoint "": want an https URL without query`},
		"an endpoint with Entra's audience":     {options + `,"TokenEndpoint":{"Annotation":"x","Audience":"API://AzureADTokenExchange","URL":"https://x"}}`, `custom token endpoint audience "API://AzureADTokenExchange": want one that differs from the token's, "api://AzureADTokenExchange"`},
		"an endpoint with a bad annotation":     {options + `,"TokenEndpoint":{"Annotation":"a b","Audience":"x","URL":"https://x"}}`, `custom token endpoint annotation suffix "a b": want what can end the name of an annotation, such as "identity-binding"`},
		"an endpoint with two CAs":              {endpoint + `,"CAConfigMap":"a","CASigner":"b"}}`, `custom token endpoint CA is given 2 times; want one of data, ConfigMap "a" and signer "b"`},
		"an endpoint with a selector alone":     {endpoint + `,"CASelector":{}}}`, `custom token endpoint CA has a label selector but no signer; want both`},
		"an endpoint with a CA that is none":    {endpoint + `,"CAData":"MIIB"}}`, `custom token endpoint CA data holds no certificate; want PEM`},
		"an endpoint with a CA of another type": {endpoint + `,"CAData":"-----BEGIN X-----\nMAo=\n-----END X-----\n"}}`, `custom token endpoint CA data: block 1 is no certificate; want PEM certificates and nothing else`},
		"an image with a scheme":                {options + `,"Proxy":{"Image":"https://x/proxy"}}`, `proxy image "https://x/proxy": want a reference such as "registry.example/proxy:v1", or with a digest "...@sha256:" and 64 hex digits`},
		"an image with half a digest":           {options + `,"Proxy":{"Image":"x","InitImage":"x@sha256:12"}}`, `proxy image "x@sha256:12": want a reference such as "registry.example/proxy:v1", or with a digest "...@sha256:" and 64 hex digits`},
		"an image with an empty tag":            {options + `,"Proxy":{"Image":"docker.io/p:"}}`, `proxy image "docker.io/p:": want a reference such as "registry.example/proxy:v1", or with a digest "...@sha256:" and 64 hex digits`},
		"another mode":                          {options + `,"Proxy":{"Mode":"Env"}}`, `proxy mode "Env": want "redirect" or "env"`},
		"another log level":                     {options + `,"Proxy":{"LogLevel":"trace"}}`, `proxy log level "trace": want one of debug, info, warn, error`},
		"a request above its limit":             {options + `,"Proxy":{"Resources":{"requests":{"cpu":"2"},"limits":{"cpu":"1"}}}}`, `proxy cpu request 2 is above its limit 1`},
	} {
		t.Run(name, func(t *testing.T) {
			var o mutate.Options
			if err := json.Unmarshal([]byte(c.options), &o); err != nil {
				t.Fatal(err)
			}
			if _, err := mutate.New(o); err == nil || err.Error() != c.want {
				t.Errorf("error %v\nwant  %s", err, c.want)
			}
		})
	}
}

// Whatever is in the CA data is in every pod that asks: a key must not be.
func TestCADataIsCertificatesOnly(t *testing.T) {
	certificate, err := os.ReadFile(filepath.Join("testdata", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	ca := string(certificate)
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))
	broken := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	for name, c := range map[string]struct{ data, fault string }{
		"one":                               {ca, ""},
		"two, with empty lines":             {"\n" + ca + "\n\n" + ca, ""},
		"a key behind":                      {ca + key, "block 2 is no certificate"},
		"a key ahead":                       {key + ca, "block 1 is no certificate"},
		"a key between":                     {ca + key + ca, "block 2 is no certificate"},
		"a damaged key ahead":               {strings.Replace(key, "\n-----END", "*\n-----END", 1) + ca, "block 1 is no certificate"},
		"a damaged certificate ahead":       {strings.Replace(ca, "\n-----END", "*\n-----END", 1) + ca, "block 1 is damaged"},
		"a damaged key behind":              {ca + strings.Replace(key, "\n-----END", "*\n-----END", 1), "block 2 is no certificate"},
		"text behind":                       {ca + "x", "block 2 is no certificate"},
		"text ahead":                        {"# x\n" + ca, "block 1 is no certificate"},
		"a header":                          {strings.Replace(ca, "-----\n", "-----\nA: b\n\n", 1), "block 1 is no certificate"},
		"a certificate that cannot be read": {ca + broken, "block 2: x509: malformed certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mutate.New(mutate.Options{
				TenantID:      tenantID,
				TokenEndpoint: &mutate.TokenEndpoint{Annotation: "x", Audience: "api://x", URL: "https://x", CAData: c.data},
			})
			want := "<nil>"
			if c.fault != "" {
				want = "custom token endpoint CA data: " + c.fault + "; want PEM certificates and nothing else"
			}
			if got := fmt.Sprint(err); got != want {
				t.Errorf("error %s\nwant  %s", got, want)
			}
		})
	}
}

func TestImages(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0a", 32)
	for image, valid := range map[string]bool{
		"proxy": true, "proxy:v1": true, "registry.example/proxy": true, "localhost:5000/a/proxy:v1": true, "a/b" + digest: true, "a/b:v1" + digest: true,
		"docker.io/p:": false, "p:" + digest: false, "/p": false, "a//p": false, "a/": false, "a/:v1": false, "a:/p": false, digest: false, "a b": false,
		"https://a/p": false, "p@": false, "p@sha256:0a": false, "p@sha512:" + strings.Repeat("0a", 32): false,
	} {
		if _, err := mutate.New(mutate.Options{TenantID: tenantID, Proxy: mutate.Proxy{Image: image}}); (err == nil) != valid {
			t.Errorf("%q: error %v; valid should be %v", image, err, valid)
		}
	}
}

func TestTenants(t *testing.T) {
	long := strings.Repeat("a", 63)
	for tenant, valid := range map[string]bool{
		tenantID: true, strings.ToUpper(tenantID): true, "contoso.onmicrosoft.com": true, "Contoso-1.example": true, "1.2": true, long + ".example": true,
		"contoso": false, "": false, ".example": false, "contoso.": false, "a..b": false, "-a.example": false, "a-.example": false,
		"a_b.example": false, "a b.example": false, "a.example/": false, "\u00e9.example": false, long + "a.example": false,
		strings.Repeat("a.", 126) + "aa": false, "{" + tenantID + "}": false, tenantID[1:]: false, "g" + tenantID[1:]: false,
		strings.ReplaceAll(tenantID, "-", "0"): false,
	} {
		if _, err := mutate.New(mutate.Options{TenantID: tenant}); (err == nil) != valid {
			t.Errorf("%q: error %v; valid should be %v", tenant, err, valid)
		}
	}
}
