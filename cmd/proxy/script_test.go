package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/issuer-sync/issuer-sync/test/program"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"proxy": main})
}

// TestScripts runs testdata/*.txtar. Beside testscript's own commands there is
// "exits CODE COMMAND".
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": program.Exits},
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each of many programs waits for a second
			return nil
		},
	})
}
