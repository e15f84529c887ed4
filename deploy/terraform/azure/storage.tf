resource "azurerm_storage_account" "issuer" {
  name                = var.storage_account_name
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags

  account_kind             = "StorageV2"
  account_tier             = "Standard"
  account_replication_type = var.replication

  min_tls_version                  = "TLS1_2"
  https_traffic_only_enabled       = true
  cross_tenant_replication_enabled = false
  default_to_oauth_authentication  = true
  shared_access_key_enabled        = var.shared_access_key_enabled

  # It only allows containers to be made public: the one below is.
  allow_nested_items_to_be_public = !local.website
  public_network_access_enabled   = true

  blob_properties {
    versioning_enabled = true

    delete_retention_policy {
      days = var.retention_days
    }

    container_delete_retention_policy {
      days = var.retention_days
    }
  }

  lifecycle {
    # Who registers the name of a deleted account is the issuer, for every trust that was not removed before.
    prevent_destroy = true
  }
}

# Against deletion by hand. Terraform itself would delete the lock first: hence prevent_destroy.
resource "azurerm_management_lock" "issuer" {
  name       = "issuer"
  scope      = azurerm_storage_account.issuer.id
  lock_level = "CanNotDelete"
  notes      = "This account is the issuer of Kubernetes clusters. Remove every trust in it first."

  lifecycle {
    prevent_destroy = true
  }
}

resource "azurerm_storage_container" "documents" {
  count = local.website ? 0 : 1

  name               = var.container_name
  storage_account_id = azurerm_storage_account.issuer.id
  # Anybody may read a blob whose name they know; nobody may list.
  container_access_type = "blob"

  lifecycle {
    # Another name, or a website instead, would take the documents of a live issuer with it.
    prevent_destroy = true
  }
}

resource "azurerm_storage_account_static_website" "documents" {
  count = local.website ? 1 : 0

  storage_account_id = azurerm_storage_account.issuer.id
  error_404_document = "404.html"

  lifecycle {
    prevent_destroy = true
  }
}
