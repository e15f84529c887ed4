package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Parse parses the Go files of a glob pattern, but not tests. It ends the test
// if there are none.
func Parse(t testing.TB, glob string) (set *token.FileSet, files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(glob)
	if err != nil {
		t.Fatal(err)
	}
	set = token.NewFileSet()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		t.Fatalf("no files match %q", glob)
	}
	return set, files
}

// Inspect visits all code that [Parse] finds.
func Inspect(t testing.TB, visit func(ast.Node), globs ...string) {
	t.Helper()
	for _, glob := range globs {
		_, files := Parse(t, glob)
		for _, file := range files {
			ast.Inspect(file, func(n ast.Node) bool {
				visit(n)
				return true
			})
		}
	}
}

// Calls are functions whose calls hold what users read. It maps a name, or the
// end of one such as "Info" or "log.Info", to the index of that argument.
type Calls map[string]int

// In returns the formats of the calls that [Inspect] visits. Left out is what
// has no words of its own. It ends the test if there are no others.
func (c Calls) In(t testing.TB, globs ...string) (formats []string) {
	t.Helper()
	Inspect(t, func(n ast.Node) {
		if call, ok := n.(*ast.CallExpr); ok {
			if format := c.format(call); format != unknown {
				formats = append(formats, format)
			}
		}
	}, globs...)
	if len(formats) == 0 {
		t.Fatalf("no calls of %v in %q", c, globs)
	}
	return formats
}

func (c Calls) format(call *ast.CallExpr) string {
	for name, index := range c {
		if strings.HasSuffix("."+types.ExprString(call.Fun), "."+name) && index < len(call.Args) {
			return Format(call.Args[index])
		}
	}
	return unknown
}

// unknown is the format of a text that runs alone can tell.
const unknown = "%v"

// Format returns the format of a text in code: of a literal, of a sum, of the
// first argument of fmt.Sprintf or any other call. Of anything else it is "%v".
func Format(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return text
		}
	case *ast.BinaryExpr:
		return Format(e.X) + Format(e.Y)
	case *ast.CallExpr:
		if len(e.Args) > 0 {
			return Format(e.Args[0])
		}
	}
	return unknown
}

// Pattern returns a regular expression, without anchors, of what fmt makes of a
// format.
func Pattern(format string) string {
	words := verbs().Split(format, -1)
	for i := range words {
		words[i] = regexp.QuoteMeta(words[i])
	}
	return strings.Join(words, ".+")
}

func verbs() *regexp.Regexp { return regexp.MustCompile(`%(?:\[\d\])?[a-z]`) }
