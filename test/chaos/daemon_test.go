package chaos_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/test/program"
)

// interval is the time between two rounds of the daemon, the least that it accepts.
const interval = time.Second

// retention is how long the daemon keeps a key that nobody shows, the least
// that it accepts.
const retention = time.Minute

// home is the directory in which the daemon runs, one after the other: its
// configuration, key files and log.
type home struct {
	dir    string
	issuer string
}

// newHome writes the configuration. The store is one entry of "stores".
func newHome(t *testing.T, issuer, store string) *home {
	t.Helper()
	h := &home{dir: t.TempDir(), issuer: issuer}
	config := fmt.Sprintf(`
issuers:
  - url: %s
    sources: [{files: {paths: ["keys/*.pub"]}}]
    stores: [%s]
    keys: {retention: %s, minimumWait: 1s}
    interval: %s
    verify: {disabled: true}
serve: {maxAge: 1s}   # the wait can be no shorter
admin: {address: ""}
`, issuer, store, retention, interval)
	h.write(t, "c.yaml", config)
	if err := os.Mkdir(h.path("keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the log of issuer-sync run:\n%s", h.logTail())
		}
	})
	return h
}

func (h *home) path(name string) string { return filepath.Join(h.dir, name) }

func (h *home) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(h.path(name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (h *home) logTail() []byte {
	log, _ := os.ReadFile(h.path("log")) // there is none before the first start
	if over := len(log) - 6<<10; over > 0 {
		_, log, _ = bytes.Cut(log[over:], []byte("\n"))
	}
	return log
}

// daemon is a running "issuer-sync run". It ends with the test, also if the
// test's process is killed.
type daemon struct {
	cmd *exec.Cmd
	// done is closed when the process has ended; cmd.ProcessState is set then.
	done chan struct{}
}

func (h *home) start(t *testing.T) *daemon {
	t.Helper()
	log, err := os.OpenFile(h.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d := &daemon{cmd: exec.CommandContext(t.Context(), program.Build(t, "cmd/issuer-sync"), "run", "--config", "c.yaml"), done: make(chan struct{})}
	d.cmd.Dir, d.cmd.Stderr = h.dir, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		defer close(d.done)
		// The signal comes when the thread ends that started the child (PR_SET_PDEATHSIG(2const)): hold it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := d.cmd.Start()
		started <- err
		if err == nil {
			_ = d.cmd.Wait() // ProcessState tells
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill() // it may have ended
		<-d.done
	})
	return d
}

// publishOnce runs "issuer-sync publish", which must do a whole round.
func (h *home) publishOnce(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program.Build(t, "cmd/issuer-sync"), "publish", "--config", "c.yaml")
	cmd.Dir = h.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("issuer-sync publish: %v\n%s", err, out)
	}
}

// lives waits for a time or an event. It fails the test if the daemon ends by
// itself, which it must never do.
func (d *daemon) lives(t *testing.T, wait time.Duration, event <-chan struct{}) (happened bool) {
	t.Helper()
	select {
	case <-time.After(wait):
	case <-event:
		happened = true
	case <-d.done:
		t.Fatalf("issuer-sync run ended by itself: %s", d.cmd.ProcessState)
	}
	return happened
}

// kill ends the daemon by SIGKILL, and returns when it has ended.
func (d *daemon) kill(t *testing.T) {
	t.Helper()
	d.end(t, syscall.SIGKILL)
	if status, ok := d.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("issuer-sync run ended by itself: %s", d.cmd.ProcessState)
	}
}

// stop asks the daemon to end, which it must do in good order.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	d.end(t, syscall.SIGTERM)
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("after SIGTERM: %s; want exit code 0", d.cmd.ProcessState)
	}
}

func (d *daemon) end(t *testing.T, signal os.Signal) {
	t.Helper()
	_ = d.cmd.Process.Signal(signal) // the only error is that it has ended, which is seen below
	select {
	case <-d.done:
	case <-time.After(time.Minute):
		t.Fatalf("issuer-sync run did not end within a minute of %s", signal)
	}
}

// eventually waits for the daemon to bring something about. The probe says what
// is still missing, or nothing.
func (d *daemon) eventually(t *testing.T, within time.Duration, probe func() string) {
	t.Helper()
	begin := time.Now()
	for {
		missing := probe()
		if missing == "" {
			return
		}
		if time.Since(begin) > within {
			t.Fatalf("after %s: %s", within, missing)
		}
		d.lives(t, 20*time.Millisecond, nil)
	}
}
