package servers_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

// checkout makes a tree that has only the parts' sources, and works in it.
func checkout(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, file := range []string{"test/kube/go.mod", "test/kube/go.sum", "test/kube/main.go", "test/azurite/package-lock.json"} {
		write(t, filepath.Join(root, file), file)
	}
	inner := filepath.Join(root, "pkg", "inner")
	if err := os.MkdirAll(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(inner)
	return root
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

func findParts(t *testing.T) servers.Parts {
	t.Helper()
	parts, err := servers.FindParts()
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

func TestFindPartsNamesThemAfterTheirSources(t *testing.T) {
	t.Setenv(servers.CacheVariable, "/cache")
	root := checkout(t)
	before := findParts(t)
	if want := regexp.MustCompile(`^/cache/kube-[0-9a-f]{16}/kube-servers$`); !want.MatchString(before.KubeServers) {
		t.Errorf("KubeServers %q; want %v", before.KubeServers, want)
	}
	if want := regexp.MustCompile(`^/cache/azurite-[0-9a-f]{16}/node_modules$`); !want.MatchString(before.Azurite) {
		t.Errorf("Azurite %q; want %v", before.Azurite, want)
	}
	for _, file := range []string{"go.mod", "go.sum", "main.go"} {
		write(t, filepath.Join(root, "test/kube", file), "changed")
		after := findParts(t)
		if after.KubeServers == before.KubeServers || after.Azurite != before.Azurite {
			t.Errorf("%s changed: %+v; before %+v", file, after, before)
		}
		before = after
	}
	write(t, filepath.Join(root, "test/azurite/package-lock.json"), "changed")
	if after := findParts(t); after.KubeServers != before.KubeServers || after.Azurite == before.Azurite {
		t.Errorf("package-lock.json changed: %+v; before %+v", after, before)
	}
}

func TestFindPartsCacheIsTheUsersByDefault(t *testing.T) {
	checkout(t)
	t.Setenv(servers.CacheVariable, "")
	t.Setenv("XDG_CACHE_HOME", "/home/someone/.cache")
	if got := findParts(t).Cache; got != "/home/someone/.cache/issuer-sync" {
		t.Errorf("cache %q", got)
	}
}

func TestFindPartsRefuses(t *testing.T) {
	t.Run("a relative cache", func(t *testing.T) {
		checkout(t)
		t.Setenv(servers.CacheVariable, "cache")
		_, err := servers.FindParts()
		if want := `reading ISSUER_SYNC_TEST_CACHE: "cache" is relative; want an absolute path`; err == nil || err.Error() != want {
			t.Errorf("error %v; want %s", err, want)
		}
	})
	t.Run("a folder outside a checkout", func(t *testing.T) {
		dir := t.TempDir()
		t.Chdir(dir)
		_, err := servers.FindParts()
		want := `finding the project's tree: no test/kube/go.sum in "` + dir + `" or above; run this inside a checkout`
		if err == nil || err.Error() != want {
			t.Errorf("error %v; want %s", err, want)
		}
	})
}

func TestFindNode(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	node := filepath.Join(bin, "node")
	for _, test := range []struct {
		name, script, path, err string
	}{
		{
			name: "none in PATH",
			err:  "finding Node.js: there is no node in PATH; " + servers.ErrNode.Error(),
		},
		{
			name:   "too old",
			script: "#!/bin/sh\necho v18.20.4; echo /opt/node",
			err:    `finding Node.js: "` + node + `" is version "v18.20.4"; ` + servers.ErrNode.Error(),
		},
		{
			name:   "behind a version manager",
			script: "#!/bin/sh\necho v20.1.0; echo /opt/node",
			path:   "/opt/node",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.script != "" {
				write(t, node, test.script)
			}
			path, err := servers.FindNode(t.Context())
			if path != test.path || (err == nil) != (test.err == "") || err != nil && (err.Error() != test.err || !errors.Is(err, servers.ErrNode)) {
				t.Errorf("path %q, error %v; want %q, %q", path, err, test.path, test.err)
			}
		})
	}
}
