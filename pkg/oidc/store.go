package oidc

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Version identifies one write of one object, as an ETag or resourceVersion
// does. The empty Version means that the object does not exist. Versions are
// compared with == and have no order. A store may keep several objects under
// one version, which a write to any of them moves.
type Version string

// Object is one published object.
type Object struct {
	// Path is relative to the store's root, with "/" between segments.
	Path string
	Body []byte
	// ContentType and CacheControl are header values. A store that keeps none
	// returns both empty; one that keeps them never returns an empty
	// ContentType, and an empty CacheControl for an object that has none.
	ContentType, CacheControl string
}

// ErrNotFound is returned by Store.Read for an object that does not exist.
// It is never returned for a store that could not be asked.
var ErrNotFound = errors.New("no such object")

// ErrConflict is returned by Store.Write when the object is not, or no longer,
// the version that the write was based on, though another object that shares
// the version may be what changed. Nothing was written; or a write of this call
// was persisted by an attempt whose answer was lost: read to know.
var ErrConflict = errors.New("the object was changed by another writer")

// RetryAfterError is returned by a store that asks to be left alone for a
// while. Use errors.As.
type RetryAfterError struct {
	After time.Duration // from now
	Err   error
}

func (e *RetryAfterError) Error() string { return fmt.Sprintf("%v (retry after %s)", e.Err, e.After) }

// Unwrap returns the store's own error.
func (e *RetryAfterError) Unwrap() error { return e.Err }

// Store is where documents are written. All methods are safe for concurrent
// use, by several processes too, and end when their context does.
//
// A store does not retry beyond what one call takes; the caller's next round
// does. Readers of the underlying medium see the whole old object or the whole
// new one, never a mixture. Objects have at most 1 MiB.
type Store interface {
	// Read returns the object at path and its version. It sees every write
	// that returned before it was called. An absent object is ErrNotFound;
	// any other error means that nothing is known. A body of more than 1 MiB,
	// which is somebody else's, comes cut behind the next byte, so that it can
	// be seen for what it is and replaced.
	Read(ctx context.Context, path string) (Object, Version, error)

	// Write stores the object at object.Path if its version is still base, the
	// empty base meaning that it must not exist, and returns the new version,
	// which differs from every earlier one even if the bytes are equal. When it
	// returns nil, the object is durable. If the version is another,
	// it returns ErrConflict. After any other error the write may or may not
	// have happened, now or a little later: read before trying again.
	Write(ctx context.Context, object Object, base Version) (Version, error)
}
