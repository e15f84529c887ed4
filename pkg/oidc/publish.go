package oidc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// Holding is what a store held when it was read: the base on which to decide
// what to publish, and for [Publish] to write.
type Holding struct {
	// Keys are the keys of the JWK set that are fit to be published.
	Keys keys.Set
	// Damage is what is wrong with the JWK set: somebody else's edit, because
	// Publish writes nothing like it. Relying parties may fail on it.
	Damage []*keys.Error
	// Issuer is what the discovery document names; empty without a document
	// that can be read.
	Issuer string

	jwks, discovery stored
}

// stored is an object as it was read; its version is empty if there was none.
type stored struct {
	object  Object
	version Version
}

// Hold reads what the store holds now. After an error nothing is known.
func Hold(ctx context.Context, store Store) (Holding, error) {
	var holding Holding
	var err error
	if holding.jwks, err = read(ctx, store, JWKSPath); err != nil {
		return Holding{}, err
	}
	if holding.discovery, err = read(ctx, store, DiscoveryPath); err != nil {
		return Holding{}, err
	}
	if holding.jwks.version != "" {
		set, skipped, err := keys.ParseJWKS(JWKSPath, holding.jwks.object.Body)
		if fault, refused := errors.AsType[*keys.Error](err); refused {
			skipped = append(skipped, fault)
		}
		holding.Keys, holding.Damage = set, skipped
	}
	var document struct {
		Issuer string `json:"issuer"`
	}
	if json.Unmarshal(holding.discovery.object.Body, &document) == nil {
		holding.Issuer = document.Issuer
	}
	return holding, nil
}

// Missing returns the paths of the documents that the store did not hold, in
// the order in which [Publish] would write them.
func (h Holding) Missing(documents Documents) (paths []string) {
	if !holds(h.jwks.object, documents.JWKS) {
		paths = append(paths, JWKSPath)
	}
	if !holds(h.discovery.object, documents.Discovery) {
		paths = append(paths, DiscoveryPath)
	}
	return paths
}

// Publish writes the documents to the store where they differ from the base:
// the JWK set first, read back, then the discovery document that names it.
// [ErrConflict] means that another writer came between: read, decide and
// publish again. It returns the paths it wrote, in order, also beside an
// error. A write whose answer was lost but which the store shows is a success.
//
// The read-back goes through the store, not through the public address: that
// may pass a cache, which must not gate publishing.
func Publish(ctx context.Context, store Store, documents Documents, base Holding) (written []string, err error) {
	return publish(ctx, store, documents, base, !holds(base.jwks.object, documents.JWKS))
}

// Republish is [Publish], but writes the JWK set even if the store holds it
// already, so that its version moves: a writer that has decided on what was
// before, and was paused, then gets [ErrConflict].
func Republish(ctx context.Context, store Store, documents Documents, base Holding) (written []string, err error) {
	return publish(ctx, store, documents, base, true)
}

func publish(ctx context.Context, store Store, documents Documents, base Holding, writeJWKS bool) (written []string, err error) {
	discovery := base.discovery
	if writeJWKS {
		if err := put(ctx, store, documents.JWKS, base.jwks.version); err != nil {
			return nil, err
		}
		written = append(written, JWKSPath)
		// In some stores that write moved the version of every object.
		if discovery, err = read(ctx, store, DiscoveryPath); err != nil {
			return written, err
		}
	}
	if holds(discovery.object, documents.Discovery) {
		return written, nil
	}
	if err := put(ctx, store, documents.Discovery, discovery.version); err != nil {
		return written, err
	}
	written = append(written, DiscoveryPath)
	// Another writer may have replaced the JWK set since. Its algorithms may
	// be missing in the discovery document just written.
	jwks, err := read(ctx, store, JWKSPath)
	if err == nil && !holds(jwks.object, documents.JWKS) {
		err = fmt.Errorf("publishing %q: %w", DiscoveryPath, ErrConflict)
	}
	return written, err
}

// read is store.Read with absence as the empty version.
func read(ctx context.Context, store Store, path string) (stored, error) {
	object, version, err := store.Read(ctx, path)
	if errors.Is(err, ErrNotFound) {
		return stored{}, nil
	}
	if err != nil {
		return stored{}, fmt.Errorf("reading %q from the store: %w", path, err)
	}
	return stored{object, version}, nil
}

// put writes one object and sees for itself that it is there. After an error
// the version tells whether the write happened: the bytes may have been there before.
func put(ctx context.Context, store Store, object Object, base Version) error {
	_, writeErr := store.Write(ctx, object, base)
	found, readErr := read(ctx, store, object.Path)
	switch {
	case readErr == nil && holds(found.object, object) && (writeErr == nil || found.version != base):
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
