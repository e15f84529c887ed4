// Package docs holds pages for users against the code, in tests: [Page],
// [Section] and [Rows] read the page, [Parse], [Inspect] and [Calls] the code.
// What the code says is a format of package fmt; [Pattern] is what comes of one.
package docs

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Page returns a file's text, by its path from the test's folder.
func Page(t testing.TB, path string) string {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// Section returns what is under a heading, smaller headings included. The
// heading is a whole line, such as "## Settings"; the page's title is none.
func Section(t testing.TB, page, heading string) string {
	t.Helper()
	_, section, ok := strings.Cut(page, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("the page has no heading %q", heading)
	}
	// One # alone is a title, or a comment in an example.
	next := regexp.MustCompile(fmt.Sprintf(`(?m)^##{1,%d} `, strings.IndexByte(heading, ' ')-1))
	return next.Split(section, 2)[0]
}

// Rows returns the cells, without the space around them, of the tables that have
// this many columns. Heads are left out. It ends the test if there are no rows.
func Rows(t testing.TB, section string, columns int) (rows [][]string) {
	t.Helper()
	for line := range strings.SplitSeq(section, "\n") {
		line, isRow := strings.CutPrefix(line, "|")
		cells := strings.Split(strings.TrimSuffix(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !isRow || len(cells) != columns:
		case cells[0] == "---":
			rows = rows[:len(rows)-1] // the head
		default:
			rows = append(rows, cells)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("the page has no table of %d columns here:\n%s", columns, section)
	}
	return rows
}

// MatchAll wants each regular expression to match one of the texts, which are
// the page's, and each text to be matched by one.
func MatchAll(t testing.TB, patterns, texts []string) {
	t.Helper()
	unmatched := slices.Clone(texts)
	for _, pattern := range slices.Compact(slices.Sorted(slices.Values(patterns))) {
		matches := regexp.MustCompile(pattern).MatchString
		if !slices.ContainsFunc(texts, matches) {
			t.Errorf("the page has no example of %s", pattern)
		}
		unmatched = slices.DeleteFunc(unmatched, matches)
	}
	if len(unmatched) > 0 {
		t.Errorf("the page has what is said nowhere: %q", unmatched)
	}
}

// HasWords wants the page to have the words of a format between its verbs. Where
// the page's lines break does not matter, nor do ten characters or fewer.
func HasWords(t testing.TB, page, format string) {
	t.Helper()
	page = strings.Join(strings.Fields(page), " ")
	for _, words := range verbs().Split(format, -1) {
		if words = strings.Trim(words, " ;:,"); len(words) > 10 && !strings.Contains(page, words) {
			t.Errorf("the page does not have %q", words)
		}
	}
}
