package depcheck_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// imports is who imports whom, test files aside.
type imports map[string][]string

// listImports asks the go command for the module's packages and for
// everything that they link, as the released binaries are built.
func listImports(t *testing.T) (graph imports, standard map[string]bool) {
	t.Helper()
	readTree(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports,Standard", module+"/...")
	cmd.Env = append(cmd.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v\n%s", err, stderr.String())
	}
	graph, standard = imports{}, map[string]bool{}
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var p struct {
			ImportPath string
			Imports    []string
			Standard   bool
		}
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return graph, standard
		case err != nil:
			t.Fatalf("reading the list of packages: %v", err)
		}
		graph[p.ImportPath] = p.Imports
		standard[p.ImportPath] = p.Standard
	}
}

// readTree reads the module's folders, so that the test cache takes notice of
// them: it sees what a test opens itself, not what the go command opens for it.
func readTree(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("../..", func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "node_modules") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatalf("reading the module's folders: %v", err)
	}
}

// below reports whether a package path is one of the patterns or below one.
func below(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		return path == absolute(pattern) || strings.HasPrefix(path, absolute(pattern)+"/")
	})
}

// absolute completes the pattern of a package of ours.
func absolute(pattern string) string {
	first, _, _ := strings.Cut(pattern, "/")
	if slices.Contains([]string{"cmd", "internal", "pkg", "test"}, first) {
		return module + "/" + pattern
	}
	return pattern
}

// bound are the packages that the rule binds, sorted.
func (r rule) bound(graph imports) []string {
	var found []string
	for path := range graph {
		if below(path, r.packages) && !below(path, r.except) {
			found = append(found, path)
		}
	}
	slices.Sort(found)
	return found
}

// breaches says, for each import that the rule forbids to the package, how it
// comes about. Of several ways it shows a shortest one; what stands behind a
// forbidden import is not reported again.
func (r rule) breaches(graph imports, standard map[string]bool, start string) []string {
	var found []string
	via := map[string]string{start: ""}
	for queue := []string{start}; len(queue) > 0; queue = queue[1:] {
		importer := queue[0]
		for _, path := range graph[importer] {
			if _, seen := via[path]; seen {
				continue
			}
			via[path] = importer
			switch {
			case r.forbids(path, standard[path], importer == start):
				found = append(found, fmt.Sprintf("%s: %s\n\t%s", relative(start), r.why, chain(via, path)))
			case !standard[path]:
				queue = append(queue, path)
			}
		}
	}
	return found
}

func (r rule) forbids(path string, standard, directly bool) bool {
	if below(path, r.never) || directly && below(path, r.direct) {
		return true
	}
	return r.only != nil && !standard && !below(path, r.only) && !below(path, r.packages)
}

// chain writes the way to a package, one import a line.
func chain(via map[string]string, path string) string {
	var way []string
	for ; path != ""; path = via[path] {
		way = append(way, relative(path))
	}
	slices.Reverse(way)
	return strings.Join(way, "\n\t  imports ")
}

func relative(path string) string { return strings.TrimPrefix(path, module+"/") }
