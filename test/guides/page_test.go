// Package guides_test holds the pages for users to what they tell of: links and
// anchors, examples, and the tables of the guides that manifests or programs know.
package guides_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/docs"
	"github.com/issuer-sync/issuer-sync/test/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// The guides.
const (
	root          = "../.."
	migrationPage = root + "/docs/migration.md"
	awiPage       = root + "/docs/coming-from-awi.md"
	operatorsPage = root + "/docs/operators.md"
	securityPage  = root + "/docs/security.md"
)

// pages are all pages for users and contributors, by their path from here.
func pages(t *testing.T) (paths []string) {
	t.Helper()
	for _, glob := range []string{"/*.md", "/docs/*.md", "/docs/decisions/*.md"} {
		found, err := filepath.Glob(root + glob)
		if err != nil || len(found) == 0 {
			t.Fatalf("no pages match %q: %v", glob, err)
		}
		paths = append(paths, found...)
	}
	return paths
}

// fence is an example of a page, without its indentation.
type fence struct {
	line     int // of its first line
	language string
	text     string
}

// split returns a page's prose, with an empty line for each line of an example,
// and its examples.
func split(page string) (prose string, fences []fence) {
	var lines []string
	var open *fence
	var indent string
	for i, line := range strings.Split(page, "\n") {
		marker, isMarker := strings.CutPrefix(strings.TrimLeft(line, " "), "```")
		switch {
		case open == nil && isMarker:
			indent = line[:strings.IndexByte(line, '`')]
			open = &fence{line: i + 2, language: marker}
		case open == nil:
			lines = append(lines, line)
			continue
		case isMarker:
			fences = append(fences, *open)
			open = nil
		default:
			open.text += strings.TrimPrefix(line, indent) + "\n"
		}
		lines = append(lines, "")
	}
	return strings.Join(lines, "\n"), fences
}

// example returns the manifest of the migration page that has the name in its
// first line.
func example(t *testing.T, name string) string {
	t.Helper()
	_, fences := split(docs.Page(t, migrationPage))
	for _, f := range fences {
		if strings.HasPrefix(f.text, "# "+name+"\n") {
			return f.text
		}
	}
	t.Fatalf("the page has no example %s", name)
	return ""
}

// anchors are what links to a page may name: its headings, as GitHub makes
// anchors of them.
func anchors(page string) (found []string) {
	prose, _ := split(page)
	for _, match := range regexp.MustCompile(`(?m)^#{1,6} (.+)$`).FindAllStringSubmatch(prose, -1) {
		text := regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`).ReplaceAllString(match[1], "$1")
		text = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(text), "")
		found = append(found, strings.ReplaceAll(text, " ", "-"))
	}
	return found
}

// Every link leads somewhere: to a file of the tree, and to a heading of it.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	count := 0
	headings := map[string][]string{} // of each page
	for _, path := range pages(t) {
		prose, _ := split(docs.Page(t, path))
		prose = regexp.MustCompile("`[^`\n]*`").ReplaceAllString(prose, "")
		for _, match := range link.FindAllStringSubmatch(prose, -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			count++
			file, anchor, _ := strings.Cut(match[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", path, match[1], err)
				continue
			}
			if anchor == "" || !strings.HasSuffix(target, ".md") {
				continue
			}
			if headings[target] == nil {
				headings[target] = anchors(docs.Page(t, target))
			}
			if !slices.Contains(headings[target], anchor) {
				t.Errorf("%s links to %s, which has no such heading", path, match[1])
			}
		}
	}
	if count < 150 {
		t.Errorf("%d links were found; want the hundreds that there are", count)
	}
}

// A heading's anchor is the one that GitHub makes.
func TestAnchors(t *testing.T) {
	page := "# At 3 a.m.\n## `verify`, and _what_ it checks\n```sh\n# no heading\n```\n### [A link](x.md): 2–5\n"
	want := []string{"at-3-am", "verify-and-_what_-it-checks", "a-link-25"}
	if got := anchors(page); !slices.Equal(got, want) {
		t.Errorf("anchors %q; want %q", got, want)
	}
}
