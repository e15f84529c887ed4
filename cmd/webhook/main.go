// Command webhook gives pods that ask for an Azure identity what Azure's SDKs
// look for: a projected service account token, the variables that point to it,
// and a proxy for SDKs that are too old for that. It is a mutating admission
// webhook, and shows offline what it would do.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/issuer-sync/issuer-sync/internal/command"
)

// version is set by the build.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	root := newRootCommand(os.Environ())
	os.Exit(command.Run(ctx, root, os.Args[1:], os.Stdout, os.Stderr))
}
