package deploy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// TestTerraformIssuer evaluates what the module makes of its variables: the
// issuer, which everybody compares byte for byte, where the documents go, and
// the federated credentials.
func TestTerraformIssuer(t *testing.T) {
	t.Parallel()
	const old = "https://old.example"
	for name, c := range map[string]struct {
		given         map[string]cty.Value
		issuer, store string
		// key is what the issuer's credentials are named after.
		key string
		// also is a second issuer of every credential, if there is one.
		also string
	}{
		"container": {
			issuer: "https://contoso.blob.core.windows.net/oidc-prod", store: "https://contoso.blob.core.windows.net/oidc-prod",
			key: "https://contoso.blob/oidc-prod",
		},
		"website": {
			given:  map[string]cty.Value{"publish_in": cty.StringVal("website")},
			issuer: "https://contoso.z6.web.core.windows.net", store: "https://contoso.blob.core.windows.net/$web",
			key: "https://contoso.web",
		},
		"domain of one's own, slash and all": {
			given:  map[string]cty.Value{"issuer": cty.StringVal("https://oidc.example.com/prod/")},
			issuer: "https://oidc.example.com/prod/", store: "https://contoso.blob.core.windows.net/oidc-prod",
			key: "https://oidc.example.com/prod/",
		},
		"change of the issuer": {
			given:  map[string]cty.Value{"accepted_issuers": cty.SetVal(texts(old))},
			issuer: "https://contoso.blob.core.windows.net/oidc-prod", store: "https://contoso.blob.core.windows.net/oidc-prod",
			key: "https://contoso.blob/oidc-prod", also: old,
		},
		"the issuer accepted, too": {
			given:  map[string]cty.Value{"accepted_issuers": cty.SetVal(texts("https://contoso.blob.core.windows.net/oidc-prod"))},
			issuer: "https://contoso.blob.core.windows.net/oidc-prod", store: "https://contoso.blob.core.windows.net/oidc-prod",
			key: "https://contoso.blob/oidc-prod",
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
				want[identity+" kubernetes-"+shortHash(c.key)] = subject + " of " + c.issuer
				if c.also != "" {
					want[identity+" kubernetes-"+shortHash(c.also)] = subject + " of " + c.also
				}
			}
			if diff := cmp.Diff(want, credentials(context)); diff != "" {
				t.Errorf("federated credentials (-want +got):\n%s", diff)
			}
		})
	}
}

// A swap of the issuer and an accepted one, as the README has it, keeps every
// credential: the same keys for Terraform, the same names in Azure.
func TestTerraformSwapOfIssuers(t *testing.T) {
	t.Parallel()
	const next = "https://contosonext.blob.core.windows.net/oidc-next"
	for _, place := range []string{"container", "website"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			given := map[string]cty.Value{"publish_in": cty.StringVal(place), "accepted_issuers": cty.SetVal(texts(next))}
			before := moduleContext(t, given)
			given["issuer"], given["accepted_issuers"] = cty.StringVal(next), cty.SetVal(texts(output(t, before, "issuer")))
			after := moduleContext(t, given)
			if got := output(t, after, "issuer"); got != next {
				t.Errorf("issuer %q; want %q", got, next)
			}
			want, got := before.Variables["local"].GetAttr("credentials"), after.Variables["local"].GetAttr("credentials")
			if want.LengthInt() != 4 || !want.RawEquals(got) {
				t.Errorf("federated credentials (-before +after):\n%s", cmp.Diff(credentials(before), credentials(after)))
			}
			if want, got := output(t, before, "store_url"), output(t, after, "store_url"); got != want {
				t.Errorf("store %q; want %q as before", got, want)
			}
		})
	}
}

// Terraform must know the keys of for_each while it plans the first apply, when
// the account has no addresses yet.
func TestTerraformPlansUnknownAccount(t *testing.T) {
	t.Parallel()
	for _, place := range []string{"container", "website"} {
		context := moduleContext(t, map[string]cty.Value{
			"publish_in": cty.StringVal(place), "accepted_issuers": cty.SetVal(texts("https://old.example")), unknownAccount: cty.True,
		})
		credentials := context.Variables["local"].GetAttr("credentials")
		if !credentials.IsKnown() || credentials.LengthInt() != 4 || credentials.IsWhollyKnown() {
			t.Errorf("%s: federated credentials of an account that is not made yet: %s", place, credentials.GoString())
		}
	}
}

// What a live issuer would be gone with is kept from being destroyed.
func TestTerraformPreventsDestruction(t *testing.T) {
	t.Parallel()
	m := readModule(t, azureModule)
	for _, address := range []string{
		"azurerm_storage_account.issuer", "azurerm_management_lock.issuer", "azurerm_storage_container.documents",
		"azurerm_storage_account_static_website.documents",
	} {
		kept := false
		for _, block := range m.blocks[address].Body.Blocks {
			if attribute := block.Body.Attributes["prevent_destroy"]; block.Type == "lifecycle" && attribute != nil {
				value, _ := attribute.Expr.Value(nil)
				kept = value.RawEquals(cty.True)
			}
		}
		if !kept {
			t.Errorf("%s has no prevent_destroy", address)
		}
	}
}

// unknownAccount stands, beside the module's variables, for an account that Azure
// has not made yet.
const unknownAccount = "unknown account"

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
		"publish_in": cty.StringVal("container"), "storage_account_name": cty.StringVal("contoso"), "container_name": cty.StringVal("oidc-prod"), "issuer": cty.NullVal(cty.String),
		"accepted_issuers": cty.SetValEmpty(cty.String), "publisher_name": cty.StringVal("issuer-sync"),
		"publisher": account("issuer-sync", "issuer-sync"),
		"workloads": cty.MapVal(map[string]cty.Value{"shop-app": account("shop", "app")}),
	}
	maps.Copy(variables, given)
	known := func(text string) cty.Value {
		if _, unknown := given[unknownAccount]; unknown {
			return cty.UnknownVal(cty.String)
		}
		return cty.StringVal(text)
	}
	storage := cty.ObjectVal(map[string]cty.Value{"issuer": cty.ObjectVal(map[string]cty.Value{
		"id":                    known("/account"),
		"primary_blob_endpoint": known("https://contoso.blob.core.windows.net/"),
		"primary_web_endpoint":  known("https://contoso.z6.web.core.windows.net/"),
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

// credentials are the module's, by identity and name: the subject and the issuer
// of each.
func credentials(context *hcl.EvalContext) map[string]string {
	all := map[string]string{}
	for _, value := range context.Variables["local"].GetAttr("credentials").AsValueMap() {
		name := value.GetAttr("identity").AsString() + " " + value.GetAttr("name").AsString()
		all[name] = value.GetAttr("subject").AsString() + " of " + value.GetAttr("issuer").AsString()
	}
	return all
}
