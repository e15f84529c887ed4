package main

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/metadata"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

// The page has every flag and variable of every command, with its default.
func TestDocsHaveEverySetting(t *testing.T) {
	for _, c := range commands() {
		var want, got []string
		for _, s := range c.settings {
			want = append(want, fmt.Sprintf("%s default %s", s.names(), s.fallback))
		}
		for _, row := range docsRows(docsSection(t, "### proxy "+c.name), 4) {
			if !strings.HasPrefix(row[2], "`") { // words, which stand for an empty default
				row[2] = ""
			}
			got = append(got, strings.ReplaceAll(strings.Trim(row[0]+", "+row[1], ", ")+" default "+row[2], "`", ""))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("proxy %s (-code +page):\n%s", c.name, diff)
		}
	}
	if row := fmt.Sprintf("| `GOGC` | %d |", gcPercent); !strings.Contains(docs(t), row) {
		t.Errorf("the page does not have %s", row)
	}
}

// The page names no flag that does not exist, here or of the webhook.
func TestDocsNameFlagsThatExist(t *testing.T) {
	known := []string{"help", "proxy-mode", "native-sidecar"}
	for _, c := range commands() {
		for _, s := range c.settings {
			known = append(known, s.flag)
		}
	}
	for _, match := range regexp.MustCompile("(?m)(?:`|^proxy.* )--([a-z-]+)").FindAllStringSubmatch(docs(t), -1) {
		if !slices.Contains(known, match[1]) {
			t.Errorf("the page has --%s, which does not exist", match[1])
		}
	}
}

// The page has each refusal of a request, with status and reason, and no others.
func TestDocsHaveEveryRefusal(t *testing.T) {
	var patterns []string
	inspect(t, func(n ast.Node) {
		literal, ok := n.(*ast.CompositeLit)
		if !ok || types.ExprString(literal.Type) != "refusal" {
			return
		}
		status, fields := "400", map[string]ast.Expr{}
		for _, e := range literal.Elts {
			field := e.(*ast.KeyValueExpr)
			fields[types.ExprString(field.Key)] = field.Value
		}
		if name, ok := fields["status"]; ok {
			status = map[string]string{"NotFound": "404", "MethodNotAllowed": "405", "RequestEntityTooLarge": "413"}[strings.TrimPrefix(types.ExprString(name), "http.Status")]
		}
		patterns = append(patterns, fmt.Sprintf("^%s `%s` `%s`", status, textOf(fields["reason"]), textOf(fields["text"])))
	}, "../../internal/metadata")
	matchAll(t, patterns, docsRows(docsSection(t, "### Refusals"), 3))
}

// textOf returns a pattern of what a text, or a format, comes to.
func textOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(e.Value) // it was parsed
		return regexp.MustCompile(`%[a-z]`).ReplaceAllLiteralString(regexp.QuoteMeta(text), ".+")
	case *ast.BinaryExpr:
		return textOf(e.X) + textOf(e.Y)
	case *ast.CallExpr: // of fmt.Sprintf
		return textOf(e.Args[0])
	default:
		return ".+"
	}
}

// The page has what every kind of failure is answered with. Of two kinds the
// cache sets the time.
func TestDocsHaveEveryFailure(t *testing.T) {
	section := docsSection(t, "### When there is no access token")
	for kind, row := range map[exchange.Kind]string{
		exchange.Invalid: "| `%s` | %d | `%s` |%s |", exchange.Rejected: "| `%s` | %d | Entra's, else `%s` |%s |",
		exchange.Throttled: "| `%s` | %d | `%s` |", exchange.Unavailable: "| `%s` | %d | `%s` |", exchange.NoToken: "| `%s` | %d | `%s` |%s |",
		exchange.Expired: "| `%s` | %d | `%s` | %s |",
	} {
		handler, err := metadata.New(metadata.Config{Source: noSource{&exchange.Error{Kind: kind}}, TenantID: tenant, ClientID: client, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, tokenPath, http.NoBody)
		request.Host = "127.0.0.1"
		request.Header.Set("Metadata", "true")
		got := httptest.NewRecorder()
		handler.ServeHTTP(got, request)
		var body struct{ Error string }
		if err := json.Unmarshal(got.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		cells := []any{kind, got.Code, body.Error, got.Header().Get("Retry-After")}
		if want := fmt.Sprintf(row, cells[:strings.Count(row, "%")]...); !strings.Contains(section, want) {
			t.Errorf("the page does not have %s", want)
		}
	}
}

type noSource struct{ err error }

// AccessToken implements metadata.Source.
func (s noSource) AccessToken(context.Context, exchange.Request) (exchange.AccessToken, error) {
	return exchange.AccessToken{}, s.err
}

// The page has every line of the log, and no others.
func TestDocsHaveEveryLogLine(t *testing.T) {
	patterns := []string{"^`serving` "} // of internal/httpserver
	inspect(t, func(n ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok || !regexp.MustCompile(`(?i)\blog\.(Info|Warn|Error|LogAttrs)$`).MatchString(types.ExprString(call.Fun)) {
			return
		}
		text := call.Args[0]
		if strings.HasSuffix(types.ExprString(call.Fun), "LogAttrs") {
			text = call.Args[2]
		}
		patterns = append(patterns, "^`"+textOf(text)+"` ")
	}, ".", "../../internal/metadata", "../../pkg/exchange")
	matchAll(t, patterns, docsRows(docsSection(t, "## The log"), 3))
}

// The page has the words of all errors of the commands and of the redirect.
func TestDocsHaveEveryMistake(t *testing.T) {
	page := strings.Join(strings.Fields(docs(t)), " ")
	inspect(t, func(n ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok || !slices.Contains([]string{"fmt.Errorf", "errors.New", "lacks"}, types.ExprString(call.Fun)) {
			return
		}
		for words := range strings.SplitSeq(textOf(call.Args[0]), ".+") {
			words = strings.Trim(strings.ReplaceAll(words, `\`, ""), " ;:,")
			if len(words) > 10 && !strings.Contains(page, words) {
				t.Errorf("the page does not have %q", words)
			}
		}
	}, ".", "../../internal/redirect")
}

// matchAll wants a row for each pattern, and a pattern for each row.
func matchAll(t *testing.T, patterns []string, rows [][]string) {
	t.Helper()
	var all []string
	for _, row := range rows {
		all = append(all, strings.Join(row, " "))
	}
	left := slices.Clone(all)
	for _, p := range patterns {
		matches := regexp.MustCompile(p).MatchString
		if !slices.ContainsFunc(all, matches) {
			t.Errorf("the page has no example of %s", p)
		}
		left = slices.DeleteFunc(left, matches)
	}
	if len(left) > 0 {
		t.Errorf("the page has what is said nowhere: %q", left)
	}
}

// inspect visits the code of packages, but not of their tests.
func inspect(t *testing.T, visit func(ast.Node), folders ...string) {
	t.Helper()
	for _, folder := range folders {
		names, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil || len(names) == 0 {
			t.Fatalf("no files in %q: %v", folder, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				visit(n)
				return true
			})
		}
	}
}

func docs(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// docsSection returns what is under a heading, up to the next one.
func docsSection(t *testing.T, heading string) string {
	t.Helper()
	_, section, ok := strings.Cut(docs(t), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("the page has no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n##")
	return section
}

// docsRows returns the rows of the tables that have this many columns.
func docsRows(section string, columns int) (rows [][]string) {
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|\n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case line[0] != '|' || len(cells) != columns:
		case cells[0] == "---":
			rows = rows[:len(rows)-1] // the head
		default:
			rows = append(rows, cells)
		}
	}
	return rows
}
