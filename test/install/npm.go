package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

// npmPart is a part that npm installs after a lock file.
type npmPart struct {
	name string // in sentences
	// source is the folder with package.json and package-lock.json.
	source string
	// target is the node_modules folder to be.
	target string
	ready  func() bool
}

// install lets npm install the part if it is not there. The folder appears
// whole or not at all, whoever else installs at the same time.
func (p npmPart) install(ctx context.Context, report *log.Logger) error {
	if err := findNodeAndNPM(ctx); err != nil {
		if servers.InCI() || !errors.Is(err, servers.ErrNode) {
			return fmt.Errorf("installing %s: %w", p.name, err)
		}
		report.Printf("%s: not installed, its tests are skipped: %v", p.name, err)
		return nil
	}
	if !p.ready() {
		report.Printf("%s: installing with npm; this takes about a minute, once", p.name)
		if err := p.run(ctx, report); err != nil {
			return err
		}
	}
	report.Printf("%s: ready (%s)", p.name, p.target)
	return nil
}

// findNodeAndNPM returns an error with servers.ErrNode in its chain if either is
// missing or too old.
func findNodeAndNPM(ctx context.Context) error {
	if _, err := servers.FindNode(ctx); err != nil {
		return err
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return fmt.Errorf("finding npm: there is no npm in PATH; %w", servers.ErrNode)
	}
	return nil
}

func (p npmPart) run(ctx context.Context, report *log.Logger) error {
	target := filepath.Dir(p.target)
	temporary, err := beside(target)
	if err != nil {
		return fmt.Errorf("making the folder of %s: %w", p.name, err)
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	for _, name := range []string{"package.json", "package-lock.json"} {
		if err := copyFile(filepath.Join(p.source, name), filepath.Join(temporary, name)); err != nil {
			return fmt.Errorf("copying the lock file of %s: %w", p.name, err)
		}
	}
	// No package runs code while it is installed: none needs to.
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund")
	npm.Dir = temporary
	if err := watch(npm, p.name+": still installing", report); err != nil {
		return fmt.Errorf("installing %s with npm (needs the network, or a registry that has it, once): %w", p.name, err)
	}
	if err := os.Rename(temporary, target); err != nil && !p.ready() {
		return fmt.Errorf("putting %s into the cache: %w", p.name, err)
	}
	return nil
}

// beside makes an empty folder in the one that target is to be in.
func beside(target string) (string, error) {
	dir := filepath.Dir(target)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(dir, "install-")
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}
