package sdk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

// Where [NodeRoot] has the program and the client for JavaScript: the command
// line of a container, before the client's arguments.
const (
	NodeProgram = "/usr/bin/node"
	NodeClient  = "/app/token.js"
)

// ErrNotInstalled is in the chain of the error that [NodeRoot] returns if the
// SDK is missing.
var ErrNotInstalled = errors.New("it is not installed: run `go run ./test/install` once")

// NodeRoot lists what a container needs that runs the client for JavaScript, and
// nothing else: Node.js of this machine with its shared libraries and their
// loader, the SDK and the client. Each is "SOURCE=/DESTINATION", a file or a
// folder; links among the sources are to be followed. The working directory must
// lie in the project's tree.
//
// There are neither CAs nor a user in it. If Node.js is missing,
// [servers.ErrNode] is in the chain of the error.
func NodeRoot(ctx context.Context) ([]string, error) {
	parts, err := FindParts()
	if err != nil {
		return nil, err
	}
	if !parts.NodeReady() {
		return nil, fmt.Errorf("finding the SDK for JavaScript: %w", ErrNotInstalled)
	}
	node, err := servers.FindNode(ctx)
	if err != nil {
		return nil, err
	}
	libraries, err := librariesOf(ctx, node)
	if err != nil {
		return nil, err
	}
	files := []string{
		node + "=" + NodeProgram,
		filepath.Join(parts.NodeSource, "token.js") + "=" + NodeClient,
		// Where Node.js looks first: beside the client.
		parts.Node + "=/app/node_modules",
	}
	for _, library := range libraries {
		files = append(files, library+"="+library)
	}
	return files, nil
}

// librariesOf asks the loader what it would load for the program: the libraries,
// and itself. What is listed without a path is the kernel's.
func librariesOf(ctx context.Context, program string) (paths []string, err error) {
	out, err := exec.CommandContext(ctx, "ldd", program).Output()
	if err != nil {
		return nil, fmt.Errorf("listing the shared libraries of %q: %w", program, err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line) // NAME => PATH (ADDRESS), or for the loader PATH (ADDRESS)
		if i := slices.IndexFunc(fields, filepath.IsAbs); i >= 0 {
			paths = append(paths, fields[i])
		} else if strings.Contains(line, "not found") {
			return nil, fmt.Errorf("listing the shared libraries of %q: %s", program, strings.TrimSpace(line))
		}
	}
	return paths, nil
}

// BuildADAL builds the client with a version of go-autorest's adal, one of
// 0.9.5, 0.9.13 and 0.9.24, as a static program.
func (p Parts) BuildADAL(ctx context.Context, version, target string) error {
	file := version + ".mod"
	if version == "0.9.24" {
		file = "go.mod"
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-modfile="+file, "-o", target, ".")
	build.Dir = filepath.Join(p.Source, "adal")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly -buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the client with adal %s: %w\n%s", version, err, out)
	}
	return nil
}
