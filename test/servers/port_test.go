package servers_test

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

func TestReservedPort(t *testing.T) {
	address, release, err := servers.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	// Without SO_REUSEADDR the conflict shows for which the kernel skips the
	// port when it picks one.
	strict := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
		}), err)
	}}
	if listener, err := strict.Listen(t.Context(), "tcp", address); !errors.Is(err, unix.EADDRINUSE) {
		if err == nil {
			_ = listener.Close()
		}
		t.Errorf("listening like a stranger: %v; want address in use", err)
	}
	if connection, err := dial(t, address); !errors.Is(err, unix.ECONNREFUSED) {
		if err == nil {
			_ = connection.Close()
		}
		t.Errorf("connecting before anyone listens: %v; want connection refused", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatalf("listening as servers do: %v", err)
	}
	connection, err := dial(t, address)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = connection.Close(), listener.Close()
	release()
}
