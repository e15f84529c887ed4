locals {
  website = var.publish_in == "website"

  # Compared byte for byte by everybody: nothing but these lines makes it.
  address = local.website ? trimsuffix(azurerm_storage_account.issuer.primary_web_endpoint, "/") : "${azurerm_storage_account.issuer.primary_blob_endpoint}${var.container_name}"
  issuer  = coalesce(var.issuer, local.address)

  # The documents' container, to write to and to have rights on. The website's is made by Azure.
  container    = local.website ? "$web" : var.container_name
  container_id = local.website ? "${azurerm_storage_account.issuer.id}/blobServices/default/containers/$web" : azurerm_storage_container.documents[0].id

  # Which issuers there are must be known before Azure has told the account's address: this stands for it, without domain and zone.
  own = coalesce(var.issuer, local.website ? "https://${var.storage_account_name}.web" : "https://${var.storage_account_name}.blob/${var.container_name}")

  # An issuer's key, from which its credentials have their names, is the same whether it is the own one or an accepted one.
  keys = {
    for issuer in setunion([local.own], var.accepted_issuers) :
    issuer => substr(sha256(replace(issuer, "/^(https://[a-z0-9]+)(\\.z[0-9]+)?\\.(blob|web)\\.core\\.[a-z]+\\.[a-z]+/", "$1.$3")), 0, 8)
  }
  issuers = merge(
    { for issuer in var.accepted_issuers : local.keys[issuer] => issuer },
    { (local.keys[local.own]) = local.issuer },
  )
  accounts = merge(
    { for name, workload in var.workloads : name => workload },
    { (var.publisher_name) = var.publisher },
  )
  credentials = merge([
    for identity, account in local.accounts : {
      for key, issuer in local.issuers : "${identity}/${key}" => {
        identity = identity
        name     = "kubernetes-${key}"
        issuer   = issuer
        subject  = "system:serviceaccount:${account.namespace}:${account.service_account}"
      }
    }
  ]...)
}
