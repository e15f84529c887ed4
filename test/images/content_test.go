package images_test

import (
	"archive/tar"
	"context"
	"debug/elf"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// checkLayer holds a layer's files against the only ones that may be there, and
// returns a folder that has them.
func checkLayer(t *testing.T, layer []byte, want image, rootsSum string, certificates int) string {
	t.Helper()
	var got []string
	folder := t.TempDir()
	for _, e := range readTar(t, layer) {
		got = append(got, fmt.Sprintf("%c %04o %d:%d %q%q %d /%s", e.Typeflag, e.Mode, e.Uid, e.Gid, e.Uname, e.Gname, e.ModTime.Unix(), e.Name))
		path := filepath.Join(folder, filepath.FromSlash(e.Name))
		var err error
		if e.Typeflag == tar.TypeDir {
			err = os.Mkdir(path, 0o755)
		} else {
			err = os.WriteFile(path, e.content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, e.FileInfo().Mode()); err != nil { // beyond the umask
			t.Fatal(err)
		}
	}
	const owner = ` 0:0 """" 0 `
	files := []string{
		"5 0755" + owner + "/etc/",
		"0 0644" + owner + "/etc/group",
		"0 0644" + owner + "/etc/passwd",
		"5 0755" + owner + "/etc/ssl/",
		"5 0755" + owner + "/etc/ssl/certs/",
		"0 0644" + owner + "/etc/ssl/certs/ca-certificates.crt",
		"0 0755" + owner + "/" + want.name,
		"5 1777" + owner + "/tmp/",
	}
	if want.name == "webhook" { // after /tmp
		files[6], files[7] = files[7], files[6]
	}
	if diff := cmp.Diff(files, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	users := fmt.Sprintf("root:x:0:0:root:/:/sbin/nologin\n%s:x:%d:%d:%[1]s:/:/sbin/nologin\n", want.account, want.uid, want.uid)
	if diff := cmp.Diff(users, string(readFile(t, filepath.Join(folder, "etc/passwd")))); diff != "" {
		t.Errorf("/etc/passwd (-want +got):\n%s", diff)
	}
	groups := fmt.Sprintf("root:x:0:\n%s:x:%d:\n", want.account, want.uid)
	if diff := cmp.Diff(groups, string(readFile(t, filepath.Join(folder, "etc/group")))); diff != "" {
		t.Errorf("/etc/group (-want +got):\n%s", diff)
	}
	checkRoots(t, readFile(t, filepath.Join(folder, "etc/ssl/certs/ca-certificates.crt")), rootsSum, certificates)
	return folder
}

// checkRoots holds the CA roots against images.json and what Debian has: not
// one of the machine's own CAs may be in.
func checkRoots(t *testing.T, bundle []byte, rootsSum string, certificates int) {
	t.Helper()
	debian, err := filepath.Glob("/usr/share/ca-certificates/mozilla/*.crt")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for rest := bundle; ; count++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
	}
	if sum(bundle) != rootsSum || count != certificates || count != len(debian) {
		t.Errorf("%d CA roots of SHA-256 %s; images.json has %d and %s, Debian has %d", count, sum(bundle), certificates, rootsSum, len(debian))
	}
}

// checkProgram sees that the program is a static one of its architecture, and
// starts it where it can.
func checkProgram(t *testing.T, folder string, want image, architecture string) {
	t.Helper()
	program, err := elf.Open(filepath.Join(folder, want.name))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[architecture]
	if program.Machine != machine {
		t.Errorf("the program is for %v; want %v", program.Machine, machine)
	}
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("the program has a segment %v: it is not static", segment.Type)
		}
	}
	if architecture != runtime.GOARCH {
		return
	}
	t.Run("starts with nothing else around it, as its user", func(t *testing.T) {
		if os.Geteuid() != 0 {
			missing(t, "changing the root needs root: run go test as root")
		}
		if got, want := inside(t.Context(), t, folder, want, "--version"), want.name+" version "+version+"\n"; got != want {
			t.Errorf("it printed %q; want %q", got, want)
		}
		if want.name != "issuer-sync" {
			return
		}
		// With files in /tmp and TLS between its parts.
		if got := inside(t.Context(), t, folder, want, "demo"); !strings.Contains(got, "done: a key was rotated") {
			t.Errorf("issuer-sync demo printed:\n%s", got)
		}
	})
}

// inside runs an image's program as a container would, but for the namespaces.
func inside(ctx context.Context, t *testing.T, folder string, want image, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, "/"+want.name, args...)
	cmd.Dir, cmd.Env = "/", []string{searchPath}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     folder,
		Credential: &syscall.Credential{Uid: uint32(want.uid), Gid: uint32(want.uid)},
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", want.name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
