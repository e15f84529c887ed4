package images_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// packed is the configuration of what pack makes.
type packed struct {
	config
	Created any `json:"created"` // a time only where the base has one
}

// TestPack packs a folder, and then a layer over that, twice.
func TestPack(t *testing.T) {
	root := treeRoot(t)
	tool := buildTool(t, root).in(root)
	dir := t.TempDir()
	fill(t, filepath.Join(dir, "source"))
	base := filepath.Join(dir, "base.tar")
	pack := func(out string) []string {
		return []string{
			"pack", "-o", out, "-tag", "localhost/test/a:1", "-entrypoint", "/app/bin/run", "-user", "1000", "-env", "A=1", "-env", "B=x=y",
			filepath.Join(dir, "source") + "=/app", "go.mod=/opt/go.mod",
		}
	}
	tool.run(t, pack(base)...)
	files, got := readArchive(t, base)
	if diff := cmp.Diff([]string{"localhost/test/a:1"}, got.RepoTags); diff != "" || len(got.Layers) != 1 {
		t.Fatalf("manifest.json %+v", got)
	}
	layer := files[got.Layers[0]]
	want := []string{
		"5 0755 /app/ ", "5 0700 /app/bin/ ", "2 0777 /app/bin/link ../none", "0 4711 /app/bin/run ", "0 0640 /app/text ", "5 0755 /opt/ ", "0 0644 /opt/go.mod ",
	}
	if diff := cmp.Diff(want, entries(t, layer)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	wantConfig := packed{config: config{
		Architecture: runtime.GOARCH, OS: "linux",
		Config: settings{User: "1000", Entrypoint: []string{"/app/bin/run"}, Env: []string{searchPath, "A=1", "B=x=y"}, WorkingDir: "/"},
		RootFS: rootFS{Type: "layers", DiffIDs: []string{"sha256:" + sum(layer)}},
	}}
	checkPacked(t, files[got.Config], wantConfig)
	second := filepath.Join(dir, "second.tar")
	tool.run(t, pack(second)...)
	if string(readFile(t, base)) != string(readFile(t, second)) {
		t.Error("packed again, it is another archive")
	}

	over := filepath.Join(dir, "over.tar")
	tool.run(t, "pack", "-o", over, "-tag", "localhost/test/b:2", "-from", base, "-env", "A=2", "-arch", "arm64", "go.sum=/opt/sub/go.mod")
	files, got = readArchive(t, over)
	if len(got.Layers) != 2 || got.RepoTags[0] != "localhost/test/b:2" {
		t.Fatalf("manifest.json %+v", got)
	}
	if string(unzip(t, files[got.Layers[0]])) != string(layer) {
		t.Error("the first layer is not that of the base")
	}
	// Folders stay as the base has them.
	if diff := cmp.Diff([]string{"0 0644 /opt/sub/go.mod "}, entries(t, files[got.Layers[1]])); diff != "" {
		t.Errorf("entries over the base (-want +got):\n%s", diff)
	}
	wantConfig.Architecture = "arm64"
	wantConfig.Config.Env = []string{searchPath, "B=x=y", "A=2"}
	wantConfig.RootFS.DiffIDs = append(wantConfig.RootFS.DiffIDs, "sha256:"+sum(files[got.Layers[1]]))
	checkPacked(t, files[got.Config], wantConfig)
}

func checkPacked(t *testing.T, text []byte, want packed) {
	t.Helper()
	var got packed
	decode(t, text, &got)
	if len(got.History) != len(want.RootFS.DiffIDs) {
		t.Errorf("%d entries of history; want one for each layer", len(got.History))
	}
	got.History, got.Created = nil, nil
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(packed{})); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

// fill makes a folder with all that pack keeps.
func fill(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"text": 0o640, "bin/run": 0o711 | os.ModeSetuid} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../none", filepath.Join(dir, "bin", "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// entries are all of a layer, which must belong to root and have no time.
func entries(t *testing.T, layer []byte) []string {
	t.Helper()
	var all []string
	for _, e := range readTar(t, layer) {
		if e.Uid != 0 || e.Gid != 0 || e.Uname != "" || e.Gname != "" || e.ModTime.Unix() != 0 {
			t.Errorf("%s belongs to %d:%d, %q:%q and is of %v", e.Name, e.Uid, e.Gid, e.Uname, e.Gname, e.ModTime)
		}
		all = append(all, fmt.Sprintf("%c %04o /%s %s", e.Typeflag, e.Mode, e.Name, e.Linkname))
	}
	return all
}
