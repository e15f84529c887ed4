package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// searchPath is the PATH of every image: the program is in the root.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/"

// labels are those of
// https://github.com/opencontainers/image-spec/blob/main/annotations.md
func (b *builder) labels(p program) map[string]string {
	const prefix = "org.opencontainers.image."
	all := map[string]string{
		prefix + "title":       p.name,
		prefix + "description": p.description,
		prefix + "version":     b.version,
		prefix + "source":      source,
		prefix + "licenses":    license,
	}
	if b.revision != "" {
		all[prefix+"revision"] = b.revision
	}
	return all
}

// assemble makes the image of one platform around a program.
func (b *builder) assemble(p program, platform v1.Platform, binary string) (v1.Image, error) {
	content, err := programTree(p, binary, b.roots, b)
	if err != nil {
		return nil, err
	}
	layer, err := compress(content)
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: b.created}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		Created:      created,
		OS:           platform.OS,
		Architecture: platform.Architecture,
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:       p.user(),
			Entrypoint: []string{p.path()},
			Env:        []string{searchPath},
			WorkingDir: "/",
			Labels:     b.labels(p),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	image, err = mutate.Append(image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: created, CreatedBy: "tools/images"},
	})
	if err != nil {
		return nil, fmt.Errorf("adding the layer: %w", err)
	}
	return image, nil
}

// writeLayout writes an OCI layout with one index of all platforms, and returns
// the index's digest. https://github.com/opencontainers/image-spec/blob/main/image-layout.md
func (b *builder) writeLayout(dir string, p program, images []v1.Image) (v1.Hash, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, image := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        container{image},
			Descriptor: v1.Descriptor{Platform: &b.platforms[i]},
		})
	}
	index = mutate.Annotations(index, b.labels(p)).(v1.ImageIndex) // it returns what it was given
	written, err := layout.Write(dir, empty.Index)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("writing OCI layout: %w", err)
	}
	err = written.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": b.version,
		"io.containerd.image.name":          b.tag(p), // ctr images import takes the whole name from here
	}))
	if err != nil {
		return v1.Hash{}, fmt.Errorf("writing OCI layout: %w", err)
	}
	return index.Digest()
}

// container is an image that is no artifact: without it the library would put an
// artifactType beside its digest, which the specification has for artifacts only.
// https://github.com/opencontainers/image-spec/blob/main/descriptor.md
type container struct{ v1.Image }

// ArtifactType is what the library asks for.
func (container) ArtifactType() (string, error) { return "", nil }

// writePlatform writes docker archive and SBOM of one platform.
func (b *builder) writePlatform(dir string, p program, platform v1.Platform, image v1.Image, binary string) (platformRecord, error) {
	r := platformRecord{
		Platform: platform.String(),
		Archive:  fmt.Sprintf("%s-%s-%s.tar", p.name, b.version, platform.Architecture),
		SBOM:     fmt.Sprintf("%s-%s-%s.spdx.json", p.name, b.version, platform.Architecture),
	}
	tag, err := name.NewTag(b.tag(p))
	if err != nil {
		return r, fmt.Errorf("naming the image: %w", err)
	}
	manifest, err := image.Digest()
	if err != nil {
		return r, fmt.Errorf("summing up the manifest: %w", err)
	}
	config, err := image.ConfigName()
	if err != nil {
		return r, fmt.Errorf("summing up the configuration: %w", err)
	}
	r.Digest, r.Config = manifest.String(), config.String()
	if err := writeArchive(filepath.Join(dir, r.Archive), tag, image); err != nil {
		return r, err
	}
	return r, b.writeSBOM(filepath.Join(dir, r.SBOM), p, platform, r.Digest, binary)
}

// timestamp is a time as SPDX wants it: UTC, in seconds.
func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
