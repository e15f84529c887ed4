//go:build linux

package node

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/program"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// parts are the programs of a node.
type parts struct {
	kube    string // etcd, kubelet and the rest: the first argument says which
	runtime servers.Runtime
	init    string
	pause   string
}

// requireParts finds and builds the programs of a node; without one, or without
// root, the test ends.
func requireParts(t testing.TB) parts {
	t.Helper()
	if value, _ := os.LookupEnv("ISSUER_SYNC_NODE_TESTS"); value == "" {
		t.Skip("a node takes minutes, and longer than go test waits by default: run make e2e")
	}
	if os.Geteuid() != 0 {
		missing(t, "a node needs root: run the test as root, as with sudo")
	}
	for program, pack := range map[string]string{
		"nsenter": "util-linux", "setpriv": "util-linux", "ip": "iproute2",
		"nft": "nftables", // for kube-proxy
	} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, fmt.Sprintf("%s is missing: apt-get install %s", program, pack))
		}
	}
	return parts{
		kube: servers.RequireKube(t), runtime: servers.RequireRuntime(t),
		init: program.Build(t, "test/node/init"), pause: program.Build(t, "test/node/pause"),
	}
}

func missing(t testing.TB, message string) {
	t.Helper()
	if servers.InCI() {
		t.Fatal(message)
	}
	t.Skip(message)
}
