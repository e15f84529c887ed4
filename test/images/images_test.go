// Package images_test makes the container images as `make images` does, and
// looks at what was written with nothing that wrote it.
package images_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	version  = "0.1.0-test"
	revision = "0123456789abcdef0123456789abcdef01234567"
	created  = "1970-01-01T00:00:00Z"
)

// image is what the project promises of an image.
type image struct {
	name, account string
	uid           int
	description   string
}

func images() []image {
	return []image{
		{"issuer-sync", "nonroot", 65532, "Publishes the OIDC discovery document and keys of Kubernetes clusters"},
		{"webhook", "nonroot", 65532, "Gives pods that ask for an Azure identity what Azure's SDKs look for"},
		{"proxy", "proxy", 1501, "Answers the metadata endpoint beside a workload with tokens of its own identity"},
	}
}

func (i image) user() string { return fmt.Sprintf("%d:%d", i.uid, i.uid) }

func (i image) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       i.name,
		"org.opencontainers.image.description": i.description,
		"org.opencontainers.image.version":     version,
		"org.opencontainers.image.revision":    revision,
		"org.opencontainers.image.source":      "https://github.com/issuer-sync/issuer-sync",
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
}

// record is images.json, as far as scripts may rely on it.
type record struct {
	Version, Revision, Created, Go string
	Roots                          struct {
		SHA256       string
		Certificates int
	}
	Images []recorded
}

type recorded struct {
	Name, Version, Tag, Entrypoint, User, Layout, Digest string
	Platforms                                            []struct{ Platform, Digest, Config, Archive, SBOM string }
}

func TestImages(t *testing.T) {
	needRoots(t)
	// A copy, so that nobody edits what is built twice; and a copy of that.
	here := copySources(t, treeRoot(t))
	tool := buildTool(t, here)
	first, second := filepath.Join(t.TempDir(), "dist", "images"), filepath.Join(t.TempDir(), "images")
	tool.in(here).run(t, "build", "-version", version, "-revision", revision, "-out", first)
	tool.in(copySources(t, here)).run(t, "build", "-version", version, "-revision", revision, "-out", second)

	t.Run("the sources in another folder give the same bytes", func(t *testing.T) {
		sums := sumFolder(t, first)
		if diff := cmp.Diff(sums, sumFolder(t, second)); diff != "" {
			t.Errorf("SHA-256 of files (-first +second):\n%s", diff)
		}
		checkSums(t, first, sums)
	})
	made := readRecord(t, first)
	if made.Version != version || made.Revision != revision || made.Created != created || made.Go != runtime.Version() {
		t.Errorf("%+v; want version %s, revision %s, created %s, go %s", made, version, revision, created, runtime.Version())
	}
	if len(made.Images) != len(images()) {
		t.Fatalf("images.json has %d images; want %d", len(made.Images), len(images()))
	}
	for i, want := range images() {
		t.Run(want.name, func(t *testing.T) { checkImage(t, first, want, made, made.Images[i]) })
	}
	checkDockerfiles(t, here, first)
}

// checkImage holds one image's record and layout against what is promised, and
// then each of its platforms.
func checkImage(t *testing.T, dir string, want image, all record, made recorded) {
	platforms := made.Platforms
	made.Platforms = nil
	tag := "localhost/issuer-sync/" + want.name + ":" + version
	l := readLayout(t, filepath.Join(dir, want.name))
	if diff := cmp.Diff(recorded{
		Name: want.name, Version: version, Tag: tag, Entrypoint: "/" + want.name, User: want.user(), Layout: want.name, Digest: l.digest,
	}, made); diff != "" {
		t.Errorf("images.json (-want +got):\n%s", diff)
	}
	wantNames := map[string]string{"org.opencontainers.image.ref.name": version, "io.containerd.image.name": tag}
	if diff := cmp.Diff(wantNames, l.names); diff != "" {
		t.Errorf("annotations of index.json (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.labels(), l.index.Annotations); diff != "" {
		t.Errorf("annotations of the index (-want +got):\n%s", diff)
	}
	if len(l.index.Manifests) != 2 || len(platforms) != 2 {
		t.Fatalf("%d manifests, %d platforms in images.json; want 2", len(l.index.Manifests), len(platforms))
	}
	for i, architecture := range []string{"amd64", "arm64"} {
		t.Run(architecture, func(t *testing.T) {
			described, p := l.index.Manifests[i], platforms[i]
			if diff := cmp.Diff(map[string]string{"os": "linux", "architecture": architecture}, described.Platform); diff != "" {
				t.Errorf("platform in the index (-want +got):\n%s", diff)
			}
			m := l.readManifest(t, described)
			if p.Platform != "linux/"+architecture || p.Digest != described.Digest || p.Config != m.Config.Digest {
				t.Errorf("images.json has %+v; want digest %s, configuration %s", p, described.Digest, m.Config.Digest)
			}
			layer := checkConfig(t, l, m, want, architecture)
			checkArchive(t, filepath.Join(dir, p.Archive), tag, l.blob(t, m.Config), layer)
			folder := checkLayer(t, layer, want, all.Roots.SHA256, all.Roots.Certificates)
			checkProgram(t, folder, want, architecture)
			checkSBOM(t, filepath.Join(dir, p.SBOM), folder, want, architecture, p.Digest)
		})
	}
	l.checkAllRead(t)
}

// treeRoot is the folder of the module.
func treeRoot(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

// needRoots ends the test where there are no CA roots to put into images.
func needRoots(t *testing.T) {
	t.Helper()
	const dir = "/usr/share/ca-certificates/mozilla"
	if _, err := os.Stat(dir); err == nil {
		return
	}
	missing(t, "there is no "+dir+": install Debian's package ca-certificates")
}

// missing skips a test, but not where nothing may be missing.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// tool is the program of tools/images, to be run in a tree.
type tool struct {
	path, dir string
	env       []string
}

func buildTool(t *testing.T, root string) tool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "images-tool")
	cmd := exec.CommandContext(t.Context(), "go", "-C", filepath.Join(root, "tools", "images"), "build", "-o", path, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building tools/images: %v\n%s", err, out)
	}
	return tool{path: path}
}

// in is the tool as go -C runs it for a tree.
func (t tool) in(root string) tool {
	return tool{path: t.path, dir: filepath.Join(root, "tools", "images"), env: t.env}
}

func (t tool) command(test *testing.T, args ...string) (string, int) {
	test.Helper()
	cmd := exec.CommandContext(test.Context(), t.path, args...)
	cmd.Dir, cmd.Env = t.dir, append(os.Environ(), t.env...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		test.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (t tool) run(test *testing.T, args ...string) {
	test.Helper()
	if out, code := t.command(test, args...); code != 0 {
		test.Fatalf("images %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
}

// copySources copies what images are made of. As the test reads it all, go test
// keeps no result when a source changes.
func copySources(t *testing.T, root string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "elsewhere")
	for _, folder := range []string{"cmd", "internal", "pkg", "tools/images", "deploy/docker"} {
		if err := os.CopyFS(filepath.Join(to, folder), os.DirFS(filepath.Join(root, folder))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func readRecord(t *testing.T, dir string) record {
	t.Helper()
	var r record
	text, err := os.ReadFile(filepath.Join(dir, "images.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// sumFolder returns the SHA-256 of every file below a folder.
func sumFolder(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, found fs.DirEntry, err error) error {
		if err != nil || found.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		sums[name] = sum(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// checkSums holds SHA256SUMS against the files beside it.
func checkSums(t *testing.T, dir string, sums map[string]string) {
	t.Helper()
	var want bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if name != "SHA256SUMS" {
			fmt.Fprintf(&want, "%s  %s\n", sums[name], name)
		}
	}
	got, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(got), "\n")
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[min(64, len(a)):], b[min(64, len(b)):]) })
	if diff := cmp.Diff(want.String(), strings.Join(lines, "")); diff != "" {
		t.Errorf("SHA256SUMS (-want +got):\n%s", diff)
	}
}

func sum(content []byte) string {
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}
