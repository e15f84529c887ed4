package oidc_test

import (
	"context"
	"crypto/elliptic"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func asking(parties ...oidc.RelyingParty) func(*world) {
	return func(w *world) { w.options.RelyingParties = parties }
}

func resolves(addresses ...string) func(context.Context, string) ([]netip.Addr, error) {
	return func(context.Context, string) ([]netip.Addr, error) {
		var list []netip.Addr
		for _, address := range addresses {
			list = append(list, netip.MustParseAddr(address))
		}
		return list, nil
	}
}

func TestVerifyAlgorithmsByParty(t *testing.T) {
	es384 := keys.Key{ID: "es384", Algorithm: "ES384", Public: keytest.EC(t, elliptic.P384()).Public()}
	const (
		entraCure = ` -> give kube-apiserver an RSA key to sign with: Entra answers AADSTS5002738 to all others`
		gcpCure   = ` -> give kube-apiserver an RSA key or an EC key on P-256 to sign with`
	)
	for _, test := range []struct {
		name string
		keys []keys.Key
		want []string
	}{
		{"RS256", []keys.Key{rsaPublic("rsa")}, []string{
			"PASS  entra: algorithms: all keys are for RS256",
			"PASS  aws: algorithms: all keys are for RS256, RS384, RS512, ES256, ES384, ES512",
			"PASS  gcp: algorithms: all keys are for RS256, ES256",
		}},
		{"ES256", []keys.Key{ec(t, "ec")}, []string{
			"FAIL  entra: algorithms: no key for RS256, only for ES256" + entraCure,
			"PASS  aws: algorithms: all keys are for RS256, RS384, RS512, ES256, ES384, ES512",
			"PASS  gcp: algorithms: all keys are for RS256, ES256",
		}},
		{"ES384", []keys.Key{es384}, []string{
			"FAIL  entra: algorithms: no key for RS256, only for ES384" + entraCure,
			"PASS  aws: algorithms: all keys are for RS256, RS384, RS512, ES256, ES384, ES512",
			"FAIL  gcp: algorithms: no key for RS256, ES256, only for ES384" + gcpCure,
		}},
		{"RS256 and ES384", []keys.Key{rsaPublic("rsa"), es384}, []string{
			`WARN  entra: algorithms: tokens signed by "es384" are refused; accepted are RS256` + entraCure,
			"PASS  aws: algorithms: all keys are for RS256, RS384, RS512, ES256, ES384, ES512",
			`WARN  gcp: algorithms: tokens signed by "es384" are refused; accepted are RS256, ES256` + gcpCure,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			asking(oidc.Entra, oidc.AWS, oidc.GCP)(w)
			w.publish(test.keys...)
			var got []string
			for _, check := range w.verify().Checks {
				if strings.HasSuffix(check.Name, ": algorithms") && check.Name != "jwks: algorithms" {
					got = append(got, check.String())
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestVerifyWhatOnlyAPublicHostCanPass(t *testing.T) {
	w := newWorld(t)
	w.issuer = "https://127.0.0.1:8443"
	w.publish(rsaPublic("rsa-1"))
	w.pages = map[string]*page{"127.0.0.1/.well-known/openid-configuration": w.discovery, "127.0.0.1/openid/v1/jwks": w.jwks}
	w.tls.Certificates[0] = w.private.server(t, nil)
	w.options.Roots = w.private.pool()
	w.options.Lookup = resolves("127.0.0.1")
	asking(oidc.Entra, oidc.AWS, oidc.GCP)(w)
	sum := sha1.Sum(w.tls.Certificates[0].Certificate[0])
	const (
		host = ` public host: host "127.0.0.1" has no public address, only [127.0.0.1]: only a public host can pass -> publish to public storage or under a public name;` +
			` until then only a cloud that takes an uploaded JWK set, such as Google Cloud, can trust it`
		certificate = ` public certificate: it is trusted only through the CA given: only a public host can pass -> serve a certificate of a public CA`
	)
	own := `TLS chain: trusted only through the CA given: certificate "CN=server", 60 days left -> serve a certificate of a public CA to be trusted by public clouds`
	want := []string{
		`WARN  discovery: ` + own,
		`WARN  jwks: ` + own,
		`FAIL  entra:` + host,
		`FAIL  entra:` + certificate,
		`FAIL  aws: port: AWS takes no issuer with a port: only a public host can pass -> choose an issuer on port 443 that does not name it`,
		`FAIL  aws:` + host,
		`WARN  aws: public certificate: trusted only through the CA given -> serve a certificate of a public CA, or register the thumbprint with the provider: ` + hex.EncodeToString(sum[:]),
		`FAIL  gcp:` + host,
		`FAIL  gcp:` + certificate,
	}
	var got, others []string
	for _, check := range w.verify().Checks {
		switch {
		case check.PublicHost:
			got = append(got, check.String())
		case check.Status == oidc.Fail:
			others = append(others, check.String())
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("marked (-want +got):\n%s", diff)
	}
	if len(others) > 0 {
		t.Errorf("failed, but not marked: %q", others)
	}
}

func TestVerifyPublicHost(t *testing.T) {
	const private = ` only a public host can pass -> publish to public storage or under a public name;` +
		` until then only a cloud that takes an uploaded JWK set, such as Google Cloud, can trust it`
	for _, test := range []verifyCase{
		{name: "one public address among private ones", change: func(w *world) { w.options.Lookup = resolves("10.0.0.1", "2603:1030::1") }},
		{
			name: "private addresses of all kinds",
			change: func(w *world) {
				w.options.Lookup = resolves("10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.1.1", "100.64.0.1", "::1", "fe80::1", "fd00::1", "::ffff:100.64.0.1", "0.0.0.0")
			},
			want: []string{`FAIL  gcp: public host: host "oidc.example.com" has no public address, only ` +
				`[10.0.0.1 172.16.0.1 192.168.0.1 169.254.1.1 100.64.0.1 ::1 fe80::1 fd00::1 100.64.0.1 0.0.0.0]:` + private},
		},
		{
			name: "a key set on a private host",
			change: func(w *world) {
				w.set("jwks_uri", "https://keys.example.com/k")
				w.pages["keys.example.com/k"] = w.jwks
				lookup := w.options.Lookup
				w.options.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
					if host == "keys.example.com" {
						return resolves("10.0.0.1")(ctx, host)
					}
					return lookup(ctx, host)
				}
			},
			want: []string{
				`PASS  discovery: jwks_uri: "https://keys.example.com/k"`, `PASS  jwks: reachable: "https://keys.example.com/k"`,
				`FAIL  gcp: public host: host "keys.example.com" has no public address, only [10.0.0.1]:` + private,
			},
		},
		{
			name: "a key set with a certificate of a private CA",
			change: func(w *world) {
				w.set("jwks_uri", "https://keys.example.com/k")
				w.pages["keys.example.com/k"] = w.jwks
				w.tls.Certificates = append(w.tls.Certificates, w.private.server(w.t, func(c *x509.Certificate) { c.DNSNames = []string{"keys.example.com"} }))
				w.tls.Certificates[0] = w.public.server(w.t, func(c *x509.Certificate) { c.DNSNames = []string{"oidc.example.com"} })
				w.options.Roots = w.public.pool()
				w.options.Roots.AddCert(w.private.certificate)
			},
			want: []string{
				`PASS  discovery: jwks_uri: "https://keys.example.com/k"`, `PASS  jwks: reachable: "https://keys.example.com/k"`,
				`WARN  jwks: TLS chain: trusted only through the CA given: certificate "CN=server", 60 days left -> serve a certificate of a public CA to be trusted by public clouds`,
				`PASS  gcp: public host: public addresses for "oidc.example.com", "keys.example.com"`,
				`FAIL  gcp: public certificate: it is trusted only through the CA given: only a public host can pass -> serve a certificate of a public CA`,
			},
		},
		{
			name: "unknown here",
			change: func(w *world) {
				w.options.Lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
					return nil, &net.DNSError{Name: host, Err: "no such host", IsNotFound: true}
				}
			},
			want: []string{`SKIP  gcp: public host: looking up "oidc.example.com": lookup oidc.example.com: no such host -> verify from where public names can be looked up`},
		},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, asking(oidc.GCP)) })
	}
}

func TestVerifyPartyLimits(t *testing.T) {
	good := jwk(t, rsaPublic("rsa-1"), nil)
	const (
		idCure    = ` -> publish each key once, with the kid that the cluster puts into its tokens`
		countCure = ` -> take out the keys whose tokens have all expired`
		opsCure   = ` -> publish keys without key_ops; "use": "sig" says it`
	)
	entries := func(entries ...string) func(*world) { return func(w *world) { w.keySet(entries...) } }
	for _, test := range []struct {
		name   string
		change func(*world)
		want   string // one line
	}{
		{"100 keys", func(w *world) { w.keySet(w.rsaEntries(100)...) }, `PASS  entra: key count: 100 of 100`},
		{"101 keys", func(w *world) { w.keySet(w.rsaEntries(101)...) }, `FAIL  entra: key count: 101 keys; Entra keeps the first 100` + countCure},
		{
			"600 characters", func(w *world) {
				w.issuer += "/" + strings.Repeat("a", 599-len(w.issuer))
				w.publish(rsaPublic("rsa-1"))
			}, `PASS  entra: issuer length: 600 of 600 characters`,
		},
		{"no port", entries(good), `PASS  aws: port: the issuer has none`},
		{
			"slow", func(w *world) { w.jwks.takes = 6 * time.Second },
			`FAIL  aws: response time: 6s; AWS gives up after 5s -> serve the documents from memory or a CDN`,
		},
		{
			"key_ops", entries(good, jwk(t, ec(t, "ec-1"), map[string]any{"key_ops": []string{"verify"}})),
			`FAIL  aws: key_ops: AWS takes no key with key_ops: "ec-1"` + opsCure,
		},
		{
			"key_ops on a key that nobody can use", entries(jwk(t, ec(t, "ec-1"), map[string]any{"key_ops": []string{}, "use": "enc"})),
			`FAIL  aws: key_ops: AWS takes no key with key_ops: "ec-1"` + opsCure,
		},
		{
			"one ID for two keys", entries(good, jwk(t, ec(t, "rsa-1"), nil)),
			`FAIL  aws: key IDs: a later key called "rsa-1" replaces an earlier one` + idCure,
		},
		{
			"no ID", entries(good, jwk(t, ec(t, "x"), map[string]any{"kid": nil})),
			`WARN  aws: key IDs: AWS cannot use keys without kid: "entry 2"` + idCure,
		},
		{
			"no ID on two keys", entries(good, jwk(t, ec(t, "x"), map[string]any{"kid": nil}), jwk(t, ec(t, "x"), map[string]any{"kid": nil})),
			`WARN  aws: key IDs: AWS cannot use keys without kid: "entry 2", "entry 3"` + idCure,
		},
		{
			"100 keys of each kind", func(w *world) { w.keySet(append(w.rsaEntries(100), ecEntries(t, 100)...)...) },
			`PASS  aws: key count: 100 RSA and 100 EC keys`,
		},
		{
			"101 RSA keys", func(w *world) { w.keySet(w.rsaEntries(101)...) },
			`FAIL  aws: key count: 101 RSA and 0 EC keys; AWS takes at most 100 of each` + countCure,
		},
		{
			"101 EC keys", func(w *world) { w.keySet(append(w.rsaEntries(1), ecEntries(t, 101)...)...) },
			`FAIL  aws: key count: 1 RSA and 101 EC keys; AWS takes at most 100 of each` + countCure,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			asking(oidc.Entra, oidc.AWS)(w)
			test.change(w)
			var got string
			for _, check := range w.verify().Checks {
				if strings.HasPrefix(test.want[len("FAIL  "):], check.Name+": ") {
					got = check.String()
				}
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestVerifyUnknownParty(t *testing.T) {
	verifyCase{
		change: asking("oracle"),
		want:   []string{`FAIL  oracle: known: relying party "oracle" is not known -> ask for entra, aws or gcp`},
	}.run(t, nil)
}

func ecEntries(t testing.TB, n int) []string {
	t.Helper()
	entries := make([]string, n)
	for i := range entries {
		entries[i] = jwk(t, ec(t, fmt.Sprintf("ec-%d", i+1)), nil)
	}
	return entries
}
