//go:build linux

// Command init is the first process of a test's node. It starts in namespaces of
// its own (mount, network, PID, IPC, UTS), sets them up, says "ready" on standard
// output, and then reaps what is left to it. With its death the kernel ends all
// that runs on the node.
//
//	init -state FOLDER -cgroup NAME -hostname NAME
//
// Nothing of it is seen outside, but for cgroups below NAME.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// config says how a node is set up.
type config struct {
	// state is a folder that becomes a file system in memory: all that the node
	// writes is there.
	state string
	// cgroup is the name of the group below which pods are.
	cgroup, hostname string
}

// exitUnable says that the machine cannot hold a node: a right or a feature of
// the kernel is missing.
const exitUnable = 3

func main() {
	var c config
	flag.StringVar(&c.state, "state", "", "folder for what the node writes")
	flag.StringVar(&c.cgroup, "cgroup", "", "name of the cgroup of pods")
	flag.StringVar(&c.hostname, "hostname", "", "name of the node")
	flag.Parse()
	if err := c.setUp(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitUnable)
	}
	fmt.Println("ready")
	reap()
}

func (c config) setUp() error {
	if err := unix.Sethostname([]byte(c.hostname)); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	if err := c.mount(); err != nil {
		return err
	}
	if err := c.makeCgroups(); err != nil {
		return err
	}
	return setUpNetwork(context.Background())
}

// reap waits for processes whose parents are gone, such as containerd's shims,
// until this one is killed.
func reap() {
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); err == unix.ECHILD {
			// None yet. The next that is left to this process is seen at the next child's end.
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 100_000_000}, nil) // or shorter, if a signal comes
		}
	}
}
