package servers

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/process"
)

// command says how to start a process.
type command struct {
	name string
	args []string
	// dir is the working directory; what the process prints is added to log.
	dir, log string
}

// startProcess runs c until it ends by itself, is ended, or the test's process
// ends. The context's values are used, its end is not: servers outlive the
// subtest that restarts them.
func startProcess(ctx context.Context, c command) (*process.Process, error) {
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), c.args[0], c.args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, log, log
	// Nothing of the caller's environment: proxies, AZURITE_ACCOUNTS and Go's
	// debug settings all change what these servers do.
	cmd.Env = []string{"HOME=" + c.dir}
	return process.Start(c.name, cmd)
}

// logTailBytes is enough for the fatal line of each server and what led to it.
const logTailBytes = 6 << 10

// showLog prints the end of a server's log if the test has failed.
func showLog(t testing.TB, file string) {
	t.Helper()
	if !t.Failed() {
		return
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return // it was never started
	}
	if len(content) > logTailBytes {
		content = content[len(content)-logTailBytes:]
		content = content[bytes.IndexByte(content, '\n')+1:]
	}
	t.Logf("end of %s:\n%s", filepath.Base(file), content)
}
