// Package webhook_test installs the webhook from deploy/ on a real
// kube-apiserver, with exactly the rights it gets there, and creates pods.
//
// There is no node and no network: the tests run the webhook's processes with
// what the Deployment says, and do for its Service what a node does.
package webhook_test

import (
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/test/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// patience is how long a test waits for what must happen soon.
const patience = 30 * time.Second

// eventually waits for another process to bring something about.
func eventually(t testing.TB, what string, within time.Duration, done func() bool) {
	t.Helper()
	deadline := time.After(within)
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("waited %s for %s", within, what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
