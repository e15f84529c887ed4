package program_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/program"
)

// Variables by which TestAsAProcess steers the other test.
const (
	withoutMain = "PROGRAM_TEST_WITHOUT_MAIN" // TestMain does not call program.Main
	otherFolder = "PROGRAM_TEST_FOLDER"       // what TestBuild builds
)

func TestMain(m *testing.M) {
	if os.Getenv(withoutMain) != "" {
		m.Run()
		return
	}
	program.Main(m)
}

func TestBuild(t *testing.T) {
	folder := cmp.Or(os.Getenv(otherFolder), "test/load/bare")
	bare := program.Build(t, folder)
	out, err := exec.CommandContext(t.Context(), bare).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "usage: bare FILE CERT KEY") {
		t.Fatalf("running %s: %v\n%s", bare, err, out)
	}
	// A second build would mend it.
	if err := os.Truncate(bare, 0); err != nil {
		t.Fatal(err)
	}
	if again := program.Build(t, folder); again != bare {
		t.Errorf("built at %s, and then at %s", bare, again)
	}
	if info, err := os.Stat(bare); err != nil || info.Size() != 0 {
		t.Errorf("it was built twice: %v, %v", info, err)
	}
}

// TestAsAProcess sees what a test binary leaves behind.
func TestAsAProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		variable string
		passes   bool
		says     string
	}{
		"tests that pass":               {passes: true, says: "PASS"},
		"a program that does not build": {variable: otherFolder + "=test/azurite", says: "building test/azurite: exit status 1\n"},
		"a TestMain without Main":       {variable: withoutMain + "=1", says: "building test/load/bare: the TestMain of this package does not call program.Main"},
	} {
		t.Run(name, func(t *testing.T) {
			temporary := t.TempDir()
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestBuild$")
			cmd.Env = append(os.Environ(), "TMPDIR="+temporary, c.variable)
			out, err := cmd.CombinedOutput()
			if (err == nil) != c.passes || !strings.Contains(string(out), c.says) {
				t.Errorf("ended with %v; want that it says %q:\n%s", err, c.says, out)
			}
			if left, err := filepath.Glob(filepath.Join(temporary, "*")); err != nil || len(left) != 0 {
				t.Errorf("left behind: %q, %v", left, err)
			}
		})
	}
}

func TestOutput(t *testing.T) {
	var output program.Output
	for _, text := range []string{"one ", "two"} {
		if n, err := output.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := output.String() + "|" + output.Take() + "|" + output.String(); got != "one two|one two|" {
		t.Errorf("got %s", got)
	}
}
