// Command proxy stands beside a workload whose SDK knows no way to an access
// token but the metadata endpoint: it answers there, and exchanges the pod's
// projected token at Microsoft Entra. It also writes the redirect that makes
// requests arrive at it, and probes itself.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the build.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}
