// Package azureblob is a store in a container of Azure Blob storage, whose
// public address is the issuer's. It neither makes containers nor changes who
// may read them.
package azureblob

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"github.com/issuer-sync/issuer-sync/internal/store"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

var _ oidc.Store = (*Store)(nil)

// Config says where the container is and how to be let in. Printing it shows
// no secret.
type Config struct {
	// URL is the container's, such as https://ACCOUNT.blob.core.windows.net/oidc,
	// or that of a folder in it. The static website's container is named $web.
	// With an IP address or localhost as its host, which may then be reached
	// over http, the account is the first segment of the path, as Azurite has
	// it.
	URL string
	// Credential is one of the Credential constants.
	Credential string
	// ConnectionString, SAS and AccountKey are for the credential of that name.
	ConnectionString, SAS, AccountKey Secret
	// TokenCredential, if set, is asked for tokens in the place of the one that
	// CredentialDefault and CredentialWorkloadIdentity would make.
	TokenCredential azcore.TokenCredential
	// HTTPClient makes the requests to the store, without following redirects
	// whatever it says; if nil, one with Go's defaults does. Tokens are
	// requested by a client of the Azure SDK.
	HTTPClient *http.Client
}

// Store keeps objects as block blobs. Versions are their ETags.
type Store struct {
	location // immutable
	open     opener
}

// New returns the store of the configuration. It makes no requests.
func New(config Config) (*Store, error) {
	where, err := parseURL(config.URL)
	if err != nil {
		return nil, err
	}
	open, err := newOpener(config, where)
	if err != nil {
		return nil, fmt.Errorf("preparing credential %q for %q: %w", config.Credential, where.url, err)
	}
	return &Store{where, open}, nil
}

// Read implements [oidc.Store].
func (s *Store) Read(ctx context.Context, path string) (oidc.Object, oidc.Version, error) {
	object, version, err := s.read(ctx, path)
	if err != nil {
		return oidc.Object{}, "", fmt.Errorf("reading blob %q: %w", s.blobURL(path), s.explain(err))
	}
	return object, version, nil
}

func (s *Store) read(ctx context.Context, path string) (oidc.Object, oidc.Version, error) {
	if err := cmp.Or(ctx.Err(), store.CheckPath(path)); err != nil {
		return oidc.Object{}, "", err
	}
	ctx, cancel := store.Bound(ctx)
	defer cancel()
	client, err := s.open(path)
	if err != nil {
		return oidc.Object{}, "", err
	}
	answer, err := client.DownloadStream(ctx, nil)
	if bloberror.HasCode(err, bloberror.BlobNotFound) {
		return oidc.Object{}, "", oidc.ErrNotFound
	}
	if err != nil {
		return oidc.Object{}, "", err
	}
	defer answer.Body.Close()
	body, err := store.ReadBody(answer.Body)
	if err != nil {
		return oidc.Object{}, "", err
	}
	version, err := versionOf(answer.ETag)
	return oidc.Object{
		Path: path, Body: body,
		// What has no type is octets (RFC 9110 section 8.3).
		ContentType: cmp.Or(value(answer.ContentType), "application/octet-stream"), CacheControl: value(answer.CacheControl),
	}, version, err
}

// Write implements [oidc.Store].
func (s *Store) Write(ctx context.Context, object oidc.Object, base oidc.Version) (oidc.Version, error) {
	version, err := s.write(ctx, object, base)
	if err != nil {
		return "", fmt.Errorf("writing blob %q: %w", s.blobURL(object.Path), s.explain(err))
	}
	return version, nil
}

func (s *Store) write(ctx context.Context, object oidc.Object, base oidc.Version) (oidc.Version, error) {
	if err := cmp.Or(ctx.Err(), store.Check(object)); err != nil {
		return "", err
	}
	ctx, cancel := store.Bound(ctx)
	defer cancel()
	client, err := s.open(object.Path)
	if err != nil {
		return "", err
	}
	condition := &blob.ModifiedAccessConditions{IfMatch: new(azcore.ETag(base))}
	if base == "" {
		condition = &blob.ModifiedAccessConditions{IfNoneMatch: new(azcore.ETagAny)}
	}
	answer, err := client.Upload(ctx, streaming.NopCloser(bytes.NewReader(object.Body)), &blockblob.UploadOptions{
		HTTPHeaders:      &blob.HTTPHeaders{BlobContentType: &object.ContentType, BlobCacheControl: &object.CacheControl},
		AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: condition},
	})
	if bloberror.HasCode(err, bloberror.ConditionNotMet, bloberror.BlobAlreadyExists) {
		return "", oidc.ErrConflict
	}
	if err != nil {
		return "", err
	}
	return versionOf(answer.ETag)
}

func versionOf(tag *azcore.ETag) (oidc.Version, error) {
	if tag == nil || *tag == "" {
		return "", errors.New("the answer has no ETag: something else than Azure Blob storage answers there")
	}
	return oidc.Version(*tag), nil
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
