package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// Files reads public keys from PEM files. Its paths are files, directories and
// globs.
//
// Of a directory it reads the files *.pub and *.pem, not those of directories
// below: beside sa.pub, /etc/kubernetes/pki holds private keys (*.key), which
// are never opened, and CA certificates (*.crt), which sign no tokens. Names
// that begin with a dot are passed over in directories and globs, so that the
// ..data of a mounted ConfigMap or Secret is not read a second time.
//
// Files is safe for concurrent use.
type Files struct {
	paths []string // absolute
	log   *slog.Logger
}

// NewFiles returns the source of the given paths, at least one. Nothing need
// be there yet. The error tells of every path that is none.
func NewFiles(paths []string, log *slog.Logger) (*Files, error) {
	if len(paths) == 0 {
		return nil, errors.New("files: no paths; want files, directories or globs")
	}
	f := &Files{log: log}
	var faults []error
	for _, path := range paths {
		if _, err := filepath.Match(path, ""); err != nil || path == "" {
			faults = append(faults, fmt.Errorf("files: path %q; want a file, a directory or a glob", path))
			continue
		}
		absolute, err := filepath.Abs(path)
		if err != nil {
			faults = append(faults, fmt.Errorf("files: path %q: %w", path, err))
		}
		f.paths = append(f.paths, absolute)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return f, nil
}

// Observe reads all files. It returns one observation for each, with the
// origin "file " and its absolute path; a path at which there is nothing has
// one too, with an error.
func (f *Files) Observe(context.Context) []keys.Observation {
	found := f.list()
	observations := make([]keys.Observation, len(found))
	for i, file := range found {
		observations[i] = file.observe()
	}
	return observations
}

// list expands the paths to files, sorted, each once.
func (f *Files) list() []file {
	var found []file
	for _, path := range f.paths {
		found = append(found, expand(path)...)
	}
	slices.SortStableFunc(found, func(a, b file) int { return cmp.Compare(a.path, b.path) })
	return slices.CompactFunc(found, func(a, b file) bool { return a.path == b.path })
}

func expand(path string) []file {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return expandDirectory(path)
	case err == nil || !isGlob(path):
		return []file{{path: path}} // if it is not there, reading it says so
	}
	matches, err := filepath.Glob(path)
	if err != nil {
		return []file{{path: path, err: err}}
	}
	var found []file
	for _, match := range matches {
		if info, err := os.Stat(match); err == nil && info.IsDir() && !isHidden(match) {
			found = append(found, expandDirectory(match)...)
		} else if !isHidden(match) || isHidden(path) {
			found = append(found, file{path: match})
		}
	}
	if len(found) == 0 {
		return []file{{path: path, err: errors.New("the glob matches nothing")}}
	}
	return found
}

func expandDirectory(directory string) []file {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return []file{{path: directory, err: withoutPath(err)}}
	}
	var found []file
	for _, entry := range entries {
		path := filepath.Join(directory, entry.Name())
		extension := filepath.Ext(path)
		if isHidden(path) || extension != ".pub" && extension != ".pem" {
			continue
		}
		// Not entry.IsDir: the entry may be a link.
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			found = append(found, file{path: path})
		}
	}
	if len(found) == 0 {
		return []file{{path: directory, err: errors.New("the directory holds no *.pub or *.pem file")}}
	}
	return found
}

func isGlob(path string) bool   { return strings.ContainsAny(path, `*?[\`) }
func isHidden(path string) bool { return strings.HasPrefix(filepath.Base(path), ".") }

// file is a path to read, or why there is none.
type file struct {
	path string
	err  error
}

func (f file) observe() keys.Observation {
	origin := "file " + f.path
	data, err := f.read()
	if err != nil {
		return keys.Observation{Origin: origin, Err: fmt.Errorf("%s: %w", origin, err)}
	}
	set, skipped, err := keys.ParsePEM(origin, data)
	return keys.Observation{Origin: origin, Keys: set, Skipped: skipped, Err: err}
}

// read returns the file's content, of which the parser refuses what is more
// than keys.MaxInputSize bytes.
func (f file) read() ([]byte, error) {
	if f.err != nil {
		return nil, f.err
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, withoutPath(err)
	}
	if !info.Mode().IsRegular() { // opening a named pipe would wait for its writer
		return nil, fmt.Errorf("it is a %v; want a regular file", info.Mode().Type())
	}
	opened, err := os.Open(f.path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer opened.Close()
	data, err := io.ReadAll(io.LimitReader(opened, keys.MaxInputSize+1))
	return data, withoutPath(err)
}

// withoutPath is err without the path that package os puts in front.
func withoutPath(err error) error {
	if wrapped, ok := errors.AsType[*fs.PathError](err); ok {
		return wrapped.Err
	}
	return err
}
