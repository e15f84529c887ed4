package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/test/sdk"
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

// The tools stand in for Go, npm and apt-get: what these do with the network is
// no test's business. Each shell script uses built-in commands only.
const (
	node    = `echo v20.1.0; echo /opt/node`
	golang  = `case "$1 $2" in "list -m") echo v1.36.3;; build*) while [ "$1" != -o ]; do shift; done; echo built > "$2";; esac`
	npmTool = `exec /bin/mkdir -p node_modules/azurite/dist/src/blob/main.js node_modules/@azure/identity/package.json`
	aptGet  = `shift 2; for name; do echo deb > "${name}_1_all.deb"; done`
	dpkgDeb = `for folder; do :; done; exec /bin/mkdir -p "$folder"/usr/bin/containerd "$folder"/usr/sbin/runc "$folder"/usr/lib/cni`
	bash    = `exec /bin/mkdir -p azure/identity/__init__.py`
)

// tools are all of them, but for those that are named.
func tools(without ...string) map[string]string {
	all := map[string]string{"go": golang, "node": node, "npm": npmTool, "apt-get": aptGet, "dpkg-deb": dpkgDeb, "bash": bash}
	for _, name := range without {
		delete(all, name)
	}
	return all
}

func TestInstall(t *testing.T) {
	parts := setup(t, tools())
	sdks := findSDKs(t)
	ready := "kube-servers: ready (" + parts.KubeServers + ")\nazurite: ready (" + parts.Azurite + ")\n" +
		"azure-identity for JavaScript: ready (" + sdks.Node + ")\nazure-identity for Python: ready (" + sdks.Python + ")\n" +
		"container runtime: ready (" + string(parts.Runtime) + ")\n"
	if out := mustRun(t); !strings.Contains(out, "5 minutes") || !strings.HasSuffix(out, "container runtime: ready ("+string(parts.Runtime)+")\n") {
		t.Errorf("first run printed:\n%s", out)
	}
	if !parts.KubeReady() || !parts.AzuriteReady() || !sdks.NodeReady() || !sdks.PythonReady() || !parts.Runtime.Ready() {
		t.Error("a part is not ready")
	}
	if diff := cmp.Diff(ready, mustRun(t)); diff != "" {
		t.Errorf("second run (-want +got):\n%s", diff)
	}
	left, err := filepath.Glob(filepath.Join(parts.Cache, "*"))
	want := []string{filepath.Dir(sdks.Node), sdks.Python, filepath.Dir(parts.Azurite), string(parts.Runtime), filepath.Dir(parts.KubeServers)}
	if err != nil || !cmp.Equal(want, left) {
		t.Errorf("cache holds %q, %v; want %q", left, err, want)
	}
	if files, err := os.ReadDir(sdks.Python); err != nil || len(files) != 1 {
		t.Errorf("%s holds %v, %v; want what was unpacked alone", sdks.Python, files, err)
	}
}

func findSDKs(t *testing.T) sdk.Parts {
	t.Helper()
	parts, err := sdk.FindParts()
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

func TestInstallWithoutTools(t *testing.T) {
	const (
		npm    = "finding npm: there is no npm in PATH; install Node.js 20 or newer with npm: https://nodejs.org/en/download"
		debian = "there is no dpkg-deb in PATH; want Debian 12 or newer"
	)
	parts := setup(t, tools("npm", "dpkg-deb"))
	want := "azurite: not installed, its tests are skipped: " + npm +
		"\nazure-identity for JavaScript: not installed, its tests are skipped: " + npm +
		"\nazure-identity for Python: not installed, its tests are skipped: " + debian +
		"\ncontainer runtime: not installed, its tests are skipped: " + debian + "\n"
	if out := mustRun(t); !strings.HasSuffix(out, want) {
		t.Errorf("printed:\n%s\nwant at its end: %s", out, want)
	}
	if !parts.KubeReady() {
		t.Error("the other part is not ready")
	}
	t.Setenv("CI", "true")
	checkError(t, "installing azurite: "+npm+"\ninstalling azure-identity for JavaScript: "+npm+"\ninstalling azure-identity for Python: "+debian+
		"\ninstalling container runtime: "+debian)
}

func TestInstallReportsFailures(t *testing.T) {
	const unreachable = `echo "error: ENOTFOUND" >&2; exit 1`
	byNPM := func(name string) string {
		return "installing " + name + " with npm (needs the network, or a registry that has it, once): exit status 1\nerror: ENOTFOUND"
	}
	for _, test := range []struct {
		name, tool, script, err string
	}{
		{
			"no network for Go modules", "go", `echo "dial tcp: no route to host" >&2; exit 1`,
			"fetching the Go modules of kube-servers (needs the network, or a GOPROXY that has them, once): exit status 1\ndial tcp: no route to host",
		},
		{"no network for npm", "npm", unreachable, byNPM("azurite") + "\n" + byNPM("azure-identity for JavaScript")},
		{
			"no network for apt-get", "apt-get", unreachable,
			"installing azure-identity for Python: downloading python3-azure (needs the network once, and lists of packages: run apt-get update as root): " +
				"exit status 1\nerror: ENOTFOUND\ninstalling container runtime: downloading containerd, runc, containernetworking-plugins " +
				"(needs the network once, and lists of packages: run apt-get update as root): exit status 1\nerror: ENOTFOUND",
		},
		{
			"nothing downloaded", "apt-get", "",
			"installing azure-identity for Python: downloading python3-azure: got files []; want one\n" +
				"installing container runtime: downloading containerd: got files []; want one",
		},
		{
			"a package with other files", "bash", `echo "tar: Not found in archive" >&2; exit 2`,
			"installing azure-identity for Python: unpacking python3-azure: exit status 2\ntar: Not found in archive",
		},
		{
			"a broken package", "dpkg-deb", `echo "not a Debian format archive" >&2; exit 2`,
			"installing container runtime: unpacking containerd_1_all.deb: exit status 2\nnot a Debian format archive",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			scripts := tools()
			scripts[test.tool] = test.script
			setup(t, scripts)
			checkError(t, test.err)
		})
	}
}

func TestPrint(t *testing.T) {
	parts := setup(t, nil)
	type all struct {
		servers.Parts
		SDKs sdk.Parts `json:"sdks"`
	}
	var got all
	if err := json.Unmarshal([]byte(mustRun(t, "-print")), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all{parts, findSDKs(t)}, got); diff != "" {
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
