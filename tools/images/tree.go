package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// tree is the content of a layer. All belongs to root and has one time, and
// entries are written in the order of their paths, so equal trees are equal bytes.
type tree struct {
	time    time.Time
	entries map[string]entry // by path, without a slash at either end
}

// entry is one file, folder or link. A file's content is in bytes or, if that
// is nil, in the file that source names.
type entry struct {
	kind    byte // as in tar.Header
	mode    int64
	link    string
	content []byte
	source  string
}

func newTree(t time.Time) *tree {
	return &tree{time: t, entries: map[string]entry{}}
}

// add puts an entry at a path, which is absolute or relative to the root.
func (t *tree) add(name string, e entry) error {
	name = strings.Trim(path.Clean("/"+name), "/")
	if name == "" && e.kind == tar.TypeDir {
		return nil // the root is there in any image
	}
	if old, taken := t.entries[name]; name == "" || taken && (old.kind != tar.TypeDir || e.kind != tar.TypeDir) {
		return fmt.Errorf("putting %q at %q: something else is there", e.source, "/"+name)
	}
	t.entries[name] = e
	return nil
}

// addParents adds the folders above every entry that are not there.
func (t *tree) addParents() error {
	for _, name := range slices.Collect(maps.Keys(t.entries)) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			above, there := t.entries[dir]
			if there && above.kind != tar.TypeDir {
				return fmt.Errorf("putting something at %q: %q is no folder", "/"+name, "/"+dir)
			}
			if !there {
				t.entries[dir] = entry{kind: tar.TypeDir, mode: 0o755}
			}
		}
	}
	return nil
}

// copyFrom adds a file of this machine, or a folder with all that is in it. A
// link that is named itself is followed; links in folders stay links.
func (t *tree) copyFrom(source, target string) error {
	resolved, err := filepath.EvalSymlinks(source)
	if err != nil {
		return fmt.Errorf("packing %q: %w", source, err)
	}
	return filepath.WalkDir(resolved, func(name string, found fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("packing %q: %w", source, err)
		}
		below, err := filepath.Rel(resolved, name)
		if err != nil {
			return fmt.Errorf("packing %q: %w", source, err)
		}
		e, err := read(name, found)
		if err != nil {
			return err
		}
		return t.add(path.Join(target, filepath.ToSlash(below)), e)
	})
}

// read says what a file of this machine is in a layer.
func read(name string, found fs.DirEntry) (entry, error) {
	info, err := found.Info()
	if err != nil {
		return entry{}, fmt.Errorf("packing %q: %w", name, err)
	}
	e := entry{source: name, mode: permissions(info.Mode())}
	switch info.Mode().Type() {
	case 0:
		e.kind = tar.TypeReg
	case fs.ModeDir:
		e.kind = tar.TypeDir
	case fs.ModeSymlink:
		e.kind, e.mode = tar.TypeSymlink, 0o777
		if e.link, err = os.Readlink(name); err != nil {
			return entry{}, fmt.Errorf("packing %q: %w", name, err)
		}
	default:
		return entry{}, fmt.Errorf("packing %q: it is %v; want files, folders and symbolic links only", name, info.Mode().Type())
	}
	return e, nil
}

// permissions are the twelve bits as tar has them.
func permissions(mode fs.FileMode) int64 {
	bits := int64(mode.Perm())
	for flag, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// write writes the tree as a tar archive.
func (t *tree) write(w io.Writer) error {
	archive := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		if err := t.writeEntry(archive, name, t.entries[name]); err != nil {
			return fmt.Errorf("writing %q into a layer: %w", "/"+name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("writing a layer: %w", err)
	}
	return nil
}

func (t *tree) writeEntry(archive *tar.Writer, name string, e entry) error {
	header := &tar.Header{Typeflag: e.kind, Name: name, Mode: e.mode, Linkname: e.link, ModTime: t.time}
	if e.kind == tar.TypeDir {
		header.Name += "/"
	}
	if e.kind != tar.TypeReg {
		return archive.WriteHeader(header)
	}
	if e.content != nil {
		header.Size = int64(len(e.content))
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err := bytes.NewReader(e.content).WriteTo(archive)
		return err
	}
	file, err := os.Open(e.source)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	header.Size = info.Size()
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	// A file that grows meanwhile is cut, and one that shrinks is an error of the next header.
	_, err = io.CopyN(archive, file, header.Size)
	return err
}
