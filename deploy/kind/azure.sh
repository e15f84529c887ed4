# shellcheck shell=bash
# up.sh azure: what it makes in Azure, and the steps of this mode. up.sh sources it,
# and it does nothing by itself. Its variables are those of up.sh.
# shellcheck disable=SC2034,SC2154

# azure_names settles what is made in Azure, once.
azure_names() {
  location=${LOCATION:-westeurope}
  resource_group=${RESOURCE_GROUP:-issuer-sync-kind}
  container=${CONTAINER:-oidc}
  identity=${IDENTITY:-issuer-sync-kind-sample}
  mkdir -p "$work"
  if [ -n "${STORAGE_ACCOUNT:-}" ]; then
    printf '%s\n' "$STORAGE_ACCOUNT" >"$work/storage-account"
  elif [ ! -e "$work/storage-account" ]; then
    printf 'issuersync%s\n' "$(openssl rand -hex 6)" >"$work/storage-account"
  fi
  storage_account=$(cat "$work/storage-account")
  issuer=https://$storage_account.blob.core.windows.net/$container
}

confirm() {
  local subscription
  subscription=$(az account show --query name --output tsv) || fail 'az does not know an account; run az login'
  tenant=$(az account show --query tenantId --output tsv)
  cat <<PLAN

In Azure, in the subscription "$subscription", this makes or takes:
  resource group   $resource_group ($location)
  storage account  $storage_account, whose blobs anybody may read by name
  container        $container, with the issuer's two documents and .issuer-sync/state.json: public keys and times
  identity         $identity, with no rights, and a federated credential for
                   system:serviceaccount:demo:sample of $issuer
PLAN
  if [ "$agreed" = yes ]; then
    return
  fi
  if [ ! -t 0 ]; then
    fail 'there is nobody to ask; give --yes to agree'
  fi
  local answer
  read -r -p 'Go on? [y/N] ' answer
  case $answer in
    y | Y | yes) ;;
    *) fail 'nothing was made' ;;
  esac
}

# note_removal writes down how to delete what is made, in each group that was ever
# used: what was in a group before is not ours.
note_removal() {
  local group="  az group delete --name $resource_group"
  if grep --quiet --line-regexp --fixed-strings --no-messages -e "$group" "$work/azure-removal"; then
    return
  fi
  if [ "$(az group exists --name "$resource_group")" = false ]; then
    note "$group"
  else
    note "  az identity delete --name $identity --resource-group $resource_group"
    note "  az storage account delete --name $storage_account --resource-group $resource_group"
  fi
}

# note LINE adds a line that is not there yet.
note() {
  if ! grep --quiet --line-regexp --fixed-strings --no-messages -e "$1" "$work/azure-removal"; then
    printf '%s\n' "$1" >>"$work/azure-removal"
  fi
}

make_azure() {
  step 'Making what is in Azure'
  note_removal
  az group create --name "$resource_group" --location "$location" --output none
  az storage account create --name "$storage_account" --resource-group "$resource_group" --location "$location" --sku Standard_LRS --kind StorageV2 \
    --min-tls-version TLS1_2 --https-only true --allow-blob-public-access true --output none
  storage_key=$(az storage account keys list --account-name "$storage_account" --resource-group "$resource_group" --query '[0].value' --output tsv)
  AZURE_STORAGE_KEY=$storage_key az storage container create --name "$container" --account-name "$storage_account" --public-access blob --output none
  az identity create --name "$identity" --resource-group "$resource_group" --location "$location" --output none
  az identity federated-credential create --name demo-sample --identity-name "$identity" --resource-group "$resource_group" \
    --issuer "$issuer" --subject system:serviceaccount:demo:sample --audiences api://AzureADTokenExchange --output none
  client=$(az identity show --name "$identity" --resource-group "$resource_group" --query clientId --output tsv)
}

azure() {
  azure_names
  if cluster_exists; then
    check_issuer # before anything is made in Azure for a cluster that cannot use it
  fi
  confirm
  make_azure
  make_keys
  make_cluster
  load_images
  step 'Making namespaces and Secrets'
  kubectl apply --filename "$here/namespaces.yaml"
  kubectl create secret generic issuer-sync-storage --namespace issuer-sync --from-env-file <(printf 'AZURE_STORAGE_KEY=%s\n' "$storage_key") \
    --dry-run=client --output yaml | kubectl apply --filename -
  install_chart
  step 'Looking at the issuer as a relying party does'
  run_job issuer-sync verify verify.yaml 120
  step 'Running a pod that asks Entra for an access token (with a new federated credential this may take minutes)'
  run_job demo sample sample.yaml 900
}
