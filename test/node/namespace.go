//go:build linux

package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dial connects from the node's network to an IP address and port.
func (n *Node) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("connecting on the node: %w", err) // names are resolved by other threads
	}
	return within(n, func() (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, address) })
}

// Listen listens in the node's network.
func (n *Node) Listen(ctx context.Context, address string) (net.Listener, error) {
	return within(n, func() (net.Listener, error) { return new(net.ListenConfig).Listen(ctx, "tcp", address) })
}

// within calls f on a thread in the node's network namespace: the sockets that f
// itself makes belong there for good.
func within[T any](n *Node, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	go func() {
		// Not unlocked: the thread ends with the goroutine, so that no other
		// finds itself in the node's network.
		runtime.LockOSThread()
		var r result
		if r.err = enter(n.PID()); r.err == nil {
			r.value, r.err = f()
		}
		results <- r
	}()
	r := <-results
	return r.value, r.err
}

func enter(pid int) error {
	file, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the node's network namespace: %w", err)
	}
	defer func() { _ = unix.Close(file) }()
	if err := unix.Setns(file, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the node's network namespace: %w", err)
	}
	return nil
}
