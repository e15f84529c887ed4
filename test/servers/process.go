package servers

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// process is one running server. It dies with the test's process.
type process struct {
	name string
	cmd  *exec.Cmd
	// done is closed when the process has ended and was waited for.
	done chan struct{}
}

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
func startProcess(ctx context.Context, c command) (*process, error) {
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	p := &process{name: c.name, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		defer close(p.done)
		// The signal is sent when the thread that started the child ends, not
		// when the process does (PR_SET_PDEATHSIG(2const)): hold the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	return p, nil
}

// kill ends the process as a crash would, and waits for its end.
func (p *process) kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill() // the only error is that it has ended
	<-p.done
}

// terminate asks the process to end in good order and waits for its end. After
// the timeout it kills it and returns an error.
func (p *process) terminate(timeout time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		p.kill()
		return fmt.Errorf("stopping %s: it did not end within %v of SIGTERM and was killed", p.name, timeout)
	}
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
