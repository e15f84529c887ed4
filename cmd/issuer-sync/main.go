// Command issuer-sync makes a Kubernetes cluster an OIDC issuer that clouds
// trust: it reads the cluster's service account signing keys, publishes the
// discovery document and the JWK set, serves them, and proves from outside
// that they work.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/issuer-sync/issuer-sync/internal/command"
)

// version is set by the build.
var version = "devel"

// exitChanges is the exit code for a --dry-run that found something to write.
const exitChanges = 3

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, lookup lookupFunc, stdout, stderr io.Writer) int {
	return command.Run(ctx, newRootCommand(lookup), args, stdout, stderr) //nolint:contextcheck // cobra hands the context to the commands
}
