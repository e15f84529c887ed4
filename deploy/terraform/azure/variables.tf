variable "resource_group_name" {
  description = "The resource group of everything here; it must exist."
  type        = string
  nullable    = false
}

variable "location" {
  description = "The Azure region of everything here."
  type        = string
  nullable    = false
}

variable "storage_account_name" {
  description = "The storage account, new. It is part of the issuer, and unique in all of Azure."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]{3,24}$", var.storage_account_name))
    error_message = "storage_account_name: want 3 to 24 lower-case letters and digits."
  }
}

variable "publish_in" {
  description = "Where the documents are public: \"container\", which needs anonymous access to blobs, or \"website\", where a policy forbids that. Never change it after the first apply: a new place is a second module."
  type        = string
  default     = "container"
  nullable    = false

  validation {
    condition     = contains(["container", "website"], var.publish_in)
    error_message = "publish_in: want \"container\" or \"website\"."
  }
}

variable "container_name" {
  description = "The container, one for each issuer. It is part of the issuer. Not used for a website, whose container is $web. Never change it after the first apply: a new container is a second module."
  type        = string
  default     = "oidc"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9](-?[a-z0-9])+$", var.container_name)) && length(var.container_name) >= 3 && length(var.container_name) <= 63
    error_message = "container_name: want 3 to 63 lower-case letters, digits and single hyphens, no hyphen at an end."
  }
}

variable "issuer" {
  description = "The exact issuer, if it is not the address of the storage: that of a CDN or a domain of yours in front of it. Never change it after the first apply, but in a change of the issuer: see the README."
  type        = string
  default     = null

  validation {
    condition     = var.issuer == null || can(regex("^https://[^\\s?#@]{1,592}$", var.issuer))
    error_message = "issuer: want https, no user, query or fragment, and at most 600 characters."
  }
}

variable "accepted_issuers" {
  description = "Issuers that every federated credential is made for, too: the other one while a cluster changes its issuer. As text, not as another module's output."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for issuer in var.accepted_issuers : can(regex("^https://[^\\s?#@]{1,592}$", issuer))])
    error_message = "accepted_issuers: want https, no user, query or fragment, and at most 600 characters."
  }
}

variable "audience" {
  description = "The audience of workloads' tokens: the cloud's."
  type        = string
  default     = "api://AzureADTokenExchange"
  nullable    = false

  validation {
    condition     = contains(["api://AzureADTokenExchange", "api://AzureADTokenExchangeUSGov", "api://AzureADTokenExchangeChina"], var.audience)
    error_message = "audience: want that of the cloud: api://AzureADTokenExchange, api://AzureADTokenExchangeUSGov or api://AzureADTokenExchangeChina."
  }
}

variable "replication" {
  description = "How the storage account is replicated. Without it nobody can sign in, hence at least three zones."
  type        = string
  default     = "ZRS"
  nullable    = false

  validation {
    condition     = contains(["LRS", "ZRS", "GRS", "RAGRS", "GZRS", "RAGZRS"], var.replication)
    error_message = "replication: want LRS, ZRS, GRS, RAGRS, GZRS or RAGZRS."
  }
}

variable "retention_days" {
  description = "How long deleted blobs and containers can be had back."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 365
    error_message = "retention_days: want 1 to 365."
  }
}

variable "shared_access_key_enabled" {
  description = "Whether the account's keys, and with them SAS and connection strings, may be used."
  type        = bool
  default     = false
  nullable    = false
}

variable "publisher" {
  description = "The ServiceAccount that issuer-sync runs as."
  type = object({
    namespace       = optional(string, "issuer-sync")
    service_account = optional(string, "issuer-sync")
  })
  default  = {}
  nullable = false
}

variable "publisher_principal_ids" {
  description = "Object IDs of users, groups or service principals who may publish besides: whoever does it the first time."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "workloads" {
  description = "An identity for each workload, by its name in Azure."
  type = map(object({
    namespace       = string
    service_account = string
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.workloads) : can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{2,127}$", name))])
    error_message = "workloads: want names of 3 to 128 letters, digits, hyphens and underscores."
  }
}

variable "publisher_name" {
  description = "The name of issuer-sync's own identity."
  type        = string
  default     = "issuer-sync"
  nullable    = false

  validation {
    condition     = !contains(keys(var.workloads), var.publisher_name)
    error_message = "publisher_name: it is the name of a workload, too."
  }
}

variable "tags" {
  description = "Tags of the storage account and the identities."
  type        = map(string)
  default     = {}
  nullable    = false
}
