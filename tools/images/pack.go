package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// packing is what the command line of pack asks for.
type packing struct {
	out, base, entrypoint, user, arch string
	tag                               name.Tag
	env                               []string
	sources                           [][2]string // of this machine, in the image
}

// runPack writes a docker archive of files and folders. base is where relative
// paths start if there is no tree.
func runPack(root, base string, args []string, stderr io.Writer) error {
	if root != "" {
		base = root
	}
	p, err := parsePack(base, args, stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(p.out), ".images-pack-")
	if err != nil {
		return fmt.Errorf("making a folder beside -o: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	image, err := pack(p, dir)
	if err != nil {
		return err
	}
	archive := filepath.Join(dir, "archive.tar")
	if err := writeArchive(archive, p.tag, image); err != nil {
		return err
	}
	if err := os.Rename(archive, p.out); err != nil {
		return fmt.Errorf("putting the archive into place: %w", err)
	}
	fmt.Fprintf(stderr, "%s: %s\n", p.tag, p.out)
	return nil
}

func parsePack(base string, args []string, stderr io.Writer) (packing, error) {
	var p packing
	var tag string
	flags := flag.NewFlagSet("pack", flag.ContinueOnError)
	flags.StringVar(&p.out, "o", "", "the docker archive to write (required)")
	flags.StringVar(&tag, "tag", "", "name and tag of the image, such as localhost/test:1 (required)")
	flags.StringVar(&p.base, "from", "", "docker archive of one image to add a layer to; its configuration stays, other than what flags name")
	flags.StringVar(&p.entrypoint, "entrypoint", "", "the program, a path in the image")
	flags.StringVar(&p.user, "user", "", "number of the user, or user:group")
	flags.StringVar(&p.arch, "arch", "", "architecture (default "+runtime.GOARCH+", or that of -from)")
	flags.Func("env", "a variable, NAME=VALUE; may be repeated", func(text string) error {
		if at := strings.IndexByte(text, '='); at < 1 {
			return errors.New("want NAME=VALUE")
		}
		p.env = append(p.env, text)
		return nil
	})
	if err := parse(flags, args, stderr); err != nil {
		return p, err
	}
	if p.out == "" || tag == "" || flags.NArg() == 0 {
		return p, fmt.Errorf("%w: pack: want -o, -tag and at least one SRC=/DEST", errUsage)
	}
	var err error
	if p.tag, err = name.NewTag(tag); err != nil {
		return p, fmt.Errorf("%w: -tag: %w", errUsage, err)
	}
	for _, pair := range flags.Args() {
		source, target, ok := strings.Cut(pair, "=")
		if !ok || source == "" || !strings.HasPrefix(target, "/") {
			return p, fmt.Errorf("%w: %q: want SRC=/DEST", errUsage, pair)
		}
		p.sources = append(p.sources, [2]string{from(base, source), target})
	}
	p.out, p.base = from(base, p.out), from(base, p.base)
	return p, nil
}

// pack makes the image; dir holds its layer.
func pack(p packing, dir string) (v1.Image, error) {
	content := newTree(time.Unix(0, 0))
	for _, pair := range p.sources {
		if err := content.copyFrom(pair[0], pair[1]); err != nil {
			return nil, err
		}
	}
	image := empty.Image
	if p.base != "" {
		var err error
		if image, err = tarball.ImageFromPath(p.base, nil); err != nil {
			return nil, fmt.Errorf("reading docker archive %q, flag -from: %w", p.base, err)
		}
	} else if err := content.addParents(); err != nil { // below an image, folders are as they are
		return nil, err
	}
	layer, err := plain(content, dir)
	if err != nil {
		return nil, err
	}
	if image, err = p.configure(image); err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "images pack"}})
	if err != nil {
		return nil, fmt.Errorf("adding a layer: %w", err)
	}
	return image, nil
}

// configure returns the image with what the flags name.
func (p packing) configure(image v1.Image) (v1.Image, error) {
	old, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config := old.DeepCopy()
	if p.base == "" {
		config.OS, config.Architecture = "linux", runtime.GOARCH
		config.Config.Env = []string{searchPath}
		config.Config.WorkingDir = "/"
	}
	if p.arch != "" {
		config.Architecture = p.arch
	}
	if p.entrypoint != "" {
		config.Config.Entrypoint, config.Config.Cmd = []string{p.entrypoint}, nil
	}
	if p.user != "" {
		config.Config.User = p.user
	}
	for _, pair := range p.env {
		name, _, _ := strings.Cut(pair, "=")
		config.Config.Env = append(slices.DeleteFunc(config.Config.Env, func(old string) bool { return strings.HasPrefix(old, name+"=") }), pair)
	}
	return mutate.ConfigFile(image, config)
}

// writeArchive writes what docker load, ctr images import and kind load
// image-archive read.
func writeArchive(path string, tag name.Tag, image v1.Image) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing docker archive: %w", err)
	}
	defer file.Close()
	if err := tarball.Write(tag, image, file); err != nil {
		return fmt.Errorf("writing docker archive %q: %w", path, err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("writing docker archive: %w", err)
	}
	return nil
}
