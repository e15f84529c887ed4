package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"

	"github.com/issuer-sync/issuer-sync/test/sdk"
)

// What is needed of Debian's python3-azure: 1 MB of 580, which take minutes to
// install.
const (
	pythonPackage = "python3-azure"
	pythonFolder  = "./usr/lib/python3/dist-packages/azure"
)

// installPython unpacks azure-identity from Debian's package if it is not
// there. What it depends on in turn is installed as usual.
func installPython(ctx context.Context, parts sdk.Parts, report *log.Logger) error {
	const name = "azure-identity for Python"
	if able, err := findDebianTools(name, report); !able {
		return err
	}
	if !parts.PythonReady() {
		report.Printf("%s: unpacking Debian's %s; this takes seconds, once", name, pythonPackage)
		if err := unpackPython(ctx, parts, report); err != nil {
			return fmt.Errorf("installing %s: %w", name, err)
		}
	}
	report.Printf("%s: ready (%s)", name, parts.Python)
	return nil
}

func unpackPython(ctx context.Context, parts sdk.Parts, report *log.Logger) error {
	temporary, err := beside(parts.Python)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	files, err := download(ctx, temporary, "azure-identity for Python", []string{pythonPackage}, report)
	if err != nil {
		return err
	}
	const script = `set -o pipefail; dpkg-deb --fsys-tarfile "$1" | tar -x --strip-components=5 "$2/__init__.py" "$2/core" "$2/identity"`
	unpack := exec.CommandContext(ctx, "bash", "-c", script, "bash", files[0], pythonFolder)
	unpack.Dir = temporary
	if err := watch(unpack, "azure-identity for Python: still unpacking", report); err != nil {
		return fmt.Errorf("unpacking %s: %w", pythonPackage, err)
	}
	if err := os.Remove(files[0]); err != nil {
		return err
	}
	if err := os.Rename(temporary, parts.Python); err != nil && !parts.PythonReady() {
		return errors.Join(errors.New("putting it into the cache"), err)
	}
	return nil
}
