package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

// findDebianTools reports whether a part can be unpacked from Debian's packages.
// In CI it is an error if it cannot.
func findDebianTools(part string, report *log.Logger) (bool, error) {
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		err := fmt.Errorf("there is no %s in PATH; want Debian 12 or newer", tool)
		if servers.InCI() {
			return false, fmt.Errorf("installing %s: %w", part, err)
		}
		report.Printf("%s: not installed, its tests are skipped: %v", part, err)
		return false, nil
	}
	return true, nil
}

// download gets Debian's packages as files into a folder and returns their paths.
func download(ctx context.Context, folder, part string, packages []string, report *log.Logger) ([]string, error) {
	get := exec.CommandContext(ctx, "apt-get", append([]string{"-qq", "download"}, packages...)...)
	get.Dir = folder
	if err := watch(get, part+": still downloading", report); err != nil {
		return nil, fmt.Errorf("downloading %s (needs the network once, and lists of packages: run apt-get update as root): %w", strings.Join(packages, ", "), err)
	}
	var files []string
	for _, name := range packages {
		found, err := filepath.Glob(filepath.Join(folder, name+"_*.deb"))
		if err != nil || len(found) != 1 {
			return nil, fmt.Errorf("downloading %s: got files %q; want one", name, found)
		}
		files = append(files, found...)
	}
	return files, nil
}

// installRuntime unpacks what runs containers if it is not there.
func installRuntime(ctx context.Context, runtime servers.Runtime, report *log.Logger) error {
	const name = "container runtime"
	if able, err := findDebianTools(name, report); !able {
		return err
	}
	if !runtime.Ready() {
		report.Printf("%s: unpacking Debian's %s; this takes seconds, once", name, strings.Join(servers.RuntimePackages(), ", "))
		if err := unpackRuntime(ctx, runtime, name, report); err != nil {
			return fmt.Errorf("installing %s: %w", name, err)
		}
	}
	report.Printf("%s: ready (%s)", name, runtime)
	return nil
}

func unpackRuntime(ctx context.Context, runtime servers.Runtime, name string, report *log.Logger) error {
	temporary, err := beside(string(runtime))
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	files, err := download(ctx, temporary, name, servers.RuntimePackages(), report)
	if err != nil {
		return err
	}
	for _, file := range files {
		unpack := exec.CommandContext(ctx, "dpkg-deb", "--extract", file, temporary)
		if err := watch(unpack, name+": still unpacking", report); err != nil {
			return fmt.Errorf("unpacking %s: %w", filepath.Base(file), err)
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	if err := os.Chmod(temporary, 0o755); err != nil { // pods' users read from it
		return err
	}
	if err := os.Rename(temporary, string(runtime)); err != nil && !runtime.Ready() {
		return errors.Join(errors.New("putting it into the cache"), err)
	}
	return nil
}
