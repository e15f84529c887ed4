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

// installAzurite lets npm install Azurite if it is not there. The folder
// appears whole or not at all, whoever else installs at the same time.
func installAzurite(ctx context.Context, parts servers.Parts, report *log.Logger) error {
	if err := findNodeAndNPM(ctx); err != nil {
		if servers.InCI() || !errors.Is(err, servers.ErrNode) {
			return fmt.Errorf("installing Azurite: %w", err)
		}
		report.Printf("azurite: not installed, its tests are skipped: %v", err)
		return nil
	}
	if !parts.AzuriteReady() {
		report.Print("azurite: installing with npm; this takes about a minute, once")
		if err := npmInstall(ctx, parts, report); err != nil {
			return err
		}
	}
	report.Printf("azurite: ready (%s)", parts.Azurite)
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

func npmInstall(ctx context.Context, parts servers.Parts, report *log.Logger) error {
	target := filepath.Dir(parts.Azurite)
	if err := os.MkdirAll(parts.Cache, 0o755); err != nil {
		return fmt.Errorf("making the folder of Azurite: %w", err)
	}
	temporary, err := os.MkdirTemp(parts.Cache, "npm-")
	if err != nil {
		return fmt.Errorf("making the folder of Azurite: %w", err)
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	for _, name := range []string{"package.json", "package-lock.json"} {
		if err := copyFile(filepath.Join(parts.AzuriteSource, name), filepath.Join(temporary, name)); err != nil {
			return fmt.Errorf("copying Azurite's lock file: %w", err)
		}
	}
	// No package runs code while it is installed: none needs to.
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund")
	npm.Dir = temporary
	if err := watch(npm, "azurite: still installing", report); err != nil {
		return fmt.Errorf("installing Azurite with npm (needs the network, or a registry that has it, once): %w", err)
	}
	if err := os.Rename(temporary, target); err != nil && !parts.AzuriteReady() {
		return fmt.Errorf("putting Azurite into the cache: %w", err)
	}
	return nil
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}
