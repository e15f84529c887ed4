// Package program builds the commands of this module for tests that run them as
// a user does. [Main] is the package's TestMain, [Build] returns a program:
//
//	func TestMain(m *testing.M) { program.Main(m) }
package program

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// builds are the programs of one test binary.
type builds struct {
	mu    sync.Mutex
	dir   string            // empty outside Main
	paths map[string]string // what is built, by folder
}

//nolint:gochecknoglobals // one build serves all tests, and only TestMain, which has no test, sees their end
var all builds

// Main runs the tests and then removes the programs that [Build] made for them.
// TestMain calls it once, last.
func Main(m *testing.M) {
	dir, err := os.MkdirTemp("", "issuer-sync-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	all.mu.Lock()
	all.dir, all.paths = dir, make(map[string]string)
	all.mu.Unlock()
	m.Run() // keeps the exit code for whoever called TestMain
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// Build returns the path of a command, which it builds when it is first asked.
// The command is named by its folder in the module: "cmd/issuer-sync". It is
// built as `make build` does: static, stripped, without the race detector,
// which would slow down what is measured or to be killed. If it does not build,
// the test ends. Build is safe for concurrent use.
func Build(t testing.TB, folder string) string {
	t.Helper()
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.dir == "" {
		t.Fatalf("building %s: the TestMain of this package does not call program.Main", folder)
	}
	if built := all.paths[folder]; built != "" {
		return built
	}
	target := filepath.Join(all.dir, filepath.FromSlash(folder))
	if err := build(t.Context(), folder, target); err != nil {
		t.Fatalf("building %s: %v", folder, err)
	}
	all.paths[folder] = target
	return target
}

func build(ctx context.Context, folder, target string) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("asking go for the module: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(out)))
	if err := readSources(root, folder); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", target, "./"+folder)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// readSources lists the folders that a command may be made of. The go command
// keeps the results of tests, and runs one again if a folder has changed that
// it has listed; it does not know what go build reads for the test.
func readSources(root, folder string) error {
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		return fmt.Errorf("finding the module: %w", err)
	}
	for _, top := range []string{folder, "internal", "pkg"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			return fmt.Errorf("listing sources: %w", err)
		}
	}
	return nil
}
