package deploy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
		"container_name":       {texts("oidc", "oidc-prod", "123"), texts("oi", "-oidc", "oidc-", "oidc--prod", "OIDC", "$web")},
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
		"merge": stdlib.MergeFunc, "regex": stdlib.RegexFunc, "substr": stdlib.SubstrFunc, "trimsuffix": stdlib.TrimSuffixFunc,
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
		"sha256": function.New(&function.Spec{
			Params: text, Type: function.StaticReturnType(cty.String),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				sum := sha256.Sum256([]byte(args[0].AsString()))
				return cty.StringVal(hex.EncodeToString(sum[:])), nil
			},
		}),
	}
}

// TestTerraformIssuer evaluates what the module makes of its variables: the
// issuer, which everybody compares byte for byte, where the documents go, and
// the federated credentials.
func TestTerraformIssuer(t *testing.T) {
	t.Parallel()
	const old = "https://old.example"
	for name, c := range map[string]struct {
		given         map[string]cty.Value
		issuer, store string
		// also is a second issuer of every credential, if there is one.
		also string
	}{
		"container": {
			issuer: "https://contoso.blob.core.windows.net/oidc-prod", store: "https://contoso.blob.core.windows.net/oidc-prod",
		},
		"website": {
			given:  map[string]cty.Value{"publish_in": cty.StringVal("website")},
			issuer: "https://contoso.z6.web.core.windows.net", store: "https://contoso.blob.core.windows.net/$web",
		},
		"domain of one's own, slash and all": {
			given:  map[string]cty.Value{"issuer": cty.StringVal("https://oidc.example.com/prod/")},
			issuer: "https://oidc.example.com/prod/", store: "https://contoso.blob.core.windows.net/oidc-prod",
		},
		"change of the issuer": {
			given:  map[string]cty.Value{"accepted_issuers": cty.SetVal(texts(old))},
			issuer: "https://contoso.blob.core.windows.net/oidc-prod", store: "https://contoso.blob.core.windows.net/oidc-prod",
			also: old,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			context := moduleContext(t, c.given)
			if got := output(t, context, "issuer"); got != c.issuer {
				t.Errorf("issuer %q; want %q", got, c.issuer)
			}
			if got := output(t, context, "store_url"); got != c.store {
				t.Errorf("store %q; want %q", got, c.store)
			}
			want := map[string]string{}
			for identity, subject := range map[string]string{
				"issuer-sync": "system:serviceaccount:issuer-sync:issuer-sync", "shop-app": "system:serviceaccount:shop:app",
			} {
				want[identity+"/issuer"] = subject + " of " + c.issuer
				if c.also != "" {
					want[identity+"/"+shortHash(c.also)] = subject + " of " + c.also
				}
			}
			if diff := cmp.Diff(want, credentials(context)); diff != "" {
				t.Errorf("federated credentials (-want +got):\n%s", diff)
			}
		})
	}
}

func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:8]
}

// moduleContext has the module's variables, its storage account, and the locals
// that follow from them.
func moduleContext(t *testing.T, given map[string]cty.Value) *hcl.EvalContext {
	t.Helper()
	account := func(namespace, name string) cty.Value {
		return cty.ObjectVal(map[string]cty.Value{"namespace": cty.StringVal(namespace), "service_account": cty.StringVal(name)})
	}
	variables := map[string]cty.Value{
		"publish_in": cty.StringVal("container"), "container_name": cty.StringVal("oidc-prod"), "issuer": cty.NullVal(cty.String),
		"accepted_issuers": cty.SetValEmpty(cty.String), "publisher_name": cty.StringVal("issuer-sync"),
		"publisher": account("issuer-sync", "issuer-sync"),
		"workloads": cty.MapVal(map[string]cty.Value{"shop-app": account("shop", "app")}),
	}
	maps.Copy(variables, given)
	storage := cty.ObjectVal(map[string]cty.Value{"issuer": cty.ObjectVal(map[string]cty.Value{
		"id":                    cty.StringVal("/account"),
		"primary_blob_endpoint": cty.StringVal("https://contoso.blob.core.windows.net/"),
		"primary_web_endpoint":  cty.StringVal("https://contoso.z6.web.core.windows.net/"),
	})})
	container := cty.TupleVal([]cty.Value{cty.ObjectVal(map[string]cty.Value{"id": cty.StringVal("/account/container")})})
	context := &hcl.EvalContext{Functions: functions(), Variables: map[string]cty.Value{
		"var": cty.ObjectVal(variables), "azurerm_storage_account": storage,
		"azurerm_storage_container": cty.ObjectVal(map[string]cty.Value{"documents": container}),
	}}
	evaluate(t, context)
	return context
}

// evaluate adds the locals to the context, each once what it needs is there.
func evaluate(t *testing.T, context *hcl.EvalContext) {
	t.Helper()
	remaining, values := readModule(t, azureModule).locals, map[string]cty.Value{}
	for len(remaining) > 0 {
		context.Variables["local"] = cty.ObjectVal(values)
		var failed hcl.Diagnostics
		done := len(values)
		for name, attribute := range remaining {
			value, diagnostics := attribute.Expr.Value(context)
			if diagnostics.HasErrors() {
				failed = append(failed, diagnostics...)
				continue
			}
			values[strings.TrimPrefix(name, "local.")] = value
			delete(remaining, name)
		}
		if len(values) == done {
			t.Fatal(failed)
		}
	}
	context.Variables["local"] = cty.ObjectVal(values)
}

func output(t *testing.T, context *hcl.EvalContext, name string) string {
	t.Helper()
	value, diagnostics := readModule(t, azureModule).blocks["output."+name].Body.Attributes["value"].Expr.Value(context)
	if diagnostics.HasErrors() {
		t.Fatal(diagnostics)
	}
	return value.AsString()
}

// credentials are the module's, by key: the subject and the issuer of each.
func credentials(context *hcl.EvalContext) map[string]string {
	all := map[string]string{}
	for key, value := range context.Variables["local"].GetAttr("credentials").AsValueMap() {
		all[key] = value.GetAttr("subject").AsString() + " of " + value.GetAttr("issuer").AsString()
	}
	return all
}
