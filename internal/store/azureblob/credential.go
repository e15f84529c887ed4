package azureblob

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
)

// Ways to be let in.
const (
	// CredentialDefault takes what it finds: environment variables, workload
	// identity, managed identity, the az command. Sovereign clouds are named by
	// AZURE_AUTHORITY_HOST, as in all Azure SDKs.
	CredentialDefault = "default"
	// CredentialWorkloadIdentity exchanges the pod's projected token. If that is
	// a token of the very issuer that is published here, another credential must
	// publish it first, and again if what is published is ever wrong.
	CredentialWorkloadIdentity = "workloadIdentity"
	CredentialConnectionString = "connectionString"
	CredentialSAS              = "sas"
	CredentialSharedKey        = "sharedKey"
)

// storageScope is what tokens are requested for, in all clouds.
const storageScope = "https://storage.azure.com/.default"

// Secret is a string that does not show when printed, logged or marshalled.
type Secret string

const redacted = "[redacted]"

// String returns a word in the place of the secret.
func (Secret) String() string { return redacted }

// Format writes a word in the place of the secret, for every verb.
func (Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, redacted) }

// LogValue returns a word in the place of the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a word in the place of the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// reveal returns the secret, without the line break that files end in.
func (s Secret) reveal(field string) (string, error) {
	if secret := strings.TrimSpace(string(s)); secret != "" {
		return secret, nil
	}
	return "", fmt.Errorf("the %s is missing", field)
}

// location is where the container is.
type location struct {
	url                string // of the container or a folder in it, without "/" at its end
	account, container string // as far as the URL tells them
}

// parseURL reads Config.URL. Its errors show nothing after a "?".
func parseURL(s string) (location, error) {
	shown, query, hasQuery := strings.Cut(s, "?")
	fault := func(format string, args ...any) (location, error) {
		return location{}, fmt.Errorf("container URL %q: %w; want https://ACCOUNT.blob.core.windows.net/CONTAINER",
			shown, fmt.Errorf(format, args...))
	}
	u, err := url.Parse(shown)
	if err != nil {
		return location{}, errors.New("container URL: it cannot be parsed; want https://ACCOUNT.blob.core.windows.net/CONTAINER")
	}
	shown = u.Redacted()
	host := u.Hostname()
	ip := net.ParseIP(host)
	switch {
	case strings.Contains(query, "sig="):
		return fault("it holds a SAS; take that out, make it the secret, and choose credential %q", CredentialSAS)
	case hasQuery || strings.Contains(s, "#") || u.User != nil:
		return fault("it has a query, fragment, user or password")
	case host == "":
		return fault("it has no host")
	case u.Scheme != "https" && (u.Scheme != "http" || host != "localhost" && !ip.IsLoopback()):
		return fault("its scheme is not https")
	}
	segments := strings.Split(strings.Trim(u.Path, "/"), "/")
	account, _, _ := strings.Cut(host, ".")
	if ip != nil || host == "localhost" {
		account, segments = segments[0], segments[1:]
	}
	if len(segments) == 0 || segments[0] == "" {
		return fault("it names no container")
	}
	return location{url: strings.TrimRight(shown, "/"), account: account, container: segments[0]}, nil
}

// blobURL is the address of an object, without credentials.
func (l location) blobURL(path string) string {
	return l.url + "/" + strings.ReplaceAll(url.PathEscape(path), "%2F", "/")
}

// opener returns the client of the blob at a path. Clients cost next to
// nothing; connections and tokens are shared.
type opener func(path string) (*blockblob.Client, error)

func newOpener(config Config, where location) (opener, error) {
	options := &blockblob.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: withoutRedirects(config.HTTPClient),
		Retry:     policy.RetryOptions{MaxRetries: -1}, // none: the next round is the retry
	}}
	switch config.Credential {
	case CredentialDefault, CredentialWorkloadIdentity:
		credential, err := newTokenCredential(config)
		if err != nil {
			return nil, err
		}
		bearer := runtime.NewBearerTokenPolicy(credential, []string{storageScope}, nil)
		options.PerRetryPolicies = []policy.Policy{bearer}
		return func(path string) (*blockblob.Client, error) {
			return blockblob.NewClientWithNoCredential(where.blobURL(path), options)
		}, nil
	case CredentialSharedKey:
		key, err := config.AccountKey.reveal("account key")
		if err != nil {
			return nil, err
		}
		credential, err := blob.NewSharedKeyCredential(where.account, key)
		if err != nil {
			return nil, errors.New("the account key is not base64")
		}
		return func(path string) (*blockblob.Client, error) {
			return blockblob.NewClientWithSharedKeyCredential(where.blobURL(path), credential, options)
		}, nil
	case CredentialSAS:
		return newSASOpener(config.SAS, where, options)
	case CredentialConnectionString:
		return newConnectionOpener(config.ConnectionString, where, options)
	default:
		return nil, fmt.Errorf("unknown; want %s, %s, %s, %s or %s", CredentialDefault, CredentialWorkloadIdentity,
			CredentialConnectionString, CredentialSAS, CredentialSharedKey)
	}
}

func newTokenCredential(config Config) (azcore.TokenCredential, error) {
	switch {
	case config.TokenCredential != nil:
		return config.TokenCredential, nil
	case config.Credential == CredentialWorkloadIdentity:
		return azidentity.NewWorkloadIdentityCredential(nil)
	default:
		return azidentity.NewDefaultAzureCredential(nil)
	}
}

func newSASOpener(secret Secret, where location, options *blockblob.ClientOptions) (opener, error) {
	sas, err := secret.reveal("SAS token")
	if err != nil {
		return nil, err
	}
	sas = strings.TrimPrefix(sas, "?")
	// Checked here, as an error of the SDK would show it.
	u, err := url.Parse("https://host/?" + sas)
	if err != nil || u.Query().Get("sig") == "" || u.Fragment != "" {
		return nil, errors.New("the SAS token is not a query with sig=, as az storage container generate-sas prints it")
	}
	return func(path string) (*blockblob.Client, error) {
		return blockblob.NewClientWithNoCredential(where.blobURL(path)+"?"+sas, options)
	}, nil
}

// newConnectionOpener refuses a connection string for another place than the
// URL: one of them would be a mistake.
func newConnectionOpener(secret Secret, where location, options *blockblob.ClientOptions) (opener, error) {
	connection, err := secret.reveal("connection string")
	if err != nil {
		return nil, err
	}
	client, err := blockblob.NewClientFromConnectionString(connection, "", "", options)
	if err != nil {
		return nil, errors.New("the connection string lacks AccountName or BlobEndpoint, or has neither a " +
			"base64 AccountKey nor a SharedAccessSignature")
	}
	u, err := url.Parse(client.URL())
	if err != nil {
		return nil, errors.New("the connection string has a BlobEndpoint or SharedAccessSignature that does not fit a URL")
	}
	u.RawQuery = ""
	endpoint := strings.TrimRight(u.String(), "/") + "/"
	if !strings.HasPrefix(where.url, endpoint) {
		return nil, fmt.Errorf("the connection string is for %q", u.Redacted())
	}
	return func(path string) (*blockblob.Client, error) {
		return blockblob.NewClientFromConnectionString(connection, "", strings.TrimPrefix(where.blobURL(path), endpoint), options)
	}, nil
}

// withoutRedirects returns a copy of the client that takes a redirect for an
// answer: what follows it would carry the credential elsewhere.
func withoutRedirects(client *http.Client) *http.Client {
	if client == nil {
		client = &http.Client{}
	}
	strict := *client
	strict.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &strict
}
