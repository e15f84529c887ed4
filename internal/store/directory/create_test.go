//go:build unix

package directory_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/store/directory"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func TestNew(t *testing.T) {
	base := t.TempDir()
	file, link := filepath.Join(base, "file"), filepath.Join(base, "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink("nowhere", link)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, want string }{
		{
			"the parent is missing", base + "/missing/oidc",
			fmt.Sprintf("opening directory %q: its parent must exist: stat %s: no such file or directory", base+"/missing/oidc", base+"/missing"),
		},
		{"it is a file", file, fmt.Sprintf("opening directory %q: open %[1]s: not a directory", file)},
		{"it is a link to nowhere", link, fmt.Sprintf("opening directory %q: open %[1]s: no such file or directory", link)},
		{"it has no name", "", "directory without a path; want one whose parent exists"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := directory.New(c.path)
			wantError(t, err, c.want)
		})
	}
}

func TestDirectoryIsCreatedByTheFirstWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "oidc")
	s := open(t, dir+"/")
	for range 2 {
		if _, _, err := s.Read(t.Context(), oidc.JWKSPath); !errors.Is(err, oidc.ErrNotFound) {
			t.Errorf("got error %v, want %v", err, oidc.ErrNotFound)
		}
	}
	if err := write(t.Context(), s, oidc.JWKSPath, "{}", "a base"); !errors.Is(err, oidc.ErrConflict) {
		t.Errorf("got error %v, want %v", err, oidc.ErrConflict)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before the first write, the directory: got error %v, want %v", err, fs.ErrNotExist)
	}
	mustWrite(t, s, oidc.JWKSPath, "{}", "")
	if got := readJWKS(t, dir); got != "{}" {
		t.Errorf("the file holds %q", got)
	}
}

func TestDirectoryGone(t *testing.T) {
	for name, see := range map[string]func(*testing.T, *directory.Store, string) *directory.Store{
		"after a write": func(t *testing.T, s *directory.Store, _ string) *directory.Store {
			mustWrite(t, s, oidc.JWKSPath, "{}", "")
			return s
		},
		"after a read": func(t *testing.T, s *directory.Store, dir string) *directory.Store {
			if err := os.Mkdir(dir, 0o750); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.Read(t.Context(), oidc.JWKSPath); !errors.Is(err, oidc.ErrNotFound) {
				t.Fatal(err)
			}
			return s
		},
		"after the start": func(t *testing.T, _ *directory.Store, dir string) *directory.Store {
			if err := os.Mkdir(dir, 0o750); err != nil {
				t.Fatal(err)
			}
			return open(t, dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "oidc")
			s := see(t, open(t, dir), dir)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			_, _, err := s.Read(t.Context(), oidc.JWKSPath)
			if errors.Is(err, oidc.ErrNotFound) {
				t.Error("a directory that is gone is taken for an empty one")
			}
			wantError(t, err, fmt.Sprintf("reading %q in directory %q: open %[2]s: no such file or directory", oidc.JWKSPath, dir))
			wantError(t, write(t.Context(), s, oidc.JWKSPath, "{}", ""),
				fmt.Sprintf("writing %q in directory %q: open %[2]s: no such file or directory", oidc.JWKSPath, dir))
		})
	}
}

// TestDurability is about power failures: the content before the name, and
// then every directory up to the one that was created.
func TestDurability(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "oidc")
	s := open(t, dir)
	var synced []string
	s.OnSync(func(path string) error {
		_, err := os.Lstat(filepath.Join(dir, oidc.JWKSPath))
		synced = append(synced, fmt.Sprintf("%s, renamed %v", strings.TrimPrefix(filepath.Clean(path), parent), err == nil))
		return nil
	})
	version := mustWrite(t, s, oidc.JWKSPath, "old", "")
	want := []string{
		", renamed false", "/oidc/.issuer-sync/next, renamed false",
		"/oidc/openid/v1, renamed true", "/oidc/openid, renamed true", "/oidc, renamed true",
	}
	if diff := cmp.Diff(want, synced); diff != "" {
		t.Errorf("what was made durable (-want +got):\n%s", diff)
	}

	broken := errors.New("input/output error")
	s.OnSync(func(string) error { return broken })
	if err := write(t.Context(), s, oidc.JWKSPath, "new", version); !errors.Is(err, broken) {
		t.Errorf("got error %v, want %v", err, broken)
	}
	if got := readJWKS(t, dir); got != "old" {
		t.Errorf("what is not durable took the place of what is: %q", got)
	}
}
