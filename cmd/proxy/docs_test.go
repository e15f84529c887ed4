package main

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/types"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/metadata"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
	"github.com/issuer-sync/issuer-sync/test/docs"
)

const docsPage = "../../docs/proxy.md"

// The page has every flag and variable of every command, with its default.
func TestDocsHaveEverySetting(t *testing.T) {
	for _, c := range commands() {
		var want, got []string
		for _, s := range c.settings {
			want = append(want, fmt.Sprintf("%s default %s", s.names(), s.fallback))
		}
		for _, row := range docs.Rows(t, docs.Section(t, docs.Page(t, docsPage), "### proxy "+c.name), 4) {
			if !strings.HasPrefix(row[2], "`") { // words, which stand for an empty default
				row[2] = ""
			}
			got = append(got, strings.ReplaceAll(strings.Trim(row[0]+", "+row[1], ", ")+" default "+row[2], "`", ""))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("proxy %s (-code +page):\n%s", c.name, diff)
		}
	}
	if row := fmt.Sprintf("| `GOGC` | %d |", gcPercent); !strings.Contains(docs.Page(t, docsPage), row) {
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
	for _, match := range regexp.MustCompile("(?m)(?:`|^proxy.* )--([a-z-]+)").FindAllStringSubmatch(docs.Page(t, docsPage), -1) {
		if !slices.Contains(known, match[1]) {
			t.Errorf("the page has --%s, which does not exist", match[1])
		}
	}
}

// The page has each refusal of a request, with status and reason, and no others.
func TestDocsHaveEveryRefusal(t *testing.T) {
	var patterns []string
	docs.Inspect(t, func(n ast.Node) {
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
		patterns = append(patterns, fmt.Sprintf("^%s `%s` `%s`", status, docs.Pattern(docs.Format(fields["reason"])), docs.Pattern(docs.Format(fields["text"]))))
	}, "../../internal/metadata/*.go")
	docs.MatchAll(t, patterns, lines(docs.Rows(t, docs.Section(t, docs.Page(t, docsPage), "### Refusals"), 3)))
}

// The page has what every kind of failure is answered with. Of two kinds the
// cache sets the time.
func TestDocsHaveEveryFailure(t *testing.T) {
	section := docs.Section(t, docs.Page(t, docsPage), "### When there is no access token")
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
	calls := docs.Calls{"Info": 0, "Warn": 0, "Error": 0, "LogAttrs": 2}
	for _, format := range calls.In(t, "*.go", "../../internal/metadata/*.go", "../../pkg/exchange/*.go") {
		patterns = append(patterns, "^`"+docs.Pattern(format)+"` ")
	}
	docs.MatchAll(t, patterns, lines(docs.Rows(t, docs.Section(t, docs.Page(t, docsPage), "## The log"), 3)))
}

// The page has the words of all errors of the commands and of the redirect.
func TestDocsHaveEveryMistake(t *testing.T) {
	page := docs.Page(t, docsPage)
	for _, format := range (docs.Calls{"fmt.Errorf": 0, "errors.New": 0, "lacks": 0}).In(t, "*.go", "../../internal/redirect/*.go") {
		docs.HasWords(t, page, format)
	}
}

// lines returns rows as texts.
func lines(rows [][]string) (texts []string) {
	for _, row := range rows {
		texts = append(texts, strings.Join(row, " "))
	}
	return texts
}
