package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"issuer-sync": main})
}

// TestScripts runs testdata/*.txtar. Beside testscript's own commands there are
// "exits CODE COMMAND", $KUBERNETES_PUB, the key that Kubernetes pins in its tests, and the files
// one.pub, one.key, two.pub with keys made for the run, and kid1.
func TestScripts(t *testing.T) {
	pinned, err := filepath.Abs("../../pkg/keys/testdata/kubernetes.pub")
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(keytest.RSA(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"one.pub": keytest.PublicPEM(t, keytest.RSA(t, 1).Public()),
		"two.pub": keytest.PublicPEM(t, keytest.RSA(t, 2).Public()),
		"kid1":    []byte(keytest.Key(t, 1).ID + "\n"),
		"one.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
	testscript.Run(t, testscript.Params{
		Dir:  "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Setup: func(env *testscript.Env) error {
			env.Setenv("KUBERNETES_PUB", pinned)
			env.Setenv("KID1", keytest.Key(t, 1).ID)
			env.Setenv("KID2", keytest.Key(t, 2).ID)
			for name, content := range files {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), content, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// exits runs a command that must exit with the given code, which "! exec" does
// not look at.
func exits(script *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 2 {
		script.Fatalf("usage: exits CODE COMMAND [ARG]...")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		script.Fatalf("exits: %v", err)
	}
	err = script.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != want {
		script.Fatalf("%v; want exit code %d", err, want)
	}
}
