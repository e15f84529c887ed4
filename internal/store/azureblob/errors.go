package azureblob

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// refusal is the service's error in one line. The text of the SDK's has the
// whole answer in it.
type refusal struct {
	status, code, cure string
	cause              *azcore.ResponseError
}

func (r *refusal) Error() string {
	text := "the service answers " + r.status
	if r.code != "" {
		text += " " + r.code
	}
	if r.cure != "" {
		text += ": " + r.cure
	}
	return text
}

func (r *refusal) Unwrap() error { return r.cause }

// explain makes errors fit to be shown: in one line, with the cure, without
// the SAS.
func (s *Store) explain(err error) error {
	if broken, ok := errors.AsType[*url.Error](err); ok {
		address, _, _ := strings.Cut(broken.URL, "?")
		return &url.Error{Op: broken.Op, URL: address, Err: broken.Err}
	}
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		return err
	}
	status := fmt.Sprintf("%d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	refused := &refusal{status: status, code: answer.ErrorCode, cure: s.cure(bloberror.Code(answer.ErrorCode)), cause: answer}
	if wait := retryAfter(answer); wait > 0 {
		return &oidc.RetryAfterError{After: wait, Err: refused}
	}
	return refused
}

// retryAfter is how long the service asks to be left alone (RFC 9110 section
// 10.2.3), or zero.
func retryAfter(answer *azcore.ResponseError) time.Duration {
	if answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	header := answer.RawResponse.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(header); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return time.Until(at)
	}
	return 0
}

// cure says what to do about an error code (Azure Blob storage error codes,
// https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes),
// or nothing.
func (s *Store) cure(code bloberror.Code) string {
	switch code {
	case bloberror.ContainerNotFound:
		if s.container == "$web" {
			return "az storage blob service-properties update --account-name " + s.account + " --static-website --auth-mode login"
		}
		return "az storage container create --account-name " + s.account + " --name " + s.container +
			" --public-access blob --auth-mode login"
	case bloberror.ContainerBeingDeleted:
		return "the container is being deleted; create it again when that is over"
	case bloberror.AuthorizationPermissionMismatch:
		return `the identity needs the role "Storage Blob Data Contributor" on the container, which counts some minutes after it is ` +
			"assigned; a SAS needs the permissions rcw"
	case bloberror.AuthorizationFailure:
		return "the account's network rules keep this machine out, or the identity has no role on the container"
	case bloberror.AuthenticationFailed:
		return "the key, SAS or token is wrong or has expired, or this machine's clock is off"
	case bloberror.InvalidAuthenticationInfo:
		return "the key or token does not fit; is it of this account, or of its tenant?"
	case "KeyBasedAuthenticationNotPermitted":
		return "the account permits neither keys nor SAS; choose credential " + CredentialDefault + " or " + CredentialWorkloadIdentity
	case "PublicAccessNotPermitted":
		return "the account permits no anonymous access, which relying parties need too: az storage account update --name " +
			s.account + " --allow-blob-public-access true, or publish to the container $web of a static website"
	case bloberror.AuthorizationProtocolMismatch, bloberror.AuthorizationResourceTypeMismatch,
		bloberror.AuthorizationServiceMismatch, bloberror.AuthorizationSourceIPMismatch:
		return "the SAS does not cover this: az storage container generate-sas --account-name " + s.account + " --name " + s.container +
			" --permissions rcw --https-only"
	case bloberror.LeaseIDMissing:
		return "somebody holds a lease; az storage blob lease break ends it"
	case bloberror.BlobImmutableDueToPolicy:
		return "an immutability policy protects what must be replaceable; take it off the container"
	case bloberror.AccountIsDisabled:
		return "the storage account is disabled; is its subscription?"
	default:
		return ""
	}
}
