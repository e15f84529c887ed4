package main

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/issuer-sync/issuer-sync/test/program"
)

// process is a proxy that runs.
type process struct {
	cmd    *exec.Cmd
	port   string
	stderr *program.Output
}

// free is an address on 127.0.0.1 that nobody listens on, and that nobody else
// is given until the test ends: a socket is bound to it that never listens. With
// SO_REUSEADDR, as Go sets it, a server may listen there all the same (socket(7)).
func free(t *testing.T) string {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(socket) }) //nolint:errcheck // nothing was written
	err = errors.Join(
		unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
	)
	if err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
}

// launch starts the program on a free port with an environment of its own, and
// waits until its own probe finds it ready.
func launch(t *testing.T, environment []string, args ...string) *process {
	t.Helper()
	_, port, err := net.SplitHostPort(free(t))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{port: port, stderr: new(program.Output)}
	p.cmd = exec.CommandContext(t.Context(), "proxy", append(slices.Clone(args), "--proxy-port="+port)...)
	p.cmd.Env, p.cmd.Stderr = environment, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the proxy wrote:\n%s", p.stderr)
		}
	})
	probe := exec.CommandContext(t.Context(), "proxy", "--probe", "--proxy-port", port)
	if out, err := probe.CombinedOutput(); err != nil {
		p.cmd.Process.Kill() //nolint:errcheck // it may have ended
		t.Fatalf("it did not become ready: %v\n%s\nit wrote:\n%s", err, out, p.stderr)
	}
	return p
}

// terminate asks the process to end.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// wantEnd waits for the process, which must have been told to end.
func (p *process) wantEnd(t *testing.T) {
	t.Helper()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("told to stop, it ended with %v", err)
	}
	if !strings.Contains(p.stderr.String(), `msg="stopped the proxy"`) {
		t.Error("it did not say that it stopped")
	}
}
