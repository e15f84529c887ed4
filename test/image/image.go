// Package image makes container images for tests with the project's own tool,
// tools/images, which needs neither a container engine nor a registry.
package image

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Spec is an image of files of this machine.
type Spec struct {
	// Archive is the docker archive to write, an absolute path.
	Archive string
	// Tag is the image's whole name.
	Tag string
	// From is a docker archive to which the files are added, as one layer; there
	// is nothing else in the image if it is empty.
	From string
	// Entrypoint and User are those of From if empty.
	Entrypoint, User string
	// Env has NAME=VALUE.
	Env []string
	// Files has SOURCE=/DESTINATION of files and folders.
	Files []string
}

// Pack writes an image.
func Pack(ctx context.Context, spec Spec) error {
	args := []string{"pack", "-o", spec.Archive, "-tag", spec.Tag}
	for flag, value := range map[string]string{"-from": spec.From, "-entrypoint": spec.Entrypoint, "-user": spec.User} {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	for _, variable := range spec.Env {
		args = append(args, "-env", variable)
	}
	return tool(ctx, append(args, spec.Files...)...)
}

// Build writes the project's own images for this machine's kind of processor, as
// `make images` does: docker archives folder/NAME-VERSION-ARCH.tar with the tag
// REPOSITORY/NAME:VERSION.
func Build(ctx context.Context, folder, repository, version, platform string) error {
	return tool(ctx, "build", "-out", folder, "-repository", repository, "-version", version, "-platforms", platform)
}

func tool(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("asking go for the module: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"run", "."}, args...)...)
	cmd.Dir = filepath.Join(filepath.Dir(strings.TrimSpace(string(out))), "tools", "images")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tools/images %s: %w\n%s", args[0], err, out)
	}
	return nil
}
