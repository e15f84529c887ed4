// Package servers starts the real servers that tests talk to: etcd and
// kube-apiserver ([StartKube]) and Azurite, the Azure Storage emulator
// ([StartAzurite]). All of them listen on 127.0.0.1 only, on ports of their
// own, need no root, and end with the test, even if the test is killed.
//
// `go run ./test/install` makes their programs ready, once. Without them a test
// is skipped with a message that says so; with CI=true in the environment it
// fails.
//
// It builds and fetches nothing, and it imports nothing of the project: what
// the servers show is what other software sees.
package servers

import (
	"context"
	"fmt"
	"time"
)

// startTimeout bounds one server's start. It takes 1 to 4 seconds on two free
// cores; tests run with the race detector beside other packages.
const startTimeout = 90 * time.Second

// pollInterval is how often a server is asked whether it is ready: starting
// servers offer no event to wait for.
const pollInterval = 25 * time.Millisecond

// await asks probe until it succeeds. It gives up when ctx ends or ended is
// closed, with the probe's last answer as the cause.
func await(ctx context.Context, ended <-chan struct{}, probe func(context.Context) error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		last := probe(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ended:
			return fmt.Errorf("the process ended; its last answer: %w", last)
		case <-ctx.Done():
			return fmt.Errorf("%w; its last answer: %w", context.Cause(ctx), last)
		}
	}
}
