package load_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a server may take to start.
const patience = 30 * time.Second

// process is a program that is measured.
type process struct {
	pid     int
	started time.Time
	log     string        // file that is its stderr
	done    chan struct{} // closed when it has ended
	stop    func()        // ends it, and waits
}

// start starts a program in a folder.
func start(b *testing.B, dir, program string, args ...string) *process {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), program, args...)
	cmd.Dir = dir
	return launch(b, cmd)
}

// launch starts a command. It writes its log into a file, at the price that it
// has to pay in production; nobody there waits for its lines either. It ends
// with the benchmark.
func launch(b *testing.B, cmd *exec.Cmd) *process {
	b.Helper()
	log, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p := &process{started: time.Now(), log: log.Name(), done: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // the log tells
	}()
	p.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		<-p.done
		_ = log.Close()
	}
	b.Cleanup(p.stop)
	return p
}

// logged waits until the pattern is in the log and returns its first group.
func (p *process) logged(b *testing.B, pattern string) string {
	b.Helper()
	expression := regexp.MustCompile(pattern)
	var found string
	p.await(b, func() error {
		content, err := os.ReadFile(p.log)
		if err != nil {
			return err
		}
		match := expression.FindSubmatch(content)
		if match == nil {
			return fmt.Errorf("no %q in the log:\n%s", pattern, content)
		}
		found = string(match[1])
		return nil
	})
	return found
}

// await tries until it succeeds, and returns how long after the start of the
// process that was, to the nearest hundredth: to be asked costs it time, too.
func (p *process) await(b *testing.B, try func() error) time.Duration {
	b.Helper()
	for {
		err := try()
		took := time.Since(p.started)
		switch {
		case err == nil:
			return took
		case took > patience:
			b.Fatal(err)
		}
		select {
		case <-p.done:
			content, _ := os.ReadFile(p.log)
			b.Fatalf("the program ended: %v\n%s", err, content)
		case <-time.After(max(time.Millisecond, took/100)):
		}
	}
}

// tick is USER_HZ, in which Linux tells CPU time whatever its own clock is.
const tick = 10 * time.Millisecond

// cpuTicks returns the user and system time of the process, proc_pid_stat(5).
func (p *process) cpuTicks(b *testing.B) float64 {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	sum := 0.0
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += ticks
	}
	return sum
}

// resident returns the bytes that the process has in memory now, and the most
// that it ever had, proc_pid_status(5).
func (p *process) resident(b *testing.B) (now, peak float64) {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		b.Fatal(err)
	}
	bytesOf := func(name string) float64 {
		match := regexp.MustCompile(`(?m)^` + name + `:\s*(\d+) kB$`).FindSubmatch(status)
		if match == nil {
			b.Fatalf("no %s in %q", name, status)
		}
		kibibytes, err := strconv.ParseFloat(string(match[1]), 64)
		if err != nil {
			b.Fatal(err)
		}
		return kibibytes * 1024
	}
	return bytesOf("VmRSS"), bytesOf("VmHWM")
}

// reportSize reports the size of a program.
func reportSize(b *testing.B, program string) {
	b.Helper()
	info, err := os.Stat(program)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/1e6, "binary-MB")
}
