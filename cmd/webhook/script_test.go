package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/issuer-sync/issuer-sync/internal/selfcert"
	"github.com/issuer-sync/issuer-sync/test/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// TestScripts runs testdata/*.txtar, without a cluster. Beside testscript's own
// commands there is "exits CODE COMMAND". $TENANT is a tenant, and ca.crt a CA
// made for the run. No variable of the webhook is set, and no pod around it. The
// program is as users have it: with the race detector, a hundred starts take long.
func TestScripts(t *testing.T) {
	made, built := certificateFor(t, time.Hour, "x.test"), program.Build(t, "cmd/webhook")
	testscript.Run(t, testscript.Params{
		Dir:  "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": program.Exits},
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(built)+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("TENANT", "11111111-2222-3333-4444-555555555555")
			env.Setenv("CA", string(made.CA))
			return os.WriteFile(filepath.Join(env.WorkDir, "ca.crt"), made.CA, 0o600)
		},
	})
}

// certificateFor makes one that is valid until then, which may be over.
func certificateFor(t *testing.T, until time.Duration, names ...string) *selfcert.Certificate {
	t.Helper()
	now := time.Now()
	made, err := selfcert.New(selfcert.Spec{
		Name: "webhook", CAName: "webhook CA", DNSNames: names,
		NotBefore: now.Add(min(0, until) - time.Hour), NotAfter: now.Add(until),
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}
