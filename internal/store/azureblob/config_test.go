package azureblob_test

import (
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/store/azureblob"
)

func TestMistakes(t *testing.T) {
	const (
		where = "https://contoso.blob.core.windows.net/oidc"
		want  = "; want https://ACCOUNT.blob.core.windows.net/CONTAINER"
	)
	for _, c := range []struct {
		name   string
		config azureblob.Config
		want   string
	}{
		{
			"a SAS in the URL",
			azureblob.Config{URL: where + "?sv=2026-01-01&sig=canary"},
			`container URL "` + where + `": it holds a SAS; take that out, make it the secret, and choose credential "sas"` + want,
		},
		{
			"a query",
			azureblob.Config{URL: where + "?restype=container"},
			`container URL "` + where + `": it has a query, fragment, user or password` + want,
		},
		{
			"a password",
			azureblob.Config{URL: "https://me:canary@contoso.blob.core.windows.net/oidc"},
			`container URL "https://me:xxxxx@contoso.blob.core.windows.net/oidc": it has a query, fragment, user or password` + want,
		},
		{
			"plain http",
			azureblob.Config{URL: "http://contoso.blob.core.windows.net/oidc"},
			`container URL "http://contoso.blob.core.windows.net/oidc": its scheme is not https` + want,
		},
		{
			"plain http to an address elsewhere",
			azureblob.Config{URL: "http://192.0.2.1/account/oidc"},
			`container URL "http://192.0.2.1/account/oidc": its scheme is not https` + want,
		},
		{
			"no container",
			azureblob.Config{URL: "https://contoso.blob.core.windows.net/"},
			`container URL "https://contoso.blob.core.windows.net/": it names no container` + want,
		},
		{
			"no container behind the account",
			azureblob.Config{URL: "http://127.0.0.1:10000/devstoreaccount1"},
			`container URL "http://127.0.0.1:10000/devstoreaccount1": it names no container` + want,
		},
		{"no host", azureblob.Config{URL: "oidc"}, `container URL "oidc": it has no host` + want},
		{"no URL", azureblob.Config{URL: "https://me:canary@%zz"}, "container URL: it cannot be parsed" + want},
		{
			"no credential",
			azureblob.Config{URL: where},
			`preparing credential "" for "` + where + `": unknown; want default, workloadIdentity, connectionString, sas or sharedKey`,
		},
		{
			"no key",
			azureblob.Config{URL: where, Credential: "sharedKey", SAS: "sig=canary"},
			`preparing credential "sharedKey" for "` + where + `": the account key is missing`,
		},
		{
			"a key that is none",
			azureblob.Config{URL: where, Credential: "sharedKey", AccountKey: "canary!"},
			`preparing credential "sharedKey" for "` + where + `": the account key is not base64`,
		},
		{
			"no SAS",
			azureblob.Config{URL: where, Credential: "sas", SAS: " \n"},
			`preparing credential "sas" for "` + where + `": the SAS token is missing`,
		},
		{
			"a SAS that is none",
			azureblob.Config{URL: where, Credential: "sas", SAS: "canary"},
			`preparing credential "sas" for "` + where + `": the SAS token is not a query with sig=, as az storage container generate-sas prints it`,
		},
		{
			"a SAS with a line break",
			azureblob.Config{URL: where, Credential: "sas", SAS: "sv=1\n&sig=canary"},
			`preparing credential "sas" for "` + where + `": the SAS token is not a query with sig=, as az storage container generate-sas prints it`,
		},
		{
			"no connection string",
			azureblob.Config{URL: where, Credential: "connectionString"},
			`preparing credential "connectionString" for "` + where + `": the connection string is missing`,
		},
		{
			"a connection string that is none",
			azureblob.Config{URL: where, Credential: "connectionString", ConnectionString: "AccountKey=canary"},
			`preparing credential "connectionString" for "` + where + `": the connection string lacks AccountName or BlobEndpoint, ` +
				`or has neither a base64 AccountKey nor a SharedAccessSignature`,
		},
		{
			"a connection string for another account",
			azureblob.Config{URL: where, Credential: "connectionString", ConnectionString: "AccountName=fabrikam;AccountKey=Y2FuYXJ5"},
			`preparing credential "connectionString" for "` + where + `": the connection string is for "https://fabrikam.blob.core.windows.net/"`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := azureblob.New(c.config)
			wantError(t, err, c.want)
		})
	}
}

func TestPlacesThatAreFine(t *testing.T) {
	for _, url := range []string{
		"https://contoso.blob.core.windows.net/$web",
		"https://contoso.blob.core.usgovcloudapi.net/oidc/prod/",
		"https://oidc.contoso.example/oidc",
		"http://127.0.0.1:10000/devstoreaccount1/oidc",
		"http://localhost:10000/devstoreaccount1/oidc/prod",
		"https://192.0.2.1/devstoreaccount1/oidc",
	} {
		t.Run(url, func(t *testing.T) {
			if _, err := azureblob.New(azureblob.Config{URL: url, Credential: "sharedKey", AccountKey: "a2V5"}); err != nil {
				t.Error(err)
			}
		})
	}
}
