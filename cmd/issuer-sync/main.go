// Command issuer-sync makes a Kubernetes cluster an OIDC issuer that clouds
// trust: it reads the cluster's service account signing keys, publishes the
// discovery document and the JWK set, serves them, and proves from outside
// that they work.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the build.
var version = "devel"

// Exit codes.
const (
	exitFailed  = 1 // a check or an operation failed
	exitUsage   = 2 // the command line or the configuration is wrong
	exitChanges = 3 // --dry-run found something to write
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, lookup lookupFunc, stdout, stderr io.Writer) int {
	root := newRootCommand(lookup) //nolint:contextcheck // cobra hands the context to the commands
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var failed *failure
	if !errors.As(err, &failed) {
		// What cobra or the configuration objects to.
		fmt.Fprintf(stderr, "issuer-sync: %v\n", err)
		return exitUsage
	}
	if failed.err != nil {
		fmt.Fprintf(stderr, "issuer-sync: %v\n", failed.err)
	}
	return failed.code
}

// failure is an error with an exit code. A nil err means that all was said.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return fmt.Sprint(f.err) }

func (f *failure) Unwrap() error { return f.err }

// failed makes err an operation's failure rather than a mistake in usage.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &failure{code: exitFailed, err: err}
}
