// Package depcheck_test holds the direction of dependencies: the table in
// rules_test.go against what the go command says that each package links.
package depcheck_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArrows(t *testing.T) {
	graph, standard := listImports(t)
	var listed []string
	for _, r := range rules() {
		t.Run(r.why, func(t *testing.T) {
			for _, path := range r.bound(graph) {
				for _, breach := range r.breaches(graph, standard, path) {
					t.Error(breach)
				}
			}
			for _, pattern := range slices.Concat(r.packages, r.except) {
				if len(rule{packages: []string{pattern}}.bound(graph)) == 0 {
					t.Logf("there is no package %s yet", pattern)
				}
			}
		})
		if r.only != nil {
			listed = append(listed, r.packages...)
		}
	}
	for _, path := range (rule{packages: []string{"pkg"}}).bound(graph) {
		if !below(path, listed) {
			t.Errorf("%s: no row in rules_test.go says what it may link", relative(path))
		}
	}
}

func TestBreaches(t *testing.T) {
	const us = module + "/"
	graph := imports{
		us + "cmd/tool":        {"fmt", us + "internal/a", us + "pkg/b"},
		us + "internal/a":      {us + "pkg/b", "example.com/sdk/blob"},
		us + "pkg/b":           {"fmt", us + "pkg/b/c", "example.com/jose"},
		us + "pkg/b/c":         {"fmt"},
		us + "pkg/bb":          {},
		"example.com/sdk/blob": {"example.com/core", "testing"},
		"example.com/core":     {"example.com/sdk/blob"},
		"example.com/jose":     {},
	}
	standard := map[string]bool{"fmt": true, "testing": true}
	const toSDK = "cmd/tool: because\n\tcmd/tool\n\t  imports internal/a\n\t  imports example.com/sdk/blob"

	tests := map[string]struct {
		rule rule
		want []string
	}{
		"a forbidden package is shown with the way to it": {
			rule: rule{packages: []string{"cmd"}, never: []string{"example.com/sdk"}},
			want: []string{toSDK},
		},
		"a forbidden standard package is found behind other modules": {
			rule: rule{packages: []string{"cmd"}, never: []string{"testing"}},
			want: []string{toSDK + "\n\t  imports testing"},
		},
		"an only rule names each way out": {
			rule: rule{packages: []string{"cmd"}, only: []string{"internal/a", "pkg/b"}},
			want: []string{
				toSDK,
				"cmd/tool: because\n\tcmd/tool\n\t  imports pkg/b\n\t  imports example.com/jose",
			},
		},
		"an only rule that is kept is silent": {
			rule: rule{packages: []string{"pkg/b"}, only: []string{"example.com/jose"}},
		},
		"an empty only rule leaves the standard library": {
			rule: rule{packages: []string{"pkg/b"}, only: []string{}},
			want: []string{"pkg/b: because\n\tpkg/b\n\t  imports example.com/jose"},
		},
		"a direct rule forbids the import itself": {
			rule: rule{packages: []string{"internal"}, direct: []string{"example.com/sdk"}},
			want: []string{"internal/a: because\n\tinternal/a\n\t  imports example.com/sdk/blob"},
		},
		"a direct rule leaves importers of importers free": {
			rule: rule{packages: []string{"cmd"}, direct: []string{"example.com/sdk"}},
		},
		"an exception is left free": {
			rule: rule{packages: []string{"cmd", "internal"}, except: []string{"internal/a"}, direct: []string{"example.com/sdk"}},
		},
		"a pattern ends at a path segment": {
			rule: rule{packages: []string{"cmd"}, never: []string{"example.com/jo", "pkg/bb"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.rule.why = "because"
			var got []string
			for _, path := range test.rule.bound(graph) {
				got = append(got, test.rule.breaches(graph, standard, path)...)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("breaches (-want +got):\n%s", diff)
			}
		})
	}
}
