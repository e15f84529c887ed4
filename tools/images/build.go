package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// builder is what the command line of build asks for. It is immutable.
type builder struct {
	root, out                     string
	version, revision, repository string
	created                       time.Time // of images, and of all files in them
	programs                      []program
	platforms                     []v1.Platform
	roots                         roots
	progress                      io.Writer
}

// runBuild makes images in a folder that appears whole or not at all.
func runBuild(ctx context.Context, root string, args []string, lookup func(string) (string, bool), stderr io.Writer) error {
	b, err := parseBuild(root, args, lookup, stderr)
	if err != nil {
		return err
	}
	binaries, err := os.MkdirTemp("", "issuer-sync-images-")
	if err != nil {
		return fmt.Errorf("making a folder for programs: %w", err)
	}
	defer func() { _ = os.RemoveAll(binaries) }()
	for _, platform := range b.platforms {
		if err := b.compile(ctx, platform, binaries); err != nil {
			return err
		}
	}
	return replaceFolder(b.out, func(dir string) error { return b.fill(ctx, dir, binaries) })
}

func parseBuild(root string, args []string, lookup func(string) (string, bool), stderr io.Writer) (*builder, error) {
	b := &builder{root: root, progress: stderr}
	var platforms, ca string
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	flags.StringVar(&b.out, "out", "dist/images", "folder to write; what a former build wrote there is replaced")
	flags.StringVar(&b.version, "version", "devel", "version of the programs, and tag of the images")
	flags.StringVar(&b.revision, "revision", "", "commit that is built, for a label (default: no label)")
	flags.StringVar(&b.repository, "repository", "localhost/issuer-sync", "what stands before /NAME:VERSION")
	flags.StringVar(&platforms, "platforms", "linux/amd64,linux/arm64", "platforms, with commas between them")
	flags.StringVar(&ca, "ca", "", "PEM file of the CA roots (default: those of Debian's package ca-certificates)")
	if err := parse(flags, args, stderr); err != nil {
		return nil, err
	}
	if root == "" {
		return nil, fmt.Errorf("%w: build: this folder is outside of issuer-sync's tree; run it as: go -C tools/images run . build", errUsage)
	}
	var faults [4]error
	b.programs, faults[0] = choose(flags.Args())
	b.platforms, faults[1] = parsePlatforms(platforms)
	b.created, faults[2] = createdAt(lookup)
	faults[3] = b.checkNames()
	if err := errors.Join(faults[:]...); err != nil {
		return nil, fmt.Errorf("%w: build: %w", errUsage, err)
	}
	b.out = from(root, b.out)
	if err := checkReplaceable(b.out); err != nil { // before minutes of compiling
		return nil, err
	}
	var err error
	b.roots, err = readRoots(from(root, ca))
	return b, err
}

// checkNames refuses what cannot stand in the name of an image.
func (b *builder) checkNames() error {
	if !regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`).MatchString(b.version) {
		return fmt.Errorf("-version %q: it is the images' tag: want up to 128 letters, digits and ._- (no +), with none of .- first", b.version)
	}
	if _, err := name.NewRepository(b.repository + "/webhook"); err != nil {
		return fmt.Errorf("-repository %q: %w; want such as registry.example/issuer-sync", b.repository, err)
	}
	return nil
}

// createdAt is the time in images: the epoch, or what the variable says.
// https://reproducible-builds.org/specs/source-date-epoch/
func createdAt(lookup func(string) (string, bool)) (time.Time, error) {
	text, _ := lookup("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("variable SOURCE_DATE_EPOCH %q: want seconds since 1970", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// tag is the full name of an image.
func (b *builder) tag(p program) string { return b.repository + "/" + p.name + ":" + b.version }

// binary is where compile puts a program.
func binary(dir string, p program, platform v1.Platform) string {
	return filepath.Join(dir, platform.Architecture, p.name)
}

// compile builds all programs for a platform. What users may have set to change
// what the compiler writes is overruled.
func (b *builder) compile(ctx context.Context, platform v1.Platform, dir string) error {
	fmt.Fprintf(b.progress, "compiling for %s\n", platform)
	args := []string{
		"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid= -X main.version=" + b.version,
		"-o", filepath.Join(dir, platform.Architecture) + string(filepath.Separator),
	}
	for _, p := range b.programs {
		args = append(args, p.folder())
	}
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = b.root
	c.Env = append(c.Environ(), "CGO_ENABLED=0", "GOOS="+platform.OS, "GOARCH="+platform.Architecture, "GOAMD64=v1", "GOARM64=v8.0",
		// An empty one would leave what go env -w has set.
		"GOFLAGS=-buildvcs=false", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("compiling for %s: %w\n%s", platform, err, out)
	}
	return nil
}

// checkReplaceable refuses a folder with anything that a build has not written.
func checkReplaceable(out string) error {
	old, err := os.ReadDir(out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading folder -out: %w", err)
	}
	if _, err := os.Stat(filepath.Join(out, recordFile)); err != nil && len(old) != 0 {
		return fmt.Errorf("-out %q: there are files in it, but no %s; want a folder that is new, empty or of a former build", out, recordFile)
	}
	return nil
}

// replaceFolder has fill write a folder beside another, and puts it in the
// other's place.
func replaceFolder(out string, fill func(dir string) error) error {
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return fmt.Errorf("making folder -out: %w", err)
	}
	temporary, err := os.MkdirTemp(filepath.Dir(out), ".images-")
	if err != nil {
		return fmt.Errorf("making a folder beside -out: %w", err)
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	made, former := filepath.Join(temporary, "new"), filepath.Join(temporary, "old")
	if err := os.Mkdir(made, 0o755); err != nil {
		return fmt.Errorf("making a folder beside -out: %w", err)
	}
	if err := fill(made); err != nil {
		return err
	}
	if err := os.Rename(out, former); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("moving the former images away: %w", err)
	}
	if err := os.Rename(made, out); err != nil {
		return fmt.Errorf("putting the images into place: %w", err)
	}
	return nil
}
