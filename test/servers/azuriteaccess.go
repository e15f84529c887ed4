package servers

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
)

// CreateContainer makes a container and returns its URL. A public one lets
// anyone read its blobs, not list them; "$web" is a name like others here.
func (a *Azurite) CreateContainer(t testing.TB, name string, public bool) string {
	t.Helper()
	client := a.container(t, name)
	options := &container.CreateOptions{}
	if public {
		options.Access = new(container.PublicAccessTypeBlob)
	}
	if _, err := client.Create(t.Context(), options); err != nil {
		t.Fatalf("creating container %q: %v", name, err)
	}
	return client.URL()
}

// SAS returns a token that allows to read, write, create and list blobs of the
// container for an hour: a query without "?".
func (a *Azurite) SAS(t testing.TB, name string) string {
	t.Helper()
	permissions := sas.ContainerPermissions{Read: true, Write: true, Create: true, List: true}
	signed, err := a.container(t, name).GetSASURL(permissions, time.Now().Add(time.Hour), nil)
	if err != nil {
		t.Fatalf("signing a SAS token for container %q: %v", name, err)
	}
	u, err := url.Parse(signed)
	if err != nil {
		t.Fatalf("signing a SAS token for container %q: %v", name, err)
	}
	return u.RawQuery
}

// container returns a client with the shared key.
func (a *Azurite) container(t testing.TB, name string) *container.Client {
	t.Helper()
	credential, err := container.NewSharedKeyCredential(azuriteAccount, azuriteKey)
	if err != nil {
		t.Fatalf("reading Azurite's account key: %v", err)
	}
	options := &container.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: a.client}}
	client, err := container.NewClientWithSharedKeyCredential(a.AccountURL()+"/"+name, credential, options)
	if err != nil {
		t.Fatalf("making a client of container %q: %v", name, err)
	}
	return client
}

// OAuthToken returns a bearer token that Azurite accepts for an hour. It is test
// data made by hand: no Entra issued it and its signature is none, for Azurite's
// "basic" OAuth checks form, times, issuer prefix and audience alone.
func (a *Azurite) OAuthToken() string {
	now := time.Now()
	return part(map[string]any{"typ": "JWT", "alg": "RS256", "kid": "made-by-hand"}) + "." +
		part(map[string]any{
			"iss": "https://sts.windows.net/00000000-0000-0000-0000-00000000aaaa/",
			"aud": "https://storage.azure.com",
			"sub": "made by hand for Azurite",
			"iat": now.Add(-time.Minute).Unix(),
			"nbf": now.Add(-time.Minute).Unix(),
			"exp": now.Add(time.Hour).Unix(),
		}) + "." + base64.RawURLEncoding.EncodeToString([]byte("no signature"))
}

// part encodes one part of a JWT (RFC 7515 section 3.1).
func part(v map[string]any) string {
	b, _ := json.Marshal(v) // strings and numbers always encode
	return base64.RawURLEncoding.EncodeToString(b)
}
