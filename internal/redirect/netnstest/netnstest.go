//go:build linux

// Package netnstest gives tests a network of their own: a network namespace in
// which they may write addresses, routes and rules, and listen on any port.
// They need root, and the programs ip and bash.
package netnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Enter moves the calling goroutine, which must be that of a test or a subtest,
// into a new network namespace. What the goroutine does itself happens there,
// listening and starting processes included; what others do for it, such as the
// connections of an http.Transport, does not. The loopback interface is up.
//
// Without root or a needed program the test is skipped, or fails if the variable
// CI is "true".
func Enter(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		unable(t, "a network namespace needs root: run the test as root, as with sudo")
	}
	for program, pack := range map[string]string{"ip": "iproute2", "bash": "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			unable(t, "%s is missing: apt-get install %s", program, pack)
		}
	}
	// Not unlocked: the thread ends with the goroutine, and the namespace with
	// its last thread, process and socket.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		unable(t, "a network namespace needs CAP_SYS_ADMIN, as a privileged container has: unshare: %v", err)
	}
	IP(t, "link set lo up")
}

func unable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" { //nolint:forbidigo // CI has every part
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// IP runs the program ip with the words of a line, in the namespace.
func IP(t testing.TB, line string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", line, err, out)
	}
}

// Serve listens on an address of the namespace until the test ends, and greets
// whoever connects with one line.
func Serve(t testing.TB, address, greeting string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() }) //nolint:errcheck // it only accepts
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			fmt.Fprintln(conn, greeting)
			conn.Close() //nolint:errcheck // who did not hear it says so
		}
	}()
}

// Ask connects to an address of the namespace, as a process of the given user,
// and returns the line that it is greeted with, or why it did not connect.
func Ask(t testing.TB, uid uint32, address string) (string, error) {
	t.Helper()
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var stdout, stderr strings.Builder
	bash := exec.CommandContext(ctx, "bash", "-c", `exec 3<>"/dev/tcp/$0/$1" && read -r line <&3 && echo "$line"`,
		target.Addr().String(), fmt.Sprint(target.Port()))
	bash.Dir, bash.Stdout, bash.Stderr = "/", &stdout, &stderr
	bash.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if err := bash.Run(); err != nil {
		return "", errors.Join(err, errors.New(strings.TrimSpace(stderr.String())))
	}
	return strings.TrimSpace(stdout.String()), nil
}
