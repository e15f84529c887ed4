package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

// setup gives a test an empty cache and a PATH with only the named scripts.
func setup(t *testing.T, scripts map[string]string) servers.Parts {
	t.Helper()
	t.Setenv("CI", "")
	t.Setenv(servers.CacheVariable, t.TempDir())
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	for name, script := range scripts {
		write(t, filepath.Join(bin, name), "#!/bin/sh\n"+script)
	}
	parts, err := servers.FindParts()
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
}

// The tools stand in for Go and npm: what these do with the network is no test's
// business. Each shell script uses built-in commands only.
const (
	node    = `echo v20.1.0; echo /opt/node`
	golang  = `case "$1 $2" in "list -m") echo v1.36.3;; build*) while [ "$1" != -o ]; do shift; done; echo built > "$2";; esac`
	npmTool = `exec /bin/mkdir -p node_modules/azurite/dist/src/blob/main.js`
)

func TestInstall(t *testing.T) {
	parts := setup(t, map[string]string{"go": golang, "node": node, "npm": npmTool})
	ready := "kube-servers: ready (" + parts.KubeServers + ")\nazurite: ready (" + parts.Azurite + ")\n"
	if out := mustRun(t); !strings.Contains(out, "4 to 5 minutes") || !strings.HasSuffix(out, "azurite: ready ("+parts.Azurite+")\n") {
		t.Errorf("first run printed:\n%s", out)
	}
	if !parts.KubeReady() || !parts.AzuriteReady() {
		t.Error("a part is not ready")
	}
	if diff := cmp.Diff(ready, mustRun(t)); diff != "" {
		t.Errorf("second run (-want +got):\n%s", diff)
	}
	left, err := filepath.Glob(filepath.Join(parts.Cache, "*"))
	if want := []string{filepath.Dir(parts.Azurite), filepath.Dir(parts.KubeServers)}; err != nil || !cmp.Equal(want, left) {
		t.Errorf("cache holds %q, %v; want %q", left, err, want)
	}
}

func TestInstallWithoutNode(t *testing.T) {
	const cause = "finding npm: there is no npm in PATH; install Node.js 20 or newer with npm: https://nodejs.org/en/download"
	parts := setup(t, map[string]string{"go": golang, "node": node})
	if out, want := mustRun(t), "azurite: not installed, its tests are skipped: "+cause+"\n"; !strings.HasSuffix(out, want) {
		t.Errorf("printed:\n%s\nwant at its end: %s", out, want)
	}
	if !parts.KubeReady() {
		t.Error("the other part is not ready")
	}
	t.Setenv("CI", "true")
	checkError(t, "installing Azurite: "+cause)
}

func TestInstallReportsFailures(t *testing.T) {
	for _, test := range []struct {
		name, golang, npmTool, err string
	}{
		{
			name:   "no network for Go modules",
			golang: `echo "dial tcp: no route to host" >&2; exit 1`, npmTool: npmTool,
			err: "fetching the Go modules of kube-servers (needs the network, or a GOPROXY that has them, once): exit status 1\ndial tcp: no route to host",
		},
		{
			name: "no network for npm", golang: golang,
			npmTool: `echo "npm error code ENOTFOUND" >&2; exit 1`,
			err:     "installing Azurite with npm (needs the network, or a registry that has it, once): exit status 1\nnpm error code ENOTFOUND",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			setup(t, map[string]string{"go": test.golang, "node": node, "npm": test.npmTool})
			checkError(t, test.err)
		})
	}
}

func TestPrint(t *testing.T) {
	parts := setup(t, nil)
	var got servers.Parts
	if err := json.Unmarshal([]byte(mustRun(t, "-print")), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(parts, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

func TestArgumentsAreRefused(t *testing.T) {
	setup(t, nil)
	checkError(t, `unexpected argument "kube"; want none`, "kube")
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	var out strings.Builder
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func checkError(t *testing.T, want string, args ...string) {
	t.Helper()
	var out strings.Builder
	if err := run(t.Context(), args, &out); err == nil || err.Error() != want {
		t.Errorf("error %v; want %s", err, want)
	}
}
