package docs_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/test/docs"
)

const (
	page = "testdata/page.md"
	code = "testdata/*.go"
)

// complaints is a test that notes what it would fail with.
type complaints struct {
	testing.TB
	all []string
}

// Errorf implements testing.TB.
func (c *complaints) Errorf(format string, args ...any) {
	c.all = append(c.all, fmt.Sprintf(format, args...))
}

// A section has its smaller sections and its examples, and ends at the next one.
func TestDocsRows(t *testing.T) {
	for heading, want := range map[string][][]string{
		"## Log":    {{"`serving on 80`", "info"}, {"`reading \"a\": b`", ""}, {"`stopped`", "info"}},
		"### Rarer": {{"`stopped`", "info"}},
	} {
		got := docs.Rows(t, docs.Section(t, docs.Page(t, page), heading), 2)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", heading, diff)
		}
	}
}

// A format is found in a literal, a sum and a call, but not in tests.
func TestDocsCalls(t *testing.T) {
	got := docs.Calls{"log.Info": 0, "Errorf": 0, "Attrs": 1}.In(t, code)
	want := []string{"serving on %d", "reading %[1]q: %v", "stopped"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("formats (-want +got):\n%s", diff)
	}
}

// Either side tells what the other lacks.
func TestDocsMatchAll(t *testing.T) {
	for name, c := range map[string]struct {
		formats, texts, want []string
	}{
		"all match":           {[]string{"a %d.", "b", "b"}, []string{"a 1.", "a 2.", "b"}, nil},
		"the page lacks one":  {[]string{"a %d.", "b"}, []string{"a 1."}, []string{"the page has no example of ^b$"}},
		"the page has more":   {[]string{"a %d."}, []string{"a 1.", "a 1!"}, []string{`the page has what is said nowhere: ["a 1!"]`}},
		"the page is another": {[]string{"a"}, []string{"b"}, []string{"the page has no example of ^a$", `the page has what is said nowhere: ["b"]`}},
	} {
		t.Run(name, func(t *testing.T) {
			var patterns []string
			for _, format := range c.formats {
				patterns = append(patterns, "^"+docs.Pattern(format)+"$")
			}
			got := &complaints{TB: t}
			docs.MatchAll(got, patterns, c.texts)
			if diff := cmp.Diff(c.want, got.all); diff != "" {
				t.Errorf("complaints (-want +got):\n%s", diff)
			}
		})
	}
}

// Words are looked for across lines, and between verbs.
func TestDocsHasWords(t *testing.T) {
	got := &complaints{TB: t}
	for _, format := range []string{"%s: the file has no keys; want %d", "%q is short", "the file has no certificates: %w"} {
		docs.HasWords(got, "If the file has no\nkeys; want", format)
	}
	if diff := cmp.Diff([]string{`the page does not have "the file has no certificates"`}, got.all); diff != "" {
		t.Errorf("complaints (-want +got):\n%s", diff)
	}
}
