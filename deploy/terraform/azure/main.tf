locals {
  website = var.publish_in == "website"

  # Compared byte for byte by everybody: nothing but these lines makes it.
  address = local.website ? trimsuffix(azurerm_storage_account.issuer.primary_web_endpoint, "/") : "${azurerm_storage_account.issuer.primary_blob_endpoint}${var.container_name}"
  issuer  = coalesce(var.issuer, local.address)

  # The documents' container, to write to and to have rights on. The website's is made by Azure.
  container    = local.website ? "$web" : var.container_name
  container_id = local.website ? "${azurerm_storage_account.issuer.id}/blobServices/default/containers/$web" : azurerm_storage_container.documents[0].id

  # A credential for each workload and issuer, under a name that stays when others come and go.
  issuers = merge({ issuer = local.issuer }, { for issuer in var.accepted_issuers : substr(sha256(issuer), 0, 8) => issuer })
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
