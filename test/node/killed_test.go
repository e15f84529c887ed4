//go:build linux

package node_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/node"
)

// holds is set in the process that TestAKilledTestLeavesNothing kills.
const holds = "ISSUER_SYNC_TEST_HOLDS_A_NODE"

// TestHold is no test by itself: it starts a node, says so, and waits to be killed.
func TestHold(t *testing.T) {
	if os.Getenv(holds) == "" {
		return
	}
	n := node.Start(t, node.Config{Issuers: []string{"https://oidc.example.test"}})
	fmt.Println("\nnode is up:", n.PID())
	select {}
}

// TestAKilledTestLeavesNothing kills a test that has a node: all its processes end
// at once, and the next node takes its cgroups away.
func TestAKilledTestLeavesNothing(t *testing.T) {
	node.Start(t, node.Config{Issuers: []string{"https://oidc.example.test"}}) // or the test is skipped
	victim := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHold$")
	victim.Env = append(os.Environ(), holds+"=1", "TMPDIR="+t.TempDir())
	output, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	var first int
	for lines := bufio.NewScanner(output); first == 0; {
		if !lines.Scan() {
			t.Fatalf("the other test has no node: %v", victim.Wait())
		}
		fmt.Sscanf(lines.Text(), "node is up: %d", &first) //nolint:errcheck // another line
	}
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first))
	if err != nil {
		t.Fatal(err)
	}
	if n := processes(t, namespace); n < 5 {
		t.Fatalf("%d processes are on the node; want the servers", n)
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	victim.Wait() //nolint:errcheck // it was killed
	node.Await(t, patience, "the node's processes to end", func(context.Context) error {
		if n := processes(t, namespace); n > 0 {
			return fmt.Errorf("%d are left", n)
		}
		return nil
	})
	group := fmt.Sprintf("issuer-sync-test-%d-*", victim.Process.Pid)
	if left, err := filepath.Glob("/sys/fs/cgroup/*/" + group); err != nil || len(left) == 0 {
		t.Fatalf("cgroups %q, %v; want those of the killed test, else their end proves nothing", left, err)
	}
	node.Start(t, node.Config{Issuers: []string{"https://oidc.example.test"}})
	if left, err := filepath.Glob("/sys/fs/cgroup/*/" + group); err != nil || len(left) > 0 {
		t.Errorf("cgroups %q, %v; want the next node to have removed them", left, err)
	}
}

// processes counts those in a PID namespace.
func processes(t *testing.T, namespace string) (count int) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if found, err := os.Readlink(link); err == nil && found == namespace {
			count++
		}
	}
	return count
}
