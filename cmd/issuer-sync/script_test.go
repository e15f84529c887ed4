package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/test/program"
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
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": program.Exits},
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
