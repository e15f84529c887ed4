package oidc_test

import (
	"crypto/elliptic"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func render(t testing.TB, issuer oidc.Issuer, set keys.Set) oidc.Documents {
	t.Helper()
	documents, err := oidc.Render(issuer, set)
	if err != nil {
		t.Fatal(err)
	}
	return documents
}

// The discovery document has the members and the order of kube-apiserver's;
// testdata holds what version 1.36.3 served, with its jwks_uri replaced.
func TestDiscoveryIsThatOfKubernetes(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("testdata", "kubernetes-discovery.json"))
	if err != nil {
		t.Fatal(err)
	}
	documents := render(t, issuer(t, "https://x.test/"), keytest.Set(t, 1))
	if diff := cmp.Diff(strings.TrimSpace(string(want)), string(documents.Discovery.Body)); diff != "" {
		t.Errorf("discovery document (-want +got):\n%s", diff)
	}
}

func TestDocumentsCarryTheirHeaders(t *testing.T) {
	documents := render(t, issuer(t, "https://x.test"), keytest.Set(t, 1)).WithMaxAge(90 * time.Second)
	type headers struct{ Path, ContentType, CacheControl string }
	got := []headers{}
	for _, o := range []oidc.Object{documents.JWKS, documents.Discovery} {
		got = append(got, headers{o.Path, o.ContentType, o.CacheControl})
	}
	want := []headers{
		{"openid/v1/jwks", "application/jwk-set+json", "public, max-age=90"},
		{".well-known/openid-configuration", "application/json", "public, max-age=90"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if got := render(t, issuer(t, "https://x.test"), keytest.Set(t, 1)).JWKS.CacheControl; got != "public, max-age=300" {
		t.Errorf("default Cache-Control %q", got)
	}
}

func TestAlgorithmsComeFromTheKeys(t *testing.T) {
	ec, err := keys.New(keytest.EC(t, elliptic.P256()).Public())
	if err != nil {
		t.Fatal(err)
	}
	set, err := keys.NewSet(keytest.Key(t, 1), ec)
	if err != nil {
		t.Fatal(err)
	}
	body := string(render(t, issuer(t, "https://x.test/a&b"), set).Discovery.Body)
	for _, want := range []string{`"id_token_signing_alg_values_supported":["ES256","RS256"]`, `"issuer":"https://x.test/a&b"`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is missing in %s", want, body)
		}
	}
}

func TestEmptySetIsNotRendered(t *testing.T) {
	if _, err := oidc.Render(issuer(t, "https://x.test"), keys.Set{}); !errors.Is(err, keys.RuleNoKeys) {
		t.Errorf("error %v; want %q", err, keys.RuleNoKeys)
	}
}

func BenchmarkRender50Keys(b *testing.B) {
	list := make([]keys.Key, 50)
	for i := range list {
		list[i] = keytest.Key(b, 1)
		list[i].ID = fmt.Sprintf("key-%02d", i)
	}
	set, err := keys.NewSet(list...)
	if err != nil {
		b.Fatal(err)
	}
	i := issuer(b, "https://x.test")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := oidc.Render(i, set); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleRender() {
	issuer, _ := oidc.ParseIssuer("https://contoso.blob.core.windows.net/oidc-prod")
	pem, _ := os.ReadFile(filepath.Join("..", "keys", "testdata", "kubernetes.pub"))
	set, _, _ := keys.ParsePEM("sa.pub", pem)
	documents, _ := oidc.Render(issuer, set)
	fmt.Println(string(documents.Discovery.Body))
	// Output: {"issuer":"https://contoso.blob.core.windows.net/oidc-prod","jwks_uri":"https://contoso.blob.core.windows.net/oidc-prod/openid/v1/jwks","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["RS256"]}
}
