package azureblob_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/lease"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/issuer-sync/issuer-sync/internal/store/azureblob"
	"github.com/issuer-sync/issuer-sync/internal/store/storetest"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// blobClient is the SDK's, with the account's key.
func blobClient(t *testing.T, azurite *servers.Azurite, url string) *blockblob.Client {
	t.Helper()
	credential, err := blob.NewSharedKeyCredential(azurite.AccountName(), azurite.AccountKey())
	if err != nil {
		t.Fatal(err)
	}
	options := &blockblob.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: azurite.Client()}}
	client, err := blockblob.NewClientWithSharedKeyCredential(url, credential, options)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// testHuge has somebody else's blob, which is seen for what it is, and replaced.
func testHuge(t *testing.T, azurite *servers.Azurite) {
	url := azurite.CreateContainer(t, "large", false)
	large := streaming.NopCloser(bytes.NewReader(make([]byte, 2<<20)))
	if _, err := blobClient(t, azurite, url+"/openid/v1/jwks").Upload(t.Context(), large, nil); err != nil {
		t.Fatal(err)
	}
	config := credentials(t, azurite, "large")[0]
	config.URL, config.HTTPClient = url, azurite.Client()
	store := open(t, config, nil)
	object, version, err := store.Read(t.Context(), oidc.JWKSPath)
	if err != nil || len(object.Body) != 1<<20+1 {
		t.Fatalf("read %d bytes, %v; want them cut behind 1 MiB and a byte", len(object.Body), err)
	}
	if _, err := store.Write(t.Context(), oidc.Object{Path: oidc.JWKSPath, Body: []byte("{}"), ContentType: "application/json"}, version); err != nil {
		t.Error(err)
	}
}

// testRefusals has what Azurite itself refuses.
func testRefusals(t *testing.T, azurite *servers.Azurite) {
	url := azurite.CreateContainer(t, "refusals", false)
	key := credentials(t, azurite, "refusals")[0]
	readOnly := key
	readOnly.Credential, readOnly.SAS = azureblob.CredentialSAS, readSAS(t, azurite, "refusals")
	wrong := key
	wrong.AccountKey = "d3Jvbmc="

	client := blobClient(t, azurite, url+"/openid/v1/jwks")
	if _, err := client.Upload(t.Context(), streaming.NopCloser(strings.NewReader("{}")), nil); err != nil {
		t.Fatal(err)
	}
	holder, err := lease.NewBlobClient(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holder.AcquireLease(t.Context(), -1, nil); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name, url string
		config    azureblob.Config
		path      string
		want      string
	}{
		{
			"there is no container", azurite.AccountURL() + "/missing", key, oidc.DiscoveryPath,
			"the service answers 404 Not Found ContainerNotFound: az storage container create --account-name devstoreaccount1 " +
				"--name missing --public-access blob --auth-mode login",
		},
		{
			"the key is wrong", url, wrong, oidc.DiscoveryPath,
			"the service answers 400 Bad Request InvalidAuthenticationInfo: the key or token does not fit; " +
				"is it of this account, or of its tenant?",
		},
		{
			"the SAS is for reading", url, readOnly, oidc.DiscoveryPath,
			"the service answers 403 Forbidden AuthorizationPermissionMismatch: the identity needs the role " +
				`"Storage Blob Data Contributor" on the container, which counts some minutes after it is assigned; ` +
				"a SAS needs the permissions rcw",
		},
		{
			"somebody holds a lease", url, key, oidc.JWKSPath,
			"the service answers 412 Precondition Failed LeaseIdMissing: somebody holds a lease; az storage blob lease break ends it",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.URL, c.config.HTTPClient = c.url, azurite.Client()
			s := open(t, c.config, nil)
			_, base, err := s.Read(t.Context(), c.path)
			if err == nil {
				t.Logf("reading is allowed, of version %q", base)
			}
			_, err = s.Write(t.Context(), oidc.Object{Path: c.path, Body: []byte("{}")}, base)
			wantError(t, err, fmt.Sprintf("writing blob %q: %s", c.url+"/"+c.path, c.want))
			if _, ok := errors.AsType[*azcore.ResponseError](err); !ok {
				t.Errorf("the service's own error is lost: %v", err)
			}
		})
	}
}

// readSAS is a SAS token that does not allow to write.
func readSAS(t *testing.T, azurite *servers.Azurite, container string) azureblob.Secret {
	t.Helper()
	credential, err := blob.NewSharedKeyCredential(azurite.AccountName(), azurite.AccountKey())
	if err != nil {
		t.Fatal(err)
	}
	query, err := sas.BlobSignatureValues{
		ContainerName: container, Permissions: (&sas.ContainerPermissions{Read: true}).String(),
		ExpiryTime: time.Now().Add(time.Hour), Protocol: sas.ProtocolHTTPS,
	}.SignWithSharedKey(credential)
	if err != nil {
		t.Fatal(err)
	}
	return azureblob.Secret(query.Encode())
}

// TestCures has what Azure refuses and Azurite does not know: recorded error
// codes, answered by the test.
func TestCures(t *testing.T) {
	const account, container = "contoso", "https://contoso.blob.core.windows.net/oidc"
	for _, c := range []struct {
		url, code string
		status    int
		want      string
	}{
		{
			container, "KeyBasedAuthenticationNotPermitted", http.StatusForbidden,
			"403 Forbidden KeyBasedAuthenticationNotPermitted: the account permits neither keys nor SAS; choose credential default or workloadIdentity",
		},
		{
			container, "PublicAccessNotPermitted", http.StatusConflict,
			"409 Conflict PublicAccessNotPermitted: the account permits no anonymous access, which relying parties need too: " +
				"az storage account update --name contoso --allow-blob-public-access true, or publish to the container $web of a static website",
		},
		{
			"https://contoso.blob.core.windows.net/$web/prod", "ContainerNotFound", http.StatusNotFound,
			"404 Not Found ContainerNotFound: az storage blob service-properties update --account-name contoso --static-website --auth-mode login",
		},
		{
			container, "ContainerBeingDeleted", http.StatusConflict,
			"409 Conflict ContainerBeingDeleted: the container is being deleted; create it again when that is over",
		},
		{
			container, "AuthenticationFailed", http.StatusForbidden,
			"403 Forbidden AuthenticationFailed: the key, SAS or token is wrong or has expired, or this machine's clock is off",
		},
		{
			container, "InvalidAuthenticationInfo", http.StatusUnauthorized,
			"401 Unauthorized InvalidAuthenticationInfo: the key or token does not fit; is it of this account, or of its tenant?",
		},
		{
			container, "AuthorizationSourceIPMismatch", http.StatusForbidden,
			"403 Forbidden AuthorizationSourceIPMismatch: the SAS does not cover this: az storage container generate-sas " +
				"--account-name contoso --name oidc --permissions rcw --https-only",
		},
		{
			container, "BlobImmutableDueToPolicy", http.StatusConflict,
			"409 Conflict BlobImmutableDueToPolicy: an immutability policy protects what must be replaceable; take it off the container",
		},
		{
			container, "AccountIsDisabled", http.StatusForbidden,
			"403 Forbidden AccountIsDisabled: the storage account is disabled; is its subscription?",
		},
		{container, "OutOfRangeInput", http.StatusBadRequest, "400 Bad Request OutOfRangeInput"},
	} {
		t.Run(c.code, func(t *testing.T) {
			answer := storetest.Answer(c.status, http.Header{"X-Ms-Error-Code": {c.code}}, "<Error>a canary</Error>")
			s := answering(t, c.url, answer)
			_, _, err := s.Read(t.Context(), oidc.JWKSPath)
			wantError(t, err, fmt.Sprintf("reading blob %q: the service answers %s", c.url+"/openid/v1/jwks", c.want))
			_, err = s.Write(t.Context(), oidc.Object{Path: oidc.JWKSPath}, "")
			wantError(t, err, fmt.Sprintf("writing blob %q: the service answers %s", c.url+"/openid/v1/jwks", c.want))
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		name, header string
		status       int
		want         time.Duration // rounded up to minutes, as a date is whole seconds from now
	}{
		{"seconds", "120", http.StatusServiceUnavailable, 2 * time.Minute},
		{"a date", time.Now().Add(2 * time.Minute).UTC().Format(http.TimeFormat), http.StatusTooManyRequests, 2 * time.Minute},
		{"a date that is over", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), http.StatusTooManyRequests, 0},
		{"nonsense", "soon", http.StatusTooManyRequests, 0},
		{"nothing", "", http.StatusServiceUnavailable, 0},
		{"an answer that is no plea", "120", http.StatusForbidden, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := answering(t, "https://contoso.blob.core.windows.net/oidc", storetest.Answer(c.status, http.Header{"Retry-After": {c.header}}, ""))
			_, _, err := s.Read(t.Context(), oidc.JWKSPath)
			var got time.Duration
			if retry, ok := errors.AsType[*oidc.RetryAfterError](err); ok {
				got = (retry.After + time.Minute - 1).Truncate(time.Minute)
			}
			if err == nil || got != c.want {
				t.Errorf("got error %v, to be repeated after %s; want %s", err, got, c.want)
			}
		})
	}
}

// answering is a store whose requests are all answered by the fault.
func answering(t *testing.T, url string, fault storetest.Fault) *azureblob.Store {
	t.Helper()
	transport := roundTripper(func(req *http.Request) (*http.Response, error) { return fault(nil, req) })
	return open(t, azureblob.Config{
		URL: url, Credential: azureblob.CredentialSharedKey, AccountKey: "a2V5", HTTPClient: &http.Client{Transport: transport},
	}, nil)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }

// testSecrets reads and writes with secrets that do not work, on connections
// that fail in all the ways that storetest knows.
func testSecrets(t *testing.T, azurite *servers.Azurite) {
	url := azurite.CreateContainer(t, "secrets", false)
	for i, config := range withCanaries(azurite) {
		config.URL, config.HTTPClient = url, azurite.Client()
		for name, fault := range map[string]storetest.Fault{
			"none":        func(next http.RoundTripper, req *http.Request) (*http.Response, error) { return next.RoundTrip(req) },
			"refuse":      storetest.Refuse,
			"drop answer": storetest.DropAnswer,
			"cut answer":  storetest.CutAnswer,
			"cut request": storetest.CutRequest,
			"redirect":    storetest.Answer(http.StatusFound, http.Header{"Location": {"https://elsewhere.invalid/"}}, ""),
			"bad address": storetest.Answer(http.StatusFound, http.Header{"Location": {"https://%zz"}}, ""),
		} {
			t.Run(fmt.Sprintf("%d %s, %s", i, config.Credential, name), func(t *testing.T) {
				var faults storetest.Faults
				s := open(t, config, faults.Wrap)
				faults.During(t, storetest.Any, fault, func() {
					if name != "cut request" {
						_, _, err := s.Read(t.Context(), oidc.JWKSPath)
						wantNoCanary(t, err)
					}
					_, err := s.Write(t.Context(), oidc.Object{Path: oidc.JWKSPath, Body: []byte("{}")}, "")
					wantNoCanary(t, err)
				})
			})
		}
	}
}

const canary = "Y2FuYXJ5Y2FuYXJ5"

// withCanaries has the canary in every secret.
func withCanaries(azurite *servers.Azurite) []azureblob.Config {
	const query = "sv=2026-01-01&sr=c&sp=rcw&sig=" + canary
	return []azureblob.Config{
		{Credential: azureblob.CredentialSharedKey, AccountKey: canary},
		{Credential: azureblob.CredentialSAS, SAS: query},
		{Credential: azureblob.CredentialConnectionString, ConnectionString: azureblob.Secret(
			"AccountName=devstoreaccount1;AccountKey=" + canary + ";BlobEndpoint=" + azurite.AccountURL())},
		{Credential: azureblob.CredentialConnectionString, ConnectionString: azureblob.Secret(
			"BlobEndpoint=" + azurite.AccountURL() + ";SharedAccessSignature=" + query)},
		{Credential: azureblob.CredentialDefault, TokenCredential: token(canary)},
	}
}

func wantNoCanary(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("got no error")
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if shown := fmt.Sprintf("%v %+v", err, err); strings.Contains(shown, canary) {
			t.Errorf("the error shows the secret: %s", shown)
		}
	}
}

func TestConfigShowsNoSecret(t *testing.T) {
	config := azureblob.Config{URL: "https://a/b", ConnectionString: canary, SAS: canary, AccountKey: canary}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
		for _, value := range []any{config, &config, config.SAS, &config.SAS} {
			if shown := fmt.Sprintf(verb, value); strings.Contains(shown, canary) || strings.Contains(shown, fmt.Sprintf("%x", canary)) {
				t.Errorf("%s of %T shows the secret: %s", verb, value, shown)
			}
		}
	}
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Info("started", "config", config, "secret", config.SAS)
	}
	marshalled, err := json.Marshal(map[string]azureblob.Secret{"secret": config.SAS})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{log.String(), string(marshalled), config.SAS.String()} {
		if strings.Contains(shown, canary) || !strings.Contains(shown, "[redacted]") {
			t.Errorf("got %s, want [redacted] in the place of each secret", shown)
		}
	}
}
