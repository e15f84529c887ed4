package azureblob_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/store/azureblob"
	"github.com/issuer-sync/issuer-sync/internal/store/storetest"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// token is an azcore.TokenCredential with a token that needs no Entra.
type token string

func (t token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(t), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// credentials returns the configuration for a container once for each way to
// be let in.
func credentials(t *testing.T, azurite *servers.Azurite, container string) []azureblob.Config {
	t.Helper()
	secret := func(s string) azureblob.Secret { return azureblob.Secret(s + "\n") } // as read from a file
	return []azureblob.Config{
		{Credential: azureblob.CredentialSharedKey, AccountKey: secret(azurite.AccountKey())},
		{Credential: azureblob.CredentialSAS, SAS: secret("?" + azurite.SAS(t, container))},
		{Credential: azureblob.CredentialConnectionString, ConnectionString: secret(azurite.ConnectionString())},
		{Credential: azureblob.CredentialConnectionString, ConnectionString: secret(
			"BlobEndpoint=" + azurite.AccountURL() + ";SharedAccessSignature=" + azurite.SAS(t, container))},
		{Credential: azureblob.CredentialDefault, TokenCredential: token(azurite.OAuthToken())},
		{Credential: azureblob.CredentialWorkloadIdentity, TokenCredential: token(azurite.OAuthToken())},
	}
}

func open(t *testing.T, config azureblob.Config, wrap storetest.Wrap) *azureblob.Store {
	t.Helper()
	if wrap != nil {
		client := *config.HTTPClient
		client.Transport = wrap(client.Transport)
		config.HTTPClient = &client
	}
	s, err := azureblob.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStore is one test, as Azurite takes seconds to start.
func TestStore(t *testing.T) {
	azurite := servers.StartAzurite(t)
	var made atomic.Int32
	fresh := func(kind int) storetest.Medium {
		return func(t *testing.T) storetest.Open {
			container := fmt.Sprintf("issuer-%d", made.Add(1))
			url := azurite.CreateContainer(t, container, false)
			config := credentials(t, azurite, container)[kind]
			config.URL, config.HTTPClient = url, azurite.Client()
			return func(t *testing.T, wrap storetest.Wrap) oidc.Store { return open(t, config, wrap) }
		}
	}
	for i, config := range credentials(t, azurite, "any") {
		t.Run(fmt.Sprintf("faults, %d %s", i, config.Credential), func(t *testing.T) { storetest.RunFaults(t, fresh(i)) })
	}
	t.Run("conformance, with a key", func(t *testing.T) { storetest.Run(t, fresh(0)) })
	t.Run("conformance, with a token", func(t *testing.T) { storetest.Run(t, fresh(4)) })
	t.Run("anyone reads what was written", func(t *testing.T) { testPublic(t, azurite) })
	t.Run("refusals of the service name the cure", func(t *testing.T) { testRefusals(t, azurite) })
	t.Run("a blob that was deleted conflicts", func(t *testing.T) { testDeleted(t, azurite) })
	t.Run("a blob without headers is octets", func(t *testing.T) { testUntyped(t, azurite) })
	t.Run("a redirect is not followed", func(t *testing.T) { testRedirect(t, azurite) })
	t.Run("a huge blob is replaced", func(t *testing.T) { testHuge(t, azurite) })
	t.Run("no error has a secret", func(t *testing.T) { testSecrets(t, azurite) })
}

func testPublic(t *testing.T, azurite *servers.Azurite) {
	for _, container := range []string{"public", "$web"} {
		url := azurite.CreateContainer(t, container, true)
		for _, folder := range []string{"", "/folder of/mine", "/"} {
			config := credentials(t, azurite, container)[0]
			config.URL, config.HTTPClient = url+folder, azurite.Client()
			s := open(t, config, nil)
			object := oidc.Object{
				Path: oidc.JWKSPath, Body: []byte(`{"keys":["` + folder + `"]}`),
				ContentType: "application/jwk-set+json", CacheControl: "public, max-age=300",
			}
			_, base, _ := s.Read(t.Context(), object.Path)
			version, err := s.Write(t.Context(), object, base)
			if err != nil {
				t.Fatal(err)
			}
			got := fetch(t, azurite.Client(), strings.TrimRight(url+strings.ReplaceAll(folder, " ", "%20"), "/")+"/"+object.Path)
			want := http.Header{
				"Content-Type": {object.ContentType}, "Cache-Control": {object.CacheControl},
				"Etag": {string(version)}, "Body": {string(object.Body)},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s%s, read by anyone (-want +got):\n%s", container, folder, diff)
			}
		}
	}
}

// fetch returns the headers that matter, and the body as one of them.
func fetch(t *testing.T, client *http.Client, url string) http.Header {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", url, response.Status)
	}
	header := http.Header{"Body": {string(body)}}
	for _, name := range []string{"Content-Type", "Cache-Control", "Etag"} {
		header[name] = response.Header[name]
	}
	return header
}

func testUntyped(t *testing.T, azurite *servers.Azurite) {
	config := credentials(t, azurite, "untyped")[0]
	config.URL, config.HTTPClient = azurite.CreateContainer(t, "untyped", false), azurite.Client()
	s := open(t, config, nil)
	version, err := s.Write(t.Context(), oidc.Object{Path: oidc.JWKSPath, Body: []byte("{}")}, "")
	if err != nil {
		t.Fatal(err)
	}
	object, got, err := s.Read(t.Context(), oidc.JWKSPath)
	if err != nil || got != version {
		t.Fatalf("got version %q and error %v, want version %q", got, err, version)
	}
	want := oidc.Object{Path: oidc.JWKSPath, Body: []byte("{}"), ContentType: "application/octet-stream"}
	if diff := cmp.Diff(want, object); diff != "" {
		t.Errorf("what is read (-want +got):\n%s", diff)
	}
}

func testDeleted(t *testing.T, azurite *servers.Azurite) {
	config := credentials(t, azurite, "deleted")[0]
	config.URL, config.HTTPClient = azurite.CreateContainer(t, "deleted", false), azurite.Client()
	s := open(t, config, nil)
	object := oidc.Object{Path: oidc.JWKSPath, Body: []byte("{}")}
	base, err := s.Write(t.Context(), object, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blobClient(t, azurite, config.URL+"/"+object.Path).Delete(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(t.Context(), object, base); !errors.Is(err, oidc.ErrConflict) {
		t.Errorf("got error %v, want %v", err, oidc.ErrConflict)
	}
	if _, err := s.Write(t.Context(), object, ""); err != nil {
		t.Error(err)
	}
}

func testRedirect(t *testing.T, azurite *servers.Azurite) {
	var faults storetest.Faults
	config := credentials(t, azurite, "redirected")[0]
	config.URL = azurite.CreateContainer(t, "redirected", false)
	config.HTTPClient = &http.Client{Transport: azurite.Client().Transport} // one that follows
	s := open(t, config, faults.Wrap)
	away := storetest.Answer(http.StatusTemporaryRedirect, http.Header{"Location": {"https://elsewhere.invalid/"}}, "")
	watched := func(next http.RoundTripper, req *http.Request) (*http.Response, error) {
		if req.URL.Host == "elsewhere.invalid" {
			t.Errorf("%s %s was sent", req.Method, req.URL)
		}
		return away(next, req)
	}
	faults.During(t, storetest.Any, watched, func() {
		_, _, err := s.Read(t.Context(), oidc.JWKSPath)
		wantError(t, err, fmt.Sprintf("reading blob %q: the service answers 307 Temporary Redirect", config.URL+"/openid/v1/jwks"))
		_, err = s.Write(t.Context(), oidc.Object{Path: oidc.JWKSPath}, "")
		wantError(t, err, fmt.Sprintf("writing blob %q: the service answers 307 Temporary Redirect", config.URL+"/openid/v1/jwks"))
	})
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("got error\n\t%v\nwant\n\t%s", err, want)
	}
}
