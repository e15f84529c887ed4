//go:build unix

package directory_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/store/directory"
	"github.com/issuer-sync/issuer-sync/internal/store/storetest"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Open {
		dir := filepath.Join(t.TempDir(), "oidc")
		return func(t *testing.T, _ storetest.Wrap) oidc.Store { return open(t, dir) }
	})
}

func TestLayout(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077)) // as a hardened service has it
	dir := filepath.Join(t.TempDir(), "oidc")
	s := open(t, dir)
	version := mustWrite(t, s, oidc.JWKSPath, "first", "")
	mustWrite(t, s, oidc.JWKSPath, `{"keys":[]}`, version)
	mustWrite(t, s, oidc.DiscoveryPath, "{}", "")
	want := []string{
		"drwxr-xr-x .",
		"drwxr-xr-x .issuer-sync",
		"-rw------- .issuer-sync/lock",
		"drwxr-xr-x .well-known",
		"-rw-r--r-- .well-known/openid-configuration",
		"drwxr-xr-x openid",
		"drwxr-xr-x openid/v1",
		"-rw-r--r-- openid/v1/jwks",
	}
	if diff := cmp.Diff(want, list(t, dir)); diff != "" {
		t.Errorf("the directory after three writes (-want +got):\n%s", diff)
	}
	if got := readJWKS(t, dir); got != `{"keys":[]}` {
		t.Errorf("the file holds %q", got)
	}
}

func TestCrashBeforeRename(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	version := mustWrite(t, s, oidc.JWKSPath, "old", "")
	left := filepath.Join(dir, ".issuer-sync/next")
	if err := os.WriteFile(left, []byte("hal"), 0o600); err != nil {
		t.Fatal(err)
	}
	if object, _, err := s.Read(t.Context(), oidc.JWKSPath); err != nil || string(object.Body) != "old" {
		t.Errorf("got %q and error %v, want %q", object.Body, err, "old")
	}
	mustWrite(t, s, oidc.JWKSPath, "new", version)
	if got := readJWKS(t, dir); got != "new" {
		t.Errorf("the file holds %q, want %q", got, "new")
	}
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what the crash left: got error %v, want %v", err, fs.ErrNotExist)
	}
}

// TestVersion is about a paused writer: its base must never fit again, though
// bytes and even inode come back.
func TestVersion(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	future := time.Now().Add(time.Hour)
	version := mustWrite(t, s, oidc.JWKSPath, "same", "")
	if err := os.Chtimes(filepath.Join(dir, oidc.JWKSPath), future, future); err != nil {
		t.Fatal(err)
	}
	_, base, err := s.Read(t.Context(), oidc.JWKSPath)
	if err != nil || base == version {
		t.Fatalf("after a change of the file's times: got version %q and error %v, want another version", base, err)
	}
	seen := []oidc.Version{version, base}
	for range 200 {
		base = mustWrite(t, s, oidc.JWKSPath, "same", base)
		if slices.Contains(seen, base) {
			t.Fatalf("version %s came twice", base)
		}
		seen = append(seen, base)
	}
	info, err := os.Stat(filepath.Join(dir, oidc.JWKSPath))
	if err != nil {
		t.Fatal(err)
	}
	if !info.ModTime().After(future) {
		t.Errorf("after the clock went back, the file is from %s, want later than %s", info.ModTime(), future)
	}
}

func TestEditInPlace(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	base := mustWrite(t, s, oidc.JWKSPath, "ours", "")
	name := filepath.Join(dir, oidc.JWKSPath)
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("hers"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, info.ModTime(), info.ModTime()); err != nil { // she hides it
		t.Fatal(err)
	}
	if err := write(t.Context(), s, oidc.JWKSPath, "new", base); !errors.Is(err, oidc.ErrConflict) {
		t.Errorf("got error %v, want %v", err, oidc.ErrConflict)
	}
}

func TestDeleted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	base := mustWrite(t, s, oidc.JWKSPath, "{}", "")
	if err := os.RemoveAll(filepath.Join(dir, "openid")); err != nil {
		t.Fatal(err)
	}
	if err := write(t.Context(), s, oidc.JWKSPath, "{}", base); !errors.Is(err, oidc.ErrConflict) {
		t.Errorf("got error %v, want %v", err, oidc.ErrConflict)
	}
	mustWrite(t, s, oidc.JWKSPath, "{}", "")
}

func TestLockedByAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	version := mustWrite(t, s, oidc.JWKSPath, "old", "")
	holder := start(t, "hold", dir)
	holder.await(t, "locked")

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := write(ctx, s, oidc.JWKSPath, "new", version)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, want %v", err, context.DeadlineExceeded)
	}
	wantError(t, err, fmt.Sprintf("writing %q in directory %q: waiting for the lock %q that another writer holds: context deadline exceeded",
		oidc.JWKSPath, dir, ".issuer-sync/lock"))
	if object, _, err := s.Read(t.Context(), oidc.JWKSPath); err != nil || string(object.Body) != "old" {
		t.Errorf("while it is locked, got %q and error %v, want %q", object.Body, err, "old")
	}

	waiting := make(chan error)
	go func() { waiting <- write(t.Context(), s, oidc.JWKSPath, "new", version) }()
	holder.kill(t)
	if err := <-waiting; err != nil {
		t.Errorf("after the holder died: %v", err)
	}
}

// TestKill kills writers wherever they are, while readers look at the file as
// a web server does.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	mustWrite(t, s, oidc.JWKSPath, body(0), "")
	ctx, done := context.WithCancel(t.Context())
	defer done()
	readers := make(chan error, 2)
	for range cap(readers) {
		go func() { readers <- watch(ctx, filepath.Join(dir, oidc.JWKSPath)) }()
	}
	const kills = 20
	for i := range kills {
		writer := start(t, "write", dir)
		writer.await(t, "writing")
		time.Sleep(time.Duration(i) * 300 * time.Microsecond) // anywhere in a write
		writer.kill(t)
	}
	done()
	for range cap(readers) {
		if err := <-readers; err != nil {
			t.Errorf("reading while writers die: %v", err)
		}
	}
	object, version, err := s.Read(t.Context(), oidc.JWKSPath)
	if err != nil {
		t.Fatal(err)
	}
	n, err := number(object.Body)
	if err != nil || n < kills {
		t.Errorf("after %d writers, each of which wrote at least once, the counter is %d (error %v)", kills, n, err)
	}
	mustWrite(t, s, oidc.JWKSPath, body(n+1), version)
	want := []string{".issuer-sync", ".issuer-sync/lock", "openid", "openid/v1", "openid/v1/jwks"}
	var got []string
	for _, entry := range list(t, dir)[1:] {
		got = append(got, strings.Fields(entry)[1])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
}

// watch reads the file until ctx ends, and fails if it is torn or goes back.
func watch(ctx context.Context, name string) error {
	last := 0
	for ctx.Err() == nil {
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		n, err := number(content)
		if err != nil {
			return err
		}
		if n < last {
			return fmt.Errorf("the counter went from %d to %d", last, n)
		}
		last = n
	}
	return nil
}

// TestWriteFailsHalfway has a process that may write files of 64 KiB at most,
// which fails as on a full disk: after a part of the bytes.
func TestWriteFailsHalfway(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	version := mustWrite(t, s, oidc.JWKSPath, "old", "")
	limited := start(t, "limited", dir)
	limited.await(t, fmt.Sprintf("writing %q in directory %q: write %[2]s/.issuer-sync/next: file too large", oidc.JWKSPath, dir))
	if _, got, err := s.Read(t.Context(), oidc.JWKSPath); err != nil || got != version {
		t.Errorf("got version %q and error %v, want version %q", got, err, version)
	}
	if _, err := os.Lstat(filepath.Join(dir, ".issuer-sync/next")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what it wrote: got error %v, want %v", err, fs.ErrNotExist)
	}
}

func TestWithoutRights(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	version := mustWrite(t, s, oidc.JWKSPath, "old", "")
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o555)); err != nil { // others come as far as this
		t.Fatal(err)
	}
	powerless := start(t, "powerless", dir)
	uid := os.Geteuid()
	if uid == 0 {
		uid = nobody
	}
	powerless.await(t, fmt.Sprintf("writing %q in directory %q: openat .issuer-sync/lock: permission denied: "+
		"uid %d needs the right to read and write here", oidc.JWKSPath, dir, uid))
	if _, got, err := s.Read(t.Context(), oidc.JWKSPath); err != nil || got != version {
		t.Errorf("got version %q and error %v, want version %q", got, err, version)
	}
}

// Somebody else's file of any size can be seen for what it is, and replaced.
func TestHugeFileIsReplaced(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "huge"), make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	object, version, err := s.Read(t.Context(), "huge")
	if err != nil || len(object.Body) != 1<<20+1 {
		t.Fatalf("read %d bytes, %v; want them cut behind 1 MiB and a byte", len(object.Body), err)
	}
	if err := write(t.Context(), s, "huge", "{}", version); err != nil {
		t.Error(err)
	}
}

func TestStrangeFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := errors.Join(
		os.WriteFile(outside, []byte("secret"), 0o600),
		os.Symlink(outside, filepath.Join(dir, "link")),
		os.Symlink(filepath.Dir(outside), filepath.Join(dir, "linked")),
		os.Mkdir(filepath.Join(dir, "directory"), 0o750),
	); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, want string }{
		{"link", "openat link: path escapes from parent"},
		{"linked/outside", "openat linked/outside: path escapes from parent"},
		{"directory", "want a regular file, it is drwxr-x---"},
		{".issuer-sync/lock", `object path ".issuer-sync/lock": it is the store's own file`},
		{".issuer-sync/next", `object path ".issuer-sync/next": it is the store's own file`},
	} {
		t.Run(c.path, func(t *testing.T) {
			_, _, err := s.Read(t.Context(), c.path)
			wantError(t, err, fmt.Sprintf("reading %q in directory %q: %s", c.path, dir, c.want))
			wantError(t, write(t.Context(), s, c.path, "{}", ""), fmt.Sprintf("writing %q in directory %q: %s", c.path, dir, c.want))
		})
	}
	if err := write(t.Context(), s, "linked/new", "{}", ""); err == nil {
		t.Error("writing through a link out of the directory: got no error")
	}
	if got := list(t, filepath.Dir(outside)); len(got) != 2 {
		t.Errorf("outside of the directory there is %q", got)
	}
}

// process is a child of the test: see TestMain.
type process struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func start(t *testing.T, role, dir string) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, role, dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, bufio.NewScanner(out)}
	t.Cleanup(func() { p.kill(t) })
	return p
}

func (p *process) await(t *testing.T, want string) {
	t.Helper()
	if !p.lines.Scan() || p.lines.Text() != want {
		t.Fatalf("the other process said\n\t%s\nwant\n\t%s", p.lines.Text(), want)
	}
}

// kill ends the process with SIGKILL, if it still runs, and waits for it.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	_ = p.cmd.Wait() // it was killed: that is no news
}

func open(t *testing.T, dir string) *directory.Store {
	t.Helper()
	s, err := directory.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(ctx context.Context, s *directory.Store, path, body string, base oidc.Version) error {
	_, err := s.Write(ctx, oidc.Object{Path: path, Body: []byte(body)}, base)
	return err
}

func mustWrite(t *testing.T, s *directory.Store, path, body string, base oidc.Version) oidc.Version {
	t.Helper()
	version, err := s.Write(t.Context(), oidc.Object{Path: path, Body: []byte(body)}, base)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("got error\n\t%v\nwant\n\t%s", err, want)
	}
}

func readJWKS(t *testing.T, dir string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, oidc.JWKSPath))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// list returns mode and path of all that is in the directory, itself included.
func list(t *testing.T, dir string) []string {
	t.Helper()
	var entries []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		entries = append(entries, info.Mode().String()+" "+path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}
