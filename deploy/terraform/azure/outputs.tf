output "issuer" {
  description = "The exact issuer: kube-apiserver's --service-account-issuer, and issuers[].url of issuer-sync."
  value       = local.issuer
}

output "store_url" {
  description = "Where issuer-sync writes: azureBlob.url of its store."
  value       = "${azurerm_storage_account.issuer.primary_blob_endpoint}${local.container}"
}

output "tenant_id" {
  description = "The tenant of the identities: azureTenantID of the chart."
  value       = azurerm_user_assigned_identity.this[var.publisher_name].tenant_id
}

output "publisher_client_id" {
  description = "AZURE_CLIENT_ID of issuer-sync."
  value       = azurerm_user_assigned_identity.this[var.publisher_name].client_id
}

output "publisher_principal_id" {
  description = "issuer-sync's own, for roles elsewhere: a second module's publisher_principal_ids."
  value       = azurerm_user_assigned_identity.this[var.publisher_name].principal_id
}

output "workload_client_ids" {
  description = "By workload: the annotation azure.workload.identity/client-id of its ServiceAccount."
  value       = { for name in keys(var.workloads) : name => azurerm_user_assigned_identity.this[name].client_id }
}

output "workload_principal_ids" {
  description = "By workload: whom to give a role."
  value       = { for name in keys(var.workloads) : name => azurerm_user_assigned_identity.this[name].principal_id }
}
