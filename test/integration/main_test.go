// Package integration_test runs issuer-sync as a user does, against a real
// kube-apiserver and Azurite.
package integration_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/test/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// run runs the program to its end.
func run(t *testing.T, dir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program.Build(t, "cmd/issuer-sync"), args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// daemon is a running "issuer-sync run".
type daemon struct {
	cmd *exec.Cmd
	log *program.Output
}

func start(t *testing.T, dir string, args ...string) *daemon {
	t.Helper()
	d := &daemon{cmd: exec.CommandContext(t.Context(), program.Build(t, "cmd/issuer-sync"), append([]string{"run"}, args...)...), log: &program.Output{}}
	d.cmd.Dir = dir
	d.cmd.Stderr = d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.cmd.Process.Kill() //nolint:errcheck // it may have ended
		d.cmd.Wait()         //nolint:errcheck // killed
		if t.Failed() {
			t.Logf("log of issuer-sync run:\n%s", d.log)
		}
	})
	return d
}

// address waits until the daemon logs where a server listens.
func (d *daemon) address(t *testing.T, server string) string {
	t.Helper()
	var address string
	eventually(t, "the "+server+" server to listen", 10*time.Second, func() bool {
		_, after, found := strings.Cut(d.log.String(), "server="+server+" address=")
		address, _, _ = strings.Cut(after, " ")
		return found && address != ""
	})
	return address
}

// stop asks the daemon to end and returns its exit code.
func (d *daemon) stop(t *testing.T) int {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.cmd.Wait() //nolint:errcheck // the code tells
	return d.cmd.ProcessState.ExitCode()
}

// eventually waits for another process to bring something about.
func eventually(t *testing.T, what string, within time.Duration, done func() bool) {
	t.Helper()
	deadline := time.After(within)
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("waited %s for %s", within, what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func testLog(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(io.Writer(testWriter{t}), nil))
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
