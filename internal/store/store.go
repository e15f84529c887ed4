// Package store holds what the stores have in common: the rules for paths and
// sizes, and how long one call may take. The stores themselves are the packages
// below it; each passes storetest.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// MaxObjectSize is the size of the largest object, in bytes. It is what
// relying parties and our own sources read at most, and what fits a ConfigMap.
const MaxObjectSize = 1 << 20

// callTimeout bounds a call whose caller set no bound. Objects are small: a
// store that takes longer is down.
const callTimeout = 10 * time.Second

// errTooLarge is for objects beyond MaxObjectSize.
var errTooLarge = errors.New("the object is larger than 1 MiB, the most that a store keeps")

// CheckPath returns an error unless path is relative, has "/" between segments
// and no empty, "." or ".." segment.
func CheckPath(path string) error {
	if !fs.ValidPath(path) || path == "." {
		return fmt.Errorf("object path %q: want a relative path without empty, %q or %q segments", path, ".", "..")
	}
	return nil
}

// Check returns an error unless the object can be stored and read back: its
// path is valid and its size within MaxObjectSize.
func Check(object oidc.Object) error {
	if err := CheckPath(object.Path); err != nil {
		return err
	}
	if len(object.Body) > MaxObjectSize {
		return errTooLarge
	}
	return nil
}

// ReadBody reads an object's body, but no more than a byte beyond
// MaxObjectSize: enough for the caller to see that it is nothing of ours.
func ReadBody(r io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, MaxObjectSize+1))
}

// Bound returns ctx, ending ten seconds from now if it has no deadline of its
// own. The caller calls the cancel function when the call is over.
func Bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, callTimeout)
}
