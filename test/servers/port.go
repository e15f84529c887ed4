package servers

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// port is a TCP port on 127.0.0.1 that nobody else is given while a server is
// not yet, or no longer, listening on it.
type port struct {
	number int
	socket int
}

// reservePort takes a free port by a socket that is bound and never listens.
// With SO_REUSEADDR on both sockets Linux lets a server bind and listen beside
// it, but hands the port to no one who asks for any (socket(7)). Go and libuv
// set that option on every listener.
func reservePort() (*port, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserving a port: %w", os.NewSyscallError("socket", err))
	}
	p := &port{socket: socket}
	if p.number, err = bind(socket); err != nil {
		p.release()
		return nil, fmt.Errorf("reserving a port: %w", err)
	}
	return p, nil
}

func bind(socket int) (int, error) {
	if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(socket)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	return name.(*unix.SockaddrInet4).Port, nil
}

func (p *port) release() { _ = unix.Close(p.socket) }

// address is "127.0.0.1:PORT".
func (p *port) address() string { return fmt.Sprintf("127.0.0.1:%d", p.number) }
