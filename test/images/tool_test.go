package images_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestChoices builds one image with every flag, over a folder of a former build.
func TestChoices(t *testing.T) {
	needRoots(t)
	root := treeRoot(t)
	copySources(t, root) // for go test to know them
	tool := buildTool(t, root).in(root)
	dir := t.TempDir()
	out, ca := filepath.Join(dir, "images"), filepath.Join(dir, "ca.pem")
	debian, err := filepath.Glob("/usr/share/ca-certificates/mozilla/*.crt")
	if err != nil {
		t.Fatal(err)
	}
	bundle := append([]byte("# ours\n"), readFile(t, debian[0])...)
	if err := os.WriteFile(ca, bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"images.json": "{}", "of-a-former-build": ""} {
		if err := os.WriteFile(filepath.Join(out, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tool.env = []string{"SOURCE_DATE_EPOCH=1700000000", "GOFLAGS=-tags=nothing", "GOARCH=386"}
	tool.run(t, "build", "-out", out, "-platforms", "linux/arm64", "-repository", "registry.example:5000/a/b", "-ca", ca, "proxy")

	made := readRecord(t, out)
	if made.Version != "devel" || made.Revision != "" || made.Created != "2023-11-14T22:13:20Z" || made.Roots.Certificates != 1 || made.Roots.SHA256 != sum(bundle) {
		t.Errorf("images.json has %+v", made)
	}
	if len(made.Images) != 1 || made.Images[0].Tag != "registry.example:5000/a/b/proxy:devel" || len(made.Images[0].Platforms) != 1 {
		t.Fatalf("images.json has %+v", made.Images)
	}
	files, got := readArchive(t, filepath.Join(out, "proxy-devel-arm64.tar"))
	for _, e := range readTar(t, unzip(t, files[got.Layers[0]])) {
		if e.ModTime.Unix() != 1700000000 {
			t.Errorf("/%s is of %v; want the time of SOURCE_DATE_EPOCH", e.Name, e.ModTime)
		}
		if e.Name == "etc/ssl/certs/ca-certificates.crt" && string(e.content) != string(bundle) {
			t.Error("the CA roots are not those of -ca")
		}
	}
	if left := names(t, dir); !cmp.Equal(left, []string{"ca.pem", "images"}) {
		t.Errorf("beside the images is %q", left)
	}
	want := []string{"SHA256SUMS", "images.json", "proxy", "proxy-devel-arm64.spdx.json", "proxy-devel-arm64.tar"}
	if diff := cmp.Diff(want, names(t, out)); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range found {
		all = append(all, f.Name())
	}
	return all
}

// TestRefusals: nothing is written, and the message says what would be right.
func TestRefusals(t *testing.T) {
	root := treeRoot(t)
	tool := buildTool(t, root).in(root)
	dir := t.TempDir()
	foreign, key := filepath.Join(dir, "foreign"), filepath.Join(dir, "key.pem")
	if err := os.CopyFS(foreign, os.DirFS(filepath.Join(root, "deploy", "docker"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	archive := filepath.Join(dir, "never.tar")
	packing := []string{"pack", "-o", archive, "-tag", "localhost/a:1"}
	tests := map[string]struct {
		args []string
		env  string
		code int
		says string
	}{
		"no command":         {code: 2, says: "wrong usage: no command\nusage: images build"},
		"an unknown command": {args: []string{"push"}, code: 2, says: `wrong usage: command "push": want build or pack`},
		"an unknown image":   {args: []string{"build", "proxi"}, code: 2, says: `image "proxi": want issuer-sync, webhook, proxy`},
		"an unknown platform": {
			args: []string{"build", "-platforms", "linux/amd64,arm64"}, code: 2,
			says: `-platforms: platform "arm64": want linux/amd64 or linux/arm64, with a comma between them`,
		},
		"a platform twice": {args: []string{"build", "-platforms", "linux/amd64,linux/amd64"}, code: 2, says: `-platforms: platform "linux/amd64" is there twice`},
		"a version that is no tag": {
			args: []string{"build", "-version", "1.0.0+abc"}, code: 2,
			says: `-version "1.0.0+abc": it is the images' tag: want up to 128 letters, digits and ._- (no +), with none of .- first`,
		},
		"a repository with capitals": {args: []string{"build", "-repository", "localhost/A"}, code: 2, says: `-repository "localhost/A": `},
		"a time in words":            {args: []string{"build"}, env: "SOURCE_DATE_EPOCH=now", code: 2, says: `variable SOURCE_DATE_EPOCH "now": want seconds since 1970`},
		"CA roots that are not there": {
			args: []string{"build", "-ca", filepath.Join(dir, "none")}, code: 1,
			says: "reading CA roots, flag -ca: open " + filepath.Join(dir, "none"),
		},
		"a private key among CA roots": {
			args: []string{"build", "-ca", key}, code: 1,
			says: fmt.Sprintf(`reading CA roots, flag -ca, %q: PEM block 1 is "PRIVATE KEY"; want CERTIFICATE only`, key),
		},
		"a folder of somebody else": {
			args: []string{"build", "-out", foreign, "-platforms", "linux/amd64", "proxy"}, code: 1,
			says: fmt.Sprintf("-out %q: there are files in it, but no images.json; want a folder that is new, empty or of a former build", foreign),
		},
		"pack of nothing":              {args: packing, code: 2, says: "pack: want -o, -tag and at least one SRC=/DEST"},
		"pack without a target":        {args: append(packing[:5:5], "go.mod"), code: 2, says: `"go.mod": want SRC=/DEST`},
		"pack of what is not there":    {args: append(packing[:5:5], "none=/a"), code: 1, says: `packing "` + filepath.Join(root, "none") + `": `},
		"pack of a socket":             {args: append(packing[:5:5], socket+"=/a"), code: 1, says: "want files, folders and symbolic links only"},
		"pack of two to one place":     {args: append(packing[:5:5], "go.mod=/a", "go.sum=/a"), code: 1, says: `at "/a": something else is there`},
		"pack of a file below a file":  {args: append(packing[:5:5], "go.mod=/a", "go.sum=/a/b"), code: 1, says: `putting something at "/a/b": "/a" is no folder`},
		"pack from what is no archive": {args: append(packing[:5:5], "-from", "go.mod", "go.mod=/a"), code: 1, says: "flag -from: "},
		"pack with a bad variable":     {args: append(packing[:5:5], "-env", "A", "go.mod=/a"), code: 2, says: "want NAME=VALUE"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			refusing := tool
			refusing.env = []string{test.env}
			out, code := refusing.command(t, test.args...)
			if code != test.code || !strings.Contains(out, test.says) {
				t.Errorf("exit code %d; want %d and %q in\n%s", code, test.code, test.says, out)
			}
		})
	}
	if left := names(t, dir); !cmp.Equal(left, []string{"foreign", "key.pem", "socket"}) {
		t.Errorf("left is %q", left)
	}
}
