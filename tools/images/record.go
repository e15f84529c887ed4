package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	recordFile = "images.json"
	sumsFile   = "SHA256SUMS"
)

// record is images.json: what was made, and of what. Paths start at its folder.
type record struct {
	Version   string        `json:"version"`
	Revision  string        `json:"revision,omitempty"`
	Created   string        `json:"created"`
	Toolchain string        `json:"go"`
	Roots     roots         `json:"roots"`
	Images    []imageRecord `json:"images"`
}

type imageRecord struct {
	Name       string           `json:"name"`
	Version    string           `json:"version"`
	Tag        string           `json:"tag"`
	Entrypoint string           `json:"entrypoint"`
	User       string           `json:"user"`
	Layout     string           `json:"layout"`
	Digest     string           `json:"digest"` // of the index: what a registry shows
	Platforms  []platformRecord `json:"platforms"`
}

type platformRecord struct {
	Platform string `json:"platform"`
	Digest   string `json:"digest"` // of the manifest
	Config   string `json:"config"` // of the configuration: the image ID of Docker and crictl
	Archive  string `json:"archive"`
	SBOM     string `json:"sbom"`
}

// fill writes all that a build makes into an empty folder.
func (b *builder) fill(ctx context.Context, dir, binaries string) error {
	r := record{Version: b.version, Revision: b.revision, Created: timestamp(b.created), Toolchain: toolchain(), Roots: b.roots}
	for _, p := range b.programs {
		if err := ctx.Err(); err != nil {
			return err
		}
		made, err := b.writeImage(dir, binaries, p)
		if err != nil {
			return fmt.Errorf("image %s: %w", p.name, err)
		}
		fmt.Fprintf(b.progress, "%s %s\n", made.Tag, made.Digest)
		r.Images = append(r.Images, made)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", recordFile, err)
	}
	if err := os.WriteFile(filepath.Join(dir, recordFile), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", recordFile, err)
	}
	if err := writeSums(dir); err != nil {
		return fmt.Errorf("writing %s: %w", sumsFile, err)
	}
	fmt.Fprintf(b.progress, "written to %s\n", b.out)
	return nil
}

func (b *builder) writeImage(dir, binaries string, p program) (imageRecord, error) {
	r := imageRecord{Name: p.name, Version: b.version, Tag: b.tag(p), Entrypoint: p.path(), User: p.user(), Layout: p.name}
	var images []v1.Image
	for _, platform := range b.platforms {
		program := binary(binaries, p, platform)
		image, err := b.assemble(p, platform, program)
		if err != nil {
			return r, err
		}
		made, err := b.writePlatform(dir, p, platform, image, program)
		if err != nil {
			return r, err
		}
		images = append(images, image)
		r.Platforms = append(r.Platforms, made)
	}
	digest, err := b.writeLayout(filepath.Join(dir, p.name), p, images)
	r.Digest = digest.String()
	return r, err
}

// writeSums lists every file below a folder as sha256sum -c reads it.
func writeSums(dir string) error {
	var sums strings.Builder
	err := filepath.WalkDir(dir, func(name string, found fs.DirEntry, err error) error {
		if err != nil || found.IsDir() {
			return err
		}
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, file); err != nil {
			return err
		}
		below, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sum.Sum(nil), filepath.ToSlash(below))
		return nil
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, sumsFile), []byte(sums.String()), 0o644)
}
