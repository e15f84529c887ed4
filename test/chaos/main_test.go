// Package chaos_test kills issuer-sync and breaks its store while readers
// watch what is public. It uses the program as a user does: a configuration
// file, key files, signals.
//
// `go test` does it some dozens of times. With -args -chaos.full it does it as
// often, and for as long, as the project promises.
package chaos_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

const fullFlag = "chaos.full"

func TestMain(m *testing.M) {
	flag.Bool(fullFlag, false, "the full counts: 1,000 and 100 kills, faults of minutes")
	var err error
	if binaries, err = os.MkdirTemp("", "issuer-sync-chaos-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(binaries) //nolint:errcheck // a temporary directory
	os.Exit(code)
}

// scaled returns one of two amounts: that for every test run, or the full one.
func scaled[T any](reduced, full T) T {
	if flag.Lookup(fullFlag).Value.String() == "true" {
		return full
	}
	return reduced
}

// issuerSync returns the program as it is released: without cgo, and without
// the race detector, which would slow it down where it is to be killed.
func issuerSync(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

//nolint:gochecknoglobals // one build serves all tests
var built = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaries, "issuer-sync")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", path, "github.com/issuer-sync/issuer-sync/cmd/issuer-sync")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("building issuer-sync: %w\n%s", err, out)
	}
	return path, err
})

//nolint:gochecknoglobals // set by TestMain, which alone can remove it at the end
var binaries string
