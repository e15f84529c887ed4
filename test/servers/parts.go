package servers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// CacheVariable names the environment variable that moves the cache of the
// real parts; by default it is issuer-sync/ in [os.UserCacheDir].
const CacheVariable = "ISSUER_SYNC_TEST_CACHE"

// Parts says where the real parts are kept, whether they are there or not.
type Parts struct {
	// Cache is the folder that holds all parts.
	Cache string `json:"cache"`
	// KubeServers is the program built from KubeSource. Its folder is named
	// after what it is built from, so that a change there is a new part.
	KubeServers string `json:"kubeServers"`
	// KubeSource is the Go module of KubeServers.
	KubeSource string `json:"kubeSource"`
	// Azurite is the node_modules folder that npm fills after the lock file in
	// AzuriteSource, after which its parent is named.
	Azurite string `json:"azurite"`
	// AzuriteSource is the folder with package.json and package-lock.json.
	AzuriteSource string `json:"azuriteSource"`
	// Runtime is what runs containers on a node.
	Runtime Runtime `json:"runtime"`
}

// FindParts computes where the parts belong for the sources around the working
// directory, which must lie in the project's tree.
func FindParts() (Parts, error) {
	root, err := findRoot()
	if err != nil {
		return Parts{}, err
	}
	parts := Parts{
		KubeSource:    filepath.Join(root, "test", "kube"),
		AzuriteSource: filepath.Join(root, "test", "azurite"),
	}
	if parts.Cache, err = findCache(); err != nil {
		return Parts{}, err
	}
	kube, err := digest(runtime.Version(),
		filepath.Join(parts.KubeSource, "go.sum"), filepath.Join(parts.KubeSource, "go.mod"), filepath.Join(parts.KubeSource, "main.go"))
	if err != nil {
		return Parts{}, err
	}
	azurite, err := digest("", filepath.Join(parts.AzuriteSource, "package-lock.json"))
	if err != nil {
		return Parts{}, err
	}
	parts.KubeServers = filepath.Join(parts.Cache, "kube-"+kube, "kube-servers")
	parts.Azurite = filepath.Join(parts.Cache, "azurite-"+azurite, "node_modules")
	parts.Runtime = Runtime(filepath.Join(parts.Cache, "container-runtime-"+release()))
	return parts, nil
}

// findRoot returns the nearest folder, upwards from the working directory,
// that holds the sources of the parts. Tests run in their package's folder.
func findRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the project's tree: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, "test", "kube", "go.sum")) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("finding the project's tree: no test/kube/go.sum in %q or above; run this inside a checkout", start)
		}
	}
}

func findCache() (string, error) {
	if dir := setting(CacheVariable); dir != "" {
		if !filepath.IsAbs(dir) {
			return "", fmt.Errorf("reading %s: %q is relative; want an absolute path", CacheVariable, dir)
		}
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a cache folder (%s names one): %w", CacheVariable, err)
	}
	return filepath.Join(dir, "issuer-sync"), nil
}

// digest returns 16 hexadecimal digits that stand for salt and the files.
func digest(salt string, files ...string) (string, error) {
	hash := sha256.New()
	hash.Write(fmt.Appendf(nil, "%q\n", salt))
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("computing the name of a test part: %w", err)
		}
		hash.Write(fmt.Appendf(nil, "%s %d\n", filepath.Base(file), len(content)))
		hash.Write(content)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

// KubeReady reports whether KubeServers is there.
func (p Parts) KubeReady() bool { return exists(p.KubeServers) }

// AzuriteReady reports whether Azurite is there.
func (p Parts) AzuriteReady() bool { return exists(p.azuriteProgram()) }

// azuriteProgram is the script that Node.js runs: the Blob service alone.
func (p Parts) azuriteProgram() string {
	return filepath.Join(p.Azurite, "azurite", "dist", "src", "blob", "main.js")
}

// minNode is the oldest major version of Node.js that still got fixes when these
// tests were written.
const minNode = 20

// ErrNode is in the chain of the error that [FindNode] returns if Node.js is
// missing or too old.
var ErrNode = fmt.Errorf("install Node.js %d or newer with npm: https://nodejs.org/en/download", minNode)

// FindNode returns the path of Node.js, which runs Azurite. It is the program
// itself, where node in PATH is the script of a version manager.
func FindNode(ctx context.Context) (string, error) {
	found, err := exec.LookPath("node")
	if err != nil {
		return "", fmt.Errorf("finding Node.js: there is no node in PATH; %w", ErrNode)
	}
	out, err := exec.CommandContext(ctx, found, "--print", `process.version + "\n" + process.execPath`).Output()
	if err != nil {
		return "", fmt.Errorf("asking %q for its version: %w", found, err)
	}
	version, path, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < minNode {
		return "", fmt.Errorf("finding Node.js: %q is version %q; %w", found, version, ErrNode)
	}
	return path, nil
}

// InCI reports whether the environment says CI=true, where a missing part is a
// failure.
func InCI() bool { return setting("CI") == "true" }

// RequireKube returns the program with the Kubernetes servers, whose first
// argument says which; without it the test ends.
func RequireKube(t testing.TB) string {
	t.Helper()
	parts, err := FindParts()
	if err != nil {
		t.Fatal(err)
	}
	if !parts.KubeReady() {
		missing(t, "the Kubernetes servers are not built")
	}
	return parts.KubeServers
}

// RequireAzurite returns the command line that runs Azurite's Blob service; without Azurite or
// Node.js the test ends.
func RequireAzurite(t testing.TB) []string {
	t.Helper()
	parts, err := FindParts()
	if err != nil {
		t.Fatal(err)
	}
	node, err := FindNode(t.Context())
	if err != nil {
		missing(t, fmt.Sprintf("Azurite cannot run: %v", err))
	}
	if !parts.AzuriteReady() {
		missing(t, "Azurite is not installed")
	}
	return []string{node, parts.azuriteProgram()}
}

// missing ends a test for the lack of a part. The go command keeps the result of
// a skipped test and sees nothing that install changes, hence -count=1.
func missing(t testing.TB, what string) {
	t.Helper()
	message := what + ": run `go run ./test/install` once, then test again with -count=1"
	if InCI() {
		t.Fatal(message)
	}
	t.Skip(message)
}

// release names the release of Debian, such as "debian-12", after which its
// packages are kept.
func release() string {
	content, _ := os.ReadFile("/etc/os-release") // elsewhere there are no such packages
	found := make(map[string]string)
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		found[name] = strings.Trim(value, `"`)
	}
	return found["ID"] + "-" + found["VERSION_ID"]
}

func setting(name string) string {
	value, _ := os.LookupEnv(name)
	return value
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
