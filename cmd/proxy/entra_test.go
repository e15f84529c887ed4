package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	testcloud "github.com/issuer-sync/issuer-sync/test/cloud"
)

const (
	tenant   = "11111111-1111-1111-1111-111111111111"
	client   = "22222222-2222-2222-2222-222222222222"
	other    = "33333333-3333-3333-3333-333333333333"
	subject  = "system:serviceaccount:default:demo"
	audience = "api://AzureADTokenExchange"
)

// cloud is an issuer whose tokens the Entra stand-in takes, and what a pod has
// of them: a token file, and the stand-in's CA in one.
type cloud struct {
	entra             *entra.Server
	token             string
	tokenFile, caFile string
}

func newCloud(t *testing.T) cloud {
	t.Helper()
	issuer := testcloud.NewIssuer(t)
	credential := entra.Credential{Issuer: issuer.URL, Subject: subject, Audience: audience}
	standIn := testcloud.Entra(t, entra.Config{
		Apps: []entra.App{{Tenant: tenant, Client: client, Credentials: []entra.Credential{credential}}}, Roots: issuer.Roots(),
	})
	c := cloud{
		entra: standIn, token: testcloud.Token(t, 1, testcloud.Claims(credential)),
		tokenFile: filepath.Join(t.TempDir(), "azure-identity-token"), caFile: filepath.Join(t.TempDir(), "ca.crt"),
	}
	for file, content := range map[string]string{c.tokenFile: c.token, c.caFile: string(standIn.CA())} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// environment is what the webhook gives the proxy, and the CA to trust.
func (c cloud) environment(more ...string) []string {
	return append([]string{
		"AZURE_TENANT_ID=" + tenant, "AZURE_CLIENT_ID=" + client,
		"AZURE_FEDERATED_TOKEN_FILE=" + c.tokenFile, "AZURE_AUTHORITY_HOST=" + c.entra.URL() + "/",
		"SSL_CERT_FILE=" + c.caFile, "SSL_CERT_DIR=/nonexistent",
	}, more...)
}
