package exchange_test

import (
	"go/ast"
	"go/types"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/test/docs"
)

const docsPage = "../../docs/troubleshooting.md"

// The page for users has a row for each code that has a hint, and for no other.
func TestDocsHaveEveryCode(t *testing.T) {
	var hinted, documented []string
	docs.Inspect(t, func(n ast.Node) {
		if clause, ok := n.(*ast.CaseClause); ok {
			for _, e := range clause.List {
				if code := docs.Format(e); regexp.MustCompile(`^\d{5,}$`).MatchString(code) {
					hinted = append(hinted, code)
				}
			}
		}
	}, "hints.go")
	for _, row := range regexp.MustCompile(`(?m)^\| AADSTS[^|]*\|`).FindAllString(docs.Page(t, docsPage), -1) {
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
	page := docs.Page(t, docsPage)
	found := 0
	docs.Inspect(t, func(n ast.Node) {
		format := said(n)
		if strings.Trim(format, "%v") != "" && format != "panic of type %v" { // a fault of this program's own
			found++
			docs.HasWords(t, page, format)
		}
	}, "tokenfile.go", "answer.go", "client.go", "cache.go", "failure.go")
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
			return docs.Format(n.Value)
		}
	case *ast.AssignStmt:
		if types.ExprString(n.Lhs[0]) == "e.Detail" {
			return docs.Format(n.Rhs[0])
		}
	case *ast.ReturnStmt:
		if len(n.Results) == 2 { // a text and an error, or a value and a text as an error
			return docs.Format(n.Results[0]) + docs.Format(n.Results[1])
		}
	case *ast.CallExpr:
		switch types.ExprString(n.Fun) {
		case "unusable":
			return docs.Format(n.Args[0])
		case "noToken":
			return docs.Format(n.Args[1])
		}
	}
	return ""
}
