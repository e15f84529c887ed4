package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// programTree is all that an image has.
func programTree(p program, binary string, r roots, b *builder) (*tree, error) {
	t := newTree(b.created)
	for name, e := range map[string]entry{
		p.path():      {kind: tar.TypeReg, mode: 0o755, source: binary},
		rootsPath:     {kind: tar.TypeReg, mode: 0o644, content: r.pem},
		"/etc/passwd": {kind: tar.TypeReg, mode: 0o644, content: fmt.Appendf(nil, "root:x:0:0:root:/:/sbin/nologin\n%s:x:%d:%d:%[1]s:/:/sbin/nologin\n", p.account, p.uid, p.uid)},
		"/etc/group":  {kind: tar.TypeReg, mode: 0o644, content: fmt.Appendf(nil, "root:x:0:\n%s:x:%d:\n", p.account, p.uid)},
		// For issuer-sync demo. Where the root is read-only, this is too.
		"/tmp": {kind: tar.TypeDir, mode: 0o1777},
	} {
		if err := t.add(name, e); err != nil {
			return nil, err
		}
	}
	return t, t.addParents()
}

// compress makes a layer as registries have it. The header of Go's gzip has
// neither name nor time.
func compress(t *tree) (v1.Layer, error) {
	var layer bytes.Buffer
	zipped := gzip.NewWriter(&layer)
	if err := t.write(zipped); err != nil {
		return nil, err
	}
	if err := zipped.Close(); err != nil {
		return nil, fmt.Errorf("compressing a layer: %w", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}

// plainLayer is a layer in a file, not compressed: big ones are made and
// imported quickly. It is immutable.
type plainLayer struct {
	path string
	hash v1.Hash
	size int64
}

// plain writes a tree to a file in a folder, which the layer needs from then on.
func plain(t *tree, dir string) (*plainLayer, error) {
	name := filepath.Join(dir, "layer.tar")
	file, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("writing a layer: %w", err)
	}
	defer file.Close()
	if err := t.write(file); err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading a layer back: %w", err)
	}
	hash, size, err := v1.SHA256(file)
	if err != nil {
		return nil, fmt.Errorf("reading a layer back: %w", err)
	}
	return &plainLayer{path: name, hash: hash, size: size}, nil
}

// Digest implements v1.Layer.
func (l *plainLayer) Digest() (v1.Hash, error) { return l.hash, nil }

// DiffID implements v1.Layer.
func (l *plainLayer) DiffID() (v1.Hash, error) { return l.hash, nil }

// Compressed implements v1.Layer.
func (l *plainLayer) Compressed() (io.ReadCloser, error) { return os.Open(l.path) }

// Uncompressed implements v1.Layer.
func (l *plainLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }

// Size implements v1.Layer.
func (l *plainLayer) Size() (int64, error) { return l.size, nil }

// MediaType implements v1.Layer.
func (l *plainLayer) MediaType() (types.MediaType, error) { return types.DockerUncompressedLayer, nil }
