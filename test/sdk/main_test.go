//go:build linux

package sdk_test

import (
	"os"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/test/program"
)

func TestMain(m *testing.M) { program.Main(m) }

const (
	// patience is for what must succeed, however busy the machine is.
	patience = time.Minute
	// soon is for what must fail: SDKs try again for minutes what they take for
	// an outage. Some of them take 2 s to start on a busy machine.
	soon = 15 * time.Second
)

// missing ends a test for the lack of a part.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}
