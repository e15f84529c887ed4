package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/publisher"
)

// A publisher must not need a token of the issuer that it publishes.
func TestOwnCredentialIsACaution(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://x.test"}`))
	if err := os.WriteFile(token, []byte("e30."+claims+".c2ln\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, issuer, credential, file string
		want                           bool
	}{
		{"its own token", "https://x.test", "workloadIdentity", token, true},
		{"its own token, found by default", "https://x.test", "default", token, true},
		{"another issuer's token", "https://y.test", "default", token, false},
		{"another credential", "https://x.test", "sharedKey", token, false},
		{"no token", "https://x.test", "default", "", false},
		{"a token that cannot be read", "https://x.test", "default", token + "2", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := builder{lookup: func(name string) (string, bool) {
				return test.file, name == "AZURE_FEDERATED_TOKEN_FILE" && test.file != ""
			}}
			found := b.cautions(issuerConfig{URL: test.issuer, Stores: []storeConfig{
				{Directory: &directoryConfig{Path: "www"}},
				{AzureBlob: &azureBlobConfig{URL: "https://c.blob.core.windows.net/oidc", Credential: test.credential}},
			}})
			apart := b.cautions(issuerConfig{URL: test.issuer, State: &storeConfig{AzureBlob: &azureBlobConfig{Credential: test.credential}}})
			if got := len(apart) == 1 && apart[0].Origin == "state"; got != test.want {
				t.Errorf("with a state of its own: cautions %+v; want one: %t", apart, test.want)
			}
			if got := len(found) == 1; got != test.want || got && found[0].Kind != publisher.AlarmOwnCredential {
				t.Errorf("cautions %+v; want one: %t", found, test.want)
			}
		})
	}
}
