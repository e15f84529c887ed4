package program

import (
	"errors"
	"os/exec"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// Exits is a testscript command, "exits CODE COMMAND [ARG]...": the command must
// exit with the code, which "! exec" does not look at.
func Exits(script *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 2 {
		script.Fatalf("usage: exits CODE COMMAND [ARG]...")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		script.Fatalf("exits: %v", err)
	}
	err = script.Exec(args[1], args[2:]...)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != want {
		script.Fatalf("%v; want exit code %d", err, want)
	}
}
