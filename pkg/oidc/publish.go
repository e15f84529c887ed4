package oidc

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// Published reads the keys that the store holds now, with the version of the
// JWK set that they were read from: the base for [Publish]. A store without a
// JWK set has the empty set and the empty version. An *[keys.Error] means that
// the JWK set is there but damaged; the version is valid then. After any other
// error nothing is known.
func Published(ctx context.Context, store Store) (keys.Set, Version, error) {
	jwks, version, err := read(ctx, store, JWKSPath)
	if err != nil || version == "" {
		return keys.Set{}, "", err
	}
	set, skipped, err := keys.ParseJWKS(JWKSPath, jwks.Body)
	if err == nil && len(skipped) > 0 {
		// Render never writes such a key, so somebody else did.
		err = skipped[0]
	}
	if err != nil {
		return keys.Set{}, version, err
	}
	return set, version, nil
}

// Publish writes the documents to the store where they differ from what it
// holds: the JWK set first, read back, then the discovery document that names
// it. base is the version of the stored JWK set on which the decision what to
// publish was made; [ErrConflict] means that another writer came between:
// read, decide and publish again. It returns the paths it wrote, in order,
// also beside an error. A write whose answer was lost but which the store
// shows is a success.
//
// The read-back goes through the store, not through the public address: that
// may pass a cache, which must not gate publishing.
func Publish(ctx context.Context, store Store, documents Documents, base Version) (written []string, err error) {
	jwks, version, err := read(ctx, store, JWKSPath)
	if err != nil {
		return nil, err
	}
	if version != base {
		return nil, fmt.Errorf("publishing %q: %w", JWKSPath, ErrConflict)
	}
	if !holds(jwks, documents.JWKS) {
		if err := put(ctx, store, documents.JWKS, base); err != nil {
			return nil, err
		}
		written = append(written, JWKSPath)
	}
	discovery, version, err := read(ctx, store, DiscoveryPath)
	if err != nil {
		return written, err
	}
	if holds(discovery, documents.Discovery) {
		return written, nil
	}
	if err := put(ctx, store, documents.Discovery, version); err != nil {
		return written, err
	}
	written = append(written, DiscoveryPath)
	// Another writer may have replaced the JWK set since. Its algorithms may
	// be missing in the discovery document just written.
	jwks, _, err = read(ctx, store, JWKSPath)
	if err == nil && !holds(jwks, documents.JWKS) {
		err = fmt.Errorf("publishing %q: %w", DiscoveryPath, ErrConflict)
	}
	return written, err
}

// Differences returns the paths that [Publish] would write now, in order.
func Differences(ctx context.Context, store Store, documents Documents) ([]string, error) {
	var paths []string
	for _, wanted := range []Object{documents.JWKS, documents.Discovery} {
		stored, _, err := read(ctx, store, wanted.Path)
		if err != nil {
			return nil, err
		}
		if !holds(stored, wanted) {
			paths = append(paths, wanted.Path)
		}
	}
	return paths, nil
}

// read is store.Read with absence as the empty version.
func read(ctx context.Context, store Store, path string) (Object, Version, error) {
	object, version, err := store.Read(ctx, path)
	if errors.Is(err, ErrNotFound) {
		return Object{}, "", nil
	}
	if err != nil {
		return Object{}, "", fmt.Errorf("reading %q from the store: %w", path, err)
	}
	return object, version, nil
}

// put writes one object and sees for itself that it is there.
func put(ctx context.Context, store Store, object Object, base Version) error {
	_, writeErr := store.Write(ctx, object, base)
	stored, _, readErr := read(ctx, store, object.Path)
	switch {
	case readErr == nil && holds(stored, object):
		return nil
	case writeErr != nil:
		return fmt.Errorf("writing %q to the store: %w", object.Path, writeErr)
	case readErr != nil:
		return fmt.Errorf("reading back: %w", readErr)
	default:
		return fmt.Errorf("reading back %q: %w", object.Path, ErrConflict)
	}
}

// holds reports whether the stored object is the wanted one, as far as the
// store keeps headers at all: one that does always has a ContentType.
func holds(stored, wanted Object) bool {
	return bytes.Equal(stored.Body, wanted.Body) &&
		(stored.ContentType == "" || stored.ContentType == wanted.ContentType && stored.CacheControl == wanted.CacheControl)
}
