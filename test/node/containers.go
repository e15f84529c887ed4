//go:build linux

package node

import "testing"

// Kill ends a container by SIGKILL; its ID is that of the container's status,
// without "containerd://".
func (n *Node) Kill(t testing.TB, container string) {
	t.Helper()
	n.task(t, container, "kill", "--signal", "SIGKILL")
}

// Pause has all processes of a container stand still, until it is removed.
func (n *Node) Pause(t testing.TB, container string) {
	t.Helper()
	n.task(t, container, "pause")
}

func (n *Node) task(t testing.TB, container string, args ...string) {
	t.Helper()
	if err := run(n.ctr(t.Context(), append(append([]string{"tasks"}, args...), container)...)); err != nil {
		t.Fatalf("container %s: %v", container, err)
	}
}
