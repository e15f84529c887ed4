// Command images makes the container images of this project, without a
// container engine or registry, and the same bytes whoever builds them:
//
//	go -C tools/images run . build    every image: OCI layout, docker archives, SBOM
//	go -C tools/images run . pack     files and folders as a docker archive, for tests
//
// It is a module of its own: what packs the programs is no part of them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

const usage = `usage: images build [flags] [name...]
       images pack -o OUT.tar -tag REF [flags] SRC=/DEST...
-h after either lists its flags. Relative paths start at the root of issuer-sync's tree, or here if this is outside of it.`

// errUsage marks what is wrong with the command line.
var errUsage = errors.New("wrong usage")

func main() {
	os.Exit(exitCode(os.Args[1:], os.LookupEnv, os.Stderr))
}

// exitCode runs a command until it ends or is told to: 0 good, 1 the work could
// not be done, 2 wrong usage.
func exitCode(args []string, lookup func(string) (string, bool), stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, args, lookup, stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "images: %v\n", err)
		return 2
	default:
		fmt.Fprintf(stderr, "images: %v\n", err)
		return 1
	}
}

func run(ctx context.Context, args []string, lookup func(string) (string, bool), stderr io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: no command\n%s", errUsage, usage)
	}
	here, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("finding the current folder: %w", err)
	}
	root := findTree(here)
	switch args[0] {
	case "build":
		return runBuild(ctx, root, args[1:], lookup, stderr)
	case "pack":
		return runPack(root, here, args[1:], stderr)
	case "-h", "-help", "--help", "help":
		fmt.Fprintln(stderr, usage)
		return nil
	default:
		return fmt.Errorf("%w: command %q: want build or pack\n%s", errUsage, args[0], usage)
	}
}

// module is the line of go.mod by which the tree is known.
const module = "module github.com/issuer-sync/issuer-sync"

// findTree returns the root of the project's tree that a folder is in, or "".
// The command is run by go -C, which puts it into its own source folder.
func findTree(dir string) string {
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if first, _, _ := strings.Cut(string(text), "\n"); err == nil && strings.TrimSpace(first) == module {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// from makes a path absolute that is relative to base. "" stays.
func from(base, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(base, path)
}

// parse reads flags; its errors are of usage. The flag package prints their
// text itself, with the list of flags.
func parse(flags *flag.FlagSet, args []string, stderr io.Writer) error {
	flags.SetOutput(stderr)
	if err := flags.Parse(args); err != nil && !errors.Is(err, flag.ErrHelp) {
		return fmt.Errorf("%w: %w", errUsage, err)
	} else if err != nil {
		return err
	}
	return nil
}
