package deploy_test

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// schema is a resource, or a block of one, as far as the module uses it. The
// words are those of the provider's documentation (website/docs/r of
// hashicorp/terraform-provider-azurerm 5, and its 5.0 upgrade guide).
type schema struct {
	required, optional []string
	blocks             map[string]schema
	// exports are attributes that can be read, beside the arguments.
	exports []string
}

func resources() map[string]schema {
	days := schema{optional: []string{"days"}}
	return map[string]schema{
		"azurerm_resource_group": {required: []string{"name", "location"}, optional: []string{"tags"}, exports: []string{"id"}},
		"azurerm_storage_account": {
			required: []string{"name", "resource_group_name", "location", "account_tier", "account_replication_type"},
			optional: []string{
				"account_kind", "tags", "min_tls_version", "https_traffic_only_enabled", "cross_tenant_replication_enabled",
				"default_to_oauth_authentication", "shared_access_key_enabled", "allow_nested_items_to_be_public",
				"public_network_access_enabled",
			},
			blocks: map[string]schema{"blob_properties": {
				optional: []string{"versioning_enabled"},
				blocks:   map[string]schema{"delete_retention_policy": days, "container_delete_retention_policy": days},
			}},
			exports: []string{"id", "primary_blob_endpoint", "primary_web_endpoint"},
		},
		"azurerm_storage_container": {
			required: []string{"name", "storage_account_id"}, optional: []string{"container_access_type"}, exports: []string{"id"},
		},
		"azurerm_storage_account_static_website": {
			required: []string{"storage_account_id"}, optional: []string{"error_404_document", "index_document"}, exports: []string{"id"},
		},
		"azurerm_management_lock": {required: []string{"name", "scope", "lock_level"}, optional: []string{"notes"}},
		"azurerm_user_assigned_identity": {
			required: []string{"name", "resource_group_name", "location"}, optional: []string{"tags"},
			exports: []string{"id", "client_id", "principal_id", "tenant_id"},
		},
		"azurerm_federated_identity_credential": {
			required: []string{"name", "user_assigned_identity_id", "audience", "issuer", "subject"},
		},
		"azurerm_role_assignment": {
			required: []string{"scope", "principal_id"}, optional: []string{"role_definition_name", "principal_type"},
		},
	}
}

// check compares a resource's body, or a block's, with the documentation.
func (s schema) check(body *hclsyntax.Body) (problems []string) {
	meta := []string{"for_each", "count", "depends_on"}
	for name := range body.Attributes {
		if !slices.Contains(slices.Concat(s.required, s.optional, meta), name) {
			problems = append(problems, "there is no argument "+name)
		}
	}
	for _, name := range s.required {
		if body.Attributes[name] == nil {
			problems = append(problems, "it wants "+name)
		}
	}
	for _, block := range body.Blocks {
		nested, ok := s.blocks[block.Type]
		switch {
		case block.Type == "lifecycle" && s.blocks["lifecycle"].required == nil:
		case !ok:
			problems = append(problems, "there is no block "+block.Type)
		default:
			problems = append(problems, nested.check(block.Body)...)
		}
	}
	return problems
}

// checkRead looks whether the attribute that an expression reads of a resource
// exists: type.name.attribute, or type.name[key].attribute.
func (s schema) checkRead(traversal hcl.Traversal) (problems []string) {
	for _, step := range traversal[min(2, len(traversal)):] {
		attribute, ok := step.(hcl.TraverseAttr)
		if !ok {
			continue // an index
		}
		if !slices.Contains(slices.Concat(s.required, s.optional, s.exports), attribute.Name) {
			problems = append(problems, fmt.Sprintf("%s: %s has no attribute %s", traversal.SourceRange(), traversal.RootName(), attribute.Name))
		}
		break
	}
	return problems
}
