// Package directory is a store in a directory of one node, laid out so that
// any web server can serve it: each object is a file at its path.
//
// Writers take turns with a lock file, so the directory must be on one file
// system that has flock(2); several nodes writing to a shared one are not
// supported. A file keeps no headers: the web server sets them.
package directory

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/store"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// The store's own files, beside the state that the publisher keeps there.
const (
	ownDir   = ".issuer-sync"
	lockFile = ownDir + "/lock"
	// nextFile becomes the object by rename. There is one, as writers take
	// turns; here, a crash leaves it where no web server shows it as a
	// document and where the next writer finds it.
	nextFile = ownDir + "/next"
)

// lockPoll is how often a writer tries the lock that another one holds. A
// write takes some milliseconds; flock(2) cannot wait for a context.
const lockPoll = 10 * time.Millisecond

var _ oidc.Store = (*Store)(nil)

// Store is a directory. It holds nothing open between calls.
type Store struct {
	path string               // immutable
	sync func(*os.File) error // makes a file or a directory durable
	seen atomic.Bool          // whether the directory was there
}

// New returns the store in the directory at the given path. If it is missing,
// it is created by the first Write; its parent must exist.
func New(path string) (*Store, error) {
	if path == "" {
		return nil, errors.New("directory without a path; want one whose parent exists")
	}
	s := &Store{path: filepath.Clean(path), sync: (*os.File).Sync}
	root, err := s.open()
	if errors.Is(err, oidc.ErrNotFound) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening directory %q: %w", path, err)
	}
	return s, root.Close()
}

// open opens the directory anew, for each call: one that was replaced is seen,
// and one that is gone is an error and not an empty store. ErrNotFound means
// that there never was one, but may be.
func (s *Store) open() (*os.Root, error) {
	root, err := os.OpenRoot(s.path)
	_, here := os.Lstat(s.path)
	if errors.Is(err, fs.ErrNotExist) && here == nil { // another writer has just made it, or it is a link to nothing
		root, err = os.OpenRoot(s.path)
	}
	if err == nil {
		s.seen.Store(true)
		return root, nil
	}
	if !errors.Is(here, fs.ErrNotExist) || s.seen.Load() {
		return nil, explain(err)
	}
	if _, err := os.Stat(filepath.Dir(s.path)); err != nil {
		return nil, fmt.Errorf("its parent must exist: %w", explain(err))
	}
	return nil, oidc.ErrNotFound
}

// create makes the directory, durably, opens it to the web server whatever the
// umask, and opens it.
func (s *Store) create() (*os.Root, error) {
	if err := os.Mkdir(s.path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, explain(err)
	}
	if err := os.Chmod(s.path, 0o755); err != nil {
		return nil, explain(err)
	}
	if err := s.syncDir(os.Open, filepath.Dir(s.path)); err != nil {
		return nil, explain(err)
	}
	return s.open()
}

// Read implements [oidc.Store]. It takes no lock.
func (s *Store) Read(ctx context.Context, name string) (oidc.Object, oidc.Version, error) {
	object, version, err := s.read(ctx, name)
	if err != nil {
		return oidc.Object{}, "", fmt.Errorf("reading %q in directory %q: %w", name, s.path, err)
	}
	return object, version, nil
}

func (s *Store) read(ctx context.Context, name string) (oidc.Object, oidc.Version, error) {
	if err := cmp.Or(ctx.Err(), checkPath(name)); err != nil {
		return oidc.Object{}, "", err
	}
	root, err := s.open()
	if err != nil {
		return oidc.Object{}, "", err
	}
	defer root.Close()
	found, err := openFile(root, name)
	return oidc.Object{Path: name, Body: found.body}, found.version, err
}

// Write implements [oidc.Store].
func (s *Store) Write(ctx context.Context, object oidc.Object, base oidc.Version) (oidc.Version, error) {
	version, err := s.write(ctx, object, base)
	if err != nil {
		return "", fmt.Errorf("writing %q in directory %q: %w", object.Path, s.path, err)
	}
	return version, nil
}

func (s *Store) write(ctx context.Context, object oidc.Object, base oidc.Version) (oidc.Version, error) {
	if err := cmp.Or(ctx.Err(), checkPath(object.Path), store.Check(object)); err != nil {
		return "", err
	}
	root, err := s.open()
	if errors.Is(err, oidc.ErrNotFound) {
		if base != "" {
			return "", oidc.ErrConflict
		}
		root, err = s.create()
	}
	if err != nil {
		return "", err
	}
	defer root.Close()
	ctx, cancel := store.Bound(ctx)
	defer cancel()
	unlock, err := lock(ctx, root)
	if err != nil {
		return "", explain(err)
	}
	defer unlock()

	current, err := openFile(root, object.Path)
	if err != nil && !errors.Is(err, oidc.ErrNotFound) {
		return "", err
	}
	if current.version != base {
		return "", oidc.ErrConflict
	}
	version, err := s.replace(root, object, current.modified)
	return version, explain(err)
}

// file is an object as it is on disk.
type file struct {
	body     []byte
	version  oidc.Version
	modified time.Time
}

// openFile reads the object at name and tells its version.
func openFile(root *os.Root, name string) (file, error) {
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return file{}, oidc.ErrNotFound
	}
	if err != nil {
		return file{}, explain(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return file{}, err
	}
	if !info.Mode().IsRegular() {
		return file{}, fmt.Errorf("want a regular file, it is %s", info.Mode())
	}
	body, err := store.ReadBody(f)
	if err != nil {
		return file{}, err
	}
	return file{body, version(body, info), info.ModTime()}, nil
}

// version identifies one write of a file. The content alone would not do: a
// writer that was paused while others removed a key and put it back would find
// the bytes that it knew, and undo what came between. The inode tells two
// consecutive writes apart on every file system, and the modification time,
// which replace never lets stand still, any two where it counts nanoseconds.
// The content is there for edits in place, by hand.
func version(body []byte, info fs.FileInfo) oidc.Version {
	return oidc.Version(fmt.Sprintf("%x-%x-%x", sha256.Sum256(body), inode(info), info.ModTime().UnixNano()))
}

// replace puts the object in the place of the one that was modified at the
// given time, and waits until it is durable. The lock must be held.
func (s *Store) replace(root *os.Root, object oidc.Object, last time.Time) (oidc.Version, error) {
	if err := root.Remove(nextFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("removing what a crash left: %w", err)
	}
	info, err := s.prepare(root, object.Body, last)
	if err == nil {
		err = mkdirAll(root, path.Dir(object.Path))
	}
	if err == nil {
		err = root.Rename(nextFile, object.Path)
	}
	if err != nil {
		_ = root.Remove(nextFile) // the next write removes it otherwise
		return "", err
	}
	for dir := path.Dir(object.Path); ; dir = path.Dir(dir) {
		if err := s.syncDir(root.Open, dir); err != nil {
			return "", err
		}
		if dir == "." {
			return version(object.Body, info), nil
		}
	}
}

// prepare writes the next file, durably, with a modification time later than
// last even if the clock went back.
func (s *Store) prepare(root *os.Root, body []byte, last time.Time) (fs.FileInfo, error) {
	f, err := root.OpenFile(nextFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	modified := time.Now()
	if !modified.After(last) {
		modified = last.Add(1)
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Chmod(0o644) // whatever the umask
	}
	if err == nil {
		err = root.Chtimes(nextFile, modified, modified)
	}
	if err == nil {
		err = s.sync(f)
	}
	if err != nil {
		return nil, err
	}
	return f.Stat()
}

// mkdirAll makes the directory and its parents below the root, open to the web
// server whatever the umask.
func mkdirAll(root *os.Root, dir string) error {
	made := ""
	for segment := range strings.SplitSeq(dir, "/") {
		made = path.Join(made, segment)
		err := root.Mkdir(made, 0o755)
		if err == nil {
			err = root.Chmod(made, 0o755)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// lock waits until this writer is the only one and returns how to end that.
func lock(ctx context.Context, root *os.Root) (unlock func(), err error) {
	if err := mkdirAll(root, ownDir); err != nil {
		return nil, err
	}
	for {
		f, err := tryLock(root)
		if err != nil {
			return nil, err
		}
		if f != nil {
			return func() { _ = f.Close() }, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lock %q that another writer holds: %w", lockFile, ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// tryLock returns the locked lock file, or nil if another writer holds it.
func tryLock(root *os.Root) (*os.File, error) {
	f, err := root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	locked, err := flock(f)
	if locked {
		return f, nil
	}
	_ = f.Close()
	if err != nil {
		return nil, fmt.Errorf("locking %q: %w", lockFile, err)
	}
	return nil, nil
}

// checkPath refuses paths out of the directory (as os.Root would, less
// clearly) and the store's own files.
func checkPath(name string) error {
	if name == lockFile || name == nextFile {
		return fmt.Errorf("object path %q: it is the store's own file", name)
	}
	return store.CheckPath(name)
}

// syncDir makes the names in a directory durable.
func (s *Store) syncDir(open func(string) (*os.File, error), dir string) error {
	f, err := open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.sync(f)
}

// explain adds the cure to what an operator can cure.
func explain(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: uid %d needs the right to read and write here", err, os.Geteuid())
	}
	return err
}
