package deploy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// TestTerraformValidations gives the module's variables good and bad values.
func TestTerraformValidations(t *testing.T) {
	t.Parallel()
	m := readModule(t, azureModule)
	long := "https://" + strings.Repeat("a", 592)
	for variable, values := range map[string]struct{ good, bad []cty.Value }{
		"storage_account_name": {texts("contoso", "abc", "contoso0123456789contoso"), texts("", "ab", "Contoso", "con-toso", "contoso0123456789contoso1")},
		"container_name":       {texts("oidc", "a-b", "123", strings.Repeat("a-", 31)+"a"), texts("oi", "-oidc", "oidc-", "oidc--prod", "OIDC", "$web", strings.Repeat("a-", 31)+"ab")},
		"publish_in":           {texts("container", "website"), texts("", "Container")},
		"issuer": {
			append(texts("https://oidc.example.com", "https://oidc.example.com/prod/", long), cty.NullVal(cty.String)),
			texts("", "http://oidc.example.com", "https://", "https://a@b", "https://a?b", "https://a#b", "https://a b", long+"a"),
		},
		"accepted_issuers": {lists("", "https://a.example", long), lists("a.example", "https://a.example b", long+"a")},
		"audience":         {texts("api://AzureADTokenExchange", "api://AzureADTokenExchangeUSGov"), texts("", "api://azureadtokenexchange")},
		"replication":      {texts("ZRS", "LRS"), texts("zrs", "")},
		"retention_days":   {numbers(1, 30, 365), numbers(0, 366)},
		"workloads": {
			[]cty.Value{cty.MapValEmpty(cty.String), cty.MapVal(map[string]cty.Value{"shop-app": cty.StringVal("")})},
			[]cty.Value{cty.MapVal(map[string]cty.Value{"a b": cty.StringVal("")}), cty.MapVal(map[string]cty.Value{"ab": cty.StringVal("")})},
		},
	} {
		for _, value := range values.good {
			if !valid(t, m, variable, value) {
				t.Errorf("%s: %s is refused", variable, value.GoString())
			}
		}
		for _, value := range values.bad {
			if valid(t, m, variable, value) {
				t.Errorf("%s: %s is accepted", variable, value.GoString())
			}
		}
	}
}

func texts(all ...string) (values []cty.Value) {
	for _, text := range all {
		values = append(values, cty.StringVal(text))
	}
	return values
}

func lists(all ...string) (values []cty.Value) {
	for _, text := range all {
		list := cty.ListValEmpty(cty.String)
		if text != "" {
			list = cty.ListVal(texts(text))
		}
		values = append(values, list)
	}
	return values
}

func numbers(all ...int64) (values []cty.Value) {
	for _, number := range all {
		values = append(values, cty.NumberIntVal(number))
	}
	return values
}

// valid evaluates the validation of a variable.
func valid(t *testing.T, m module, variable string, value cty.Value) bool {
	t.Helper()
	for _, block := range m.blocks["var."+variable].Body.Blocks {
		if block.Type != "validation" {
			continue
		}
		variables := map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{variable: value})}
		result, diagnostics := block.Body.Attributes["condition"].Expr.Value(&hcl.EvalContext{Variables: variables, Functions: functions()})
		if diagnostics.HasErrors() {
			t.Fatalf("%s: %v", variable, diagnostics)
		}
		return result.True()
	}
	t.Fatalf("variable %s has no validation", variable)
	return false
}

// functions are those of Terraform's that the module uses.
func functions() map[string]function.Function {
	text := []function.Parameter{{Name: "text", Type: cty.String}}
	return map[string]function.Function{
		"can": tryfunc.CanFunc, "coalesce": stdlib.CoalesceFunc, "contains": stdlib.ContainsFunc, "keys": stdlib.KeysFunc,
		"length": stdlib.StrlenFunc, "merge": stdlib.MergeFunc, "regex": stdlib.RegexFunc, "setunion": stdlib.SetUnionFunc,
		"substr": stdlib.SubstrFunc, "trimsuffix": stdlib.TrimSuffixFunc,
		"alltrue": function.New(&function.Spec{
			Params: []function.Parameter{{Name: "all", Type: cty.DynamicPseudoType}}, Type: function.StaticReturnType(cty.Bool),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				for _, value := range args[0].AsValueSlice() {
					if value.False() {
						return cty.False, nil
					}
				}
				return cty.True, nil
			},
		}),
		// Terraform's takes a pattern between slashes for a regular expression.
		"replace": function.New(&function.Spec{
			Params: []function.Parameter{{Name: "text", Type: cty.String}, {Name: "pattern", Type: cty.String}, {Name: "by", Type: cty.String}},
			Type:   function.StaticReturnType(cty.String),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				return stdlib.RegexReplace(args[0], cty.StringVal(strings.Trim(args[1].AsString(), "/")), args[2])
			},
		}),
		"sha256": function.New(&function.Spec{
			Params: text, Type: function.StaticReturnType(cty.String),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				sum := sha256.Sum256([]byte(args[0].AsString()))
				return cty.StringVal(hex.EncodeToString(sum[:])), nil
			},
		}),
	}
}
