// Package memory is a store in memory: for tests, and for a publisher that has
// nothing to remember between restarts.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"strconv"
	"sync"

	"github.com/issuer-sync/issuer-sync/internal/store"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

var _ oidc.Store = (*Store)(nil)

// Store keeps objects, headers included, for as long as it lives. Versions
// count the writes.
type Store struct {
	mu      sync.Mutex // guards all below
	writes  int
	objects map[string]entry
}

type entry struct {
	object  oidc.Object
	version oidc.Version
}

// New returns an empty store.
func New() *Store { return &Store{objects: make(map[string]entry)} }

// Read implements [oidc.Store].
func (s *Store) Read(ctx context.Context, path string) (oidc.Object, oidc.Version, error) {
	if err := cmp.Or(ctx.Err(), store.CheckPath(path)); err != nil {
		return oidc.Object{}, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.objects[path]
	if !ok {
		return oidc.Object{}, "", oidc.ErrNotFound
	}
	return clone(found.object), found.version, nil
}

// Write implements [oidc.Store].
func (s *Store) Write(ctx context.Context, object oidc.Object, base oidc.Version) (oidc.Version, error) {
	if err := cmp.Or(ctx.Err(), store.Check(object)); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects[object.Path].version != base {
		return "", oidc.ErrConflict
	}
	s.writes++
	version := oidc.Version(strconv.Itoa(s.writes))
	s.objects[object.Path] = entry{clone(object), version}
	return version, nil
}

func clone(object oidc.Object) oidc.Object {
	object.Body = bytes.Clone(object.Body)
	return object
}
