package exchange_test

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The page for users has a row for each code that has a hint, and for no other.
func TestDocsHaveEveryCode(t *testing.T) {
	var hinted, documented []string
	inspect(t, "hints.go", func(n ast.Node) {
		if clause, ok := n.(*ast.CaseClause); ok {
			for _, e := range clause.List {
				if code := literal(e); regexp.MustCompile(`^\d{5,}$`).MatchString(code) {
					hinted = append(hinted, code)
				}
			}
		}
	})
	for _, row := range regexp.MustCompile(`(?m)^\| AADSTS[^|]*\|`).FindAllString(page(t), -1) {
		for _, match := range regexp.MustCompile(`AADSTS(\d+)`).FindAllStringSubmatch(row, -1) {
			documented = append(documented, match[1])
		}
	}
	slices.Sort(hinted)
	hinted = slices.Compact(hinted) // by names some again
	slices.Sort(documented)
	if diff := cmp.Diff(hinted, documented); diff != "" || len(hinted) < 20 {
		t.Errorf("%d codes (-hints.go +page):\n%s", len(hinted), diff)
	}
}

// The page has the words of every failure that says what was found.
func TestDocsHaveEveryFailure(t *testing.T) {
	text := strings.Join(strings.Fields(page(t)), " ")
	found := 0
	for _, file := range []string{"tokenfile.go", "answer.go", "client.go", "cache.go", "failure.go"} {
		inspect(t, file, func(n ast.Node) {
			format := said(n)
			if format == "" {
				return
			}
			found++
			for _, words := range regexp.MustCompile(`%[a-z]`).Split(format, -1) {
				if words = strings.Trim(words, " ;:,"); len(words) > 10 && !strings.Contains(text, words) {
					t.Errorf("the page does not have %q", words)
				}
			}
		})
	}
	if found < 20 {
		t.Errorf("%d failures were found in the code", found)
	}
}

// said returns what a piece of code says of a failure: as a Detail, or to those
// that make one of it.
func said(n ast.Node) string {
	switch n := n.(type) {
	case *ast.KeyValueExpr:
		if types.ExprString(n.Key) == "Detail" {
			return literal(n.Value)
		}
	case *ast.AssignStmt:
		if types.ExprString(n.Lhs[0]) == "e.Detail" {
			return literal(n.Rhs[0])
		}
	case *ast.ReturnStmt:
		if len(n.Results) == 2 { // a text and an error, or a value and a text as an error
			return literal(n.Results[0]) + literal(n.Results[1])
		}
	case *ast.CallExpr:
		switch types.ExprString(n.Fun) {
		case "unusable":
			return literal(n.Args[0])
		case "noToken":
			return literal(n.Args[1])
		}
	}
	return ""
}

// literal is the value of a string literal, or the format of fmt.Sprintf and
// the like, or "".
func literal(e ast.Expr) string {
	if call, ok := e.(*ast.CallExpr); ok && len(call.Args) > 0 {
		e = call.Args[0]
	}
	if basic, ok := e.(*ast.BasicLit); ok && basic.Kind == gotoken.STRING {
		text, _ := strconv.Unquote(basic.Value) // it was parsed
		return text
	}
	return ""
}

func inspect(t *testing.T, name string, visit func(ast.Node)) {
	t.Helper()
	file, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		visit(n)
		return true
	})
}

func page(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "docs", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
