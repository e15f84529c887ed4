terraform {
  required_version = ">= 1.9"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 5.0"
    }
  }
}

provider "azurerm" {
  subscription_id = var.subscription_id
  # The storage account takes no keys.
  storage_use_azuread = true
  # From version 5 none is registered unless named.
  resource_providers_to_register = ["Microsoft.Authorization", "Microsoft.ManagedIdentity", "Microsoft.Storage"]

  features {}
}

variable "subscription_id" {
  description = "The subscription that everything is made in."
  type        = string
  nullable    = false
}

variable "publisher_principal_id" {
  description = "Your own object ID, to publish the first time: az ad signed-in-user show --query id -o tsv"
  type        = string
  nullable    = false
}

resource "azurerm_resource_group" "issuer" {
  name     = "kubernetes-issuer"
  location = "westeurope"
}

module "issuer" {
  source = "../.."

  resource_group_name  = azurerm_resource_group.issuer.name
  location             = azurerm_resource_group.issuer.location
  storage_account_name = "contoso"
  container_name       = "oidc-prod"

  publisher_principal_ids = { me = var.publisher_principal_id }
  workloads = {
    shop-app = { namespace = "shop", service_account = "app" }
  }
}

# What the workload may do is decided here.
resource "azurerm_role_assignment" "shop_reads" {
  scope                = azurerm_resource_group.issuer.id
  role_definition_name = "Reader"
  principal_id         = module.issuer.workload_principal_ids["shop-app"]
  principal_type       = "ServicePrincipal"
}

output "issuer" {
  description = "The exact issuer, for kube-apiserver and issuer-sync."
  value       = module.issuer.issuer
}

output "tenant_id" {
  description = "azureTenantID of the chart."
  value       = module.issuer.tenant_id
}

output "publisher_client_id" {
  description = "AZURE_CLIENT_ID of issuer-sync."
  value       = module.issuer.publisher_client_id
}

output "workload_client_ids" {
  description = "By workload: the annotation azure.workload.identity/client-id of its ServiceAccount."
  value       = module.issuer.workload_client_ids
}
