resource "azurerm_user_assigned_identity" "this" {
  for_each = local.accounts

  name                = each.key
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

# Azure refuses writes to one identity at the same time: if it answers 409, apply again with -parallelism=1.
resource "azurerm_federated_identity_credential" "this" {
  for_each = local.credentials

  name                      = each.value.name
  user_assigned_identity_id = azurerm_user_assigned_identity.this[each.value.identity].id
  audience                  = [var.audience]
  issuer                    = each.value.issuer
  subject                   = each.value.subject
}

resource "azurerm_role_assignment" "publisher" {
  scope                = local.container_id
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = azurerm_user_assigned_identity.this[var.publisher_name].principal_id
  principal_type       = "ServicePrincipal"

  depends_on = [azurerm_storage_account_static_website.documents]
}

resource "azurerm_role_assignment" "publishers" {
  for_each = var.publisher_principal_ids

  scope                = local.container_id
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = each.value

  depends_on = [azurerm_storage_account_static_website.documents]
}
