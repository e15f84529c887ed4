// Package process runs servers for tests, which end with the test's process
// however that ends.
package process

import (
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is one that runs until it is ended, by itself or with the test's
// process. Its methods may be called concurrently.
type Process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and was waited for
}

// Start starts a command; name is that of errors.
func Start(name string, cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	p := &Process{name: name, cmd: cmd, done: make(chan struct{})}
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
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return p, nil
}

// PID is the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends the process as a crash would, and waits for its end. A nil process
// was not started.
func (p *Process) Kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill() // the only error is that it has ended
	<-p.done
}

// Terminate asks the process to end in good order and waits for its end. After
// the timeout it kills it and returns an error.
func (p *Process) Terminate(timeout time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("stopping %s: it did not end within %v of SIGTERM and was killed", p.name, timeout)
	}
}
