package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/internal/store/azureblob"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// cautions returns what is dangerous in an issuer's configuration, though it
// may be meant.
func (b builder) cautions(c issuerConfig) (all []keys.Alarm) {
	stores := make(map[string]storeConfig)
	for i, store := range c.Stores {
		stores[fmt.Sprintf("stores[%d]", i)] = store
	}
	if c.State != nil {
		stores["state"] = *c.State
	}
	for _, at := range slices.Sorted(maps.Keys(stores)) {
		store := stores[at]
		if store.AzureBlob == nil {
			continue
		}
		switch store.AzureBlob.Credential {
		case azureblob.CredentialDefault, azureblob.CredentialWorkloadIdentity:
		default:
			continue
		}
		if b.ownTokenIssuer() == c.URL {
			all = append(all, keys.Alarm{
				Kind: publisher.AlarmOwnCredential, Origin: at,
				Text: fmt.Sprintf("this process writes to %s with a token of the issuer that it publishes there: the first publication is impossible, and after a bad one nobody could repair it; use another credential (sharedKey, sas, connectionString, or a managed identity) at least to begin with and for recovery", store.AzureBlob.URL),
			})
		}
	}
	return all
}

// ownTokenIssuer returns the issuer of the token that azidentity exchanges for
// this process's own credential; "" if there is none, or it cannot be read,
// which is for azidentity to tell.
func (b builder) ownTokenIssuer() string {
	file, _ := b.lookup("AZURE_FEDERATED_TOKEN_FILE")
	if file == "" {
		return ""
	}
	token, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	parts := strings.Split(strings.TrimSpace(string(token)), ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Issuer
}
